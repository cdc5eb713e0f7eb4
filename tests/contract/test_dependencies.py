"""pyproject.toml declares everything that the package imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import prefect_monitoring

PACKAGE = Path(prefect_monitoring.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normalised(requirement: str) -> str:
    """The name of a distribution as the index compares it (PEP 503), without version and extras."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def imported(code: str) -> Iterator[str]:
    """Top-level names of the imported modules, including imports within functions."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def third_party() -> dict[str, set[str]]:
    """Top-level names from other distributions, and the files that import them."""
    importers: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path.read_text(encoding="utf-8")):
            if name not in sys.stdlib_module_names and name != PACKAGE.name:
                importers.setdefault(name, set()).add(str(path.relative_to(PACKAGE)))
    return importers


def test_everything_imported_is_declared() -> None:
    extras = {name: requirements for name, requirements in PROJECT["optional-dependencies"].items() if name != "dev"}
    declared = {normalised(requirement) for requirement in chain(PROJECT["dependencies"], *extras.values())}
    providers = packages_distributions()
    names = third_party()
    assert {"prefect", "rich", "yaml"} <= names.keys(), "the search finds known imports"
    undeclared = {
        name: sorted(files)
        for name, files in names.items()
        if declared.isdisjoint(normalised(provider) for provider in providers.get(name, ()))
    }
    assert undeclared == {}


def test_imports_within_functions_are_found() -> None:
    code = "import a.b as c, d\nfrom e.f import g\nfrom . import h\ndef late():\n    import i.j\n"
    assert set(imported(code)) == {"a", "d", "e", "i"}
