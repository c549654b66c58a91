"""Whether there is anything to recommend to anybody: asked before training, and again when the lists are made."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.errors import InputError
from tasks.run.catalogue import load_catalogue
from tasks.run.handles import RULES
from tasks.run.warehouse import Run, attach_events, connect, first_row, sql
from tasks.settings.configured_sql import in_parentheses

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array


def check_candidates(run: Run) -> None:
    """Raises InputError where `require_candidates` does, as the items are now."""
    from scipy import sparse

    at = datetime.now(UTC)
    require_candidates(run, load_catalogue(run, at).is_allowed, sparse.load_npz(run.folder / "seen.npz"), at)


def require_candidates(run: Run, is_allowed: "np.ndarray", seen: "csr_array", at: datetime) -> None:
    """Raises InputError where the rules leave no item at that moment, or each user has seen all that they leave.

    is_allowed (n_items,) bool; seen (users, n_items) stores a 1 for everything that a user ever saw.
    """
    n_allowed = int(is_allowed.sum())
    if n_allowed == 0:
        raise InputError(_why_no_item(run, at))
    if (seen @ is_allowed.astype("float32") == n_allowed).all():
        raise InputError(
            f"each of the {seen.shape[0]:,} users has seen all {n_allowed:,} items that may be recommended, so that "
            "nobody would get a list; bring events of more items (source.events), or let more of them be "
            f"recommended: interactions.min_item_interactions is {run.config.interactions.min_item_interactions}, "
            f"recommendations.filters {list(run.config.recommendations.filters) or 'none'}"
        )


def _why_no_item(run: Run, at: datetime) -> str:
    """Names each rule that bars items, with its key and how many it bars."""
    items, rules = str(run.folder / "items.parquet"), run.config.recommendations
    with connect(":memory:", run.config) as connection:
        attach_events(connection, run)
        parameters = {"items": items, "rules": str(run.folder / RULES), "at": at}
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
        f"none of the {n:,} items with interactions that count may be recommended at {at:%Y-%m-%d %H:%M} UTC:"
        f"{reasons}\nChange these keys, or correct the item metadata, and run again"
    )
