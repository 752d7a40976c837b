"""The four verdicts from intervals made by hand, what is printed, and the record that stays."""

from __future__ import annotations

import json

import pytest

from robustcourse import Estimate, claim
from robustcourse.claims import CLAIMS, Verdict


def between(low, high, unit="%"):
    return Estimate((low + high) / 2, low, high, 100, unit)


ABOVE, BELOW = between(0.6, 0.8), between(0.2, 0.4)  # of one half
ACROSS, ACROSS_TOO = between(0.35, 0.6), between(0.4, 0.65)  # whose middles lie on either side


@pytest.fixture(autouse=True)
def records(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBUSTCOURSE_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("ROBUSTCOURSE_SCALE", "smoke")
    monkeypatch.setenv("ROBUSTCOURSE_DEVICE", "cpu")
    return tmp_path / "records"


def decide(*estimates, **threshold):
    measured = {f"case {i}": e for i, e in enumerate(estimates)}
    return claim("C01", measured, statistic="accuracy", lesson="00-test", **threshold)


@pytest.mark.parametrize(
    ("estimates", "verdict"),
    [
        ([ABOVE], Verdict.HOLDS),
        ([ABOVE, ABOVE], Verdict.HOLDS),
        ([ABOVE, BELOW], Verdict.CONDITIONS),
        ([ABOVE, ACROSS], Verdict.CONDITIONS),
        ([BELOW, BELOW], Verdict.CONTRADICTED),
        ([BELOW, ACROSS], Verdict.UNDECIDED),
        ([ACROSS], Verdict.UNDECIDED),
        ([ACROSS_TOO, ACROSS], Verdict.UNDECIDED),
    ],
)
def test_the_verdict_follows_from_the_intervals_on_either_side(estimates, verdict):
    assert decide(*estimates, at_least=0.5) is verdict
    mirrored = [between(1 - e.high, 1 - e.low) for e in estimates]
    assert decide(*mirrored, at_most=0.5) is verdict


@pytest.mark.parametrize("side", ["at_least", "at_most"])
@pytest.mark.parametrize(("low", "high"), [(0.5, 0.7), (0.3, 0.5), (0.5, 0.5)])
def test_an_interval_that_ends_on_the_threshold_decides_nothing(side, low, high):
    assert decide(between(low, high), **{side: 0.5}) is Verdict.UNDECIDED


def test_no_difference_at_all_is_no_evidence():
    same = Estimate.over_seeds([[0] * 9] * 3)
    assert (same.low, same.high) == (0, 0)
    assert decide(same, at_most=0.0) is decide(same, at_least=0.0) is Verdict.UNDECIDED


def test_claim_prints_the_sentence_the_test_the_numbers_and_the_verdict(capsys):
    claim("C04", {"ε = 0.1": BELOW, "ε = 0.3": ABOVE}, statistic="accuracy lost", lesson="00-test", at_least=0.5)
    assert capsys.readouterr().out == (
        "C04  Robustness costs clean accuracy.\n"
        "     test     accuracy lost: at least 50 %\n"
        "     ε = 0.1  30.0 % [20.0, 40.0] (n = 100)\n"
        "     ε = 0.3  70.0 % [60.0, 80.0] (n = 100)\n"
        "     verdict  holds under conditions (ε = 0.3)\n"
    )


@pytest.mark.parametrize(
    ("unit", "rule"), [("points", "x: at most 2.5 points"), ("s", "x: at most 0.025 s"), ("", "x: at most 0.025")]
)
def test_the_threshold_is_printed_in_the_unit_of_the_estimates(unit, rule, records):
    claim("C06", {"all": between(0.0, 0.01, unit)}, statistic="x", lesson="00-test", at_most=0.025)
    assert json.loads((records / "00-test.C06.json").read_text("utf-8"))["rule"] == rule


def test_a_threshold_in_another_unit_is_any_number():
    assert decide(between(3.0, 4.0, "×"), at_least=2.0) is Verdict.HOLDS


def test_the_record_says_what_was_measured_how_and_where(records):
    claim("C02", {"width 8": ABOVE, "width 64": BELOW}, statistic="accuracy", lesson="00-test", at_least=0.5)
    record = json.loads((records / "00-test.C02.json").read_text("utf-8"))
    assert record.pop("cpu_seconds") > 0
    assert set(record.pop("versions")) == {"python", "robustcourse", "torch", "numpy"}
    rest = {"n": 100, "unit": "%", "observed": "", "interval": "Wilson 95 %"}
    assert record.pop("conditions") == {
        "width 8": {"value": pytest.approx(0.7), "low": 0.6, "high": 0.8, **rest},
        "width 64": {"value": pytest.approx(0.3), "low": 0.2, "high": 0.4, **rest},
    }
    assert record == {
        "claim": "C02",
        "text": CLAIMS["C02"],
        "lesson": "00-test",
        "rule": "accuracy: at least 50 %",
        "verdict": "holds under conditions (width 8)",
        "scale": "smoke",
        "device": "cpu",
    }


def test_a_record_replaces_the_one_before_and_leaves_nothing_unfinished(records):
    decide(ABOVE, at_least=0.5)
    decide(BELOW, at_least=0.5)
    assert [path.name for path in records.iterdir()] == ["00-test.C01.json"]
    assert json.loads((records / "00-test.C01.json").read_text("utf-8"))["verdict"] == "contradicted"


def test_an_interrupted_write_leaves_the_record_before_as_it_was(records, monkeypatch):
    decide(ABOVE, at_least=0.5)
    before = (records / "00-test.C01.json").read_text("utf-8")
    monkeypatch.setattr("os.replace", lambda *_: pytest.fail("cut off here"))
    with pytest.raises(pytest.fail.Exception, match="cut off here"):
        decide(BELOW, at_least=0.5)
    assert (records / "00-test.C01.json").read_text("utf-8") == before


def test_without_a_folder_of_its_own_the_record_goes_to_the_build_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ROBUSTCOURSE_RECORDS")
    monkeypatch.chdir(tmp_path)
    decide(ABOVE, at_least=0.5)
    assert (tmp_path / "_build/records/00-test.C01.json").exists()


def test_the_course_has_28_claims_each_a_sentence():
    assert list(CLAIMS) == [f"C{number:02d}" for number in range(1, 29)]
    assert all(text[0].isupper() and text.endswith(".") for text in CLAIMS.values())
    assert len(set(CLAIMS.values())) == 28


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "C29"}, "name must be one of C01 … C28, got 'C29'"),
        ({"measured": {}}, r"measured must hold at least one estimate, all of one unit, got units \[\]"),
        (
            {"measured": {"a": ABOVE, "b": between(0.6, 0.8, "points")}},
            r"measured must hold at least one estimate, all of one unit, got units \['%', 'points'\]",
        ),
        ({"at_least": 50}, r"the threshold must be in \[-1, 1\], 0.5 for 50 %, got 50"),
        ({"at_least": -1.01}, r"the threshold must be in \[-1, 1\], 0.5 for 50 %, got -1.01"),
        ({"at_least": float("nan")}, r"the threshold must be in \[-1, 1\], 0.5 for 50 %, got nan"),
        ({"at_least": None}, "give exactly one of at_least and at_most, got at_least=None, at_most=None"),
        ({"at_most": 0.5}, "give exactly one of at_least and at_most, got at_least=0.5, at_most=0.5"),
    ],
)
def test_what_is_refused_leaves_no_record(change, message, records):
    good = {"name": "C01", "measured": {"all": ABOVE}, "statistic": "accuracy", "lesson": "00-test", "at_least": 0.5}
    with pytest.raises(ValueError, match=message):
        claim(**good | change)
    assert not records.exists()
