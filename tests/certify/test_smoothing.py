"""Randomized smoothing: exact on a linear model, wrong as rarely as it says, and silent where it cannot know."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from scipy import stats
from torch import nn

from robustcourse import L1, L2, Linf, mlp
from robustcourse.certify import Smoothed, Votes, certified_accuracy, smooth, verify
from robustcourse.data import Split
from robustcourse.evaluate import robustness_curve
from tests.nets import linear, points

W = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
MODEL = linear(W)  # says 0 where 2 x_0 > x_1
X = torch.tensor([[0.5, 0.2], [0.5, 0.8], [0.1, 0.9], [0.9, 0.0]])
EXACT = (X @ (W[0] - W[1])).abs() / (W[0] - W[1]).norm()  # distance to the border


def test_on_a_linear_model_the_radius_comes_close_to_the_distance_from_below():
    said = smooth(MODEL, 0.5).certify(X, n=100_000)
    assert torch.equal(said.classes, MODEL(X).argmax(1))
    assert (said.radius < EXACT).all()
    assert (said.radius > EXACT - 0.02).all()
    assert said.votes.sum(1).tolist() == [100_000] * 4


def test_more_votes_show_more_and_their_number_is_a_limit():
    far = torch.tensor([[1.0, 0.0]])
    radii = [float(smooth(MODEL, 0.1).certify(far, n=n).radius) for n in (100, 1000, 10_000)]
    limits = [0.1 * stats.norm.ppf(0.001 ** (1 / n)) for n in (100, 1000, 10_000)]
    assert radii == pytest.approx(limits)  # a vote of one voice
    assert radii == sorted(radii)


def test_a_certificate_fails_as_rarely_as_it_says():
    alpha, repetitions = 0.2, 300
    same = X[:1].expand(repetitions, 2)
    said = smooth(MODEL, 0.5).certify(same, n0=50, n=400, alpha=alpha)
    failed = int((said.radius > EXACT[0]).sum())
    # More failures than this happen once in a million times, if each has probability alpha.
    assert failed <= stats.binom.isf(1e-6, repetitions, alpha)
    assert failed > 0  # and the bound is no looser than it must be


def test_one_radius_is_settled_with_few_votes_and_rarely_wrongly():
    model = smooth(MODEL, 0.5)
    near, far = 0.5 * float(EXACT[0]), 1.5 * float(EXACT[0])
    yes, no = (model.reaches(X[:1].expand(20, 2), radius, n=20_000) for radius in (near, far))
    assert yes.classes.tolist() == [0] * 20
    assert yes.radius.tolist() == [near] * 20
    assert no.classes.tolist() == [-1] * 20
    assert no.radius.tolist() == [0] * 20
    assert yes.votes.sum(1).max() < 5000
    assert no.votes.sum(1).max() < 5000
    alpha, repetitions = 0.2, 200
    edge = float(EXACT[0]) * (1 + 1e-6)  # just beyond what is true
    wrong = int((model.reaches(X[:1].expand(repetitions, 2), edge, n=1600, alpha=alpha).radius > 0).sum())
    assert wrong <= stats.binom.isf(1e-6, repetitions, alpha)
    assert wrong > 0  # and not because it never says yes


def test_votes_that_settle_nothing_are_counted_to_the_end():
    said = smooth(MODEL, 0.5).reaches(X[:1], float(EXACT[0]), n=777, alpha=1e-6)
    assert said.classes.tolist() == [-1]
    assert said.votes.sum() == 777


def test_where_two_classes_are_equally_likely_it_abstains():
    border = torch.tensor([[0.25, 0.5]]).expand(40, 2)
    for said in (smooth(MODEL, 0.3).certify(border, n=1000), smooth(MODEL, 0.3).predict(border)):
        assert (said.classes == -1).sum() >= 36
        assert (said.radius[said.classes == -1] == 0).all()


def test_predict_answers_where_the_lead_is_no_accident():
    said = smooth(MODEL, 0.5).predict(X, n=5000)
    assert torch.equal(said.classes, MODEL(X).argmax(1))
    assert said.votes.sum(1).tolist() == [5000] * 4
    few = smooth(MODEL, 0.5).predict(X, n=12, alpha=0.01)
    for counted, name in zip(few.votes, few.classes, strict=True):
        sure = stats.binomtest(int(counted.max()), 12, 0.5).pvalue <= 0.01
        assert (int(name) >= 0) == sure


def test_the_bound_is_that_of_clopper_and_pearson():
    said = smooth(MODEL, 1.0).certify(X[:1], n=200, alpha=0.05)
    hits = int(said.votes[0, 0])
    low = stats.binomtest(hits, 200).proportion_ci(0.90, method="exact").low  # one side of two
    assert float(said.radius) == pytest.approx(stats.norm.ppf(low), rel=1e-9)


def test_what_is_certified_is_right_and_far_enough():
    said = Smoothed(torch.tensor([0, 1, -1]), torch.tensor([0.5, 0.2, 0.0]), torch.zeros(3, 2))
    assert said.certified(torch.tensor([0, 0, 0])).tolist() == [True, False, False]
    assert said.certified(torch.tensor([0, 1, 1]), 0.3).tolist() == [True, False, False]


def test_the_generator_decides_and_the_callers_stream_stays():
    state = torch.get_rng_state()
    votes = [smooth(MODEL, 0.5).votes(X, 99, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(votes[0], votes[1])
    assert not torch.equal(votes[0], votes[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(smooth(MODEL, 0.5, batch_size=10).votes(X, 99).sum(1), torch.full((4,), 99))


def test_a_class_that_nobody_names_has_no_radius():
    class Fickle(nn.Module):
        """Names class 0 in the first look, and class 1 ever after."""

        calls = 0

        def forward(self, x):
            self.calls += 1
            return torch.tensor([[1.0, 0.0]] if self.calls == 1 else [[0.0, 1.0]]).expand(len(x), 2)

    said = smooth(Fickle().eval(), 0.5).certify(X[:1], n=100)
    assert said.classes.tolist() == [-1]
    assert said.radius.tolist() == [0]


def test_how_far_the_right_class_is_certified_makes_a_curve():
    said = Smoothed(torch.tensor([0, 1, -1, 0]), torch.tensor([0.5, 0.2, 0.0, 0.2]), torch.zeros(4, 2))
    reach = said.reach(torch.zeros(4, dtype=torch.long))
    assert reach.tolist() == pytest.approx([0.5, 0, 0, 0.2])
    assert [e.value for e in robustness_curve(reach, [0, 0.1, 0.3, 0.5])] == [0.5, 0.5, 0.25, 0]


RIGHT = MODEL(X).argmax(1)
OTHER = 1 - RIGHT


@pytest.mark.parametrize("certificate", [Votes(0.5), Votes(0.5, early=False), Votes(0.5, shared=True)], ids=str)
def test_votes_verify_what_is_near_and_falsify_what_is_wrong(certificate):
    near = L2(0.7 * float(EXACT.min()))
    said = certificate(MODEL, X, RIGHT, near)
    assert said.verified.all()
    assert (said.gap > 0).all()
    assert (said.gap < EXACT - near.eps).all()
    said = certificate(MODEL, X, OTHER, near)
    assert said.falsified.all()
    assert torch.equal(said.witness, X)
    assert (said.gap == -near.eps).all()  # the right class has no radius
    said = certificate(MODEL, X, RIGHT, L2(1.2 * float(EXACT.max())))
    assert said.unknown.all()
    assert (said.gap < 0).all()
    assert said.alpha == 0.001
    assert said.method == str(certificate)


def test_all_votes_show_the_largest_radius_and_few_are_enough_for_one():
    few, all_ = (Votes(0.5, early=early)(MODEL, X, RIGHT, L2(0.05)) for early in (True, False))
    assert torch.equal(few.status, all_.status)
    assert (few.gap < all_.gap).all()
    assert ((all_.gap + 0.05 - EXACT).abs() < 0.1).all()


def test_boxes_and_diamonds_are_put_into_balls():
    def gap(threat):
        return Votes(0.5)(MODEL, X, RIGHT, threat).gap

    assert torch.equal(gap(Linf(0.1)), gap(L2(0.1 * 2**0.5)))
    assert torch.equal(gap(L1(0.1)), gap(L2(0.1)))
    assert torch.equal(gap(Linf(0.1, torch.tensor([True, False]))), gap(L2(0.1)))


def test_a_single_verdict_of_either_kind_is_wrong_as_rarely_as_it_says():
    alpha, repetitions = 0.2, 300
    most = stats.binom.isf(1e-6, repetitions, alpha)
    same, border = X[:1].expand(repetitions, 2), torch.tensor([[0.25, 0.5]]).expand(repetitions, 2)
    y, votes = RIGHT[:1].expand(repetitions), Votes(0.5, n=1600, alpha=alpha)
    beyond = votes(MODEL, same, y, L2(float(EXACT[0]) * (1 + 1e-6)))
    assert 0 < beyond.verified.sum() <= most
    tie = votes(MODEL, border, y, L2(0.0))  # neither right nor wrong: both verdicts are mistakes
    assert tie.falsified.any()
    assert (tie.verified | tie.falsified).sum() <= most


def test_the_noise_is_that_of_the_seed_and_the_batch_so_that_a_run_can_be_interrupted(tmp_path, monkeypatch):
    split, votes, store = Split(X.view(4, 1, 1, 2), RIGHT), Votes(0.5, n=500), tmp_path / "votes.safetensors"
    whole = verify(MODEL, split, votes, L2(0.2), batch_size=1)
    assert certified_accuracy(MODEL, split, votes, L2(0.2)).n == 4
    assert not torch.equal(whole.gap, verify(MODEL, split, Votes(0.5, n=500, seed=1), L2(0.2), batch_size=1).gap)
    calls, look = count(), smooth.votes

    def fails(self, *arguments):
        if next(calls) > 4:
            raise KeyboardInterrupt
        return look(self, *arguments)

    monkeypatch.setattr(smooth, "votes", fails)
    with pytest.raises(KeyboardInterrupt):
        verify(MODEL, split, votes, L2(0.2), batch_size=1, store=store)
    assert store.exists()
    monkeypatch.setattr(smooth, "votes", look)
    resumed = verify(MODEL, split, votes, L2(0.2), batch_size=1, store=store)
    assert torch.equal(resumed.gap, whole.gap)
    assert torch.equal(resumed.status, whole.status)


def test_noise_that_is_shared_is_the_same_for_all_and_passes_the_first_layers_once():
    model, x = mlp(points(), width=8), points().test.x[:6]
    x[1] = x[0]
    rows = {}
    for name, layer in model.named_children():
        layer.register_forward_pre_hook(lambda _, inputs, name=name: rows.update({name: rows[name] + len(inputs[0])}))
    for n in (300, 1700):
        rows.update(dict.fromkeys(dict(model.named_children()), 0))
        votes = smooth(model, 0.5, shared=True).votes(x, n)
        assert votes.sum(1).tolist() == [n] * 6
        assert torch.equal(votes[0], votes[1])
        # Normalize, Flatten and Linear see images, zero and noise; all that follows sees everything.
        assert list(rows.values()) == [7 + n] * 3 + [6 * n] * (len(rows) - 3)

    class Opaque(nn.Module):
        def forward(self, x):
            return model(x)

    whole = smooth(Opaque().eval(), 0.5, shared=True).votes(x, 1700)
    assert (whole - votes).abs().sum() <= 4  # but for ties within rounding
    own = smooth(model, 0.5).votes(x, 1700)
    assert not torch.equal(own[0], own[1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Votes(-1.0), "sigma must be a finite number > 0, got -1.0"),
        (lambda: Votes(0.5, batch_size=0), "batch_size must be >= 1, got 0"),
        (lambda: Votes(0.5, n0=0), "n0 must be >= 1, got 0"),
        (lambda: Votes(0.5, n=5), "n=5 votes can show nothing at alpha=0.001"),
        (lambda: Votes(0.5)(MODEL, X - 1, RIGHT, L2(0.1)), r"x must lie in \[0, 1\]"),
        (lambda: Votes(0.5)(MODEL, X, RIGHT[:2], L2(0.1)), "y must have one label for each of the 4 examples"),
        (lambda: Votes(0.5)(MODEL, X, RIGHT + 7, L2(0.1)), r"y must hold labels in 0 … 1, got labels in 7 … 8"),
        (
            lambda: Votes(0.5)(MODEL, X, RIGHT, L2(0.1, torch.ones(3, dtype=torch.bool))),
            r"mask must have the shape of one input, \(2,\), got \(3,\)",
        ),
        (lambda: smooth(MODEL, 0.5).reaches(X, 0.1, n=9), "n=9 votes can show nothing at alpha=0.001"),
        (lambda: smooth(MODEL, 0.0), "sigma must be a finite number > 0, got 0.0"),
        (lambda: smooth(MODEL, float("nan")), "sigma must be a finite number > 0, got nan"),
        (lambda: smooth(MODEL, 0.5, batch_size=0), "batch_size must be >= 1, got 0"),
        (lambda: smooth(nn.Sequential(nn.Dropout()), 0.5), "model is in training mode"),
        (lambda: smooth(MODEL, 0.5).certify(X + 1), r"x must lie in \[0, 1\]"),
        (lambda: smooth(MODEL, 0.5).certify(X, n0=0), "n0 must be >= 1, got 0"),
        (lambda: smooth(MODEL, 0.5).certify(X, n=0), "n must be >= 1, got 0"),
        (lambda: smooth(MODEL, 0.5).certify(X, alpha=1.0), r"alpha must be in \(0, 1\), got 1.0"),
        (
            lambda: smooth(MODEL, 0.5).certify(X, n=9),
            "n=9 votes can show nothing at alpha=0.001, not even when they agree",
        ),
        (lambda: smooth(MODEL, 0.5).predict(X, n=0), "n must be >= 1, got 0"),
        (lambda: smooth(MODEL, 0.5).reaches(X, 0.1, n=0), "n must be >= 1, got 0"),
        (lambda: smooth(MODEL, 0.5).reaches(X, 0.1, n0=0), "n0 must be >= 1, got 0"),
        (lambda: smooth(MODEL, 0.5).reaches(X, -0.1), "radius must be a finite number >= 0, got -0.1"),
        (lambda: smooth(nn.Unflatten(1, (2, 1)).eval(), 0.5).predict(X), "model must return logits"),
    ],
)
def test_wrong_input_is_an_error(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


def test_a_model_that_is_no_module_is_an_error():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got function"):
        smooth(lambda x: x, 0.5)
