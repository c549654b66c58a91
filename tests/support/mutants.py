"""Ways to break the product, each with the tests that must notice: see tests/test_mutations.py.

A mutant replaces a piece of text that stands exactly once in its package, in whatever file.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new`, somewhere in a package; tests: arguments of pytest, relative to the root."""

    name: str
    package: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(package: str, tests: str, *changes: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(name, package, old, new, tuple(tests.split())) for name, old, new in changes]


OF_ELSA_CORE = [
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_closed_form.py",
        ("loss: the diagonal counts once", "- 2 * squared_h + 1", "- squared_h + 1"),
        ("loss: the own items count", "(squared_h - 1) * inverse", "squared_h * inverse"),
        ("loss: another constant", "return 2 - 2 * cosine.mean(), grad", "return 1 - cosine.mean(), grad"),
        ("gradient: uphill", "scale = -2 / len(h)", "scale = 2 / len(h)"),
        ("gradient: the share of h", "(inverse[:, None] + pull) * h", "(inverse[:, None] - pull) * h"),
        ("gradient: the sign by the gram", "(-0.5 * pull * h).T", "(0.5 * pull * h).T"),
        ("gradient: half by the gram", "addmm_(A, grad_gram, alpha=2)", "addmm_(A, grad_gram, alpha=1)"),
        (
            "gradient: of a length that is cut off",
            "is_long, cosine * inverse * inverse, 0",
            "is_long, cosine, cosine",
        ),
    ),
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_topk.py",
        ("top-k: ties in any order", "if is_tied.any():", "if False:"),
        ("top-k: ties between groups", "is_tied | is_tied_inside", "is_tied_inside"),
        ("top-k: columns of a later block", "torch.cat([where, at + start], dim=1)", "torch.cat([where, at], dim=1)"),
        ("top-k: excluded pairs", "for axis in stored.coords)] = -torch.inf", "for axis in stored.coords)] = 0"),
        ("top-k: items that are no candidates", "not candidates[columns].all()", "candidates[columns].all()"),
        ("top-k: columns left over by the groups", "torch.cat([columns, rest], dim=1)", "columns"),
        ("top-k: dense parts that are added", "block += part[rows, columns]", "block += 0 * part[rows, columns]"),
        ("top-k: missing places have a score", "np.where(missing, np.nan,", "np.where(missing, 0,"),
    ),
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_model.py tests/elsa_core/test_topk.py tests/elsa_core/test_residual.py",
        ("lists: ties among given pairs", "np.lexsort((item, -score, row))", "np.lexsort((-item, -score, row))"),
        ("lists: an item next to itself", " & (item != item_idx[row])", ""),
        (
            "lists: for users without a history",
            "@ self.is_known.astype(np.int64) > 0",
            "@ self.is_known.astype(np.int64) >= 0",
        ),
        ("lists: what was seen", "(X_rows,) if exclude_seen else ()", "() if exclude_seen else ()"),
        ("scores: without the scale", "np.float32(self.scale) * self.embed(X_rows)", "self.embed(X_rows)"),
        ("scores: own items count twice", "np.asarray(-np.float32(self.scale)", "np.asarray(np.float32(self.scale)"),
        ("contributions: of the item itself", "(of >= 0) & (own != of), weight", "of >= 0, weight"),
        (
            "reindex: items stay where they were",
            "moved[positions[kept]] = self.item_embeddings[kept]",
            "moved[: kept.sum()] = self.item_embeddings[kept]",
        ),
    ),
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_training.py tests/elsa_core/test_resume.py tests/elsa_core/test_model.py",
        ("training: rows of any length", "A = self.W / lengths", "A = self.W"),
        ("training: the gradient also stretches", "addcmul_(along, A, value=-1)", "addcmul_(along, A, value=0)"),
        ("training: ties go to the later epoch", "ndcg > self.best_ndcg", "ndcg >= self.best_ndcg"),
        ("training: patience lasts longer", ">= self.config.patience", "> self.config.patience"),
        ("training: the learning rate stays", "config.lr * (1 - done)", "config.lr"),
        ("training: the best weights go on changing", "else ndcg, self.W.clone()", "else ndcg, self.W"),
        ("training: users of length squared", "lengths = np.sqrt(np.asarray(", "lengths = np.abs(np.asarray("),
        ("training: users with one item", "np.diff(X.indptr) >= 2", "np.diff(X.indptr) >= 1"),
        ("training: negative weights", "and X.data.min() >= 0", "and X.data.min() >= -9"),
        ("training: an explosion goes on", "if not np.isfinite(loss):", "if False:"),
        ("start: the smallest singular vectors", "vectors.flip(1)[:, :factors]", "vectors[:, :factors]"),
        ("checkpoint: of another training", 'state if state["fingerprint"] == of else None', "state"),
    ),
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_residual.py",
        ("residual: weights of users", "np.diff(X.indptr) ** -0.5", "np.diff(X.indptr) ** -1.0"),
        ("residual: dropout", "dropout / (1 - dropout) * P_diagonal", "dropout * P_diagonal"),
        ("residual: what is left over", "beta=1 + self.c, alpha=-self.c", "beta=1, alpha=-self.c"),
        ("residual: only positive partners", "left_over.abs() * scale[at]", "left_over * scale[at]"),
        ("residual: an item explains itself", "at == own[row], -torch.inf", "at < 0, -torch.inf"),
        ("residual: the share of the low rank", "(weights * (squared_h - squared_x))", "(weights * squared_h)"),
        ("residual: the worst choice", "if ndcg > max(entry", "if ndcg < max(entry"),
    ),
    *_of(
        "elsa_core",
        "tests/elsa_core/test_ease.py",
        ("ease: items predict themselves", "B.fill_diagonal_(0)", "B.fill_diagonal_(0.5)"),
        ("ease: another ridge", "regular.diagonal().add_(ridge)", "regular.diagonal().add_(2 * ridge)"),
        ("ease: the sign", "inverse.div_(-inverse.diagonal().clone())", "inverse.div_(inverse.diagonal().clone())"),
        ("ease: the worst ridge", "if not choices or ndcg > max(", "if not choices or ndcg < max("),
    ),
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_metrics.py",
        (
            "ndcg: the discount of the next rank",
            "np.log2(np.arange(2, max(cutoffs) + 2))",
            "np.log2(np.arange(3, max(cutoffs) + 3))",
        ),
        (
            "ndcg: the ideal list is always full",
            "ideal[np.minimum(k, n_targets) - 1]",
            "ideal[np.minimum(k, k * n_targets) - 1]",
        ),
        ("recall: over k", "top.sum(axis=1) / n_targets", "top.sum(axis=1) / k"),
        (
            "metrics: a place without an item hits",
            "np.isin(offered, wanted) & (items >= 0)",
            "np.isin(offered, wanted)",
        ),
        ("metrics: hits outside the segment", "_of_hits(hits & among[items],", "_of_hits(hits,"),
        ("bootstrap: a narrower interval", "[(1 - LEVEL) / 2, (1 + LEVEL) / 2]", "[1 - LEVEL, LEVEL]"),
        ("bootstrap: each series alone", "(sign * scaled).max(axis=1)", "(sign * scaled)[:, 0]"),
        (
            "bootstrap: a lift over nothing",
            "ours / theirs - 1, np.where(ours > 0, np.inf, 0.0)",
            "ours / theirs - 1, 0.0",
        ),
        ("popularity: the least popular", "np.argsort(-self.n_users_of", "np.argsort(self.n_users_of"),
    ),
    *_of(
        "elsa_core",
        "--noconftest tests/elsa_core/test_diversity.py",
        (
            "diversity: one more of a category",
            "(n_before.reshape(items.shape) < cap)",
            "(n_before.reshape(items.shape) <= cap)",
        ),
    ),
]

