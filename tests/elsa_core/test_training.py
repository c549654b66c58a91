"""fit: what it learns, when it stops, what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.functional import normalize

import elsa_core.closed_form
import elsa_core.topk
import elsa_core.train
from elsa_core import DeviceError, Epoch, TrainingError, evaluate, fit, resolve_device
from elsa_core.start import OVERSAMPLING
from elsa_core.train import Training, rows_of_length_one
from tests.support.small_training import LargestTensor, config, random_interactions, validation_users


@pytest.fixture
def scripted_ndcg(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The validation nDCG of epochs 0 to 8; its highest is that of epoch 2, and again of epoch 4."""
    ndcg = [0.1, 0.2, 0.5, 0.4, 0.5, 0.3, 0.2, 0.1, 0.1]
    values = iter(ndcg)
    monkeypatch.setattr(elsa_core.train, "validation_ndcg", lambda *_: next(values))
    return ndcg


def test_one_seed_gives_bitwise_equal_models_and_another_does_not() -> None:
    X = random_interactions()
    first, again, other = (fit(X, replace(config, seed=seed)) for seed in (7, 7, 8))
    assert first.item_embeddings.tobytes() == again.item_embeddings.tobytes()
    assert [e["loss"] for e in first.history] == [e["loss"] for e in again.history]
    assert first.item_embeddings.tobytes() != other.item_embeddings.tobytes()


def test_training_lowers_the_loss() -> None:
    history = fit(random_interactions(), replace(config, n_epochs=30)).history
    assert history[-1]["loss"] < history[1]["loss"] - 0.003


def test_no_tensor_of_users_times_items_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    n_items, wide = 3000, replace(config, batch_size=256, n_epochs=1)
    X = random_interactions(300, n_items)
    with LargestTensor() as largest:
        fit(X, wide)
    assert largest.numel == n_items * (wide.factors + OVERSAMPLING) < wide.batch_size * n_items / 10
    dense = lambda rows, A: torch.from_numpy(rows.toarray()).to(A) @ A  # noqa: E731  the recorder must see it
    monkeypatch.setattr(elsa_core.closed_form, "weighted_row_sums", dense)
    with LargestTensor() as largest:
        fit(X, wide)
    assert largest.numel == wide.batch_size * n_items


def test_ranking_validation_users_keeps_to_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsa_core.topk, "BLOCK_SCORES", 20_000)
    n_items, wide = 3000, replace(config, batch_size=256, n_epochs=1, strategy="early_stopping")
    X = random_interactions(300, n_items)
    with LargestTensor() as largest:
        fit(X, wide, (X, X))
    assert largest.numel == n_items * (wide.factors + OVERSAMPLING) < wide.batch_size * n_items / 10


def test_users_with_fewer_than_two_interactions_do_not_count() -> None:
    X = random_interactions(100)
    few = sparse.csr_array(np.eye(31, 30, dtype=np.float32))  # one item each, and one without any
    mixed = sparse.vstack([few[:10], X[:50], few[10:], X[50:]]).tocsr()
    assert fit(mixed, config).item_embeddings.tobytes() == fit(X, config).item_embeddings.tobytes()


def test_stored_zeros_are_no_interactions() -> None:
    X = random_interactions(100)
    mixed = sparse.vstack([X, random_interactions(1)]).tocsr()
    mixed.data[X.nnz :] = 0
    assert fit(mixed, config).item_embeddings.tobytes() == fit(X, config).item_embeddings.tobytes()


def test_rows_have_length_one_or_zero_where_nobody_interacted() -> None:
    dense = random_interactions().toarray()
    dense[:, [4, 17]] = 0
    dense[0] = np.eye(30)[17]  # the only interaction of a user does not make item 17 known
    model = fit(sparse.csr_array(dense), config)
    lengths = np.linalg.norm(model.item_embeddings, axis=1)
    np.testing.assert_allclose(lengths, [item not in (4, 17) for item in range(30)], atol=1e-6)
    assert not model.item_embeddings[[4, 17]].any()


def test_two_communities_come_apart() -> None:
    # Users have 6 of their community's 12 items. The best two factors give each community one direction, at a right
    # angle to the other's. x̂ is 5 at the 6 seen items, 6 at the 6 unseen: cos = 30 / √6·√(6·25 + 6·36) = 0.64018.
    half = np.random.default_rng(0).permuted(np.tile(np.arange(12) < 6, (120, 1)), axis=1)
    is_own = np.repeat(np.eye(2, dtype=bool), 60, axis=0).repeat(12, axis=1)  # (users, items), two blocks
    X = sparse.csr_array((np.tile(half, 2) & is_own).astype(np.float32))
    model = fit(X, replace(config, factors=2, n_epochs=40))
    items, scores = model.recommend(X, 7)
    assert np.take_along_axis(is_own, items, axis=1).tolist() == [[True] * 6 + [False]] * 120
    np.testing.assert_allclose(scores, np.tile([6, 6, 6, 6, 6, 6, 0], (120, 1)), atol=0.1)
    assert model.history[-1]["loss"] == pytest.approx(2 - 2 * 0.64018, abs=1e-4)


