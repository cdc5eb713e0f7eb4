"""What only one database understands is in one module; the rest says the same to every database."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from prefect_monitoring import ledger

MODULES = sorted(Path(ledger.__file__).parent.glob("*.py"))
NEUTRAL = [module for module in MODULES if module.stem != "sqlite"]


def test_there_are_modules_to_look_at() -> None:
    assert {"ledger", "opening", "run_stats", "schema", "sql"} < {module.stem for module in NEUTRAL}


@pytest.mark.parametrize("module", NEUTRAL, ids=lambda module: module.stem)
def test_only_one_module_speaks_to_sqlite_alone(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (getattr(node, "module", None) or "", *(alias.name for alias in node.names))
    }
    assert not names & {"exec_driver_sql", "total", "text", "literal_column"}, "text in SQL of one database"
    assert not {name for name in imported if name.startswith(("sqlite3", "sqlalchemy.dialects", "filelock"))}
    assert "PRAGMA" not in module.read_text(encoding="utf-8")
