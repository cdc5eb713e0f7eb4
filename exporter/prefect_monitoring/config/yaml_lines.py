"""YAML with the line number of every value, so that a fault can name it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml


@dataclass(frozen=True, slots=True)
class YamlFault:
    """What is wrong with a file, and in which line, counted from 1; `key` is the repeated key, if that is the fault."""

    line: int
    text: str
    key: str = ""


class NotYamlError(Exception):
    """The file cannot be read as YAML."""

    def __init__(self, *faults: YamlFault) -> None:
        super().__init__(*faults)
        self.faults = faults


class RepeatedKeyError(NotYamlError):
    """A key is given twice: one of them would be lost."""


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file, and the line of each value. `content` is None for an empty file."""

    content: object
    root: yaml.Node | None

    def line_of(self, path: Sequence[object]) -> int:
        """The line of the value at `path` (keys and list indices), or of the last part of it that is there."""
        node, line = self.root, 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            node, line = found
        return line


def read_yaml(text: str) -> Document:
    """The document in `text`. Raises NotYamlError, and RepeatedKeyError with all such keys."""
    root: yaml.Node | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return Document(None, None)
        if faults := tuple(_repeated_keys(root)):
            raise RepeatedKeyError(*faults)
        return Document(loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotYamlError(YamlFault(mark.line + 1 if mark else 1, f"is not YAML: {error.problem}")) from None
    except yaml.reader.ReaderError as error:
        raise NotYamlError(YamlFault(text.count("\n", 0, error.position) + 1, f"is not YAML: {error.reason}")) from None
    except (ValueError, RecursionError) as error:
        line = _unreadable_line(root) if root else 1
        raise NotYamlError(YamlFault(line, f"is not YAML: {' '.join(str(error).split())}")) from None


def _child(node: yaml.Node | None, step: object) -> tuple[yaml.Node, int] | None:
    """The node one step below, and the line to name: that of the key, in a mapping."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item, item.start_mark.line + 1
    return None


def _repeated_keys(root: yaml.Node) -> Iterator[YamlFault]:
    for node in _nodes(root):
        first: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first:
                    text = f"`{key.value}` is given twice, first in line {first[key.value]}"
                    yield YamlFault(line, text, key.value)
                first.setdefault(key.value, line)


def _unreadable_line(root: yaml.Node) -> int:
    """The line of the first value that cannot be what it looks like, such as 2024-99-99; 1 when there is none."""
    for node in _nodes(root):
        if isinstance(node, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_object(node)
            except ValueError:
                return int(node.start_mark.line) + 1
    return 1


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node once, in the order of the file."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting += [part for key_and_value in reversed(node.value) for part in reversed(key_and_value)]
