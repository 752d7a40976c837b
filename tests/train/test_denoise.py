"""A denoiser in front of a model: what it learns, and that the model behind it learns nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import fit, load, mlp
from robustcourse.data import Dataset
from robustcourse.models import cnn
from robustcourse.train import Denoiser, Denoising, Stability
from tests.nets import points, trained

DATA = points()
X, Y = DATA.train.x, DATA.train.y


def state(model):
    return [tensor.clone() for tensor in model.state_dict().values()]


def test_at_first_it_does_nothing():
    front = Denoiser(DATA, width=4)
    assert torch.equal(front(X), X)
    assert not front.training


def test_its_shape_is_that_of_the_images_and_its_seed_decides():
    colour = Dataset("colour", *[type(DATA.train)(torch.rand(2, 3, 5, 7), torch.zeros(2).long())] * 2, 1, "drawn here")
    front = Denoiser(colour, width=4, depth=2)
    nn.init.ones_(front.change[-1].weight)
    assert front(colour.train.x).shape == (2, 3, 5, 7)
    assert len([part for part in front.modules() if isinstance(part, nn.Conv2d)]) == 2
    first = [Denoiser(DATA, seed=seed).change[0].weight for seed in (0, 0, 1)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_denoising_is_the_mean_squared_distance():
    model = nn.Sequential(Denoiser(DATA, width=4), mlp(DATA, width=4))
    torch.manual_seed(0)
    loss = Denoising(0.3)(model, X, Y)
    torch.manual_seed(0)
    assert loss.item() == pytest.approx(float((0.3 * torch.randn_like(X)).square().mean()))  # for it does nothing yet


def test_stability_asks_for_the_model_s_own_answers():
    back = mlp(DATA, width=4)
    model = nn.Sequential(Denoiser(DATA, width=4), back)
    assert Stability(0.0)(model, X, Y).item() == pytest.approx(
        nn.functional.cross_entropy(back(X), back(X).argmax(1)).item()
    )
    torch.manual_seed(0)
    one = Stability(0.2)(model, X, Y)
    torch.manual_seed(0)
    assert torch.equal(one, Stability(0.2)(model, X, (Y + 1) % 4))


@pytest.mark.parametrize("objective", [Denoising(0.3), Stability(0.3)], ids=["Denoising", "Stability"])
def test_the_model_behind_stays_as_it_is(objective):
    back = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
    model, before = nn.Sequential(Denoiser(DATA, width=4), back), state(back)
    was = state(model[0])
    fit(model, DATA, objective, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(before, state(back), strict=True))
    assert all(weight.requires_grad and weight.grad is None for weight in back.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(was, state(model[0]), strict=True))


def test_denoising_brings_images_nearer_and_stability_brings_answers_back():
    data, model = load("digits"), trained()
    near, calm = (nn.Sequential(Denoiser(data, width=8, depth=3), model) for _ in range(2))
    fit(near, data, Denoising(0.5), epochs=5)
    noisy = data.test.x + 0.5 * torch.randn(data.test.x.shape, generator=torch.Generator().manual_seed(0))
    assert (near[0](noisy) - data.test.x).square().mean() < 0.4 * (noisy - data.test.x).square().mean()
    losses = fit(calm, data, Stability(0.5), epochs=5).loss
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("objective", [Denoising, Stability])
def test_what_is_no_pair_or_no_noise_is_refused(objective):
    with pytest.raises(ValueError, match="sigma must be a finite number >= 0, got -1"):
        objective(-1)
    with pytest.raises(TypeError, match=r"model must be nn.Sequential\(denoiser, model\), got Linear"):
        objective(0.1)(nn.Linear(2, 2), X, Y)
    with pytest.raises(TypeError, match=r"model must be nn.Sequential\(denoiser, model\)"):
        objective(0.1)(cnn(DATA, width=2), X, Y)


def test_a_network_without_inside_is_refused():
    for sizes in ({"width": 0}, {"depth": 1}):
        with pytest.raises(ValueError, match="width must be >= 1 and depth >= 2, got width="):
            Denoiser(DATA, **sizes)
