"""AutoAttack: an ensemble with nothing to tune, so that two people who measure a model get the same number.

Source: Croce & Hein 2020 (arXiv:2003.01690). Their ensemble is APGD on cross-entropy, APGD on the targeted DLR loss,
FAB and 5,000 queries of Square. Here FMN, towards the same targets, is in FAB's place, and 1,000 queries of a Square
whose windows differ from point to point are in the place of 5,000.
"""

from __future__ import annotations

from functools import partial

from robustcourse.attacks.adaptive import EOT, Adaptive
from robustcourse.attacks.apgd import APGD
from robustcourse.attacks.chain import Chain
from robustcourse.attacks.fmn import FMN
from robustcourse.attacks.losses import dlr, dlr_targeted
from robustcourse.attacks.square import Square
from robustcourse.threats import Threat

VERSIONS = ("standard", "rand", "quick")


def AutoAttack(threat: Threat, version: str = "standard", bf16: bool = False) -> Chain:
    """The standard ensemble of attacks, for L∞, L2 and L1.

    Args:
        threat: the set to search.
        version: "standard"; "rand" for random defences, where gradients are averaged over 20 draws; or "quick", which
            says in its report what it leaves out.
        bf16: half precision for APGD, with each break confirmed in full.

    Cost for each point that stands to the end: 101 + 9 · 101 + 9 · 31 + 1,000 = 2,289 forward and 1,289 backward passes
    ("standard", ten classes), 2 · 20 · 101 of each ("rand"), 51 + 3 · 51 of each ("quick").

    Raises:
        ValueError: an unknown version.
    """
    if version == "standard":
        return (
            APGD(threat, bf16=bf16)
            | APGD(threat, loss=dlr_targeted, bf16=bf16)
            | FMN(threat, steps=30)
            | Square(threat, queries=1000)
        )
    if version == "rand":
        averaged = partial(EOT, samples=20)
        return Adaptive.of(APGD(threat, bf16=bf16), averaged) | Adaptive.of(APGD(threat, loss=dlr, bf16=bf16), averaged)
    if version == "quick":
        first = APGD(threat, steps=50, bf16=bf16)
        second = APGD(threat, steps=50, loss=dlr_targeted, targets=3, bf16=bf16)
        missing = "quick: 3 targets of 9, half the steps, and no attack that would notice masked gradients"
        return Chain(threat, (first, second), missing)
    raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
