"""What sections of the configuration are made of: keys with a description, a unit and a range."""

import re
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

MAX_INTEGER = 2**31 - 1  # what fits into every library here
MAX_SHOWN = 200  # characters of a value in a message
SIZES = "a size such as 500MB, 4GB or 0.5GiB"
WRITTEN_SIZE = re.compile(r"\d+(\.\d+)?\s?[KMGT]i?B|\d+B")  # whole bytes are what size_text may write
UNITS = [(unit, ByteSize.byte_sizes[unit.lower()]) for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "KB")]


class Section(BaseModel):
    """A group of keys. Unknown keys and wrong types are errors; values are never converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def check_integers(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for number in value if isinstance(value, list) else [value]:
                if type(number) is int and number > MAX_INTEGER and name != "seed":
                    raise ValueError(f"{name} is {shorten(str(number))}: the largest integer is {MAX_INTEGER:,}")
        return self


def key(default: Any, description: str, *, unit: str, **limits: Any) -> Any:
    """A key with its default, its meaning, its unit, and its range as pydantic's limits (ge, lt, pattern…)."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **limits)


def part(section: type[Section], description: str) -> Any:
    """A section within a section; all of its keys have their defaults where it is not given."""
    return Field(default_factory=section, description=description)


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key holds, optional or not; None for a plain value."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def shorten(text: str) -> str:
    """Text that fits into a message."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"


def size_text(size: int) -> str:
    """A number of bytes in the largest unit in which it is a whole number: 4GB, 512KiB or 100B. DuckDB reads it."""
    return next((f"{size // int(n)}{unit}" for unit, n in UNITS if size and size % n == 0), f"{size}B")


def _require_unit(given: Any) -> Any:
    """Pydantic alone would read 50 as bytes, 4Gbit as half a gigabyte and 5.5.5GB as 5.5 bytes."""
    if not isinstance(given, str) or not WRITTEN_SIZE.fullmatch(given):
        raise PydanticCustomError("byte_size", f"must be {SIZES}")
    return given


Size = Annotated[ByteSize, BeforeValidator(_require_unit), PlainSerializer(size_text, return_type=str)]
