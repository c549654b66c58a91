"""ELSA beside other models: nDCG@100 on held-out users, seconds to fit, peak memory; each in a process of its own.

Peers at settings that are usual for them, not tuned; ELSA with early stopping on the validation users.
`python benchmarks/models.py [mtg|generated]`
"""

import sys
from collections.abc import Callable

import numpy as np
from scipy import sparse

from datasets import Split, like_movielens_20m, mtg_decklists
from measured import Measured, in_a_process

SPLITS = {"mtg": mtg_decklists, "generated": like_movielens_20m}
Scores = Callable[[sparse.csr_array], np.ndarray]  # (users, items) of the test users' shown items


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "mtg"
    print(f"{'model':<28}{'nDCG@100':>9}{'fit (s)':>9}{'peak over data (MB)':>21}")
    for model in MODELS:
        ndcg, seconds, megabytes = in_a_process(measure, name, model)
        print(f"{model:<28}{ndcg:9.4f}{seconds:9.1f}{megabytes:21,.0f}", flush=True)


def measure(name: str, model: str) -> tuple[float, float, float]:
    import elsa_core

    split = SPLITS[name]()
    with Measured() as fit:
        recommend = MODELS[model](split)
    ndcg = elsa_core.evaluate(recommend(split.test[0]), split.test[1], [100])["ndcg@100"].mean()
    return ndcg, fit.seconds, fit.megabytes


def elsa(factors: int, neighbors: int = 0) -> Callable[[Split], Scores]:
    def fit(split: Split) -> Scores:
        import elsa_core

        config = elsa_core.TrainConfig(factors=factors, batch_size=1024, device="cpu")
        model = elsa_core.fit(split.train, config, split.validation)
        if neighbors:
            config = elsa_core.ResidualConfig(neighbors=neighbors)
            model = elsa_core.fit_residual(split.train, model, config, split.validation)
        return lambda X: model.recommend(X, 100)[0]

    return fit


def popularity(split: Split) -> Scores:
    import elsa_core

    model = elsa_core.Popularity.fit(split.train)
    return lambda X: model.recommend(X, 100)[0]


def ease(split: Split) -> Scores:
    """Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019; λ = 1000."""
    gram = (split.train.T @ split.train).toarray().astype(np.float32)
    gram[np.diag_indices(len(gram))] += 1000
    inverse = np.linalg.inv(gram)
    B = inverse / -np.diag(inverse)
    np.fill_diagonal(B, 0)
    return lambda X: best_unseen(X @ B, X)


def item_knn(split: Split) -> Scores:
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=200)
    model.fit(sparse.csr_matrix(split.train), show_progress=False)
    return lambda X: best_unseen((X @ model.similarity).toarray(), X)


def als(split: Split) -> Scores:
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    model = AlternatingLeastSquares(factors=256, regularization=0.05, alpha=10, iterations=10, random_state=0)
    with threadpool_limits(1, "blas"):  # it has threads of its own
        model.fit(sparse.csr_matrix(split.train), show_progress=False)
    return lambda X: model.recommend(np.arange(X.shape[0]), sparse.csr_matrix(X), N=100, recalculate_user=True)[0]


def bpr(split: Split) -> Scores:
    """Rendle et al., BPR, UAI 2009. It knows only users it was fitted to: the test users' shown items are added."""
    from implicit.bpr import BayesianPersonalizedRanking

    X = sparse.csr_matrix(sparse.vstack([split.train, split.test[0]]))
    model = BayesianPersonalizedRanking(factors=256, learning_rate=0.05, iterations=50, random_state=0)
    model.fit(X, show_progress=False)
    rows = np.arange(split.train.shape[0], X.shape[0])
    return lambda shown: model.recommend(rows, sparse.csr_matrix(shown), N=100)[0]


def best_unseen(scores: np.ndarray, X: sparse.csr_array) -> np.ndarray:
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    scores[rows, X.indices] = -np.inf
    return np.argsort(-scores, axis=1)[:, :100]


MODELS: dict[str, Callable[[Split], Scores]] = {
    "popularity": popularity,
    "ELSA, 64 factors": elsa(64),
    "ELSA, 256 factors": elsa(256),
    "ELSA + sparse, 256 factors": elsa(256, neighbors=100),
    "EASE": ease,
    "item-kNN, cosine, 200": item_knn,
    "ALS, 256 factors": als,
    "BPR, 256 factors": bpr,
    "ELSA, 1024 factors": elsa(1024),
}

if __name__ == "__main__":
    main()
