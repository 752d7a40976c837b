"""The kinds of figure that lessons share: what they draw, in which colours, and their tables."""

from __future__ import annotations

import pytest
import torch

from robustcourse import Estimate
from robustcourse.figures import COLOURS, colour, curves, guesses, images, intervals
from robustcourse.figures.style import line

ALT = "What one sees, in a sentence or two."
LOW, HIGH = Estimate(0.2, 0.1, 0.3, 100), Estimate(0.9, 0.85, 0.95, 100)
TEXT = {LOW: "20.0 % [10.0, 30.0] (n = 100)", HIGH: "90.0 % [85.0, 95.0] (n = 100)"}


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
    assert {name: list(column) for name, column in shown.table.items()} == {"image": [1, 2, 3], **titles}
    for word in ("clean", "change", "attacked", *"abcdef"):
        assert f">{word}</text>" in shown.svg
    assert list(images({"clean": x}, {}, ALT).table) == ["row"]


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


def test_curves_have_their_colour_line_and_band():
    shown = curves([0, 0.1], {"standard, clean": [HIGH, HIGH], "robust, attacked": [HIGH, LOW]}, "ε", "accuracy", ALT)
    assert shown.table["ε"] == ["0", "0.1"]
    assert [str(e) for e in shown.table["robust, attacked"]] == [TEXT[HIGH], TEXT[LOW]]
    assert "stroke-dasharray" in shown.svg
    assert shown.svg.count("PolyCollection_") == 2
    alone = curves([0, 0.1], {"standard, clean": [HIGH, HIGH]}, "ε", "accuracy", ALT)
    assert "stroke-dasharray" not in alone.svg


def test_a_guess_stands_beside_the_measurement():
    shown = guesses({"standard": 50, "robust": 62.5}, {"standard": LOW, "robust": HIGH})
    assert shown.alt == (
        f"Guess against measurement. standard: guessed 50 %, measured {TEXT[LOW]}; "
        f"robust: guessed 62.5 %, measured {TEXT[HIGH]}"
    )
    assert shown.table["guess"] == ["50 %", "62.5 %"]
    assert ">your guess</text>" in shown.svg
    assert ">measured</text>" in shown.svg


def test_every_guess_needs_a_measurement():
    with pytest.raises(ValueError, match=r"guess must answer \['standard', 'robust'\], got \['standard'\]"):
        guesses({"standard": 50}, {"standard": LOW, "robust": HIGH})


@pytest.mark.parametrize("guess", [-1, 100.5, float("nan")])
def test_a_guess_is_a_percentage(guess):
    with pytest.raises(ValueError, match=f"guesses are percentages from 0 to 100, got {{'standard': {guess}}}"):
        guesses({"standard": guess}, {"standard": LOW})
