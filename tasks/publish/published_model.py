"""What the tables are computed from: the published model, the histories, and the outside ids, in blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tasks.run.catalogue import Catalogue, load_catalogue
from tasks.run.handles import Trained
from tasks.run.warehouse import Run
from tasks.settings.config import Recommendations

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_array

    from elsa_core import Ease, Model, Popularity

ROWS = 8192  # most users or items computed at a time
PLACES = 2**20  # most places of lists held at a time


def no_progress(table: str, share: float) -> None:
    pass


@dataclass(frozen=True)
class PublishedModel:
    """The model, the baseline, the histories X and seen (n_users, n_items), and the outside ids of rows and columns.

    n_listed     length of a list with its backup items
    users        the rows of the users to compute; None for all
    on_progress  called with the name of a table and the share of it that is done, by any thread that takes batches
    """

    model: "Model | Ease"
    popularity: "Popularity"
    X: "csr_array"
    seen: "csr_array"
    user_ids: "pa.Array"
    items: Catalogue
    rules: Recommendations
    n_listed: int
    users: "np.ndarray | None" = None
    on_progress: Callable[[str, float], None] = no_progress

    @property
    def n_backup(self) -> int:
        """Backup items of a list."""
        return self.n_listed - self.rules.k

    @property
    def elsa(self) -> "Model | None":
        """The model if it has vectors; None for EASE."""
        from elsa_core import Model

        return self.model if isinstance(self.model, Model) else None

    @property
    def factors(self) -> int:
        """The length of the vectors; 0 for EASE."""
        return 0 if self.elsa is None else self.elsa.item_embeddings.shape[1]

    @property
    def weights(self) -> "csr_array | np.ndarray | None":
        """Weights of pairs of items (n_items, n_items): the residual of ELSA, all of EASE; None if not published."""
        from elsa_core import Model

        if isinstance(self.model, Model):
            return self.model.residual
        return self.model.weights if len(self.items.ids) <= self.rules.ease_weights_up_to else None

    def blocks(self, n: int, width: int, table: str) -> Iterator[slice]:
        """Ranges of up to ROWS of the n owners of a table's rows, fewer where each has many places."""
        size = max(1, min(ROWS, PLACES // max(1, width)))
        if n == 0:
            yield slice(0, 0)
        for first in range(0, n, size):
            yield slice(first, min(first + size, n))
            self.on_progress(table, min(first + size, n) / n)

    def blocks_of_users(self, width: int, table: str) -> "Iterator[np.ndarray]":
        """Blocks of the rows of the users to compute, each of `width` places a user."""
        import numpy as np

        users = np.arange(self.X.shape[0]) if self.users is None else self.users
        for rows in self.blocks(len(users), width, table):
            yield users[rows]

    def blocks_of_items(self, width: int, table: str) -> "Iterator[np.ndarray]":
        """Blocks of the columns of all items, each of `width` places an item."""
        import numpy as np

        for rows in self.blocks(len(self.items.ids), width, table):
            yield np.arange(rows.start, rows.stop)


def load_published_model(
    run: Run, trained: Trained, at: datetime, on_progress: Callable[[str, float], None] = no_progress
) -> PublishedModel:
    """The model of a run with the histories, and with the items that are available at a moment."""
    import polars as pl
    from scipy import sparse

    import elsa_core

    X = sparse.load_npz(run.folder / "interactions.npz")
    rules, items = run.config.recommendations, run.config.source.items
    n_backup = rules.spare if items and items.available_until else 0  # no other item can become unavailable
    return PublishedModel(
        elsa_core.load(run.folder / trained.path, run.config.policy_configs.policy.device),
        elsa_core.Popularity.fit(X),
        X,
        sparse.load_npz(run.folder / "seen.npz"),
        pl.read_parquet(run.folder / "users.parquet")["user_id"].to_arrow(),
        load_catalogue(run, at),
        rules,
        rules.k + n_backup,
        on_progress=on_progress,
    )
