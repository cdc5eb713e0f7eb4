"""METRIC lines as people write them: valid pairs are read, and a faulty pair costs only itself."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_monitoring.analysis.metric_lines import (
    MAX_LABEL_VALUE,
    MAX_LABELS,
    RESERVED_LABELS,
    Observation,
    Parsed,
    Reason,
    parse,
)

MALFORMED, NAME, LABEL, NON_FINITE = Reason.MALFORMED, Reason.NAME, Reason.LABEL, Reason.NON_FINITE


def observation(name: str, value: float, **labels: str) -> Observation:
    return Observation(name, tuple(sorted(labels.items())), value)


READ = {
    # Where a line begins
    "METRIC: rows=5": [observation("rows", 5)],
    "METRIC:rows=5": [observation("rows", 5)],
    " \t METRIC: rows=5": [observation("rows", 5)],
    "Loaded.\nMETRIC: a=1\nDone.\r\nMETRIC: b=2\r\n": [observation("a", 1), observation("b", 2)],
    "40%\rMETRIC: a=1": [observation("a", 1)],
    "\n\n  METRIC: a=1\n\n": [observation("a", 1)],
    "": [],
    "rows=5": [],
    "metric: rows=5": [],
    "METRIC rows=5": [],
    "METRICS: rows=5": [],
    "Done. METRIC: rows=5": [observation("rows", 5)],
    "Done.METRIC: rows=5": [],
    'Traceback:\n  File "flow.py", line 3\n    logger.info("METRIC: rows=5")': [],
    # Separators between pairs
    "METRIC: a=1 b=2": [observation("a", 1), observation("b", 2)],
    "METRIC: a=1,b=2;c=3, d=4 ; e=5": [
        observation("a", 1),
        observation("b", 2),
        observation("c", 3),
        observation("d", 4),
        observation("e", 5),
    ],
    "METRIC: ,; a=1;;": [observation("a", 1)],
    "METRIC: a = 1 b= 2 c =3": [observation("a", 1), observation("b", 2), observation("c", 3)],
    "METRIC: a=1\u00a0b=2\tc=3": [observation("a", 1), observation("b", 2), observation("c", 3)],
    "METRIC: a=1 a=2": [observation("a", 1), observation("a", 2)],
    # Values
    "METRIC: a=-1.5 b=+2 c=1e3 d=2.5E-1": [
        observation("a", -1.5),
        observation("b", 2),
        observation("c", 1000),
        observation("d", 0.25),
    ],
    "METRIC: a=1_000_000 b=.5 c=5.": [observation("a", 1_000_000), observation("b", 0.5), observation("c", 5)],
    "METRIC: a=1. b=2.5. c=3...": [observation("a", 1), observation("b", 2.5), observation("c", 3)],
    "METRIC: a=1e-999": [observation("a", 0)],
    "METRIC: rows=5,": [observation("rows", 5)],
    "METRIC: rows=5;": [observation("rows", 5)],
    # Names
    "METRIC: _a=1 A9=2 le=3": [observation("_a", 1), observation("A9", 2), observation("le", 3)],
    f"METRIC: {'n' * 100}=1": [observation("n" * 100, 1)],
    # Labels
    'METRIC: rows{table="orders"}=5': [observation("rows", 5, table="orders")],
    'METRIC: rows{z="1",a="2"}=5': [observation("rows", 5, a="2", z="1")],
    'METRIC: rows { a = "1" , b = "2" , } = 5': [observation("rows", 5, a="1", b="2")],
    "METRIC: rows{}=5 rows{ }=6": [observation("rows", 5), observation("rows", 6)],
    'METRIC: rows{a="1"}=5,rows{a="2"}=6': [observation("rows", 5, a="1"), observation("rows", 6, a="2")],
    'METRIC: rows{a="",b="1"}=5': [observation("rows", 5, b="1")],
    r'METRIC: rows{a="x\\y\"z\n"}=5': [observation("rows", 5, a='x\\y"z\n')],
    'METRIC: rows{a="{} , ; b=1 c{d=2}=3 #"}=5': [observation("rows", 5, a="{} , ; b=1 c{d=2}=3 #")],
    'METRIC: rows{a="größe \u2028 \u0661"}=5': [observation("rows", 5, a="größe \u2028 \u0661")],
    f'METRIC: rows{{a="{"x" * MAX_LABEL_VALUE}"}}=5': [observation("rows", 5, a="x" * MAX_LABEL_VALUE)],
    'METRIC: rows{a="1",b="2",c="3",d="4",e="5",f=""}=5': [observation("rows", 5, a="1", b="2", c="3", d="4", e="5")],
    'METRIC: rows{_a="1",Flow="2",job_name="3",exported="4"}=5': [
        observation("rows", 5, _a="1", Flow="2", job_name="3", exported="4")
    ],
}


@pytest.mark.parametrize(("message", "expected"), READ.items(), ids=map(repr, READ))
def test_valid_lines_are_read(message: str, expected: list[Observation]) -> None:
    assert parse(message) == Parsed(tuple(expected), ())


# Each is rejected as one piece, for its first fault from the left, up to the next white space.
FAULTY = {
    # Values
    "b=oops": MALFORMED,
    "b=12s": MALFORMED,
    "b=0x1f": MALFORMED,
    "b=1__0": MALFORMED,
    "b=_1": MALFORMED,
    "b=.": MALFORMED,
    "b=": MALFORMED,
    "b==1": MALFORMED,
    "b=1=2": MALFORMED,
    "b=\u0661": MALFORMED,
    "b=5%": MALFORMED,
    'b="1"': MALFORMED,
    'b="1': MALFORMED,
    "b=5'6\"": MALFORMED,
    "b={}": MALFORMED,
    "b=1{}": MALFORMED,
    "b=None": MALFORMED,
    "b=nan": NON_FINITE,
    "b=-NaN": NON_FINITE,
    "b=inf": NON_FINITE,
    "b=-Infinity": NON_FINITE,
    "b=1e999": NON_FINITE,
    f"b={'9' * 400}": NON_FINITE,
    # Names
    "rows": MALFORMED,
    "}": MALFORMED,
    '"': MALFORMED,
    "\x00": MALFORMED,
    "\ud800": MALFORMED,
    "rows-extracted=5": NAME,
    "9rows=1": NAME,
    "größe=1": NAME,
    "etl:rows=1": NAME,
    "rows\x00=1": NAME,
    "=1": NAME,
    '{x="1"}=1': NAME,
    f"{'n' * 101}=1": NAME,
    "rows-extracted=oops": NAME,
    # Labels
    'b{a="1"}': MALFORMED,
    'b{a="1"}5': MALFORMED,
    'b{a="1"}x=5': MALFORMED,
    "b{a}=1": MALFORMED,
    "b{a=1}=1": MALFORMED,
    "b{a=1,c=2,d=3}=1": MALFORMED,
    "b{a='1'}=1": MALFORMED,
    'b{a:"1"}=1': MALFORMED,
    'b{"1"}=1': MALFORMED,
    "b{,}=1": MALFORMED,
    'b{a="1",,c="2"}=1': MALFORMED,
    'b{a="1" c="2"}=1': MALFORMED,
    'b{a="1" c=2 d="e=3 f"}=1': MALFORMED,
    'b{a="1"c="2"}=1': MALFORMED,
    r'b{a="C:\temp"}=1': MALFORMED,
    'b{a="1"}=oops': MALFORMED,
    'b{a="1"}=nan': NON_FINITE,
    'b{a="1",a="1"}=1': LABEL,
    'b{a="",a="1"}=1': LABEL,
    'b{ä="1"}=1': LABEL,
    'b{a-b="1"}=1': LABEL,
    'b{9="1"}=1': LABEL,
    'b{__name__="1"}=1': LABEL,
    'b{exported_job="1"}=1': LABEL,
    f'b{{{"n" * 101}="1"}}=1': LABEL,
    f'b{{a="{"x" * (MAX_LABEL_VALUE + 1)}"}}=1': LABEL,
    'b{a="\x00"}=1': LABEL,
    'b{a="\ud800"}=1': LABEL,
    'b{a="1",c="2",d="3",e="4",f="5",g="6"}=1': LABEL,
    'b{flow=""}=1': LABEL,
    'b{job="1"}=oops': LABEL,
} | {f'b{{{name}="1"}}=1': LABEL for name in sorted(RESERVED_LABELS)}


@pytest.mark.parametrize(("piece", "reason"), FAULTY.items(), ids=map(repr, FAULTY))
def test_faulty_pair_leaves_its_neighbours_intact(piece: str, reason: Reason) -> None:
    assert parse(f"METRIC: {piece}") == Parsed((), (reason,))
    expected = Parsed((observation("x", 1), observation("y", 2, k="v")), (reason,))
    assert parse(f'METRIC: x=1 {piece} y{{k="v"}}=2') == expected
    assert parse(f'METRIC: x=1, {piece}, y{{k="v"}}=2') == expected


SORTED_OUT: dict[str, tuple[list[Observation], list[Reason]]] = {
    "METRIC:": ([], [MALFORMED]),
    "METRIC: \nMETRIC: ,;": ([], [MALFORMED, MALFORMED]),
    "METRIC: a=1 b=oops c=3": ([observation("a", 1), observation("c", 3)], [MALFORMED]),
    # A comma always separates, in the middle of a number too.
    "METRIC: rows=1,234": ([observation("rows", 1)], [MALFORMED]),
    "METRIC: loaded rows = 5 of 7": ([observation("rows", 5)], [MALFORMED, MALFORMED, MALFORMED]),
    "METRIC: a= b=2": ([observation("b", 2)], [MALFORMED]),
    "METRIC: a = b = 2": ([observation("b", 2)], [MALFORMED]),
    'METRIC: a= b{x="1"}=2': ([observation("b", 2, x="1")], [MALFORMED]),
    "METRIC: a=,b=2": ([observation("b", 2)], [MALFORMED]),
    "METRIC: a= 1 =2": ([observation("a", 1)], [NAME]),
    "METRIC: METRIC: a=1": ([observation("a", 1)], [MALFORMED]),
    # Outside braces a quote is a character like any other.
    'METRIC: a=1 note="b=2 c=3': ([observation("a", 1), observation("c", 3)], [MALFORMED]),
    # A brace is missing: the next pair starts after the last quoted value.
    "METRIC: a=1 b{ c=3": ([observation("a", 1), observation("c", 3)], [MALFORMED]),
    "METRIC: a=1 b{x=1 c=3": ([observation("a", 1), observation("c", 3)], [MALFORMED]),
    'METRIC: a=1 b{x="1"=2 c=3': ([observation("a", 1), observation("c", 3)], [MALFORMED]),
    'METRIC: b{x="1", y="2 a=9" c=3': ([observation("c", 3)], [MALFORMED]),
    'METRIC: b{x="1" c{y="2"}=3': ([observation("c", 3, y="2")], [MALFORMED]),
    'METRIC: b{x="1" c{y="2" d{z="3"}=4': ([observation("d", 4, z="3")], [MALFORMED, MALFORMED]),
    'METRIC: b{{x="1 a=9"}}=2 c=3': ([observation("c", 3)], [MALFORMED, MALFORMED]),
    "METRIC: b}=2 c=3": ([observation("c", 3)], [NAME]),
    # A quote is missing: the following pair cannot be distinguished from quoted text.
    'METRIC: a=1 b{x="1=2 c=3': ([observation("a", 1)], [MALFORMED]),
    'METRIC: a=1 b{x="1}=2 c=3\nMETRIC: d=4': ([observation("a", 1), observation("d", 4)], [MALFORMED]),
    'METRIC: a=1 b{x="1\\': ([observation("a", 1)], [MALFORMED]),
    'METRIC: a=1 b{x="1\n2"}=3': ([observation("a", 1)], [MALFORMED]),
}


@pytest.mark.parametrize(("message", "expected"), SORTED_OUT.items(), ids=map(repr, SORTED_OUT))
def test_mixed_line_yields_valid_pairs_and_reject_reasons(
    message: str, expected: tuple[list[Observation], list[Reason]]
) -> None:
    observations, rejected = expected
    assert parse(message) == Parsed(tuple(observations), tuple(rejected))


MANY = 150_000
LONG = {
    "a=1 ": (MANY, 0),
    "a=b=": (0, 1),
    "a = ": (0, MANY),
    "a=": (0, 1),
    "a ": (0, MANY),
    "=": (0, 1),
    "9": (0, 1),
    " ": (0, 1),
    "b{": (0, MANY),
    "b{ ": (0, MANY),
    "b{}": (0, MANY),
    '"': (0, 1),
    'b{"': (0, MANY // 2),
    'b{!\\" ': (0, 1),
    'b{x="1" ': (0, MANY),
    'b{x="1"}=2 ': (MANY, 0),
    'b{x=" ,': (0, MANY // 2),
    "\\": (0, 1),
    "1_": (0, 1),
    ".": (0, 1),
}


@pytest.mark.parametrize(("unit", "counts"), LONG.items(), ids=map(repr, LONG))
@pytest.mark.slow
def test_long_line_is_parsed_completely(unit: str, counts: tuple[int, int]) -> None:
    """Anything slower than linear time would take minutes here."""
    parsed = parse("METRIC: " + unit * MANY)
    assert (len(parsed.observations), len(parsed.rejected)) == counts


@pytest.mark.parametrize("unit", ["\n", " ", "\r\n", "METRIC", " METRIC:\n"])
def test_long_message_is_parsed_completely(unit: str) -> None:
    expected = Parsed((observation("a", 1),), (MALFORMED,) * (MANY * unit.count("METRIC:")))
    assert parse(unit * MANY + "\nMETRIC: a=1") == expected


names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True)
label_names = names.filter(lambda name: name not in RESERVED_LABELS and not name.startswith(("__", "exported_")))
label_values = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r") | st.sampled_from('{}",;= \\\n'), min_size=1, max_size=30
)
observations = st.builds(
    Observation,
    names,
    st.dictionaries(label_names, label_values, max_size=MAX_LABELS).map(lambda labels: tuple(sorted(labels.items()))),
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15).map(float),
)
spaces = st.text(" \t", max_size=2)
separators = st.tuples(spaces, st.sampled_from([" ", ",", ";", ", ", " ; ", "\t", ",,"]), spaces).map("".join)


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@st.composite
def written(draw: st.DrawFn, observation: Observation) -> str:
    """The ways to write `observation`."""

    def sp() -> str:
        return draw(spaces)

    order = draw(st.permutations(observation.labels))
    labels = [f'{sp()}{name}{sp()}={sp()}"{escaped(text)}"{sp()}' for name, text in order]
    comma = draw(st.sampled_from(["", ","])) if labels else ""
    braces = f"{sp()}{{{','.join(labels)}{comma}{sp()}}}" if bool(labels) or draw(st.booleans()) else ""
    return f"{observation.name}{braces}{sp()}={sp()}{observation.value!r}"


@given(data=st.data(), pairs=st.lists(observations, min_size=1, max_size=6))
def test_written_observations_are_parsed_back(data: st.DataObject, pairs: list[Observation]) -> None:
    line = "METRIC:" + "".join(data.draw(separators) + data.draw(written(pair)) for pair in pairs)
    assert parse(line + data.draw(st.just("") | separators)) == Parsed(tuple(pairs), ())


# White space before an equals sign or a brace, and behind an equals sign, keeps a piece together.
APART = [piece for piece in FAULTY if not piece.startswith(("=", "{")) and not piece.endswith("=")]


@given(data=st.data(), pair=observations, before=st.lists(st.sampled_from(APART)), after=st.text())
def test_valid_pair_is_parsed_whatever_surrounds_it(
    data: st.DataObject, pair: Observation, before: list[str], after: str
) -> None:
    """Neither the text after a pair nor closed pieces before it affect the pair."""
    parsed = parse(" ".join(["METRIC:", *before, data.draw(written(pair)), after]))
    assert parsed.observations[:1] == (pair,)
    assert parsed.rejected[: len(before)] == tuple(FAULTY[piece] for piece in before)


fragments = st.lists(
    st.sampled_from(["METRIC:", "a", "b1", "=", "{", "}", '"', "\\", ",", ";", " ", "\n", "\r", "1", ".", "nan", "ü"])
    | st.text(max_size=3)
    | st.characters()
).map("".join)


@given(fragments | st.text())
@example('a{a="1"}=1 a{="}')
def test_any_text_is_parsed_without_error(text: str) -> None:
    parsed = parse("METRIC:" + text)
    assert parsed.observations or parsed.rejected
    for observation in parsed.observations:
        labels = dict(observation.labels)
        assert math.isfinite(observation.value)
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}", observation.name)
        assert observation.labels == tuple(sorted(labels.items()))
        assert len(labels) <= MAX_LABELS
        for name, value in labels.items():
            assert re.fullmatch(r"(?!__|exported_)[a-zA-Z_][a-zA-Z0-9_]*", name)
            assert name not in RESERVED_LABELS
            assert 0 < len(value) <= MAX_LABEL_VALUE
            assert value.encode()
