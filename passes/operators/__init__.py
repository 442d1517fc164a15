"""Relax operators of dcc (``relax.dcc.*``): type inference, legalisation and a numpy oracle each."""
