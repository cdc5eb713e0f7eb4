"""The command line: readable help and one-line errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from prefect_monitoring.cli import COMMANDS, main
from prefect_monitoring.cli.parser import FAULT
from prefect_monitoring.config.settings import GROUPS, default_of, flag_name, notation_of

SECRET = "Sesam-0451"
WITH_OPTIONS = sorted(COMMANDS.keys() - {"demo"})


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == FAULT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prefect-monitoring")
    return line


@pytest.mark.parametrize("columns", ["100", "300"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_into_100_columns(
    command: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = help_of(capsys, command).splitlines()
    assert len(lines) > 5
    assert [line for line in lines if len(line) > 100] == []
    assert lines[0].startswith(f"usage: prefect-monitoring {command} ")


@pytest.mark.parametrize("command", WITH_OPTIONS)
def test_help_lists_every_option_in_its_group(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, command)
    titles = [str(group.model_config["title"]) for group in GROUPS.values()]
    places = [text.index(f"\n{title}:\n") for title in titles] + [len(text)]
    for group, begin, end in zip(GROUPS.values(), places[:-1], places[1:], strict=True):
        section = " ".join(text[begin:end].split())
        assert group.__doc__ in section
        for option in group.model_fields:
            shown = f" {flag_name(option)} {notation_of(option).metavar} "
            assert (shown in section) == notation_of(option).has_flag
            if notation_of(option).has_flag and default_of(option):
                assert f"(default: {default_of(option)})" in section


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of(capsys).split())
    assert all(f" {name} {command.help}" in text for name, command in COMMANDS.items())


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
@pytest.mark.slow
def test_help_imports_only_what_it_needs(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom prefect_monitoring.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit: pass\n"
        "sys.exit(str(sys.modules.keys() & {'prefect', 'sqlalchemy', 'starlette', 'uvicorn', 'pydantic_settings'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
    assert "usage: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "prefect-monitoring: the following arguments are required: COMMAND"),
        (["backfill"], "prefect-monitoring backfill: the following arguments are required: --output"),
        (["serve", "--poll-interval"], "serve: argument --poll-interval: expected one argument"),
        (["serve", "--birth-hould", "3s"], "serve: there is no --birth-hould; did you mean --birth-hold?"),
        (["backfill", "--output", "x", "--sinze=3d"], "backfill: there is no --sinze; did you mean --since?"),
        (["check", "--quux", "--max-pair=3"], "check: there is no --quux, there is no --max-pair; did you mean"),
    ],
)
def test_invalid_arguments_are_a_one_line_error(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaint in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", SECRET],
        ["serve", "--auth-tokn", SECRET],
        ["serve", f"--auth-tokn={SECRET}"],
        ["--auth-token", SECRET, "serve"],
        [SECRET],
    ],
    ids=" ".join,
)
def test_error_does_not_repeat_the_value(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert SECRET not in refusal(capsys, *arguments)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"demo", "backfill"}))
def test_ledger_url_with_a_password_is_refused_without_showing_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["plan"] if command in {"automations", "cloudwatch"} else []
    assert main([command, *needed, "--ledger-url", f"postgresql://me:{SECRET}@db/ledger"]) in {1, FAULT}
    output = "".join(capsys.readouterr())
    assert "--ledger-url: every user of the machine can read a command line" in output
    assert "--ledger-url-file" in output
    assert SECRET not in output
