"""Training methods as losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustcourse import FGSM, L2, PGD, AdversarialTraining, Linf, Standard, fit, load, mlp, robust_accuracy
from robustcourse.data import Dataset, Split
from robustcourse.evaluate import counting
from robustcourse.runtime import described
from robustcourse.train import (
    AWP,
    MART,
    NFGSM,
    TRADES,
    Curriculum,
    Free,
    GaussianNoise,
    GradientPenalty,
    SpectralPenalty,
    constant,
    fast,
)


def points(n=64):
    x = torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split = Split(x, (x.mean((1, 2, 3)) > 0.5).long())
    return Dataset("points", split, split, 2, "drawn here")


DATA = points()
X, Y = DATA.train.x, DATA.train.y


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_standard_is_the_mean_cross_entropy():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for parameter in model.parameters():
        parameter.data.zero_()
    assert Standard()(model, X, Y).item() == pytest.approx(math.log(2))


def test_adversarial_training_is_the_mean_cross_entropy_at_the_worst_point():
    model, attack = mlp(DATA, width=8), FGSM(Linf(0.1))
    loss = AdversarialTraining(attack)(model, X, Y)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(model(attack(model, X, Y)), Y))
    assert loss > Standard()(model, X, Y)


def test_training_towards_the_true_labels_is_refused():
    with pytest.raises(ValueError, match="attack must not be targeted"):
        AdversarialTraining(PGD(Linf(0.1), steps=7, targeted=True))


@pytest.mark.parametrize("attack", [FGSM(Linf(0.0)), PGD(L2(0.0), steps=2)], ids=["FGSM", "PGD"])
def test_against_an_attacker_who_may_do_nothing_it_is_standard_training(attack):
    standard, adversarial = mlp(DATA, width=8), mlp(DATA, width=8)
    fit(standard, DATA, Standard(), epochs=3, batch_size=16)
    fit(adversarial, DATA, AdversarialTraining(attack), epochs=3, batch_size=16)
    for a, b in zip(standard.parameters(), adversarial.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_inner_attack_moves_no_statistics_and_leaves_no_gradient():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    model[3].eval()  # somebody's choice, to be kept
    watched = []

    def attack(model, x, y, generator):
        watched.append([part.training for part in model.modules()])
        before = state(model)
        x_adv = PGD(Linf(0.1), steps=3)(model, x, y, generator)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        return x_adv

    before = state(model)
    AdversarialTraining(attack)(model, X, Y).backward()
    assert watched == [[False] * 6]
    assert [part.training for part in model.modules()] == [True, True, True, True, False, True]
    # One training pass, that of the loss, has moved the statistics.
    assert model[2].num_batches_tracked == before["2.num_batches_tracked"] + 1


def test_each_step_starts_the_attack_somewhere_else_and_the_seed_decides_where():
    def starts(seed):
        seen = []

        def attack(model, x, y, generator):
            seen.append(float(torch.rand((), generator=generator)))
            return x

        fit(mlp(DATA, width=4), DATA, AdversarialTraining(attack), epochs=2, batch_size=16, seed=seed)
        return seen

    assert len(set(starts(0))) == 8
    assert starts(0) == starts(0) != starts(1)


def test_adversarial_training_makes_a_model_more_robust():
    data, threat = load("digits"), Linf(0.1)
    models = [mlp(data, width=64), mlp(data, width=64)]
    for model, objective in zip(models, (Standard(), AdversarialTraining(PGD(threat, steps=2))), strict=True):
        fit(model, data, objective, epochs=10)
    standard, robust = (robust_accuracy(model, data.test, PGD(threat, steps=10)) for model in models)
    assert standard.high < robust.low


# Against the definitions


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()))


def same_step(model, one, other):
    """Whether two objectives have the same value and the same gradient, to the last bit."""
    torch.manual_seed(0)
    first = one(model, X, Y)
    torch.manual_seed(1)
    second = other(model, X, Y)
    pairs = zip(gradients(model, first), gradients(model, second), strict=True)
    return torch.equal(first, second) and all(torch.equal(a, b) for a, b in pairs)


def batch_norm():
    """A network that notices how often it is asked."""
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).train()


WALK = PGD(Linf(0.1), steps=3)


@pytest.mark.parametrize(
    "objective",
    [
        TRADES(WALK, beta=0),
        TRADES(PGD(Linf(0.0), steps=3)),
        TRADES(PGD(Linf(0.1), steps=0)),
        AdversarialTraining(WALK, weight=0),
        AdversarialTraining(PGD(Linf(0.0), steps=3)),
        AdversarialTraining(PGD(Linf(0.1), steps=0, random_start=False)),
        fast(Linf(0.0)),
        Free(Linf(0.0)),
        NFGSM(Linf(0.0)),
        GaussianNoise(0.0),
        AWP(AdversarialTraining(PGD(Linf(0.0))), gamma=0),
    ],
    ids=described,
)
def test_with_nothing_to_be_robust_to_it_is_standard_training_to_the_last_bit(objective):
    assert same_step(mlp(DATA, width=8), objective, Standard())


@pytest.mark.parametrize("objective", [TRADES(WALK, beta=0), AdversarialTraining(WALK, weight=0)], ids=described)
def test_what_is_not_searched_is_not_paid_for(objective):
    trained, standard = batch_norm(), batch_norm()
    standard.load_state_dict(trained.state_dict())
    with counting(trained) as passes:
        objective(trained, X, Y)
    assert passes.forward == len(X)
    Standard()(standard, X, Y)
    assert torch.equal(trained[2].running_mean, standard[2].running_mean)


def test_a_mixture_is_between_its_two_ends():
    model = mlp(DATA, width=8)
    torch.manual_seed(0)
    x_adv = AdversarialTraining(WALK).worst(model, X, Y)
    losses = [AdversarialTraining(WALK, weight).loss(model, X, x_adv, Y).item() for weight in (0.0, 0.25, 1.0)]
    clean = Standard()(model, X, Y).item()
    assert losses[2] > clean
    assert losses[1] == pytest.approx(0.75 * clean + 0.25 * losses[2])


def test_trades_by_hand():
    model, objective = mlp(DATA, width=8), TRADES(WALK, beta=3.0)
    x_adv = (X + 0.05).clamp(0, 1)
    p, q = (model(images).softmax(1) for images in (X, x_adv))
    divergence = nn.functional.kl_div(q.log(), p, reduction="batchmean")
    expected = nn.functional.cross_entropy(model(X), Y) + 3 * divergence
    torch.testing.assert_close(objective.loss(model, X, x_adv, Y), expected)


def test_trades_walks_uphill_on_the_divergence_and_not_on_the_loss():
    model, objective = mlp(DATA, width=8), TRADES(PGD(Linf(0.1), steps=10))
    torch.manual_seed(0)
    far, loss = (method.worst(model, X, Y) for method in (objective, AdversarialTraining(PGD(Linf(0.1), steps=10))))

    def divergence(x_adv):
        return (objective.loss(model, X, x_adv, Y) - nn.functional.cross_entropy(model(X), Y)).item()

    assert divergence(far) >= divergence(loss) > 0
    assert Linf(0.1).distance(X, far).max() <= 0.1 + 1e-6


def test_mart_by_hand():
    model, x_adv = mlp(DATA, width=8), (X + 0.05).clamp(0, 1)
    p, q = (model(images).softmax(1) for images in (X, x_adv))
    right = torch.arange(len(Y)), Y
    boosted = -q[right].log() - (1 - q[torch.arange(len(Y)), 1 - Y]).log()  # of two classes, the best wrong one
    unread = (p * (p / q).log()).sum(1) * (1 - p[right])
    torch.testing.assert_close(MART(WALK, weight=4.0).loss(model, X, x_adv, Y), (boosted + 4 * unread).mean())


def test_mart_stays_finite_where_a_wrong_class_is_certain():
    sure = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    sure[1].weight.data.zero_()
    sure[1].bias.data = torch.tensor([200.0, -200.0])
    loss = MART(WALK).loss(sure, X, X, torch.ones_like(Y))
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in gradients(sure, loss))


def test_fast_is_one_step_of_five_quarters_from_a_random_start():
    attack = fast(Linf(0.2)).attack
    assert (attack.steps, attack.step_size, attack.random_start) == (1, 0.25, True)


def test_nfgsm_goes_a_full_step_beyond_the_noise_and_stays_in_the_box():
    torch.manual_seed(0)
    x = torch.full((64, 1, 2, 2), 0.5)
    far = (NFGSM(Linf(0.1), noise=2.0).worst(mlp(DATA, width=8), x, Y) - x).abs()
    assert 0.25 < far.max() <= 0.3 + 1e-6
    edge = NFGSM(Linf(0.3)).worst(mlp(DATA, width=8), X, Y)
    assert edge.min() >= 0
    assert edge.max() <= 1


def test_free_with_one_replay_is_its_definition():
    threat, model, by_hand = Linf(0.1), mlp(DATA, width=8, seed=1), mlp(DATA, width=8, seed=1)
    rate = {"learning_rate": 0.1, "optimizer": torch.optim.SGD, "schedule": constant}
    batches = []

    def noting(model, x, y):
        batches.append((x, y))
        return Standard()(model, x, y)

    fit(mlp(DATA, width=8), DATA, noting, epochs=1, batch_size=24)
    fit(model, DATA, Free(threat, replays=1), epochs=1, batch_size=24, **rate)
    delta = torch.zeros(24, 1, 2, 2)
    for x, y in batches:
        x_adv = (x + delta[: len(x)]).clamp(0, 1).requires_grad_(True)
        loss = nn.functional.cross_entropy(by_hand(x_adv), y)
        *steps, up = torch.autograd.grad(loss, [*by_hand.parameters(), x_adv])
        for weight, step in zip(by_hand.parameters(), steps, strict=True):
            weight.data -= 0.1 * step
        delta[: len(x)] = ((x_adv.detach() + 0.1 * up.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1) - x).detach()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_free_uses_each_batch_for_all_its_replays_in_one_pass_each():
    model = mlp(DATA, width=8)
    with counting(model) as passes:
        fit(model, DATA, Free(Linf(0.1), replays=3), epochs=2, batch_size=16)
    assert passes.forward == 2 * 3 * len(X) + 1  # one look at the model before training


def test_weight_perturbation_climbs_by_gamma_in_every_layer():
    model, objective = mlp(DATA, width=8), AdversarialTraining(PGD(Linf(0.1), steps=3))
    x_adv = objective.worst(model, X, Y)
    inner = AdversarialTraining(lambda *_: x_adv)  # the same images each time
    weights = [w for w in model.parameters() if w.dim() > 1]
    up = torch.autograd.grad(inner(model, X, Y), weights)
    moved = mlp(DATA, width=8)
    for w, g in zip([w for w in moved.parameters() if w.dim() > 1], up, strict=True):
        w.data += 0.05 * w.data.norm() * g / g.norm()
    ours, theirs = AWP(inner, gamma=0.05)(model, X, Y), inner(moved, X, Y)
    torch.testing.assert_close(ours, theirs)
    assert ours > inner(model, X, Y)
    for a, b in zip(gradients(model, ours), gradients(moved, theirs), strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99


def test_the_gradient_penalty_of_a_linear_model_is_its_closed_form():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    p = model(X).softmax(1)
    error = p - nn.functional.one_hot(Y, 2)
    squared = (error @ model[1].weight).square().sum(1)
    expected = nn.functional.cross_entropy(model(X), Y) + 0.7 * squared.mean()
    torch.testing.assert_close(GradientPenalty(0.7)(model, X, Y), expected)


def test_the_spectral_penalty_of_diagonal_layers_is_half_the_sum_of_squares():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    model[1].weight.data = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0]))[:3]
    model[2].weight.data = torch.diag(torch.tensor([0.5, -4.0, 0.0]))[:2]
    extra = SpectralPenalty(0.1)(model, X, Y) - Standard()(model, X, Y)
    assert extra.item() == pytest.approx(0.05 * (9 + 16), rel=1e-4)


def test_noise_has_the_spread_that_it_is_given():
    seen = []

    def model(x):
        seen.append(x)
        return x.flatten(1)[:, :2]

    images = torch.full((5000, 1, 2, 2), 0.5)
    GaussianNoise(0.3)(model, images, torch.zeros(5000, dtype=torch.int64))
    assert float((seen[0] - 0.5).std()) == pytest.approx(0.3, rel=0.05)


def test_a_curriculum_grows_along_a_line_and_stays():
    grown = []

    def make(eps):
        grown.append(eps)
        return Standard()

    fit(mlp(DATA, width=4), DATA, Curriculum(make, eps=0.3, warm_up=0.5), epochs=6)
    assert grown == pytest.approx([0, 0.1, 0.2, 0.3, 0.3, 0.3])
    grown.clear()
    fit(mlp(DATA, width=4), DATA, Curriculum(make, eps=0.3, warm_up=0.0), epochs=2)
    assert grown == [0.3, 0.3]


@pytest.mark.parametrize(("objective", "passes"), [(AdversarialTraining(WALK), 4), (AdversarialTraining(WALK, 0.5), 5),
    (fast(Linf(0.1)), 2), (NFGSM(Linf(0.1)), 2), (TRADES(WALK), 6), (MART(WALK), 5), (GaussianNoise(0.1), 1),
    (AWP(AdversarialTraining(WALK)), 5)], ids=described)  # fmt: skip
def test_it_costs_the_forward_passes_that_it_says(objective, passes):
    model = mlp(DATA, width=8)
    with counting(model) as counted:
        objective(model, X, Y)
    assert counted.forward == passes * len(X)


# The saddle point of a convex problem

LIGHT, DARK, EDGE = 0.8, 0.2, 0.15


def mixed_labels():
    """Light images of class 1, dark ones of class 0, but a quarter of the labels the wrong way around."""
    x = torch.tensor([LIGHT] * 4 + [DARK] * 4).view(8, 1, 1, 1)
    split = Split(x, torch.tensor([1, 1, 1, 0, 0, 0, 0, 1]))
    return Dataset("two greys", split, split, 2, "drawn here")


class Line(nn.Module):
    """The log-odds of class 1 are w (x − ½)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        z = self.w * (x.flatten(1) - 0.5)
        return torch.cat([-z / 2, z / 2], 1)


