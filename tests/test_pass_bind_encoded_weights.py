"""Pass ``BindEncodedWeights``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pass_checks import apply, check, check_numbers, table_of
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.passes.bind_encoded_weights import BindEncodedWeights
from dcc.passes.inject_pruning_masks import InjectPruningMasks
from dcc.passes.options import Recipe
from dcc.passes.parameters import parameter
from dcc.passes.share_weights import ShareWeights

RANDOM = np.random.default_rng(6)


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((2, 16), "float32"),
        v: R.Tensor((16, 16), "float32"),
        w: R.Tensor((16, 9), "float32"),
    ) -> R.Tensor((2, 9), "float32"):
        with R.dataflow():
            h = R.matmul(x, v)
            y = R.matmul(h, w)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(
        x: R.Tensor((2, 16), "float32"),
        v: R.Tensor((16, 16), "float32"),
        v_mask: R.Tensor((16, 16), "bool"),
        w_codes: R.Tensor((16, 9), "uint8"),
        w_codebook: R.Tensor((5,), "float32"),
    ) -> R.Tensor((2, 9), "float32"):
        with R.dataflow():
            masked = R.dcc.apply_mask(v, v_mask)
            shared = R.dcc.lookup(w_codes, w_codebook)
            h = R.matmul(x, masked)
            y = R.matmul(h, shared)
            R.output(y)
        return y


def sparse(shape, levels=None):
    values = RANDOM.standard_normal(shape).astype("float32")
    if levels is not None:
        values = RANDOM.standard_normal(levels).astype("float32")[RANDOM.integers(0, levels, shape)]
    return np.where(RANDOM.random(shape) < 0.5, values, np.float32(0))


def test_masks_and_codebooks_come_from_the_container():
    table = table_of(v=sparse((16, 16)), w=sparse((16, 9), levels=4))
    tensors = {f"{name}'": EncodedTensor.from_dense(a) for name, a in table.arrays.items()}
    after = check(BindEncodedWeights(table, tensors), Before, Expected)
    assert table.reasons["w"][1] == "codebook of 5 values"
    assert "keeps its values: no codebook that saves bytes" in table.reasons["v"]
    check_numbers(Before, after, table, {"x": RANDOM.standard_normal((2, 16)).astype("float32")})


def test_weight_that_the_container_does_not_code_is_left_alone():
    table = table_of(v=RANDOM.standard_normal((16, 16)).astype("float32"), w=sparse((16, 9)))
    tensors = {"v'": EncodedTensor.from_dense(table.arrays["v"])}
    check(BindEncodedWeights(table, tensors), Before, Before)
    assert table.reasons == {"v": ["keeps its values: no codebook that saves bytes"]}


def reader(weight):
    """A module that only reads a weight."""
    builder = relax.BlockBuilder()
    variable = parameter("w", weight)
    with builder.function("main", [variable]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(variable))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(
    levels=st.integers(1, 300), density=st.floats(0, 1), bits=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_same_codes_as_from_the_weight_itself(dtype, levels, density, bits, seed):
    """However the container stores a weight, its codes are those that the recipe leads to."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(levels).astype(dtype)
    weight = np.where(
        random.random((16, 9)) < density, values[random.integers(0, levels, (16, 9))], 0
    )
    weight = weight.astype(dtype)
    direct, recipe = table_of(w=weight), Recipe(settings={"bits": bits})
    module = reader(weight)
    for pass_ in (InjectPruningMasks(direct, recipe), ShareWeights(direct, recipe)):
        module = pass_(module)
    dense, codes = weight, direct.part("w", "codes")
    if codes is not None:
        dense = direct.part("w", "codebook")[codes]
    tensors = [EncodedTensor.from_dense(dense)]
    if codes is not None:
        tensors.append(
            EncodedTensor.from_codes(direct.mask("w"), codes, direct.part("w", "codebook"))
        )
    for tensor in tensors:
        stored = table_of(w=tensor.decode())
        BindEncodedWeights(stored, {"w'": tensor})(reader(weight))
        for part in ("mask", "codes", "codebook"):
            one, other = direct.part("w", part), stored.part("w", part)
            assert (one is None) == (other is None)
            if one is not None:
                assert one.tobytes() == other.tobytes()


def test_idempotent_over_partial_containers():
    table = table_of(v=sparse((16, 16)), w=sparse((16, 9), levels=4))
    tensors = {"w'": EncodedTensor.from_dense(table.arrays["w"])}
    after = apply(BindEncodedWeights(table, tensors), Before)
    assert [v.name for v in after["main"].params] == ["x", "v", "w_codes", "w_codebook"]
