"""The few kinds of figure that lessons share. Each knows its own data table; the lesson says what one sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Circle, Rectangle
from matplotlib.transforms import ScaledTranslation
from torch import Tensor

from robustcourse.evaluate import Audit, Estimate
from robustcourse.evaluate.estimate import PERCENT
from robustcourse.figures.picture import Picture, drawing, picture
from robustcourse.figures.style import INK, colour, line, marker

# Less ink is teal, more is magenta, as in the live figures: colours that stand for no family of models.
SIGNED = LinearSegmentedColormap.from_list("signed", ["#0b7a75", "#ffffff", "#a3217f"])

# Beside the drawing, where a legend never hides a curve.
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1)}


def images(
    rows: Mapping[str, Tensor], titles: Mapping[str, Sequence[str]], alt: str, signed: Sequence[str] = ()
) -> Picture:
    """Rows of images, the name of the row at the left and a title under each image.

    Args:
        rows: for each row N images in [0, 1], (N, 1, H, W) grey, drawn as ink on paper, or (N, 3, H, W) in colour.
        titles: N titles a row; rows without any are left out.
        alt: what one sees.
        signed: rows of changes rather than images: magenta adds ink, teal takes it away; each image is scaled to its
            own largest change.
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
    largest = {f"{row}, largest": [f"{float(z.abs().max()):.3f}" for z in rows[row]] for row in signed}
    return picture(fig, alt, {"column": range(1, count + 1), **titles, **largest})


