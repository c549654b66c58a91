"""Exact top-k of H Aᵀ in blocks: memory is bounded by them, not by the number of users or items."""

from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse

from elsa_core.sparse_product import add_product, add_stored

ITEM_BLOCK = 65_536
BLOCK_SCORES = 2**23  # 32 MB at a time: as many users as fit
LEAST_ROWS = 16  # of a product: BLAS rounds one of a few rows in another way, and scores must not depend on that
GROUP = 16  # columns whose maximum is looked at first

Product = tuple[sparse.csr_array, sparse.csr_array]  # (rows, any) and (any, n_items), to be multiplied
Addend: TypeAlias = sparse.csr_array | torch.Tensor | Product  # of scores, (rows, n_items)


def top_k(
    users: torch.Tensor,
    items: torch.Tensor,
    k: int,
    *,
    add: tuple[Addend, ...] = (),
    exclude: tuple[sparse.csr_array, ...] = (),
    candidates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each row by users · items, best first, ties by the lower item index.

    users (rows, r) and items (n_items, r) share a device. What `add` holds, each (rows, n_items), sparse, dense or a
    product of two sparse matrices, is added to the scores. Pairs that a matrix of `exclude` (rows, n_items) stores,
    whatever their values, never appear, and neither do items outside the boolean `candidates` (n_items,).
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
    width = max(1, min(n_items, ITEM_BLOCK))
    n_at_once = min(max(1, BLOCK_SCORES // width), len(users))
    buffer = torch.empty(max(n_at_once, LEAST_ROWS) * width, device=items.device)
    for first in range(0, len(users), max(1, n_at_once)):
        rows = slice(first, min(first + n_at_once, len(users)))
        n_rows = rows.stop - first
        padding = max(0, LEAST_ROWS - n_rows)
        padded = torch.nn.functional.pad(users[rows], (0, 0, 0, padding))
        best = torch.empty((n_rows, 0), device=items.device)
        where = torch.empty((n_rows, 0), dtype=torch.int64, device=items.device)
        for start in range(0, n_items, ITEM_BLOCK):
            columns = slice(start, min(start + ITEM_BLOCK, n_items))
            shape = len(padded), columns.stop - start
            block = torch.mm(padded, items[columns].T, out=buffer[: shape[0] * shape[1]].view(shape))[:n_rows]
            _mark(block, rows, columns, add, exclude, candidates)
            values, at = select(block, k)
            if start:
                values, order = select(torch.cat([best, values], dim=1), k)
                at = torch.cat([where, at + start], dim=1).gather(1, order)
            best, where = values, at
        found = best.shape[1]
        missing = torch.isneginf(best).cpu().numpy()
        indices[rows, :found] = np.where(missing, -1, where.cpu().numpy())
        scores[rows, :found] = np.where(missing, np.nan, best.cpu().numpy())
    return indices, scores


def _mark(
    block: torch.Tensor,
    rows: slice,
    columns: slice,
    add: tuple[Addend, ...],
    exclude: tuple[sparse.csr_array, ...],
    candidates: np.ndarray | None,
) -> None:
    """Adds what there is to add to a block of scores, and gives −∞ to what must not appear."""
    for part in add:
        if isinstance(part, torch.Tensor):
            block += part[rows, columns]
        elif isinstance(part, tuple):
            left, right = part
            add_product(block, left[rows], right if block.shape[1] == right.shape[1] else right[:, columns])
        else:
            add_stored(block, part[rows, columns])
    for pairs in exclude:
        stored = pairs[rows, columns].tocoo()
        block[tuple(torch.from_numpy(axis.astype(np.int64)) for axis in stored.coords)] = -torch.inf
    if candidates is not None and not candidates[columns].all():
        block[:, torch.from_numpy(~candidates[columns]).to(block.device)] = -torch.inf


def select(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest a row in descending order, and their columns; equal scores by the lower column."""
    k = min(k, scores.shape[1])
    in_groups = scores.shape[1] >= 4 * GROUP * k
    values, columns, is_tied = _select_by_groups(scores, k) if in_groups else _select_any(scores, k)
    if is_tied.any():
        values[is_tied], columns[is_tied] = (
            part[:, :k] for part in scores[is_tied].sort(dim=1, descending=True, stable=True)
        )
    return values, columns


def _select_by_groups(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `_select_any`, looking only into the k groups of columns with the largest maxima: the k largest are there.

    Group g holds the columns g, g + n_groups, g + 2 n_groups, …; what is left over is a group's worth more.
    """
    n_groups = scores.shape[1] // GROUP
    whole = scores[:, : n_groups * GROUP].view(-1, GROUP, n_groups)
    _, groups, is_tied = _select_any(whole.amax(dim=1), k)
    columns = (groups[:, None, :] + n_groups * torch.arange(GROUP, device=scores.device)[:, None]).flatten(1)
    rest = torch.arange(n_groups * GROUP, scores.shape[1], device=scores.device).expand(len(scores), -1)
    columns = torch.cat([columns, rest], dim=1)
    values, at, is_tied_inside = _select_any(scores.gather(1, columns), k)
    return values, columns.gather(1, at), is_tied | is_tied_inside


def _select_any(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k largest a row, their columns, and (rows,) whether a tie among or right behind them leaves a choice."""
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    is_tied = ((values[:, 1:] == values[:, :-1]) & ~torch.isneginf(values[:, 1:])).any(dim=1)
    return values[:, :k].contiguous(), columns[:, :k].contiguous(), is_tied
