"""What the tables are computed from: the published model, the histories, and the outside ids, in blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.run.catalogue import Catalogue, load_catalogue
from tasks.run.handles import Trained
from tasks.run.run import Run
from tasks.settings.publication import RecommendationSettings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_array

    from elsa_core import LinearModel, Popularity

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

    model: "LinearModel"
    popularity: "Popularity"
    X: "csr_array"
    seen: "csr_array"
    user_ids: "pa.Array"
    items: Catalogue
    rules: RecommendationSettings
    n_listed: int
    users: "np.ndarray | None" = None
    on_progress: Callable[[str, float], None] = no_progress

    @property
    def n_backup(self) -> int:
        """Backup items of a list."""
        return self.n_listed - self.rules.k

    @property
    def has_weights(self) -> bool:
        """Whether weights of pairs of items are published: not the n_items² of EASE for a large catalogue."""
        return self.model.factors > 0 or len(self.items.ids) <= self.rules.ease_weights_up_to

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
    run: Run, trained: Trained, on_progress: Callable[[str, float], None] = no_progress
) -> PublishedModel:
    """The model of a run with the histories, and with the items that are available at the moment of the run."""
    import elsa_core

    X, rules, items = run.files.weights.read(), run.config.recommendations, run.config.source.items
    n_backup = rules.spare if items and items.available_until else 0  # no other item can become unavailable
    return PublishedModel(
        run.files.model_folder(trained.path).read(run.config.policy_configs.policy.device),
        elsa_core.Popularity.fit(X),
        X,
        run.files.seen.read(),
        run.files.users.read()["user_id"].to_arrow(),
        load_catalogue(run),
        rules,
        rules.k + n_backup,
        on_progress=on_progress,
    )
