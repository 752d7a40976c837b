"""Six defences that look robust and are not: each hides the way to its errors, and none removes them.

Put one around a network with standard training, and a plain PGD breaks little. The network's errors are still there:
another loss, another view of the model, or a whole walk in place of the first lucky step finds them. `right_attack` has
the six answers side by side.

Source: Athalye, Carlini & Wagner 2018 (arXiv:1802.00420), who broke six published defences of such kinds, and a seventh
in part.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.attacks import BPDA, EOT, PGD, Adaptive, Attack, margin_loss
from robustcourse.checks import check_model
from robustcourse.data import Split
from robustcourse.threats import Threat


class Defence(nn.Module):
    """A model with something around it; in the mode of the model, and trained through by `fit`.

    Args:
        model: from inputs to logits; the attacker can reach it as `.model`.

    Raises:
        TypeError: model is no module.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        self.model = model
        self.training = model.training


class Saturated(Defence):
    """Very sure of itself: the logits, many times larger.

    Claims: gradients nearly vanish, so there is nothing to climb. Defensive distillation (Papernot et al. 2016,
    arXiv:1511.04508) does this by training at a high temperature, and answering at a low one.
    Why it looks robust: the probability of the label is 1 as far as float32 can tell, and the gradient of the
    cross-entropy is exactly zero.
    What breaks it: a loss that reads the logits as they are (Carlini & Wagner 2017, arXiv:1608.04644).

    Args:
        model: from inputs to logits.
        factor: on the logits, > 0.

    Raises:
        ValueError: factor is not a finite number > 0.
    """

    def __init__(self, model: nn.Module, factor: float = 1e3) -> None:
        super().__init__(model)
        self.factor = _positive("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to logits (B, classes)."""
        return self.factor * self.model(x)


class Temperature(Defence):
    """Answers with probabilities in place of logits, at a temperature so low that they are all 0 or 1.

    Claims: an attacker who sees nothing but decisions has nothing to climb.
    Why it looks robust: between decisions the answer is constant, so *every* loss of it is flat, scale-free ones too.
    A model that ends in a softmax is the mild form of this, and a common slip.
    What breaks it: looking one layer deeper, where the logits still are. Or asking for decisions alone, and many.

    Args:
        model: from inputs to logits.
        temperature: what the logits are divided by, > 0.

    Raises:
        ValueError: temperature is not a finite number > 0.
    """

    def __init__(self, model: nn.Module, temperature: float = 1e-4) -> None:
        super().__init__(model)
        self.temperature = _positive("temperature", temperature)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to probabilities (B, classes)."""
        return (self.model(x) / self.temperature).softmax(1)


class Quantized(Defence):
    """Rounds each pixel to one of a few levels first, and small changes away with it.

    Claims: what is below half a level is gone. Thermometer encoding (Buckman et al. 2018) and feature squeezing (Xu,
    Evans & Qi 2018, arXiv:1704.01155) round in this way.
    Why it looks robust: a staircase is flat almost everywhere, so all gradients are zero.
    What breaks it: going forward through the stairs, and back along the ramp under them (BPDA).

    Args:
        model: from inputs to logits.
        levels: that a pixel can have, 0 and 1 among them; ≥ 2.

    Raises:
        ValueError: levels < 2.
    """

    def __init__(self, model: nn.Module, levels: int = 5) -> None:
        super().__init__(model)
        if levels < 2:
            raise ValueError(f"levels must be >= 2, got {levels}")
        self.levels = levels

    def clean(self, x: Tensor) -> Tensor:
        """What the model is given in place of x: the same shape, values 0, 1 / (levels − 1), …, 1."""
        return (x * (self.levels - 1)).round() / (self.levels - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to logits (B, classes)."""
        return self.model(self.clean(x))


class JPEG(Defence):
    """Compresses the image first, as JPEG does: blocks of 8×8 pixels become waves, whose heights are rounded.

    Claims: fine patterns that only a network sees do not survive (Guo et al. 2018, arXiv:1711.00117). Without JPEG's
    colours, and with one step for all waves.
    Why it looks robust, and what breaks it: as for `Quantized`. A change of many pixels at once is a tall wave, which
    no rounding removes.

    Args:
        model: from inputs to logits.
        step: between two heights of a wave, > 0. A block that is white all over is a wave of height 8.

    Raises:
        ValueError: step is not a finite number > 0; later, where an image does not divide into blocks.
    """

    waves: Tensor

    def __init__(self, model: nn.Module, step: float = 0.5) -> None:
        super().__init__(model)
        self.step = _positive("step", step)
        pixel, wave = torch.arange(8), torch.arange(8)[:, None]
        waves = torch.cos(math.pi * wave * (2 * pixel + 1) / 16) / 2
        waves[0] /= math.sqrt(2)
        self.register_buffer("waves", waves.to(next(model.parameters(), waves)))  # rows of length 1, at right angles

    def clean(self, x: Tensor) -> Tensor:
        """What the model is given in place of x: (B, C, H, W) to the same, in [0, 1]."""
        if x.dim() != 4 or x.shape[2] % 8 or x.shape[3] % 8:
            raise ValueError(f"x must be (B, C, H, W) with H and W multiples of 8, got shape {tuple(x.shape)}")
        blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # (B, C, H/8, W/8, 8, 8)
        heights = self.waves @ blocks @ self.waves.T
        blocks = self.waves.T @ (self.step * (heights / self.step).round()) @ self.waves
        return blocks.transpose(3, 4).flatten(4).flatten(2, 3).clamp(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        return self.model(self.clean(x))


class RandomShift(Defence):
    """Moves the image at random before every look; what leaves on one side comes back on the other.

    Claims: a change that was made for one position does not fit the next, and nobody knows the next. Random resizing
    and padding (Xie et al. 2018, arXiv:1711.01991) is of this kind. The network must know shifted images: train it
    through the defence, `fit(RandomShift(mlp(data)), data, epochs=60)`.
    Why it looks robust: an attack that stops at the first draw that errs was lucky, and the next draw is not.
    What breaks it: not stopping, and climbing the mean over many draws (EOT). Not stopping is most of it, for each step
    of a walk sees another draw.

    Args:
        model: from inputs to logits.
        pixels: largest shift, ≥ 1, up and down as well as left and right; all shifts are equally likely.

    Draws come from torch's global random state, each image its own.

    Raises:
        ValueError: pixels < 1.
    """

    def __init__(self, model: nn.Module, pixels: int = 2) -> None:
        super().__init__(model)
        if pixels < 1:
            raise ValueError(f"pixels must be >= 1, got {pixels}")
        self.pixels = pixels

    def move(self, x: Tensor) -> Tensor:
        """What the model is given in place of x, other at every call: (B, C, H, W) to the same."""
        for side in (2, 3):
            by = torch.randint(-self.pixels, self.pixels + 1, (len(x), 1), device=x.device)
            index = (torch.arange(x.shape[side], device=x.device) + by) % x.shape[side]
            index = index[:, None, :, None] if side == 2 else index[:, None, None, :]
            x = x.gather(side, index.expand_as(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes), other at every call."""
        return self.model(self.move(x))


class NeighbourCheck(Defence):
    """Asks the training images: the network's answer counts only if its nearest neighbours all bear that label.

    Where they object, the majority of them answers. Near is what the network's last hidden layer takes to be alike; the
    nearer that layer is to the pixels, as in a `cnn` of depth 1, the harder they are to persuade.

    Claims: an input that fools the network is unlike all it has learned from, and gives itself away. Deep k-nearest
    neighbours (Papernot & McDaniel 2018, arXiv:1803.04765).
    Why it looks robust: the walk ends where the network changes its mind. The neighbours object there, and a vote has
    no gradient. One long step may jump over that ditch: FGSM can do what PGD cannot.
    What breaks it: persuading both at once, with a smooth vote in place of the counted one (Sitawarin & Wagner 2019,
    arXiv:1903.08333; that detectors fall with the rest: Carlini & Wagner 2017, arXiv:1705.07263).

    Args:
        model: layers in a row, trained and in evaluation mode; its weights must not change afterwards.
        known: the training images, on the model's device.
        k: neighbours, ≥ 1.

    Raises:
        TypeError: model is no nn.Sequential.
        ValueError: model has fewer than two layers, or is in training mode; k < 1, or more than there are images.
    """

    model: nn.Sequential
    places: Tensor
    labels: Tensor

    def __init__(self, model: nn.Module, known: Split, k: int = 5) -> None:
        super().__init__(model)
        if not isinstance(model, nn.Sequential):
            raise TypeError(f"model must be an nn.Sequential, to look into its layers, got {type(model).__name__}")
        if len(model) < 2:
            raise ValueError(f"model must have at least two layers, got {len(model)}")
        check_model(model)
        if not 1 <= k <= len(known):
            raise ValueError(f"k must be in 1 … {len(known)}, the number of known images, got {k}")
        self.k = k
        with torch.no_grad():
            self.register_buffer("places", self.hidden(known.x).flatten(1))
        self.register_buffer("labels", known.y)

    def hidden(self, x: Tensor) -> Tensor:
        """What the network makes of x before its last layer: (B, ...) to (B, ...)."""
        return self.model[:-1](x)

    def far(self, hidden: Tensor) -> Tensor:
        """Squared distance to each known image, by hidden layer: (B, ...) to (B, N)."""
        return torch.cdist(hidden.flatten(1), self.places).square()

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to (B, classes): logits where all agree, the majority's label as 0 and 1 elsewhere."""
        hidden = self.hidden(x)
        logits = self.model[-1](hidden)
        near = self.far(hidden).topk(self.k, largest=False).indices
        votes = F.one_hot(self.labels[near], logits.shape[1]).sum(1)
        agree = votes.gather(1, logits.argmax(1, keepdim=True)) == self.k
        return logits.where(agree, F.one_hot(votes.argmax(1), logits.shape[1]).to(logits.dtype))


class SmoothCheck(nn.Module):
    """A `NeighbourCheck` as its attacker sees it: all known images vote, near ones more, and the network votes along.

    Args:
        check: the defence.
        temperature: how fast a vote fades with squared distance, in units of its mean between known images; > 0. Large
            values see far, and small ones only the nearest image.

    Raises:
        ValueError: temperature is not a finite number > 0.
    """

    def __init__(self, check: NeighbourCheck, temperature: float = 0.03) -> None:
        super().__init__()
        self.check, self.unit = check, _positive("temperature", temperature) * 2 * check.places.var(0).sum()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to logits (B, classes): the log of each class's votes, plus the network's log-probabilities."""
        hidden = self.check.hidden(x)
        logits, votes = self.check.model[-1](hidden), -self.check.far(hidden) / self.unit
        classes = range(logits.shape[1])
        return logits.log_softmax(1) + torch.stack([votes[:, self.check.labels == c].logsumexp(1) for c in classes], 1)


def right_attack(defence: Defence, threat: Threat) -> Attack:
    """The question that breaks this defence. It is always the same PGD; what changes is what it looks at.

    Raises:
        TypeError: this defence has no answer here.
    """
    if isinstance(defence, Saturated):
        return PGD(threat, loss=margin_loss)
    if isinstance(defence, Temperature):
        return Adaptive.of(PGD(threat), lambda _: defence.model)
    if isinstance(defence, (Quantized, JPEG)):
        return Adaptive.of(PGD(threat), lambda _: nn.Sequential(BPDA(defence.clean), defence.model).eval())
    if isinstance(defence, RandomShift):
        return Adaptive.of(PGD(threat), lambda _: EOT(defence))
    if isinstance(defence, NeighbourCheck):
        return Adaptive.of(PGD(threat), lambda _: SmoothCheck(defence))
    raise TypeError(f"defence must be one of this module, got {type(defence).__name__}")


def _positive(name: str, number: float) -> float:
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, got {number}")
    return number
