"""Live figures in a real browser: they move, by keyboard and by mouse, in light and dark, and everyone can use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import serve
from scipy import stats
from torch import nn

from robustcourse.certify import crown, ibp
from robustcourse.data import Split, TwoGaussians
from robustcourse.evaluate import Estimate
from robustcourse.models import Normalize
from robustcourse.threats import Linf
from robustcourse.widgets import (
    Route,
    attack_lab,
    bounds_flow,
    budget,
    descent,
    epoch_slider,
    fit_curve,
    minimax,
    noise_cloud,
    terrain,
    trade_off,
    two_walls,
    worst_case,
)

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")


def page_of(*figures: str) -> str:
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Live</title>'
    # An icon that is no file: browsers ask for one, whatever the page says.
    head += '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head>'
    return f"{head}<body><main><h1>Live figures</h1>{''.join(figures)}</main></body></html>"


EPS = [0, 0.05, 0.1, 0.15, 0.2]


def measured(seed: int, attacks: dict[str, float]) -> dict[str, torch.Tensor]:
    """Made-up answers: the more an attack can do, the more of 80 images it breaks; three are misread anyway."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.arange(80) >= 3
    strength = torch.tensor(EPS)[:, None]
    return {name: clean & (power * strength <= torch.rand(80, generator=generator)) for name, power in attacks.items()}


DEFENCES = {
    "masked": measured(0, {"PGD": 0.1, "APGD": 3.0, "Square": 2.0}),
    "sturdy": measured(1, {"FGSM": 0.5, "a walk with a name longer than there is room for beside it": 1.5}),
}


def verdict(defence: str, on: list[str], e: int) -> str:
    """The beginning of what the figure must say, from torch and the package's interval."""
    attacks = DEFENCES[defence]
    clean = next(iter(attacks.values()))[0]
    estimate = Estimate.proportion(torch.stack([clean, *(attacks[name][e] for name in on)]).all(0))
    value, low, high = (f"{100 * v:.0f}" for v in (estimate.value, estimate.low, estimate.high))
    start = f"At ε = {EPS[e]:.2f} this" if on else "Without an attack this"
    return f"{start} defence reads {value} % [{low}, {high}]"