def test_early_stopping_waits_for_patience_and_restores_the_best_epoch(scripted_ndcg: list[float]) -> None:
    stopping = replace(config, n_epochs=8, strategy="early_stopping", patience=3)
    X = random_interactions()
    model = fit(X, stopping, validation_users())
    assert model.best_epoch == 2 == np.argmax(scripted_ndcg)
    assert [entry["ndcg"] for entry in model.history] == scripted_ndcg[: 2 + 3 + 1]
    until_best = fit(X, replace(stopping, strategy="default"), epochs=2)
    assert model.item_embeddings.tobytes() == until_best.item_embeddings.tobytes()


def test_early_stopping_model_has_the_highest_ndcg_of_its_history() -> None:
    fold_in, targets = validation_users()
    stopping = replace(config, lr=1.0, n_epochs=10, strategy="early_stopping", patience=2)
    model = fit(random_interactions(), stopping, (fold_in, targets))
    ndcg = [entry["ndcg"] for entry in model.history]
    assert len(ndcg) == model.best_epoch + 1 + 2 < 11
    assert model.best_epoch == np.argmax(ndcg)
    again = evaluate(model.recommend(fold_in, 5)[0], targets, [5])["ndcg@5"].mean()
    assert again == pytest.approx(max(ndcg), abs=1e-12)


def test_a_step_follows_the_gradient_of_the_weights_through_their_length() -> None:
    X = random_interactions(40, 12)
    training = Training(X, config, None, None)
    dense = training.W.double().requires_grad_()
    loss = training.step(np.arange(40))
    A, x = normalize(dense), torch.from_numpy(rows_of_length_one(X).toarray()).double()
    expected = (normalize(x @ A @ A.T - x) - x).square().sum(dim=1).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(
        training.W.grad.double(), torch.autograd.grad(expected, dense)[0], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1.0, 1e9, 1e20])
def test_the_scale_of_the_weights_does_not_matter(scale: float) -> None:
    X = random_interactions()
    rows = rows_of_length_one(sparse.csr_array(X.astype(np.float64) * scale))
    assert abs(rows - rows_of_length_one(X)).max() < 1e-6
    assert np.allclose(rows.multiply(rows).sum(axis=1), 1, atol=1e-5)


def test_default_strategy_runs_all_epochs_and_keeps_the_last(scripted_ndcg: list[float]) -> None:
    model = fit(random_interactions(), replace(config, n_epochs=8, patience=1), validation_users())
    assert [entry["epoch"] for entry in model.history] == list(range(9))
    assert [entry["ndcg"] for entry in model.history] == scripted_ndcg
    assert model.best_epoch == 8


def test_epochs_stops_early_on_the_same_schedule() -> None:
    X, longer = random_interactions(), replace(config, n_epochs=6)
    stopped, full = fit(X, longer, epochs=3), fit(X, longer)
    assert [e["loss"] for e in stopped.history] == [e["loss"] for e in full.history[:4]]
    assert stopped.best_epoch == 3
    assert stopped.item_embeddings.tobytes() != fit(X, replace(config, n_epochs=3)).item_embeddings.tobytes()


def test_epochs_beyond_the_schedule_are_refused() -> None:
    with pytest.raises(TrainingError, match="epochs"):
        fit(random_interactions(), config, epochs=config.n_epochs + 1)


def test_on_epoch_sees_every_entry_of_the_history() -> None:
    seen: list[Epoch] = []
    assert fit(random_interactions(), config, on_epoch=seen.append).history == [vars(entry) for entry in seen]


@pytest.mark.parametrize(
    ("X", "changes", "message"),
    [
        *((random_interactions(), {"factors": r}, f"factors is {r}, but there are 30 items") for r in (0, 31)),
        *((sparse.csr_array([[1, w]]), {}, "negative weight, an infinity or a NaN") for w in (-1, np.nan, np.inf)),
        (sparse.csr_array(np.eye(30)), {}, "no user has two interactions"),
        (sparse.csr_array((4, 30)), {}, "no user has two interactions"),
        (random_interactions(), {"strategy": "early_stopping"}, "needs validation users.*or use strategy 'default'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(X: sparse.csr_array, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        fit(X, replace(config, **changes))


def test_an_exploding_loss_names_the_epoch_and_the_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsa_core.train, "cosine_loss", lambda X, A: (A.sum() * torch.nan, A))
    with pytest.raises(TrainingError, match=r"nan in epoch 1 at lr=0\.5;.*try lr=0\.05"):
        fit(random_interactions(), replace(config, lr=0.5))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match="'cuda' was asked for.*'auto'"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"
