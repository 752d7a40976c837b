"""Margins by hand, and their agreement with reading right."""

from __future__ import annotations

import pytest
import torch

from robustcourse import margin


def test_margins_by_hand():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    assert margin(logits, torch.tensor([0, 2, 1])).tolist() == [1.0, -1.0, 0.0]


def test_the_sign_of_the_margin_says_whether_an_example_is_read_right():
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(200, 5, generator=generator), torch.randint(5, (200,), generator=generator)
    assert torch.equal(margin(logits, y) > 0, logits.argmax(1) == y)


def test_its_gradient_is_one_for_the_label_and_minus_one_for_the_runner_up():
    logits = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(margin(logits, torch.tensor([1])).sum(), logits)
    assert gradient.tolist() == [[-1.0, 1.0, 0.0]]


def test_what_is_no_margin_is_refused():
    with pytest.raises(ValueError, match=r"y must hold labels in 0 … 2, got labels in 3 … 3"):
        margin(torch.zeros(1, 3), torch.tensor([3]))
    with pytest.raises(ValueError, match=r"logits must be of at least two classes, got shape \(1, 1\)"):
        margin(torch.zeros(1, 1), torch.tensor([0]))
