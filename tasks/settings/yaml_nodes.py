"""The nodes of a YAML document, each with its line: what ruamel.yaml's parser finds, without a meaning yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

MAX_LEVELS = 50
TEXT_TAG = "tag:yaml.org,2002:str"


class YamlError(ValueError):
    """What cannot be read as YAML, and its line, counted from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Scalar:
    text: str
    is_plain: bool  # without quotes
    line: int


@dataclass(frozen=True)
class Sequence:
    items: "list[Node]"
    line: int


@dataclass(frozen=True)
class Mapping:
    pairs: "list[tuple[Scalar, Node]]"
    line: int


Node = Scalar | Sequence | Mapping


def compose(text: str) -> Node | None:
    """The root of the one document in a text; None where there is none. Raises YamlError."""
    try:
        return _Composer(text).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ": ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(message, mark.line + 1 if mark else 1) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"the character {chr(error.character)!r} is not allowed", line) from None


def require_level(level: int, line: int) -> None:
    """Raises YamlError where Python's own stack might not be deep enough."""
    if level > MAX_LEVELS:
        raise YamlError(f"lists and keys are nested deeper than {MAX_LEVELS} levels", line)


class _Composer:
    """Reads the parser's events. An alias becomes the node that it names."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
        self.anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        next(self.events)  # the stream starts
        if isinstance(next(self.events), StreamEndEvent):
            return None
        root = self._node(next(self.events), 1)
        next(self.events)  # the document ends
        if not isinstance(event := next(self.events), StreamEndEvent):
            raise YamlError("a second document begins; there must be one", _line(event))
        return root

    def _node(self, event: Any, level: int) -> Node:
        require_level(level, _line(event))
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise YamlError(f"there is no anchor {event.anchor!r} before this alias", _line(event))
            return self.anchors[event.anchor]
        if event.tag not in (None, TEXT_TAG):
            raise YamlError(f"the tag {event.tag!r} is not allowed", _line(event))
        node: Node
        if isinstance(event, ScalarEvent):
            node = Scalar(event.value, event.tag is None and event.implicit[0], _line(event))
        elif isinstance(event, MappingStartEvent):
            node = Mapping(list(self._pairs(level)), _line(event))
        else:
            node = Sequence(list(self._nodes(SequenceEndEvent, level)), _line(event))
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _nodes(self, end: type, level: int) -> Iterator[Node]:
        while not isinstance(event := next(self.events), end):
            yield self._node(event, level + 1)

    def _pairs(self, level: int) -> Iterator[tuple[Scalar, Node]]:
        names = set()
        for name in (nodes := self._nodes(MappingEndEvent, level)):
            if not isinstance(name, Scalar):
                message = "a list or mapping cannot be a key; text that begins with { or [ needs quotes"
                raise YamlError(message, name.line)
            if name.text in names:
                raise YamlError(f"the key {name.text!r} is given twice", name.line)
            names.add(name.text)
            yield name, next(nodes)


def _line(event: Any) -> int:
    return event.start_mark.line + 1
