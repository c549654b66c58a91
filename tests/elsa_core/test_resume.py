"""Starting from an earlier model, and going on after a kill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

import elsa_core.sparse_product
from elsa_core import Elsa, Epoch, TrainingError, fit
from elsa_core.start import RIDGE, spectral_start, unit_rows, warm_start
from tests.support.small_training import config, random_interactions, validation_users


class Killed(Exception):
    """Stands for the end of the process."""


def kill_after(epoch: int):
    def stop(entry: Epoch) -> None:
        if entry.epoch == epoch:
            raise Killed

    return stop


@pytest.mark.parametrize("strategy", ["default", "early_stopping"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_training_resumes_to_the_same_result(strategy: str, epoch: int, tmp_path: Path) -> None:
    X, settings = random_interactions(), replace(config, strategy=strategy, n_epochs=6, lr=1.0, patience=4)
    undisturbed = fit(X, settings, validation_users())
    checkpoint = tmp_path / "training.pt"
    with pytest.raises(Killed):
        fit(X, settings, validation_users(), checkpoint=checkpoint, on_epoch=kill_after(epoch))
    repeated: list[Epoch] = []
    resumed = fit(X, settings, validation_users(), checkpoint=checkpoint, on_epoch=repeated.append)
    assert resumed.item_embeddings.tobytes() == undisturbed.item_embeddings.tobytes()
    assert resumed.best_epoch == undisturbed.best_epoch
    assert [e["loss"] for e in resumed.history] == [e["loss"] for e in undisturbed.history]
    assert repeated[0].epoch == epoch, "the epoch during which it was killed is the only one that is repeated"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["data", "settings", "validation"])
def test_the_checkpoint_of_another_training_is_not_taken_up(change: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.pt"
    validation = validation_users() if change == "validation" else None
    with pytest.raises(Killed):
        fit(random_interactions(), config, validation, checkpoint=checkpoint, on_epoch=kill_after(2))
    X = random_interactions(seed=5 if change == "data" else 0)
    settings = replace(config, lr=0.2) if change == "settings" else config
    seen: list[Epoch] = []
    model = fit(X, settings, checkpoint=checkpoint, on_epoch=seen.append)
    assert seen[0].epoch == 0
    assert model.item_embeddings.tobytes() == fit(X, settings).item_embeddings.tobytes()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut off"])
def test_an_unreadable_checkpoint_counts_as_none(content: bytes, tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.pt"
    checkpoint.write_bytes(content)
    X = random_interactions()
    assert fit(X, config, checkpoint=checkpoint).item_embeddings.tobytes() == fit(X, config).item_embeddings.tobytes()


def test_the_spectral_start_spans_the_leading_singular_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsa_core.sparse_product, "USER_BLOCK", 70)
    X = random_interactions(300, 40)
    scale = [1 / np.sqrt(np.asarray(X.sum(axis=axis))) for axis in (1, 0)]
    dense = scale[0][:, None] * X.toarray() * scale[1]
    exact = np.linalg.svd(dense)[2][:6].T
    start = spectral_start(X, 6, seed=0, device=torch.device("cpu")).numpy()
    expected = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    pairs = np.triu_indices(40, k=1)
    assert np.corrcoef((start @ start.T)[pairs], (expected @ expected.T)[pairs])[0, 1] > 0.98


def test_a_warm_start_keeps_known_items_and_folds_new_ones_in_by_ridge_regression(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = random_interactions(200, 12)
    X.data[X.indices == 11] = 0  # gone: nobody has it any more
    X.eliminate_zeros()
    earlier = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    earlier[[2, 7]] = 0  # new to the earlier model
    monkeypatch.setattr(elsa_core.sparse_product, "USER_BLOCK", 70)
    start = warm_start(X, earlier, seed=0).numpy()
    known = unit_rows(earlier).numpy()
    kept = [item for item in range(11) if item not in (2, 7)]
    np.testing.assert_array_equal(start[kept], known[kept])
    H = (X @ known).astype(np.float64)
    gram = H.T @ H
    expected = np.linalg.solve(gram + RIDGE * np.diag(gram).mean() * np.eye(3), H.T @ X[:, [2, 7]].toarray()).T
    np.testing.assert_allclose(start[[2, 7]], expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-4)
    assert not start[11].any()


def test_a_warm_start_gives_items_of_new_users_only_some_direction() -> None:
    X = sparse.csr_array(np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.float32))
    earlier = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(warm_start(X, earlier, seed=0)[2:].norm(dim=1), torch.ones(2))


def test_from_an_earlier_model_the_first_epoch_is_the_model_itself() -> None:
    X, stopping = random_interactions(), replace(config, strategy="early_stopping")
    model = fit(X, stopping, validation_users())
    again = fit(X, stopping, validation_users(), earlier=model)
    assert again.history[0]["ndcg"] == pytest.approx(max(entry["ndcg"] for entry in model.history))


def test_an_earlier_model_of_another_size_is_refused() -> None:
    model = Elsa(unit_rows(torch.ones(30, 5)).numpy(), [], 0)
    with pytest.raises(TrainingError, match=r"\(30, 5\) items and factors, not \(30, 4\)"):
        fit(random_interactions(), config, earlier=model)