def moons() -> tuple[nn.Sequential, Split]:
    """Two clouds of ten points, left and right, and a network that has learned nothing yet."""
    torch.manual_seed(0)
    normalize = Normalize(torch.tensor([0.4]), torch.tensor([0.25]))
    net = nn.Sequential(normalize, nn.Flatten(), nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)).half().float()
    x = 0.3 * torch.rand(20, 1, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    y = torch.arange(20) % 2
    x[y == 1, ..., 0] += 0.45
    return net, Split(x.half().float(), y)


def hits(seed: int, *shares: float) -> torch.Tensor:
    """Made-up answers of five seeds to 80 images, for a model of each share."""
    hard = torch.rand(80, generator=torch.Generator().manual_seed(0))
    luck = 0.1 * torch.randn(len(shares), 5, 80, generator=torch.Generator().manual_seed(seed))
    return hard + luck < torch.tensor(shares)[:, None, None]


ROUTES = {
    "from scratch": Route([10, 20, 40, 80], hits(1, 0.2, 0.4, 0.6, 0.7)),
    "fine-tuned, with a name longer than there is room for": Route([0, 5, 10], hits(2, 0.15, 0.6, 0.64), 30),
    "a filter": Route([15], hits(3, 0.1)),
}


def six() -> nn.Sequential:
    """A network of six neurons, all with an open sign around the middle of the square."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    weights = [
        ([[1, 1], [1, -1], [-1, 0.5]], [-0.9, 0.1, 0.3]),
        ([[1, -1, 0.5], [-1, 1, 1], [0.5, 1, -1]], [0.1, -0.1, -0.2]),
        ([[0.75, -0.5, 0.5], [-0.25, 0.5, -0.5]], [0.1, -0.1]),
    ]
    for layer, (weight, bias) in zip(net[::2], weights, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight).double(), torch.tensor(bias).double()
    return net.requires_grad_(False)


SIX = six()


CURVE = fit_curve()
BOWL = torch.linspace(-1, 1, 21)[:, None] ** 2 + 0.5 * torch.linspace(-1, 1, 21) ** 2
LANDS = {"standard": BOWL, "adversarial": 1 + 3 * BOWL}


def readings_of(*rows: tuple[int, int, int]) -> dict[int, list[Estimate]]:
    """Wrong answers of 100, by width and moment."""
    return {
        width: [Estimate.proportion([True] * n + [False] * (100 - n)) for n in row]
        for width, row in zip((2, 8, 64, 512), rows, strict=True)
    }


ERRORS = {
    0.0: readings_of((60, 40, 30), (50, 30, 20), (40, 20, 10), (30, 10, 5)),
    0.2: readings_of((60, 40, 20), (50, 15, 70), (40, 30, 30), (30, 25, 22)),
}
ATTACKED = {noise: readings_of((80, 80, 80), (80, 80, 80), (80, 80, 80), (80, 80, 80)) for noise in ERRORS}
FITTED = {noise: {2: [0.1, 0.2, 0.3], 8: [0.2, 0.5, 0.9], 64: [0.5, 0.9, 1], 512: [0.9, 1, 1]} for noise in ERRORS}


def halves() -> nn.Sequential:
    """Names the left half of the square round, the right half square."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    net[1].weight.data = torch.tensor([[-8.0, 0.0], [8.0, 0.0]])
    net[1].bias.data = torch.tensor([4.0, -4.0])
    return net


CLOUDS = TwoGaussians(torch.cat([torch.tensor([0.05] * 2 + [0.015] * 40), torch.zeros(400)]), sigma=0.05)
LOTS = {
    name: {eps: Estimate(v, v - 0.02, v + 0.02, 360, "points") for eps, v in zip((0.1, 0.2, 0.3), values, strict=True)}
    for name, values in {"100 digits": (0.04, 0.03, 0.0), "all digits": (0.0, -0.01, -0.1)}.items()
}


def curve(*hits: int, every: int = 1) -> dict[int, Estimate]:
    """Right answers of 200 after each epoch."""
    return {every * k: Estimate.proportion([True] * n + [False] * (200 - n)) for k, n in enumerate(hits, 1)}


RUNS = {
    "one step": {
        "clean": curve(180, 190, 190, 192),
        "attacked by FGSM": curve(60, 80, 100, 120),
        "attacked by PGD": curve(50, 80, 20, 30),
    },
    "noisy": {"the log": curve(120, 140, every=4), "new digits, attacked": curve(100, 110, every=4)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages with figures of two untrained networks. The labels are what the first one reads: at ε = 0 it is right."""

    def net(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        normalize = Normalize(torch.tensor([0.5]), torch.tensor([0.3]))
        return nn.Sequential(normalize, nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    models = {"plain": net(0), "sturdy": net(1)}
    x = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)).half().float()
    split = Split(x, models["plain"].half().float()(x).argmax(1))
    walls, lab = two_walls(models, split)._repr_html_(), attack_lab(models, split)._repr_html_()
    to = tmp_path_factory.mktemp("live")
    for name, html in {
        "walls": page_of(walls),
        "lab": page_of(lab),
        "both": page_of(walls, lab),
        "four": page_of(walls, lab, walls, lab),
        "worst": page_of(worst_case(DEFENCES, EPS)._repr_html_()),
        "tradeoff": page_of(trade_off(CLOUDS, LOTS, torch.linspace(0.22, 0.5, 60))._repr_html_()),
        "epochs": page_of(epoch_slider(RUNS)._repr_html_()),
        "budget": page_of(budget(ROUTES)._repr_html_()),
        "fit": page_of(CURVE._repr_html_()),
        "descent": page_of(descent(ERRORS, FITTED, [10, 100, 1000], attacked=ATTACKED)._repr_html_()),
        "terrain": page_of(terrain(LANDS, torch.linspace(-1, 1, 21))._repr_html_()),
        "flow": page_of(bounds_flow(SIX, eps=0.16)._repr_html_()),
        "noise": page_of(noise_cloud(halves(), point=(0.9, 0.5), sigma=0.05)._repr_html_()),
        "moons": page_of(minimax(*moons())._repr_html_()),
    }.items():
        (to / f"{name}.html").write_text(html, "utf-8")
    return to


@pytest.fixture
def see(visit: Any, folder: Path) -> Iterator[Any]:
    """Open a page, over file:// or from a server, and look back at its end: nothing failed, and it loaded nothing."""
    open_pages = ExitStack()

    def go(name: str, over: str = "file", **options: Any) -> Any:
        base = open_pages.enter_context(serve(folder)) if over == "http" else folder.as_uri()
        seen = open_pages.enter_context(visit(f"{base}/{name}.html", **options))
        visits.append(seen)
        return seen

    visits: list[Any] = []
    with open_pages:
        yield go
        for seen in visits:
            assert seen.problems() == []
            assert seen.page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)") == []


def wait_for_epsilon(page: Any, eps: str) -> None:
    """Until the walls are complete for this ε: then the table has its row."""
    page.locator("tbody th").filter(has_text=eps).first.wait_for(state="attached", timeout=30_000)


def wrong(page: Any) -> list[int]:
    return [int(text) for text in page.locator(".count b").all_inner_texts()]


@pytest.mark.parametrize("over", ["file", "http"])
def test_walls_follow_the_keyboard(see: Any, over: str) -> None:
    page = see("walls", over).page
    wait_for_epsilon(page, "0.00")
    before = wrong(page)
    assert before[0] == 0
    page.get_by_role("slider").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    wait_for_epsilon(page, "0.08")
    after = wrong(page)
    assert all(b < a for b, a in zip(before, after, strict=True))
    assert page.locator(".standard .tile.wrong .badge").count() == after[0]
    page.keyboard.press("Home")
    wait_for_epsilon(page, "0.00")
    assert wrong(page) == before


def test_walls_say_nothing_of_an_epsilon_before_all_images_were_attacked(see: Any) -> None:
    page = see("walls").page
    wait_for_epsilon(page, "0.00")
    page.get_by_role("slider").fill("0.2")
    wait_for_epsilon(page, "0.20")
    # In one script, so that the page cannot go on to attack before we look.
    look = """slider => {
        slider.value = 0.25;
        slider.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
        const all = (selector) => [...slider.getRootNode().querySelectorAll(selector)];
        const texts = [".count", ".badge", ".closeups figcaption"].map((each) => all(each).map((n) => n.textContent));
        return [...texts, all(".tile.wrong").length, all(".tile.waiting").length];
    }"""
    counts, badges, captions, framed, waiting = page.get_by_role("slider").evaluate(look)
    assert counts == ["wrong: … of 100"] * 2
    assert set(badges) == {""}
    assert not any("reads" in caption for caption in captions)
    assert (framed, waiting) == (0, 200)
    wait_for_epsilon(page, "0.25")
    assert page.locator(".tile.waiting").count() == 0
    for text in page.locator(".count").all_inner_texts():
        assert re.fullmatch(r"wrong: \d+ of 100 \[\d+\s?%, \d+\s?%\]", text)


def test_walls_follow_the_mouse_and_fill_the_table(see: Any) -> None:
    page = see("walls").page
    wait_for_epsilon(page, "0.00")
    box = page.get_by_role("slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 12, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, middle, steps=12)
    page.mouse.up()
    wait_for_epsilon(page, "0.30")
    assert wrong(page)[0] > 50
    # Left alone, the figure computes the other values of ε too.
    page.get_by_text("The numbers behind this figure").click()
    page.get_by_role("rowheader", name="0.15").wait_for(timeout=20_000)
    cells = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="0.30")).get_by_role("cell")
    assert [int(cells.nth(k).inner_text()) for k in (0, 2)] == wrong(page)


def test_walls_tell_screen_readers_once_they_are_used(see: Any) -> None:
    page = see("walls").page
    status = page.get_by_role("status")
    wait_for_epsilon(page, "0.00")
    page.wait_for_timeout(1000)
    assert status.inner_text() == ""
    page.get_by_role("slider").fill("0.1")
    wait_for_epsilon(page, "0.10")
    plain, sturdy = wrong(page)
    playwright.expect(status).to_have_text(f"ε = 0.10: plain wrong on {plain} of 100, sturdy wrong on {sturdy} of 100.")


def test_walls_are_one_tab_stop_each_and_arrow_keys_walk(see: Any) -> None:
    page = see("walls").page
    wait_for_epsilon(page, "0.00")
    assert page.locator(".tile[tabindex='0']").count() == 2
    page.locator(".standard .tile").first.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.locator(".tile[aria-selected=true]").evaluate_all("all => all.map((t) => t.dataset.index)") == [
        "1",
        "1",
    ]
    page.keyboard.press("End")
    assert page.locator(".tile:focus").get_attribute("data-index") == "99"
    label = page.locator(".robust .tile").last.get_attribute("aria-label")
    assert label.startswith(f"a {page.locator('.closeups figcaption').first.inner_text().split()[-1]}, read as ")


def test_walls_show_the_pixels_that_the_reader_asks_for(see: Any) -> None:
    page = see("walls").page
    tile = page.locator(".standard .tile canvas").first
    wait_for_epsilon(page, "0.00")
    original = tile.evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("slider").fill("0.2")
    wait_for_epsilon(page, "0.20")
    attacked = tile.evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("radio", name="original pixels").check()
    assert tile.evaluate("canvas => canvas.toDataURL()") == original != attacked
    assert wrong(page)[0] > 0


def test_lab_answers_every_control(see: Any) -> None:
    page = see("lab").page
    verdict = page.locator(".verdict")
    said = [verdict.inner_text()]

    def changes(act: Any) -> None:
        act()
        page.wait_for_function(
            "last => document.querySelector('.live').shadowRoot.querySelector('.verdict').innerText !== last",
            arg=said[-1],
        )
        said.append(verdict.inner_text())

    assert said[0].startswith("plain reads ")
    assert "‖δ‖∞ = 0.10" in said[0]
    slider = page.get_by_role("slider")
    slider.focus()
    changes(lambda: page.keyboard.press("ArrowRight"))
    assert "‖δ‖∞ = 0.11" in said[-1]
    changes(lambda: page.get_by_role("radio", name="L2").check())
    changes(lambda: slider.fill("1.5"))
    assert "‖δ‖₂ = 1.50" in said[-1]
    changes(lambda: page.get_by_role("radio", name="sturdy").check())
    assert said[-1].startswith("sturdy reads ")
    changes(lambda: page.get_by_role("radio", name="FGSM").check())
    target = page.get_by_role("combobox").locator("option").nth(3).inner_text()
    changes(lambda: page.get_by_role("combobox").select_option(label=target))
    assert "target" in said[-1]
    changes(lambda: slider.fill("0"))
    assert "‖δ‖∞ = 0.00, ‖δ‖₂ = 0.00" in said[-1]
    slider.fill("1")
    changes(lambda: page.get_by_role("radio", name="image 2,").check())
    assert page.get_by_role("combobox").input_value() == "any"  # another image, other targets


def test_lab_shows_steps_of_pgd_only(see: Any) -> None:
    page = see("lab").page
    page.get_by_text("The numbers behind this figure").click()
    steps = page.get_by_role("group", name="Loss along the attack").get_by_role("rowheader")
    assert steps.count() == 41
    page.get_by_role("radio", name="FGSM").check()
    playwright.expect(steps).to_have_count(2)


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 900)])
def test_everyone_can_use_it(see: Any, theme: str, width: int) -> None:
    """axe-core finds nothing, contrast of text included; nothing is wider than the screen."""
    seen = see("both", theme=theme, width=width)
    for slider in seen.page.get_by_role("slider").all():
        slider.fill("0.1")
    for summary in seen.page.get_by_text("The numbers behind this figure").all():
        summary.click()
    wait_for_epsilon(seen.page, "0.10")
    assert seen.violations() == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("mark", "dark"),
    [
        ("document.documentElement.dataset.theme = 'dark'", True),  # the site
        ("document.documentElement.dataset.theme = 'light'", False),
        ("document.body.dataset.jpThemeLight = 'false'", True),  # JupyterLab
        ("document.body.dataset.jpThemeLight = 'true'", False),
        ("document.documentElement.setAttribute('theme', 'dark')", True),  # Colab
    ],
)
def test_theme_of_the_page_wins_over_that_of_the_system(see: Any, mark: str, dark: bool) -> None:
    page = see("lab", theme="light" if dark else "dark").page
    paper = page.locator(".frame")
    colour = "node => getComputedStyle(node).backgroundColor"
    before = paper.evaluate(colour)
    page.evaluate(mark)
    playwright.expect(page.locator(".live")).to_have_class("live dark" if dark else "live")
    assert paper.evaluate(colour) != before


