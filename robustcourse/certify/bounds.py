"""Bounds that no attack can break: how low can the margin of the right class fall anywhere in a threat set?

Boxes are the cheap answer (IBP): push the set through the network, layer by layer, as an interval for each neuron.
Lines are the better one (CROWN): go backwards from the margin, and replace each activation by a line below or above it,
until the margin is bounded by a linear function of the input, whose worst case is known exactly.

Sources: IBP, Gowal et al. 2018 (arXiv:1810.12715); CROWN, Zhang et al. 2018 (arXiv:1811.00866); CROWN-IBP, Zhang et al.
2020 (arXiv:1906.06316); α-CROWN, Xu et al. 2021 (arXiv:2011.13824).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.certify.layers import ACTIVATIONS, Box, Sum, flattest, interval, lines, pull, unpadded, unrolled
from robustcourse.certify.windows import Window
from robustcourse.checks import check_images, check_labels, check_logits, check_model, frozen
from robustcourse.models import Normalize
from robustcourse.threats import Linf, Threat, dot, least_in_box

# (model, x, y, threat) to lower bounds of all margins, (B, classes).
Bound = Callable[[nn.Module, Tensor, Tensor, Threat], Tensor]
# Weights of linear functions of some layer's input to their lowest values: (1 or B, S, ...) to (B, S), or, with the
# example that each row of weights is about, (N,) int64, (N, S, ...) to (N, S).
Lowest = Callable[[Tensor, Tensor | None], Tensor]
MEMORY = 2**20  # numbers that a step backwards holds at once, about: few enough to stay near the processor


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
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    steps: int = 20,
    learning_rate: float = 0.5,
    joint: bool = False,
) -> Tensor:
    """CROWN with the best lines: the slope of each line below an activation is chosen by gradient ascent on the bound.

    Arguments, result and errors are those of `ibp`; the result has no graph.

    Args:
        steps: ≥ 0, each a pass backwards and its gradient. The best bound on the way counts.
        learning_rate: of Adam, in units of slope, > 0.
        joint: bound the neurons anew at each step, with slopes of their own: a set for each activation and each example
            (but none inside of residual blocks). Else their bounds are those of CROWN.
    """
    if steps < 0 or not 0 < learning_rate < float("inf"):
        raise ValueError(f"steps must be >= 0 and learning_rate > 0, got {steps} and {learning_rate}")
    with frozen(model), torch.no_grad():
        net = Net(model, x, y, threat, tight=True)
        best, spec = net.margins(y), net.differences(y)
        of_margins, of_neurons = free(net.steps, net.classes), dict[int, list[Tensor]]()
        for i, step in enumerate(net.steps):
            if joint and isinstance(step.layer, ACTIVATIONS) and (slopes := free(net.steps[:i], 2)):
                of_neurons[i] = slopes
        slopes = [*of_margins, *chain.from_iterable(of_neurons.values())]
        if not slopes:
            return best

        def bound() -> Tensor:
            for i, own in of_neurons.items():
                net.tighten(i, own)
            tilt(net.steps, of_margins)
            return net.lowest(spec)

        optimizer = torch.optim.Adam(slopes, learning_rate)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
        for _ in range(steps):
            with torch.enable_grad():
                found = bound()
                optimizer.zero_grad()
                found.sum().neg().backward()
            best = torch.maximum(best, found.detach())
            optimizer.step()
            decay.step()
            for slope in slopes:
                slope.clamp_(0, 1)
        return torch.maximum(best, bound())


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
        return behind(self.steps, self._at_input)(weights, None)

    def margins(self, y: Tensor) -> Tensor:
        """Lower bounds of the margins, (B, classes): the better of boxes and lines."""
        return torch.maximum(self.box_margins(y), self.lowest(self.differences(y)))

    def tighten(self, i: int, slopes: list[Tensor]) -> None:
        """Make the box of an activation's inputs smaller, by lines with these slopes at the activations before it."""
        step, before = self.steps[i], self.steps[:i]
        tilt(before, slopes)
        box = shrunk(
            (step.low.detach(), step.high.detach()), before, self._at_input, False, isinstance(self.threat, Linf)
        )
        self.steps[i] = replace(step, low=box[0], high=box[1])

    def box_margins(self, y: Tensor) -> Tensor:
        """The same by boxes: of the last activation's outputs, through whatever affine layers follow it."""
        last = max((i for i, step in enumerate(self.steps) if bends(step.layer)), default=-1)
        tail, base = self.steps[last + 1 :], self._at_input
        if last >= 0:
            low, high = (tail[0].low, tail[0].high) if tail else self.output
            base = partial(in_box, low, high)
        lowest = behind(tail, base)
        if self.classes > len(y):
            return lowest(self.differences(y), None)
        # All pairs of classes once, the same for all examples, are cheaper than those of each.
        pairs = self.differences(torch.arange(self.classes, device=y.device)).view(1, -1, self.classes)
        return lowest(pairs, None).unflatten(1, (self.classes, self.classes))[torch.arange(len(y), device=y.device), y]

    def differences(self, y: Tensor) -> Tensor:
        """The margins as functions of the logits: e_y − e_k, (B, classes, classes)."""
        eye = torch.eye(self.classes, dtype=self.x.dtype, device=self.x.device)
        return eye[y][:, None] - eye[None]

    def _at_input(self, weights: Tensor, at: Tensor | None) -> Tensor:
        return self.threat.least(picked(self.x, at), weights)


