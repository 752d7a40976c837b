"""What the site needs and _config.yml cannot say: student copies, lessons' figures, the claims ledger, descriptions."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from jupyter_cache import get_cache
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from robustcourse.claims import CLAIMS, Verdict
from robustcourse.evaluate import Estimate
from robustcourse.homework import release
from robustcourse.homework.student import STUB

LATER = "measured in a later lesson"


def is_lesson(docname: str) -> bool:
    return docname.startswith("lessons/")


# --- Student copies ---------------------------------------------------------------------------------------------------


def student_path(docname: str) -> str:
    """Where the student copy of a lesson lies in the built site."""
    return f"student/{Path(docname).name}.ipynb"


def write_student_copies(app: Sphinx, exception: Exception | None) -> None:
    """Write every lesson's student copy into the site, so that its link works wherever the site is served."""
    if exception or app.builder.format != "html":
        return
    for docname in filter(is_lesson, sorted(app.env.found_docs)):
        copy = release(Path(app.env.doc2path(docname)))
        target = Path(app.outdir, student_path(docname))
        target.parent.mkdir(exist_ok=True)
        nbformat.write(copy, target)
        if not app.config.show_solutions:  # nor may the source that a page offers for download hold them
            nbformat.write(copy, Path(app.outdir, "_sources", f"{docname}.ipynb"))


