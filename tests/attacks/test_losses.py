"""Losses against numbers by hand, and what they promise for any logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse.attacks import cross_entropy, dlr, dlr_targeted, margin_loss, margin_targeted
from tests.nets import generator

LOGITS = torch.tensor([[4.0, 1.0, 3.0, -2.0], [4.0, 1.0, 3.0, -2.0], [4.0, 1.0, 3.0, -2.0]])
Y, TARGET = torch.tensor([0, 2, 1]), torch.tensor([2, 0, 3])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (margin_loss, [-1, 1, 3]),  # the best of the others, minus the right one
        (dlr, [-1 / 3, 1 / 3, 1]),  # over 4 − 1, the first and the third
    ],
)
def test_losses_by_hand(loss, expected):
    torch.testing.assert_close(loss(LOGITS, Y), torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (margin_targeted, [-1, 1, -3]),  # the target's minus the right one
        (dlr_targeted, [-1 / 4.5, 1 / 4.5, -3 / 4.5]),  # over 4 − (1 − 2) / 2
    ],
)
def test_targeted_losses_by_hand(loss, expected):
    torch.testing.assert_close(loss(LOGITS, Y, TARGET), torch.tensor(expected, dtype=torch.float32))


def test_cross_entropy_is_one_number_for_each_example():
    found = cross_entropy(torch.tensor([[0.0, 0.0], [0.0, 100.0], [0.0, math.log(3)]]), torch.tensor([0, 1, 0]))
    torch.testing.assert_close(found, torch.tensor([2.0, 1.0, 4.0]).log())


def test_with_few_classes_dlr_is_the_margin():
    two, three, y = LOGITS[:, :2], LOGITS[:, :3], torch.tensor([0, 1, 1])
    assert torch.equal(dlr(two, y), margin_loss(two, y))
    assert torch.equal(dlr_targeted(two, y, 1 - y), margin_targeted(two, y, 1 - y))
    assert torch.equal(dlr_targeted(three, y, 2 - y), margin_targeted(three, y, 2 - y))
    torch.testing.assert_close(dlr(three, y), torch.tensor([-1 / 3, 1.0, 1.0]))  # three are enough for the plain one


def drawn(classes, seed):
    logits = torch.randn(20, classes, generator=generator(seed), dtype=torch.float64)
    y, shift = torch.randint(classes, (20,), generator=generator(seed + 1)), torch.arange(20) % (classes - 1) + 1
    return logits, y, (y + shift) % classes


many = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 1000)


@many
@given(st.integers(2, 10), seeds)
def test_they_are_positive_exactly_where_the_model_errs(classes, seed):
    logits, y, target = drawn(classes, seed)
    for loss in (margin_loss, dlr):
        assert torch.equal(loss(logits, y) > 0, logits.argmax(1) != y)
    for loss in (margin_targeted, dlr_targeted):
        found = loss(logits, y, target)
        assert torch.equal(found > 0, logits.gather(1, target[:, None])[:, 0] > logits.gather(1, y[:, None])[:, 0])


@many
@given(st.integers(4, 10), seeds, st.floats(-3, 5), st.floats(-100, 100))
def test_no_scale_and_no_shift_hides_dlr(classes, seed, exponent, shift):
    logits, y, target = drawn(classes, seed)
    other = 10.0**exponent * logits + shift
    torch.testing.assert_close(dlr(other, y), dlr(logits, y), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(dlr_targeted(other, y, target), dlr_targeted(logits, y, target), rtol=1e-5, atol=1e-8)


@many
@given(st.integers(2, 10), seeds)
def test_equal_logits_have_a_finite_loss_and_gradient(classes, seed):
    _, y, target = drawn(classes, seed)
    logits = torch.zeros(20, classes, requires_grad=True)
    for value in (margin_loss(logits, y), dlr(logits, y), dlr_targeted(logits, y, target)):
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.eq(0).all()
        assert gradient.isfinite().all()
