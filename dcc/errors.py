"""Every error that dcc raises on purpose.

A message says what went wrong, where, what was expected and what to do. The command line prints it
on one line and exits with 2. This module imports nothing, so that every layer may use it.
"""

from __future__ import annotations


class DccError(Exception):
    """Base of all errors meant for the user."""


class ModelError(DccError):
    """An ONNX model is missing, malformed or uses something that is not supported."""


class RecipeError(DccError):
    """A recipe has a wrong key or value."""


class TargetError(DccError):
    """A target does not exist, or the machine lacks what a target or module needs."""


class ContainerError(DccError):
    """A ``.dcz`` file is damaged, truncated or of an unknown version."""


class ModuleError(DccError):
    """A compiled module cannot be read or does not fit this machine, TVM or format version."""


class InputError(DccError):
    """Inputs or data given at run time have a wrong name, shape, type or file format."""


class EncodingError(DccError):
    """A tensor cannot be encoded or decoded as asked, or stored bits contradict themselves."""


class CompileError(DccError):
    """A model cannot be compiled as asked: an illegal storage form, a failing tool."""


class OutputError(DccError):
    """A file cannot be written."""


class StreamError(DccError):
    """An instruction stream breaks a rule of the accelerator, or does what it would not forgive."""


class DriverError(DccError):
    """An accelerator's driver library is missing, lacks a function, or a call of it failed."""


class TuningError(DccError):
    """A tuning database does not fit, or tuning cannot be done as asked."""
