"""The kinds of figure that lessons share: what they draw, in which colours, and their tables."""

from __future__ import annotations

import pytest
import torch

from robustcourse import Estimate
from robustcourse.figures import (
    COLOURS,
    colour,
    curves,
    differences,
    guesses,
    histogram,
    images,
    intervals,
    lines,
    picture,
    plane,
    plots,
    scatter,
)
from robustcourse.figures.style import line, marker

ALT = "What one sees, in a sentence or two."
LOW, HIGH = Estimate(0.2, 0.1, 0.3, 100), Estimate(0.9, 0.85, 0.95, 100)
TEXT = {LOW: "20.0 % [10.0, 30.0] (n = 100)", HIGH: "90.0 % [85.0, 95.0] (n = 100)"}


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures behind the pictures of this test."""
    figures = []
    monkeypatch.setattr(plots, "picture", lambda fig, *rest: figures.append(fig) or picture(fig, *rest))
    return figures


def marks(ax):
    """The marker of each labelled curve or dot."""
    return {name: handle.get_marker() for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("standard", "standard"),
        ("robust, attacked", "robust"),
        ("certified accuracy", "certified"),
        ("width 8", "reference"),
        ("not robust", "reference"),
    ],
)
def test_the_first_word_of_a_name_is_its_colour(name, expected):
    assert colour(name) == COLOURS[expected]


def test_each_family_has_a_marker_of_its_own():
    names = ("standard, clean", "robust", "certified accuracy", "width 8", "")
    assert [marker(name) for name in names] == ["o", "D", "P", "^", "^"]


def test_attacked_is_dashed_and_certified_dotted():
    names = ("standard, clean", "robust, attacked", "robust, certified", "anything else")
    assert [line(name) for name in names] == ["-", "--", ":", "-"]


def contrast(colour, page):
    """Of WCAG 2.2: (lighter + 0.05) / (darker + 0.05), of relative luminances."""

    def luminance(text):
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#14181e"])  # the site by day and by night
@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_can_be_told_from_the_page(name, page):
    assert contrast(COLOURS[name], page) >= 3


@pytest.mark.parametrize("channels", [1, 3])
def test_images_draw_one_picture_each_and_list_their_titles(channels):
    x = torch.rand(3, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    titles = {"clean": ["a", "b", "c"], "attacked": ["d", "e", "f"]}
    shown = images({"clean": x, "change": x - 0.5, "attacked": x}, titles, ALT, signed=["change"])
    assert shown.svg.count("<image") == 9
    assert {name: list(column) for name, column in shown.table.items()} == {
        "column": [1, 2, 3],
        **titles,
        "change, largest": [f"{float(image.abs().max()):.3f}" for image in x - 0.5],
    }
    for word in ("clean", "change", "attacked", *"abcdef"):
        assert f">{word}</text>" in shown.svg
    bare = images({"clean": x}, {}, ALT).table
    assert {name: list(column) for name, column in bare.items()} == {"column": [1, 2, 3]}


def test_a_change_of_nothing_can_be_drawn():
    assert "<image" in images({"change": torch.zeros(1, 1, 2, 2)}, {}, ALT, signed=["change"]).svg


def test_intervals_show_each_model_for_each_question():
    groups = {"clean": {"standard": HIGH, "robust": HIGH}, "attacked": {"standard": LOW, "robust": HIGH}}
    shown = intervals(groups, "x", ALT)
    assert list(shown.table["model"]) == ["standard", "robust"] * 2
    assert [str(e) for e in shown.table["value"]] == [TEXT[HIGH], TEXT[HIGH], TEXT[LOW], TEXT[HIGH]]
    assert TEXT[LOW] in shown._repr_html_()
    for part in (COLOURS["standard"], COLOURS["robust"], ">clean</text>", ">attacked</text>", ">standard</text>"):
        assert part in shown.svg


def test_the_legend_of_intervals_names_every_model_once_with_its_marker(drawn):
    groups = {"clean": {"standard": HIGH}, "attacked": {"robust": LOW, "standard": LOW}, "certified": {"robust": LOW}}
    shown = intervals(groups, "x", ALT)
    (ax,) = drawn[0].axes
    assert ax.get_legend_handles_labels()[1] == ["standard", "robust"]
    assert marks(ax) == {"standard": "o", "robust": "D"}
    for name in ("standard", "robust"):
        assert shown.svg.count(f">{name}</text>") == 1


def test_curves_have_their_colour_line_and_band():
    shown = curves([0, 0.1], {"standard, clean": [HIGH, HIGH], "robust, attacked": [HIGH, LOW]}, "ε", "accuracy", ALT)
    assert shown.table["ε"] == ["0", "0.1"]
    assert [str(e) for e in shown.table["robust, attacked"]] == [TEXT[HIGH], TEXT[LOW]]
    assert "stroke-dasharray" in shown.svg
    assert shown.svg.count("PolyCollection_") == 2
    alone = curves([0, 0.1], {"standard, clean": [HIGH, HIGH]}, "ε", "accuracy", ALT)
    assert "stroke-dasharray" not in alone.svg


@pytest.mark.parametrize("family", ["standard", "robust", "certified", "width"])
def test_curves_of_one_family_are_told_apart_by_their_marks(family, drawn):
    curves([0, 1], {f"{family}, {i}": [LOW, HIGH] for i in range(5)}, "ε", "accuracy", ALT)
    used = list(marks(drawn[0].axes[0]).values())
    assert used[0] == marker(family)
    assert len(set(used)) == 5


def test_a_log_scale_has_its_ticks_at_the_places_measured(drawn):
    places = [0.01, 0.03, 1]
    for scale in ("linear", "log"):
        curves(places, {"standard": [LOW] * 3}, "ε", "accuracy", ALT, xscale=scale)
    linear, log = (fig.axes[0] for fig in drawn)
    assert (linear.get_xscale(), log.get_xscale()) == ("linear", "log")
    assert log.get_xticks().tolist() == places
    assert [tick.get_text() for tick in log.get_xticklabels()] == ["0.01", "0.03", "1"]
    assert not len(log.get_xticks(minor=True))


def test_a_log_scale_names_only_the_ticks_that_are_asked_for(drawn):
    shown = curves([1, 2, 30], {"standard": [LOW] * 3}, "ε", "accuracy", ALT, "log", ticks=[1, 30])
    assert [tick.get_text() for tick in drawn[0].axes[0].get_xticklabels()] == ["1", "30"]
    assert shown.table["ε"] == ["1", "2", "30"]


def test_curves_of_other_units_than_percent_are_drawn_as_they_are(drawn):
    length = Estimate(2000.0, 100.0, 3000.0, 5, unit="", observed="seeds")
    curves([1, 2], {"standard": [length] * 2}, "width", "length", ALT, yscale="log")
    curves([1, 2], {"standard": [LOW] * 2}, "width", "error (%)", ALT)
    length_axes, error_axes = (fig.axes[0] for fig in drawn)
    assert length_axes.lines[0].get_ydata().tolist() == [2000, 2000]
    assert length_axes.get_yscale() == "log"
    assert length_axes.get_ylim()[1] > 3000
    assert error_axes.lines[0].get_ydata().tolist() == [20, 20]
    assert error_axes.get_ylim() == (-2, 102)


def test_scatter_places_each_method_by_its_cost(drawn):
    points = {"standard": (1, LOW), "robust, free": (1, HIGH), "robust, PGD-7": (8, HIGH)}
    shown = scatter(points, "passes", "read right (%)", ALT)
    assert shown.table == {
        "method": ["standard", "free", "PGD-7"],
        "passes": ["1", "1", "8"],
        "read right (%)": [LOW, HIGH, HIGH],
    }
    (ax,) = drawn[0].axes
    dots = [dot for dot in ax.get_lines() if len(dot.get_xdata()) == 1]
    first, second, third = (dot.get_xdata()[0] for dot in dots)
    assert first < 1 < second  # of one cost: side by side
    assert first * second == pytest.approx(1)
    assert third == pytest.approx(8)
    assert [dot.get_color() for dot in dots] == [COLOURS["standard"], COLOURS["robust"], COLOURS["robust"]]
    assert [text.get_text() for text in ax.texts] == ["standard", "free", "PGD-7"]
    assert list(ax.get_xticks()) == [1, 8]


def test_differences_stand_around_zero_and_beside_each_other(drawn):
    gain, loss = Estimate(0.03, 0.01, 0.05, 5, "points"), Estimate(-0.1, -0.14, -0.06, 5, "points")
    series = {"robust, ε = 0.1": [gain, gain], "robust, ε = 0.3": [gain, loss]}
    shown = differences([100, 1000], series, "n", "robust − standard", ALT, xscale="log")
    assert shown.table == {"n": ["100", "1000"], **series}
    assert "-10.0 points [-14.0, -6.0]" in shown._repr_html_()
    (ax,) = drawn[0].axes
    zero, first, second = ax.get_lines()
    assert list(zero.get_ydata()) == [0, 0]
    assert second.get_ydata().tolist() == pytest.approx([3, -10])
    assert len({first.get_marker(), second.get_marker()}) == len({first.get_linestyle(), second.get_linestyle()}) == 2
    assert {first.get_color(), second.get_color()} == {COLOURS["robust"]}
    at = [curve.get_transform().transform((100, 3))[0] for curve in (first, second)]
    assert at[0] < ax.transData.transform((100, 3))[0] < at[1]  # no bar hides another
    low, high = ax.get_ylim()
    assert low < -14  # the whole of every bar is in view
    assert high > 5
    assert ax.get_xticks().tolist() == [100, 1000]


def test_lines_go_through_exact_numbers(drawn):
    shown = lines([0, 0.5], {"standard, attacked": [2, -1.256], "robust": [3, 3]}, "step", "margin", ALT)
    assert shown.table == {"step": ["0", "0.5"], "standard, attacked": ["2.00", "-1.26"], "robust": ["3.00", "3.00"]}
    (ax,) = drawn[0].axes
    attacked, robust, zero = ax.get_lines()
    assert attacked.get_xydata().tolist() == [[0, 2], [0.5, -1.256]]
    assert (attacked.get_linestyle(), robust.get_linestyle()) == ("--", "-")
    assert (attacked.get_color(), robust.get_color()) == (COLOURS["standard"], COLOURS["robust"])
    assert list(zero.get_ydata()) == [0, 0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "margin")


def test_lines_through_few_places_are_told_apart_by_their_marks(drawn):
    lines(range(3), {"robust, 1": [1, 2, 3], "robust, 2": [3, 2, 1]}, "x", "y", ALT)
    lines(range(30), {"robust, 1": [1] * 30, "robust, 2": [2] * 30}, "x", "y", ALT)
    few, many = (marks(figure.axes[0]) for figure in drawn)
    assert few == {"robust, 1": "D", "robust, 2": "s"}
    assert set(many.values()) == {"None"}


def test_a_histogram_counts_every_value_and_marks_places(drawn):
    shown = histogram([0] * 3 + [2] + [4] * 2, {"robust, attacked": 0.25}, "cosine", ALT)
    assert list(shown.table) == ["cosine, from", "how many"]
    counted = {low: n for low, n in zip(*shown.table.values(), strict=True) if n != "0"}
    assert counted == {"0.00": "3", "2.00": "1", "3.90": "2"}  # 40 bins from 0 to 4
    (mark,) = drawn[0].axes[0].get_lines()
    assert list(mark.get_xdata()) == [0.25, 0.25]
    assert (mark.get_color(), mark.get_linestyle()) == (COLOURS["robust"], "--")
    assert ">robust, attacked</text>" in shown.svg


def test_the_plane_shows_how_far_a_box_and_a_ball_move_the_margin(drawn):
    # Weights (3, −4), start (1, 0): margin 3; a box of ½ takes ½ (3 + 4) from it, a ball of ½ takes ½ · 5.
    shown = plane([3, -4], [1, 0], 0.5, ALT)
    assert shown.table == {
        "shape": ["box, L∞: to the corner", "ball, L2: straight at the line"],
        "margin before": ["+3.00", "+3.00"],
        "worst margin": ["-0.50", "+0.50"],
    }
    box, ball = drawn[0].axes
    assert "margin +3.00 → -0.50" in box.get_title()
    assert "margin +3.00 → +0.50" in ball.get_title()
    assert box.patches[0].get_bbox().bounds == (0.5, -0.5, 1, 1)
    assert (ball.patches[0].center, ball.patches[0].radius) == ((1, 0), 0.5)


def test_a_guess_stands_beside_the_measurement():
    shown = guesses({"standard": 50, "robust": 62.5}, {"standard": LOW, "robust": HIGH})
    assert shown.alt == (
        f"Guess against measurement. standard: guessed 50 %, measured {TEXT[LOW]}; "
        f"robust: guessed 62.5 %, measured {TEXT[HIGH]}"
    )
    assert shown.table["guess"] == ["50 %", "62.5 %"]
    assert ">your guess</text>" in shown.svg
    assert ">measured</text>" in shown.svg


def test_a_measurement_beside_a_guess_has_the_marker_of_its_family(drawn):
    guesses({"standard": 50, "robust": 62.5}, {"standard": LOW, "robust": HIGH})
    assert [dot.get_marker() for dot in drawn[0].axes[0].get_lines() if len(dot.get_xdata()) == 1] == [*"oXDX"]


def test_every_guess_needs_a_measurement():
    with pytest.raises(ValueError, match=r"guess must answer \['standard', 'robust'\], got \['standard'\]"):
        guesses({"standard": 50}, {"standard": LOW, "robust": HIGH})


@pytest.mark.parametrize("guess", [-1, 100.5, float("nan")])
def test_a_guess_is_a_percentage(guess):
    with pytest.raises(ValueError, match=f"guesses are percentages from 0 to 100, got {{'standard': {guess}}}"):
        guesses({"standard": guess}, {"standard": LOW})
