"""YAML whose every value knows its line, so that a fault can name it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml


@dataclass(frozen=True, slots=True)
class YamlFault:
    """What is wrong with a file, and in which line, counted from 1."""

    line: int
    text: str


class NotYamlError(Exception):
    """The file cannot be read as YAML."""

    def __init__(self, *faults: YamlFault) -> None:
        super().__init__(*faults)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file, and where in it each value stands. `content` is None for an empty one."""

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
    """The document in `text`. Raises NotYamlError, also for a key that is given twice: one of them would be lost."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Document(None, None)
        if faults := tuple(_repeated_keys(root, set())):
            raise NotYamlError(*faults)
        return Document(loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotYamlError(YamlFault(mark.line + 1 if mark else 1, f"is not YAML: {error.problem}")) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotYamlError(YamlFault(1, f"is not YAML: {' '.join(str(error).split())}")) from None
    finally:
        loader.dispose()


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


def _repeated_keys(node: yaml.Node, seen: set[int]) -> Iterator[YamlFault]:
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            if key.value in first:
                yield YamlFault(line, f"`{key.value}` is given twice, first in line {first[key.value]}")
            first.setdefault(key.value, line)
        yield from _repeated_keys(value, seen)
