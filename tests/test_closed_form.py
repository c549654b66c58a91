"""The loss without a dense output, against the dense one."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.nn.functional import normalize

from elsa_core.closed_form import UserProduct, cosine_loss

hypothesis_settings = settings(deadline=None, max_examples=40)


def random_users(n_users: int, n_items: int, weighted: bool, seed: int) -> sparse.csr_array:
    """Users with at least two interactions each."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n_users, n_items))
    for row in X:
        liked = rng.permutation(n_items)[: rng.integers(2, n_items + 1)]
        row[liked] = rng.uniform(0.25, 4, len(liked)) if weighted else 1
    return sparse.csr_array(X)


def random_weights(n_items: int, factors: int, seed: int) -> torch.Tensor:
    """W, with rows of different lengths."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n_items, factors)) * rng.uniform(0.5, 2, (n_items, 1))
    return torch.from_numpy(W).requires_grad_()


def closed_form_loss(X: sparse.csr_array, W: torch.Tensor) -> torch.Tensor:
    A = normalize(W)
    squared_length = torch.from_numpy(X.multiply(X).sum(axis=1)).to(W)
    return cosine_loss(UserProduct.apply(A, X), A.T @ A, squared_length)


def reconstruct(x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    A = W / W.norm(dim=1, keepdim=True)
    return x @ (A @ A.T - torch.eye(len(A)).to(W))


def dense_loss(X: sparse.csr_array, W: torch.Tensor) -> torch.Tensor:
    """mean_u ‖norm(x (A Aᵀ − I)) − norm(x)‖², written down as it reads."""
    x = torch.from_numpy(X.toarray()).to(W)
    reconstruction = reconstruct(x, W)
    difference = reconstruction / reconstruction.norm(dim=1, keepdim=True) - x / x.norm(dim=1, keepdim=True)
    return (difference**2).sum(dim=1).mean()


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
    X, W = random_users(n_users, n_items, weighted, seed), random_weights(n_items, factors, seed)
    x = torch.from_numpy(X.toarray())
    assume(
        (reconstruct(x, W).norm(dim=1) > 0.01 * x.norm(dim=1)).all()
    )  # nearer to 0, the loss is bounded on purpose
    ours, dense = closed_form_loss(X, W), dense_loss(X, W)
    torch.testing.assert_close(ours, dense, rtol=1e-9, atol=1e-9)
    gradient, dense_gradient = (torch.autograd.grad(loss, W)[0] for loss in (ours, dense))
    torch.testing.assert_close(gradient, dense_gradient, rtol=1e-6, atol=1e-9)


@hypothesis_settings
@given(**problems)
def test_length_of_the_reconstruction_follows_from_h_and_the_gram_matrix(
    n_users: int, n_items: int, factors: int, weighted: bool, seed: int
) -> None:
    X = random_users(n_users, n_items, weighted, seed)
    A = normalize(random_weights(n_items, factors, seed)).detach()
    h, x = UserProduct.apply(A, X), torch.from_numpy(X.toarray())
    length = ((h @ (A.T @ A)) * h).sum(dim=1) - 2 * (h * h).sum(dim=1) + (x * x).sum(dim=1)
    dense = (reconstruct(x, A) ** 2).sum(dim=1)
    torch.testing.assert_close(length, dense, rtol=1e-9, atol=1e-9)


@hypothesis_settings
@given(
    n_rows=st.integers(1, 7), n_columns=st.integers(1, 7), factors=st.integers(1, 17), seed=st.integers(0, 2**32 - 1)
)
def test_user_product_is_the_sparse_product_and_so_is_its_gradient(
    n_rows: int, n_columns: int, factors: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = sparse.csr_array(rng.standard_normal((n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < 0.4))
    A = torch.from_numpy(rng.standard_normal((n_columns, factors))).requires_grad_()
    upstream = torch.from_numpy(rng.standard_normal((n_rows, factors)))
    h = UserProduct.apply(A, X)
    (gradient,) = torch.autograd.grad(h, A, upstream)
    np.testing.assert_allclose(h.detach().numpy(), X.toarray() @ A.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(gradient.numpy(), X.toarray().T @ upstream.numpy(), atol=1e-12)


def test_user_product_leaves_empty_rows_and_unseen_items_at_zero() -> None:
    X = sparse.csr_array(np.array([[0, 2.0, 0], [0, 0, 0]]))
    A = torch.ones((3, 4), dtype=torch.float64, requires_grad=True)
    h = UserProduct.apply(A, X)
    h.sum().backward()
    assert h.tolist() == [[2.0] * 4, [0.0] * 4]
    assert A.grad is not None and A.grad.tolist() == [[0.0] * 4, [2.0] * 4, [0.0] * 4]


def test_loss_of_two_items_by_hand() -> None:
    # ⟨a_1, a_2⟩ = 0.6, so B = [[0, .6], [.6, 0]].
    # x = (1, 1): x̂ = (.6, .6), parallel to x: loss 0.
    # x = (2, 1): x̂ = (.6, 1.2), x · x̂ = 2.4, ‖x‖‖x̂‖ = √5 · √1.8 = 3, cos = .8: loss 2 − 1.6 = .4.
    # Turning an item only changes the length of x̂: no gradient.
    W = torch.tensor([[5.0, 0.0], [1.2, 1.6]], dtype=torch.float64, requires_grad=True)
    loss = closed_form_loss(sparse.csr_array(np.array([[1.0, 1.0], [2.0, 1.0]])), W)
    loss.backward()
    assert loss.item() == pytest.approx((0 + 0.4) / 2, abs=1e-12)
    assert W.grad is not None and W.grad.abs().max() < 1e-12


def test_loss_of_three_items_by_hand() -> None:
    # A = (1, 0), (0, 1), (.6, .8), so B = [[0, 0, .6], [0, 0, .8], [.6, .8, 0]].
    # x = (1, 1, 0): x̂ = (0, 0, 1.4), at a right angle to x: loss 2.
    # x = (3, 4, 5): x̂ = (3, 4, 1.8 + 3.2 = 5), parallel to x: loss 0.
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    for row, loss in (([1.0, 1.0, 0.0], 2), ([3.0, 4.0, 5.0], 0)):
        assert closed_form_loss(sparse.csr_array(np.array([row])), W).item() == pytest.approx(loss, abs=1e-12)


def test_a_user_with_one_item_has_a_loss_of_two_and_no_gradient() -> None:
    W = random_weights(5, 3, seed=0)
    loss = closed_form_loss(sparse.csr_array(np.array([[0, 3.0, 0, 0, 0]])), W)
    loss.backward()
    assert loss.item() == pytest.approx(2)
    assert W.grad is not None and W.grad.abs().max() < 1e-9


# BUG: the loss has no scale, but ‖x̂‖²‖x‖² leaves float32 where ‖x‖ is about 3e9 (loss 2, no gradient, no error), and
# its gradient already where ‖x‖ is about 1e-8 (NaN, which fit blames on the learning rate) or 1e9 (wrong).
out_of_range = pytest.mark.xfail(reason="‖x̂‖²‖x‖² or its gradient leaves the range of float32", strict=True)


@pytest.mark.parametrize(
    "scale", [1e-4, 1e4, 1e6, *(pytest.param(scale, marks=out_of_range) for scale in (1e-13, 1e-9, 1e10))]
)
def test_loss_and_gradient_do_not_depend_on_the_scale_of_the_weights(scale: float) -> None:
    X = random_users(6, 9, weighted=True, seed=1)
    W = random_weights(9, 4, seed=1).detach().float().requires_grad_()
    ours, dense = closed_form_loss((X * scale).astype(np.float32), W), dense_loss(X, W)
    torch.testing.assert_close(ours, dense, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*(torch.autograd.grad(loss, W)[0] for loss in (ours, dense)), rtol=1e-3, atol=1e-4)
