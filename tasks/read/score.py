"""A file of (user, item) pairs, scored by the published model, exactly and batch by batch."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from prefect import task

from tasks.errors import InputError
from tasks.run.durable import remove
from tasks.run.handles import Scored
from tasks.run.integrity import OF_SCORES, require_files
from tasks.run.progress import working
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
    from scipy.sparse import csr_array

    from elsa_core import LinearModel

PAIRS = 2**17  # read, scored and written at a time
ADDED = ("score", "unknown")
MOST_EXACT = 2**53  # beyond, a double is more than one whole number


@dataclass(frozen=True)
class Scorer:
    """The published model, the histories (users, items) it scores from, and the outside ids of both."""

    model: "LinearModel"
    X: "csr_array"
    user_ids: "pl.Series"
    item_ids: "pl.Series"

    @classmethod
    def load(cls, config: Config) -> Self:
        """Raises InputError where nothing is published, or what is read of it is not what the run wrote."""
        warehouse, run_id = Warehouse.of(config), _published_run(config)
        require_files(warehouse, run_id, OF_SCORES)
        files = warehouse.files(run_id)
        model = files.model.read(config.policy_configs.policy.device)
        return cls(model, files.weights.read(), files.users.read()["user_id"], files.items.read()["item_id"])

    def add_scores(self, pairs: "pa.Table") -> "pa.Table":
        """The pairs with their scores, and which of the two ids the model does not know."""
        import numpy as np
        import pyarrow as pa

        user, item = (_places(pairs[f"{name}_id"], ids) for name, ids in
                      (("user", self.user_ids), ("item", self.item_ids)))  # fmt: skip
        has_history = np.diff(self.X.indptr) > 0
        no_user, no_item = (user < 0) | ~has_history[user], (item < 0) | ~self.model.is_known[item]
        known = np.flatnonzero(~no_user & ~no_item)
        rows, row = np.unique(user[known], return_inverse=True)
        scores = np.zeros(len(user), dtype=np.float32)
        scores[known] = self.model.score(self.X[rows], row, item[known])
        unknown = np.select([no_user & no_item, no_user, no_item], ["user and item", "user", "item"], "")
        pairs = pairs.append_column("score", pa.array(scores, mask=no_user | no_item))
        return pairs.append_column("unknown", pa.array(unknown, pa.string(), mask=unknown == ""))


@task
def score_file(config: Config, pairs: Path, out: Path) -> Scored:
    """Writes all rows and columns of `pairs`, in their order, with a score and what the model does not know.

    unknown is 'user' for one without a history that counts, 'item' for one that training never saw, or
    'user and item'; the score is null then. `out` is there when it is whole, and only then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _open(pairs, out) as file:
        scorer = Scorer.load(config)
        unfinished = out.with_name(f"{out.name}.unfinished")
        n_pairs, n_scored = 0, 0
        try:
            schema = scorer.add_scores(file.schema_arrow.empty_table()).schema
            remove(unfinished)  # a link there would be followed
            with pq.ParquetWriter(unfinished, schema) as writer, working("scores of pairs") as show:
                for batch in file.iter_batches(PAIRS):
                    scored = scorer.add_scores(pa.Table.from_batches([batch]))
                    writer.write_table(scored)
                    n_pairs += scored.num_rows
                    n_scored += scored.num_rows - scored["score"].null_count
                    show("scores of pairs", n_pairs / file.metadata.num_rows)
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    return Scored(str(out), n_pairs, n_scored)


def check_pairs(config: Config, pairs: Path, out: Path) -> None:
    """Raises InputError where `score_file` would, before any work."""
    _open(pairs, out).close()
    _published_run(config)


def _published_run(config: Config) -> str:
    run_id = Warehouse.of(config).current_run_id
    if run_id is None:
        raise InputError(f"{config.warehouse} has nothing published yet; run: elsa nightly --config FILE")
    return run_id


def _open(pairs: Path, out: Path) -> "pq.ParquetFile":
    """The file of pairs. Raises InputError where it, or the place of the output, cannot be used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pairs)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{pairs} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    names = file.schema_arrow.names
    for name in ("user_id", "item_id"):
        if name not in names:
            raise InputError(f"{pairs} has no column {name!r}; it has {', '.join(names)}")
        if not _can_be_ids(kind := file.schema_arrow.field(name).type):
            raise InputError(f"{pairs}: column {name!r} is of type {kind}; ids are whole numbers or text, so cast it")
    for name in ADDED:
        if name in names:
            raise InputError(f"{pairs} has a column {name!r}, which would be added; rename it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.absolute().parent}; make it first")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file in it")
    if out.exists() and out.samefile(pairs):
        raise InputError(f"--out {out} is the file of pairs itself; name another")
    return file


def _can_be_ids(kind: "pa.DataType") -> bool:
    """Whole numbers, text, nothing at all, or doubles: what pandas makes of whole numbers where one is missing."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _can_be_ids(kind.value_type)
    is_whole = types.is_integer(kind) or (types.is_decimal(kind) and kind.scale == 0)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return is_whole or is_text or types.is_null(kind) or types.is_float64(kind)


def _places(given: "pa.ChunkedArray", ids: "pl.Series") -> "np.ndarray":
    """Where each given id stands in `ids`, or -1; numbers and text are compared as they are written."""
    import polars as pl

    given, ids = pl.Series(given).alias("id"), ids.alias("id")
    if given.dtype == pl.Float64:
        given = given.set((given % 1 != 0) | (given.abs() > MOST_EXACT), None).cast(pl.Int64)
    if given.dtype != ids.dtype:
        given, ids = given.cast(pl.String), ids.cast(pl.String)
    known = ids.to_frame().with_row_index("place")
    found = given.to_frame().join(known, on="id", how="left", maintain_order="left")
    return found["place"].cast(pl.Int64).fill_null(-1).to_numpy()
