"""The training loop: shuffle, take a batch, make the objective smaller. Every method of the course goes through it.

The order of examples has a stream of its own, so for one seed all methods see the same batches, whatever they draw.
What an objective draws comes from the global stream, which begins anew in each epoch: an interrupted run goes on as if
nothing had happened.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm.std import trange  # not tqdm.auto, which pulls the widget runtime into every page

from robustcourse.checks import check_labels, check_logits, evaluating
from robustcourse.data import Dataset
from robustcourse.runtime import seeded
from robustcourse.train.average import EMA, SWA
from robustcourse.train.checkpoint import History, Run
from robustcourse.train.hold_out import HoldOut
from robustcourse.train.objectives import Objective, Standard
from robustcourse.train.schedules import Schedule, cosine

# In one pass over all weights: for small networks, a loop over them is a good part of a step.
ADAM = partial(torch.optim.Adam, fused=True)


class Diverged(FloatingPointError):
    """The loss, the logits or the gradient became NaN or infinite. The model has the last weights that gave numbers.

    Args:
        epoch, step: of the batch that did it, both counted from 0; `step` within the epoch.
        index: (B,) its examples in `data.train`.
    """

    def __init__(self, what: str, epoch: int, step: int, index: Tensor) -> None:
        self.epoch, self.step, self.index = epoch, step, index
        shown = ", ".join(str(int(i)) for i in index[:8]) + (", …" if len(index) > 8 else "")
        super().__init__(
            f"{what} in epoch {epoch + 1}, step {step + 1}, examples {shown}; lower learning_rate or set clip. "
            "The model has the last weights that gave numbers"
        )


def fit(
    model: nn.Module,
    data: Dataset,
    objective: Objective | None = None,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    schedule: Schedule = cosine,
    clip: float | None = None,
    average: EMA | SWA | None = None,
    hold_out: HoldOut | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
    bf16: bool = False,
    compiled: bool = False,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    watch: Callable[[nn.Module], object] | None = None,
) -> History:
    """Train a model in place, by default with Adam (Kingma & Ba 2015, arXiv:1412.6980) and half a cosine.

    Args:
        model: a module on the data's device; it is in evaluation mode when training ends, however it ends.
        data: its `train` part is used, nothing else.
        objective: the training method; `Standard()` if None.
        epochs: passes over the training data, ≥ 1.
        batch_size: examples a step, ≥ 1; the last batch of an epoch may be smaller.
        learning_rate: what `schedule` multiplies, > 0.
        optimizer: (parameters, lr=…) to an optimizer, as `partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4)`.
        schedule: the share of training that is over to the factor of the learning rate.
        clip: largest allowed L2 norm of the gradient, > 0; longer ones are scaled down. None leaves them alone.
        average: the mean of the weights that `watch` and `hold_out` see, and that the model ends with.
        hold_out: the part of the training data that chooses the best epoch, whose weights the model ends with.
        augment: a batch of images to another one, on the device, in every step.
        bf16: run the network in half precision where torch says that this is safe (autocast).
        compiled: run it through `torch.compile`, which pays off for large networks only.
        checkpoint: a file that holds the state after every epoch. If it is there already, the run goes on from it, and
            ends with the weights of an uninterrupted one.
        seed: of the order of examples and of the objective's random choices. The same seed on the same device gives
            the same weights, and the global random state stays as it was.
        watch: called with the model, in evaluation mode, after every epoch; what it returns is kept (in a checkpoint as
            JSON, so it must be numbers, texts or lists of them there).

    Several processes: under `torchrun`, after `torch.distributed.init_process_group()`, each process takes its share of
    every batch, PyTorch's DistributedDataParallel averages the gradients, and the result is that of one process but for
    rounding and the attacks' random starts. The first process writes the checkpoint, which all must be able to read.

    The progress bar is tqdm's: TQDM_DISABLE=1 silences it.

    Raises:
        ValueError: a number out of range, labels that the model has no class for, model and data on two devices, fewer
            examples in a batch than processes, or a checkpoint that is corrupt or of another run.
        Diverged: the loss, the logits or the gradient became NaN or infinite.
    """
    for name, number in {"epochs": epochs, "batch_size": batch_size}.items():
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be a finite number > 0, got {learning_rate}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be > 0 or None, got {clip}")
    kept, held = hold_out.split(data.train, seed) if hold_out else (torch.arange(len(data.train)), torch.arange(0))
    train = data.train[kept] if hold_out else data.train
    _check_fits(model, train.x, train.y)
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    steps = math.ceil(len(train) / batch_size)
    if (last := len(train) - (steps - 1) * batch_size) < ranks:
        raise ValueError(f"batch_size={batch_size} leaves a last batch of {last}, too few for {ranks} processes")

    objective = objective or Standard()
    run = Run(model, optimizer(model.parameters(), lr=learning_rate), average.of(model) if average else None)
    if checkpoint is not None:
        # Of the data, their labels too: noise in them leaves all else the same.
        labels = f"{data} with labels {zlib.crc32(train.y.cpu().numpy().tobytes()):08x}"
        run.resume(
            Path(checkpoint), model=model, data=labels, objective=objective, epochs=epochs, batch_size=batch_size,
            learning_rate=learning_rate, optimizer=optimizer, schedule=schedule, clip=clip, average=average,
            hold_out=hold_out, augment=augment, bf16=bf16, seed=seed,
        )  # fmt: skip
    network: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
    if ranks > 1:
        network = DistributedDataParallel(network)

    def diverged(what: str, epoch: int, step: int, index: Tensor) -> Diverged:
        run.restore()
        return Diverged(f"{what} became NaN or infinite", epoch, step, kept[index.to(kept.device)])

    def train_epoch(epoch: int) -> None:
        now = objective.at(epoch / epochs) if hasattr(objective, "at") else objective
        replays, losses, norms = getattr(now, "replays", 1), [], []
        model.train()
        for step, index in enumerate(torch.randperm(len(train), generator=order).to(train.x.device).split(batch_size)):
            mine = index.tensor_split(ranks)[rank]
            x, y, share = train.x[mine], train.y[mine], len(mine) * ranks / len(index)
            x = augment(x) if augment else x
            for replay in range(replays):
                progress = (epoch + (step + replay / replays) / steps) / epochs
                for group in run.optimizer.param_groups:
                    group["lr"] = learning_rate * schedule(progress)
                try:
                    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                        loss = now(network, x, y)
                except (ValueError, FloatingPointError) as error:  # an attack refuses a model that has diverged
                    with evaluating(model), torch.no_grad():
                        if model(x).isfinite().all():
                            raise
                    raise diverged("the logits", epoch, step, index) from error
                run.optimizer.zero_grad()
                (loss if share == 1 else share * loss).backward()
                gradients = [p.grad for p in model.parameters() if p.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                if clip is not None:
                    nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
                if not (loss + norm).isfinite():  # the one moment in a step at which a GPU is waited for
                    raise diverged("the gradient" if loss.isfinite() else "the loss", epoch, step, index)
                run.keep()
                run.optimizer.step()
                if average and progress >= average.start:
                    run.average()
                losses.append(share * loss.detach())
                norms.append(norm)
        run.history.loss.append(_mean_over_processes(torch.stack(losses).mean()))
        run.history.gradient_norm.append(float(torch.stack(norms).mean()))

    order = torch.Generator().manual_seed(seed)
    for _ in range(run.epochs):  # those that are over
        torch.randperm(len(train), generator=order)
    try:
        for epoch in trange(run.epochs, epochs, desc=type(objective).__name__, leave=False):
            if hold_out and run.waited() >= (hold_out.patience or math.inf):
                break
            start = time.perf_counter()
            with seeded(_stream(seed, epoch, rank)):
                train_epoch(epoch)
                run.history.seconds.append(time.perf_counter() - start)
                with evaluating(run.shown):
                    if hold_out:
                        run.judge(hold_out.score(run.shown, data.train[held]))
                    if watch is not None:
                        run.history.watched.append(watch(run.shown))
            if checkpoint is not None and rank == 0:
                run.save()
        run.finish()
    finally:
        model.eval()
    return run.history


def _stream(seed: int, epoch: int, rank: int) -> int:
    """Where the global stream of an epoch begins, in each process elsewhere."""
    return zlib.crc32(f"{seed}, {epoch}, {rank}".encode())  # torch's generator looks at 32 bits of a seed, no more


def _mean_over_processes(value: Tensor) -> float:
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return float(value)


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
