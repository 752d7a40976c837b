"""What people say of the two families of models, and a test for each sentence.

A claim is a statistic with a threshold that was fixed before looking. Its verdict follows from intervals alone, and
goes against the claim where the measurement does.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from robustcourse.evaluate import Estimate
from robustcourse.evaluate.estimate import PERCENT
from robustcourse.files import replacing
from robustcourse.runtime import device, scale, versions

CLAIMS: dict[str, str] = {
    "C01": "Overparameterized models are fragile: changes too small to matter break them.",
    "C02": "Size alone does not make a model robust.",
    "C03": "Adversarial training makes decisions resist small changes.",
    "C04": "Robustness costs clean accuracy.",
    "C05": "That cost is no law of nature: more and better data make it vanish.",
    "C06": "Adversarial training takes several times as long.",
    "C07": "Adversarial training is a game: an inner ascent against an outer descent.",
    "C08": "Clipping gradients keeps robust training stable when examples are extreme.",
    "C09": "Robust objectives are harder to optimize, and overparameterized ones easy.",
    "C10": "Test error falls, peaks and falls again as models grow: larger models do not overfit harmfully.",
    "C11": "The second descent comes from the smoothest of all solutions that fit.",
    "C12": "Overparameterized models can memorize: they even fit random labels.",
    "C13": "What is memorized leaks: an attacker can tell who was in the training data.",
    "C14": "Robust models run little risk of memorizing.",
    "C15": "Generative models repeat training text word for word.",
    "C16": "Overparameterized models take shortcuts, and robust training relies on causes.",
    "C17": "Robust models do well when light, weather or angle change.",
    "C18": "Adversarial examples are a property of high-dimensional space.",
    "C19": "Small networks are enough to be robust.",
    "C20": "A finished model can be made robust afterwards, though training for it works better.",
    "C21": "Fitting data smoothly takes more weights than fitting them.",
    "C22": "Robustness seen under attack can fall to the next attack, and certified robustness cannot.",
    "C23": "Voting under noise certifies a radius against every attack.",
    "C24": "Text can be attacked like pixels: small edits turn a classifier around.",
    "C25": "Prompts can be adversarial for generative models.",
    "C26": "Robust training overfits too: robust accuracy falls while the training loss still improves.",
    "C27": "Adversarial training with a single step can collapse from one epoch to the next.",
    "C28": "Choose capacity when data are clean and speed counts, robustness when safety is at stake.",
}


class Verdict(str, Enum):
    """The four ways in which the test of a claim can end."""

    HOLDS = "holds"
    CONDITIONS = "holds under conditions"
    CONTRADICTED = "contradicted"
    UNDECIDED = "not decided here"

    __str__ = str.__str__


def claim(
    name: str,
    measured: Mapping[str, Estimate],
    *,
    statistic: str,
    lesson: str,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Verdict:
    """Test a claim, print its verdict, and store the record.

    Under each condition the claim holds if the whole interval lies beyond the threshold on its right side, is
    contradicted if it lies beyond on the wrong side, and stays open otherwise. Over all: *holds* if it holds under
    every one, *holds under conditions* if under some, *contradicted* if under none and none is open, else *not decided
    here*.

    Args:
        name: "C01" … "C28", a key of `CLAIMS`.
        measured: the statistic under each condition, as {"ε = 0.1": estimate}.
        statistic: what was measured, in a few words.
        lesson: file name of the lesson without its ending.
        at_least, at_most: the threshold, in the unit of the estimates (0.5 for 50 %); give exactly one.

    Returns:
        The verdict. The record goes to the folder ROBUSTCOURSE_RECORDS, or _build/records, as LESSON.CLAIM.json.

    Raises:
        ValueError: an unknown claim, nothing measured or in two units, or not exactly one threshold in range.
    """
    if name not in CLAIMS:
        raise ValueError(f"name must be one of C01 … C{len(CLAIMS)}, got {name!r}")
    units = {estimate.unit for estimate in measured.values()}
    if len(units) != 1:
        raise ValueError(f"measured must hold at least one estimate, all of one unit, got units {sorted(units)}")
    (unit,) = units
    if at_least is not None and at_most is None:
        side, threshold = "at least", at_least
        passed = {condition: e.low > threshold for condition, e in measured.items()}
        failed = {condition: e.high < threshold for condition, e in measured.items()}
    elif at_most is not None and at_least is None:
        side, threshold = "at most", at_most
        passed = {condition: e.high < threshold for condition, e in measured.items()}
        failed = {condition: e.low > threshold for condition, e in measured.items()}
    else:
        raise ValueError(f"give exactly one of at_least and at_most, got at_least={at_least}, at_most={at_most}")
    if unit in PERCENT and not abs(threshold) <= 1:
        raise ValueError(f"the threshold must be in [-1, 1], 0.5 for 50 %, got {threshold}")
    verdict = (
        Verdict.HOLDS
        if all(passed.values())
        else Verdict.CONDITIONS
        if any(passed.values())
        else Verdict.CONTRADICTED
        if all(failed.values())
        else Verdict.UNDECIDED
    )
    rule = f"{statistic}: {side} {_threshold(threshold, unit)}"
    where = f" ({'; '.join(c for c in measured if passed[c])})" if verdict is Verdict.CONDITIONS else ""
    print(f"{name}  {CLAIMS[name]}\n     test     {rule}")
    for condition, estimate in measured.items():
        print(f"     {condition:<8} {estimate}")
    print(f"     verdict  {verdict}{where}")

    record = {
        "claim": name,
        "text": CLAIMS[name],
        "lesson": lesson,
        "rule": rule,
        "verdict": f"{verdict}{where}",
        "conditions": {condition: dataclasses.asdict(estimate) for condition, estimate in measured.items()},
        "scale": scale(),
        "device": str(device()),
        "cpu_seconds": round(time.process_time(), 1),  # of the whole lesson, up to this verdict
        "versions": versions(),
    }
    folder = Path(os.environ.get("ROBUSTCOURSE_RECORDS") or "_build/records")
    with replacing(folder / f"{lesson}.{name}.json") as file:
        file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return verdict


def _threshold(value: float, unit: str) -> str:
    return f"{100 * value:g} {unit}" if unit in PERCENT else f"{value:g} {unit}".rstrip()
