"""The items of the matrices with what the rules say of them at a moment."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.run.database import connect, sql
from tasks.run.run import Run

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Catalogue:
    """The columns of the matrices: outside ids, whether each may be recommended, its category or -1: (n_items,)."""

    ids: "pa.Array"
    is_allowed: "np.ndarray"
    category: "np.ndarray"


def load_catalogue(run: Run) -> Catalogue:
    """What the rules say of the items at the moment that the run speaks of."""
    parameters = {
        "items": str(run.files.items),
        "rules": str(run.files.rules),
        "has_filters": bool(run.config.recommendations.filters),
        "at": run.at,
    }
    with connect(":memory:", run.config) as connection:
        connection.execute(sql("published/is_available"))
        table = connection.sql(sql("item_rules"), params=parameters).to_arrow_table().combine_chunks()
    ids, is_allowed, category = (column.chunk(0) for column in table.columns)
    return Catalogue(ids, is_allowed.to_numpy(zero_copy_only=False), category.to_numpy())
