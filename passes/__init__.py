"""Relax and TIR passes, one per file, and the one list that orders them."""
