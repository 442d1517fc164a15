"""A candidate: a storage form and the values of its tunables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.schedules.cost_model import estimate_all
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunable import Case, Value
from dcc.schedules.tunable_values import choices, conflict, default_values
from dcc.targets.target import Target

HOPELESS = 6.0
"""A form that the cost model finds so many times slower than the best is not tried."""


@dataclass(frozen=True)
class Candidate:
    """One way to store and to compute a layer.

    Attributes
    ----------
    values
        (tunable, value) in the order of the declaration; tunables that are left out have their
        default.
    """

    form: Form
    values: tuple[tuple[str, Value], ...] = ()

    @property
    def key(self) -> str:
        """Return the text that stands for it in files; see :func:`parse_candidate`."""
        return json.dumps({"form": self.form, **dict(self.values)})

    def __str__(self) -> str:
        return " ".join([self.form, *(f"{n}={_shown(v)}" for n, v in self.values)])


def parse_candidate(key: str) -> Candidate:
    """Inverse of ``Candidate.key``."""
    values = json.loads(key)
    form: Form = values.pop("form")
    return Candidate(form, tuple(values.items()))


def _shown(value: Value) -> str:
    return "auto" if value is None else str(value)


@dataclass(frozen=True)
class Space:
    """The candidates of one layer.

    Attributes
    ----------
    forms
        Storage forms to try -> their tunables with the values of each, the default first. The form
        of the default schedule comes first.
    """

    shape: LayerShape
    weight: WeightMatrix
    target: Target
    forms: dict[Form, dict[str, tuple[Value, ...]]] = field(default_factory=dict)

    def every_value(self, candidate: Candidate) -> dict[str, Value]:
        """Values of all tunables, those among them that are not varied."""
        return {**self._default_values[candidate.form], **dict(candidate.values)}

    @cached_property
    def _default_values(self) -> dict[Form, dict[str, Value]]:
        # Once: the defaults depend on the density, which takes a look at every weight.
        return {
            form: default_values(Case(self.shape, form, self.weight, self.target))
            for form in self.forms
        }

    @property
    def default(self) -> Candidate:
        """The default schedule."""
        return self.defaults()[0]

    def defaults(self) -> list[Candidate]:
        """List the default schedule of each form, the best estimate first."""
        return [
            Candidate(form, tuple((name, values[0]) for name, values in tunables.items()))
            for form, tunables in self.forms.items()
        ]

    def conflict(self, candidate: Candidate) -> str | None:
        """Why the values of a candidate do not go together; None where they do."""
        case = Case(self.shape, candidate.form, self.weight, self.target)
        return conflict(case, self._default_values[candidate.form], dict(candidate.values))

    def __iter__(self) -> Iterator[Candidate]:
        """Iterate over every candidate whose values go together."""
        for form, tunables in self.forms.items():
            for values in product(*tunables.values()):
                candidate = Candidate(form, tuple(zip(tunables, values, strict=True)))
                if self.conflict(candidate) is None:
                    yield candidate


def search_space(
    shape: LayerShape, weight: WeightMatrix, target: Target, storage: str = "auto"
) -> Space:
    """Make the space of a layer: of one form, or of every form that is not hopeless."""
    estimates = estimate_all(weight, shape, target)
    best = min(estimate.nanoseconds for estimate in estimates.values())
    ranked = sorted(
        estimates.values(), key=lambda e: (e.nanoseconds, e.kept_bytes + e.touched_bytes)
    )
    forms: list[Form] = [e.form for e in ranked if e.nanoseconds <= HOPELESS * best]
    if storage != "auto":
        forms = [form for form in FORMS if form == storage and form in estimates]
    tunables = {form: choices(Case(shape, form, weight, target)) for form in forms}
    return Space(shape, weight, target, tunables)