def arrange_buttons(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """On a lesson, show Colab and the student copy as two plain links: no menu to open first."""
    if not is_lesson(pagename):
        return
    buttons = context["header_buttons"]
    at = next(k for k, button in enumerate(buttons) if button["label"] == "launch-buttons")
    (colab,) = buttons[at]["buttons"]
    student = {
        "type": "link",
        "url": context["pathto"](student_path(pagename), 1),
        "text": "Student copy",
        "tooltip": "Download this lesson as a notebook without solutions",
        "icon": "fas fa-pencil",
        "label": "student-copy",
    }
    colab = colab | {"text": "Open in Colab", "tooltip": "Run this lesson in Google Colab", "label": "colab"}
    colab["icon"] = "fas fa-play"
    # Colab opens the lesson as it is in the repository, solutions and all.
    buttons[at : at + 1] = [colab, student] if app.config.show_solutions else [student]


# --- Solutions --------------------------------------------------------------------------------------------------------

MARK = re.compile(r"^[ \t]*(### (BEGIN|END) SOLUTION|# NBVAL_CHECK_OUTPUT)[ \t]*\n?", re.MULTILINE)
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION[ \t]*$", re.MULTILINE | re.DOTALL)
HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS[ \t]*\n?", re.MULTILINE | re.DOTALL)
CHECK = re.compile(r"# Check\b")


def show_lesson(app: Sphinx, doctree: nodes.document) -> None:
    """Make of the lesson's source what readers may see: no marks and no hidden tests, and solutions only if they are
    shown."""
    if not is_lesson(app.env.docname):
        return
    for code_input in list(doctree.findall(nodes.container)):
        if "cell_input" not in code_input["classes"]:
            continue
        for code in list(code_input.findall(nodes.literal_block)):
            source = code.astext()
            text = HIDDEN.sub("", source)
            if not app.config.show_solutions:
                text = SOLUTION.sub(rf"\1{STUB}", text)
                if SOLUTION.search(source) or CHECK.match(source):  # a check prints the answer that it accepts
                    drop_outputs(code_input.parent)
            text = MARK.sub("", text)
            if text != source:
                code.rawsource = text.rstrip("\n")
                code.children = [nodes.Text(code.rawsource)]
    if not app.config.show_solutions:
        drop_colab_links(doctree)


def drop_outputs(cell: nodes.Element) -> None:
    for output in [child for child in cell.children if "cell_output" in child["classes"]]:
        cell.remove(output)


def drop_colab_links(doctree: nodes.document) -> None:
    """Drop links that open the lesson with its solutions, and paragraphs that were nothing but such a link."""
    for link in list(doctree.findall(nodes.reference)):
        if link.get("refuri", "").startswith("https://colab."):
            paragraph = link.parent
            paragraph.remove(link)
            if not paragraph.astext().strip():
                paragraph.parent.remove(paragraph)


# --- Descriptions -----------------------------------------------------------------------------------------------------


def describe_lesson(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give pages without a description of their own one for search engines: a lesson's promise, its first paragraph."""
    if 'name="description"' in context.get("metatags", ""):
        return
    text = app.config.html_title
    if doctree is not None and (paragraph := next(doctree.findall(nodes.paragraph), None)):
        text = paragraph.astext()
    text = nodes.Text(" ".join(text.split())[:300])
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{escape(text)}" />\n'


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


# --- A figure of a lesson ---------------------------------------------------------------------------------------------


class LessonFigure(SphinxDirective):
    """`{lesson-figure} 01-two-models walls`: on another page, what a cell of a lesson showed when it ran."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        slug, name = self.arguments
        lesson = nbformat.read(Path(self.env.srcdir, "lessons", f"{slug}.ipynb"), as_version=4)
        cache = get_cache(str(Path(self.env.app.outdir).parent / ".jupyter_cache"))
        try:
            executed = cache.get_cache_bundle(cache.match_cache_notebook(lesson).pk).nb
            (cell,) = (cell for cell in executed.cells if cell.get("id") == name)
            (shown,) = (output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))
        except (KeyError, ValueError) as problem:
            raise self.error(f"no executed cell {name!r} of lesson {slug!r} shows one figure") from problem
        return [nodes.raw("", shown, format="html")]


# --- The claims ledger ------------------------------------------------------------------------------------------------


def read_records(root: Path) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """The records of this checkout's own run where there are any, else the committed ones: their folder and, by claim,
    their contents."""
    fresh = root / "_build" / "records"
    folder = fresh if any(fresh.glob("*.json")) else root / "records"
    records: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["claim"] not in CLAIMS:
            raise ValueError(f"{path.name}: unknown claim {record['claim']!r}, known are {', '.join(CLAIMS)}")
        records.setdefault(record["claim"], []).append(record)
    return folder, records


def split_verdict(text: str) -> tuple[Verdict, str]:
    """`holds under conditions (ε = 0.1)` -> the verdict, and what is said of its conditions."""
    for verdict in sorted(Verdict, key=len, reverse=True):  # one verdict is the beginning of another
        if text.startswith(verdict):
            return verdict, text.removeprefix(verdict).strip()
    raise ValueError(f"unknown verdict {text!r}, allowed are {', '.join(Verdict)}")


class ClaimsLedger(SphinxDirective):
    """`{claims-ledger}`: every claim of the course, its verdict, and the measurements behind it."""

    def run(self) -> list[nodes.Node]:
        folder, records = read_records(Path(self.env.srcdir))
        # A folder counts as always changed, so the page is read again at each build and sees new records too.
        self.env.note_dependency(str(folder))
        return [self.summary(records), self.table(records)]

    def summary(self, records: dict[str, list[dict[str, Any]]]) -> nodes.paragraph:
        counts = Counter(split_verdict(record["verdict"])[0] for found in records.values() for record in found)
        text = f"{len(records)} of {len(CLAIMS)} claims are measured so far"
        if tests := counts.total():  # a claim that two lessons test is one claim, with two verdicts
            told = "; ".join(f"{verdict}: {counts[verdict]}" for verdict in Verdict if counts[verdict])
            text += f", in {tests} test{'s' if tests > 1 else ''} ({told})"
        return nodes.paragraph("", f"{text}.")

    def table(self, records: dict[str, list[dict[str, Any]]]) -> nodes.table:
        body = nodes.tbody()
        for claim, sentence in CLAIMS.items():
            for record in records.get(claim) or [None]:
                body += self.row(claim, sentence, record)
        group = nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (42, 20, 38)]
        group += nodes.thead("", row(nodes.paragraph("", head) for head in ("Claim", "Verdict", "Measured")))
        group += body
        return nodes.table("", group, classes=["claims-ledger"])

    def row(self, claim: str, sentence: str, record: dict[str, Any] | None) -> nodes.row:
        said = nodes.paragraph("", "", nodes.strong("", claim), nodes.Text(f" {sentence}"))
        if record is None:
            later = nodes.paragraph("", LATER, classes=["aside"])
            return row([said, later, nodes.paragraph("", "–", classes=["aside"])])
        test = nodes.paragraph("", f"Test: {record['rule']}. ", self.lesson(record["lesson"]), classes=["aside"])
        verdict, where = split_verdict(record["verdict"])
        badge = nodes.inline("", verdict, classes=["verdict", f"verdict-{verdict.name.lower()}"])
        decided = [nodes.paragraph("", "", badge)]
        if where:
            decided.append(nodes.paragraph("", where, classes=["aside"]))
        measured = [
            nodes.paragraph("", "", nodes.inline("", f"{name}: "), nodes.Text(unbroken(Estimate(**estimate))))
            for name, estimate in record["conditions"].items()
        ]
        return row([[said, test], decided, measured])

    def lesson(self, slug: str) -> addnodes.pending_xref:
        """A link to the lesson that measured the claim."""
        return addnodes.pending_xref(
            "",
            nodes.inline("", f"Lesson {slug[:2]}"),
            refdoc=self.env.docname,
            refdomain="std",
            refexplicit=True,
            reftarget=f"/lessons/{slug}",
            reftype="doc",
            refwarn=True,
        )


def unbroken(estimate: Estimate) -> str:
    """An estimate whose lines break between value, interval and n only."""
    return re.sub(r" %|\[.*?\]|\(.*?\)", lambda part: part[0].replace(" ", "\u00a0"), str(estimate))


def row(cells: Any) -> nodes.row:
    """A table row of cells, each a node or a list of nodes."""
    return nodes.row("", *(nodes.entry("", *(cell if isinstance(cell, list) else [cell])) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    # ROBUSTCOURSE_SOLUTIONS=hide builds a site for a class: exercises without their solutions.
    app.add_config_value("show_solutions", os.environ.get("ROBUSTCOURSE_SOLUTIONS", "show") != "hide", "env", [bool])
    app.add_directive("claims-ledger", ClaimsLedger)
    app.add_directive("lesson-figure", LessonFigure)
    app.connect("doctree-read", show_lesson)
    # After the theme has made its own buttons and tags.
    app.connect("html-page-context", arrange_buttons, priority=900)
    app.connect("html-page-context", describe_lesson, priority=900)
    app.connect("build-finished", write_student_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
