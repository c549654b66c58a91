"""YAML whose text is what stands in the file: for people who write 5, yes or 2026-01-01 where a key holds text.

What a node means is decided here, by the types of the keys. Numbers are decimal: 010, 0x10, 1_000 and 1:30 are text,
and so are dates.
"""

import io
import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from tasks.settings.section import Section, section_of
from tasks.settings.yaml_nodes import TEXT_TAG, Mapping, Node, Scalar, Sequence, YamlError, compose, require_level

MAX_VALUES = 100_000  # a few aliases of aliases can stand for any number of values
NULL = re.compile("|~|null|Null|NULL")
TRUE = re.compile("yes|Yes|YES|true|True|TRUE|on|On|ON")
FALSE = re.compile("no|No|NO|false|False|FALSE|off|Off|OFF")
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
SIMPLE = re.compile(r"\w([\w ./*-]*[\w./*-])?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

KeyPath = tuple[str | int, ...]  # the keys and positions that lead to a value, such as ("source", "events", 0)


def load_yaml(text: str, model: type[Section]) -> tuple[Any, dict[KeyPath, int]]:
    """What the YAML says, and the line of each value. Where a key of the model holds text, 5 is "5".

    Raises YamlError.
    """
    root, reading = compose(text), _Reading()
    return (None if root is None else reading.value(root, model, ())), reading.lines


def dump_yaml(value: Any, *, in_one_line: bool = False) -> str:
    """The value as YAML, its keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = in_one_line
    yaml.width = 2**31 if in_one_line else 80
    yaml.representer.sort_base_mapping_type_on_output = False
    yaml.dump(value, stream := io.StringIO())
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Quotes all but simple text: the emitter alone writes :a in a list, and a NEL, without quotes."""

    def represent_str(self, data: str) -> Any:
        return self.represent_scalar(TEXT_TAG, data, style=None if SIMPLE.fullmatch(data) else '"')


_Representer.add_representer(str, _Representer.represent_str)


class _Reading:
    """The values of nodes, by the type `kind` that the keys expect, and their lines."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.n_values = 0

    def value(self, node: Node, kind: Any, path: KeyPath) -> Any:
        require_level(len(path), node.line)
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise YamlError(f"there are more than {MAX_VALUES:,} values, counting those of aliases", node.line)
        forms = _forms(kind)
        if isinstance(node, Scalar):
            return _plain_value(node, forms) if node.is_plain else node.text
        if isinstance(node, Sequence):
            (inner,) = forms.get(list) or (Any,)
            return [self._at((*path, place), item.line, item, inner) for place, item in enumerate(node.items)]
        return self._mapping(node, kind, path)

    def _mapping(self, node: Mapping, kind: Any, path: KeyPath) -> dict:
        found: dict = {}
        for name, value in node.pairs:
            if _is_merge(name):
                for one in reversed(_merged(value)):
                    found |= self.value(one, kind, path)
        for name, value in node.pairs:
            if not _is_merge(name):
                key, inner = self._key(name, kind, path)
                found[key] = self._at((*path, key), name.line, value, inner)
        return found

    def _key(self, name: Scalar, kind: Any, path: KeyPath) -> tuple[Any, Any]:
        """A key of a mapping of that kind, and the type of its value."""
        section = section_of(kind)
        if section is None:
            of_keys, of_values = _forms(kind).get(dict) or (Any, Any)
            return self.value(name, of_keys, path), of_values
        field = section.model_fields.get(name.text)
        return name.text, field.annotation if field else Any

    def _at(self, path: KeyPath, line: int, node: Node, kind: Any) -> Any:
        self.lines[path] = line
        return self.value(node, kind, path)


def _is_merge(name: Scalar) -> bool:
    return name.is_plain and name.text == "<<"


def _merged(node: Node) -> list[Mapping]:
    """The mappings that the key << names; of a key in several of them, the first counts."""
    nodes = node.items if isinstance(node, Sequence) else [node]
    mappings = [one for one in nodes if isinstance(one, Mapping)]
    if len(mappings) < len(nodes):
        raise YamlError("<< takes a mapping or a list of mappings", node.line)
    return mappings


def _forms(kind: Any) -> dict[Any, tuple]:
    """What a key may hold, each with the types of its parts, such as {str: (), list: (str,)}."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return {get_origin(one) or one: get_args(one) for one in kinds}


def _plain_value(node: Scalar, forms: dict[Any, tuple]) -> Any:
    """The value of a scalar without quotes."""
    text, holds_text = node.text, str in forms or Literal in forms
    if NULL.fullmatch(text) and (type(None) in forms or not text or not holds_text):
        return None
    if holds_text:
        return text
    if TRUE.fullmatch(text) or FALSE.fullmatch(text):
        return TRUE.fullmatch(text) is not None
    try:
        if INTEGER.fullmatch(text):
            return int(text)
    except ValueError as error:  # more digits than Python converts
        raise YamlError(str(error), node.line) from None
    if FLOAT.fullmatch(text):
        return float(text)
    if NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
