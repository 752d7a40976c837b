"""The ladder: all that is known of one model in one order, from accuracy on clean images down to the loosest bound.

Above stand the attacks, each an upper bound of the robust accuracy; below the proofs, each a lower one; in the middle,
where there was time enough, the exact answer. The order must hold for every single example, and is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from robustcourse.attacks import FGSM, PGD, Attack, AutoAttack
from robustcourse.certify.bounds import alpha_crown, crown, ibp
from robustcourse.certify.branch import BranchAndBound
from robustcourse.certify.verdict import Certificate, Verdict, verify
from robustcourse.data import Split
from robustcourse.evaluate import Estimate, correct
from robustcourse.threats import Threat

PROOFS: Mapping[str, Certificate] = MappingProxyType(
    {"exact": BranchAndBound(), "α-CROWN": alpha_crown, "CROWN": crown, "IBP": ibp}
)


class Unsound(AssertionError):
    """A proof where a stronger one has none, or even a counterexample: one of the two is wrong."""


@dataclass(frozen=True)
class Ladder:
    """Who stands on which rung.

    Args:
        threat: in words.
        attacked: from top to bottom, (N,) booleans: read right after this attack and all above it. The first rung is
            "clean".
        proofs: from the strongest to the loosest, the verdicts.
    """

    threat: str
    attacked: Mapping[str, Tensor]
    proofs: Mapping[str, Verdict]

    @property
    def held(self) -> dict[str, Tensor]:
        """Which examples stand on each rung, (N,) booleans, from top to bottom."""
        return {**self.attacked, **{name: found.verified for name, found in self.proofs.items()}}

    @property
    def rungs(self) -> dict[str, Estimate]:
        """The share of examples on each rung."""
        return {name: Estimate.proportion(held.cpu()) for name, held in self.held.items()}

    def __str__(self) -> str:
        width = max(len(name) for name in self.held)
        lines = [f"{name:<{width}}  {share}" for name, share in self.rungs.items()]
        return "\n".join([self.threat, *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The figure that a notebook shows: the rungs, upper bounds in grey and proofs in green."""
        from robustcourse.figures import intervals  # here, for matplotlib is slow to load

        kinds = {rung: "upper bound" if rung in self.attacked else "certified" for rung in self.held}
        groups = {rung: {kinds[rung]: share} for rung, share in self.rungs.items()}
        said = ", ".join(f"{rung} {share}" for rung, share in self.rungs.items())
        return intervals(groups, f"examples, {self.threat} (%)", f"From top to bottom: {said}")._repr_html_()


def ladder(
    model: nn.Module,
    split: Split,
    threat: Threat,
    attacks: Mapping[str, Attack] | None = None,
    proofs: Mapping[str, Certificate] = PROOFS,
    batch_size: int = 512,
) -> Ladder:
    """Climb down: attack what still stands, then prove what can be proved, and check that nothing is out of order.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        threat: the set of allowed perturbations.
        attacks: by name, from weak to strong; FGSM, PGD and AutoAttack if None. Each meets all examples; one that an
            attack above has broken stays broken.
        proofs: by name, from strong to loose. `BranchAndBound` goes on for a minute a batch.
        batch_size: examples at a time, ≥ 1.

    Raises:
        TypeError, ValueError: a wrong input, or a layer without bounds.
        Unsound: an example stands on a rung and not on all above it; but nothing is demanded of `BranchAndBound` where
            its time ran out.
    """
    if attacks is None:
        attacks = {"FGSM": FGSM(threat), "PGD": PGD(threat, restarts=2), "AutoAttack": AutoAttack(threat)}
    standing = {"clean": correct(model, split, batch_size=batch_size)}
    for name, attack in attacks.items():
        above = list(standing.values())[-1]
        standing[name] = above & correct(model, split, attack, batch_size)
    found = {name: verify(model, split, proof, threat, batch_size=batch_size) for name, proof in proofs.items()}
    climbed = Ladder(str(threat), standing, found)
    allowed = dict(climbed.held)
    for name, proof in proofs.items():
        if isinstance(proof, BranchAndBound):  # which may have run out of time
            allowed[name] = ~found[name].falsified
    rungs = list(climbed.held.items())
    for number, (lower, held) in enumerate(rungs):
        for upper, _ in rungs[:number]:
            if wrong := (held & ~allowed[upper]).nonzero().flatten().tolist():
                raise Unsound(f"examples {wrong} stand on {lower!r} and not on {upper!r}, which is above it")
    return climbed
