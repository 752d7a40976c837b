"""Certified training: learn not from what an attack finds, but from what a bound cannot rule out.

A bound says how low each margin may fall. Taken with the other sign these are the worst logits that anybody could get,
and their cross-entropy lies above the loss under every attack. Training makes it small, so that the proof succeeds; but
boxes around a network that is not used to them are huge, so ε grows slowly from zero.

Sources: IBP, Gowal et al. 2018 (arXiv:1810.12715); CROWN-IBP, Zhang et al. 2020 (arXiv:1906.06316); SABR, Müller et al.
2023 (arXiv:2210.04871); MTL-IBP, De Palma et al. 2024 (arXiv:2305.13991).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustcourse.attacks import PGD
from robustcourse.certify import ibp
from robustcourse.certify.bounds import Net
from robustcourse.checks import check_share, check_untargeted, evaluating
from robustcourse.threats import Threat
from robustcourse.train.objectives import Objective, search


@dataclass(frozen=True)
class Ramp:
    """From 0 to 1 along a straight line, between two moments of training.

    Args:
        start, end: shares of training, 0 ≤ start ≤ end ≤ 1. Raises ValueError elsewhere.
    """

    start: float = 0.05
    end: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(f"start and end must be 0 <= start <= end <= 1, got {self.start} and {self.end}")

    def __call__(self, progress: float) -> float:
        if not self.start < progress < self.end:
            return float(progress >= self.end)
        return (progress - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class CertifiedTraining(ABC):
    """A method that learns from bounds. ε grows along the ramp, epoch by epoch; with ε = 0 it is `Standard`.

    The bounds see the network in evaluation mode, in which dropout is off. Batch normalization would have other
    statistics there than in training, and is refused. Half precision is too coarse for bounds: `fit` without bf16, and
    in one process, for bounds need to see the layers.

    Args:
        ramp: the share of training that is over to the share of ε.
    """

    ramp: Ramp = field(default=Ramp(), kw_only=True)

    @abstractmethod
    def loss(self, model: nn.Module, x: Tensor, y: Tensor, grown: float) -> Tensor:
        """The scalar to make smaller when ε has grown to this share, in [0, 1]."""

    def at(self, progress: float) -> Objective:
        """The objective for the epoch that begins when this share of training is over."""
        return partial(self.loss, grown=self.ramp(progress))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The objective at full size."""
        return self.loss(model, x, y, 1.0)


@dataclass(frozen=True)
class IBP(CertifiedTraining):
    """Mean of κ ℓ(f(x), y) + (1 − κ) ℓ(−m, y), with the margins m that intervals prove. κ falls from 1 along the ramp.

    Args:
        threat: the set to be proof against.
        kappa: κ at the end, in [0, 1]: what the clean images count.

    Cost: three forward and backward passes, one for the images and two for the ends of the boxes; two with κ = 0.

    Raises:
        ValueError: κ out of range; in training, a model with batch normalization.
        TypeError: in training, a layer without bounds.
    """

    threat: Threat
    kappa: float = 0.5

    def __post_init__(self) -> None:
        check_share("kappa", self.kappa)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, grown: float) -> Tensor:
        return _mixed(1 - (1 - self.kappa) * grown, model, x, x, y, shrunk(self.threat, grown))


@dataclass(frozen=True)
class CrownIBP(CertifiedTraining):
    """As `IBP`, with margins of the two kinds: (1 − β) of intervals + β of lines. β falls from 1 along the ramp.

    Lines are tight where boxes explode, early in training; later boxes are as good for a network that was made for
    them, and cheaper.

    Args:
        threat, kappa: as for `IBP`.
        beta: β at the end, in [0, 1].

    Cost: while β > 0 a good ten standard steps, for lines are pulled back for each pair of classes and each image.

    Raises:
        TypeError, ValueError: as `IBP`.
    """

    threat: Threat
    kappa: float = 0.5
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_share("kappa", self.kappa)
        check_share("beta", self.beta)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, grown: float) -> Tensor:
        kappa, beta = (1 - (1 - end) * grown for end in (self.kappa, self.beta))
        return _mixed(kappa, model, x, x, y, shrunk(self.threat, grown), beta)


