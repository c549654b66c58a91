"""Parquet files that runs left: metrics, checks, results of expectations. Those that cannot be used are named."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.run.damage import in_words, name_damaged

if TYPE_CHECKING:
    from polars import DataType

TEXT, NUMBER, TRUTH = "text", "a number", "true or false"
RESULTS = {"rule": TEXT, "severity": TEXT, "passed": TRUTH, "observed": TEXT}
COLUMNS = {  # without which a file is none of its name
    "metrics.parquet": {"model": TEXT, "metric": TEXT, "k": NUMBER, "value": NUMBER, "low": NUMBER, "high": NUMBER},
    "gate_checks.parquet": {"name": TEXT, "metric": TEXT, "passed": TRUTH, "verdict": TEXT},
    "validation.parquet": RESULTS,
    "drift.parquet": RESULTS | {"value": NUMBER, "low": NUMBER, "high": NUMBER},
}
MORE_COLUMNS = {"segment": TEXT, "metric": TEXT, "n_users": NUMBER, "threshold": NUMBER, "expected": NUMBER,
                "value": NUMBER, "low": NUMBER, "high": NUMBER}  # fmt: skip


def usable_parquet(paths: Iterable[Path]) -> list[Path]:
    """Those of the files that hold the columns that their name says, each of its kind; others are named."""
    import polars as pl

    found = []
    for path in paths:
        try:
            _require_columns(pl.read_parquet_schema(path), COLUMNS[path.name])
            found.append(path)
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            name_damaged(path, f"{in_words(error)}; it is left out")
    return found


def _require_columns(found: "dict[str, DataType]", columns: dict[str, str]) -> None:
    if missing := columns.keys() - found.keys():
        raise ValueError(f"it has no column {min(missing)!r}")
    kinds = MORE_COLUMNS | columns
    for name, dtype in found.items():
        if name in kinds and not _is(dtype, kinds[name]):
            raise ValueError(f"its column {name!r} is {dtype}, not {kinds[name]}")


def _is(dtype: "DataType", kind: str) -> bool:
    """A column without a value has no kind."""
    import polars as pl

    kinds = {TEXT: dtype == pl.String, TRUTH: dtype == pl.Boolean, NUMBER: dtype.is_numeric()}
    return dtype == pl.Null or kinds[kind]
