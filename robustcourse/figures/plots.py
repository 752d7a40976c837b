"""The few kinds of figure that lessons share. Each knows its own data table; the lesson says what one sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from robustcourse.evaluate import Estimate
from robustcourse.figures.picture import Picture, drawing, picture
from robustcourse.figures.style import COLOURS, INK, colour, line

# From blue over nothing to orange: darker pixels and lighter ones, on a page of any colour.
SIGNED = LinearSegmentedColormap.from_list("signed", [COLOURS["standard"], "#ffffff", COLOURS["robust"]])


def images(
    rows: Mapping[str, Tensor], titles: Mapping[str, Sequence[str]], alt: str, signed: Sequence[str] = ()
) -> Picture:
    """Rows of images, the name of the row at the left and a title under each image.

    Args:
        rows: for each row N images in [0, 1], (N, 1, H, W) grey, drawn as ink on paper, or (N, 3, H, W) in colour.
        titles: N titles a row; rows without any are left out.
        alt: what one sees.
        signed: rows of changes rather than images: blue is darker, orange lighter, white none; each image is scaled to
            its own largest change.
    """
    count = len(next(iter(rows.values())))
    with drawing():
        fig, axes = plt.subplots(len(rows), count, figsize=(1.05 * count + 1, 1.35 * len(rows)), squeeze=False)
        for (name, batch), row in zip(rows.items(), axes, strict=True):
            captions = titles.get(name, [""] * count)
            for image, ax, caption in zip(batch.detach().cpu().permute(0, 2, 3, 1).numpy(), row, captions, strict=True):
                if name in signed:
                    top = float(abs(image).max()) or 1.0
                    ax.imshow(image.mean(2), cmap=SIGNED, vmin=-top, vmax=top, interpolation="none")
                else:
                    ax.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="none")
                ax.set(xticks=[], yticks=[], xlabel=caption)
                ax.grid(visible=False)
                ax.spines[:].set(visible=True, alpha=0.3)
            row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return picture(fig, alt, {"image": range(1, count + 1), **titles} if titles else {"row": list(rows)})


def intervals(groups: Mapping[str, Mapping[str, Estimate]], xlabel: str, alt: str) -> Picture:
    """Values as dots with their intervals: one line for each question, one dot for each model.

    Args:
        groups: {"clean images": {"standard": estimate, "robust": estimate}, …}; proportions.
        xlabel: what is measured; the axis is in percent.
        alt: what one sees.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 0.8 + 0.6 * len(groups)))
        for position, group in enumerate(groups.values()):
            for name, e in group.items():
                y = position + 0.22 * (names.index(name) - (len(names) - 1) / 2)
                ax.plot([100 * e.low, 100 * e.high], [y, y], color=colour(name), lw=3, alpha=0.5)
                ax.plot(100 * e.value, y, "o", color=colour(name), label=name if position == 0 else None)
        ax.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=xlabel, xlim=(-2, 102))
        ax.invert_yaxis()
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names))
    rows = [(question, name, e) for question, group in groups.items() for name, e in group.items()]
    return picture(fig, alt, dict(zip(["question", "model", "value"], zip(*rows, strict=True), strict=True)))


def curves(x: Sequence[float], series: Mapping[str, Sequence[Estimate]], xlabel: str, ylabel: str, alt: str) -> Picture:
    """Curves with their intervals as bands.

    Args:
        x: (P,) places on the horizontal axis.
        series: P proportions a curve. The first word of a name gives the colour, "attacked" or "certified" the line.
        xlabel, ylabel: names of the axes; the vertical one is in percent.
        alt: what one sees.
    """
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 3.6))
        for name, estimates in series.items():
            low, value, high = 100 * np.array([(e.low, e.value, e.high) for e in estimates]).T
            ax.fill_between(x, low, high, color=colour(name), alpha=0.2, lw=0)
            ax.plot(x, value, line(name), color=colour(name), label=name, marker="o", ms=3)
        ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-2, 102))
        ax.legend(loc="best")
    return picture(fig, alt, {xlabel: [f"{place:g}" for place in x], **series})


def guesses(guess: Mapping[str, float], measured: Mapping[str, Estimate]) -> Picture:
    """What the reader guessed against what was measured: a cross for the guess, a dot with its interval beside.

    Args:
        guess: percentages, 0 to 100, under the names of `measured`.
        measured: proportions.

    Raises:
        ValueError: a guess without a measurement, or the other way round, or one outside 0 … 100.
    """
    if guess.keys() != measured.keys():
        raise ValueError(f"guess must answer {list(measured)}, got {list(guess)}")
    if not all(0 <= value <= 100 for value in guess.values()):
        raise ValueError(f"guesses are percentages from 0 to 100, got {dict(guess)}")
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 0.8 + 0.5 * len(guess)))
        for position, name in enumerate(guess):
            e = measured[name]
            ax.plot([100 * e.low, 100 * e.high], [position] * 2, color=colour(name), lw=3, alpha=0.5)
            ax.plot(100 * e.value, position, "o", color=colour(name), label="measured" if position == 0 else None)
            ax.plot(guess[name], position, "X", color=INK, ms=8, label="your guess" if position == 0 else None)
        ax.set(yticks=range(len(guess)), yticklabels=list(guess), xlabel="percent", xlim=(-2, 102))
        ax.invert_yaxis()
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    said = "; ".join(f"{name}: guessed {guess[name]:g} %, measured {measured[name]}" for name in guess)
    table: dict[str, Sequence[object]] = {
        "question": list(guess),
        "guess": [f"{value:g} %" for value in guess.values()],
        "measured": [measured[name] for name in guess],
    }
    return picture(fig, f"Guess against measurement. {said}", table)
