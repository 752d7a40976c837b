"""What is refused, and in which words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import FGSM, PGD, Linf
from robustcourse.checks import (
    check_images,
    check_labels,
    check_logits,
    check_model,
    check_untargeted,
    evaluating,
    frozen,
)

X = torch.full((3, 1, 2, 2), 0.5)
Y = torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X.numpy(), TypeError, "x must be a torch.Tensor, got ndarray"),
        ((X * 255).to(torch.uint8), TypeError, r"x must be float32 or float64 .* got torch.uint8; divide 0..255"),
        (X.half(), TypeError, r"x must be float32 or float64 with values in \[0, 1\], got torch.float16"),
        (X.bfloat16(), TypeError, r"x must be float32 or float64 with values in \[0, 1\], got torch.bfloat16"),
        (X[:0], ValueError, r"non-empty batch of shape \(B, ...\), got shape \(0, 1, 2, 2\)"),
        (X[0, 0, 0], ValueError, r"non-empty batch of shape \(B, ...\), got shape \(2,\)"),
        (X * float("nan"), ValueError, "x must be finite, but it has NaN or infinite values"),
        (X / 0, ValueError, "x must be finite, but it has NaN or infinite values"),
        (X * 255, ValueError, r"x must lie in \[0, 1\], got values in \[128, 128\]; normalization is the model's"),
        (X - 0.75, ValueError, r"x must lie in \[0, 1\], got values in \[-0.25, -0.25\]"),
    ],
)
def test_images_that_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        check_images(x)


def test_one_bad_pixel_is_enough():
    x = X.clone()
    x[2, 0, 1, 1] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        check_images(x)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, 2], TypeError, "y must be an int64 tensor of labels, got list"),
        (Y.float(), TypeError, "y must be an int64 tensor of labels, got torch.float32"),
        (Y[:2], ValueError, r"one label for each of the 3 examples of x, got shape \(2,\)"),
        (Y[:, None], ValueError, r"one label for each of the 3 examples of x, got shape \(3, 1\)"),
        (Y.to("meta"), ValueError, "x and y must be on one device, got cpu and meta"),
        (Y + 1, ValueError, r"y must hold labels in 0 … 2, got labels in 1 … 3"),
        (Y - 1, ValueError, r"y must hold labels in 0 … 2, got labels in -1 … 1"),
    ],
)
def test_labels_that_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        check_labels(y, X, classes=3)


@pytest.mark.parametrize(
    ("logits", "got"),
    [(torch.zeros(3), r"\(3,\)"), (torch.zeros(2, 10), r"\(2, 10\)"), (torch.zeros(3, 10, 1), r"\(3, 10, 1\)"),
     ((torch.zeros(3, 10),), "tuple")],
)  # fmt: skip
def test_logits_that_are_refused(logits, got):
    with pytest.raises(ValueError, match=rf"model must return logits of shape \(3, classes\), got {got}"):
        check_logits(logits, X)


def test_a_model_must_be_a_module():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got function"):
        check_model(lambda x: x)


def test_one_part_in_training_mode_is_enough():
    model = nn.Sequential(nn.Linear(4, 2), nn.Dropout()).eval()
    check_model(model)
    model[1].train()
    with pytest.raises(
        ValueError, match=r"model is in training mode, which changes what it computes; call model\.eval\(\)"
    ):
        check_model(model)


@pytest.mark.parametrize("attack", [PGD(Linf(0.1), targeted=True), FGSM(Linf(0.1), targeted=True)])
def test_an_attack_towards_the_true_labels_is_refused(attack):
    with pytest.raises(ValueError, match=r"attack must not be targeted, .*; got PGD\(threat=Linf\(eps=0.1\)"):
        check_untargeted(attack)


def test_good_input_passes():
    check_images(torch.tensor([[0.0, 1.0]]))
    check_images(torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    check_untargeted(FGSM(Linf(0.1)))
    check_untargeted(lambda model, x, y, generator=None: x)  # an attack that knows of no targets
    check_labels(Y, X, classes=3)
    check_labels(Y + 100, X)  # where the number of classes is not known
    check_logits(torch.zeros(3, 10), X)


def test_evaluating_gives_each_part_its_own_mode_back_even_after_an_error():
    model = nn.Sequential(nn.Sequential(nn.Dropout(), nn.ReLU()), nn.BatchNorm1d(2))
    model[0][1].eval()
    modes = [part.training for part in model.modules()]
    during = []

    def fail():
        with evaluating(model):
            during.extend(part.training for part in model.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert during == [False] * 5
    assert [part.training for part in model.modules()] == modes == [True, True, True, False, True]


def test_frozen_weights_are_as_they_were_afterwards_even_after_an_error():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].bias.requires_grad_(False)  # somebody's choice, to be kept
    during = []

    def fail():
        with frozen(model):
            during.extend(weight.requires_grad for weight in model.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert during == [False] * 4
    assert [weight.requires_grad for weight in model.parameters()] == [True, False, True, True]