OF_THE_PIPELINE = [
    *_of(
        "tasks",
        "tests/flows/test_tiny_worlds.py tests/publish/test_nothing_to_recommend.py tests/publish/test_rules.py",
        ("lists: what users have seen", "k, also_exclude=seen, allowed=", "k, also_exclude=None, allowed="),
    ),
    *_of(
        "sql",
        "tests/publish/test_rules.py",
        ("rules: hidden items are recommended", "\n    and not is_hidden\n", "\n"),
        ("rules: items that have expired", "coalesce(moment < available_until, true)", "true"),
        ("rules: items before their time", "coalesce(moment >= available_from, true)", "true"),
    ),
    *_of(
        "tasks",
        "tests/model/test_gate.py",
        ("gate: better is worse", "high < -one.limit, low >= -one.limit", "high > -one.limit, low <= -one.limit"),
        ("gate: minimums are maximums", "limit, value >= limit, verdict", "limit, value <= limit, verdict"),
        ("gate: a lift by chance is enough", "limit, low > limit, verdict", "limit, lift > limit, verdict"),
    ),
    *_of(
        "tasks",
        "tests/publish/test_publish.py",
        ("publication: over a rollback", "if current != run.replaces:", "if False:"),
        (
            "retention: one night fewer",
            "*nights[: run.config.publication.keep]",
            "*nights[: run.config.publication.keep - 1]",
        ),
        ("retention: no time of grace", "left.get(path.stem, _ended(path.stem, runs)) < before", "True"),
        ("rollback: to where a rollback led away from", "way = way[: way.index(entry.run_id)]", "pass"),
    ),
    *_of(
        "tasks",
        "tests/publish/test_publish.py::test_readers_see_whole_versions_only_and_never_hold_up_the_writer",
        (
            "switch: not at once",
            "new_link.replace(warehouse.current)",
            'warehouse.current.unlink(True)\n    __import__("time").sleep(0.2)\n'
            "    new_link.replace(warehouse.current)",
        ),
    ),
    *_of(
        "tasks",
        "tests/publish/test_contract.py",
        ("contract: a broken promise is published", 'broken[check.split("/")[-1]] = rows', "pass"),
    ),
    *_of(
        "tasks",
        "tests/data/test_quarantine.py",
        ("quarantine: any share is allowed", "n_new_rejected > run.config.quarantine.max_share * n_new", "False"),
    ),
    *_of(
        "sql",
        "tests/data/test_quarantine.py tests/data/test_bad_files.py",
        (
            "quarantine: rows that are no rows are not counted",
            "like 'malformed: %') as n_malformed",
            "like 'nothing: %') as n_malformed",
        ),
        (
            "quarantine: a value that is no number",
            "if(value is not null and number is null, 'value is no number', null),",
            "",
        ),
    ),
    *_of(
        "sql",
        "tests/data/test_ingest.py tests/data/test_quarantine.py",
        ("events: an earlier version of an event stays", "unnest(max(struct_pack(", "unnest(min(struct_pack("),
    ),
    *_of(
        "tasks",
        "tests/data/test_interactions.py",
        (
            "holdout: the answers are shown",
            'known = _csr(pairs.filter(pl.col("known_weight") > 0), shape, "known_weight")',
            'known = _csr(pairs.filter(pl.col("weight") > 0), shape)',
        ),
        (
            "holdout: the test users train",
            'np.flatnonzero(users["is_trained_on"])',
            "np.arange(len(users))",
        ),
    ),
    *_of(
        "sql",
        "tests/data/test_holdout.py",
        ("window: what was seen before is asked for", "and i.user_id is null and", "and"),
        ("window: its first event is known", "or timestamp < cast($before", "or timestamp <= cast($before"),
    ),
    *_of(
        "tasks",
        "tests/data/test_holdout.py",
        ("window: a champion of a later one", "theirs > matrix.window_start", "theirs < matrix.window_start"),
    ),
    *_of(
        "sql",
        "tests/data/test_interactions.py",
        ("holdout: the first, not the last", "order by i.first_at, md5(", "order by i.first_at desc, md5("),
        ("interactions: age makes strong", "weight * pow(0.5,", "weight * pow(2.0,"),
        (
            "interactions: the oldest items of a user",
            "order by last_at desc, weight desc",
            "order by last_at, weight desc",
        ),
    ),
    *_of(
        "sql",
        "tests/data/test_forget.py",
        ("forget: a person comes back", "where is_forgotten(user_id)", "where false"),
    ),
]

MUTANTS = [*OF_ELSA_CORE, *OF_THE_PIPELINE]
