"""The attack benchmark: what it counts, what it calls a hit, and that a peer who is not there is named."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from robustcourse import PGD, Linf, load, mlp

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/attacks.py"))
THREAT = Linf(0.1)


@pytest.fixture
def subject():
    data = load("digits")
    model = mlp(data, width=8)
    x = data.test.x[:16]
    return model, x, model(x).argmax(1)  # labels that the model agrees with


def compare(peers, subject, steps=2):
    model, x, y = subject
    return BENCHMARK["compare"](peers, model, THREAT, x, y, steps, 1)


def constant(x_adv):
    """A peer that answers with these points, whatever it is asked."""
    return lambda *_: lambda: x_adv


def test_all_pgds_of_this_package_pass_the_same_examples_as_their_steps_say(subject):
    peers = {name: BENCHMARK["PGDS"][name] for name in ("floor", "robustcourse", "plain loop")}
    for figures in compare(peers, subject, steps=3).values():
        assert (figures["forward"], figures["backward"]) == (48, 48)
        assert not figures["wrote"]


def test_the_plain_loop_is_our_pgd(subject):
    model, x, y = subject
    loop = BENCHMARK["plain_loop"](model, THREAT, x, y, 5)
    torch.testing.assert_close(loop(), PGD(THREAT, 5)(model, x, y))


def test_a_point_outside_the_threat_set_is_no_hit_and_one_inside_is_counted_against_ours(subject):
    model, x, _ = subject
    broken = 1 - x  # far outside
    subject = (model, x, model(x).argmax(1))
    assert (model(broken).argmax(1) != subject[2]).any()
    far = compare({"robustcourse": constant(x), "far": constant(broken)}, subject)["far"]
    assert (far["left"].value, far["missed"], far["added"]) == (1, 0, 0)
    assert far["farthest"] == pytest.approx(float((broken - x).abs().max()))

    near = PGD(THREAT)(model, x, subject[2])
    hits = int((model(near).argmax(1) != subject[2]).sum())
    assert hits
    both = compare({"robustcourse": constant(x), "near": constant(near)}, subject)["near"]
    assert (both["missed"], both["added"], both["points"]) == (0, hits, -100 * hits / len(x))
    both = compare({"robustcourse": constant(near), "idle": constant(x)}, subject)["idle"]
    assert (both["missed"], both["added"], both["points"]) == (hits, 0, 100 * hits / len(x))


def test_gradients_left_in_the_weights_are_noticed(subject):
    model, x, y = subject

    def careless(*_):
        def run():
            nn.functional.cross_entropy(model(x), y).backward()
            return x

        return run

    figures = compare({"robustcourse": constant(x), "careless": careless}, subject)["careless"]
    assert figures["wrote"]
    assert (figures["forward"], figures["backward"]) == (16, 16)


def test_a_peer_that_is_not_installed_is_named_and_the_rest_goes_on(subject, capsys):
    def absent(*_):
        raise ModuleNotFoundError("No module named 'absent'")

    result = compare({"robustcourse": BENCHMARK["ours"], "absent": absent}, subject)
    BENCHMARK["show"]("title", result)
    assert "absent                        missing: No module named 'absent'" in capsys.readouterr().out
    assert list(BENCHMARK["summary"]([result])) == ["robustcourse"]