def test_copies_of_a_figure_move_on_their_own(see: Any) -> None:
    page = see("four").page
    assert page.locator(".frame").count() == 4
    sliders = page.get_by_label("Every pixel may move by")
    sliders.first.fill("0.1")
    wait_for_epsilon(page, "0.10")
    assert sliders.nth(1).input_value() == "0"
    counts = page.locator(".count b").all_inner_texts()
    assert counts[0] != "0"
    assert counts[2] == "0"


def expect_verdict(page: Any, text: str) -> None:
    playwright.expect(page.locator(".verdict")).to_contain_text(text)


def checked(page: Any) -> list[bool]:
    return [box.is_checked() for box in page.get_by_role("checkbox").all()]


@pytest.mark.parametrize("over", ["file", "http"])
def test_the_worst_case_follows_the_switches(see: Any, over: str) -> None:
    page = see("worst", over).page
    assert checked(page) == [True, False, False]
    expect_verdict(page, verdict("masked", ["PGD"], 2))
    expect_verdict(page, "against PGD. Switched on: 1 of 3 attacks.")
    page.get_by_role("checkbox", name="Square").check()
    expect_verdict(page, verdict("masked", ["PGD", "Square"], 2))
    page.get_by_role("checkbox", name="APGD").check()
    expect_verdict(page, verdict("masked", ["PGD", "APGD", "Square"], 2))
    expect_verdict(page, "against the worst of 3 attacks. Switched on: PGD, APGD and Square.")
    assert page.locator(".singles .single").count() == 3
    shapes = page.locator(".singles .shape").evaluate_all("all => all.map((path) => path.getAttribute('d'))")
    assert len(set(shapes)) == 3
    page.get_by_role("checkbox", name="PGD", exact=True).uncheck()
    page.get_by_role("checkbox", name="APGD").uncheck()
    expect_verdict(page, verdict("masked", ["Square"], 2))


def test_the_worst_case_answers_the_keyboard(see: Any) -> None:
    page = see("worst").page
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    expect_verdict(page, verdict("masked", ["PGD"], 3))
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "0.15"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert checked(page) == [True, True, False]
    expect_verdict(page, verdict("masked", ["PGD", "APGD"], 3))


def test_the_worst_case_of_no_attack_is_clean_accuracy(see: Any) -> None:
    page = see("worst").page
    dashes = "line => getComputedStyle(line).strokeDasharray"
    assert page.locator("path.worst").evaluate(dashes) != "none"
    page.get_by_role("checkbox", name="PGD", exact=True).uncheck()
    expect_verdict(page, verdict("masked", [], 2))
    assert page.locator("path.worst").evaluate(dashes) == "none"
    assert page.locator(".singles *").count() == 0


