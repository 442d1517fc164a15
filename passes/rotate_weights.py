"""Add a function that computes a layer from many copies of its weights in turn: to be timed.

    rotated(x, w_of_copy_0, ..., w_of_copy_n)    ->    (main(x, w_of_copy_0), ..., main(x, ...))

A layer that is run again and again finds its weights in the cache of a card, as it hardly does in
a model. Together the copies exceed the cache several times, so that none is there when its turn
comes.
Precondition: weights are parameters of ``main`` (``LiftWeights``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from dcc.passes.parameters import MAIN
from dcc.schedules.tuning.separate_weights import ROTATED

CACHE_SHARE = 4
"""Times the cache that the copies take together."""
FEWEST, MOST = 2, 64


@tvm.transform.module_pass(opt_level=0, name="dcc.RotateWeights")
@dataclass(frozen=True)
class RotateWeights:
    """Add ``rotated``; the number of copies is that of its results.

    Attributes
    ----------
    inputs
        Parameters of ``main`` that are no weights.
    cache_bytes
        The last cache level.
    """

    inputs: int
    cache_bytes: int

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Add the function."""
        main = module[MAIN]
        data, weights = main.params[: self.inputs], main.params[self.inputs :]
        count = copies(sum(_bytes(weight.ty) for weight in weights), self.cache_bytes)
        given = [relax.Var(each.name, each.ty) for each in data]
        rotating = [
            [relax.Var(f"{each.name}_{number}", each.ty) for each in weights]
            for number in range(count)
        ]
        builder = relax.BlockBuilder(module)
        # ``main`` got its parameters after its global variable got a type.
        once = relax.utils.copy_with_new_vars(main).without_attr("global_symbol")
        variable = builder.add_func(once, "once")
        with builder.function(ROTATED, [*given, *(each for copy in rotating for each in copy)]):
            results = [builder.emit(relax.Call(variable, [*given, *copy])) for copy in rotating]
            builder.emit_func_output(relax.Tuple(results))
        return builder.get()


def copies(nbytes: int, cache_bytes: int) -> int:
    """How often weights of ``nbytes`` stand in memory."""
    return min(max(-(-CACHE_SHARE * cache_bytes // max(nbytes, 1)), FEWEST), MOST)


def _bytes(kind: relax.TensorType) -> int:
    size = int(np.prod([int(each) for each in kind.shape], dtype=np.int64))
    return size * np.dtype(str(kind.dtype.dtype)).itemsize
