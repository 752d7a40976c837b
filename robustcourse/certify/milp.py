"""The exact answer for small networks, from a solver that knows nothing of lines: a check on bounds and on searches.

A network of affine layers and ReLUs is a set of linear constraints, but for one choice at each neuron whose sign is
open: is it on? With a binary variable for each, the least margin is a mixed-integer linear program.

Source: Tjeng, Xiao & Tedrake 2019 (arXiv:1711.07356). The solver is HiGHS, in SciPy.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize, sparse
from torch import Tensor, nn

from robustcourse.certify.bounds import Net, Step, activations, alpha_crown, bends, pull_through
from robustcourse.certify.layers import ACTIVATIONS, flattest
from robustcourse.checks import check_images, check_module
from robustcourse.threats import Linf, Threat

Affine = tuple[sparse.csr_array, np.ndarray]  # a matrix and a vector


def milp(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seconds: float = 30.0, skip_certified: bool = False
) -> Tensor:
    """The least margins in the threat set: exact where time suffices, and lower bounds elsewhere.

    Arguments, result and errors are those of `ibp`; the result has no graph. It is found in float64, whatever the model
    has, and exact up to the tolerances of the solver: it takes a constraint as met to 1e-6, and a binary as whole to
    1e-6 times the range of its neuron. So a margin within about 1e-5 times the largest logit of zero proves nothing.

    Args:
        threat: an `Linf`.
        seconds: for each margin, > 0. After that, the best lower bound that the solver has counts.
        skip_certified: do not solve for margins that `alpha_crown` proves to be positive, and return its bounds there.

    Raises:
        TypeError: the threat set is no box, or the model has a residual block.
        ValueError: seconds is not > 0.
    """
    if not isinstance(threat, Linf):
        raise TypeError(f"threat must be an Linf for milp, whose constraints are linear, got {threat}")
    if not seconds > 0:
        raise ValueError(f"seconds must be > 0, got {seconds}")
    check_module(model)
    check_images(x)
    exact = deepcopy(model).double()
    with torch.no_grad():
        net = Net(exact, x.double(), y, threat, tight=True)
        best = alpha_crown(exact, net.x, y, threat) if skip_certified else net.margins(y)
        *maps, (weights, bias) = affine_maps(net)
        for i, label in enumerate(y.tolist()):
            program = Program.around(net, maps, i)
            for k in range(net.classes):
                if k != label and not (skip_certified and best[i, k] > 0):
                    least = program.least(weights[[label]] - weights[[k]], seconds) + bias[label] - bias[k]
                    best[i, k] = max(float(best[i, k]), least)
    return best.to(x.dtype)


def affine_maps(net: Net) -> list[Affine]:
    """What stands before each activation, and last what stands before the logits."""
    maps, between = [], list[Step]()
    for step in [*net.steps, None]:
        if step is not None and not bends(step.layer):
            between.append(step)
            continue
        if step is not None and not isinstance(step.layer, ACTIVATIONS):
            raise TypeError("model must be layers in a row for milp, but it has a residual block")
        outputs = net.output[0] if step is None else step.low
        count = outputs[0].numel()
        one = torch.eye(count, dtype=outputs.dtype, device=outputs.device).view(1, count, *outputs.shape[1:])
        weights, bias = pull_through(between, one)
        maps.append((sparse.csr_array(weights[0].flatten(1).cpu().numpy()), bias[0].cpu().numpy()))
        between = []
    return maps


@dataclass
class Program:
    """What holds around one example. Variables: its inputs, then outputs and binaries of neurons whose sign is open.

    Args:
        low, high: of the variables.
        whole: 1 for a binary, 0 for other variables.
        rules: what holds between them.
        outputs, constant: of the last activation, linear functions of the variables.
    """

    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray
    rules: list[optimize.LinearConstraint]
    outputs: sparse.csr_array
    constant: np.ndarray

    @classmethod
    def around(cls, net: Net, maps: list[Affine], i: int) -> Program:
        """From the inputs of example i, forwards through all activations."""
        low, high = (end[i].flatten().cpu().numpy() for end in net.threat.hull(net.x))
        program = cls(low, high, np.zeros(len(low)), [], diagonal(np.ones(len(low))), np.zeros(len(low)))
        for step, (weights, bias) in zip(activations(net.steps), maps, strict=True):
            low, high = (end[i].flatten().cpu().numpy() for end in (step.low, step.high))
            program.bend(weights, bias, low, high, flattest(step.layer))
        for rule in program.rules:
            rule.A.resize(rule.A.shape[0], len(program.low))  # later variables have no part in earlier rules
        return program

    def bend(self, weights: sparse.csr_array, bias: np.ndarray, low: np.ndarray, high: np.ndarray, s: float) -> None:
        """Go on through an affine map and an activation with slope s below zero, whose inputs lie in [low, high]."""
        before, constant = weights @ self.outputs, weights @ self.constant + bias
        loose = np.flatnonzero((low < 0) & (high > 0))
        count, p, c, least, most = len(loose), before[loose], constant[loose], low[loose], high[loose]
        if count:
            # Its output a and its binary z, which is 1 where p + c, in [least, most], is above zero:
            a, none, step = diagonal(np.ones(count)), sparse.csr_array((count, count)), 1 - s
            for matrix, lower, upper in [
                ((-p, a, none), c, np.inf),  # a ≥ p + c
                ((-s * p, a, none), s * c, np.inf),  # a ≥ s (p + c)
                ((-p, a, diagonal(-step * least)), -np.inf, c - step * least),  # a ≤ p + c if z = 1, else of no effect
                ((-s * p, a, diagonal(-step * most)), -np.inf, s * c),  # a ≤ s (p + c) if z = 0, else of no effect
            ]:
                self.rules.append(optimize.LinearConstraint(sparse.hstack(matrix, format="csr"), lower, upper))
        self.low = np.concatenate([self.low, s * least, np.zeros(count)])
        self.high = np.concatenate([self.high, most, np.ones(count)])
        self.whole = np.concatenate([self.whole, np.zeros(count), np.ones(count)])
        slope = np.where(low >= 0, 1.0, s)  # of the neurons that are always on or always off
        slope[loose] = 0
        fresh = sparse.csr_array((np.ones(count), (loose, np.arange(count))), shape=(len(low), 2 * count))
        self.outputs = sparse.hstack([diagonal(slope) @ before, fresh], format="csr")
        self.constant = slope * constant

    def least(self, weights: sparse.csr_array, seconds: float) -> float:
        """The least of a linear function of the last activation's outputs, (1, outputs), or a lower bound of it."""
        found = optimize.milp(
            (weights @ self.outputs).toarray()[0],
            integrality=self.whole,
            bounds=optimize.Bounds(self.low, self.high),
            constraints=self.rules,
            options={"time_limit": seconds, "mip_rel_gap": 0.0},
        )
        # Without binaries the solver has no bound of its own, but then its least is one.
        bound = found.fun if found.mip_dual_bound is None and found.status == 0 else found.mip_dual_bound
        return -np.inf if bound is None else float(bound + (weights @ self.constant)[0])


def diagonal(values: np.ndarray) -> sparse.csr_array:
    return sparse.diags_array(values, format="csr")
