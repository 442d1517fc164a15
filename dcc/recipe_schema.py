"""What a recipe file may say: the schema that checks it, and error messages that name key and line.

The fields of :class:`LayerSettings` are those of :class:`dcc.passes.options.LayerOptions`; a test
holds the two together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dcc.errors import RecipeError
from dcc.training.settings import (
    PruneSettings,
    RetrainSettings,
    ShareSettings,
    TrainingSettings,
)

OperatorType = Literal["Conv", "Gemm", "MatMul", "Gather", "LSTM", "GRU", "bias"]


class LayerSettings(BaseModel):
    """The settings of a layer that a recipe states; those it leaves out keep their values."""

    model_config = ConfigDict(extra="forbid", strict=True)

    skip: bool = False
    density: Annotated[float, Field(gt=0, le=1)] | None = None
    threshold: Annotated[float, Field(gt=0)] | None = None
    scope: Literal["layer", "global"] = "layer"
    structure: Literal["element", "n:m", "block", "channel-block"] = "element"
    n: Annotated[int, Field(ge=1)] = 2
    m: Annotated[int, Field(ge=2, le=64)] = 4
    block: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] = [1, 4]
    bits: Annotated[int, Field(ge=1, le=8)] | None = None
    initialization: Literal["linear", "density", "random"] = "linear"
    seed: Annotated[int, Field(ge=0)] = 0

    def stated(self) -> dict[str, Any]:
        """Only what the file states, in the types of ``LayerOptions``."""
        settings = self.model_dump(exclude_unset=True)
        if "block" in settings:
            settings["block"] = tuple(settings["block"])
        return settings

    @model_validator(mode="after")
    def _check_ratio(self) -> LayerSettings:
        if {"n", "m"} <= self.model_fields_set and self.n > self.m:
            raise ValueError(f"n must not exceed m, got n: {self.n} and m: {self.m}")
        return self


class RecipeFile(BaseModel):
    """A whole recipe file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = ""
    extends: str | None = None
    global_: LayerSettings = Field(default_factory=LayerSettings, alias="global")
    operators: dict[OperatorType, LayerSettings] = {}
    layers: dict[str, LayerSettings] = {}
    training: TrainingSettings = Field(default_factory=TrainingSettings)

    @field_validator("layers")
    @classmethod
    def _check_patterns(cls, layers: dict[str, LayerSettings]) -> dict[str, LayerSettings]:
        for pattern in layers:
            _check_pattern(pattern)
        return layers


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"'{pattern}' is not a regular expression ({error}); put \\ before special characters"
        ) from None


def parse(content: Any, lines: Mapping[tuple[str, ...], int], origin: str) -> RecipeFile:
    """Check the parsed YAML ``content`` of ``origin``.

    Parameters
    ----------
    content
        What the YAML reader returned.
    lines
        Line of each key, by the path of keys that leads to it.
    origin
        The file or recipe, for messages.

    Raises
    ------
    RecipeError
        Names the first offending key by its path and line, and what was expected there.
    """
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise RecipeError(
            f"recipe {origin}: expected a mapping with the keys {_choices(_keys(RecipeFile))}, "
            f"got {type(content).__name__}"
        )
    try:
        return RecipeFile.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_explain(error.errors()[0], lines, origin)) from None


def _explain(details: Any, lines: Mapping[tuple[str, ...], int], origin: str) -> str:
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    where = f"recipe {origin}"
    line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 0)
    if line:
        where += f", line {line}"
    key = ".".join(path) or "the file"
    if details["type"] == "extra_forbidden":
        known = _known_keys(path)
        return f"{where}: unknown key '{key}'{_nearest(path[-1], known)} (known: {_choices(known)})"
    if "[key]" in details["loc"]:
        known = list(OperatorType.__args__)  # type: ignore[attr-defined]
        hint = _nearest(path[-1], known)
        return f"{where}: unknown operator type '{key}'{hint} (known: {_choices(known)})"
    if details["type"] == "value_error":
        return f"{where}: {key}: {details['msg'].removeprefix('Value error, ')}"
    message = details["msg"].replace("Input should", "it should")
    message = re.sub(r"dictionary or instance of \w+", "mapping of settings", message)
    return f"{where}: {key}: {message}, got {details['input']!r}"


def _known_keys(path: tuple[str, ...]) -> list[str]:
    """Name the keys that may stand where the last of ``path`` stands."""
    if len(path) == 1:
        return _keys(RecipeFile)
    if path[0] != "training":
        return list(LayerSettings.model_fields)
    stages: dict[str, type[BaseModel]] = {
        "prune": PruneSettings,
        "retrain": RetrainSettings,
        "share": ShareSettings,
    }
    return _keys(TrainingSettings if len(path) == 2 else stages[path[1]])


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _choices(names: list[str]) -> str:
    return ", ".join(names)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean '{near[0]}'?" if near else ""
