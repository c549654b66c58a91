"""Whether there is anything to recommend to anybody: asked before training, and again when the lists are made."""

from typing import TYPE_CHECKING

from tasks.errors import InputError
from tasks.run.catalogue import load_catalogue
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.handles import Matrix, Rules
from tasks.run.run import Run
from tasks.settings.configured_sql import in_parentheses

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array


def check_candidates(run: Run, matrix: Matrix, rules: Rules) -> None:
    """Raises InputError where `require_candidates` does, before any training."""
    require_candidates(run, load_catalogue(run).is_allowed, run.files.seen.read())


def require_candidates(run: Run, is_allowed: "np.ndarray", seen: "csr_array") -> None:
    """Raises InputError where the rules leave no item now, or each user has seen all that they leave.

    is_allowed (n_items,) bool; seen (users, n_items) stores a 1 for everything that a user ever saw.
    """
    n_allowed = int(is_allowed.sum())
    if n_allowed == 0:
        raise InputError(_why_no_item(run))
    if (seen @ is_allowed.astype("float32") == n_allowed).all():
        raise InputError(
            f"each of the {seen.shape[0]:,} users has seen all {n_allowed:,} items that may be recommended, so that "
            "nobody would get a list; bring events of more items (source.events), or let more of them be "
            f"recommended: interactions.min_item_interactions is {run.config.interactions.min_item_interactions}, "
            f"recommendations.filters {list(run.config.recommendations.filters) or 'none'}"
        )


def _why_no_item(run: Run) -> str:
    """Names each rule that bars items, with its key and how many it bars."""
    items, rules = str(run.files.items), run.config.recommendations
    with connect(":memory:", run.config) as connection:
        attach(connection, run.warehouse.events, "warehouse")
        parameters = {"items": items, "rules": str(run.files.rules), "at": run.at}
        n, n_unknown, n_hidden, n_early, n_expired = first_row(connection, sql("barred"), parameters)
        barred = [
            (n_hidden, "are hidden by source.items.is_hidden"),
            (n_early, "are not available yet by source.items.available_from"),
            (n_expired, "are not available any more by source.items.available_until"),
            (n_unknown if rules.filters else 0, "have no row in source.items, which recommendations.filters need"),
        ]
        for name, condition in rules.filters.items():
            query = f"""
                select count(*) from warehouse.items
                semi join read_parquet($items, hive_partitioning = false) using (item_id)
                where coalesce(not cast({in_parentheses(condition)} as boolean), true)
            """
            n_unfit = first_row(connection, query, {"items": items})[0]
            barred.append((n_unfit, f"do not satisfy recommendations.filters.{name}: {condition!r}"))
    reasons = "".join(f"\n  {n_barred:,} {reason}" for n_barred, reason in barred if n_barred)
    return (
        f"none of the {n:,} items with interactions that count may be recommended at {run.at:%Y-%m-%d %H:%M} UTC:"
        f"{reasons}\nChange these keys, or correct the item metadata, and run again"
    )
