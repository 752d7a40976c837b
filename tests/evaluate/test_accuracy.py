"""Accuracy, clean and under attack, on models whose mistakes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from robustcourse import L2, PGD, Linf, accuracy, correct, robust_accuracy
from robustcourse.data import Split

# One pixel, and a model that says 1 where it is brighter than a half.
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
MODEL[1].weight.data, MODEL[1].bias.data = torch.tensor([[-10.0], [10.0]]), torch.tensor([5.0, -5.0])
X = torch.tensor([0.1, 0.3, 0.45, 0.55, 0.7, 0.9, 0.2, 0.8]).view(-1, 1, 1, 1)
SPLIT = Split(X, torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]))  # the last two are labelled against the rule


def test_which_examples_are_read_correctly_and_which_survive():
    clean = [True] * 6 + [False] * 2
    assert correct(MODEL, SPLIT).tolist() == clean
    assert correct(MODEL, SPLIT, PGD(Linf(0.1))).tolist() == [True, True, False, False, True, True, False, False]
    assert correct(MODEL, SPLIT, PGD(Linf(0.3))).tolist() == [True] + [False] * 4 + [True] + [False] * 2
    assert str(accuracy(MODEL, SPLIT)).startswith("75.0 %")
    assert str(robust_accuracy(MODEL, SPLIT, PGD(Linf(0.1)))).startswith("50.0 %")
    assert accuracy(MODEL, SPLIT).n == 8


@dataclass(frozen=True)
class Moves:
    """An attack that adds a number to every pixel, allowed or not."""

    threat: Any
    by: float

    def __call__(self, model, x, y, generator=None):
        return x + self.by


def test_an_example_counts_only_if_it_is_right_clean_too():
    # Brighter by 0.4: "repairs" the mistake at 0.2, and must not be credited for it.
    split = SPLIT[[0, 6]]
    assert correct(MODEL, split, Moves(Linf(0.4), 0.4)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Moves(Linf(0.05), 0.1), r"attack left its threat set Linf\(eps=0.05\): it moved an input by 0.1; project it"),
        (Moves(L2(0.05), -0.1), r"attack left its threat set L2\(eps=0.05\): it moved an input by 0.1; project it"),
        (Moves(Linf(1.0), 0.5), r"x must lie in \[0, 1\], got values in \[0.6, 1.4\]"),
        (Moves(Linf(1.0), float("nan")), "x must be finite"),
    ],
)
def test_an_attack_that_cheats_is_refused(attack, message):
    with pytest.raises(ValueError, match=message):
        robust_accuracy(MODEL, SPLIT, attack)


@pytest.mark.parametrize("measure", [robust_accuracy, correct])
def test_an_attack_towards_the_true_labels_is_refused(measure):
    with pytest.raises(ValueError, match="attack must not be targeted"):
        measure(MODEL, SPLIT, PGD(Linf(0.1), targeted=True))


def test_the_batch_size_changes_nothing_but_memory():
    assert torch.equal(correct(MODEL, SPLIT, batch_size=3), correct(MODEL, SPLIT))
    attack = PGD(Linf(0.1), random_start=False)
    assert torch.equal(correct(MODEL, SPLIT, attack, batch_size=3), correct(MODEL, SPLIT, attack))


def test_the_seed_is_the_attacks():
    class Notes(Moves):
        def __call__(self, model, x, y, generator=None):
            drawn.append(float(torch.rand((), generator=generator)))
            return x

    drawn = []
    for seed in (1, 1, 2):
        robust_accuracy(MODEL, SPLIT, Notes(Linf(0.1), 0.0), batch_size=4, seed=seed)
    first, again, other = drawn[:2], drawn[2:4], drawn[4:]
    assert first == again != other
    assert first[0] != first[1]  # the second batch goes on in the stream


@pytest.mark.parametrize("measure", [accuracy, lambda *a, **k: robust_accuracy(*a, PGD(Linf(0.1)), **k), correct])
def test_a_batch_needs_an_example(measure):
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        measure(MODEL, SPLIT, batch_size=0)
