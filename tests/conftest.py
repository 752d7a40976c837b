"""One thread for all tests; for those of the browser a Chromium, a server, and a page that records what goes wrong."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The networks are so small that threads get in each other's way: with two, an attack takes several times as long.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]

# Chromium as a guest: it may run as root in a container, and asks the network for nothing of its own.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# Code and tables are thousands of words of a few looks, and axe-core needs milliseconds to find what lies behind each.
# This marks all but the first word of a look: letters of the same colour and size, in boxes of the same colours. The
# first has to be seen, and to have two characters: a single one axe-core lets pass.
MARK_REPEATS = """() => {
  const looks = new Map([[null, ""]]), seen = new Set();
  const look = (node) => {
    if (!looks.has(node)) {
      const css = getComputedStyle(node);
      const own = [css.color, css.fontSize, css.fontWeight, css.textShadow, css.opacity];
      own.push(css.backgroundColor, css.backgroundImage);
      looks.set(node, `${look(node.parentElement ?? node.getRootNode().host ?? null)}; ${own}`);
    }
    return looks.get(node);
  };
  const hosts = [...document.querySelectorAll("*")].filter((node) => node.shadowRoot);
  for (const root of [document, ...hosts.map((host) => host.shadowRoot)]) {
    for (const node of root.querySelectorAll("pre span, td")) {
      const texts = [...node.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE);
      const words = texts.map((text) => text.data).join("").trim();
      node.toggleAttribute("data-repeats", seen.has(look(node)));
      if (/[\\p{L}\\p{N}]/u.test(words) && words.length > 1 && node.checkVisibility()) seen.add(look(node));
    }
  }
}"""
CONTRAST_ONCE = "axe.configure({rules: [{id: 'color-contrast', selector: ':not([data-repeats])'}]})"


def find_chromium(playwrights_own: str = "") -> str | None:
    """The path of a Chromium: ROBUSTCOURSE_CHROMIUM, then the first on PATH, then Playwright's own if it is there."""
    if given := os.environ.get("ROBUSTCOURSE_CHROMIUM"):
        if not Path(given).is_file():
            raise FileNotFoundError(f"ROBUSTCOURSE_CHROMIUM is {given!r}, and there is no such file")
        return given
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return playwrights_own if Path(playwrights_own).is_file() else None


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; without one they are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
    with sync_api.sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        if path is None:
            pytest.skip("no Chromium: .venv/bin/playwright install chromium, or set ROBUSTCOURSE_CHROMIUM to one")
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free local port; gives the address, without a slash at its end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Visit:
    """An open page and what went wrong on it so far."""

    page: Page
    refused: list[str] = field(default_factory=list)  # requests to anywhere but this machine
    failed: list[str] = field(default_factory=list)  # local requests that did not succeed
    errors: list[str] = field(default_factory=list)  # of the console, and uncaught ones

    def problems(self) -> list[str]:
        return [f"{kind}: {text}" for kind in ("refused", "failed", "errors") for text in getattr(self, kind)]

    def violations(self) -> list[str]:
        """What axe-core finds: rule, why it matters, and the first element that breaks it."""
        from axe_playwright_python.sync_playwright import Axe

        # What is still fading in has not the contrast that it will have.
        self.page.wait_for_function("document.getAnimations().every(a => a.playState !== 'running')")
        self.page.evaluate(MARK_REPEATS)
        self.page.evaluate(Axe().axe_script)
        self.page.evaluate(CONTRAST_ONCE)
        options = {"runOnly": STANDARDS, "resultTypes": ["violations"]}
        found = self.page.evaluate("options => axe.run(options)", options)["violations"]
        return [f"{rule['id']}: {rule['help']}: {rule['nodes'][0]['html'][:200]}" for rule in found]


@pytest.fixture
def visit(browser: Browser) -> Callable[..., AbstractContextManager[Visit]]:
    """`with visit(url, theme="dark", width=390) as seen:` opens a page with nothing but this machine to reach."""

    @contextmanager
    def opened(url: str, theme: str = "light", width: int = 1280) -> Iterator[Visit]:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
        page = context.new_page()
        seen = Visit(page)

        def guard(route: Any) -> None:
            if route.request.url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
                route.continue_()
            else:
                seen.refused.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        page.on("response", lambda r: seen.failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on("requestfailed", lambda r: seen.failed.append(f"{r.failure} {r.url}"))
        page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: seen.errors.append(str(e)))
        page.goto(url, wait_until="networkidle")
        try:
            yield seen
        finally:
            context.close()

    return opened
