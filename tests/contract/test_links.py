"""Links in every Markdown file point to existing files and headings."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(
    sorted(
        subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    )
)


@cache
def _prose(page: Path) -> str:
    """The text without code blocks and spans, where brackets are not links."""
    text = re.sub(r"^ *(```+).*?^ *\1 *$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`(?!\])", lambda span: span[0] if "](" not in span[0] else "", text)


@cache
def _anchors(page: Path) -> frozenset[str]:
    """Anchors as GitHub derives them from headings; a repeated heading gets a number."""
    seen: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return frozenset(anchors)


@pytest.mark.parametrize("name", PAGES)
def test_link_targets_exist(name: str) -> None:
    page = ROOT / name
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", _prose(page)):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name}: {target}"
        assert file.is_relative_to(ROOT), f"{name}: {target}"
        assert not anchor or anchor in _anchors(file), f"{name}: {target}#{anchor}"


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("docs/") and name.count("/") == 1])
def test_page_is_linked_from_the_readme(name: str) -> None:
    linked = (ROOT / "README.md").read_text(encoding="utf-8")
    linked += (ROOT / "docs/archive.md").read_text(encoding="utf-8").replace("](", "](docs/")
    assert f"]({name}" in linked