@dataclass(frozen=True)
class SABR(CertifiedTraining):
    """Mean of ℓ(−m, y), with the margins m in a small box: of size λε, around a bad point, inside of the large one.

    Less is proved in training, and so the boxes press less on the network. Afterwards stronger bounds than intervals
    have to do the proof.

    Args:
        attack: finds the bad point, as PGD(threat, steps=8), at most (1 − λ)ε away, so that the box around it fits.
        size: λ in [0, 1]; with 0 this is `AdversarialTraining`, with 1 `IBP` without its clean part.

    Cost: those of the attack, and two forward and backward passes.

    Raises:
        TypeError, ValueError: as `IBP`, and for a targeted attack.
    """

    attack: PGD
    size: float = 0.1

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        check_share("size", self.size)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, grown: float) -> Tensor:
        centre = _worst(model, x, y, self.attack, (1 - self.size) * grown)
        return _mixed(0, model, x, centre, y, shrunk(self.attack.threat, self.size * grown))


@dataclass(frozen=True)
class MTLIBP(CertifiedTraining):
    """Mean of (1 − α) ℓ(f(x + δ), y) + α ℓ(−m, y): the loss under an attack, and above it the one of intervals.

    The truth is between the two, and α says where training takes it to be: a small α gives accuracy that strong bounds
    still prove, α = 1 what intervals prove.

    Args:
        attack: finds δ, as PGD(threat, steps=8).
        alpha: α in [0, 1]; with 0 this is `AdversarialTraining`.

    Cost: those of the attack, and three forward and backward passes.

    Raises:
        TypeError, ValueError: as `IBP`, and for a targeted attack.
    """

    attack: PGD
    alpha: float = 0.5

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        check_share("alpha", self.alpha)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, grown: float) -> Tensor:
        bad = _worst(model, x, y, self.attack, grown)
        return _mixed(1 - self.alpha, model, bad, x, y, shrunk(self.attack.threat, grown))


def shrunk(threat: Threat, share: float) -> Threat:
    """The same kind of threat with this share of its ε."""
    return replace(threat, eps=share * threat.eps)


def _worst(model: nn.Module, x: Tensor, y: Tensor, attack: PGD, share: float) -> Tensor:
    """What the attack finds if it may go this share of its way; its steps become shorter, too."""
    threat, step = shrunk(attack.threat, share), attack.step_size
    if not threat.eps:
        return x
    return search(replace(attack, threat=threat, step_size=step and share * step), model, x, y)


def _mixed(
    weight: float, model: nn.Module, images: Tensor, centre: Tensor, y: Tensor, threat: Threat, beta: float = 0
) -> Tensor:
    """weight × ℓ at these images + (1 − weight) × ℓ of the worst logits around the centre; what counts 0 is left out.

    Around a centre without a ball the worst logits are the logits.
    """
    if any(isinstance(part, _BatchNorm) for part in model.modules()):
        raise ValueError(
            "model has batch normalization, whose statistics in training are not those of the bound; use none"
        )
    if weight == 1 or (images is centre and not threat.eps):
        return F.cross_entropy(model(images), y)
    if not threat.eps:
        worst = model(centre)
    else:
        with evaluating(model):
            worst = -_margins(model, centre, y, threat, beta)
    proved = F.cross_entropy(worst, y)
    return proved if weight == 0 else weight * F.cross_entropy(model(images), y) + (1 - weight) * proved


def _margins(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, beta: float) -> Tensor:
    if not beta:
        return ibp(model, x, y, threat)
    net = Net(model, x, y, threat, tight=False)
    return (1 - beta) * net.box_margins(y) + beta * net.lowest(net.differences(y))
