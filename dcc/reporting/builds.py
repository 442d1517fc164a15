"""The modules that a report is about: compiled once each, into a folder of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import onnx

from dcc.codegen.weight_matrix import FORMS
from dcc.compilation import CompiledModule
from dcc.compilation import compile as compile_model
from dcc.container import Container
from dcc.errors import CompileError, DccError
from dcc.passes.options import Recipe
from dcc.reporting.facts import AUTO
from dcc.schedules.vta.operations import VTA_FORMS
from dcc.targets.target import Target

Shapes = Mapping[str, Sequence[int]]


def storages_of(target: Target) -> tuple[str, ...]:
    """``auto``, and every storage form that a target has."""
    return (AUTO, *(FORMS if target.accelerator is None else VTA_FORMS))


@dataclass
class Builds:
    """Compiles a container for targets and storage forms; what was compiled before is taken again.

    Attributes
    ----------
    folder
        Where the modules are written.
    """

    container: Container
    folder: Path
    objective: str = "latency"
    shapes: Shapes | None = None
    database: str | PathLike[str] | None = None
    _done: dict[tuple[str, str], CompiledModule | DccError] = field(default_factory=dict)

    def module(self, target: Target, storage: str) -> CompiledModule:
        """Compile the container, once.

        Raises
        ------
        CompileError, TargetError
            It cannot be compiled so.
        """
        found = self.attempt(target, storage)
        if isinstance(found, DccError):
            raise found
        return found

    def attempt(self, target: Target, storage: str) -> CompiledModule | DccError:
        """Compile the container, once, or say why it cannot be."""
        key = target.name, storage
        if key not in self._done:
            self._done[key] = self._build(target, storage)
        return self._done[key]

    def other(self, source: onnx.ModelProto | Container, recipe: Recipe | None) -> CompiledModule:
        """Compile another state of the model for this machine, to measure accuracy on it."""
        path = self.folder / f"other-{len(list(self.folder.iterdir()))}.so"
        return compile_model(source, path, recipe=recipe, shapes=self.shapes)

    def _build(self, target: Target, storage: str) -> CompiledModule | DccError:
        # A target's name comes from a package of someone else: it is no part of a path.
        path = self.folder / f"module-{len(self._done)}.so"
        try:
            return compile_model(
                self.container,
                path,
                target,
                storage=storage,
                objective=self.objective,
                shapes=self.shapes,
                database=self.database,
            )
        except RecursionError as error:  # TVM's passes recurse over very deep models
            return CompileError(f"storage '{storage}': {error}")
        except DccError as error:
            return error
