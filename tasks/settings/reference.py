"""Every key of the configuration: `python -m tasks.settings.reference` prints docs/configuration.md."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from tasks.settings.config import Config
from tasks.settings.section import SIZES, Section, section_of, size_text

HEADER = """\
# Configuration

One YAML file, checked before anything runs: an unknown key, a wrong type or an impossible value is an error with the
line, the key, the value and what is allowed. Every key has a default, so a file names only what differs from it.
`config/template.yaml` is a file to start from, and `elsa init FILES…` fills it in from the columns of your files.

Where a key holds text, its value is the text as written, also without quotes: `1970-01-01`, `yes` and `5` are text
there. Numbers are decimal. A size is a number with a unit, such as `500MB` or `0.5 GiB`.

This page is generated from `tasks/settings/`: `make docs` writes it. `elsa config` prints the same list.
"""
KINDS = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
    "null": "null",
}
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Key(NamedTuple):
    path: str
    default: str
    unit: str
    range: str
    description: str


class Part(NamedTuple):
    """A section's own keys; those of the sections within it are parts of their own."""

    path: str
    description: str
    keys: list[Key]


def reference() -> list[Key]:
    """Every key, in the order of the file's sections."""
    return [key for part in parts() for key in part.keys]


def parts(section: type[Section] = Config, path: str = "", description: str = "") -> Iterator[Part]:
    """The section and those within it, outermost first."""
    prefix = f"{path}." if path else ""
    keys, inner = [], []
    for name, field in section.model_fields.items():
        below = section_of(field.annotation)
        if name == "scoring_policy":
            keys.append(Key(prefix + name, "null", "", "like embedding_policy", field.description or ""))
        elif below is not None:
            inner.append((below, prefix + name, field.description or ""))
        else:
            keys.append(_key(section, name, prefix + name, field))
    if keys:
        yield Part(path, description, keys)
    for one in inner:
        yield from parts(*one)


def markdown() -> str:
    """docs/configuration.md."""
    texts = [HEADER]
    for path, description, keys in parts():
        rows = [("Key", "Default", "Unit", "Range", "Meaning"), ("---",) * 5]
        for key in keys:
            name = key.path.removeprefix(f"{path}.")
            rows.append((f"`{name}`", f"`{key.default}`", key.unit, key.range.replace("|", "\\|"), key.description))
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        texts.append(
            f"## {f'`{path}`' if path else 'Top level'}\n\n{description}\n\n{table}\n".replace("\n\n\n\n", "\n\n")
        )
    return "\n".join(texts)


def _key(section: type[Section], name: str, path: str, field: FieldInfo) -> Key:
    extra: Any = field.json_schema_extra
    return Key(path, _default(field.default), extra["unit"], _range(section, name, field), field.description or "")


def _default(value: Any) -> str:
    if isinstance(value, ByteSize):
        return size_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value)


def _range(section: type[Section], name: str, field: FieldInfo) -> str:
    if field.annotation is ByteSize:
        return SIZES
    schema = section.model_json_schema()["properties"][name]
    options = schema.get("anyOf", [schema])
    kinds = [_kind(option) for option in options]
    schema = {part: value for option in reversed(options) for part, value in option.items()} | schema
    if "enum" in schema:
        return ", ".join(schema["enum"])
    limits = [f"{sign} {_number(schema[limit])}" for limit, sign in SIGNS.items() if limit in schema]
    if "pattern" in schema:
        limits.append(f"`{schema['pattern']}`")
    return ", ".join([" or ".join(kinds), *limits])


def _kind(schema: dict[str, Any]) -> str:
    inner = schema.get("items") or schema.get("additionalProperties") or {}
    of = f" of {KINDS[inner['type']]}s" if "type" in inner else ""
    return KINDS.get(schema.get("type", ""), "") + of


def _number(value: float) -> str:
    return f"{int(value) if value == int(value) else value:,}"


if __name__ == "__main__":
    print(markdown(), end="")
