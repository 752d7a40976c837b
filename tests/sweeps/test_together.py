"""Together is as alone: curves, weights, random starts and the moment of retirement."""

from __future__ import annotations

import dataclasses
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from robustcourse import PGD, AdversarialTraining, Linf, fit, load, mlp, robust_accuracy
from robustcourse.data import Split
from robustcourse.data.noise import label_noise
from robustcourse.sweeps import fit_together, hits_together
from robustcourse.sweeps.together import moments_of
from robustcourse.train.free import Free
from robustcourse.train.schedules import constant, cosine

DIGITS = load("digits")
DATA = dataclasses.replace(DIGITS, train=DIGITS.train[:90], test=DIGITS.test[:50])
SIZES = [(2, 1), (6, 1), (6, 1), (30, 1), (12, 2), (4, 3)]
SEEDS = [0, 1, 2, 3, 4, 5]
ATTACK = AdversarialTraining(PGD(Linf(0.1), steps=2))


def networks():
    return [mlp(DATA, width, depth, seed) for seed, (width, depth) in enumerate(SIZES)]


def noisy():
    return [label_noise(DATA, 0.2, seed) for seed in SEEDS]


def own():
    """A training set of its own for each: as for shadow models."""
    halves = [torch.randperm(len(DATA.train), generator=torch.Generator().manual_seed(s))[:45] for s in SEEDS]
    return [dataclasses.replace(DATA, train=DATA.train[half]) for half in halves]


