"""How the new events differ from those of earlier nights; files without odd ones are accepted."""

from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.data.ledger import accept, reject
from tasks.errors import InputError, ValidationFailed
from tasks.run.database import connect, first_row, sql
from tasks.run.handles import Drift, Events
from tasks.run.quoting import identifier
from tasks.run.run import Run
from tasks.run.stage import stage
from tasks.settings.checks import DriftSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

POSSIBLE = {
    "events_per_user": (1.0, inf),
    "share_of_new_users": (0.0, 1.0),
    "share_of_new_items": (0.0, 1.0),
    "gini": (0.0, 1.0),
}  # of all others (0, inf)
SHARES = ["share_of_new_users", "share_of_new_items", "gini", "psi"]
LEAST_DEVIATION_OF_SHARES, LEAST_RELATIVE_DEVIATION = 0.01, 0.05  # nights that were all alike say little about others
SMALLEST_SHARE = 1e-4  # of a category, in the population stability index


@dataclass(frozen=True)
class Watched:
    """A metric of the new events beside its band, which is None with fewer than drift.min_nights nights."""

    metric: str
    observed: float | None
    expected: float | None
    low: float | None
    high: float | None
    n_nights: int
    passed: bool

    def __str__(self) -> str:
        observed, expected, low, high = map(_number, (self.observed, self.expected, self.low, self.high))
        return f"{self.metric} {observed}" + ("" if self.low is None else f", expected {expected} ({low} to {high})")


@stage("drift", reads=("drift",))
def watch_drift(run: Run, events: Events) -> Drift:
    """Judges the new events and accepts them; if drift is blocking, rejects them and raises ValidationFailed."""
    rules = run.config.drift
    with connect(run.warehouse.events, run.config) as connection:
        connection.execute(sql("drift/history"))
        connection.execute("begin")
        this_run = {"run_id": run.run_id}
        connection.execute(sql("drift/reread"))
        connection.execute(sql("drift/new_events"), {"backfill_days": rules.backfill_days})
        counts = "select count(*) filter (not is_backfill), count(*) filter (is_backfill) from new_events"
        n_new, n_backfill = first_row(connection, counts)
        if n_new:  # else a run that goes on had judged them
            connection.execute("delete from drift_history where run_id = $run_id", this_run)
        watched = _watch(connection, run) if n_new else []
        is_rejected = rules.severity == "blocking" and not all(one.passed for one in watched)
        for one in watched:
            values = {"run_id": run.run_id, "one": asdict(one), "is_accepted": not is_rejected}
            connection.execute(sql("drift/insert"), values)
        watched = [Watched(*row) for row in connection.execute(sql("drift/of_run"), this_run).fetchall()]
        odd = [one for one in watched if not one.passed]
        reject(connection, unchecked_only=False) if is_rejected else accept(connection)
        connection.execute("commit")
    _report(run, watched)
    if n_backfill:
        get_run_logger().warning(
            f"{n_backfill:,} new events are more than drift.backfill_days={rules.backfill_days:g} days older than "
            "the newest accepted one: a backfill, which is not judged"
        )
    n_nights = max((one.n_nights for one in watched), default=0)
    if is_rejected:
        raise ValidationFailed(
            f"the {n_new:,} new events differ from those of {n_nights} earlier nights: {odd[0]}"
            + "".join(f"\n  {one}" for one in odd[1:])
            + "\nNothing was trained or published. If that is as it should be, run once with drift.severity: "
            "warning, and later nights will know it"
        )
    handle = Drift(run.files.drift.name, n_new, n_backfill, n_nights, tuple(map(str, odd)))
    if watched and handle.n_nights < rules.min_nights:
        get_run_logger().info(f"drift is judged from {rules.min_nights} nights on; there are {handle.n_nights}")
    return handle


def _report(run: Run, watched: list[Watched]) -> None:
    """Writes drift.parquet, with the columns of validation.parquet, and logs each metric."""
    import polars as pl

    columns: list[tuple[str, type[pl.DataType], list[Any]]] = [
        ("metric", pl.String, [one.metric for one in watched]),
        ("rule", pl.String, [f"drift of {one.metric}" for one in watched]),
        ("severity", pl.String, [run.config.drift.severity] * len(watched)),
        ("passed", pl.Boolean, [one.passed for one in watched]),
        ("observed", pl.String, [str(one) for one in watched]),
        ("value", pl.Float64, [one.observed for one in watched]),
        *((name, pl.Float64, [getattr(one, name) for one in watched]) for name in ("expected", "low", "high")),
    ]
    run.files.drift.write(pl.DataFrame({name: pl.Series(values, dtype=kind) for name, kind, values in columns}))
    log = get_run_logger()
    for one in watched:
        (log.info if one.passed else log.warning)("drift: %s", one)
    if not watched:
        log.info("no new events but a backfill, if any: drift is not judged")


def _watch(connection: "DuckDBPyConnection", run: Run) -> list[Watched]:
    rules = run.config.drift
    observed = dict(connection.execute(sql("drift/profile")).fetchall())
    if rules.category is not None:
        observed["psi"] = _psi(connection, run, rules.category)
    rows = connection.execute(sql("drift/bands"), limits(rules, run.run_id)).fetchall()
    bands: dict[str, list[Any]] = {metric: band for metric, *band in rows}
    watched = []
    for metric, value in observed.items():
        expected, low, high, n_nights = bands.get(metric, [None, None, None, 0])
        if n_nights < rules.min_nights:
            expected = low = high = None
        else:
            least, most = POSSIBLE.get(metric, (0.0, inf))
            low, high = max(low, least), min(high, most)
            low = 0.0 if metric == "psi" else low  # the more alike, the better
        is_inside = value is None or low is None or low <= value <= high
        watched.append(Watched(metric, value, expected, low, high, n_nights, is_inside))
    return watched


def limits(rules: DriftSettings, run_id: str) -> dict:
    """The parameters of the bands that a run is judged by."""
    return {
        "run_id": run_id,
        "window": rules.window,
        "width": rules.width,
        "shares": SHARES,
        "least": LEAST_DEVIATION_OF_SHARES,
        "least_relative": LEAST_RELATIVE_DEVIATION,
    }


def _psi(connection: "DuckDBPyConnection", run: Run, category: str) -> float | None:
    """The index of the new events' categories, which it also records; None where no night came before."""
    columns = [name for (name,) in connection.execute("select column_name from (describe items)").fetchall()]
    if category not in columns:
        raise InputError(f"drift.category is {category!r}, but the item metadata has {', '.join(columns)}")
    connection.execute("delete from drift_categories where run_id = $run_id", {"run_id": run.run_id})
    connection.execute(sql("drift/categories", category=identifier(category)), {"run_id": run.run_id})
    window = {"run_id": run.run_id, "window": run.config.drift.window, "smallest_share": SMALLEST_SHARE}
    return first_row(connection, sql("drift/psi"), window)[0]


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
