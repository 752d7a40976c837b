"""Checkpoints: a run that was interrupted ends like one that was not, and nothing else is taken for it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robustcourse import PGD, AdversarialTraining, Linf, fit, mlp
from robustcourse.data import label_noise
from robustcourse.train import EMA, Curriculum, Free, HoldOut, fast
from robustcourse.train import checkpoint as module
from tests.nets import points

DATA = points()
THREAT = Linf(0.1)


def network():
    return nn.Sequential(mlp(DATA, width=16), nn.BatchNorm1d(4), nn.Dropout(0.2))


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def ease(eps):
    return fast(Linf(eps))


SETTINGS = {
    "adam": {"objective": AdversarialTraining(PGD(THREAT, steps=2))},
    "momentum": {"optimizer": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-3), "clip": 1.0},
    "average": {"average": EMA(0.7)},
    "held out": {"hold_out": HoldOut(PGD(THREAT, steps=2), share=0.3)},
    "free": {"objective": Free(THREAT, replays=2)},
    "curriculum": {"objective": Curriculum(ease, 0.1)},
}


class Stop(Exception):
    pass


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("interrupted", [1, 3])
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, settings, interrupted):
    def watch(model):
        calls.append(1)
        if len(calls) == interrupted + 1:
            raise Stop
        return float(weights(model).sum())

    settings = {"objective": None, "epochs": 5, "batch_size": 16, "seed": 3} | settings
    calls, whole, path = [], network(), tmp_path / "deep" / "run.safetensors"
    torch.manual_seed(0)
    with pytest.raises(Stop):
        fit(network(), DATA, **settings, watch=watch, checkpoint=path)
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]
    torch.manual_seed(0)
    resumed = network()
    calls = [1] * 99
    history = fit(resumed, DATA, **settings, watch=watch, checkpoint=path)
    expected = fit(whole, DATA, **settings, watch=watch)
    assert torch.equal(weights(resumed), weights(whole))
    for what in ("loss", "gradient_norm", "held_out", "watched"):
        assert getattr(history, what) == getattr(expected, what)
    # A run that is over is not run again.
    again = network()
    assert fit(again, DATA, **settings, watch=watch, checkpoint=path) == history
    assert torch.equal(weights(again), weights(whole))


def test_a_failed_write_keeps_the_checkpoint_of_before(tmp_path, monkeypatch):
    path, written = tmp_path / "run.safetensors", []

    def full(tensors, beside, facts):
        if written:
            beside.write_bytes(b"half of it")
            raise OSError("No space left on device")
        written.append(save_file(tensors, beside, facts))

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        fit(network(), DATA, epochs=2, checkpoint=path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]
    monkeypatch.undo()
    resumed, whole = network(), network()
    fit(resumed, DATA, epochs=2, checkpoint=path)
    fit(whole, DATA, epochs=2)
    assert torch.equal(weights(resumed), weights(whole))


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def scramble(path):
    path.write_bytes(b"not a checkpoint")


def foreign(path):
    save_file({"a": torch.zeros(2)}, path)


@pytest.mark.parametrize("damage", [cut, scramble, foreign])
def test_a_corrupt_checkpoint_is_refused_and_left_alone(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    fit(network(), DATA, epochs=1, checkpoint=path)
    damage(path)
    left = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint .*run.safetensors is cut off or no checkpoint; delete it"):
        fit(network(), DATA, epochs=1, checkpoint=path)
    assert path.read_bytes() == left


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "is of another run: epochs was 2 and is 3; delete it, or give another path"),
        ({"seed": 1, "clip": 1.0}, "clip was None and is 1.0, seed was 0 and is 1"),
        ({"objective": fast(THREAT)}, r"objective was Standard\(\) and is AdversarialTraining"),
        ({"model": mlp(DATA, width=8)}, "model was Sequential"),
        ({"data": label_noise(DATA, 0.5)}, "data was Dataset"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    path = tmp_path / "run.safetensors"
    asked = {"model": network(), "data": DATA, "epochs": 2, "checkpoint": path}
    fit(**asked)
    model = change.get("model", network())
    before = weights(model).clone()
    with pytest.raises(ValueError, match=message):
        fit(**asked | {"model": model} | change)
    assert torch.equal(weights(model), before)