def test_another_defence_brings_its_attacks_and_keeps_epsilon(see: Any) -> None:
    page = see("worst").page
    page.get_by_role("checkbox", name="APGD").check()
    page.get_by_role("slider").fill("4")
    page.get_by_role("combobox").select_option(label="sturdy")
    assert checked(page) == [True, False]
    expect_verdict(page, verdict("sturdy", ["FGSM"], 4))
    page.get_by_role("checkbox", name="a walk").check()
    expect_verdict(page, verdict("sturdy", list(DEFENCES["sturdy"]), 4))


def test_the_credit_list_counts_what_each_attack_breaks(see: Any) -> None:
    page = see("worst").page
    page.get_by_role("slider").fill("4")
    group = page.get_by_role("group", name="Attacks, and how many of 80 images each breaks by itself at ε = 0.20")
    rows = group.locator(".options > div")
    attacks = DEFENCES["masked"]
    breaks = {name: int((bits[0] & ~bits[4]).sum()) for name, bits in attacks.items()}
    assert [int(row.split()[-1]) for row in rows.all_inner_texts()] == list(breaks.values())
    page.get_by_role("checkbox", name="APGD").check()
    only = int((attacks["PGD"][4] & ~attacks["APGD"][4]).sum())
    expected = f"{breaks['APGD']} (only it: {only})"
    playwright.expect(rows.nth(1)).to_contain_text(expected)
    playwright.expect(page.get_by_role("checkbox", name="APGD")).to_have_accessible_description(expected)
    playwright.expect(rows.nth(2)).not_to_contain_text("only")  # it is not switched on
    playwright.expect(page.locator(".quiet")).to_contain_text("3 of 80 are misread without an attack")


def test_the_worst_case_in_numbers_and_aloud(see: Any) -> None:
    page = see("worst").page
    page.get_by_role("checkbox", name="APGD").check()
    page.get_by_text("The numbers behind this figure").click()
    attacks = DEFENCES["masked"]
    both = attacks["PGD"] & attacks["APGD"]
    for e, eps in enumerate(EPS):
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=f"{eps:.2f}"))
        cells = row.get_by_role("cell").all_inner_texts()
        assert int(cells[0]) == int(both[e].sum())
        assert [int(text) for text in cells[2:]] == [int(bits[e].sum()) for bits in attacks.values()]
    said = f"masked. {verdict('masked', ['PGD', 'APGD'], 2)}"
    playwright.expect(page.get_by_role("status")).to_contain_text(said)


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_use_the_worst_case(see: Any, theme: str, width: int) -> None:
    seen = see("worst", theme=theme, width=width)
    seen.page.get_by_text("The numbers behind this figure").click()
    for defence in DEFENCES:
        seen.page.get_by_role("combobox").select_option(label=defence)
        for box in seen.page.get_by_role("checkbox").all():
            box.check()
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [part.bounding_box() for part in seen.page.locator(".frame, .switches label, .controls > *").all()]
        frame, *parts = boxes
        assert all(frame["x"] < part["x"] and part["x"] + part["width"] < frame["x"] + frame["width"] for part in parts)


def rounds(page: Any) -> int:
    return int(re.search(r"After (\d+) round", page.locator(".verdict").inner_text())[1])


def ends(page: Any) -> list[str]:
    return page.locator(".end").evaluate_all("all => all.map((path) => path.getAttribute('transform'))")


def border(page: Any) -> str:
    return page.locator(".border").get_attribute("d")


def test_the_two_players_move_in_turn(see: Any) -> None:
    page = see("moons").page
    net, split = moons()
    right = int((net(split.x).argmax(1) == split.y).sum())
    expect_verdict(page, f"After 0 rounds: {right} of 20 points are read right,")
    home, before = ends(page), border(page)
    assert before.startswith("M")
    page.get_by_role("button", name="Adversary: one step").click()
    playwright.expect(page.locator(".end").first).not_to_have_attribute("transform", home[0])
    first = ends(page)
    page.get_by_role("button", name="Adversary: one step").click()
    playwright.expect(page.locator(".end").first).not_to_have_attribute("transform", first[0])
    assert border(page) == before
    page.get_by_role("button", name="Network: one step").click()
    expect_verdict(page, "After 1 round:")
    assert border(page) != before
    assert ends(page) == home  # the adversary begins anew
    page.get_by_role("button", name="Reset").click()
    expect_verdict(page, "After 0 rounds:")
    assert border(page) == before


@pytest.mark.parametrize("over", ["file", "http"])
def test_training_goes_on_until_it_is_paused(see: Any, over: str) -> None:
    page = see("moons", over).page
    page.get_by_role("button", name="Train").focus()
    page.keyboard.press("Enter")
    told = "document.querySelector('.live').shadowRoot.querySelector('.verdict').innerText"
    page.wait_for_function(f"() => +/After (\\d+)/.exec({told})[1] > 150", timeout=60_000)
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("button", name="Train")).to_be_visible()
    page.wait_for_timeout(300)
    stopped = rounds(page)
    page.wait_for_timeout(300)
    assert rounds(page) == stopped
    expect_verdict(page, "20 of 20 points are read right, 20 of 20 at their worst")
    page.get_by_text("The numbers behind this figure").click()
    cells = page.get_by_role("row").last.get_by_role("cell").all_inner_texts()
    assert page.get_by_role("row").last.get_by_role("rowheader").inner_text() == str(stopped)
    assert cells[1::2] == ["20", "20"]
    playwright.expect(page.get_by_role("status")).to_contain_text(f"After {stopped} rounds: 20 of 20")


def test_the_network_learns_from_what_the_reader_chose(see: Any) -> None:
    page, borders = see("moons").page, []
    for kind in ("their worst places", "the points"):
        page.get_by_role("button", name="Reset").click()
        page.get_by_role("radio", name=kind).check()
        for _ in range(5):  # after one step of Adam, whose length is always the same, both would be alike
            page.get_by_role("button", name="Adversary: one step").click()
            page.get_by_role("button", name="Network: one step").click()
        expect_verdict(page, "After 5 rounds:")
        borders.append(border(page))
    assert borders[0] != borders[1]
    playwright.expect(page.locator(".plane")).to_have_class("plane standard")


