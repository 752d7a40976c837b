"""Bounds that no attack can break: how low can the margin of the right class fall anywhere in a threat set?

Boxes are the cheap answer (IBP): push the set through the network, layer by layer, as an interval for each neuron.
Lines are the better one (CROWN): go backwards from the margin, and replace each activation by a line below or above it,
until the margin is bounded by a linear function of the input, whose worst case is known exactly.

Sources: IBP, Gowal et al. 2018 (arXiv:1810.12715); CROWN, Zhang et al. 2018 (arXiv:1811.00866); CROWN-IBP, Zhang et al.
2020 (arXiv:1906.06316); α-CROWN, Xu et al. 2021 (arXiv:2011.13824).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from robustcourse.certify.layers import ACTIVATIONS, Box, Sum, flattest, interval, lines, pull, unrolled
from robustcourse.checks import check_images, check_labels, check_logits, check_model, frozen
from robustcourse.threats import Linf, Threat, dot, least_in_box

# (1 or B, S, ...) weights of S linear functions of some layer's input, to their lowest values, (B, S).
Lowest = Callable[[Tensor], Tensor]
MEMORY = 2**26  # numbers that a step backwards may hold at once


def ibp(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """Lower bounds of all margins by intervals. As cheap as two forward passes, and loose.

    Args:
        model: in evaluation mode, a sequence of layers that have bounds (`robustcourse.certify.layers`).
        x: (B, ...) in [0, 1].
        y: (B,) int64 labels.
        threat: the set of allowed perturbations.

    Returns:
        (B, classes): f_y − f_k is at least this, wherever in the threat set; 0 at k = y. With a graph to the weights,
        where these ask for one, so it can be trained.

    Raises:
        TypeError, ValueError: a wrong input, or a layer without bounds.
    """
    return Net(model, x, y, threat, tight=False).box_margins(y)


def crown_ibp(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """Lower bounds of all margins by lines, with intervals for the neurons. Between the two in cost and strength.

    Arguments, result and errors are those of `ibp`. The better of the two bounds is taken, margin by margin.
    """
    return Net(model, x, y, threat, tight=False).margins(y)


def crown(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """Lower bounds of all margins by lines, for the neurons too.

    Arguments, result and errors are those of `ibp`. The better of lines and intervals is taken everywhere.
    """
    return Net(model, x, y, threat, tight=True).margins(y)


def alpha_crown(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, steps: int = 20, learning_rate: float = 0.5
) -> Tensor:
    """CROWN with the best lines: the slope of each line below an activation is chosen by gradient ascent on the bound.

    Arguments, result and errors are those of `ibp`; the result has no graph. The neurons' bounds are those of CROWN.

    Args:
        steps: ≥ 0, each a pass backwards and its gradient. The best bound on the way counts.
        learning_rate: of Adam, in units of slope, > 0.
    """
    if steps < 0 or not 0 < learning_rate < float("inf"):
        raise ValueError(f"steps must be >= 0 and learning_rate > 0, got {steps} and {learning_rate}")
    with frozen(model), torch.no_grad():
        net = Net(model, x, y, threat, tight=True)
        best, spec = net.margins(y), net.differences(y)
        slopes = [step.free(net.classes) for step in activations(net.steps)]
        if not slopes:
            return best
        optimizer = torch.optim.Adam(slopes, learning_rate)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
        for _ in range(steps):
            with torch.enable_grad():
                found = net.lowest(spec)
                optimizer.zero_grad()
                found.sum().neg().backward()
            best = torch.maximum(best, found.detach())
            optimizer.step()
            decay.step()
            for slope in slopes:
                slope.clamp_(0, 1)
        return torch.maximum(best, net.lowest(spec))


class Net:
    """A model around some inputs: its layers, each with the box of its inputs, so that bounds can be asked of it.

    Args:
        model, x, y, threat: as for `ibp`.
        tight: bound neurons by lines, not by intervals alone.
    """

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, tight: bool) -> None:
        check_model(model)
        check_images(x)
        check_labels(y, x)
        self.x, self.threat = x.detach(), threat
        self.steps, (low, high) = sweep(
            unrolled(model), threat.hull(self.x), self._at_input, tight, boxed=isinstance(threat, Linf)
        )
        check_logits(low, x)
        self.classes = low.shape[1]
        check_labels(y, x, classes=self.classes)
        self.output = low, high

    def lowest(self, weights: Tensor) -> Tensor:
        """How low each linear function of the logits, weights (1 or B, S, classes), can fall: (B, S), by lines."""
        return behind(self.steps, self._at_input)(weights)

    def margins(self, y: Tensor) -> Tensor:
        """Lower bounds of the margins, (B, classes): the better of boxes and lines."""
        return torch.maximum(self.box_margins(y), self.lowest(self.differences(y)))

    def box_margins(self, y: Tensor) -> Tensor:
        """The same by boxes: of the last activation's outputs, through whatever affine layers follow it."""
        last = max((i for i, step in enumerate(self.steps) if bends(step.layer)), default=-1)
        tail, base = self.steps[last + 1 :], self._at_input
        if last >= 0:
            low, high = (tail[0].low, tail[0].high) if tail else self.output
            base = partial(least_in_box, low, high)
        lowest = behind(tail, base)
        if self.classes > len(y):
            return lowest(self.differences(y))
        # All pairs of classes once, the same for all examples, are cheaper than those of each.
        pairs = self.differences(torch.arange(self.classes, device=y.device)).view(1, -1, self.classes)
        return lowest(pairs).unflatten(1, (self.classes, self.classes))[torch.arange(len(y), device=y.device), y]

    def differences(self, y: Tensor) -> Tensor:
        """The margins as functions of the logits: e_y − e_k, (B, classes, classes)."""
        eye = torch.eye(self.classes, dtype=self.x.dtype, device=self.x.device)
        return eye[y][:, None] - eye[None]

    def _at_input(self, weights: Tensor) -> Tensor:
        return self.threat.least(self.x, weights)


