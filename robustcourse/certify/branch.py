"""Branch and bound: cut the question in two until every part has an answer.

A bound is loose because of the neurons whose sign is open: there a bent activation was replaced by two lines. Fix the
sign of one of them. In each of the two cases it is linear, nothing is lost there, and the bound is better. Case by
case the margin is proved, or a point shows up at which it is negative. In the end every case is linear, so the answer
is exact, if there is time.

What a case knows, "this neuron is positive", enters the bound by a multiplier β ≥ 0: the margin minus β times the
neuron is no larger than the margin, wherever the neuron is positive. The slopes α and the multipliers β are found by
gradient ascent, for hundreds of cases of all images at once.

Sources: Bunel et al. 2020 (arXiv:1909.06588); β-CROWN, Wang et al. 2021 (arXiv:2103.06624); the choice of the neuron,
De Palma et al. 2021 (arXiv:2104.06718).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustcourse.attacks import PGD, margin_loss
from robustcourse.attacks.attack import misread
from robustcourse.certify.bounds import Net, Step, activations, bends, pull_through
from robustcourse.certify.verdict import FALSIFIED, UNKNOWN, VERIFIED, Verdict, slack, verdict
from robustcourse.checks import check_nonnegative, frozen
from robustcourse.evaluate import margin
from robustcourse.threats import Threat, per_example

CANDIDATES = 4  # neurons that are tried before one of them is chosen
SIGNS = (1, -1)


class Cases(NamedTuple):
    """Parts of the threat sets of some examples, each with the margin that is in question there.

    Neurons are those of all activations, one after the other.

    Args:
        example: (D,) which one.
        other: (D,) the class that the right one is compared with.
        bound: (D,) the margin is at least this.
        signs: (D, neurons) int8, −1 or 1 where the case fixes the sign of a neuron, 0 where it is open.
        slopes: (D, neurons) α, of the lines below.
        multipliers: (D, neurons) β, of the fixed signs.
    """

    example: Tensor
    other: Tensor
    bound: Tensor
    signs: Tensor
    slopes: Tensor
    multipliers: Tensor

    def at(self, index: Tensor) -> Cases:
        """Those that an index or a mask selects."""
        return Cases(*(part[index] for part in self))


@dataclass(frozen=True)
class BranchAndBound:
    """A certificate that goes on until it knows the answer: β-CROWN, for a whole batch at once.

    An attack goes first, since most examples that can be misread are easily misread. Then bounds by lines, and only
    what they leave open is cut. Examples with few cases come first, so the hard ones hold up nobody.

    With time enough every answer is found, but for margins within rounding of zero; and but for balls of L2 and L1 that
    the range of pixels cuts, whose lowest points bounds know only nearly (`Threat.least`).

    Args:
        seconds: ≥ 0, after which what is still open stays *unknown*. Of the clock on the wall, for a batch of examples.
        cases: bounded at a time, ≥ 1; it changes memory and speed only.
        steps: of gradient ascent for each case, ≥ 0.

    Raises:
        ValueError: a number is out of range.
    """

    seconds: float = 60.0
    cases: int = 512
    steps: int = 8

    def __post_init__(self) -> None:
        check_nonnegative("seconds", self.seconds)
        if self.cases < 1 or self.steps < 0:
            raise ValueError(f"cases must be >= 1 and steps >= 0, got {self.cases} and {self.steps}")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Verdict:
        """Verdicts for x (B, ...) in [0, 1] with labels y (B,): each with a witness, a proof, or what is left to prove.

        Raises:
            TypeError, ValueError: a wrong input, or a layer without bounds.
        """
        end = time.monotonic() + self.seconds
        attack = PGD(threat, steps=40, loss=margin_loss, restarts=2, early_exit=True)
        x_adv = attack(model, x, y)
        with frozen(model), torch.no_grad():
            witness = x_adv.where(per_example(misread(model(x_adv), y), x), x)
            logits = model(witness)
            status = torch.where(logits.argmax(1) == y, UNKNOWN, FALSIFIED)
            gap, branches = margin(logits, y), torch.ones_like(y)
            if len(left := (status == UNKNOWN).nonzero().squeeze(1)):
                search = Search(model, x[left], y[left], threat, self.steps)
                search.run(self.cases, end)
                status[left], gap[left], witness[left] = search.known()
                branches[left] = search.branches
        return verdict(status, gap, witness, branches, self, threat)


class Search:
    """The cases that are open, and what is known of each example so far.

    Args:
        model, x, y, threat: as for `BranchAndBound`, of examples that no attack has broken.
        steps: of gradient ascent for each case.
    """

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, steps: int) -> None:
        self.model, self.x, self.y, self.threat, self.steps = model, x, y, threat, steps
        self.net = Net(model, x, y, threat, tight=True)
        self.spec = self.net.differences(y)
        self.slack = slack(model(x))
        self.witness, self.branches = x.clone(), torch.ones_like(y)
        self.broken, self.stuck = (torch.zeros(len(y), dtype=torch.bool, device=y.device) for _ in range(2))
        bent = list(activations(self.net.steps))
        self.sizes = [step.low[0].numel() for step in bent]
        nothing = x.new_zeros(len(x), 0)
        low, high, below = (
            torch.cat([nothing, *(part.flatten(1) for part in parts)], 1)
            for parts in ([step.low for step in bent], [step.high for step in bent], [step.lines[0] for step in bent])
        )
        self.undecided, steepest = (low < 0) & (high > 0), (below == 1).to(x.dtype)
        margins = self.net.margins(y).scatter(1, y[:, None], torch.inf)
        example, other = (margins <= self.slack[:, None]).nonzero(as_tuple=True)
        # The lowest of the bounds that wait for nothing any more.
        self.gap = margins.where(margins > self.slack[:, None], torch.inf).amin(1)
        none = torch.zeros_like(steepest[example])
        self.cases = Cases(example, other, margins[example, other], none.to(torch.int8), steepest[example], none)

    def run(self, at_once: int, end: float) -> None:
        """Bound cases and cut them, until none is left or the time is over."""
        # Without activations there is nothing to cut: what is open stays open.
        while self.sizes and len(self.cases.example) and time.monotonic() < end:
            # Examples with few cases first; of an example, those that are nearly proved, so that few have to wait.
            order = (self.branches[self.cases.example] - torch.sigmoid(self.cases.bound.double())).argsort()
            now, later = self.cases.at(order[:at_once]), self.cases.at(order[at_once:])
            after, cost = self.bound(now)
            self.cases = Cases(*map(torch.cat, zip(later, *self.cut(now, after, cost), strict=True)))
            done = self.broken | self.stuck
            if done.any():
                self.cases = self.cases.at(~done[self.cases.example])

    def known(self) -> tuple[Tensor, Tensor, Tensor]:
        """Status, gap and witness of each example, as a `Verdict` has them."""
        open_ = self.stuck.clone()
        open_[self.cases.example] = True
        status = torch.where(open_, UNKNOWN, VERIFIED).where(~self.broken, FALSIFIED)
        gap = self.gap.scatter_reduce(0, self.cases.example, self.cases.bound, "amin")
        return status, gap.where(~self.broken, margin(self.model(self.witness), self.y)), self.witness

    def bound(self, cases: Cases) -> tuple[Cases, Tensor]:
        """The best bounds that a few steps of ascent find, (D,), and how much each neuron costs them, (D, neurons)."""
        steps = self._around(cases)
        slopes, multipliers = (part.clone().requires_grad_(True) for part in (cases.slopes, cases.multipliers))
        optimizer = torch.optim.Adam([{"params": slopes, "lr": 0.5}, {"params": multipliers, "lr": 0.1}], fused=True)
        best = cases.bound
        with torch.enable_grad():
            for _ in range(self.steps):
                found, _ = self._lowest(steps, cases, slopes, multipliers)
                best = torch.maximum(best, found.detach())
                optimizer.zero_grad()
                found.sum().neg().backward()
                optimizer.step()
                with torch.no_grad():
                    slopes.clamp_(0, 1)
                    multipliers.clamp_(min=0)
            # What the offset of a line above contributes is lost to the bound, and is not if the sign is fixed.
            offsets = [step.lines[2].requires_grad_(True) for step in activations(steps)]
            found, weights = self._lowest(steps, cases, slopes.detach(), multipliers.detach())
            each = torch.autograd.grad(found.sum(), offsets)
        cost = [-(offset * gradient).flatten(1) for offset, gradient in zip(offsets, each, strict=True)]
        best = torch.maximum(best, found.detach())
        self._try(cases.example, weights.detach())
        after = cases._replace(bound=best, slopes=slopes.detach(), multipliers=multipliers.detach())
        return after, torch.cat(cost, 1).detach()

    def cut(self, before: Cases, cases: Cases, cost: Tensor) -> list[Cases]:
        """What is left to prove of these cases: each that is open is cut at the neuron whose two halves do best."""
        left = self._settle(cases)
        before, cases, cost = before.at(left), cases.at(left), cost[left]
        enough = self.slack[cases.example]
        undecided = self.undecided[cases.example] & (cases.signs == 0)
        linear = ~undecided.any(1)
        # Nothing is left to cut. More ascent may help, but if the last did not, the answer is within rounding of zero.
        stuck = linear & (cases.bound <= before.bound + enough)
        self.stuck[cases.example[stuck]] = True
        self._note(cases.at(stuck))
        again, cases, cost, enough = cases.at(linear), cases.at(~linear), cost[~linear], enough[~linear]
        if not len(cases.example):
            return [again]
        cost = cost.where(undecided[~linear], -torch.inf)
        tried = cost.topk(min(CANDIDATES, cost.shape[1]), 1).indices.T
        bounds = torch.stack([torch.stack([self._half(cases, neuron, sign) for sign in SIGNS]) for neuron in tried])
        ends = bounds.clamp(max=enough)
        worth = (ends.amin(1) + 1e-3 * ends.amax(1)).where(cost.gather(1, tried.T).T >= 0, -torch.inf)
        best = worth.argmax(0)
        neuron, bounds = tried.gather(0, best[None]).T, bounds.gather(0, best.expand(1, 2, -1))[0]
        self.branches.index_add_(0, cases.example, torch.ones_like(cases.example))
        halves = [
            cases._replace(bound=bound, signs=cases.signs.scatter(1, neuron, sign))
            for sign, bound in zip(SIGNS, bounds, strict=True)
        ]
        return [again, *(half.at(self._settle(half)) for half in halves)]

    def _settle(self, cases: Cases) -> Tensor:
        """Take note of the cases that are proved. Returns which are not, (D,) booleans."""
        left = cases.bound <= self.slack[cases.example]
        self._note(cases.at(~left))
        return left

    def _note(self, cases: Cases) -> None:
        """These cases wait no longer, but what is known of their example is no more than this."""
        self.gap.scatter_reduce_(0, cases.example, cases.bound, "amin")

    def _half(self, cases: Cases, neuron: Tensor, sign: int) -> Tensor:
        """The bounds, (D,), if one more neuron of each case, (D,), has this sign."""
        half = cases._replace(signs=cases.signs.scatter(1, neuron[:, None], sign))
        found, _ = self._lowest(self._around(half), half, half.slopes, half.multipliers)
        return torch.maximum(found, cases.bound)

    def _around(self, cases: Cases) -> list[Step]:
        """The layers around these cases: with boxes that end at zero, where a sign is fixed."""
        signs = iter(cases.signs.split(self.sizes, 1))

        def narrow(step: Step) -> Step:
            if step.rows:
                return replace(step, rows=[[narrow(inner) for inner in row] for row in step.rows])
            if not bends(step.layer):
                return step
            low, high = step.low[cases.example], step.high[cases.example]
            sign = next(signs).view_as(low)
            return Step(step.layer, low.where(sign <= 0, low.clamp(min=0)), high.where(sign >= 0, high.clamp(max=0)))

        return [narrow(step) for step in self.net.steps]

    def _lowest(self, steps: list[Step], cases: Cases, slopes: Tensor, multipliers: Tensor) -> tuple[Tensor, Tensor]:
        """The margin's lower bound in each case, (D,), and the weights of the pixels in it, (D, 1, ...)."""
        parts = slopes.split(self.sizes, 1), (cases.signs * multipliers).split(self.sizes, 1)
        for step, slope, fixed in zip(activations(steps), *parts, strict=True):
            step.slope, step.fixed = slope.view_as(step.low)[:, None], fixed.view_as(step.low)[:, None]
        weights, constant = pull_through(steps, self.spec[cases.example, cases.other][:, None])
        return (self.threat.least(self.x[cases.example], weights) + constant).squeeze(1), weights

    def _try(self, example: Tensor, weights: Tensor) -> None:
        """Look at the points where these bounds are lowest: where a bound is exact, it is the worst there is."""
        x, y = self.x[example], self.y[example]
        x_adv = self.threat.project(x, x - self.threat.eps * self.threat.steepest(weights.squeeze(1)))
        hit = misread(self.model(x_adv), y)
        self.witness[example[hit]], self.broken[example[hit]] = x_adv[hit], True