def test_a_larger_box_holds_worse_places(see: Any) -> None:
    page = see("moons").page
    size = page.locator(".box").first
    assert float(size.get_attribute("width")) == pytest.approx(2 * 0.08 * 360)
    page.get_by_label("ε =").fill("0.2")
    playwright.expect(size).to_have_attribute("width", "144")
    expect_verdict(page, "at their worst within ε = 0.20.")


def place(page: Any) -> tuple[float, float]:
    found = page.locator(".point").nth(4).get_attribute("transform")
    x, y = re.findall(r"[\d.]+", found)
    return float(x) / 360, 1 - float(y) / 360


def comes_to(page: Any, expected: tuple[float, float], within: float) -> bool:
    """Whether the point comes to this place: the figure draws with the next frame, which may take its time."""
    for _ in range(100):
        if place(page) == pytest.approx(expected, abs=within):
            return True
        page.wait_for_timeout(50)
    return False


def test_a_point_follows_the_mouse(see: Any) -> None:
    page = see("moons").page
    plane, point = (page.locator(which).bounding_box() for which in (".plane", ".point >> nth=4"))
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.mouse.down()
    page.mouse.move(plane["x"] + 0.5 * plane["width"], plane["y"] + 0.25 * plane["height"], steps=5)
    page.mouse.up()
    playwright.expect(page.locator(".point").nth(4)).to_have_class(re.compile("chosen"))
    assert comes_to(page, (0.5, 0.75), 0.01), place(page)
    page.mouse.move(plane["x"], plane["y"])
    assert comes_to(page, (0.5, 0.75), 0.01), place(page)


def test_a_point_follows_the_keyboard(see: Any) -> None:
    page = see("moons").page
    page.get_by_text("Move a point with the keyboard").click()
    page.get_by_label("Point", exact=True).fill("5")
    x, y = place(page)
    near = "|".join(f"{x + by:.2f}" for by in (-0.01, 0, 0.01))
    playwright.expect(page.get_by_label("across")).to_have_value(re.compile(f"^({near})"))
    page.get_by_label("across").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.get_by_label("up").focus()
    page.keyboard.press("ArrowDown")
    assert comes_to(page, (x + 0.02, y - 0.01), 0.011), place(page)


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_play_the_game(see: Any, theme: str, width: int) -> None:
    seen = see("moons", theme=theme, width=width)
    for summary in ("The numbers behind this figure", "Move a point with the keyboard"):
        seen.page.get_by_text(summary).click()
    for kind in ("the points", "their worst places"):
        seen.page.get_by_role("radio", name=kind).check()
        seen.page.get_by_role("button", name="Adversary: one step").click()
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def said_by_the_clouds(n: int, silent: int, eps: float) -> str:
    """The beginning of what the figure must say, from the package's formulas and its own draws."""
    mu = CLOUDS.mu[: 42 + silent].double()
    clouds, accuracies = TwoGaussians(mu, CLOUDS.sigma), []
    for draw in range(12):
        noise = torch.randn(442, generator=torch.Generator().manual_seed(draw)).half().double()[: len(mu)]
        seen = mu + CLOUDS.sigma / n**0.5 * noise
        lines = (seen, seen - seen.clamp(-eps, eps))
        accuracies.append([1 - clouds.linear_error(w, -0.5 * float(w.sum()), Linf(0)) for w in lines])
    standard, robust = (100 * torch.tensor(accuracies, dtype=torch.float64).mean(0)).tolist()
    setting = f"{n:,} images, {silent} silent pixels, ε = {eps:.3f}"
    return f"{setting}: clean {standard:.1f} % standard, {robust:.1f} % robust;"


def says(page: Any, text: str) -> None:
    playwright.expect(page.locator(".verdict:visible")).to_contain_text(text)


@pytest.mark.parametrize("over", ["file", "http"])
def test_the_sign_of_the_trade_off_turns_with_the_number_of_images(see: Any, over: str) -> None:
    page = see("tradeoff", over).page
    says(page, said_by_the_clouds(20, 400, 0.015))
    says(page, "Robust training helps: +")
    page.get_by_label("Images to learn from").fill("7")
    says(page, said_by_the_clouds(10_000, 400, 0.015))
    says(page, "Robust training costs: −")
    page.get_by_label("Silent pixels").fill("0")
    says(page, said_by_the_clouds(10_000, 0, 0.015))


def test_the_trade_off_answers_the_keyboard(see: Any) -> None:
    page = see("tradeoff").page
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    says(page, said_by_the_clouds(20, 400, 0.016))
    page.keyboard.press("Home")
    says(page, "0 [0, 0] points")  # nothing is erased at ε = 0


def test_the_digits_show_what_was_measured(see: Any) -> None:
    page = see("tradeoff").page
    page.get_by_role("radio", name="digits, measured").check()
    assert page.get_by_role("slider").count() == 1  # those of the clouds are hidden
    says(page, "Learned from 100 digits, ε = 0.10: +4 [+2, +6] points. Robust training helps. 0 of 60 training digits")
    page.get_by_role("combobox").select_option(label="all digits")
    page.get_by_role("slider").fill("2")
    says(page, "Learned from all digits, ε = 0.30: −10 [−12, −8] points. Robust training costs. 17 of 60 training")
    playwright.expect(page.get_by_role("status")).to_contain_text("Learned from all digits, ε = 0.30: −10")
    page.get_by_text("The numbers behind this figure").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="all digits"))
    assert row.get_by_role("cell").all_inner_texts() == ["0 [−2, +2]", "−1 [−3, +1]", "−10 [−12, −8]"]
    page.get_by_role("radio", name="clouds, computed").check()
    says(page, said_by_the_clouds(20, 400, 0.015))


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_use_the_trade_off(see: Any, theme: str, width: int) -> None:
    seen = see("tradeoff", theme=theme, width=width)
    seen.page.get_by_text("The numbers behind this figure").click()
    for world in ("digits, measured", "clouds, computed"):
        seen.page.get_by_role("radio", name=world).check()
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [part.bounding_box() for part in seen.page.locator(".frame, .controls > *, .both > *").all()]
        frame, *parts = (box for box in boxes if box)  # what is hidden has none
        assert all(frame["x"] < part["x"] and part["x"] + part["width"] < frame["x"] + frame["width"] for part in parts)


def readings(page: Any) -> list[str]:
    return [text.replace("\xa0", " ") for text in page.locator(".readings b").all_inner_texts()]


