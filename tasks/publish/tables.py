"""The tables of the published file, in the order in which they are written: what each is computed from, its size."""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.publish.output import Output
from tasks.publish.published_model import PublishedModel
from tasks.publish.recommendations import neighbors, user_lists
from tasks.publish.weights import item_vectors, n_residuals, residuals, scored_items, user_vectors


def nothing(output: Output) -> None:
    """The select reads only files of the run and tables that are written before it."""


@dataclass(frozen=True)
class Table:
    """One table; its select is sql/tables/<name>.sql.

    read_inputs  makes readable what the select reads besides `tasks.publish.inputs`
    n_rows, row_bytes  expected rows and their uncompressed size; a larger table is a Parquet file. None: never large
    renewed      for tables of users: the column of sql/changed_users.sql that marks whose rows a refresh computes
    is_of_items  whether the model alone says what is in it, so that a refresh of the same model takes it over
    """

    name: str
    read_inputs: Callable[[Output], None] = nothing
    n_rows: Callable[[PublishedModel], int] | None = None
    row_bytes: Callable[[PublishedModel], float] | None = None
    renewed: str | None = None
    is_of_items: bool = False

    def n_bytes(self, model: PublishedModel) -> float:
        """The expected size."""
        return self.n_rows(model) * self.row_bytes(model) if self.n_rows and self.row_bytes else 0


def _lists(output: Output) -> None:
    """Lists and backup items are computed once, and kept on disk only where there are backup items to read again."""
    output.stream("computed", user_lists(output.model))
    kind = "table" if output.model.n_backup else "view"
    output.connection.execute(f"create temp {kind} lists as from computed")


def _backup_items(output: Output) -> None:
    if not output.model.n_backup:
        output.connection.execute("create or replace temp view lists as from output.user_topk limit 0")


def _histories(output: Output) -> None:
    """In a refresh, of the users whose history is new."""
    some = "" if output.reuse is None else "where user_id in (select user_id from changed where has_new_history)"
    output.connection.execute(f"create temp view histories as from interactions {some}")


def _user_bytes(model: PublishedModel) -> float:
    return model.user_ids.nbytes / max(1, len(model.user_ids))


def _item_bytes(model: PublishedModel) -> float:
    return model.items.ids.nbytes / max(1, len(model.items.ids))


def _list_bytes(model: PublishedModel) -> float:
    return _user_bytes(model) + _item_bytes(model) + 16


TABLES = (
    Table("user_topk", _lists, lambda of: of.X.shape[0] * of.n_listed, _list_bytes, renewed="has_new_list"),
    Table(
        "user_spares",
        _backup_items,
        lambda of: of.X.shape[0] * of.n_listed if of.n_backup else 0,
        _list_bytes,
        renewed="has_new_list",
    ),
    Table(
        "user_embeddings",
        lambda output: output.stream("user_vectors", user_vectors(output.model)),
        lambda of: of.X.shape[0] if of.model.factors else 0,
        lambda of: _user_bytes(of) + 4 * of.model.factors,
        renewed="has_new_list",
    ),
    Table(
        "user_items",
        _histories,
        lambda of: of.seen.nnz,
        lambda of: _user_bytes(of) + _item_bytes(of) + 4,
        renewed="has_new_history",
    ),
    Table(
        "item_neighbors",
        lambda output: output.stream("neighbors", neighbors(output.model)),
        lambda of: of.X.shape[1] * of.rules.neighbors,
        lambda of: 2 * _item_bytes(of) + 8,
        is_of_items=True,
    ),
    Table(
        "item_embeddings",
        lambda output: output.stream("item_vectors", item_vectors(output.model)),
        lambda of: of.X.shape[1] if of.model.factors else 0,
        lambda of: _item_bytes(of) + 4 * of.model.factors,
        is_of_items=True,
    ),
    Table(
        "item_residuals",
        lambda output: output.stream("residuals", residuals(output.model)),
        n_residuals,
        lambda of: 2 * _item_bytes(of) + 4,
        is_of_items=True,
    ),
    Table("popular_items"),
    Table("items"),
    Table("catalogue", lambda output: output.stream("scored_items", scored_items(output.model))),
    Table("run_info"),
    Table("run_metrics"),
    Table("gate_checks"),
    Table("validation_results"),
    Table("drift"),
    Table("run_stages"),
)
README = Table("readme")  # it lists all of the above, the views and the macros
RENEWED = {table.name: table.renewed for table in TABLES if table.renewed}
