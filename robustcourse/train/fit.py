"""The training loop: shuffle, take a batch, make the objective smaller. Every method of the course goes through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm.std import trange  # not tqdm.auto, which pulls the widget runtime into every page

from robustcourse.checks import check_labels, check_logits, evaluating
from robustcourse.data import Dataset
from robustcourse.runtime import seeded
from robustcourse.train.objectives import Objective, Standard


@dataclass
class History:
    """What happened in training, one entry an epoch.

    Args:
        loss: mean of the objective over the epoch's batches.
        gradient_norm: mean L2 norm of the whole gradient, before clipping.
        seconds: wall-clock time of each epoch, without `watch`.
        watched: what `watch` returned after each epoch.
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    watched: list[object] = field(default_factory=list)


def fit(
    model: nn.Module,
    data: Dataset,
    objective: Objective | None = None,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
    clip: float | None = None,
    seed: int = 0,
    watch: Callable[[nn.Module], object] | None = None,
) -> History:
    """Train a model in place with Adam (Kingma & Ba 2015, arXiv:1412.6980) and a learning rate that falls to zero.

    Args:
        model: a module on the data's device; it is in evaluation mode when training ends, however it ends.
        data: its `train` part is used, nothing else.
        objective: the training method; `Standard()` if None.
        epochs: passes over the training data, ≥ 1.
        batch_size: examples a step, ≥ 1; the last batch of an epoch may be smaller.
        learning_rate: of the first step, > 0; it falls to zero along half a cosine.
        clip: largest allowed L2 norm of the gradient, > 0; longer ones are scaled down. None leaves them alone.
        seed: of the order of examples and of the objective's random choices. The same seed on the same device gives
            the same weights, and the global random state stays as it was.
        watch: called with the model, in evaluation mode, after every epoch; what it returns is kept.

    The progress bar is tqdm's: TQDM_DISABLE=1 silences it.

    Raises:
        ValueError: a number out of range, labels that the model has no class for, or model and data on two devices.
        FloatingPointError: the loss or the logits became NaN or infinite; says in which epoch.
    """
    for name, number in {"epochs": epochs, "batch_size": batch_size}.items():
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be > 0, got {learning_rate}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be > 0 or None, got {clip}")
    x, y = data.train.x, data.train.y
    _check_fits(model, x, y)

    objective = objective or Standard()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(x) // batch_size))
    # Its own stream: whatever an objective draws, all methods see the same batches for the same seed.
    order = torch.Generator().manual_seed(seed)
    history = History()
    try:
        with seeded(seed):
            for epoch in trange(epochs, desc=type(objective).__name__, leave=False):
                start = time.perf_counter()
                model.train()
                losses, norms = [], []
                for index in torch.randperm(len(x), generator=order).to(x.device).split(batch_size):
                    try:
                        loss = objective(model, x[index], y[index])
                    except (ValueError, FloatingPointError) as error:  # an attack refuses a model that has diverged
                        with evaluating(model), torch.no_grad():
                            if model(x[index]).isfinite().all():
                                raise
                        raise _diverged("the logits became NaN or infinite", epoch) from error
                    optimizer.zero_grad()
                    loss.backward()
                    norm = nn.utils.clip_grad_norm_(model.parameters(), float("inf") if clip is None else clip)
                    optimizer.step()
                    schedule.step()
                    losses.append(loss.detach())
                    norms.append(norm)
                # One transfer an epoch: reading each loss would make a GPU wait at every step.
                history.loss.append(float(torch.stack(losses).mean()))
                history.gradient_norm.append(float(torch.stack(norms).mean()))
                history.seconds.append(time.perf_counter() - start)
                if not torch.isfinite(torch.tensor(history.loss[-1])):
                    raise _diverged(f"the loss became {history.loss[-1]}", epoch)
                if watch is not None:
                    with evaluating(model):
                        history.watched.append(watch(model))
    finally:
        model.eval()
    return history


def _diverged(what: str, epoch: int) -> FloatingPointError:
    return FloatingPointError(f"{what} in epoch {epoch + 1}; lower learning_rate or set clip")


def _check_fits(model: nn.Module, x: Tensor, y: Tensor) -> None:
    weight = next(model.parameters(), None)
    if weight is None:
        raise ValueError("model has no parameters to train")
    if weight.device != x.device:
        raise ValueError(f"model is on {weight.device} and data on {x.device}; use data.to(...) or model.to(...)")
    with evaluating(model), torch.no_grad():
        logits = model(x[:1])
    check_logits(logits, x[:1])
    check_labels(y, x, classes=logits.shape[1])
