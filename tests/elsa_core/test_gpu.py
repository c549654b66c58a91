"""A GPU gives what a CPU gives; `make test-gpu`, where there is one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from elsa_core import Elsa, Epoch, ResidualConfig, TrainConfig, fit, fit_ease, fit_residual
from elsa_core.closed_form import cosine_loss
from elsa_core.metrics import validation_ndcg
from elsa_core.train import rows_of_length_one
from tests.support.small_training import random_interactions, validation_users

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]

on_cpu = TrainConfig(factors=8, batch_size=32, n_epochs=6, device="cpu", k=5)
on_gpu = replace(on_cpu, device="cuda")


@pytest.fixture(scope="module")
def gpu_model() -> Elsa:
    return fit(random_interactions(), on_gpu, validation_users())


def on(device: str, model: Elsa) -> Elsa:
    return replace(model, device=device)


def test_loss_and_gradient_agree_with_float64_on_the_cpu() -> None:
    X = rows_of_length_one(random_interactions(300, 200))
    A = torch.nn.functional.normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)))
    loss, grad = cosine_loss(X, A.cuda())
    exact_loss, exact_grad = cosine_loss(X.astype(np.float64), A.double())
    torch.testing.assert_close(loss.cpu().double(), exact_loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.cpu().double(), exact_grad, rtol=1e-4, atol=1e-6)


def test_training_learns_the_same(gpu_model: Elsa) -> None:
    X, validation = random_interactions(), validation_users()
    cpu_model = fit(X, on_cpu, validation)
    for ours, theirs in zip(gpu_model.history, cpu_model.history, strict=False):
        assert ours["ndcg"] == pytest.approx(theirs["ndcg"], abs=0.02)
        if ours["epoch"]:
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)
    assert gpu_model.is_known.all()


def test_lists_are_the_same(gpu_model: Elsa) -> None:
    exact = replace(gpu_model, item_embeddings=np.round(gpu_model.item_embeddings * 4))  # integers: ties abound
    fold_in, _ = validation_users()
    gpu, cpu = on("cuda", exact), on("cpu", exact)
    np.testing.assert_array_equal(gpu.recommend(fold_in, 7), cpu.recommend(fold_in, 7))
    items = np.arange(fold_in.shape[1])
    np.testing.assert_array_equal(gpu.similar(items, 7), cpu.similar(items, 7))


def test_the_residual_is_the_same(gpu_model: Elsa) -> None:
    X, choices = random_interactions(), ResidualConfig(6, (0.5, 2.0), (0.2, 0.5), k=5)
    ours = fit_residual(X, on("cuda", gpu_model), choices, validation_users())
    theirs = fit_residual(X, on("cpu", gpu_model), choices, validation_users())
    assert ours.scale == pytest.approx(theirs.scale, rel=1e-4)
    assert ours.chosen["ndcg"] == pytest.approx(theirs.chosen["ndcg"], abs=1e-3)
    one = replace(choices, ridge=(0.5,), dropout=(0.2,))
    ours, theirs = (fit_residual(X, on(device, gpu_model), one).residual for device in ("cuda", "cpu"))
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-4)


def test_ease_is_the_same() -> None:
    ours, theirs = (fit_ease(random_interactions(), (10.0,), device=device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(ours.weights, theirs.weights, atol=1e-4)
    fold_in_and_targets = validation_users()
    assert validation_ndcg(ours, fold_in_and_targets, 5) == pytest.approx(
        validation_ndcg(theirs, fold_in_and_targets, 5), abs=1e-3
    )


def test_a_killed_training_resumes(gpu_model: Elsa, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise KilledError

    X, validation = random_interactions(), validation_users()
    with pytest.raises(KilledError):
        fit(X, on_gpu, validation, checkpoint=tmp_path / "state", on_epoch=kill)
    resumed = fit(X, on_gpu, validation, checkpoint=tmp_path / "state")
    assert len(resumed.history) == len(gpu_model.history)
    assert resumed.history[-1]["ndcg"] == pytest.approx(gpu_model.history[-1]["ndcg"], abs=0.02)
