"""dcc: a Deep Compression compiler on Apache TVM."""

from __future__ import annotations
