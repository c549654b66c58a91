"""The handles that the stages pass on: paths, counts and digests, never a frame or a matrix.

Paths are relative to the run's folder (events.duckdb: to the warehouse), so that a warehouse can be moved.
"""

from dataclasses import dataclass

COMMON_ITEMS = "items that both models know"  # the segment of targets on which new items give nobody an advantage


@dataclass(frozen=True)
class Events:
    """warehouse/events.duckdb after ingestion; of all rows ever read, n_read = n_events + n_repeated + n_rejected.

    reasons      how many rows were quarantined for each reason; a row can have several
    n_new_files  files that this run has read
    """

    n_events: int
    n_read: int
    n_repeated: int
    n_rejected: int
    reasons: dict[str, int]
    n_new_files: int
    n_files: int
    digest: str


@dataclass(frozen=True)
class Validated:
    """validation.parquet: one row an expectation, all blocking ones met; n_warnings of the others are not."""

    path: str
    n_expectations: int
    n_warnings: int


@dataclass(frozen=True)
class Drift:
    """drift.parquet: one row a metric of the new events; without any, or with few n_nights, none is judged.

    n_backfill  new events far older than those accepted before, which are not judged
    warnings  those that lie outside their bands, in words
    """

    path: str
    n_new_events: int
    n_backfill: int
    n_nights: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Interactions:
    """interactions.parquet: one row per (user, item), weight 0 where the user saw the item but it does not count.

    n_capped_users  users with more items than interactions.max_user_interactions, of which only the latest count
    """

    path: str
    n_users: int
    n_items: int
    n_counting: int
    n_capped_users: int
    digest: str


@dataclass(frozen=True)
class Holdout:
    """holdout.parquet: each pair of interactions.parquet, with what evaluation models may know of it.

    window_start  when the days begin that are hidden of everyone; None where some users are held out
    reason        which of the two it is, and why
    """

    path: str
    window_start: str | None
    reason: str
    digest: str


@dataclass(frozen=True)
class Matrix:
    """users.parquet and items.parquet, whose order is that of rows and columns, and CSR matrices over them.

    interactions.npz        (n_users, n_items) weights of what counts
    seen.npz                (n_users, n_items) stores a 1 for everything the user ever saw, counting or not
    train.npz               (n_train_users, n_items) what the evaluation model learns from
    validation_fold_in.npz, validation_targets.npz, test_fold_in.npz, test_targets.npz
                            the validation and the test users: what models are shown, and what is hidden from them
    window_start            as in Holdout
    """

    n_users: int
    n_items: int
    n_interactions: int
    n_train_users: int
    n_validation_users: int
    n_test_users: int
    window_start: str | None
    digest: str


@dataclass(frozen=True)
class Rules:
    """rules.parquet: what the metadata and the filters say of each item that has metadata.

    metadata_digest  of it and of the metadata; training knows of neither
    """

    path: str
    n_items: int
    n_barred: int
    metadata_digest: str


@dataclass(frozen=True)
class Champion:
    """The published run, if its evaluation model never saw this run's answers; else None and why not.

    why_not_comparable  empty where it also learned from what counts in this run
    """

    run_id: str | None
    why_not_comparable: str = ""


@dataclass(frozen=True)
class Trained:
    """A folder with a model; `inputs` is the digest of all that decides it but its start.

    model_run_id     the night that trained and judged it; another run than this one where a refresh took it over
    window_start     what happened from then on, its evaluation model has not seen; None where users are held out
    started_from     the run whose model it started from, or was taken over from; None for the spectrum
    ridge, dropout   those of the residual, or of EASE; None where ELSA does without
    best_epoch, factors  0 for EASE
    scale            c of ELSA's low-rank part; 0 for EASE
    """

    path: str
    model_run_id: str
    started_from: str | None
    best_epoch: int
    n_items: int
    factors: int
    scale: float
    ridge: float | None
    dropout: float | None
    inputs: str
    digest: str
    window_start: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """metrics.parquet (means with intervals) and per_user.npz (what they are means of).

    per_user.npz     a value a test user under 'model/metric', and 'model/metric/segment' with nan for users outside
    means            of the run's model
    unknown_targets  share of the targets that the run's model, and the champion, cannot recommend
    """

    path: str
    per_user_path: str
    n_users: int
    means: dict[str, float]
    champion: str | None
    why_no_champion: str
    unknown_targets: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """gate_checks.parquet, and what follows from it: accepted if no check failed, or if a person forced it.

    value    of the metric that the gate compares
    reasons  the checks that failed, and who forced the publication all the same
    """

    path: str
    is_accepted: bool
    metric: str
    value: float
    checks: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Tables:
    """A finished, checked DuckDB file that nobody reads yet."""

    path: str
    n_users: int
    n_items: int
    n_bytes: int


@dataclass(frozen=True)
class Published:
    """The file that warehouse/current.duckdb now points to."""

    path: str


@dataclass(frozen=True)
class Scored:
    """A Parquet file of pairs with scores, outside the warehouse; n_scored of them have one."""

    path: str
    n_pairs: int
    n_scored: int


@dataclass(frozen=True)
class Exported:
    """A folder of vectors, outside the warehouse."""

    path: str
    n_items: int
    n_users: int


@dataclass(frozen=True)
class Outcome:
    """How a night ended: 'published' or 'rejected'; every check of the gate in words, and those that failed."""

    run_id: str
    status: str
    checks: tuple[str, ...]
    reasons: tuple[str, ...]


ROWS = {Events: "n_events", Validated: "n_expectations", Drift: "n_new_events", Interactions: "n_counting",
        Matrix: "n_interactions", Trained: "n_items", Evaluation: "n_users", Tables: "n_users"}  # fmt: skip


def rows_of(handle: object) -> int | None:
    """How many rows a stage had to do with."""
    return getattr(handle, ROWS[type(handle)]) if type(handle) in ROWS else None
