"""The training loop: what it reaches, repeats, records and leaves behind, also when it fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import PGD, AdversarialTraining, Linf, accuracy, fit, mlp
from robustcourse.data import label_noise
from robustcourse.train import EMA, SWA, Diverged, HoldOut, Steps, Triangle, constant
from tests.nets import points

DATA = points()


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


@pytest.mark.parametrize("seed", range(3))
def test_standard_training_learns_a_small_set_by_heart(seed):
    model = mlp(DATA, width=128, seed=seed)
    fit(model, DATA, epochs=40, batch_size=10, seed=seed)
    assert accuracy(model, DATA.train).value == 1


def test_the_seed_alone_decides_the_weights():
    def trained(seed, disturbed):
        model = nn.Sequential(mlp(DATA, width=16), nn.Dropout(0.1))  # with random choices besides the order
        torch.manual_seed(disturbed)
        state = torch.get_rng_state()
        fit(model, DATA, epochs=3, batch_size=16, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        return weights(model)

    assert torch.equal(trained(0, disturbed=1), trained(0, disturbed=2))
    assert not torch.equal(trained(0, disturbed=1), trained(1, disturbed=1))


def test_every_epoch_sees_every_example_once_in_a_new_order():
    seen = []

    def objective(model, x, y):
        seen.append(x)
        return model(x).sum()

    fit(mlp(DATA, width=4), DATA, objective, epochs=2, batch_size=16)
    assert [len(x) for x in seen] == [16, 16, 8] * 2
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert not torch.equal(first, second)
    for epoch in (first, second):
        assert sorted(epoch.flatten(1).tolist()) == sorted(DATA.train.x.flatten(1).tolist())


def test_history_has_one_entry_an_epoch():
    model = mlp(DATA, width=16)
    history = fit(model, DATA, epochs=4, watch=lambda m: sum(part.training for part in m.modules()))
    assert [len(entries) for entries in (history.loss, history.gradient_norm, history.seconds)] == [4] * 3
    assert history.watched == [0] * 4  # the watcher sees evaluation mode
    assert history.loss[-1] < history.loss[0]
    assert min(history.seconds) > 0
    assert fit(model, DATA, epochs=1).watched == []


def test_watching_does_not_change_the_training():
    watched, alone = mlp(DATA, width=16), mlp(DATA, width=16)
    fit(watched, DATA, epochs=3, batch_size=16, watch=lambda m: torch.rand(()) + accuracy(m, DATA.test).value)
    fit(alone, DATA, epochs=3, batch_size=16)
    assert torch.equal(weights(watched), weights(alone))


def test_clipping_bounds_the_gradient_of_a_step_and_history_shows_it_unclipped():
    def objective(model, x, y):
        return 3 * model[1].weight[0, 0] + 4 * model[1].weight[0, 1]  # a gradient of length 5, whatever the weights

    norms = {}
    for clip in (None, 10.0, 2.0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        history = fit(model, DATA, objective, epochs=1, batch_size=40, clip=clip)
        assert history.gradient_norm == pytest.approx([5.0])
        norms[clip] = float(model[1].weight.grad.norm())
    assert norms == pytest.approx({None: 5.0, 10.0: 5.0, 2.0: 2.0}, rel=1e-4)


def test_the_learning_rate_is_the_first_step_and_falls_to_zero():
    path = []

    def objective(model, x, y):
        path.append(weights(model))
        return model[1].weight.sum()  # a constant gradient, with which each step of Adam is one learning rate long

    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4, bias=False))
    fit(model, DATA, objective, epochs=2, batch_size=10, learning_rate=0.1)
    steps = [float((a - b).mean()) for a, b in zip(path, [*path[1:], weights(model)], strict=True)]
    assert len(steps) == 8
    assert steps[0] == pytest.approx(0.1, rel=1e-3)
    assert steps[4] == pytest.approx(0.05, rel=1e-2)  # half way down the cosine
    assert 0 < steps[-1] < 0.005
    assert steps == sorted(steps, reverse=True)


def modes(model):
    return [part.training for part in model.modules()]


def test_every_part_ends_in_evaluation_mode_and_trains_in_training_mode():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Dropout()).eval()
    during = []
    fit(model, DATA, lambda m, x, y: during.extend(modes(m)) or m(x).square().mean(), epochs=1)
    assert during
    assert all(during)
    assert not any(modes(model))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_every_part_ends_in_evaluation_mode_also_after_an_error(error):
    def objective(model, x, y):
        raise error

    model, state = nn.Sequential(mlp(DATA, width=4), nn.Dropout()), torch.get_rng_state()
    with pytest.raises(error):
        fit(model, DATA, objective, epochs=1)
    assert not any(modes(model))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_training_with_the_last_good_weights(bad):
    path, batches = [], []

    def objective(model, x, y):
        path.append(weights(model))
        batches.append(x)
        return model(x).square().mean() * (bad if len(path) == 5 else 1.0)  # two steps an epoch: the third

    model = mlp(DATA, width=4)
    with pytest.raises(Diverged, match="the loss became NaN or infinite in epoch 3, step 1, examples") as raised:
        fit(model, DATA, objective, epochs=9, batch_size=20)
    assert (raised.value.epoch, raised.value.step) == (2, 0)
    assert torch.equal(DATA.train.x[raised.value.index], batches[4])
    assert torch.equal(weights(model), path[3])  # those of the last step that gave numbers
    assert not model.training


def test_the_examples_are_named_as_they_lie_in_the_training_data_also_where_some_are_held_out():
    batches = []

    def objective(model, x, y):
        batches.append(x)
        return model(x).mean() * float("nan")

    with pytest.raises(Diverged) as raised:
        fit(mlp(DATA, width=4), DATA, objective, epochs=1, batch_size=20, hold_out=HoldOut(share=0.3))
    assert torch.equal(DATA.train.x[raised.value.index], batches[0])


def test_a_gradient_that_is_no_number_stops_training_too():
    def objective(model, x, y):
        return model[1].weight.sum() + (0 * model[1].weight[0, 0]).sqrt()  # a finite loss, on an infinite slope

    with pytest.raises(Diverged, match="the gradient became NaN or infinite in epoch 1, step 1"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), DATA, objective, epochs=1)


def test_statistics_of_batches_are_restored_as_well():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4))
    calls = []

    def objective(model, x, y):
        calls.append(1)
        return model(x * (float("nan") if len(calls) == 3 else 1.0)).square().mean()

    with pytest.raises(Diverged):
        fit(model, DATA, objective, epochs=2, batch_size=20)
    assert model[2].running_mean.isfinite().all()


@pytest.mark.parametrize("weight", [float("nan"), 1e30])  # products of finite weights overflow too
def test_an_attack_that_meets_a_diverged_model_names_the_step(weight):
    attack, calls = AdversarialTraining(PGD(Linf(0.1), steps=2)), []

    def objective(model, x, y):
        calls.append(1)
        if len(calls) == 5:  # two steps an epoch: the third
            for parameter in model.parameters():
                parameter.data.fill_(weight)
        return attack(model, x, y)

    model = mlp(DATA, width=4)
    message = "the logits became NaN or infinite in epoch 3, step 1, .*lower learning_rate or set clip"
    with pytest.raises(Diverged, match=message) as raised:
        fit(model, DATA, objective, epochs=9, batch_size=20)
    assert isinstance(raised.value.__cause__, (ValueError, FloatingPointError))
    assert weights(model).abs().max() < 1e3


@pytest.mark.parametrize("error", [ValueError, FloatingPointError])
def test_an_objectives_own_error_passes_through(error):
    own = error("mine")

    def objective(model, x, y):
        raise own

    with pytest.raises(error) as raised:
        fit(mlp(DATA, width=4), DATA, objective, epochs=1)
    assert raised.value is own


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number > 0, got nan"),
        ({"clip": 0.0}, "clip must be > 0 or None, got 0.0"),
        ({"clip": float("nan")}, "clip must be > 0 or None, got nan"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fit(mlp(DATA, width=4), DATA, **{"epochs": 1} | settings)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Flatten(), "model has no parameters to train"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), "y must hold labels in 0 … 2, got labels in 0 … 3"),
        (nn.Conv2d(1, 4, 3), r"model must return logits of shape \(1, classes\), got \(1, 4, 2, 2\)"),
        (nn.Linear(16, 4, device="meta"), r"model is on meta and data on cpu; use data.to\(...\) or model.to\(...\)"),
    ],
)
def test_models_that_do_not_fit_the_data_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        fit(model, DATA, epochs=1)


# Schedules, augmentation, half precision


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (constant, [1, 1, 1, 1]),
        (Triangle(0.5), [0, 0.5, 1, 0.5]),
        (Steps((0.5, 0.75), factor=0.1), [1, 1, 0.1, 0.01]),
    ],
)
def test_the_schedule_multiplies_the_learning_rate(schedule, factors):
    path = []

    def objective(model, x, y):
        path.append(weights(model))
        return model[1].weight.sum()  # SGD moves each weight by one learning rate

    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4, bias=False))
    fit(
        model, DATA, objective, epochs=2, batch_size=20, learning_rate=0.1, optimizer=torch.optim.SGD, schedule=schedule
    )
    steps = [float((a - b).mean()) for a, b in zip(path, [*path[1:], weights(model)], strict=True)]
    assert steps == pytest.approx([0.1 * factor for factor in factors], abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Triangle(0.0), r"peak must be in \(0, 1\), got 0.0"),
        (lambda: Triangle(1.0), r"peak must be in \(0, 1\), got 1.0"),
        (lambda: Steps((0.5, 1.0)), r"moments must be in \(0, 1\) and factor > 0, got \(0.5, 1.0\) and 0.1"),
        (lambda: Steps(factor=0.0), r"moments must be in \(0, 1\) and factor > 0"),
        (lambda: EMA(1.0), r"decay must be in \(0, 1\), got 1.0"),
        (lambda: SWA(1.0), r"start must be in \[0, 1\), got 1.0"),
        (lambda: HoldOut(share=0.0), r"share must be in \(0, 1\), got 0.0"),
        (lambda: HoldOut(patience=0), "patience must be >= 1 or None, got 0"),
        (lambda: HoldOut(PGD(Linf(0.1), targeted=True)), "attack must not be targeted"),
    ],
)
def test_settings_of_the_parts_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_each_batch_is_augmented_and_the_data_are_not():
    seen, before = [], DATA.train.x.clone()

    def objective(model, x, y):
        seen.append(x)
        return model(x).square().mean()

    fit(mlp(DATA, width=4), DATA, objective, epochs=1, batch_size=20, augment=lambda x: 1 - x)
    assert torch.equal(torch.cat(seen).sort(0).values, (1 - before).sort(0).values)
    assert torch.equal(DATA.train.x, before)


def test_in_half_precision_the_network_answers_in_it_and_the_weights_stay_whole():
    seen = []

    def objective(model, x, y):
        logits = model(x)
        seen.append(logits.dtype)
        return nn.functional.cross_entropy(logits, y)

    model = mlp(DATA, width=4)
    fit(model, DATA, objective, epochs=1, bf16=True)
    assert set(seen) == {torch.bfloat16}
    assert weights(model).dtype == torch.float32


# Averages of weights, and the best epoch


def path_of(model, average, epochs=2, **settings):
    """The weights after each step, and those that the model ends with."""
    path = []

    def objective(model, x, y):
        path.append(weights(model))
        return model(x).square().mean()

    plain = mlp(DATA, width=4, seed=1)
    fit(plain, DATA, objective, epochs=epochs, batch_size=10, **settings)
    after = [*path[1:], weights(plain)]
    fit(model, DATA, objective, epochs=epochs, batch_size=10, average=average, **settings)
    return after, weights(model)


def test_swa_ends_with_the_mean_of_the_later_steps():
    after, ended = path_of(mlp(DATA, width=4, seed=1), SWA(start=0.5))
    torch.testing.assert_close(ended, torch.stack(after[4:]).mean(0))


def test_ema_ends_with_the_exponential_mean_which_looks_back_shorter_at_first():
    after, ended = path_of(mlp(DATA, width=4, seed=1), EMA(decay=0.3))
    mean = after[0]  # 0, to begin with
    for decay, step in zip([2 / 11, 3 / 12, 0.3, 0.3, 0.3, 0.3, 0.3], after[1:], strict=True):
        mean = decay * mean + (1 - decay) * step
    torch.testing.assert_close(ended, mean)


def test_what_is_watched_has_the_averaged_weights():
    model, seen = mlp(DATA, width=4), []
    fit(model, DATA, epochs=3, average=EMA(0.5), watch=lambda m: seen.append(weights(m)))
    assert torch.equal(seen[-1], weights(model))


def test_the_held_out_part_chooses_the_epoch_and_is_not_trained_on():
    seen, states = [], []

    def objective(model, x, y):
        seen.append(x)
        return nn.functional.cross_entropy(model(x), y) * (1 if len(states) < 3 else -1)  # from then on it unlearns

    hold_out, model = HoldOut(share=0.25), mlp(DATA, width=64)
    history = fit(
        model, DATA, objective, epochs=6, batch_size=10, hold_out=hold_out, watch=lambda m: states.append(weights(m))
    )
    train, held = (DATA.train[index] for index in hold_out.split(DATA.train, seed=0))
    assert len(held) == 10
    assert torch.equal(torch.cat(seen[:3]).sort(0).values, train.x.sort(0).values)
    assert len(history.held_out) == 6
    best = history.held_out.index(max(history.held_out))
    assert torch.equal(weights(model), states[best])
    assert accuracy(model, held).value == max(history.held_out)


def test_patience_ends_training_after_epochs_without_a_new_best():
    history = fit(mlp(DATA, width=4), DATA, lambda m, x, y: 0 * m(x).sum(), epochs=20, hold_out=HoldOut(patience=3))
    assert len(history.loss) == 4  # the first is the best, and three more


def test_a_held_out_part_that_is_everything_is_refused():
    with pytest.raises(ValueError, match=r"share=0.99 of 40 examples leaves none to train on"):
        fit(mlp(DATA, width=4), DATA, epochs=1, hold_out=HoldOut(share=0.99))


def test_compiled_means_through_torch_compile_with_the_same_weights_trained(monkeypatch):
    asked = []

    def compile_(model):  # the real one takes half a minute
        asked.append(model)
        return nn.Sequential(model)

    monkeypatch.setattr(torch, "compile", compile_)
    compiled, plain = mlp(DATA, width=4), mlp(DATA, width=4)
    fit(compiled, DATA, epochs=2, compiled=True)
    fit(plain, DATA, epochs=2)
    assert asked == [compiled]
    assert torch.equal(weights(compiled), weights(plain))


def test_what_is_held_out_has_nothing_to_do_with_whose_labels_are_wrong():
    data = points(n=400)
    for seed in range(3):
        wrong = label_noise(data, 0.25, seed).train.y != data.train.y
        _, held = HoldOut(share=0.25).split(data.train, seed)
        assert 0.1 < float(wrong[held].float().mean()) < 0.4  # a quarter, six standard deviations wide