@dataclass
class Step:
    """A layer, and the box that its inputs lie in.

    Args:
        layer: itself.
        low, high: (B, ...) the box.
        rows: of a `Sum`, the steps of each of its rows.
        slope: of the line below an activation, chosen freely: 0 the flattest and 1 the steepest that is sound,
            (B, S, ...) for S functions. None: the line of least area.
        fixed: multipliers ≥ 0 of an activation's inputs, times the signs that these are known to have, (B, S, ...).
            Functions of the output may be lowered by as many times an input as its sign makes no gain.
    """

    layer: nn.Module
    low: Tensor
    high: Tensor
    rows: list[list[Step]] = field(default_factory=list)
    slope: Tensor | None = None
    fixed: Tensor | None = None

    @cached_property
    def lines(self) -> tuple[Tensor, Tensor, Tensor]:
        """The lines around an activation: the same for all functions that are pulled through it."""
        return lines(self.layer, self.low, self.high)

    def pull(self, weights: Tensor, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Linear functions of the output as ones of the input, or as ones that lie below them.

        Args:
            weights: (1 or B, S, ...), or (N, S, ...) with
            at: (N,) int64, the example that each row is about.
        """
        if self.rows:
            parts = [pull_through(row, weights, at) for row in self.rows]
            return sum(w for w, _ in parts), sum(c for _, c in parts)  # type: ignore[return-value]
        if not bends(self.layer):
            return pull(self.layer, weights, self.low.shape[1:])
        below, above, offset = (picked(line, at)[:, None] for line in self.lines)
        if self.slope is not None:
            bend = flattest(self.layer)
            loose = picked((self.low < 0) & (self.high > 0), at)[:, None]
            below = torch.where(loose, bend + (1 - bend) * picked(self.slope, at), below)
        falling = weights.clamp(max=0)
        pulled = (weights * below).addcmul_(falling, above - below)
        return pulled if self.fixed is None else pulled - self.fixed, dot(offset, falling)


def sweep(
    layers: list[nn.Module], box: Box, lowest: Lowest, tight: bool, boxed: bool, affine: bool = True, front: bool = True
) -> tuple[list[Step], Box]:
    """Boxes for every layer in a row, from first to last.

    Args:
        box: of the inputs of the first layer.
        lowest: bounds linear functions of these inputs.
        tight: make the box of each activation's inputs as small as lines can.
        boxed: the threat set is a box, so that intervals are exact behind affine layers. Other sets are not, and there
            lines are used at the first activations in any case.
        affine: no activation has come before.
        front: these are the first layers of the network.

    Returns:
        A step for each layer, and the box of the last one's outputs.
    """
    steps: list[Step] = []
    for layer in layers:
        if isinstance(layer, ACTIVATIONS) and (not boxed if affine else tight):
            box = shrunk(box, steps, lowest, affine, boxed and front)
        step = Step(layer, *box)
        if isinstance(layer, Sum):
            rows = [sweep(row, box, behind(steps, lowest), tight, boxed, affine, front=False) for row in layer.rows]
            step.rows = [row for row, _ in rows]
            box = sum(low for _, (low, _) in rows), sum(high for _, (_, high) in rows)  # type: ignore[assignment]
        else:
            box = interval(layer, *box)
        steps.append(step)
        affine = affine and not bends(layer)
    return steps, box


def shrunk(box: Box, steps: list[Step], lowest: Lowest, affine: bool, boxed: bool) -> Box:
    """A box behind some steps, made smaller by lines where it matters: where the sign is open, example by example.

    Behind affine steps alone at all neurons: there, the functions are the same for all examples, and cheap.

    Args:
        boxed: the steps are the first ones of the network, and the threat set is a box.
    """
    low, high = (end.flatten(1) for end in box)
    neurons, examples = ((low < 0) & (high > 0) | affine).T.nonzero(as_tuple=True)
    if not len(neurons):
        return box
    shape, places = box[0].shape[1:], 1
    if boxed and (local := seen(steps, box)):
        steps, lowest = local
        shape, places = torch.Size([shape[0], 1, 1]), shape[1:].numel()
    start = 1 + max((i for i, step in enumerate(steps) if bends(step.layer)), default=-1)
    portion = max(1, MEMORY // max(2 * step.low[0].numel() for step in steps))
    ends = []
    for part, of in zip(neurons.split(portion), examples.split(portion), strict=True):
        some, which = (part // places).unique_consecutive(return_inverse=True)
        one = F.one_hot(some, shape.numel()).to(low.dtype).view(1, -1, *shape)
        weights, constant = pull_through(steps[start:], one)  # up to the last activation alike for all examples
        if affine:
            both = torch.stack([lowest(weights, None) + constant, lowest(-weights, None) - constant], 2)
            ends.append(both[of, which])
            continue
        weights, constant = (value[0].index_select(0, which) for value in (weights, constant))
        bound = behind(steps[:start], lowest)(torch.stack([weights, -weights], 1), of * places + part % places)
        ends.append(bound + torch.stack([constant, -constant], 1))
    least, most = torch.cat(ends).unbind(1)
    low = low.index_put((examples, neurons), torch.maximum(low[examples, neurons], least))
    high = high.index_put((examples, neurons), torch.minimum(high[examples, neurons], -most))
    return low.view_as(box[0]), torch.maximum(low, high).view_as(box[1])  # rounding must not turn a box inside out


def seen(steps: list[Step], box: Box) -> tuple[list[Step], Lowest] | None:
    """The first steps of a network as one place behind them sees them, with each place of each example as an example.

    Args:
        box: behind the steps.

    Returns:
        The steps and the bounds of functions of what goes in. None where the windows are no smaller than the image, and
        behind layers other than convolutions, each with an activation before it, and scales of channels.
    """
    grid, window, local = tuple(box[0].shape[2:]), Window(), list[Step]()
    for i, step in reversed(list(enumerate(steps))):
        layer = step.layer
        if isinstance(layer, nn.Conv2d):
            window, layer = window.before(layer), unpadded(layer)
        elif not isinstance(layer, (*ACTIVATIONS, nn.BatchNorm2d)):
            return None
        if math.prod(window.size) >= step.low[0, 0].numel():
            return None
        local.insert(0, Step(layer, window.cut(step.low, grid), window.cut(step.high, grid)))
        if step.slope is not None:
            functions = step.slope.shape[1]
            local[0].slope = window.cut(step.slope.flatten(1, 2), grid).unflatten(1, (functions, -1))
        if isinstance(layer, nn.Conv2d):
            # What is before it must make nothing of the zeros around the image. Scales of the input do not, but their
            # box is as good as the threat set.
            if all(isinstance(first.layer, (Normalize, nn.BatchNorm2d)) for first in steps[:i]):
                return local, partial(in_box, local[0].low, local[0].high)
            if not bends(steps[i - 1].layer):
                return None
    return None


def behind(steps: list[Step], lowest: Lowest) -> Lowest:
    """Bounds of functions of what comes out of these steps, from bounds of functions of what goes in."""

    def bound(weights: Tensor, at: Tensor | None) -> Tensor:
        weights, constant = pull_through(steps, weights, at)
        return lowest(weights, at) + constant

    return bound


def pull_through(steps: list[Step], weights: Tensor, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Functions of the last step's output as functions of the first one's input, with a constant, (1 or B, S)."""
    constant = weights.new_zeros(weights.shape[:2])
    for step in reversed(steps):
        weights, more = step.pull(weights, at)
        constant = constant + more
    return weights, constant


def in_box(low: Tensor, high: Tensor, weights: Tensor, at: Tensor | None) -> Tensor:
    """Bounds of functions of what lies in a box, (B, ...) twice."""
    return least_in_box(picked(low, at), picked(high, at), weights)


def picked(values: Tensor, at: Tensor | None) -> Tensor:
    """The values, (B, ...), of the example that each row is about."""
    return values if at is None else values.index_select(0, at)  # ten times as fast as values[at]


def activations(steps: list[Step]) -> Iterator[Step]:
    """The steps that bend, those in the rows of a `Sum` too."""
    for step in steps:
        if isinstance(step.layer, ACTIVATIONS):
            yield step
        for row in step.rows:
            yield from activations(row)


def free(steps: list[Step], functions: int) -> list[Tensor]:
    """A slope for each activation and each of so many functions, to be chosen; they begin at the least area."""
    begin = [(step.lines[0] == 1).to(step.low.dtype)[:, None] for step in activations(steps)]
    return [slope.repeat(1, functions, *[1] * (slope.dim() - 2)).requires_grad_(True) for slope in begin]


def tilt(steps: list[Step], slopes: list[Tensor]) -> None:
    """Give the activations these slopes."""
    for step, slope in zip(activations(steps), slopes, strict=True):
        step.slope = slope


def bends(layer: nn.Module) -> bool:
    """Whether a layer is, or holds, an activation."""
    return any(isinstance(part, ACTIVATIONS) for part in layer.modules())
