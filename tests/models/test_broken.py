"""The six broken defences: each looks robust to a naive attack, is not, and hides its errors in the way it says."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import scipy.fft
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from robustcourse import FGSM, L2, PGD, Linf, accuracy, fit, load, mlp, robust_accuracy
from robustcourse.attacks import APGD, cross_entropy, dlr, margin_loss
from robustcourse.attacks.attack import slope
from robustcourse.data import Split
from robustcourse.models.broken import (
    JPEG,
    Defence,
    NeighbourCheck,
    Quantized,
    RandomShift,
    Saturated,
    SmoothCheck,
    Temperature,
    right_attack,
)
from robustcourse.runtime import seeded

THREAT = Linf(0.15)
SIX = pytest.mark.parametrize(
    "name", ["Saturated", "Temperature", "Quantized", "JPEG", "RandomShift", "NeighbourCheck"]
)


@cache
def digits():
    return load("digits")


@cache
def network():
    model = mlp(digits(), width=256)
    fit(model, digits(), epochs=30)
    return model


@cache
def defence(name):
    if name == "RandomShift":
        shifting = RandomShift(mlp(digits(), width=256))
        fit(shifting, digits(), epochs=60)
        return shifting
    if name == "NeighbourCheck":
        return NeighbourCheck(network(), digits().train)
    return {"Saturated": Saturated, "Temperature": Temperature, "Quantized": Quantized, "JPEG": JPEG}[name](network())


def left(name, attack=None):
    with seeded(0):  # random models are judged on draws from the global stream
        model, test = defence(name), digits().test
        return (accuracy(model, test) if attack is None else robust_accuracy(model, test, attack)).value


def flat(name, loss):
    """Share of test images at which the gradient of this loss is exactly zero."""
    test = digits().test
    gradient = slope(defence(name), test.x, lambda logits: loss(logits, test.y))[2]
    return float((gradient == 0).flatten(1).all(1).double().mean())


def small(classes=3, pixels=64):
    """An untrained network, in evaluation mode."""
    with seeded(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, classes)).eval()


def images(*shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(1))


def known(n=30, classes=3):
    return Split(images(n, 1, 8, 8), torch.arange(n) % classes)


def around(model):
    """Each defence around one network."""
    return [
        Saturated(model),
        Temperature(model),
        Quantized(model),
        JPEG(model),
        RandomShift(model),
        NeighbourCheck(model, known()),
    ]


# What all six promise


@SIX
def test_it_reads_clean_digits(name):
    assert left(name) >= 0.9


@SIX
def test_the_right_attack_takes_forty_points_more_than_pgd(name):
    assert left(name, PGD(THREAT)) - left(name, right_attack(defence(name), THREAT)) >= 0.4


@SIX
def test_the_right_attack_works_for_other_norms_and_respects_a_mask(name):
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :4] = True
    x, y = digits().test.x[:20], digits().test.y[:20]
    threat = L2(1.0, mask=mask)
    x_adv = right_attack(defence(name), threat)(defence(name), x, y)
    moved = (x_adv != x).any(0)
    assert moved[mask].any()
    assert not moved[~mask].any()
    assert threat.distance(x, x_adv).max() <= 1 + 1e-5


def test_every_defence_gives_the_model_to_the_attacker_and_changes_nothing_in_it():
    model = small()
    before = copy.deepcopy(model.state_dict())
    for wrapped in around(model):
        assert wrapped.model is model
        wrapped(images(4, 1, 8, 8))
        assert not wrapped.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_every_answer_is_one_row_a_class_wide_for_each_input():
    for wrapped in around(small(classes=3)):
        for n in (1, 5):
            assert wrapped(images(n, 1, 8, 8)).shape == (n, 3), type(wrapped).__name__


def test_a_defence_is_in_the_mode_of_its_model_and_is_trained_through_by_fit():
    model = mlp(digits(), width=4).train()
    wrapped = RandomShift(model)
    assert wrapped.training
    before = model[2].weight.clone()
    fit(wrapped, digits(), epochs=1)
    assert not wrapped.training
    assert not model.training
    assert not torch.equal(model[2].weight, before)


def test_defences_stack():
    both = Saturated(Quantized(small()), 10)
    x = images(4, 1, 8, 8)
    torch.testing.assert_close(both(x), 10 * small()((x * 4).round() / 4))


# How each of them hides


def test_saturated_kills_the_gradient_of_cross_entropy_but_not_of_the_margin():
    assert flat("Saturated", cross_entropy) >= 0.8
    assert flat("Saturated", margin_loss) == 0
    assert left("Saturated", APGD(THREAT, steps=20, loss=dlr)) <= 0.4


def test_temperature_flattens_every_loss_of_its_answer():
    for loss in (cross_entropy, margin_loss, dlr):
        assert flat("Temperature", loss) >= 0.95
    assert left("Temperature", APGD(THREAT, steps=20, loss=dlr)) >= 0.8


@pytest.mark.parametrize("name", ["Quantized", "JPEG"])
def test_rounding_leaves_no_gradient_at_all(name):
    for loss in (cross_entropy, margin_loss):
        assert flat(name, loss) == 1


def test_random_shift_is_broken_by_plain_pgd_too_if_it_does_not_stop_at_a_lucky_draw():
    model, test = defence("RandomShift"), digits().test
    x_adv = PGD(THREAT)(model, test.x, test.y)  # walks to the end: only evaluation stops early
    with seeded(0):
        walked = accuracy(model, Split(x_adv, test.y)).value
    assert left("RandomShift", PGD(THREAT)) - walked >= 0.25


def test_many_draws_a_step_find_more_than_one():
    model, test = defence("RandomShift"), digits().test

    def mean_over_draws(attack):
        x_adv = attack(model, test.x, test.y)
        with seeded(0):
            return sum(accuracy(model, Split(x_adv, test.y)).value for _ in range(20)) / 20

    assert mean_over_draws(PGD(THREAT)) - mean_over_draws(right_attack(model, THREAT)) >= 0.02


def test_neighbour_check_stops_forty_steps_but_not_one_long_one():
    assert left("NeighbourCheck", PGD(THREAT)) - left("NeighbourCheck", FGSM(THREAT)) >= 0.3


def test_a_walk_ends_where_the_neighbours_object_and_the_answer_has_no_gradient():
    model, test = defence("NeighbourCheck"), digits().test
    x_adv = PGD(THREAT)(model, test.x, test.y)
    one_hot = (model(x_adv).sort(1).values == torch.tensor([0.0] * 9 + [1.0])).all(1)
    assert one_hot.float().mean() >= 0.5
    gradient = slope(model, x_adv[one_hot], lambda logits: cross_entropy(logits, test.y[one_hot]))[2]
    assert not gradient.any()


# Known answers


def test_saturated_multiplies_the_logits():
    x = images(4, 1, 8, 8)
    torch.testing.assert_close(Saturated(small(), factor=7)(x), 7 * small()(x))


def test_temperature_of_one_is_softmax_and_a_low_one_a_decision():
    x = images(4, 1, 8, 8)
    torch.testing.assert_close(Temperature(small(), 1)(x), small()(x).softmax(1))
    decision = nn.functional.one_hot(small()(x).argmax(1), 3).float()
    torch.testing.assert_close(Temperature(small(), 1e-6)(x), decision)


@pytest.mark.parametrize(
    ("levels", "expected"), [(2, [0, 0, 0, 1, 1]), (3, [0, 0, 0.5, 0.5, 1]), (5, [0, 0.25, 0.5, 0.75, 1])]
)
def test_quantized_rounds_to_the_nearest_level(levels, expected):
    x = torch.tensor([[0.0, 0.2, 0.45, 0.7, 1.0]])
    torch.testing.assert_close(Quantized(small(), levels).clean(x), torch.tensor([expected]).float())


def test_jpeg_rounds_the_discrete_cosine_transform_of_each_block():
    x = images(2, 3, 16, 24)
    expected = torch.empty_like(x)
    for i in range(0, 16, 8):
        for j in range(0, 24, 8):
            heights = scipy.fft.dctn(x[:, :, i : i + 8, j : j + 8].numpy(), axes=(2, 3), norm="ortho")
            block = scipy.fft.idctn((heights / 0.7).round() * 0.7, axes=(2, 3), norm="ortho")
            expected[:, :, i : i + 8, j : j + 8] = torch.from_numpy(block).clamp(0, 1)
    torch.testing.assert_close(JPEG(small(), step=0.7).clean(x), expected, rtol=0, atol=1e-4)


def test_jpeg_with_a_fine_step_changes_nothing_and_with_a_coarse_one_leaves_grey_or_white():
    x = images(2, 1, 8, 8)
    torch.testing.assert_close(JPEG(small(), step=1e-5).clean(x), x, rtol=0, atol=1e-4)
    assert (JPEG(small(), step=1e3).clean(x) == 0).all()
    torch.testing.assert_close(JPEG(small(), step=8).clean(torch.full((1, 1, 8, 8), 0.9)), torch.ones(1, 1, 8, 8))


def test_random_shift_rolls_each_image_by_all_allowed_amounts():
    x = torch.arange(2 * 6 * 5.0).view(1, 2, 6, 5)
    rolled = {(i, j): x[0].roll((i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    with seeded(0):
        moved = RandomShift(small(pixels=60), 1).move(x.expand(900, -1, -1, -1))
    counts = [sum(torch.equal(image, one) for image in moved) for one in rolled.values()]
    assert sum(counts) == 900  # nothing else, both channels together
    assert min(counts) >= 50  # of 100 expected


def test_random_shift_answers_otherwise_at_each_call_and_the_same_from_the_same_state():
    shifting, x = RandomShift(small()), images(20, 1, 8, 8)
    with seeded(0):
        first, second = shifting(x), shifting(x)
    with seeded(0):
        again = shifting(x)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_neighbour_check_trusts_the_network_only_where_all_neighbours_agree():
    x, model, split = images(200, 1, 8, 8), small(), known(60)
    check = NeighbourCheck(model, split, k=3)
    with torch.no_grad():
        judge = KNeighborsClassifier(3).fit(model[:-1](split.x).numpy(), split.y)
        votes = torch.from_numpy(judge.predict_proba(model[:-1](x).numpy()))
        logits, answers = model(x), check(x)
    agree = votes.gather(1, logits.argmax(1, keepdim=True)).squeeze(1) == 1
    assert 0 < agree.sum() < 200
    torch.testing.assert_close(answers[agree], logits[agree])
    assert set(answers[~agree].unique().tolist()) == {0, 1}
    most = votes[~agree].gather(1, answers[~agree].argmax(1, keepdim=True)).squeeze(1)
    torch.testing.assert_close(most, votes[~agree].amax(1))


def test_a_known_image_is_its_own_neighbour():
    split = known()
    check = NeighbourCheck(small(), split, k=1)
    assert (check(split.x).argmax(1) == split.y).all()


def test_what_neighbour_check_knows_moves_and_is_saved_with_it():
    assert {"places", "labels"} <= set(NeighbourCheck(small(), known()).state_dict())
    assert "waves" in JPEG(small()).state_dict()
    assert JPEG(small().double()).clean(images(1, 1, 8, 8).double()).dtype == torch.float64


def test_smooth_check_is_the_sum_of_both_votes():
    model, split, x = small(), known(), images(5, 1, 8, 8)
    check = NeighbourCheck(model, split, k=3)
    hidden, places = model[:-1](x), model[:-1](split.x)
    squared = (hidden[:, None] - places).square().sum(2)
    unit = 0.5 * (places[:, None] - places).square().sum(2).sum() / (len(split) * (len(split) - 1))
    votes = torch.stack([(-squared / unit).exp()[:, split.y == c].sum(1).log() for c in range(3)], 1)
    torch.testing.assert_close(SmoothCheck(check, 0.5)(x), model(x).log_softmax(1) + votes, rtol=1e-3, atol=1e-3)


def test_smooth_check_has_a_gradient_on_top_of_a_known_image():
    split = known()
    smooth = SmoothCheck(NeighbourCheck(small(), split))
    gradient = slope(smooth, split.x, lambda logits: cross_entropy(logits, split.y))[2]
    assert gradient.isfinite().all()
    assert gradient.flatten(1).any(1).float().mean() > 0.5


# What is refused


@pytest.mark.parametrize("wrong", [0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda wrong: Saturated(small(), wrong), "factor"),
        (lambda wrong: Temperature(small(), wrong), "temperature"),
        (lambda wrong: JPEG(small(), wrong), "step"),
        (lambda wrong: SmoothCheck(NeighbourCheck(small(), known()), wrong), "temperature"),
    ],
)
def test_a_size_that_is_no_finite_positive_number_is_refused(make, name, wrong):
    with pytest.raises(ValueError, match=rf"{name} must be a finite number > 0, got {wrong}"):
        make(wrong)


def test_one_level_is_no_picture():
    with pytest.raises(ValueError, match="levels must be >= 2, got 1"):
        Quantized(small(), levels=1)


def test_a_shift_of_nothing_is_refused():
    with pytest.raises(ValueError, match="pixels must be >= 1, got 0"):
        RandomShift(small(), pixels=0)


@pytest.mark.parametrize("shape", [(2, 1, 8, 9), (2, 1, 28, 8), (2, 64)])
def test_an_image_that_does_not_divide_into_blocks_is_refused(shape):
    with pytest.raises(ValueError, match=r"x must be .* H and W multiples of 8, got shape"):
        JPEG(small())(images(*shape))


@pytest.mark.parametrize("k", [0, 31])
def test_a_number_of_neighbours_that_are_not_there_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must be in 1 … 30, the number of known images, got {k}"):
        NeighbourCheck(small(), known(30), k=k)


def test_neighbour_check_needs_layers_that_are_trained():
    with pytest.raises(TypeError, match=r"model must be an nn.Sequential, to look into its layers, got Saturated"):
        NeighbourCheck(Saturated(small()), known())
    with pytest.raises(ValueError, match="model must have at least two layers, got 1"):
        NeighbourCheck(small()[:1].eval(), known())
    with pytest.raises(ValueError, match="model is in training mode"):
        NeighbourCheck(small().train(), known())


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        Saturated(lambda x: x)


def test_a_defence_without_an_answer_is_refused():
    with pytest.raises(TypeError, match="defence must be one of this module, got Defence"):
        right_attack(Defence(small()), THREAT)
