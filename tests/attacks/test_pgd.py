"""PGD and FGSM against answers known by hand, and what must hold for any model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import FGSM, L1, L2, PGD, Linf, accuracy, robust_accuracy
from robustcourse.attacks import cross_entropy
from robustcourse.data import Split
from robustcourse.evaluate import counting
from tests.nets import (
    Detached,
    HostReads,
    digits,
    generator,
    hits,
    images,
    linear,
    network,
    precise,
    trained,
    watch_standing,
    watching,
    wrong,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3), L1(0.1)], ids=str)
ON_DIGITS = pytest.mark.parametrize("threat", [Linf(0.2), L2(1.2), L1(6.0)], ids=str)


@EACH
def test_fgsm_takes_from_a_linear_margin_all_that_any_attack_can(threat):
    model, x, y = linear(torch.randn(2, 6, generator=generator())), images(), torch.arange(50) % 2

    def margin(inputs):
        logits = model(inputs)
        return (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).squeeze(1)

    w = model[1].weight.data
    most = threat.eps * threat.dual((w[1] - w[0])[None])
    torch.testing.assert_close(margin(FGSM(threat)(model, x, y)), margin(x) - most, rtol=0.0, atol=1e-5)


@EACH
@pytest.mark.parametrize("target", [0, 1, 2, 3])
def test_with_many_classes_a_step_on_one_margin_takes_all_of_it(threat, target):
    model, x, y = linear(torch.randn(5, 6, generator=generator())), images(), torch.full((50,), 4)

    def towards(logits, y):
        return logits[:, target] - logits.gather(1, y[:, None]).squeeze(1)

    attack = PGD(threat, steps=1, step_size=threat.eps, random_start=False, loss=towards)
    w = model[1].weight.data
    most = threat.eps * threat.dual((w[4] - w[target])[None])
    gained = towards(model(attack(model, x, y)), y) - towards(model(x), y)
    torch.testing.assert_close(gained, most.expand(50), rtol=0.0, atol=1e-5)


@EACH
def test_pgd_finds_the_same_point_as_fgsm_where_the_loss_is_linear(threat):
    model, x, y = linear(torch.randn(2, 6, generator=generator())), images(), torch.arange(50) % 2
    walked, one_step = PGD(threat, steps=40, step_size=threat.eps)(model, x, y), FGSM(threat)(model, x, y)
    torch.testing.assert_close(model(walked), model(one_step), rtol=0.0, atol=1e-3)


def test_pixels_at_the_border_of_the_box_stay_in_it():
    model, y = linear(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])), torch.tensor([0])  # wants less of the first pixel
    x_adv = FGSM(Linf(0.1))(model, torch.tensor([[0.05, 1.0]]), y)
    assert x_adv.tolist() == [[0.0, 1.0]]


def test_pgd_is_the_loop_of_the_textbook():
    model, x, y = network(6), images(low=0, high=1), torch.arange(50) % 3
    x_adv = (x + 0.1 * (2 * torch.rand(x.shape, generator=generator(5)) - 1)).clamp(0, 1)
    for _ in range(10):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x_adv), y), x_adv)
        x_adv = (x + (x_adv.detach() + 0.03 * gradient.sign() - x).clamp(-0.1, 0.1)).clamp(0, 1)
    found = PGD(Linf(0.1), steps=10, step_size=0.03)(model, x, y, generator=generator(5))
    torch.testing.assert_close(found, x_adv, rtol=0.0, atol=1e-6)


@settings(deadline=None, max_examples=80)
@given(
    threat=st.sampled_from([Linf, L2, L1]),
    eps=st.one_of(st.just(0.0), st.floats(1e-4, 1)),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda sides: (4, *sides)),
    exponent=st.integers(-30, 30),  # of the gradient's size
    steps=st.integers(1, 4),
    step_size=st.none() | st.floats(0, 100),
    restarts=st.integers(1, 3),
    targeted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_pgd_never_leaves_the_ball_nor_the_box(
    threat, eps, shape, exponent, steps, step_size, restarts, targeted, seed
):
    threat = threat(eps)
    x = torch.rand(shape, generator=generator(seed)).round(decimals=1)  # now and then on the border of the box
    y = torch.arange(4) % 3
    attack = PGD(threat, steps, step_size, restarts, targeted=targeted)
    x_adv = attack(network(x[0].numel(), scale=10.0**exponent), x, y, generator=generator(seed))
    assert x_adv.shape == x.shape
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert threat.distance(x, x_adv).max() <= eps + 1e-6
    if eps == 0:
        assert torch.equal(x_adv, x)


@EACH
def test_the_smallest_gradients_still_point_somewhere(threat):
    model, x, y = linear(1e-30 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])), torch.full((1, 2), 0.5), torch.tensor([0])
    assert threat.distance(x, FGSM(threat)(model, x, y)).tolist() == pytest.approx([threat.eps])


@EACH
def test_restarts_try_the_points_left_over_and_keep_the_others(threat):
    model, x, y = network(6, scale=4), images(n=400, low=0, high=1), torch.arange(400) % 3
    weak = {"steps": 1, "step_size": 0.0}  # the random start alone, so that luck is all there is
    once = PGD(threat, **weak)(model, x, y, generator=generator())
    often = PGD(threat, restarts=20, **weak)(model, x, y, generator=generator())
    broken = ~hits(model, once, y)
    assert torch.equal(often[broken], once[broken])
    assert (~hits(model, often, y)).sum() > broken.sum() > 0


def test_restarts_end_when_nothing_is_left_to_break():
    model, x = linear(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), torch.tensor([[0.1, 0.9]])
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    PGD(Linf(0.1), steps=1, restarts=50)(model, x, torch.tensor([0]))  # misread from the start
    assert len(calls) < 5  # and not the hundred passes of 50 walks


@EACH
@pytest.mark.parametrize("attack", [FGSM, PGD])
def test_a_targeted_attack_reaches_the_target(threat, attack):
    model = linear(torch.eye(3, 6))
    x, target = images(low=0.45, high=0.5), torch.arange(50) % 3
    assert not hits(model, x, target).all()
    assert hits(model, attack(threat, targeted=True)(model, x, target), target).all()


def test_targeted_restarts_keep_the_points_that_have_arrived():
    model, x, y = network(6, scale=4), images(n=400, low=0, high=1), torch.arange(400) % 3
    weak = {"steps": 1, "step_size": 0.0, "targeted": True}
    once = PGD(Linf(0.1), **weak)(model, x, y, generator=generator())
    often = PGD(Linf(0.1), restarts=20, **weak)(model, x, y, generator=generator())
    arrived = hits(model, once, y)
    assert torch.equal(often[arrived], once[arrived])
    assert hits(model, often, y).sum() > arrived.sum()


@ON_DIGITS
def test_a_target_is_reached_far_more_often_than_by_chance(threat):
    # Most pixels of a digit are black: a step that L1 or L2 spends on them is lost.
    x, target = digits().x, (digits().y + 1) % 10
    by_chance = hits(trained(), threat.random(x, generator()), target)
    reached = hits(trained(), PGD(threat, targeted=True)(trained(), x, target), target)
    assert by_chance.float().mean() < 0.05
    assert reached.float().mean() > 0.4


@ON_DIGITS
@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("targeted", [False, True])
def test_early_exit_takes_of_each_point_the_iterate_that_broke_it(threat, every, targeted, monkeypatch):
    model, x = precise(), digits().x.double()
    y = (digits().y + 1) % 10 if targeted else digits().y
    attack = {"threat": threat, "steps": 25, "targeted": targeted}
    with watching(model) as walk:
        last = PGD(**attack)(model, x, y)
    solved = torch.stack([hits(model, at, y) if targeted else wrong(model, at, y) for at in walk])
    first = torch.where(solved.any(0), solved.int().argmax(0), 25)
    expected = torch.stack([*walk, last])[first, torch.arange(len(x))]
    watch_standing(monkeypatch, every)
    with counting(model) as passes:
        found = PGD(**attack, early_exit=True)(model, x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert solved.any(0).sum() > 0
    assert (hits(model, found, y) == targeted).sum() >= (hits(model, last, y) == targeted).sum()
    # On a GPU they leave at the next tenth call.
    walked = (first // every + 1) * every
    assert passes.forward == passes.backward == walked.clamp_max(25).sum()


def test_evaluation_leaves_early_by_itself():
    x, y = digits().x, digits().y
    with counting(trained()) as early:
        expected = robust_accuracy(trained(), Split(x, y), PGD(Linf(0.2), early_exit=True))
    with counting(trained()) as passes:
        assert robust_accuracy(trained(), Split(x, y), PGD(Linf(0.2))) == expected
    assert passes == early
    assert passes.backward < 40 * len(x) / 2


@EACH
@pytest.mark.parametrize("masked", [False, True])
def test_a_walk_asks_nothing_of_a_gpu_until_it_ends(threat, masked):
    model, x, y = network(6), images(), torch.arange(50) % 3
    if masked:
        threat = type(threat)(threat.eps, torch.tensor([[[True, False] * 3]]))

    def reads(**options):
        with HostReads() as found:
            PGD(threat, **options)(model, x, y)
        return found.count

    assert reads(steps=10) == reads(steps=30)
    assert reads(steps=30, early_exit=True) > reads(steps=10, early_exit=True)  # as it does where it has to


# In half precision 1.0038 is 1 and 1.0041 is 1.0078. At x the first logit is −0.00015 in truth, and −0.0039 in half.
HALF = linear(torch.tensor([[1.0038, -1.0041], [0.0, 0.0]]), torch.tensor([0.0, -0.002]))
GREY, ZERO = torch.full((9, 2), 0.5), torch.zeros(9, dtype=torch.int64)


def test_half_precision_errs_on_the_model_by_hand():
    with torch.autocast("cpu", torch.bfloat16):
        assert not hits(HALF, GREY, ZERO).any()
    assert hits(HALF, GREY, ZERO).all()


@pytest.mark.parametrize("every", [1, 10])
def test_what_half_precision_calls_broken_goes_on(every, monkeypatch):
    claims, half = watch_standing(monkeypatch, every), {"random_start": False, "early_exit": True, "bf16": True}
    found = PGD(Linf(0.01), steps=20, **half)(HALF, GREY, ZERO)  # a start that half precision would be content with
    assert claims[0].fell.all()
    assert wrong(HALF, found, ZERO).all()
    PGD(Linf(1e-4), steps=20, **half)(HALF, GREY, ZERO)  # too small a set to break anything in truth
    assert not claims[1].fell.any()


@ON_DIGITS
@pytest.mark.parametrize("targeted", [False, True])
def test_half_precision_claims_nothing_that_full_precision_denies(threat, targeted, monkeypatch):
    claims, model, x = watch_standing(monkeypatch), trained(), digits().x
    y = (digits().y + 1) % 10 if targeted else digits().y
    options = {"steps": 20, "targeted": targeted, "early_exit": True}
    half, full = (PGD(threat, bf16=bf16, **options)(model, x, y) for bf16 in (True, False))
    fell = claims[0].fell
    assert fell.any()
    assert (hits(model, half[fell], y[fell]) == targeted).all()
    share = [float((hits(model, found, y) == targeted).float().mean()) for found in (half, full)]
    assert share[0] == pytest.approx(share[1], abs=0.05)


@EACH
def test_a_model_that_detaches_its_input_is_called_blind(threat):
    with pytest.raises(ValueError, match="model gives no gradient with respect to its input, so this attack is blind"):
        PGD(threat, steps=2)(Detached(network(6)), images(), torch.arange(50) % 3)
    cut = nn.Sequential(Detached(nn.Flatten()), *network(6)[1:]).eval()  # later layers do have one
    with pytest.raises(ValueError, match="something in it detaches"):
        PGD(threat, steps=2)(cut, images(), torch.arange(50) % 3)


def test_the_step_is_two_and_a_half_radii_over_the_steps_unless_said():
    model, x, y = network(6), images(), torch.arange(50) % 3
    default, explicit = PGD(L2(0.2), steps=10), PGD(L2(0.2), steps=10, step_size=0.05)
    assert torch.equal(default(model, x, y), explicit(model, x, y))
    short = PGD(L2(0.2), steps=1, step_size=0.01, random_start=False)(model, x, y)
    torch.testing.assert_close(L2(0.2).distance(x, short), torch.full((50,), 0.01), rtol=1e-4, atol=0.0)


def test_the_loss_of_an_attack_can_be_any_function_of_logits_and_labels():
    model, x, y = network(6), images(low=0, high=1), torch.arange(50) % 3
    backwards = PGD(Linf(0.1), loss=lambda logits, y: -cross_entropy(logits, y))
    assert (cross_entropy(model(backwards(model, x, y)), y) < cross_entropy(model(x), y)).all()


@EACH
def test_a_gradient_that_is_not_a_number_stops_the_attack(threat):
    steep = PGD(threat, steps=2, loss=lambda logits, y: (0 * logits).sum(1).sqrt())  # the slope of a root at zero
    with pytest.raises(FloatingPointError, match="the gradient of the loss has NaN or infinite values"):
        steep(network(6), images(), torch.arange(50) % 3)


@EACH
def test_a_model_that_answers_nan_is_neither_attacked_nor_scored(threat):
    model, x, y = network(6), images(), torch.arange(50) % 3
    model[1].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="model returned NaN logits"):
        PGD(threat, steps=2)(model, x, y)
    with pytest.raises(ValueError, match="model returned NaN logits"):
        accuracy(model, Split(x, y))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps must be >= 0 and restarts >= 1, got -1 and 1"),
        ({"restarts": 0}, "steps must be >= 0 and restarts >= 1, got 40 and 0"),
        ({"step_size": -0.1}, "step_size must be a finite number >= 0 or None, got -0.1"),
        ({"step_size": float("nan")}, "step_size must be a finite number >= 0 or None, got nan"),
        ({"step_size": float("inf")}, "step_size must be a finite number >= 0 or None, got inf"),
        ({"restarts": 2, "random_start": False}, "restarts > 1 needs random_start=True"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PGD(Linf(0.1), **settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EACH
def test_a_gpu_finds_the_points_that_the_cpu_finds(threat):
    model, x, y = network(6), images(low=0, high=1), torch.arange(50) % 3
    attack = PGD(threat, steps=10, random_start=False)  # each device has random numbers of its own
    expected = cross_entropy(model(attack(model, x, y)), y)
    x_adv = attack(model.cuda(), x.cuda(), y.cuda())
    assert x_adv.is_cuda
    torch.testing.assert_close(cross_entropy(model(x_adv), y.cuda()).cpu(), expected, rtol=0.0, atol=1e-3)
