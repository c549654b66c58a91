"""Reading the published tables and the history of runs, for people at a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tasks.errors import InputError
from tasks.read.plain import text_table
from tasks.run.database import connect, first_row, intact, sql
from tasks.run.failures import cure
from tasks.run.index import RunSummary, runs_as_they_stand
from tasks.run.integrity import require_size
from tasks.run.publications import publications
from tasks.run.quoting import typeable, visible
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


@dataclass(frozen=True)
class Query:
    """A query that a reader can paste, and what it returns now, as a text table."""

    text: str
    output: str


def recommend(config: Config, user_id: str, k: int) -> str:
    """The user's list with titles, as text. Raises InputError for a user without one."""
    return _rows(
        config,
        "queries/recommend",
        {"user_id": user_id, "k": k},
        f"user {visible(user_id)} occurs in no event of the published run, or has seen every item",
    )


def similar(config: Config, item_id: str, k: int) -> str:
    """The item's neighbours with titles, as text. Raises InputError for an item without any."""
    return _rows(
        config,
        "queries/similar",
        {"item_id": item_id, "k": k},
        f"item {visible(item_id)} is not in the published catalogue, or has no neighbours in it; it may have too few "
        "interactions, or the rules of recommendations leave none",
    )


def explain(config: Config, user_id: str, item_id: str, k: int) -> str:
    """The score, and the k items of the user's history that make it, as text. Raises InputError if there is none."""
    pair = {"user_id": user_id, "item_id": item_id}
    reasons = _rows(
        config,
        "queries/explain",
        {**pair, "k": k},
        f"user {visible(user_id)} has no history that counts, or has only this item, or the published model has "
        f"no weights for item {visible(item_id)}",
    )
    with open_published(config) as connection:
        score, title, n = first_row(connection, sql("queries/explained"), pair)
    named = visible(f"item {item_id} ({title})" if title else f"item {item_id}")
    return f"{named} scores {score:.4f} for user {visible(user_id)}, from {n} items of the history\n{reasons}"


def rejected(config: Config, n: int) -> str:
    """How many rows of which file were quarantined for which reason, and the first n of them, as text."""
    path = Warehouse.of(config).events
    nothing = InputError(f"{config.warehouse} holds no events yet; ingest some with: elsa ingest --config FILE")
    if not path.exists():
        raise nothing
    with intact(path), connect(path, config, read_only=True) as connection:
        if not first_row(connection, "select count(*) from duckdb_tables() where table_name = 'rejected_events'")[0]:
            raise nothing
        counts = connection.sql(sql("queries/rejected_by_file"))
        if not counts.fetchall():
            return "no row was quarantined"
        rows = connection.sql(sql("queries/rejected"), params={"n": n})
        return f"{_table(connection.sql(sql('queries/rejected_by_file')))}\n\n{_table(rows)}"


def runs(config: Config) -> str:
    """All runs, newest first: start, verdict, the gate's metric, notes; an arrow marks the run of current.duckdb."""
    warehouse = Warehouse.of(config)
    found, why = runs_as_they_stand(warehouse)
    known = {run.run_id: _about(run) for run in found}
    damaged = {run_id: ("", "damaged", "", [f"manifest.json: {said}"]) for run_id, said in why.items()}
    if not known | damaged:
        raise InputError(f"{config.warehouse} has no runs yet; start one with: elsa nightly --config FILE")
    last = {entry.run_id: entry for entry in publications(warehouse)}
    current = warehouse.current_run_id
    rows = []
    for run_id, (started, verdict, metric, notes) in sorted((known | damaged).items(), reverse=True):
        if run_id in last and last[run_id].action != "publish":
            notes.append("{action} at {at:.16} by {by}: {reason}".format(**last[run_id].model_dump()))
        rows.append(("→" if run_id == current else "", run_id, started, verdict, metric, "; ".join(notes)))
    return text_table(("", "run", "started", "verdict", "metric", "notes"), rows)


def _about(run: RunSummary) -> tuple[str, str, str, list[str]]:
    """When a run started, its verdict, metric and reasons, as text."""
    from humanize import naturaltime

    elapsed = datetime.now(UTC) - datetime.fromisoformat(run.started_at)
    metric = f"{run.metric} {run.value:.4f}" if run.value is not None else ""
    notes = [(reason.splitlines() or [""])[0] for reason in run.reasons]
    return naturaltime(max(elapsed, timedelta())), run.status, metric, notes


def metrics(config: Config, run_id: str) -> str:
    """The run's metrics with their 95 % intervals, beside what the gate compares them with, as text."""
    return _of_metrics(config, run_id, "queries/metrics", {"this_run": config.policy_configs.policy.policy_type})


def models(config: Config, run_id: str) -> str:
    """Every model that the run judged on the same test users, the best first, as text."""
    return _of_metrics(config, run_id, "queries/models", {})


def _of_metrics(config: Config, run_id: str, query: str, parameters: dict) -> str:
    path = Warehouse.of(config).files(run_id).metrics
    with connect(":memory:", config) as connection:
        return _table(connection.sql(sql(query), params={"metrics": str(path), **parameters}))


def example_queries(config: Config) -> list[Query]:
    """Three queries to paste, with the output that DuckDB's program gives for them."""
    with open_published(config) as connection:
        user_id = first_row(connection, sql("queries/example_user"))[0]
        item_id = first_row(connection, sql("queries/example_item"))[0]
        texts = [
            sql(f"queries/{name}")
            .rstrip()
            .replace("$user_id", _literal(user_id))
            .replace("$item_id", _literal(item_id))
            for name in ("example_recommend", "example_similar", "example_popular")
        ]
        return [Query(text, _as_duckdb_shows(connection.sql(text))) for text in texts]


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int) else typeable(str(value))


@contextmanager
def open_published(config: Config) -> "Iterator[DuckDBPyConnection]":
    """The tables that readers get now. Raises InputError before the first publication, and where they are damaged."""
    warehouse = Warehouse.of(config)
    path = warehouse.current
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path} leads to {path.readlink()}, which is gone. {cure(path)}")
    if not path.exists():
        raise InputError(
            f"{config.warehouse} has no published tables yet; make some with: elsa nightly --config FILE"
        )
    if (run_id := warehouse.current_run_id) is not None:
        require_size(warehouse, run_id)
    with intact(path), connect(path, config, read_only=True) as connection:
        yield connection


def _rows(config: Config, query: str, parameters: dict, when_empty: str) -> str:
    with open_published(config) as connection:
        if not connection.execute(sql(query), parameters).fetchall():
            raise InputError(when_empty)
        return _table(connection.sql(sql(query), params=parameters))


def _table(relation: "DuckDBPyRelation") -> str:
    return text_table(relation.columns, relation.fetchall())


def _as_duckdb_shows(relation: "DuckDBPyRelation") -> str:
    import io
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()) as shown:
        relation.show(max_rows=10_000, max_width=130)
    return shown.getvalue().rstrip()
