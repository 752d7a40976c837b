"""A picture as it stands on a page: for eyes on light and dark, for ears, alone and beside others."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from robustcourse.figures import drawing, picture
from robustcourse.figures.style import INK

ALT = "A line that rises from 1 & 2 to <3>."


def draw(alt=ALT, table=None):
    with drawing():
        fig, ax = plt.subplots(figsize=(3, 2))
        ax.plot([0, 1], [1, 3], label="line")
        ax.fill_between([0, 1], [0, 2], [2, 4], alpha=0.2)
        ax.imshow([[0, 1]], extent=(0, 0.1, 0, 0.1))
        ax.set(xlabel="x", title="title")
        ax.legend()
    return picture(fig, alt, {"x": [0, 1], "y < 4": ["1", "<3>"]} if table is None else table)


def ids(html):
    return set(re.findall(r'\bid="([^"]*)"', html))


def test_the_drawing_is_an_image_with_its_text_for_those_who_cannot_see_it():
    svg = draw().svg
    assert re.match(r'<svg role="img" aria-label="A line that rises from 1 &amp; 2 to &lt;3&gt;\." style="[^"]*"', svg)
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == ALT
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"x", "title", "line"} <= texts  # letters stay letters


def test_the_numbers_of_the_drawing_stand_in_a_table():
    html = draw()._repr_html_()
    assert "<details><summary>Data of this figure</summary><table>" in html
    assert '<th scope="col">x</th><th scope="col">y &lt; 4</th>' in html
    assert "<tr><td>0</td><td>1</td></tr><tr><td>1</td><td>&lt;3&gt;</td></tr>" in html
    assert repr(draw()) == f"Picture: {ALT}"


def test_ink_takes_the_colour_of_the_page_and_nothing_lies_behind_it():
    svg = draw().svg
    assert INK not in svg
    assert svg.count("currentColor") >= 8  # letters, frame and grid
    fills = set(re.findall(r"fill: (#\w+)", svg))
    assert "#000000" not in fills
    assert "#ffffff" not in fills


def test_what_a_reader_sees_stays_as_it_was_written():
    text = f'id="a" url(#b) href="#c" is {INK}'
    with drawing():
        fig, ax = plt.subplots()
        ax.set_title(text)
    shown = picture(fig, ALT, {"x": [text]})
    texts = {element.text for element in ElementTree.fromstring(shown.svg).iter("{http://www.w3.org/2000/svg}text")}
    assert text in texts
    assert shown.svg.count(INK) == 1


def test_two_pictures_on_a_page_share_no_id_and_each_finds_its_own_parts():
    one, other = draw()._repr_html_(), draw(alt="Another line, that is drawn the same way.")._repr_html_()
    assert ids(one)
    assert not ids(one) & ids(other)
    for html in (one, other):
        used = set(re.findall(r'(?:xlink:)?href="#([^"]*)"|url\(#([^)]*)\)', html))
        assert used
        assert {a or b for a, b in used} <= ids(html)


def test_the_same_drawing_gives_the_same_text():
    assert draw()._repr_html_() == draw()._repr_html_()


def test_nothing_is_fetched_from_anywhere():
    html = draw()._repr_html_()
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in without_names
    assert "@import" not in html
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', html)) == {"data:"}  # the image lies in the page itself


def test_the_figure_is_closed_and_the_style_is_put_back():
    before = dict(plt.rcParams)
    draw()
    assert not plt.get_fignums()
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alt": ""}, "alt must say what the figure shows, in a sentence or two, got ''"),
        ({"alt": "A line."}, "alt must say what the figure shows, in a sentence or two, got 'A line.'"),
        ({"table": {}}, r"table needs columns of one length, got {}"),
        ({"table": {"x": [1, 2], "y": [1]}}, r"table needs columns of one length, got {'x': 2, 'y': 1}"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        draw(**change)
    plt.close("all")