def gap(model, other):
    return max((a - b).detach().abs().max() for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("sets", [noisy, own])
@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize(("objective", "retire"), [(None, 1.3), (ATTACK, 1.9)], ids=["standard", "adversarial"])
def test_each_model_ends_as_it_does_alone(objective, retire, batch_size, sets):
    settings = {
        "objective": objective,
        "steps": 20,
        "batch_size": batch_size,
        "learning_rate": 0.02,
        "retire": retire,
        "moments": [5, 12, 16, 20],
    }
    penalties = [0.0, 0.0, 0.1, 0.0, 0.01, 0.0]
    models, data = networks(), sets()
    together = fit_together(models, data, **settings, penalty=penalties, seeds=SEEDS)
    for m, model in enumerate(networks()):
        (alone,) = fit_together([model], [data[m]], **settings, penalty=penalties[m], seeds=SEEDS[m])
        assert gap(model, models[m]) < 1e-5
        torch.testing.assert_close(together[m].loss, alone.loss, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(together[m].fitted, alone.fitted)
        assert torch.equal(together[m].hits, alone.hits)
        assert together[m].retired == alone.retired
    assert len({curve.retired for curve in together}) > 1  # some left, some did not


@pytest.mark.parametrize("batch_size", [90, 32])
def test_each_model_ends_as_fit_makes_it(batch_size):
    models, data, epochs = networks(), noisy(), 10
    steps = epochs * -(-90 // batch_size)
    fit_together(models, data, steps=steps, batch_size=batch_size, schedule=cosine, retire=None, seeds=SEEDS)
    for m, model in enumerate(networks()):
        fit(model, data[m], epochs=epochs, batch_size=batch_size, learning_rate=1e-2, schedule=cosine, seed=m)
        assert gap(model, models[m]) < 1e-5


def test_other_optimizers():
    sgd = partial(torch.optim.SGD, momentum=0.9)
    models = networks()
    curves = fit_together(models, DATA, steps=20, optimizer=sgd, learning_rate=0.05, retire=1.5, moments=[10, 20])
    assert len({curve.retired for curve in curves}) > 1
    for m, model in enumerate(networks()):
        steps = curves[m].retired or 20
        fit(model, DATA, epochs=steps, batch_size=90, optimizer=sgd, learning_rate=0.05, schedule=constant)
        assert gap(model, models[m]) < 1e-5


def test_who_retires_stays_as_it_was_and_is_what_fit_makes_in_so_many_steps():
    models = networks()
    curves = fit_together(models, DATA, steps=60, retire=0.5)
    gone = [m for m, curve in enumerate(curves) if curve.retired and curve.retired < 60]
    assert gone
    assert len(gone) < len(models)
    for m in gone:
        curve, t = curves[m], curves[m].moments.tolist().index(curves[m].retired)
        assert curve.loss[t] < 0.5 <= curve.loss[t - 1]
        assert (curve.loss[t:] == curve.loss[t]).all()
        assert (curve.hits[t:] == curve.hits[t]).all()
        alone = networks()[m]
        fit(alone, DATA, epochs=curve.retired, batch_size=90, learning_rate=1e-2, schedule=constant)
        assert gap(alone, models[m]) < 1e-5


def test_without_retirement_all_go_to_the_end():
    curves = fit_together([mlp(DATA, 64)], DATA, steps=60, retire=None)
    assert curves[0].retired is None
    assert curves[0].loss[-1] < curves[0].loss[-2]


def test_all_retired_is_the_end():
    curves = fit_together([mlp(DATA, 64, seed=s) for s in range(2)], DATA, steps=10**6, retire=10.0, moments=[1, 10**6])
    assert [curve.retired for curve in curves] == [1, 1]


def test_the_curve_tells_what_the_model_does():
    data = label_noise(DATA, 0.3)
    models = [mlp(DATA, 20)]
    (curve,) = fit_together(models, data, ATTACK, steps=15, moments=[15])
    x = data.train.x
    assert torch.equal(curve.hits[0], models[0](DATA.test.x).argmax(1) == DATA.test.y)
    # Attacked images are worse than clean ones, and fitted refers to the noisy labels.
    clean = F.cross_entropy(models[0](x), data.train.y)
    assert clean < curve.loss[0] < 2 * clean
    assert curve.fitted[0] <= float((models[0](x).argmax(1) == data.train.y).float().mean())
    (plain,) = fit_together([mlp(DATA, 20)], data, steps=15, moments=[15])
    same = mlp(DATA, 20)
    fit_together([same], data, steps=15)
    torch.testing.assert_close(plain.loss[0], F.cross_entropy(same(x), data.train.y).detach())
    torch.testing.assert_close(plain.fitted[0], (same(x).argmax(1) == data.train.y).float().mean())


def test_looking_changes_nothing():
    models, others = networks(), networks()
    fit_together(models, DATA, ATTACK, steps=12, moments=[12])
    fit_together(others, DATA, ATTACK, steps=12, moments=list(range(1, 13)))
    assert all(gap(a, b) == 0 for a, b in zip(models, others, strict=True))


def test_a_penalty_makes_weights_smaller_and_padding_stays_out():
    free, held = mlp(DATA, 5), mlp(DATA, 5)
    fit_together([free, held], DATA, steps=100, penalty=[0.0, 0.1])
    norm = [sum(p.detach().square().sum() for p in model.parameters()) for model in (free, held)]
    assert norm[1] < 0.7 * norm[0]


def test_an_objective_may_change_from_epoch_to_epoch():
    class Growing:
        def __init__(self):
            self.seen = []

        def __call__(self, model, x, y):
            return F.cross_entropy(model(x), y)

        def at(self, progress):
            self.seen.append(progress)
            return self

    objective = Growing()
    fit_together(networks(), DATA, objective, steps=6, batch_size=45)
    assert objective.seen == [0, 2 / 6, 4 / 6]


def test_the_global_random_state_stays():
    before = torch.get_rng_state()
    fit_together(networks()[:2], DATA, ATTACK, steps=2)
    assert torch.equal(before, torch.get_rng_state())


def test_moments_are_even_on_a_logarithmic_axis():
    assert moments_of(1) == [1]
    assert moments_of(10) == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    moments = moments_of(3000)
    assert moments[-1] == 3000
    assert max(b / a for a, b in pairwise(moments[12:])) < 1.3


def test_hits_are_those_of_each_model():
    models, attack = networks(), PGD(Linf(0.1), steps=3)
    fit_together(models, DATA, steps=30)
    clean, attacked = hits_together(models, DATA.test), hits_together(models, DATA.test, attack, batch_size=32)
    for m, model in enumerate(models):
        assert torch.equal(clean[m], model(DATA.test.x).argmax(1) == DATA.test.y)
        parts = DATA.test.x.split(32), DATA.test.y.split(32)
        alone = [model(attack(model, x, y)).argmax(1) == y for x, y in zip(*parts, strict=True)]
        assert torch.equal(attacked[m], torch.cat(alone))
    assert attacked.sum() < clean.sum()
    assert attacked[3].float().mean() >= robust_accuracy(models[3], DATA.test, PGD(Linf(0.1), steps=20)).value


FEW = {"models": [mlp(DATA, 4), mlp(DATA, 4)], "data": DATA, "steps": 2}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"penalty": [0.0, -1.0]}, "penalty must be a finite number >= 0, got -1.0"),
        ({"retire": -0.1}, "retire must be a finite number >= 0, got -0.1"),
        ({"penalty": [0.0]}, "penalty must be one for all or one for each of the 2 models, got 1"),
        ({"seeds": [1, 2, 3]}, "seeds must be one for all or one for each of the 2 models, got 3"),
        ({"data": [DATA]}, "data must be one for all or one for each of the 2 models, got 1"),
        ({"moments": [1, 3]}, r"moments must ascend from 1 or later to steps=2, got \[1, 3\]"),
        ({"moments": [2, 1, 2]}, "moments must ascend"),
        ({"moments": [0, 2]}, "moments must ascend"),
        ({"objective": Free(Linf(0.1))}, "objective must take one step a batch, got Free"),
        (
            {"data": [DATA, dataclasses.replace(DATA, train=DATA.train[:9])]},
            r"data must have as many training examples .* but Dataset\(digits: 9 \+ 50 .*\) of model 1",
        ),
        (
            {"data": [DATA, dataclasses.replace(DATA, test=DATA.test[:9])]},
            "the same test part",
        ),
    ],
)
def test_settings_out_of_range(changed, said):
    with pytest.raises(ValueError, match=said):
        fit_together(**{**FEW, **changed})


def test_hits_in_batches_of_none():
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        hits_together(FEW["models"], DATA.test, batch_size=0)


@pytest.mark.parametrize("objective", [None, ATTACK], ids=["standard", "adversarial"])
def test_who_diverges_is_named(objective):
    models = networks()
    models[1][2].weight.data.fill_(torch.nan)
    models[4][2].weight.data.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="models 1, 4 diverged before step 1; lower learning_rate"):
        fit_together(models, DATA, objective, steps=3, moments=[1, 2, 3])


def test_an_error_of_the_objective_is_the_users():
    def broken(model, x, y):
        raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        fit_together(networks(), DATA, broken, steps=1)


def test_labels_beyond_the_classes():
    wrong = dataclasses.replace(DATA, train=Split(DATA.train.x, DATA.train.y + 1))
    with pytest.raises(ValueError, match=r"labels in 0 … 9, got labels in 1 … 10"):
        fit_together(networks(), wrong, steps=1)