@pytest.mark.parametrize(
    ("eps", "saddle"),
    [
        (0.0, math.log(3) / 0.3),  # the log-odds are those of the labels
        (EDGE, 0.0),  # three labels move by 0.15 towards the middle, for each that moves by 0.45 away: all is lost
        (0.25, 0.0),
    ],
)
@pytest.mark.parametrize("start", [PGD, FGSM])
def test_a_convex_problem_ends_at_its_saddle_point(eps, saddle, start):
    model, data = Line(), mixed_labels()
    attack = FGSM(Linf(eps)) if start is FGSM else PGD(Linf(eps), steps=5)
    fit(model, data, AdversarialTraining(attack), epochs=400, batch_size=8, learning_rate=0.1)
    assert float(model.w) == pytest.approx(saddle, abs=0.02)


# What is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AdversarialTraining(WALK, weight=1.5), ValueError, r"weight must be in \[0, 1\], got 1.5"),
        (lambda: TRADES(WALK, beta=-1.0), ValueError, "beta must be a finite number >= 0, got -1.0"),
        (lambda: TRADES(PGD(Linf(0.1), targeted=True)), ValueError, "attack must not be targeted"),
        (lambda: TRADES(PGD(Linf(0.1), restarts=2)), ValueError, "attack must be one whole walk from a random start"),
        (lambda: TRADES(PGD(Linf(0.1), early_exit=True)), ValueError, "attack must be one whole walk"),
        (lambda: TRADES(PGD(Linf(0.1), random_start=False)), ValueError, "attack must be one whole walk"),
        (lambda: MART(WALK, weight=float("inf")), ValueError, "weight must be a finite number >= 0, got inf"),
        (lambda: MART(PGD(Linf(0.1), targeted=True)), ValueError, "attack must not be targeted"),
        (lambda: NFGSM(Linf(0.1), noise=-1.0), ValueError, "noise must be a finite number >= 0, got -1.0"),
        (lambda: NFGSM(Linf(0.6)), ValueError, r"eps of Linf must be in \[0, 1\]"),
        (lambda: Free(Linf(0.1), replays=0), ValueError, "replays must be >= 1, got 0"),
        (lambda: Free(Linf(0.1), step_size=-1.0), ValueError, "step_size must be a finite number >= 0 or None"),
        (lambda: AWP(Standard()), TypeError, "objective must be a robust method, as AdversarialTraining, got Standard"),
        (lambda: AWP(AdversarialTraining(WALK), gamma=-1), ValueError, "gamma must be a finite number >= 0, got -1"),
        (lambda: GaussianNoise(-0.1), ValueError, "sigma must be a finite number >= 0, got -0.1"),
        (lambda: GradientPenalty(-1.0), ValueError, "weight must be a finite number >= 0, got -1.0"),
        (lambda: SpectralPenalty(float("nan")), ValueError, "weight must be a finite number >= 0, got nan"),
        (lambda: Curriculum(fast, eps=-0.1), ValueError, "eps must be a finite number >= 0, got -0.1"),
        (lambda: Curriculum(fast, eps=0.1, warm_up=2), ValueError, r"warm_up must be in \[0, 1\], got 2"),
    ],
)
def test_settings_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
