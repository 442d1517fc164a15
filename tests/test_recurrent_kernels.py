"""Kernels of LSTM and GRU in every storage form against numpy."""

from __future__ import annotations

import pytest
from kernel_runs import MAIN_WEIGHTS, check_layer, make_weight, normal

from dcc.passes.operators.recurrent_reference import gru_reference, lstm_reference
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.recurrence import Recurrence


@pytest.mark.parametrize("kind", MAIN_WEIGHTS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("batch", "hidden", "flag"), [(1, 20, False), (3, 7, True)])
def test_lstm(kind, reverse, batch, hidden, flag):
    weight = make_weight(kind, 4 * hidden, hidden)
    data = [normal((5, batch, 4 * hidden)), *(normal((batch, hidden), seed=s) for s in (1, 2))]
    expected = lstm_reference(
        data[0], weight.decode(), *data[1:], reverse=reverse, input_forget=flag
    )
    shape = LayerShape(
        "lstm", recurrence=Recurrence(5, batch, hidden, reverse), flags={"input_forget": flag}
    )
    check_layer(shape, weight, data, expected, tolerance=1e-5)


@pytest.mark.parametrize("kind", MAIN_WEIGHTS)
@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize(("batch", "hidden", "reverse"), [(1, 20, False), (3, 7, True)])
def test_gru(kind, flag, batch, hidden, reverse):
    """7 and 20 units: the candidate's rows share a slice with the reset gate's."""
    weight = make_weight(kind, 3 * hidden, hidden)
    data = [normal((5, batch, 3 * hidden)), normal(3 * hidden, seed=1), normal((batch, hidden))]
    expected = gru_reference(
        data[0], weight.decode(), *data[1:], reverse=reverse, linear_before_reset=flag
    )
    shape = LayerShape(
        "gru", recurrence=Recurrence(5, batch, hidden, reverse), flags={"linear_before_reset": flag}
    )
    check_layer(shape, weight, data, expected, tolerance=1e-5)
