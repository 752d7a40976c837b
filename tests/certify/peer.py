"""Networks with the same weights on every machine, and what another implementation says of them.

`python -m tests.certify.peer` writes `peer.json` anew, with auto_LiRPA (Xu et al. 2020, arXiv:2002.12920) installed
from its repository. It bounds margins in float64, without ever taking the better of lines and intervals.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = Path(__file__).with_name("peer.json")
METHODS = {"ibp": "IBP", "crown_ibp": "CROWN-IBP", "crown": "CROWN"}
EPS = 0.03


def networks() -> dict[str, nn.Sequential]:
    """MLPs and CNNs from (B, 1, 7, 5) to 4 classes: odd sizes, strides, padding, no bias."""
    nets = {
        "mlp": [nn.Flatten(), nn.Linear(35, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4)],
        "no bias": [nn.Flatten(), nn.Linear(35, 20, bias=False), nn.ReLU(), nn.Linear(20, 4, bias=False)],
        "cnn": [
            *[nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), bias=False)],
            *[nn.ReLU(), nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 4)],
        ],
        "strided": [nn.Conv2d(1, 5, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(30, 4)],
    }
    made = {name: nn.Sequential(*layers).double().eval() for name, layers in nets.items()}
    for net in made.values():
        for weight in net.parameters():
            spread = weight[0].numel() ** -0.5 if weight.dim() > 1 else 0.1
            weight.data = 1.5 * spread * waves(weight.shape, 1.7 + weight.numel() / 100)
            weight.requires_grad_(False)
    return made


def images() -> tuple[Tensor, Tensor]:
    """Six of them, with labels."""
    return 0.5 + 0.4 * waves((6, 1, 7, 5), 2.3), torch.arange(6) % 4


def waves(shape: tuple[int, ...], pace: float) -> Tensor:
    """Numbers in [−1, 1] that look random enough."""
    count = torch.Size(shape).numel()
    return torch.sin(pace * torch.arange(1, count + 1, dtype=torch.float64) ** 1.3).view(shape)


def main() -> None:
    from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm

    x, y = images()
    spec = torch.eye(4).double()[y][:, None] - torch.eye(4).double()
    found: dict[str, dict[str, list[list[float]]]] = {}
    for name, net in networks().items():
        bounded = BoundedModule(net, x[:1], device="cpu")
        threat = PerturbationLpNorm(norm=float("inf"), x_L=(x - EPS).clamp(0, 1), x_U=(x + EPS).clamp(0, 1))
        inputs = (BoundedTensor(x, threat),)
        for ours, theirs in METHODS.items():
            low, _ = bounded.compute_bounds(x=inputs, C=spec, method=theirs, bound_upper=False)
            found.setdefault(name, {})[ours] = low.tolist()
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
