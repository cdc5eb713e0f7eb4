"""A real browser that opens pages and records its complaints and requests."""

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

# Elements that extend beyond the right edge of the window, unless an ancestor clips them.
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
    """A page, with the console messages and requests of the browser while it was open."""

    page: Page
    messages: list[str] = field(default_factory=list)
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
    executable = next((path for name in NAMES if (path := shutil.which(name))), None)
    if executable is None:
        raise RuntimeError("no chromium on PATH: tests/support/install_servers.sh installs it")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, its sandbox does not start
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
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
        seen.page.on("console", lambda message: seen.messages.append(message.text))
        seen.page.on("pageerror", lambda error: seen.messages.append(str(error)))
        seen.page.on("dialog", lambda dialog: (seen.messages.append(dialog.message), dialog.dismiss()))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        answer = seen.page.goto(url)
        assert answer is None or answer.ok, answer.status
        yield seen
    finally:
        context.close()
