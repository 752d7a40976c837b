"""Sweeps: the same members however they are cut, stored, interrupted and gone on with."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from robustcourse import PGD, AdversarialTraining, Linf, load, mlp
from robustcourse.data import label_noise
from robustcourse.evaluate import Estimate, accuracy
from robustcourse.sweeps import Member, fit_together, grid, sweep
from robustcourse.sweeps import store as storing
from robustcourse.sweeps.chunks import chunks, footprint

DIGITS = load("digits")
DATA = dataclasses.replace(DIGITS, train=DIGITS.train[:60], test=DIGITS.test[:40])
MEMBERS = grid(width=(8, 16, 24), noise=(0, 0.2), seed=range(2))
STEPS = 12
SETTINGS = {"steps": STEPS, "moments": [4, 8, STEPS], "learning_rate": 0.02, "retire": 1.2}
ATTACK = AdversarialTraining(PGD(Linf(0.1), steps=2))
SMALL = 4 * footprint(Member(24, examples=60), DATA)  # bytes for three chunks of MEMBERS


def run(members=MEMBERS, data=DATA, *args, **more):
    return sweep(members, data, *args, **SETTINGS | more)


def check_equal(a, b):
    assert a.members == b.members
    assert a.retired == b.retired
    assert torch.equal(a.moments, b.moments)
    assert torch.equal(a.hits, b.hits)
    torch.testing.assert_close(a.loss, b.loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(a.fitted, b.fitted)
    for one, other in zip(a.models(), b.models(), strict=True):
        for x, y in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def whole():
    """All members at once, in memory."""
    return run()


@dataclass(frozen=True)
class Watched:
    """Cross-entropy that notes the widths that it trains, step by step, and does something else at first."""

    seen: list = dataclasses.field(default_factory=list, repr=False)
    act: object = dataclasses.field(default=None, repr=False)

    def __call__(self, model, x, y):
        if self.act:
            self.act(len(self.seen))
        self.seen.append([stack.weights[0].shape[1] for stack in model.stacks for _ in range(len(stack))])
        return F.cross_entropy(model(x), y)


def stop(at, step):
    if step == at:
        raise KeyboardInterrupt


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_grid_is_all_combinations():
    members = grid(width=(2, 4), noise=0.2, seed=range(3))
    assert members == [Member(width, noise=0.2, seed=seed) for width in (2, 4) for seed in range(3)]
    assert grid(width=np.array([2, 4]), examples=None) == [Member(2), Member(4)]
    assert grid(width=5) == [Member(5)]


def test_a_member_is_a_network_with_noisy_labels_on_the_first_examples():
    member = Member(width=12, depth=2, noise=0.3, penalty=0.01, examples=30, seed=5)
    got = run([Member(6, examples=30), member, Member(6)], objective=ATTACK, batch_size=8)
    data = label_noise(replace(DATA, train=DATA.train[:30]), 0.3, 5)
    model = mlp(data, 12, 2, 5)
    (curve,) = fit_together([model], data, ATTACK, **SETTINGS, batch_size=8, penalty=0.01, seeds=5)
    assert got.members == [Member(6, examples=30), member, Member(6, examples=60)]
    assert torch.equal(got.moments, curve.moments)
    torch.testing.assert_close(got.loss[1], curve.loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.fitted[1], curve.fitted)
    assert torch.equal(got.hits[1], curve.hits)
    assert got.retired[1] == curve.retired
    torch.testing.assert_close(got.models()[1].state_dict(), model.state_dict(), rtol=1e-4, atol=1e-5)
    assert repr(got) == "Sweep(3 members, 3 moments up to step 12, 40 test examples)"


def test_weights_and_hits_belong_to_their_member(whole):
    models = whole.models()
    assert not any(model.training for model in models)
    assert [model[2].out_features for model in models] == [member.width for member in whole.members]
    shares = [accuracy(model, DATA.test).value for model in models]
    assert shares == pytest.approx(whole.hits[:, -1].float().mean(1).tolist())
    assert len(set(whole.retired)) > 1  # some were done, some were not
    models[0][2].weight.data.zero_()
    assert whole.models()[0][2].weight.abs().max() > 0


@pytest.mark.parametrize("folder", [False, True], ids=["memory", "folder"])
@pytest.mark.parametrize("objective", [None, ATTACK], ids=["standard", "adversarial"])
def test_it_does_not_matter_how_members_are_cut_and_where_they_are_kept(tmp_path, whole, folder, objective):
    memory = 4 * footprint(Member(24, examples=60), DATA, objective, 16)
    cut = run(objective=objective, batch_size=16, memory=memory, folder=tmp_path if folder else None)
    check_equal(cut, run(objective=objective, batch_size=16))


def test_members_lie_under_readable_names(tmp_path):
    run([Member(8, noise=0.2, seed=3), Member(8, penalty=1e-5, examples=30)], folder=tmp_path / "deep" / "runs")
    assert sorted(path.name for path in (tmp_path / "deep" / "runs").iterdir()) == [
        "sweep.json",
        "width=8,depth=1,noise=0,penalty=1e-05,examples=30,seed=0.safetensors",
        "width=8,depth=1,noise=0.2,penalty=0,examples=60,seed=3.safetensors",
    ]
    facts = json.loads((tmp_path / "deep" / "runs" / "sweep.json").read_text())
    assert facts["steps"] == "12"
    assert facts["objective"] == "Standard()"


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, whole):
    first = Watched(act=partial(stop, STEPS + 3))
    with pytest.raises(KeyboardInterrupt):
        run(objective=first, retire=None, folder=tmp_path, memory=SMALL)
    assert len(list(tmp_path.glob("*.safetensors"))) == len(first.seen[0])  # the first chunk
    assert len(files(tmp_path)) == len(first.seen[0]) + 1
    second = Watched()
    resumed = run(objective=second, retire=None, folder=tmp_path)
    assert sorted(first.seen[0] + second.seen[0]) == sorted(member.width for member in MEMBERS)
    check_equal(resumed, run(objective=Watched(), retire=None))
    # What is there is not trained again, and members may be added, or asked for in part.
    third = Watched()
    run([*MEMBERS[::-1], Member(32)], objective=third, retire=None, folder=tmp_path)
    assert third.seen == [[32]] * STEPS
    some = run(MEMBERS[3:5], objective=third, retire=None, folder=str(tmp_path))
    assert torch.equal(some.hits, resumed.hits[3:5])
    assert len(third.seen) == STEPS


def test_a_chunk_that_comes_again_trains_only_what_is_missing(tmp_path):
    def share(step):  # as if another worker had stored all members in the meantime
        if step == 0:
            for path in (tmp_path / "whole").glob("*.safetensors"):
                shutil.copy(path, tmp_path / "again")

    expected = run(objective=Watched(), retire=None, folder=tmp_path / "whole")
    (tmp_path / "again").mkdir()
    objective = Watched(act=share)
    again = run(objective=objective, retire=None, folder=tmp_path / "again", memory=SMALL)
    assert len(objective.seen) == STEPS
    check_equal(again, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 13, "moments": None}, r"steps was 12 and is 13, moments was \[4, 8, 12\] and is None; give another"),
        ({"objective": ATTACK}, r"objective was Standard\(\) and is AdversarialTraining"),
        ({"batch_size": 7, "learning_rate": 0.1}, "batch_size was None and is 7, learning_rate was 0.02 and is 0.1"),
        ({"retire": None}, "retire was 1.2 and is None"),
        ({"data": label_noise(DATA, 0.5)}, r": labels was \w{8} and is \w{8}; give"),
        ({"data": replace(DATA, test=DIGITS.test[40:80])}, r": images was \w{8} and is \w{8}, labels was"),
    ],
)
def test_a_folder_of_another_sweep_is_left_alone(tmp_path, change, message):
    run(MEMBERS[:2], folder=tmp_path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(MEMBERS, **change, folder=tmp_path)
    assert files(tmp_path) == before


def test_settings_that_cannot_be_trained_are_not_stored(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        run(batch_size=0, folder=tmp_path)
    assert files(tmp_path) == {}


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def scramble(path):
    path.write_bytes(b"not a member")


def foreign(path):
    save_file({"a": torch.zeros(2)}, path)


@pytest.mark.parametrize("damage", [cut, scramble, foreign])
def test_a_corrupt_file_is_named_before_anything_is_trained(tmp_path, damage):
    run(MEMBERS[:2], folder=tmp_path)
    damage(path := tmp_path / f"{replace(MEMBERS[1], examples=60)}.safetensors")
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"width=8,.*seed=1.safetensors is cut off or no member .*; delete it to"):
        run(folder=tmp_path)
    assert files(tmp_path) == before
    path.unlink()
    check_equal(run(MEMBERS[:2], folder=tmp_path), run(MEMBERS[:2]))


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "3"])
def test_members_without_their_settings_are_not_taken(tmp_path, text):
    run(MEMBERS[:1], folder=tmp_path)
    path = tmp_path / "sweep.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=r"sweep.json is missing, cut off or of no sweep; give another folder"):
        run(folder=tmp_path)


@pytest.mark.parametrize("error", [SafetensorError("No space left on device"), OSError("No space left on device")])
@pytest.mark.parametrize("room", [0, 5])
def test_a_full_disk_costs_what_is_not_stored_yet(tmp_path, monkeypatch, error, room):
    def full(tensors, path, left=[1] * room):
        if not left:
            path.write_bytes(b"half of it")
            raise error
        left.pop()
        save_file(tensors, path)

    monkeypatch.setattr(storing, "save_file", full)
    with pytest.raises(OSError, match=rf"width=.* could not be stored \(No space left .*\); {room} are stored in "):
        run(folder=tmp_path, memory=SMALL)
    assert Counter(path.suffix for path in tmp_path.iterdir()) == Counter({".json": 1, ".safetensors": room})
    monkeypatch.undo()
    stored = files(tmp_path)
    check_equal(run(folder=tmp_path), run())
    assert files(tmp_path).items() >= stored.items()


def test_a_folder_that_workers_do_not_see(tmp_path, monkeypatch):
    monkeypatch.setattr(storing.Store, "write", lambda *_: None)
    with pytest.raises(FileNotFoundError, match=r"width=24.* was trained, but is not in .*; all workers must see it"):
        run(MEMBERS[-1:], folder=tmp_path)


def test_threads_take_turns(whole):
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    objective = Watched()
    with joblib.parallel_config(backend="threading", n_jobs=3):
        spread = run(objective=objective, retire=None)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert len(objective.seen) >= 3 * STEPS
    check_equal(spread, run(objective=Watched(), retire=None))


def test_who_diverges_is_named():
    with pytest.raises(
        FloatingPointError, match=r"models 1 diverged .* lower learning_rate \(width=8,.*penalty=1e\+39,.*seed=1\)$"
    ):
        run([Member(8), Member(8, penalty=1e39, seed=1)])  # more than float32 can hold


def test_where_chooses_members(whole):
    some = whole.where(width=16, noise=0.2)
    assert [vars(member) for member in some.members] == [
        vars(Member(16, noise=0.2, examples=60, seed=seed)) for seed in range(2)
    ]
    assert torch.equal(some.hits, whole.hits[6:8])
    assert torch.equal(some.loss, whole.loss[6:8])
    assert torch.equal(some.fitted, whole.fitted[6:8])
    assert some.retired == whole.retired[6:8]
    assert torch.equal(some.models()[1][2].weight, whole.models()[7][2].weight)
    assert some.error() == Estimate.over_seeds(~whole.hits[6:8, -1].numpy())
    assert some.error(8) == Estimate.over_seeds(~whole.hits[6:8, 1].numpy())


def test_where_and_error_say_what_there_is(whole):
    with pytest.raises(ValueError, match=r"settings must be among width, .*, seed, got widht"):
        whole.where(widht=8)
    with pytest.raises(ValueError, match=r"no member has {'width': 9}; there are width \[8, 16, 24\]"):
        whole.where(width=9)
    with pytest.raises(ValueError, match="members must differ in nothing but their seed; choose some with where"):
        whole.error()
    with pytest.raises(ValueError, match=r"moment must be one of \[4, 8, 12\], got 5"):
        whole.where(width=8, noise=0.2).error(5)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"width": 0}, ValueError, "width must be >= 1 and depth >= 0, got width=0, depth=1"),
        ({"width": 4, "depth": -1}, ValueError, "got width=4, depth=-1"),
        ({"width": 4.0}, TypeError, "width must be an int, got float"),
        ({"width": 4, "examples": 30.0}, TypeError, "examples must be an int, got float"),
        ({"width": np.int64(4)}, TypeError, "width must be an int, got int64"),
        ({"width": 4, "noise": 1.5}, ValueError, r"noise must be in \[0, 1\], got 1.5"),
        ({"width": 4, "penalty": -1}, ValueError, "penalty must be a finite number >= 0, got -1"),
    ],
)
def test_a_member_that_cannot_be(settings, error, message):
    with pytest.raises(error, match=message):
        Member(**settings)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "members must hold at least one member, got none"),
        ([Member(4), Member(4, examples=60)], "members must all be different, but width=4,.* is there 2 times"),
        ([Member(4, examples=9)], r"examples must be in 10 … 60 with Dataset\(digits: .*\), got 9"),
        ([Member(4, examples=61)], "examples must be in 10 … 60 .* got 61"),
        ([Member(4), Member(10**6)], r"memory must hold each .* width=1000000,.* needs 3.84e\+09 bytes, got 1.07e\+09"),
    ],
    ids=["none", "twice", "few", "many", "large"],
)
def test_members_that_cannot_be_together(members, message):
    objective = Watched()
    with pytest.raises(ValueError, match=message):
        run(members, objective=objective)
    assert not objective.seen


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 3), st.sampled_from([20, 40])), min_size=1, unique=True),
    st.floats(1, 50),
    st.integers(1, 20),
)
def test_chunks_fit_and_leave_nobody_out(shapes, factor, workers):
    members = [Member(width, depth, examples=n) for width, depth, n in shapes]
    sizes = {member: footprint(member, DATA) for member in members}
    memory = factor * max(sizes.values())
    parts = list(chunks(members, sizes, memory, workers))
    assert Counter(member for part in parts for member in part) == Counter(members)
    assert all(len({member.examples for member in part}) == 1 for part in parts)
    assert all(sum(sizes[member] for member in part) <= memory for part in parts)
    assert len(parts) >= min(workers, len(members))


def test_members_of_like_size_share_balanced_chunks():
    members = [Member(width, examples=60, seed=seed) for seed in range(20) for width in (8, 64, 512)]
    sizes = {member: footprint(member, DATA) for member in members}
    parts = list(chunks(members, sizes, sum(sizes.values()), 4))
    sums = [sum(sizes[member] for member in part) for part in parts]
    assert len(parts) == 4
    assert max(sums) - min(sums) <= 2 * max(sizes.values())
    widths = [member.width for part in parts for member in part]
    assert all(a >= b for a, b in pairwise(widths))


MEMORY = """
import json, tempfile, torch
from robustcourse import PGD, AdversarialTraining, Linf
from robustcourse.data import Dataset, Split
from robustcourse.sweeps import grid, sweep
from robustcourse.sweeps.chunks import footprint

def taken(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024

torch.set_num_threads(1)
x, y = torch.rand(400, 1, 16, 16), torch.arange(400) % 10
data = Dataset("drawn", Split(x[:300], y[:300]), Split(x[300:], y[300:]), 10, "")
attack = AdversarialTraining(PGD(Linf(0.1), steps=1))
peaks = []
for objective, batch_size, width in [(None, None, 400), (attack, 50, 100)]:
    settings = {"objective": objective, "batch_size": batch_size, "steps": 2, "moments": [1, 2]}
    members = grid(width=width, seed=range(12))
    one = footprint(members[0], data, objective, batch_size)
    sweep(members[:1], data, **settings)
    for count in (3, 12):
        open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
        before = taken("VmRSS")
        with tempfile.TemporaryDirectory() as folder:
            sweep(members, data, **settings, memory=count * one, folder=folder)
        peaks.append((taken("VmHWM") - before) / one)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells how much memory was taken")
def test_memory_is_an_upper_bound_and_chunks_make_it_small():
    # What is free goes back at once: else a peak would be one of what is kept in reserve, too.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, env=environment)
    peaks = json.loads(done.stdout)
    for small, large in (peaks[:2], peaks[2:]):
        assert small <= 3
        assert 2 * small < large <= 12