@dataclass
class Step:
    """A layer, and the box that its inputs lie in.

    Args:
        layer: itself.
        low, high: (B, ...) the box.
        rows: of a `Sum`, the steps of each of its rows.
        slope: of the line below an activation, chosen freely: 0 the flattest and 1 the steepest that is sound,
            (B, S, ...) for S functions. None: the line of least area.
    """

    layer: nn.Module
    low: Tensor
    high: Tensor
    rows: list[list[Step]] = field(default_factory=list)
    slope: Tensor | None = None

    @cached_property
    def lines(self) -> tuple[Tensor, Tensor, Tensor]:
        """The lines around an activation: the same for all functions that are pulled through it."""
        return lines(self.layer, self.low, self.high)

    def pull(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Linear functions of the output, (1 or B, S, ...), as ones of the input, or as ones that lie below them."""
        if self.rows:
            parts = [pull_through(row, weights) for row in self.rows]
            return sum(w for w, _ in parts), sum(c for _, c in parts)  # type: ignore[return-value]
        if not bends(self.layer):
            return pull(self.layer, weights, self.low.shape[1:])
        below, above, offset = (line[:, None] for line in self.lines)
        if self.slope is not None:
            bend = flattest(self.layer)
            loose = ((self.low < 0) & (self.high > 0))[:, None]
            below = torch.where(loose, bend + (1 - bend) * self.slope, below)
        rising, falling = weights.clamp(min=0), weights.clamp(max=0)
        return rising * below + falling * above, dot(offset, falling)

    def free(self, functions: int) -> Tensor:
        """Let the slopes of the line below be chosen, for so many functions; they begin at the least area."""
        below, *_ = self.lines
        start = (below == 1).to(below.dtype)[:, None]
        self.slope = start.repeat(1, functions, *[1] * (below.dim() - 1)).requires_grad_(True)
        return self.slope


def sweep(
    layers: list[nn.Module], box: Box, lowest: Lowest, tight: bool, boxed: bool, affine: bool = True
) -> tuple[list[Step], Box]:
    """Boxes for every layer in a row, from first to last.

    Args:
        box: of the inputs of the first layer.
        lowest: bounds linear functions of these inputs.
        tight: make the box of each activation's inputs as small as lines can.
        boxed: the threat set is a box, so that intervals are exact behind affine layers. Other sets are not, and there
            lines are used at the first activations in any case.
        affine: no activation has come before.

    Returns:
        A step for each layer, and the box of the last one's outputs.
    """
    steps: list[Step] = []
    for layer in layers:
        if isinstance(layer, ACTIVATIONS) and (not boxed if affine else tight):
            box = shrunk(box, behind(steps, lowest), everywhere=affine)
        step = Step(layer, *box)
        if isinstance(layer, Sum):
            rows = [sweep(row, box, behind(steps, lowest), tight, boxed, affine) for row in layer.rows]
            step.rows = [row for row, _ in rows]
            box = sum(low for _, (low, _) in rows), sum(high for _, (_, high) in rows)  # type: ignore[assignment]
        else:
            box = interval(layer, *box)
        steps.append(step)
        affine = affine and not bends(layer)
    return steps, box


def shrunk(box: Box, lowest: Lowest, everywhere: bool) -> Box:
    """A box made smaller by lines, where it matters: at neurons whose sign is open in some example, or everywhere."""
    low, high = (end.flatten(1) for end in box)
    count, open_ = low.shape[1], ((low < 0) & (high > 0)).any(0) | everywhere
    if not open_.any():
        return box
    for neurons in open_.nonzero().squeeze(1).split(max(1, MEMORY // (2 * count * len(low)))):
        one = torch.zeros(1, len(neurons), count, dtype=low.dtype, device=low.device)
        one = one.scatter(2, neurons[None, :, None], 1.0).unflatten(2, box[0].shape[1:])
        low = low.index_copy(1, neurons, torch.maximum(low[:, neurons], lowest(one)))
        high = high.index_copy(1, neurons, torch.minimum(high[:, neurons], -lowest(-one)))
    return low.view_as(box[0]), torch.maximum(low, high).view_as(box[1])  # rounding must not turn a box inside out


def behind(steps: list[Step], lowest: Lowest) -> Lowest:
    """Bounds of functions of what comes out of these steps, from bounds of functions of what goes in."""

    def bound(weights: Tensor) -> Tensor:
        weights, constant = pull_through(steps, weights)
        return lowest(weights) + constant

    return bound


def pull_through(steps: list[Step], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Functions of the last step's output as functions of the first one's input, with a constant, (1 or B, S)."""
    constant = weights.new_zeros(weights.shape[:2])
    for step in reversed(steps):
        weights, more = step.pull(weights)
        constant = constant + more
    return weights, constant


def activations(steps: list[Step]) -> Iterator[Step]:
    """The steps that bend, those in the rows of a `Sum` too."""
    for step in steps:
        if isinstance(step.layer, ACTIVATIONS):
            yield step
        for row in step.rows:
            yield from activations(row)


def bends(layer: nn.Module) -> bool:
    """Whether a layer is, or holds, an activation."""
    return any(isinstance(part, ACTIVATIONS) for part in layer.modules())
