"""The state of a run, and its checkpoint: all that training needs to go on, in one file that is whole or not there.

The tensors lie in the safetensors format, which no code can hide in; numbers and settings stand as JSON in its header.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from robustcourse.files import replacing
from robustcourse.runtime import changes, described

Tensors = dict[str, Tensor]


@dataclass
class History:
    """What happened in training, one entry an epoch.

    Args:
        loss: mean of the objective over the epoch's batches.
        gradient_norm: mean L2 norm of the whole gradient, before clipping.
        seconds: wall-clock time of each epoch, without `watch` and `hold_out`.
        held_out: accuracy on the examples that `hold_out` keeps back.
        watched: what `watch` returned after each epoch.
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    watched: list[Any] = field(default_factory=list)


class Run:
    """A model that is being trained, and all that changes with it.

    Args:
        model, optimizer: as they begin.
        averaged: the mean of the weights, if there is one.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, averaged: AveragedModel | None) -> None:
        self.model, self.optimizer, self.averaged = model, optimizer, averaged
        self.history, self.best = History(), Tensors()
        self._weights = list(model.state_dict().values())  # these tensors stay the same, and their values change
        self._good = [tensor.clone() for tensor in self._weights]
        self._path: Path | None = None

    @property
    def epochs(self) -> int:
        """How many are over."""
        return len(self.history.loss)

    @property
    def shown(self) -> nn.Module:
        """The model as it would be if training ended now: with averaged weights, where there are some."""
        if self.averaged is None or self.averaged.n_averaged == 0:
            return self.model
        return self.averaged.module

    def keep(self) -> None:
        """Note that the present weights gave a finite loss and gradient."""
        torch._foreach_copy_(self._good, self._weights)

    def restore(self) -> None:
        """Go back to the last weights that did."""
        torch._foreach_copy_(self._weights, self._good)

    def average(self) -> None:
        """Take the present weights into the mean."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def judge(self, score: float) -> None:
        """Keep the weights if no epoch before did as well on the examples that are held out."""
        if score > max(self.history.held_out, default=-1.0):
            self.best = {name: tensor.clone() for name, tensor in self.shown.state_dict().items()}
        self.history.held_out.append(score)

    def waited(self) -> int:
        """Epochs since the best one."""
        scores = self.history.held_out
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0

    def finish(self) -> None:
        """Give the model the weights to end with: the best ones, else the mean, else the last."""
        self.model.load_state_dict(self.best or self.shown.state_dict())

    def save(self) -> None:
        """Write the checkpoint that `resume` was told of."""
        assert self._path is not None
        facts = {"settings": self._settings, "history": asdict(self.history)}
        with replacing(self._path) as file:
            save_file(self._tensors(), file, {"facts": json.dumps(facts)})

    def resume(self, path: Path, **settings: object) -> None:
        """Go on from the checkpoint if there is one, and write the next ones there.

        Raises:
            ValueError: the file is cut off, corrupt, or of a run with other settings.
        """
        self._path = path
        self._settings = {name: described(value) for name, value in settings.items()}
        if not path.exists():
            return
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"checkpoint {path} is cut off or no checkpoint; delete it to start again") from error
        if said := changes(facts["settings"], self._settings):
            raise ValueError(f"checkpoint {path} is of another run: {said}; delete it, or give another path")
        self.history = History(**facts["history"])
        self.model.load_state_dict(_under("model", tensors))
        if self.averaged is not None:
            self.averaged.load_state_dict(_under("average", tensors))
        self.best = _under("best", tensors)
        memory: dict[int, Tensors] = {}
        for key, tensor in _under("optimizer", tensors).items():
            i, name = key.split(".", 1)
            memory.setdefault(int(i), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": memory, "param_groups": groups})

    def _tensors(self) -> Tensors:
        parts = {
            "model": self.model.state_dict(),
            "average": self.averaged.state_dict() if self.averaged is not None else {},
            "best": self.best,
            "optimizer": {
                f"{i}.{name}": torch.as_tensor(value)
                for i, memory in self.optimizer.state_dict()["state"].items()
                for name, value in memory.items()
                if value is not None
            },
        }
        # Copies, for the file must not hold two names of one memory.
        return {
            f"{part}/{name}": t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for part, all_ in parts.items()
            for name, t in all_.items()
        }


def _under(part: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(f"{part}/"): t for name, t in tensors.items() if name.startswith(f"{part}/")}