@pytest.mark.parametrize("over", ["file", "http"])
def test_training_stops_where_the_reader_says(see: Any, over: str) -> None:
    page = see("epochs", over).page
    expect_verdict(page, "After epoch 4, attacked by PGD: 15 %, 25 points below the best (epoch 2).")
    expect_verdict(page, "From the best to the last, 25 points are lost. Sharpest fall: 30 points, to epoch 3.")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect_verdict(page, "After epoch 3, attacked by PGD: 10 %, 30 points below")
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "3"
    page.keyboard.press("Home")
    expect_verdict(page, "After epoch 1, attacked by PGD: 25 %")
    page.keyboard.press("ArrowRight")
    expect_verdict(page, "After epoch 2, attacked by PGD: 40 %, the best of all epochs.")
    expected = [
        "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * v for v in (c[2].value, c[2].low, c[2].high)))
        for c in RUNS["one step"].values()
    ]
    assert readings(page) == expected
    playwright.expect(page.get_by_role("status")).to_contain_text("one step. After epoch 2, attacked by PGD: 40 %")
    assert page.locator(".note").all_text_contents() == ["best", "last"]


def test_another_training_brings_its_own_epochs(see: Any) -> None:
    page = see("epochs").page
    page.get_by_role("combobox").select_option(label="noisy")
    expect_verdict(page, "After epoch 8, new digits, attacked: 55 %, the best of all epochs.")
    assert page.locator(".note").all_text_contents() == ["best, last"]
    assert len(readings(page)) == 2
    page.get_by_role("slider").fill("0")
    expect_verdict(page, "After epoch 4, new digits, attacked: 50 %, 5 points below the best (epoch 8).")
    page.get_by_text("The numbers behind this figure").click()
    assert page.get_by_role("rowheader").all_inner_texts() == ["4", "8"]
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="8")).get_by_role("cell")
    assert [text.split()[0] for text in row.all_inner_texts()] == ["70", "55"]


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_stop_training(see: Any, theme: str, width: int) -> None:
    seen = see("epochs", theme=theme, width=width)
    seen.page.get_by_text("The numbers behind this figure").click()
    for name in RUNS:
        seen.page.get_by_role("combobox").select_option(label=name)
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def most(sigma: float, n: int) -> str:
    """The largest radius that n votes can show, when all of them agree."""
    return f"{sigma * float(stats.norm.ppf(0.001 ** (1 / n))):.3f}"


@pytest.mark.parametrize("over", ["file", "http"])
def test_the_radius_grows_with_the_votes_to_the_limit_of_n(see: Any, over: str) -> None:
    page = see("noise", over).page
    expect_verdict(page, "σ = 0.05, 1,000 of 1,000 votes for square: its share is at least 99.3 %.")
    expect_verdict(page, f"Certified radius {most(0.05, 1000)}; all that n can show.")
    page.get_by_label("Votes, n =").focus()
    page.keyboard.press("End")
    expect_verdict(
        page,
        f"100,000 of 100,000 votes for square: its share is at least 100.0 %. Certified radius {most(0.05, 100_000)}",
    )
    drawn = float(page.locator("circle.certified").get_attribute("r")) / 360
    assert f"{drawn:.3f}" == most(0.05, 100_000)
    page.keyboard.press("Home")
    expect_verdict(page, f"10 of 10 votes for square: its share is at least 50.1 %. Certified radius {most(0.05, 10)}")
    page.get_by_label("Votes, n =").fill("4")
    page.get_by_label("σ =").fill("0.08")
    expect_verdict(
        page,
        f"σ = 0.08, 1,000 of 1,000 votes for square: its share is at least 99.3 %. Certified radius {most(0.08, 1000)}",
    )
    playwright.expect(page.get_by_role("status")).to_contain_text("σ = 0.08, 1,000 of 1,000 votes for square")
    page.get_by_text("The numbers behind this figure").click()
    assert page.get_by_role("rowheader").all_inner_texts() == ["10", "30", "100", "300", "1,000"]
    cells = page.get_by_role("row").last.get_by_role("cell").all_inner_texts()
    assert cells == ["square", "1,000", "0.993", most(0.08, 1000), most(0.08, 1000)]


def test_the_cloud_follows_the_mouse_to_the_border_and_beyond(see: Any) -> None:
    page = see("noise").page
    expect_verdict(page, "1,000 of 1,000 votes for square")
    plane, grip = (page.locator(which).bounding_box() for which in (".plane", ".grip"))
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(plane["x"] + 0.5 * plane["width"], plane["y"] + 0.25 * plane["height"], steps=8)
    expect_verdict(page, "Abstain: that is not surely more than half.")
    playwright.expect(page.locator("circle.certified")).to_have_attribute("r", "0")
    playwright.expect(page.get_by_label("up")).to_have_value("0.75")
    page.mouse.move(plane["x"] - 50, plane["y"] + 0.25 * plane["height"], steps=4)
    page.mouse.up()
    expect_verdict(page, "1,000 of 1,000 votes for round")
    playwright.expect(page.get_by_label("across")).to_have_value("0")
    assert page.locator(".look.square").get_attribute("d") == ""


def test_the_noise_can_be_thrown_again(see: Any) -> None:
    page = see("noise").page
    page.get_by_label("across").fill("0.53")
    expect_verdict(page, "votes for square")
    said = {page.locator(".verdict").inner_text()}
    for _ in range(3):
        before = page.locator(".look.square").get_attribute("d")
        page.get_by_role("button", name="Throw again").click()
        playwright.expect(page.locator(".look.square")).not_to_have_attribute("d", before)
        page.wait_for_timeout(300)
        said.add(page.locator(".verdict").inner_text())
    assert len(said) > 1


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_vote_under_noise(see: Any, theme: str, width: int) -> None:
    seen = see("noise", theme=theme, width=width)
    seen.page.get_by_text("The numbers behind this figure").click()
    for across in ("0.9", "0.5"):
        seen.page.get_by_label("across").fill(across)
        seen.page.wait_for_timeout(200)
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def said_of_the_margin(eps: float, x: tuple[float, float] = (0.5, 0.5)) -> str:
    """The beginning of what the figure must say, from the package's bounds."""
    given = torch.tensor([x]).double(), torch.zeros(1, dtype=torch.int64), Linf(eps)
    boxes, lines = (f"{bound(SIX, *given)[0, 1].item():.2f}".replace("-", "−") for bound in (ibp, crown))
    return f"ε = {eps:.3f}. The margin is at least, by boxes: {boxes}, by lines: {lines}"


def neuron(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name)


