"""A real browser that looks at pages as people do, and tells what it complains of."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

# What reaches beyond the window's right edge, unless its place in the layout clips it.
_OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  const clipped = (one) => { for (; one; one = one.parentElement)
    if (getComputedStyle(one).overflowX === 'hidden') return true; return false; };
  return [...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > width + 0.5 && !clipped(one))
    .map((one) => one.outerHTML.slice(0, 120))
    .concat(document.documentElement.scrollWidth > width ? ['the page scrolls sideways'] : []);
}"""


@dataclass
class View:
    """A page, and what the browser said and asked for while it was open."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def overflowing(self) -> list[str]:
        found: list[str] = self.page.evaluate(_OVERFLOWING)
        return found

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()

    def picture(self, path: Path, *, full_page: bool = True) -> None:
        self.page.screenshot(path=path, full_page=full_page)


@contextmanager
def chromium() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("no chromium on PATH: tests/support/install_servers.sh installs it")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, its sandbox does not start
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def view(browser: Browser, url: str, *, size: dict[str, int] | None = None, **options: Any) -> Iterator[View]:
    """The page at `url`, loaded; `options` are those of a browser context, such as java_script_enabled."""
    context = browser.new_context(viewport=size or DESKTOP, **options)
    try:
        seen = View(context.new_page())
        seen.page.on("console", lambda message: seen.said.append(message.text))
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("dialog", lambda dialog: (seen.said.append(dialog.message), dialog.dismiss()))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        answer = seen.page.goto(url)
        assert answer is None or answer.ok, answer.status
        yield seen
    finally:
        context.close()
