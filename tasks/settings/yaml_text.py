"""YAML whose text is what stands in the file: for people who write 5, yes or 2026-01-01 where a key holds text."""

import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

MOST_LEVELS = 50


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice and endless nesting; numbers are decimal, 1e-3 is one, and dates stay as they stand.

    What YAML 1.1 makes of 010, 0x10, 1_000 and 1:30 is 8, 16, 1000 and 90: here they are text, and so no numbers.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self.depth += 1
        if self.depth > MOST_LEVELS:
            said = f"lists and keys are nested deeper than {MOST_LEVELS} levels"
            raise yaml.composer.ComposerError(None, None, said, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [name.value for name, _ in node.value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


TAG = "tag:yaml.org,2002:"
IMPLICIT = {f"{TAG}{name}" for name in ("bool", "int", "float", "null", "timestamp")}
OWN = {f"{TAG}{name}" for name in ("timestamp", "int", "float")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in OWN]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for name, pattern in (
    ("int", r"[-+]?(0|[1-9]\d*)"),
    ("float", r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
):
    _Loader.add_implicit_resolver(f"{TAG}{name}", re.compile(f"^({pattern})$"), list("-+.0123456789"))


def load_yaml(text: str, model: type[BaseModel]) -> Any:
    """What the YAML says. Where a key of the model holds text, that is the text as it is written: 5 is "5"."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return node and loader.construct_document(_as_written(node, model))
    finally:
        loader.dispose()


def _as_written(node: yaml.Node, kind: Any) -> yaml.Node:
    """The node with every scalar in it marked as text where `kind`, the type of a key, says so."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    of_form = {get_origin(one) or one: get_args(one) for one in kinds}
    if isinstance(node, yaml.ScalarNode):
        is_null = node.tag == f"{TAG}null" and (type(None) in kinds or not node.value)
        is_text = (str in of_form or Literal in of_form) and node.tag in IMPLICIT and not is_null
        return yaml.ScalarNode(f"{TAG}str", node.value, node.start_mark) if is_text else node
    if isinstance(node, yaml.SequenceNode) and list in of_form:
        values = [_as_written(one, *of_form[list]) for one in node.value]
        return yaml.SequenceNode(node.tag, values, node.start_mark)
    section = section_of(kind)
    if isinstance(node, yaml.MappingNode) and (section or dict in of_form):
        pairs = [_pair_as_written(*pair, kind, section, of_form.get(dict)) for pair in node.value]
        return yaml.MappingNode(node.tag, pairs, node.start_mark)
    return node


def _pair_as_written(
    key: yaml.Node, value: yaml.Node, kind: Any, section: type[BaseModel] | None, parts: tuple | None
) -> tuple[yaml.Node, yaml.Node]:
    """A key and its value in a section, or in a mapping of `parts`, the types of its keys and values."""
    if key.tag == f"{TAG}merge":  # "<<": another mapping of the same kind, or several
        return key, _as_written(value, list[kind] if isinstance(value, yaml.SequenceNode) else kind)
    if section is None:
        return _as_written(key, parts[0]), _as_written(value, parts[1])
    field = section.model_fields.get(key.value) if isinstance(key, yaml.ScalarNode) else None
    return key, _as_written(value, field.annotation) if field else value


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, optional or not; None for a plain value."""
    parts = () if get_origin(annotation) is list else get_args(annotation)
    found = [kind for kind in (annotation, *parts) if isinstance(kind, type)]
    return next((kind for kind in found if issubclass(kind, BaseModel)), None)
