"""Landscapes side by side: one scale for all, and a table for those who cannot see them."""

from __future__ import annotations

import importlib

import pytest
import torch
from mpl_toolkits.mplot3d.axes3d import Axes3D

from robustcourse.figures import picture, surfaces

ALT = "A flat piece of ground beside a deep bowl."
AT = [-1.0, 0.0, 1.0]
FLAT = torch.full((3, 3), 0.5)
BOWL = torch.tensor([[8.0, 4.0, 9.0], [4.0, 0.25, 4.0], [8.0, 4.0, 8.0]])


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures behind the pictures of this test."""
    figures = []
    module = importlib.import_module("robustcourse.figures.surfaces")  # its name in the package is the function's
    monkeypatch.setattr(module, "picture", lambda fig, *rest: figures.append(fig) or picture(fig, *rest))
    return figures


def test_all_have_one_scale_of_height_and_colour(drawn):
    surfaces({"A": FLAT, "B": BOWL}, AT, ALT)
    for ax in drawn[0].axes:
        assert ax.get_zlim() == (0, 9)
        assert ax.collections[0].get_clim() == (0, 9)
    assert [ax.get_title() for ax in drawn[0].axes] == ["A", "B"]


def test_what_is_above_the_top_is_cut_off_in_the_drawing_and_not_in_the_table(drawn):
    shown = surfaces({"B": BOWL}, AT, ALT, top=2.0)
    assert drawn[0].axes[0].get_zlim() == (0, 2)
    assert shown.table["highest"] == ("9",)


def test_the_table_tells_the_middle_the_lowest_and_the_highest():
    table = surfaces({"A": FLAT, "B": BOWL}, AT, ALT).table
    assert dict(table) == {
        "surface": ("A", "B"),
        "in the middle": ("0.5", "0.25"),
        "lowest": ("0.5", "0.25"),
        "highest": ("0.5", "9"),
    }


def test_the_first_index_goes_to_the_right(monkeypatch):
    seen = []
    monkeypatch.setattr(Axes3D, "plot_surface", lambda ax, right, back, z, **look: seen.append((right, back, z)))
    surfaces({"slope": torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])}, AT, ALT)
    right, back, z = seen[0]
    assert (z == right + 1).all()
    assert back[0].tolist() == AT


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4), torch.zeros(3), torch.tensor([[0.0, torch.nan, 0.0]] * 3)])
def test_other_heights_are_refused(wrong):
    with pytest.raises(ValueError, match=r"heights must be 3 × 3 finite numbers, 'B' is \("):
        surfaces({"A": FLAT, "B": wrong}, AT, ALT)
