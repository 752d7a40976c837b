"""The two switches, the seed, and the line that every lesson prints first."""

from __future__ import annotations

import time

import pytest
import torch

from robustcourse import about, at_scale, device, scale
from robustcourse.runtime import seeded, stream, timed, versions


@pytest.fixture(autouse=True)
def no_switch_is_set(monkeypatch):
    monkeypatch.delenv("ROBUSTCOURSE_DEVICE", raising=False)
    monkeypatch.delenv("ROBUSTCOURSE_SCALE", raising=False)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_device_prefers_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.mps, "is_available", lambda: mps)
    assert device() == torch.device(expected)


def test_the_environment_overrides_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ROBUSTCOURSE_DEVICE", "cpu")
    assert device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["toaster", "cuda:99", "cpu:x", "meta"])
def test_a_device_that_is_not_there_is_named_in_the_error(monkeypatch, name):
    monkeypatch.setenv("ROBUSTCOURSE_DEVICE", name)
    with pytest.raises(ValueError, match=f"ROBUSTCOURSE_DEVICE='{name}' is not usable here; use 'cpu'"):
        device()


@pytest.mark.parametrize(("value", "expected"), [(None, 2), ("", 2), ("smoke", 1), ("lesson", 2), ("full", 3)])
def test_the_scale_picks_one_of_three_values(monkeypatch, value, expected):
    if value is not None:
        monkeypatch.setenv("ROBUSTCOURSE_SCALE", value)
    assert at_scale(smoke=1, lesson=2, full=3) == expected


def test_an_unknown_scale_is_named_in_the_error(monkeypatch):
    monkeypatch.setenv("ROBUSTCOURSE_SCALE", "huge")
    with pytest.raises(ValueError, match="ROBUSTCOURSE_SCALE='huge' is unknown; use one of smoke, lesson, full"):
        scale()


def test_seeded_gives_the_same_numbers_and_puts_the_state_back_even_after_an_error():
    before, drawn = torch.get_rng_state(), []

    def draw_and_fail(seed):
        with seeded(seed):
            drawn.append(torch.rand(4))
            raise KeyError

    for seed in (3, 3, 4):
        with pytest.raises(KeyError):
            draw_and_fail(seed)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_puts_the_state_of_mps_back_too(monkeypatch):
    state = ["before"]
    monkeypatch.setattr(torch.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", state.append)
    with seeded(3):
        state.append("during")
    assert state == ["before", "during", "before"]


def test_about_prints_versions_device_and_scale(monkeypatch, capsys):
    monkeypatch.setenv("ROBUSTCOURSE_DEVICE", "cpu")
    monkeypatch.setenv("ROBUSTCOURSE_SCALE", "smoke")
    about()
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__}" in printed
    assert printed.endswith("device: cpu, scale: smoke\n")
    assert set(versions()) == {"python", "robustcourse", "torch", "numpy"}


def test_a_stream_belongs_to_its_purpose():
    first, again, other = (torch.rand(3, generator=stream(name)) for name in ("noise, 0", "noise, 0", "noise, 1"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_timing_gives_the_result_and_counts_work_but_no_waiting(monkeypatch):
    monkeypatch.setenv("ROBUSTCOURSE_DEVICE", "cpu")
    result, seconds = timed(lambda: time.sleep(0.3) or "done")
    assert result == "done"
    assert 0 <= seconds < 0.2