def intervals(groups: Mapping[str, Mapping[str, Estimate]], xlabel: str, alt: str) -> Picture:
    """Values as dots with their intervals: one line for each question, one dot for each model.

    Args:
        groups: {"clean images": {"standard": estimate, "robust": estimate}, …}; proportions.
        xlabel: what is measured; the axis is in percent.
        alt: what one sees.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    new = set(names)
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 0.8 + 0.6 * len(groups)))
        for position, group in enumerate(groups.values()):
            for name, e in group.items():
                y = position + 0.22 * (names.index(name) - (len(names) - 1) / 2)
                ax.plot([100 * e.low, 100 * e.high], [y, y], color=colour(name), lw=3, alpha=0.5)
                ax.plot(100 * e.value, y, marker(name), color=colour(name), label=name if name in new else None)
                new.discard(name)
        ax.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=xlabel, xlim=(-2, 102))
        ax.invert_yaxis()
        ax.legend(**ABOVE, ncols=len(names))
    rows = [(question, name, e) for question, group in groups.items() for name, e in group.items()]
    return picture(fig, alt, dict(zip(["question", "model", "value"], zip(*rows, strict=True), strict=True)))


def curves(
    x: Sequence[float],
    series: Mapping[str, Sequence[Estimate]],
    xlabel: str,
    ylabel: str,
    alt: str,
    xscale: str = "linear",
    ticks: Sequence[float] | None = None,
    yscale: str = "linear",
) -> Picture:
    """Curves with their intervals as bands.

    Args:
        x: (P,) places on the horizontal axis.
        series: P estimates of one unit a curve, proportions or others. The first word of a name gives the colour,
            "attacked" or "certified" the line; curves that look alike are told apart by their marks.
        xlabel, ylabel: names of the axes; the vertical one is in percent for proportions.
        alt: what one sees.
        xscale, yscale: "linear" or "log".
        ticks: the places that a logarithmic horizontal axis names; by default all of x.
    """
    units = {e.unit for estimates in series.values() for e in estimates}
    factor = 100 if units <= PERCENT else 1
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 3.6))
        seen: list[str] = []
        for name, estimates in series.items():
            low, value, high = factor * np.array([(e.low, e.value, e.high) for e in estimates]).T
            mark = (marker(name) + "sv*X")[seen.count(colour(name)) % 5]
            seen.append(colour(name))
            ax.fill_between(x, low, high, color=colour(name), alpha=0.2, lw=0)
            ax.plot(x, value, line(name), color=colour(name), label=name, marker=mark, ms=4)
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
        if units <= PERCENT:
            ax.set_ylim(-2, 102)
        if xscale == "log":
            named = x if ticks is None else ticks
            ax.set_xticks(named, [f"{place:g}" for place in named], minor=False)
            ax.minorticks_off()
        ax.legend(**ABOVE, ncols=2)
    return picture(fig, alt, {xlabel: [f"{place:g}" for place in x], **series})


def differences(
    x: Sequence[float],
    series: Mapping[str, Sequence[Estimate]],
    xlabel: str,
    ylabel: str,
    alt: str,
    xscale: str = "linear",
) -> Picture:
    """Differences of two accuracies with their intervals as bars, around a line at zero: above it is a gain.

    Args:
        x: (P,) places on the horizontal axis.
        series: P differences a curve. The first word of a name gives the colour; curves that look alike are told apart
            by their marks and drawn a little beside each other, so that no bar hides another.
        xlabel, ylabel: names of the axes; the vertical one is in points.
        alt: what one sees.
        xscale: "linear" or "log".
    """
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 3.6))
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale)
        ax.axhline(0, color=INK, lw=1)
        for number, (name, estimates) in enumerate(series.items()):
            low, value, high = 100 * np.array([(e.low, e.value, e.high) for e in estimates]).T
            aside = ScaledTranslation((number - (len(series) - 1) / 2) / 12, 0, fig.dpi_scale_trans)
            look: dict[str, Any] = {"color": colour(name), "transform": ax.transData + aside}
            ax.vlines(x, low, high, lw=3, alpha=0.45, **look)
            mark = (marker(name) + "osv^")[number % 5]
            ax.plot(x, value, marker=mark, ms=6, lw=1.2, ls=["-", "--", ":", "-."][number % 4], label=name, **look)
            ax.update_datalim([(x[0], min(low)), (x[-1], max(high))])  # what is drawn aside does not count by itself
        ax.set_xticks(x, [f"{place:g}" for place in x], minor=False)
        ax.minorticks_off()
        ax.margins(x=0.08)
        ax.autoscale_view()
        ax.legend(**ABOVE, ncols=2)
    return picture(fig, alt, {xlabel: [f"{place:g}" for place in x], **series})


def scatter(points: Mapping[str, tuple[float, Estimate]], xlabel: str, ylabel: str, alt: str) -> Picture:
    """What each method costs and what it reaches: one dot a method, with its interval and its name.

    Args:
        points: cost > 0 and a proportion for each method. The first word of a name gives the colour, what follows its
            comma is written at the dot. Dots of one cost stand side by side around it.
        xlabel, ylabel: names of the axes; the horizontal one is logarithmic, the vertical one in percent.
        alt: what one sees.
    """
    costs = [cost for cost, _ in points.values()]
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 4))
        for k, (name, (cost, e)) in enumerate(points.items()):
            x = cost * 1.12 ** (costs[:k].count(cost) - (costs.count(cost) - 1) / 2)
            ax.plot([x, x], [100 * e.low, 100 * e.high], color=colour(name), lw=3, alpha=0.5)
            ax.plot(x, 100 * e.value, marker(name), color=colour(name))
            ax.text(x, 100 * e.high + 2, name.split(", ")[-1], rotation=60, rotation_mode="anchor")
        ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-2, 102), xscale="log", xlim=(0.8 * min(costs), 1.5 * max(costs)))
        ax.set_xticks(sorted(set(costs)), [f"{cost:g}" for cost in sorted(set(costs))], minor=False)
        ax.minorticks_off()
    columns: dict[str, Sequence[object]] = {"method": [name.split(", ")[-1] for name in points]}
    return picture(
        fig, alt, {**columns, xlabel: [f"{cost:g}" for cost in costs], ylabel: [e for _, e in points.values()]}
    )


def report_card(audit: Audit) -> Picture:
    """The curves of an audit: accuracy under the attack over ε (left) and over its steps (right).

    Both should fall, the left one to zero, and the right one should have stopped falling at its end.

    Raises:
        ValueError: the audit stopped before it measured a curve.
    """
    measured: dict[str, Mapping[Any, Estimate]] = {"ε": audit.by_eps, "steps": audit.by_steps}
    panels = {label: curve for label, curve in measured.items() if curve}
    if not panels:
        raise ValueError("audit has no curve: it stopped at its first checks, which say why")
    with drawing():
        fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.2), sharey=True, squeeze=False)
        for ax, (label, curve) in zip(axes[0], panels.items(), strict=True):
            low, high = ([100 * getattr(e, end) for e in curve.values()] for end in ("low", "high"))
            ax.fill_between(list(curve), low, high, color=colour("reference"), alpha=0.2, lw=0)
            values = [100 * e.value for e in curve.values()]
            ax.plot(list(curve), values, line("attacked"), color=colour("reference"), marker="o", ms=4)
            ax.set(xlabel=label, ylim=(-2, 102))
        axes[0, 0].set_ylabel("accuracy under the attack (%)")
        if "steps" in panels:
            axes[0, -1].set_xscale("log")
            axes[0, -1].set_xticks(list(audit.by_steps), [str(steps) for steps in audit.by_steps])
            axes[0, -1].minorticks_off()
    rows = [(f"{label} = {place:g}", e) for label, curve in panels.items() for place, e in curve.items()]
    alt = f"{audit.title}: accuracy " + "; ".join(
        f"over {label}, from {next(iter(curve.values())).value:.0%} to {list(curve.values())[-1].value:.0%}"
        for label, curve in panels.items()
    )
    return picture(fig, alt, {"attack": [row[0] for row in rows], "accuracy": [row[1] for row in rows]})


def lines(x: Sequence[float], series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str, alt: str) -> Picture:
    """Curves of exact numbers, such as the path of one attack on one image; for measurements there is `curves`.

    Args:
        x: (P,) places on the horizontal axis.
        series: P numbers a curve; names as for `curves`. Up to 12 places are marked, for curves of one colour.
        xlabel, ylabel: names of the axes.
        alt: what one sees.
    """
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 3.2))
        seen: list[str] = []
        for name, values in series.items():
            mark = (marker(name) + "sv*X")[seen.count(colour(name)) % 5] if len(x) <= 12 else None
            seen.append(colour(name))
            ax.plot(x, values, line(name), color=colour(name), label=name, marker=mark, ms=6)
        ax.axhline(0, color=INK, lw=0.8)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.legend(**ABOVE, ncols=2)
    table = {name: [f"{value:.2f}" for value in values] for name, values in series.items()}
    return picture(fig, alt, {xlabel: [f"{place:g}" for place in x], **table})


def histogram(values: Sequence[float], marks: Mapping[str, float], xlabel: str, alt: str) -> Picture:
    """How often values occur, and a few marked places among them.

    Args:
        values: (N,) numbers.
        marks: places to mark, by name; names as for `curves`.
        xlabel: name of the horizontal axis.
        alt: what one sees.
    """
    with drawing():
        fig, ax = plt.subplots(figsize=(6.4, 2.8))
        counts, edges, _ = ax.hist(np.asarray(values), bins=40, color=colour("reference"), alpha=0.7)
        for name, place in marks.items():
            ax.axvline(place, ls=line(name), color=colour(name), label=name)
        ax.set(xlabel=xlabel, ylabel="how many")
        ax.legend(**ABOVE, ncols=2)
    low, number = [f"{edge:.2f}" for edge in edges[:-1]], [str(int(count)) for count in counts]
    return picture(fig, alt, {f"{xlabel}, from": low, "how many": number})


def plane(w: Sequence[float], point: Sequence[float], eps: float, alt: str) -> Picture:
    """A linear model in the plane, and the worst move of a point within a box (left) and within a ball (right).

    Args:
        w: (2,) weights; the margin is ⟨w, x⟩, and its zero line is drawn.
        point: (2,) where the attacker starts.
        eps: the half side of the box and the radius of the ball.
        alt: what one sees.
    """
    weights, start = np.array(w), np.array(point)
    moves = {
        "box, L∞: to the corner": -eps * np.sign(weights),
        "ball, L2: straight at the line": -eps * weights / np.linalg.norm(weights),
    }
    shapes = (Rectangle((start[0] - eps, start[1] - eps), 2 * eps, 2 * eps), Circle((start[0], start[1]), eps))
    arrow = {"head_width": 0.1 * eps, "length_includes_head": True, "lw": 2}
    with drawing():
        fig, axes = plt.subplots(1, 2, figsize=(6.8, 3.4), sharey=True)
        for ax, shape, (title, move) in zip(axes, shapes, moves.items(), strict=True):
            shape.set(facecolor=colour("standard"), alpha=0.2)
            ax.add_patch(shape)
            ax.axline((0, 0), (weights[1], -weights[0]), color=colour("reference"))
            ax.arrow(*start, *(0.8 * eps * weights / np.linalg.norm(weights)), color=colour("reference"), **arrow)
            ax.arrow(*start, *move, color=colour("standard"), **arrow)
            ax.plot(*start, "o", color=colour("standard"))
            ax.set_title(f"{title}\nmargin {weights @ start:+.2f} → {weights @ (start + move):+.2f}")
            reach = 1.8 * eps
            ax.set(xlim=(start[0] - reach, start[0] + reach), ylim=(start[1] - reach, start[1] + reach), aspect="equal")
    before, after = f"{weights @ start:+.2f}", [f"{weights @ (start + move):+.2f}" for move in moves.values()]
    return picture(fig, alt, {"shape": list(moves), "margin before": [before] * 2, "worst margin": after})


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
            ax.plot(100 * e.value, position, marker(name), color=colour(name), label=None if position else "measured")
            ax.plot(guess[name], position, "X", color=INK, ms=8, label="your guess" if position == 0 else None)
        ax.set(yticks=range(len(guess)), yticklabels=list(guess), xlabel="percent", xlim=(-2, 102))
        ax.invert_yaxis()
        ax.legend(**ABOVE, ncols=2)
    said = "; ".join(f"{name}: guessed {guess[name]:g} %, measured {measured[name]}" for name in guess)
    table: dict[str, Sequence[object]] = {
        "question": list(guess),
        "guess": [f"{value:g} %" for value in guess.values()],
        "measured": [measured[name] for name in guess],
    }
    return picture(fig, f"Guess against measurement. {said}", table)
