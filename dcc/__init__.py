"""dcc: a Deep Compression compiler on Apache TVM.

The public names are loaded when they are first used, so that ``import dcc`` is quick and
``dcc.load`` never imports the compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcc.benchmarking import benchmark as benchmark
    from dcc.compilation import compile as compile
    from dcc.compression import compress as compress
    from dcc.compression import decompress as decompress
    from dcc.errors import DccError as DccError
    from dcc.inspection import inspect as inspect
    from dcc.recipes import load_recipe as load_recipe
    from dcc.reporting.reporting import report as report
    from dcc.runtime import Module as Module
    from dcc.runtime import load as load
    from dcc.training.finetuning import finetune as finetune
    from dcc.tuning import tune as tune
    from dcc.verification import verify as verify

__version__ = "0.1.0"

_HOME = {
    "DccError": "dcc.errors",
    "Module": "dcc.runtime",
    "benchmark": "dcc.benchmarking",
    "compile": "dcc.compilation",
    "compress": "dcc.compression",
    "decompress": "dcc.compression",
    "finetune": "dcc.training.finetuning",
    "inspect": "dcc.inspection",
    "load": "dcc.runtime",
    "load_recipe": "dcc.recipes",
    "report": "dcc.reporting.reporting",
    "tune": "dcc.tuning",
    "verify": "dcc.verification",
}

__all__ = [
    "DccError",
    "Module",
    "__version__",
    "benchmark",
    "compile",
    "compress",
    "decompress",
    "finetune",
    "inspect",
    "load",
    "load_recipe",
    "report",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dcc' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
