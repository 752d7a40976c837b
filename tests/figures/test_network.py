"""The drawing of a small network."""

from __future__ import annotations

import pytest
import torch

from robustcourse.figures import network

ALT = "Two pixels, one neuron, and what is known of them."
COLUMNS = [{"x₁": "[0, 1]", "x₂": "0.5"}, {"z": "[−2, 0]"}]


def test_every_neuron_and_every_weight_but_zero_is_drawn():
    drawn = network(COLUMNS, [torch.tensor([[-2.5, 0.0]])], ALT)
    for text in ("x₁", "[0, 1]", "x₂", "0.5", "[−2, 0]", "−2.5"):
        assert f">{text}</" in drawn.svg
    assert ">0</" not in drawn.svg


def test_the_table_says_what_is_known_of_each_neuron():
    drawn = network(COLUMNS, [torch.ones(1, 2)], ALT)
    assert drawn.table == {"neuron": ["x₁", "x₂", "z"], "what is known": ["[0, 1]", "0.5", "[−2, 0]"]}
    assert drawn.alt == ALT


@pytest.mark.parametrize("weights", [[], [torch.ones(2, 1)], [torch.ones(1, 2), torch.ones(1, 1)]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match=r"weights must be of shapes \[\(1, 2\)\], as many as lie between the columns"):
        network(COLUMNS, weights, ALT)
