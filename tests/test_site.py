"""The built site: every page in light and dark, with no network, for every reader.

These tests look at _build/html, as `make book` leaves it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from robustcourse.claims import CLAIMS, Verdict
from robustcourse.evaluate import Estimate

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 reads TOML with tomli: pip install tomli")

from conftest import ROOT, Visit, find_chromium, serve

from tests import tiny
from tools import format

SITE = ROOT / "_build" / "html"
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if path.relative_to(SITE).parts[0] not in {"_static", "index.html"}  # index.html only leads on
)
LESSONS = [page for page in PAGES if page.startswith("lessons/")]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]

OPEN_DETAILS = "document.querySelectorAll('details').forEach(node => node.open = true)"

built = pytest.mark.skipif(not PAGES, reason="no site in _build/html: make book")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve(SITE) as url:
        yield url


def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")


# --- In a browser -----------------------------------------------------------------------------------------------------


def has_theme(seen: Visit, theme: str) -> None:
    seen.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)


@built
@pytest.mark.parametrize("page", PAGES)
def test_page_works_without_network_and_for_everyone(visit: Callable, address: str, page: str) -> None:
    with visit(f"{address}/{page}") as seen:
        has_theme(seen, "light")
        seen.page.evaluate(OPEN_DETAILS)
        assert seen.problems() == []
        assert seen.violations() == []


@built
@pytest.mark.parametrize("page", PAGES)
def test_page_works_from_a_folder_on_a_narrow_screen_and_in_the_dark(visit: Callable, page: str) -> None:
    """At 320 px the page itself does not scroll sideways (WCAG 1.4.10); tables and code may, in boxes of their own.

    Then the screen grows, for only a wide one shows all that has to be seen in the dark.
    """
    with visit((SITE / page).as_uri(), "dark", width=320) as seen:
        has_theme(seen, "dark")
        assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 320
        seen.page.evaluate(OPEN_DETAILS)
        assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 320
        seen.page.set_viewport_size({"width": 1280, "height": 900})
        assert seen.problems() == []
        assert seen.violations() == []


@built
def test_search_works_from_a_folder(visit: Callable) -> None:
    with visit((SITE / "search.html").as_uri() + "?q=projection") as seen:
        seen.page.wait_for_selector("#search-results li a", timeout=10_000)
        assert seen.problems() == []


@built
def test_front_door_leads_to_the_first_page(visit: Callable, address: str) -> None:
    with visit(f"{address}/index.html") as seen:
        seen.page.wait_for_url("**/book/intro.html")


@built
def test_formulas_are_set(visit: Callable, address: str) -> None:
    with visit(f"{address}/book/notation.html") as seen:
        seen.page.wait_for_selector("mjx-container")
        assert seen.page.locator("mjx-merror").count() == 0


# --- In the files -----------------------------------------------------------------------------------------------------


def anchors(path: Path, cache: dict[Path, set[str]]) -> set[str]:
    if path not in cache:
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        cache[path] = {node["id"] for node in page.find_all(id=True)} | {"top"}
    return cache[path]


@built
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    cache: dict[Path, set[str]] = {}
    broken = []
    for node in soup(page).find_all(["a", "img", "link", "script"]):
        link = node.get("href") or node.get("src")
        if not link or urlsplit(link).scheme:
            continue
        target = urlsplit(urljoin(f"/{page}", link))
        path = SITE / unquote(target.path).lstrip("/")
        if not path.is_file():
            broken.append(f"{link}: no such file")
        elif target.fragment and path.suffix == ".html" and unquote(target.fragment) not in anchors(path, cache):
            broken.append(f"{link}: no such place on the page")
    assert broken == []


@built
@pytest.mark.parametrize("page", PAGES)
def test_page_says_what_it_is(page: str) -> None:
    html = soup(page)
    (description,) = html.find_all("meta", attrs={"name": "description"})
    assert len(description["content"]) >= 20
    assert html.title.get_text(strip=True)
    assert [image for image in html.find_all("img") if not image.has_attr("alt")] == []


@built
@pytest.mark.parametrize("page", LESSONS)
def test_lesson_has_its_buttons(page: str) -> None:
    html = soup(page)
    name = Path(page).stem
    owner = REPOSITORY.removeprefix("https://github.com/")
    (colab,) = html.select("a.btn-colab")
    assert colab["href"] == f"https://colab.research.google.com/github/{owner}/blob/main/lessons/{name}.ipynb"
    assert (ROOT / "lessons" / f"{name}.ipynb").is_file()

    (student,) = html.select("a.btn-student-copy")
    copy = nbformat.read(SITE / urljoin(f"/{page}", student["href"]).lstrip("/"), as_version=4)
    nbformat.validate(copy)
    assert not [cell for cell in copy.cells if "### BEGIN" in cell.source]


@built
@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("book/", "lessons/"))])
def test_repository_links_agree_with_the_project(page: str) -> None:
    html = soup(page)
    (button,) = html.select("a.btn-source-repository-button")
    assert button["href"] == REPOSITORY
    links = [node["href"] for node in html.find_all("a", href=re.compile(r"^https://github\.com/[^/]+/robustcourse"))]
    assert [link for link in links if not re.match(re.escape(REPOSITORY) + r"(/|$)", link)] == []


@built
def test_ledger_names_every_claim_and_every_verdict() -> None:
    rows = soup("book/claims.html").select("table.claims-ledger tbody tr")
    assert {row.strong.get_text() for row in rows} == set(CLAIMS)
    fresh = ROOT / "_build" / "records"
    folder = fresh if any(fresh.glob("*.json")) else ROOT / "records"
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    for record in records:
        shown = [row.select_one(".verdict") for row in rows if row.strong.get_text() == record["claim"]]
        assert any(record["verdict"].startswith(badge.get_text()) for badge in shown)
    assert sum(len(row.select(".verdict")) for row in rows) == len(records)


# --- The extension and the vendored files -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course_site() -> Iterator[object]:
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    yield pytest.importorskip("course_site", reason="no Sphinx: pip install -e '.[book]'")
    sys.path.pop(0)


def store(folder: Path, claim: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"01-two-models.{claim}.json").write_text(json.dumps({"claim": claim, "verdict": "holds"}))


def test_own_records_come_before_committed_ones(course_site, tmp_path: Path) -> None:
    store(tmp_path / "records", "C01")
    assert course_site.read_records(tmp_path)[0] == tmp_path / "records"
    store(tmp_path / "_build" / "records", "C03")
    folder, records = course_site.read_records(tmp_path)
    assert folder == tmp_path / "_build" / "records"
    assert list(records) == ["C03"]


def test_record_of_an_unknown_claim_is_refused(course_site, tmp_path: Path) -> None:
    store(tmp_path / "records", "C99")
    with pytest.raises(ValueError, match=r"01-two-models\.C99\.json: unknown claim 'C99', known are C01, C02"):
        course_site.read_records(tmp_path)


@pytest.mark.parametrize("verdict", Verdict)
def test_verdict_is_told_from_its_conditions(course_site, verdict: Verdict) -> None:
    assert course_site.split_verdict(str(verdict)) == (verdict, "")
    assert course_site.split_verdict(f"{verdict} (ε = 0.1)") == (verdict, "(ε = 0.1)")


def test_unknown_verdict_is_refused(course_site) -> None:
    with pytest.raises(ValueError, match="unknown verdict 'perhaps', allowed are holds"):
        course_site.split_verdict("perhaps")


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({}, "0 of 28 claims are measured so far."),
        ({"C01": ["holds"]}, "1 of 28 claims are measured so far, in 1 test (holds: 1)."),
        (
            {"C01": ["holds", "contradicted"], "C03": ["holds under conditions (ε = 0.1)"], "C04": ["contradicted"]},
            "3 of 28 claims are measured so far, in 4 tests (holds: 1; holds under conditions: 1; contradicted: 2).",
        ),
    ],
)
def test_summary_counts_claims_and_their_tests(course_site, verdicts: dict[str, list[str]], said: str) -> None:
    records = {claim: [{"verdict": verdict} for verdict in found] for claim, found in verdicts.items()}
    assert course_site.ClaimsLedger.summary(None, records).astext() == said


def test_lines_of_the_ledger_break_between_the_parts_of_an_estimate(course_site) -> None:
    estimate = Estimate(0.5, 0.4, 0.6, 360, observed="× 5 seeds")
    assert course_site.unbroken(estimate).split(" ") == [
        "50.0\N{NO-BREAK SPACE}%",
        "[40.0,\N{NO-BREAK SPACE}60.0]",
        "(n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}360\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}5\N{NO-BREAK SPACE}seeds)",
    ]


# --- Solutions --------------------------------------------------------------------------------------------------------

COLAB = "https://colab.research.google.com/github/robustcourse/robustcourse/blob/main/lessons/01-tiny.ipynb"
TINY = {
    "_toc.yml": "format: jb-book\nroot: lessons/01-tiny\n",
    "_config.yml": f"""
