"""Exact top-k of H Aᵀ in blocks: memory is bounded by them, not by the number of users or items."""

import numpy as np
import torch
from scipy import sparse

ITEM_BLOCK = 65_536
BLOCK_SCORES = 2**22  # 16 MB at a time: as many users as fit


def top_k(
    users: torch.Tensor,
    items: torch.Tensor,
    k: int,
    *,
    adjust: sparse.csr_array | None = None,
    exclude: tuple[sparse.csr_array, ...] = (),
    candidates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each row by users · items, best first, ties by the lower item index.

    users (rows, r) and items (n_items, r) share a device. `adjust` (rows, n_items) is added to the scores. Pairs that
    a matrix of `exclude` (rows, n_items) stores, whatever their values, never appear, and neither do items outside
    the boolean `candidates` (n_items,).
    Returns item indices (rows, k) int64 and scores (rows, k) float32; -1 and nan where candidates run out.
    """
    n_items = len(items)
    if k < 1:
        raise ValueError(f"k is {k}: a list has at least one item")
    if any(pairs.shape != (len(users), n_items) for pairs in exclude):
        raise ValueError(
            f"expected pairs of {len(users)} rows and {n_items} items, got {[pairs.shape for pairs in exclude]}"
        )
    indices = np.full((len(users), k), -1, dtype=np.int64)
    scores = np.full((len(users), k), np.nan, dtype=np.float32)
    user_block = max(1, BLOCK_SCORES // max(1, min(n_items, ITEM_BLOCK)))
    for first in range(0, len(users), user_block):
        rows = slice(first, min(first + user_block, len(users)))
        best = torch.empty((rows.stop - first, 0), device=items.device)
        where = torch.empty((rows.stop - first, 0), dtype=torch.int64, device=items.device)
        for start in range(0, n_items, ITEM_BLOCK):
            columns = slice(start, min(start + ITEM_BLOCK, n_items))
            block = users[rows] @ items[columns].T
            if adjust is not None:
                at, values = _stored(adjust, rows, columns)
                block.index_put_(at, torch.from_numpy(values).to(block), accumulate=True)
            for pairs in exclude:
                block[_stored(pairs, rows, columns)[0]] = -torch.inf
            if candidates is not None:
                block[:, torch.from_numpy(~candidates[columns]).to(block.device)] = -torch.inf
            values, at = _select(block, k)
            values, order = _select(torch.cat([best, values], dim=1), k)
            where = torch.cat([where, at + start], dim=1).gather(1, order)
            best = values
        found = best.shape[1]
        missing = torch.isneginf(best).cpu().numpy()
        indices[rows, :found] = np.where(missing, -1, where.cpu().numpy())
        scores[rows, :found] = np.where(missing, np.nan, best.cpu().numpy())
    return indices, scores


def _stored(matrix: sparse.csr_array, rows: slice, columns: slice) -> tuple[tuple, np.ndarray]:
    """Positions, within the block, of the values that the matrix stores there; and the values."""
    block = matrix[rows, columns].tocoo()
    return tuple(torch.from_numpy(axis.astype(np.int64)) for axis in block.coords), block.data


def _select(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest a row in descending order, and their columns; equal scores by the lower column."""
    k = min(k, scores.shape[1])
    values, columns = scores.topk(k, dim=1)
    last = values[:, -1:]
    crowded = (scores == last).sum(dim=1) > (values == last).sum(dim=1)  # topk may keep any of the tied
    if crowded.any():
        values[crowded], columns[crowded] = (
            part[:, :k] for part in scores[crowded].sort(dim=1, descending=True, stable=True)
        )
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)
