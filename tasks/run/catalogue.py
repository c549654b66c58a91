"""The items of the matrices with what the rules say of them at a moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tasks.run.handles import RULES
from tasks.run.warehouse import Run, connect, sql

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Catalogue:
    """The columns of the matrices: outside ids, whether each may be recommended, its category or -1: (n_items,)."""

    ids: "pa.Array"
    is_allowed: "np.ndarray"
    category: "np.ndarray"


def load_catalogue(run: Run, at: datetime) -> Catalogue:
    """What the rules say of the items at a moment."""
    parameters = {
        "items": str(run.folder / "items.parquet"),
        "rules": str(run.folder / RULES),
        "has_filters": bool(run.config.recommendations.filters),
        "at": at,
    }
    with connect(":memory:", run.config) as connection:
        connection.execute(sql("published/is_available"))
        table = connection.sql(sql("item_rules"), params=parameters).to_arrow_table().combine_chunks()
    ids, is_allowed, category = (column.chunk(0) for column in table.columns)
    return Catalogue(ids, is_allowed.to_numpy(zero_copy_only=False), category.to_numpy())
