"""Groups of test users, and of the items that are their targets, in which the gate looks at a model on its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.run.database import connect
from tasks.run.quoting import identifier
from tasks.run.run import Run

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

MOST_VALUES = 10  # of a metadata column; the targets of all rarer ones are one segment


@dataclass(frozen=True)
class Segment:
    """Some users (users,) bool with all of their targets; or all users with some items (n_items,) bool as targets."""

    name: str
    users: "np.ndarray | None" = None
    items: "np.ndarray | None" = None


def find_segments(run: Run, fold_in: "csr_array", targets: "csr_array", popularity: "np.ndarray") -> list[Segment]:
    """By length of the history, by popularity (n_items,) of the target, and by the target's value of a column."""
    rules = run.config.gate.segments
    names = iter(rules.band_names())
    found = [Segment(next(names), users=band) for band in history_bands(fold_in, rules.history)]
    found += [Segment(next(names), items=band) for band in popularity_bands(popularity, rules.popularity)]
    if rules.column is not None:
        found += _by_value(run, targets, rules.column)
    return found


def history_bands(fold_in: "csr_array", ends: list[int]) -> "list[np.ndarray]":
    import numpy as np

    band = np.searchsorted(ends, np.diff(fold_in.indptr))  # an upper end belongs to its band
    return [band == place for place in range(len(ends) + 1)] if ends else []


def popularity_bands(popularity: "np.ndarray", ends: list[float]) -> "list[np.ndarray]":
    """The most popular items until they have a share `ends[0]` of all interactions together, and so on."""
    import numpy as np

    order = np.argsort(-popularity, kind="stable")
    before = np.empty(len(order))
    before[order] = (np.cumsum(popularity[order]) - popularity[order]) / max(1, popularity.sum())
    band = np.searchsorted(ends, before, side="right")
    return [band == place for place in range(len(ends) + 1)] if ends else []


def _by_value(run: Run, targets: "csr_array", column: str) -> list[Segment]:
    """A segment for each of the MOST_VALUES values that most targets have, and one for all others."""
    import numpy as np
    import polars as pl

    with connect(run.warehouse.events, run.config, read_only=True) as connection:
        query = f"select item_id, cast({identifier(column)} as varchar) as value from items"
        metadata = pl.DataFrame(connection.sql(query).to_arrow_table())
    items = run.files.items.read()
    values = items.join(metadata, on="item_id", how="left", maintain_order="left")["value"]
    n_targets = np.bincount(targets.indices, minlength=len(items))
    counts = pl.DataFrame({"value": values, "n": n_targets}).group_by("value").agg(pl.col("n").sum())
    frequent = counts.drop_nulls().sort("n", "value", descending=[True, False])["value"].head(MOST_VALUES)
    found = [Segment(f"{column}:{value}", items=(values == value).fill_null(False).to_numpy()) for value in frequent]
    return [*found, Segment(f"{column}: all others", items=~values.is_in(frequent).fill_null(False).to_numpy())]
