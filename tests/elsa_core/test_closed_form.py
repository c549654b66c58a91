"""The loss without a dense output, against the dense one."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.nn.functional import normalize

from elsa_core.closed_form import cosine_loss, weighted_row_sums

hypothesis_settings = settings(deadline=None, max_examples=40)


def random_users(n_users: int, n_items: int, weighted: bool, seed: int) -> sparse.csr_array:
    """Users with at least two interactions each, as rows of length 1."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n_users, n_items))
    for row in X:
        liked = rng.permutation(n_items)[: rng.integers(2, n_items + 1)]
        row[liked] = rng.uniform(0.25, 4, len(liked)) if weighted else 1
    return sparse.csr_array(X / np.linalg.norm(X, axis=1, keepdims=True))


def random_vectors(n_items: int, factors: int, seed: int) -> torch.Tensor:
    """A, with rows of length 1."""
    return normalize(torch.from_numpy(np.random.default_rng(seed).standard_normal((n_items, factors))))


def reconstruct(x: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    return x @ (A @ A.T - torch.eye(len(A)).to(A))


def dense_loss(X: sparse.csr_array, A: torch.Tensor) -> torch.Tensor:
    """mean_u ‖norm(x (A Aᵀ − I)) − norm(x)‖², written down as it reads."""
    x = torch.from_numpy(X.toarray()).to(A)
    reconstruction = reconstruct(x, A)
    difference = reconstruction / reconstruction.norm(dim=1, keepdim=True) - x / x.norm(dim=1, keepdim=True)
    return (difference**2).sum(dim=1).mean()


def dense_gradient(X: sparse.csr_array, A: torch.Tensor) -> torch.Tensor:
    A = A.clone().requires_grad_()
    return torch.autograd.grad(dense_loss(X, A), A)[0]


problems = {
    "n_users": st.integers(1, 8),
    "n_items": st.integers(2, 9),
    "factors": st.integers(2, 6),
    "weighted": st.booleans(),
    "seed": st.integers(0, 2**32 - 1),
}


@hypothesis_settings
@given(**problems)
def test_loss_and_gradient_equal_the_dense_ones(
    n_users: int, n_items: int, factors: int, weighted: bool, seed: int
) -> None:
    X, A = random_users(n_users, n_items, weighted, seed), random_vectors(n_items, factors, seed)
    x = torch.from_numpy(X.toarray())
    assume((reconstruct(x, A).norm(dim=1) > 0.01).all())  # nearer to 0, the loss is bounded on purpose
    loss, gradient = cosine_loss(X, A)
    torch.testing.assert_close(loss, dense_loss(X, A), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, dense_gradient(X, A), rtol=1e-6, atol=1e-9)


@hypothesis_settings
@given(
    n_rows=st.integers(1, 7), n_columns=st.integers(1, 7), factors=st.integers(1, 17), seed=st.integers(0, 2**32 - 1)
)
def test_weighted_row_sums_are_the_sparse_product(n_rows: int, n_columns: int, factors: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = sparse.csr_array(rng.standard_normal((n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < 0.4))
    A = torch.from_numpy(rng.standard_normal((n_columns, factors)))
    np.testing.assert_allclose(weighted_row_sums(X, A).numpy(), X.toarray() @ A.numpy(), atol=1e-12)


def test_loss_of_two_items_by_hand() -> None:
    # ⟨a_1, a_2⟩ = 0.6, so B = [[0, .6], [.6, 0]].
    # x = (1, 1)/√2: x̂ is parallel to x: loss 0.
    # x = (2, 1)/√5: x̂ = (.6, 1.2)/√5, x · x̂ = 2.4/5, ‖x̂‖ = √1.8/√5, cos = .48/.6 = .8: loss 2 − 1.6 = .4.
    A = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    X = sparse.csr_array(np.array([[1.0, 1.0], [2.0, 1.0]]) / np.sqrt([[2.0], [5.0]]))
    assert cosine_loss(X, A)[0].item() == pytest.approx((0 + 0.4) / 2, abs=1e-12)


def test_loss_of_three_items_by_hand() -> None:
    # A = (1, 0), (0, 1), (.6, .8), so B = [[0, 0, .6], [0, 0, .8], [.6, .8, 0]].
    # x = (1, 1, 0)/√2: x̂ = (0, 0, 1.4)/√2, at a right angle to x: loss 2.
    # x = (3, 4, 5)/√50: x̂ = (3, 4, 1.8 + 3.2 = 5)/√50, parallel to x: loss 0.
    A = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    for row, loss in ((np.array([[1.0, 1.0, 0.0]]) / np.sqrt(2), 2), (np.array([[3.0, 4.0, 5.0]]) / np.sqrt(50), 0)):
        assert cosine_loss(sparse.csr_array(row), A)[0].item() == pytest.approx(loss, abs=1e-12)


def test_float32_agrees_with_float64_on_nearly_parallel_items() -> None:
    # every item within 1e-3 of one direction: x̂ ≈ (n − 1) x, and h G hᵀ cancels to a small part of itself
    A = normalize(torch.ones(200, 8, dtype=torch.float64) + 1e-3 * random_vectors(200, 8, seed=3))
    X = random_users(50, 200, weighted=True, seed=3)
    loss, gradient = cosine_loss(X, A)
    loss32, gradient32 = cosine_loss(X.astype(np.float32), A.float())
    assert loss32.item() == pytest.approx(loss.item(), abs=1e-4)
    assert (gradient32 - gradient).norm() < 1e-2 * gradient.norm()
