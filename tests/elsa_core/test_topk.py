"""top_k against a sort of everything; vectors of small integers make ties abound."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import elsa_core.topk
from elsa_core.sparse_product import add_product
from elsa_core.topk import top_k

Lists = tuple[np.ndarray, np.ndarray]
small_integers = st.integers(-2, 2).map(float)


def sorted_by_hand(scores: np.ndarray, k: int, is_candidate: np.ndarray) -> Lists:
    """The slow reference: scores and is_candidate (rows, n_items)."""
    indices = np.full((len(scores), k), -1)
    best = np.full((len(scores), k), np.nan)
    for row, (values, is_allowed) in enumerate(zip(scores, is_candidate, strict=True)):
        order = sorted(np.flatnonzero(is_allowed), key=lambda item, values=values: (-values[item], item))[:k]
        indices[row, : len(order)] = order
        best[row, : len(order)] = values[order]
    return indices, best


def vectors(draw: st.DrawFn, n_rows: int, n_columns: int) -> np.ndarray:
    values = draw(st.lists(small_integers, min_size=n_rows * n_columns, max_size=n_rows * n_columns))
    return np.array(values, dtype=np.float32).reshape(n_rows, n_columns)


def pairs(draw: st.DrawFn, n_rows: int, n_columns: int) -> sparse.csr_array:
    """Stored pairs, zeros among them."""
    places = draw(st.sets(st.tuples(st.integers(0, n_rows - 1), st.integers(0, n_columns - 1))))
    values = [draw(small_integers) for _ in places]
    rows, columns = np.array(sorted(places), dtype=np.int64).reshape(-1, 2).T
    return sparse.csr_array((np.array(values, dtype=np.float32), (rows, columns)), (n_rows, n_columns))


def is_stored(matrix: sparse.csr_array) -> np.ndarray:
    return sparse.csr_array((np.ones(matrix.nnz, dtype=bool), matrix.indices, matrix.indptr), matrix.shape).toarray()


def assert_equal(ours: Lists, expected: Lists) -> None:
    np.testing.assert_array_equal(ours[0], expected[0])
    np.testing.assert_array_equal(ours[1], expected[1])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_equals_a_sort_of_everything_whatever_the_blocks(data: st.DataObject) -> None:
    n_rows, n_items, factors = (data.draw(st.integers(1, most)) for most in (6, 12, 2))
    users, items = vectors(data.draw, n_rows, factors), vectors(data.draw, n_items, factors)
    k = data.draw(st.integers(1, n_items + 2))
    add = tuple(pairs(data.draw, n_rows, n_items) for _ in range(data.draw(st.integers(0, 1))))
    if data.draw(st.booleans()):
        add += ((pairs(data.draw, n_rows, 3), pairs(data.draw, 3, n_items)),)
    exclude = tuple(pairs(data.draw, n_rows, n_items) for _ in range(data.draw(st.integers(0, 2))))
    candidates = data.draw(st.none() | st.lists(st.booleans(), min_size=n_items, max_size=n_items).map(np.array))

    added = [part[0] @ part[1] if isinstance(part, tuple) else part for part in add]
    scores = users @ items.T + sum(part.toarray() for part in added)
    is_candidate = np.ones_like(scores, dtype=bool) if candidates is None else np.tile(candidates, (n_rows, 1))
    for matrix in exclude:
        is_candidate &= ~is_stored(matrix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elsa_core.topk, "BLOCK_SCORES", data.draw(st.integers(1, n_rows * n_items)))
        patch.setattr(elsa_core.topk, "ITEM_BLOCK", data.draw(st.integers(1, n_items)))
        patch.setattr(elsa_core.topk, "GROUP", data.draw(st.integers(1, 3)))
        ours = top_k(
            torch.from_numpy(users),
            torch.from_numpy(items),
            k,
            add=add,
            exclude=exclude,
            candidates=candidates,
        )
    assert_equal(ours, sorted_by_hand(scores, k, is_candidate))


@pytest.mark.parametrize(("user_block", "item_block"), [(1, 1), (2, 3), (5, 7), (1000, 1), (1, 1000)])
def test_results_do_not_depend_on_the_block_sizes(
    monkeypatch: pytest.MonkeyPatch, user_block: int, item_block: int
) -> None:
    rng = np.random.default_rng(0)
    users, items = (torch.from_numpy(rng.integers(-3, 4, (n, 3)).astype(np.float32)) for n in (23, 50))
    adjust, excluded = (
        sparse.random_array((23, 50), density=0.2, rng=rng, format="csr", dtype=np.float32) for _ in range(2)
    )
    in_one_block = top_k(users, items, 9, add=(adjust,), exclude=(excluded,))
    monkeypatch.setattr(elsa_core.topk, "BLOCK_SCORES", user_block * item_block)
    monkeypatch.setattr(elsa_core.topk, "ITEM_BLOCK", item_block)
    assert_equal(top_k(users, items, 9, add=(adjust,), exclude=(excluded,)), in_one_block)


@pytest.mark.parametrize("n_items", [64, 65, 79, 200])
def test_equals_a_sort_where_groups_of_columns_are_looked_at(n_items: int) -> None:
    """Also where columns are left over, and with a dense matrix added."""
    rng = np.random.default_rng(n_items)
    users, items = (rng.integers(-3, 4, (n, 3)).astype(np.float32) for n in (50, n_items))
    dense = rng.integers(-9, 10, (50, n_items)).astype(np.float32)
    scores = users @ items.T + dense
    ours = top_k(torch.from_numpy(users), torch.from_numpy(items), 1, add=(torch.from_numpy(dense),))
    assert_equal(ours, sorted_by_hand(scores, 1, np.ones_like(scores, dtype=bool)))


@pytest.mark.parametrize("is_there", [True, False])
def test_a_product_is_added_with_mkl_and_without(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    shapes = (9, 7), (7, 20)
    left, right = (sparse.random_array(s, density=0.3, rng=rng, format="csr", dtype=np.float32) for s in shapes)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: is_there)
    block = torch.ones(9, 20)
    add_product(block, left, right)
    np.testing.assert_allclose(block, 1 + (left @ right).toarray(), rtol=1e-5)


def test_ties_go_to_the_lower_index_among_many() -> None:
    indices, scores = top_k(torch.ones((2, 1)), torch.ones((5000, 1)), 4)
    assert indices.tolist() == [[0, 1, 2, 3]] * 2
    assert scores.tolist() == [[1.0] * 4] * 2


def test_types_are_int64_and_float32() -> None:
    indices, scores = top_k(torch.ones((2, 1)), torch.ones((3, 1)), 2)
    assert (indices.dtype, scores.dtype) == (np.int64, np.float32)


def test_fewer_candidates_than_k_leave_minus_one_and_nan() -> None:
    is_candidate = np.array([False, True, False, True])
    items = torch.tensor([[9.0], [1.0], [9.0], [2.0]])
    assert_equal(
        top_k(torch.ones((1, 1)), items, 3, candidates=is_candidate), (np.array([[3, 1, -1]]), [[2, 1, np.nan]])
    )


def test_k_beyond_the_items_leaves_minus_one_and_nan() -> None:
    indices, scores = top_k(torch.ones((1, 1)), torch.tensor([[1.0], [2.0]]), 4)
    assert indices.tolist() == [[1, 0, -1, -1]]
    np.testing.assert_array_equal(scores, [[2, 1, np.nan, np.nan]])


def test_no_candidate_leaves_nothing() -> None:
    indices, scores = top_k(torch.ones((2, 1)), torch.ones((3, 1)), 2, candidates=np.zeros(3, dtype=bool))
    assert (indices == -1).all() and np.isnan(scores).all()


def test_no_rows_give_no_lists() -> None:
    indices, scores = top_k(torch.ones((0, 2)), torch.ones((3, 2)), 2)
    assert indices.shape == scores.shape == (0, 2)


def test_a_stored_zero_excludes() -> None:
    stored_zero = sparse.csr_array((np.zeros(1), np.array([1]), np.array([0, 1, 1])), (2, 3))
    items = torch.tensor([[1.0], [3.0], [2.0]])
    assert top_k(torch.ones((2, 1)), items, 3, exclude=(stored_zero,))[0].tolist() == [[2, 0, -1], [1, 2, 0]]


def test_an_empty_row_ties_everywhere() -> None:
    nothing = sparse.csr_array((1, 3), dtype=np.float32)
    assert_equal(
        top_k(torch.zeros((1, 2)), torch.ones((3, 2)), 2, add=(nothing,), exclude=(nothing,)),
        (np.array([[0, 1]]), np.zeros((1, 2))),
    )


def test_an_adjustment_stored_twice_is_added_twice() -> None:
    twice = sparse.csr_array((np.array([1.0, 1.0], np.float32), np.array([0, 0]), np.array([0, 2])), (1, 2))
    _, scores = top_k(torch.zeros((1, 1)), torch.zeros((2, 1)), 1, add=(twice,))
    assert scores.tolist() == [[2.0]]


@pytest.mark.parametrize("n_rows", [1, 2, 5, 11, 31, 100])
def test_a_rows_scores_do_not_depend_on_the_rows_beside_it(n_rows: int) -> None:
    generator = torch.Generator().manual_seed(n_rows)
    users = torch.randn(300, 64, generator=generator)
    items = torch.randn(500, 64, generator=generator)
    indices, scores = top_k(users, items, 20)
    some = torch.randperm(300, generator=generator)[:n_rows].numpy()
    alone = top_k(users[some], items, 20)
    assert np.array_equal(alone[0], indices[some]) and np.array_equal(alone[1], scores[some])
