"""Search of tile sizes and virtual threads on simulated cycles, guided by an XGBoost model.

The candidates that the estimate likes best are simulated first, and some at random. Then a model of
gradient-boosted trees learns the cycles of what was simulated, and picks the next batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.schedules.vta.conv import conv_stream
from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.measuring import stream_timeline
from dcc.schedules.vta.tiling import Tiling, candidates, default_tiling, estimate
from dcc.targets.vta.device import Accelerator

BATCH = 8
WARM_UP = 16
ROUNDS = 60
RANDOM_IN_BATCH = 2

Kept = npt.NDArray[np.bool_]


@dataclass
class TilingSearch:
    """State of the search for one layer.

    Attributes
    ----------
    kept
        Weight blocks that are stored; None: all.
    cycles
        What was simulated so far.
    """

    layer: ConvLayer
    device: Accelerator
    kept: Kept | None = None
    seed: int = 0
    cycles: dict[Tiling, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.share = 1.0 if self.kept is None else float(self.kept.mean())
        self.space = list(candidates(self.layer, self.device))
        self.estimates = {
            t: estimate(self.layer, t, self.device, None, self.share) for t in self.space
        }
        self.random = np.random.default_rng(self.seed)

    @property
    def default(self) -> Tiling | None:
        """The tiling without a search."""
        return default_tiling(self.layer, self.device, None, self.share)

    @property
    def best(self) -> Tiling:
        """The tiling of the fewest cycles so far."""
        return min(self.cycles, key=lambda tiling: self.cycles[tiling])

    def run(self, trials: int, stopped: Callable[[], bool] = lambda: False) -> Tiling:
        """Simulate up to ``trials`` candidates in all, the default first; return the best."""
        default = self.default
        assert default is not None
        self._measure(default)
        ranked = sorted(self.space, key=lambda tiling: self.estimates[tiling])
        for tiling in ranked[: WARM_UP // 2] + self._drawn(WARM_UP // 2):
            if len(self.cycles) < trials and not stopped():
                self._measure(tiling)
        while len(self.cycles) < min(trials, len(self.space)) and not stopped():
            for tiling in self._next(min(BATCH, trials - len(self.cycles))):
                if not stopped():
                    self._measure(tiling)
        return self.best

    def _measure(self, tiling: Tiling) -> None:
        if tiling not in self.cycles:
            stream = conv_stream(self.layer, tiling, self.device, self.kept)
            self.cycles[tiling] = stream_timeline(stream, self.device).cycles

    def _drawn(self, count: int) -> list[Tiling]:
        left = [tiling for tiling in self.space if tiling not in self.cycles]
        order = self.random.permutation(len(left))[:count]
        return [left[place] for place in order]

    def _next(self, count: int) -> list[Tiling]:
        left = [tiling for tiling in self.space if tiling not in self.cycles]
        predicted = self._model().predict(np.array([self._features(tiling) for tiling in left]))
        best = [left[place] for place in np.argsort(predicted, kind="stable")[:count]]
        drawn = self._drawn(RANDOM_IN_BATCH) if count > RANDOM_IN_BATCH else []
        return list(dict.fromkeys([*best[: count - len(drawn)], *drawn]))

    def _model(self) -> Any:
        from xgboost import XGBRegressor

        model = XGBRegressor(
            n_estimators=ROUNDS, max_depth=5, learning_rate=0.2, random_state=self.seed, n_jobs=1
        )
        rows = [self._features(tiling) for tiling in self.cycles]
        model.fit(np.array(rows), np.log2(list(self.cycles.values())))
        return model

    def _features(self, tiling: Tiling) -> list[float]:
        """Sizes as logarithms, and the estimate."""
        layer = self.layer
        sizes = (tiling.rows, tiling.columns, tiling.outputs, tiling.inputs)
        tiles = math.ceil(layer.out_height / tiling.rows) * math.ceil(
            layer.out_width / tiling.columns
        )
        slots = tiling.slots(layer)
        return [
            *(math.log2(size) for size in sizes),
            *(math.log2(1 + size) for size in slots),
            math.log2(tiles),
            float(tiling.order == "pixels"),
            float(tiling.threads),
            math.log2(self.estimates[tiling]),
        ]