@pytest.mark.parametrize("over", ["file", "http"])
def test_bounds_follow_epsilon_and_the_inputs(see: Any, over: str) -> None:
    page = see("flow", over).page
    expect_verdict(page, said_of_the_margin(0.16))
    expect_verdict(page, "Not proved yet, and not broken: split an open neuron.")
    page.get_by_label("ε =").focus()
    page.keyboard.press("ArrowRight")
    expect_verdict(page, said_of_the_margin(0.165))
    page.get_by_label("ε =").fill("0.03")
    expect_verdict(page, said_of_the_margin(0.03))
    expect_verdict(page, "Proved: every input in the box has this class.")
    page.get_by_label("x₂ =").fill("0.25")
    page.get_by_label("ε =").fill("0.2")
    expect_verdict(page, said_of_the_margin(0.2, (0.5, 0.25)))
    expect_verdict(page, "No proof can come: some input in the box has the other class.")
    playwright.expect(page.get_by_role("status")).to_contain_text(said_of_the_margin(0.2, (0.5, 0.25)))


def test_an_open_neuron_is_split_by_keyboard_and_by_mouse(see: Any) -> None:
    page = see("flow").page
    first = neuron(page, "b₁")
    first.focus()
    page.keyboard.press("Enter")
    playwright.expect(first).to_have_attribute("aria-pressed", "true")
    expect_verdict(page, "branching at 1 neuron, 2 cases:")
    assert page.locator(".piece").count() == 2
    playwright.expect(page.locator(".quiet").last).to_contain_text("b₁ = 1.00 ReLU(a₁) − 1.00 ReLU(a₂)")
    neuron(page, "a₂").click()
    expect_verdict(page, "branching at 2 neurons,")
    cases = page.get_by_label("Case, lowest first:")
    said = cases.get_attribute("aria-valuetext")
    cases.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(cases).not_to_have_attribute("aria-valuetext", said)
    playwright.expect(cases).to_have_attribute("aria-valuetext", re.compile(r"^2 of \d: a₂.[+−], b₁.[+−]$"))
    neuron(page, "a₂").click()
    first.press("Space")
    expect_verdict(page, said_of_the_margin(0.16) + ". ")
    playwright.expect(cases).to_be_hidden()


def test_splitting_every_neuron_meets_the_truth(see: Any) -> None:
    page = see("flow").page
    page.get_by_role("button", name="Split every open neuron").click()
    expect_verdict(page, "branching at 6 neurons,")
    expect_verdict(page, "The bound is exact. Proved: every input in the box has this class.")
    playwright.expect(page.get_by_role("button", name="Split every open neuron")).to_be_disabled()
    pieces = page.locator(".piece")
    assert pieces.count() == page.locator(".piece.proved").count() > 6
    page.get_by_role("button", name="Undo all splits").click()
    expect_verdict(page, said_of_the_margin(0.16))
    assert pieces.count() == 1


def test_a_neuron_whose_sign_is_settled_cannot_be_split(see: Any) -> None:
    page = see("flow").page
    page.get_by_label("ε =").fill("0.005")
    settled = neuron(page, "b₃, always")
    settled.click()
    playwright.expect(settled).to_have_attribute("aria-pressed", "false")
    playwright.expect(page.locator(".quiet").last).to_contain_text("b₃ = ")


def test_the_box_follows_the_mouse_and_fills_the_table(see: Any) -> None:
    page = see("flow").page
    plane, grip = (page.locator(which).bounding_box() for which in (".plane", ".grip"))
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(plane["x"] + 0.75 * plane["width"], plane["y"] + 0.25 * plane["height"], steps=8)
    page.mouse.up()
    for label in ("x₁ =", "x₂ ="):
        playwright.expect(page.get_by_label(label)).to_have_value(re.compile(r"^0.7[45]"))
    page.get_by_text("The numbers behind this figure").click()
    assert page.get_by_role("rowheader").all_inner_texts() == ["a₁", "a₂", "a₃", "b₁", "b₂", "b₃", "margin"]
    cells = page.get_by_role("row").last.get_by_role("cell").all_inner_texts()
    ends = [[float(end.replace("−", "-")) for end in text.split(" … ")] for text in cells]
    lows, highs = zip(*ends, strict=True)
    assert lows[0] <= lows[1] <= lows[3] <= highs[3] <= highs[1] <= highs[0]


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_follow_the_bounds(see: Any, theme: str, width: int) -> None:
    seen = see("flow", theme=theme, width=width)
    seen.page.get_by_text("The numbers behind this figure").click()
    for button in ("Split every open neuron", "Undo all splits"):
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        seen.page.get_by_role("button", name=button).click()
        seen.page.wait_for_timeout(200)


def model_of(route: str, k: int) -> str:
    """A model of a route with what it reads right, as the figure writes it."""
    estimate = Estimate.over_seeds(ROUTES[route].right[k].numpy())
    value, low, high = (f"{100 * v:.0f}" for v in (estimate.value, estimate.low, estimate.high))
    return f"{route} ({value} % [{low}, {high}])"


SCRATCH, TUNED, FILTER = ROUTES


def spend(page: Any, passes: float) -> None:
    """Move the budget by keyboard until it is at least this."""
    slider = page.get_by_label("Budget:")
    slider.focus()
    page.keyboard.press("Home")
    while float(slider.get_attribute("aria-valuetext").split()[0].replace(",", "")) < passes:
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("over", ["file", "http"])
def test_who_wins_depends_on_the_budget(see: Any, over: str) -> None:
    page = see("budget", over).page
    page.get_by_label("Budget:").focus()
    page.keyboard.press("Home")
    expect_verdict(page, "no route has a model.")
    spend(page, 12)
    expect_verdict(page, f"only {model_of(SCRATCH, 0)} has a model.")
    spend(page, 22)
    expect_verdict(page, f"the best is {model_of(SCRATCH, 1)}, then {model_of(FILTER, 0)}: +")
    expect_verdict(page, f"{SCRATCH} wins.")
    assert page.locator(".best .missing").count() == 1
    spend(page, 41)
    expect_verdict(page, f"Not decided between {TUNED} and {SCRATCH}.")
    page.keyboard.press("End")
    expect_verdict(page, f"the best is {model_of(SCRATCH, 3)}, then {model_of(TUNED, 2)}: +")
    playwright.expect(page.get_by_role("status")).to_contain_text(f"Within 80 passes the best is {SCRATCH}")


