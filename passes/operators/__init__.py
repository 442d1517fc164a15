"""Relax operators of dcc (``relax.dcc.*``): type inference, legalisation and a numpy oracle each."""

from dcc.passes.operators.recurrent import gru, lstm

__all__ = ["gru", "lstm"]
