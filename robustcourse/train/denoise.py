"""A filter in front: a small network takes the noise out of an image, before a model that nobody retrains sees it.

A model smoothed by noise (`robustcourse.certify.smooth`) needs answers on noisy images, which one trained on clean ones
does not have. With a denoiser in front it has them:

    filtered = nn.Sequential(Denoiser(data), model)
    fit(filtered, data, Denoising(sigma=0.25), epochs=20)
    smooth(filtered, sigma=0.25).certify(x)

Only the denoiser is trained. Whoever attacks the pair has the gradient of both; `robust_accuracy` takes it that way.

Source: denoised smoothing, Salman et al. 2020 (arXiv:2003.01908).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.checks import check_nonnegative, evaluating, frozen
from robustcourse.data import Dataset
from robustcourse.runtime import seeded


class Denoiser(nn.Module):
    """A convolutional network from images to images, which says what to add to its input; at first nothing.

    Args:
        data: gives the number of channels, and the device.
        width: channels inside, ≥ 1.
        depth: 3×3 convolutions, ≥ 2.
        seed: of the initial weights. The global random state stays as it is.

    Raises:
        ValueError: width < 1 or depth < 2.
    """

    def __init__(self, data: Dataset, width: int = 32, depth: int = 4, seed: int = 0) -> None:
        super().__init__()
        if width < 1 or depth < 2:
            raise ValueError(f"width must be >= 1 and depth >= 2, got width={width}, depth={depth}")
        channels = data.shape[0]
        with seeded(seed):
            layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            for _ in range(depth - 2):
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
            last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.change = nn.Sequential(*layers, last)
        self.to(data.train.x.device).eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        changed: Tensor = x + self.change(x)
        return changed


@dataclass(frozen=True)
class Denoising:
    """Mean squared distance of the filtered noisy image to the clean one, a pixel. The model behind is not asked.

    Args:
        sigma: σ ≥ 0 of the Gaussian noise, in units of the input range; the noisy image is not clipped.

    As an objective its model is nn.Sequential(denoiser, model), of which it trains the first part. Cost: one forward
    and one backward pass of the denoiser. Raises: ValueError if σ is negative or not finite; TypeError in training, if
    the model is no such pair.
    """

    sigma: float

    def __post_init__(self) -> None:
        check_nonnegative("sigma", self.sigma)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        front, _ = parts(model)
        return F.mse_loss(front(x + self.sigma * torch.randn_like(x)), x)


@dataclass(frozen=True)
class Stability:
    """Mean cross-entropy of the model's answer to the filtered noisy image, with its own answer to the clean one.

    No labels are needed: what counts is that noise does not change the answer, right or wrong.

    Args, errors: those of `Denoising`. Cost: a forward and a backward pass of both, and a forward pass of the model.
    """

    sigma: float

    def __post_init__(self) -> None:
        check_nonnegative("sigma", self.sigma)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        front, back = parts(model)
        with evaluating(back), frozen(back):
            answers = back(x).argmax(1)
            return F.cross_entropy(back(front(x + self.sigma * torch.randn_like(x))), answers)


def parts(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The denoiser, and the model behind it."""
    if not isinstance(model, nn.Sequential) or len(model) != 2:
        raise TypeError(f"model must be nn.Sequential(denoiser, model), got {type(model).__name__}")
    return model[0], model[1]