execute: {{execute_notebooks: "off"}}
repository: {{url: {REPOSITORY}, branch: main}}
launch_buttons: {{colab_url: "https://colab.research.google.com"}}
sphinx: {{local_extensions: {{course_site: {ROOT / "book" / "_ext"}}}}}
""",
}


@pytest.fixture(scope="module", params=["show", "hide"])
def lesson(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A lesson's page on a site with and on one without solutions. Each cell prints "from" and its id."""
    folder = tmp_path_factory.mktemp(request.param)
    notebook = tiny.lesson()
    notebook.cells[0].source += f"\n\n[Open in Colab]({COLAB})\n\nAlso [here]({COLAB}), says the author."
    for cell in notebook.cells:
        if format.is_solution(cell) or format.is_check(cell):
            cell.metadata.nbgrader = format.nbgrader(cell)
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"from {cell.id}\n")]
    path = folder / "lessons" / "01-tiny.ipynb"
    path.parent.mkdir()
    notebook.metadata = {"kernelspec": format.KERNEL, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)
    for name, text in TINY.items():
        (folder / name).write_text(text)
    env = {**os.environ, "ROBUSTCOURSE_SOLUTIONS": request.param}
    start = "from jupyter_book.cli.main import main; main(['build', '.', '-W', '-q'])"
    done = subprocess.run([sys.executable, "-c", start], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = folder / "_build" / "html"
    page = BeautifulSoup((site / "lessons" / "01-tiny.html").read_text(encoding="utf-8"), "html.parser")
    everything = "\n".join(
        path.read_text(encoding="utf-8") for path in site.rglob("*") if path.suffix in {".html", ".js", ".ipynb"}
    )
    return SimpleNamespace(
        shows=request.param == "show",
        page=page,
        article=page.select_one("article").get_text(),
        links=[node["href"] for node in page.find_all("a", href=True)],
        everything=everything,
    )


def test_solutions_are_seen_only_where_they_are_shown(lesson: SimpleNamespace) -> None:
    assert ("return a + b" in lesson.article) == lesson.shows
    assert ("return a + b" in lesson.everything) == lesson.shows  # source and search index included
    assert ('def add(a, b):\n    raise NotImplementedError("your code here")' in lesson.article) != lesson.shows


def test_outputs_of_solutions_and_checks_go_with_the_solutions(lesson: SimpleNamespace) -> None:
    """A check prints the answer that it accepts. A cell that nbval compares, or any other, gives nothing away."""
    seen = {name: f"from {name}" in lesson.article for name in ("set-up", "compare", "solution", "check")}
    assert seen == {"set-up": True, "compare": True, "solution": lesson.shows, "check": lesson.shows}


def test_hidden_tests_and_marks_are_never_seen(lesson: SimpleNamespace) -> None:
    assert "assert add(1, 2) == 3" in lesson.article
    assert "add(5, 5)" not in lesson.article
    assert "###" not in lesson.article
    assert "NBVAL" not in lesson.article
    assert 'print("equal:", 1 + 1 == 2)' in lesson.article


def test_colab_opens_the_lesson_only_where_solutions_are_shown(lesson: SimpleNamespace) -> None:
    assert lesson.links.count(COLAB) == (3 if lesson.shows else 0)  # the button, the link, the link in a sentence
    assert len(lesson.page.select("a.btn-colab")) == lesson.shows
    assert ("Open in Colab" in lesson.article) == lesson.shows
    assert "says the author." in lesson.article
    assert [p for p in lesson.page.select("article p") if not p.get_text(strip=True)] == []
    assert len(lesson.page.select("a.btn-student-copy")) == 1


def test_licences_name_what_is_vendored() -> None:
    pinned = json.loads((ROOT / "tools" / "vendor" / "site" / "package.json").read_text())["dependencies"]
    licences = (ROOT / "book" / "static" / "vendor" / "LICENSES.txt").read_text(encoding="utf-8")
    for name, version in pinned.items():
        if name != "esbuild":  # it makes files smaller and is not among them
            assert f"\n{name} {version}, " in licences


# --- The checks themselves --------------------------------------------------------------------------------------------

FAULTY = """<!doctype html><html lang="en"><head><title>t</title></head><body><main><h1>t</h1>
<img src="missing.png"><script src="https://example.org/x.js"></script><script>nothing.at.all</script></main></body>"""


def test_a_faulty_page_is_found_out(visit: Callable, tmp_path: Path) -> None:
    (tmp_path / "faulty.html").write_text(FAULTY)
    with serve(tmp_path) as address, visit(f"{address}/faulty.html") as seen:
        assert seen.refused == ["https://example.org/x.js"]
        assert any("404" in text and "missing.png" in text for text in seen.failed)
        assert any("nothing is not defined" in text for text in seen.errors)
        assert any(text.startswith("image-alt") for text in seen.violations())


@pytest.mark.parametrize(
    "words",
    [
        '<pre><span>fine</span> <span>fine</span> <span style="color: #aaa">pale</span></pre>',
        '<pre style="color: #aaa"><span>x</span> <span>pale</span></pre>',
        '<table><tr><td>fine<td>fine<tr style="background: #555"><td>pale</table>',
        '<table style="color: #aaa"><tr><td hidden>unseen<td>pale</table>',
        '<p><template shadowrootmode="open"><table><tr><td>fine<td style="color: #aaa">pale</table></template></p>',
    ],
    ids=["letters", "after a single one", "their box", "after an unseen one", "in a figure"],
)
def test_one_pale_word_among_others_is_found_out(visit: Callable, tmp_path: Path, words: str) -> None:
    page = FAULTY[: FAULTY.index("<img")] + words
    (tmp_path / "pale.html").write_text(page)
    with visit((tmp_path / "pale.html").as_uri()) as seen:
        assert [text for text in seen.violations() if text.startswith("color-contrast:") and "pale<" in text]


def test_a_wrong_path_to_chromium_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTCOURSE_CHROMIUM", "/no/such/chromium")
    with pytest.raises(FileNotFoundError, match="ROBUSTCOURSE_CHROMIUM is '/no/such/chromium'"):
        find_chromium()


def test_chromium_is_looked_for_on_the_path_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROBUSTCOURSE_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    own = tmp_path / "own"
    assert find_chromium(str(own)) is None
    own.touch()
    assert find_chromium(str(own)) == str(own)
    chromium = tmp_path / "chromium"
    chromium.touch(mode=0o755)
    assert find_chromium(str(own)) == str(chromium)