def test_a_pretrained_model_for_free_turns_the_tables(see: Any) -> None:
    page = see("budget").page
    page.get_by_text("The numbers behind this figure").click()
    spend(page, 11)
    expect_verdict(page, f"only {model_of(SCRATCH, 0)} has a model.")
    costs = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=TUNED)).get_by_role("cell")
    assert costs.all_inner_texts()[::3] == ["30", "35", "40"]
    page.get_by_role("checkbox", name="A pretrained model is there for free").press("Space")
    expect_verdict(page, f"the best is {model_of(TUNED, 2)}, then {model_of(SCRATCH, 0)}: +")
    expect_verdict(page, f"{TUNED} wins.")
    assert costs.all_inner_texts()[::3] == ["0", "5", "10"]
    page.get_by_label("Budget:").fill("0")
    expect_verdict(page, f"only {model_of(TUNED, 0)} has a model.")


@pytest.mark.parametrize(("theme", "width"), [("light", 320), ("dark", 900)])
def test_everyone_can_choose_a_budget(see: Any, theme: str, width: int) -> None:
    seen = see("budget", theme=theme, width=width)
    seen.page.get_by_text("The numbers behind this figure").click()
    for step in ("120", "60", "0"):
        seen.page.get_by_label("Budget:").fill(step)
        assert seen.violations() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [part.bounding_box() for part in seen.page.locator(".frame, .controls > *, .best > div > *").all()]
        frame, *parts = (box for box in boxes if box)
        assert all(frame["x"] < part["x"] and part["x"] + part["width"] < frame["x"] + frame["width"] for part in parts)


def error_of_the_curve(features: int, ridge: float = 0.0) -> str:
    """What the figure must say of the fit at first, from numpy's least squares."""
    state, at = CURVE.state, [np.array(CURVE.state["x"]), np.linspace(0, 1, 241)]
    seen, shown = (np.sqrt(2) * np.cos(np.outer(x, state["frequency"]) + state["phase"])[:, :features] for x in at)
    y, goal = (np.sin(2 * np.pi * x) for x in at)
    rows, y = np.concatenate([seen, ridge**0.5 * np.eye(features)]), y + state["sigma"] * np.array(state["noise"][0])
    w = np.linalg.lstsq(rows, np.concatenate([y, np.zeros(features)]), rcond=None)[0]
    return f"Test error: {float(np.mean((shown @ w - goal) ** 2)):.3g}. Size of the weights: "


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 900)])
def test_a_curve_through_noisy_points(see: Any, theme: str, width: int) -> None:
    seen = see("fit", theme=theme, width=width)
    page, waves = seen.page, seen.page.get_by_role("slider", name="Features, p =")
    expect_verdict(page, "11 features for 16 points: the fit misses the points by")
    expect_verdict(page, error_of_the_curve(11))
    waves.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect_verdict(page, "16 features for 16 points: the fit meets every point. " + error_of_the_curve(16))
    page.get_by_label("Ridge, λ =").fill("9")
    expect_verdict(page, "held back by λ = 0.1. " + error_of_the_curve(16, ridge=0.1))
    page.get_by_text("The numbers behind this figure").click()
    assert page.get_by_role("rowheader").last.inner_text() == "400"
    assert seen.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    said = page.locator(".verdict").inner_text()
    page.get_by_role("button", name="Other noise").click()
    playwright.expect(page.locator(".verdict")).not_to_have_text(said)


def share_below(loss: float, written: str) -> str:
    shares = ", ".join(f"{name} {100 * float((land <= loss).double().mean()):.0f} %" for name, land in LANDS.items())
    return f"Share of the square with a loss of at most {written}: {shares}."


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 900)])
def test_landscapes_turn_together(see: Any, theme: str, width: int) -> None:
    seen = see("terrain", theme=theme, width=width)
    page, lands = seen.page, seen.page.locator(".lands canvas")
    pictures = "all => all.map((canvas) => canvas.toDataURL())"
    turn, tilt, level = (page.get_by_role("slider", name=name) for name in ("Turn:", "Tilt:", "Level:"))

    def changed(before: list[str]) -> list[str]:
        wait = "async (canvas, old) => { while (canvas.toDataURL() === old) await new Promise(requestAnimationFrame); }"
        for each, old in zip(lands.all(), before, strict=True):
            each.evaluate(wait, old)
        return lands.evaluate_all(pictures)

    expect_verdict(page, share_below(0.3 * 5.5, "1.65"))
    now = lands.evaluate_all(pictures)
    assert now[0] != now[1]
    turn.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(turn).to_have_attribute("aria-valuetext", "−34°")
    now = changed(now)
    box = lands.last.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 130, steps=4)
    page.mouse.up()
    playwright.expect(turn).to_have_value("-54")
    playwright.expect(tilt).to_have_value("55")
    now = changed(now)
    level.fill("50")
    expect_verdict(page, share_below(2.75, "2.75"))
    page.get_by_role("radio", name="log loss").check()
    expect_verdict(page, "Share of the square with a loss of at most 2.")
    now = changed(now)
    page.emulate_media(color_scheme="dark" if theme == "light" else "light")
    changed(now)
    page.get_by_text("The numbers behind this figure").click()
    assert page.get_by_role("rowheader").all_inner_texts()[:4] == ["standard", "adversarial", "−1", "−0.9"]
    assert seen.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 900)])
def test_a_descent_in_width_noise_and_time(see: Any, theme: str, width: int) -> None:
    seen = see("descent", theme=theme, width=width)
    page = seen.page
    time, size = page.get_by_role("slider", name="Training, steps:"), page.get_by_role("slider", name="Width:")
    expect_verdict(page, "0 % wrong labels, 1,000 steps, width 64: test error 10 % [5.5, 17], training error 0.0 %;")
    expect_verdict(page, "No second descent over the width")
    page.get_by_role("radio", name="20 %").check()
    size.focus()
    page.keyboard.press("ArrowLeft")
    expect_verdict(page, "20 % wrong labels, 1,000 steps, width 8: test error 70 % [60, 78], training error 10 %;")
    expect_verdict(page, "at its best, after 100 steps: 15 %.")
    expect_verdict(page, "A second descent: from 20 % (width 2) up to 70 % (width 8), down to 22 % (width 512).")
    shaded = page.locator(".met").first
    from_64 = shaded.get_attribute("x")
    page.get_by_text("The numbers behind this figure").click()
    assert page.get_by_role("row").nth(2).all_inner_texts()[0].replace("\xa0", " ").split("\t") == [
        "8", "70 % [60, 78]", "80 % [71, 87]", "10 %", "15 %", "100",
    ]  # fmt: skip
    time.fill("1")
    expect_verdict(page, "20 % wrong labels, 100 steps, width 8: test error 15 %")
    playwright.expect(shaded).not_to_have_attribute("x", from_64)  # the threshold moves with training
    assert seen.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
