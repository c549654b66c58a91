"""C_j of residual.py: the items that may explain item j."""

import numpy as np
import torch

from elsa_core.cooccurrence import Cooccurrence
from elsa_core.low_rank import LowRank
from elsa_core.progress import Progress
from elsa_core.topk import select


def select_candidates(
    P: Cooccurrence, low_rank: LowRank, penalty: torch.Tensor, m: int, on_progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """C_j, the m items i ≠ j with the largest |R_ij| / √(P_ii + Λ_ii) among those that share a user with j.

    penalty (items,) is Λ's diagonal. Returns C (items, m), n_items where candidates run out, and R[C_j, j] (items,
    m), 0 there.
    """
    device = penalty.device
    C = torch.full((P.n_items, m), P.n_items, device=device)
    R = torch.zeros(P.n_items, m, device=device)
    scale = (torch.from_numpy(P.diagonal).to(R) + penalty).rsqrt()
    n_done = 0
    for items, rows in P.rows(P.item_blocks()):
        left_over = low_rank.left_over(rows, items)
        first, at = (torch.from_numpy(part.astype(np.int64)).to(device) for part in (rows.indptr, rows.indices))
        row = torch.repeat_interleave(torch.arange(len(items), device=device), first.diff())
        own = torch.from_numpy(items).to(device)
        strength = torch.where(at == own[row], -torch.inf, left_over.abs() * scale[at])
        padded = torch.full((len(items), int(first.diff().max())), -torch.inf, device=device)
        padded[row, torch.arange(len(at), device=device) - first[row]] = strength
        best, place = select(padded, m)
        place = (place + first[:-1, None]).clamp_(max=max(0, len(at) - 1))
        is_candidate = ~torch.isneginf(best)
        C[own, : best.shape[1]] = torch.where(is_candidate, at[place], P.n_items)
        R[own, : best.shape[1]] = torch.where(is_candidate, left_over[place], 0)
        n_done += len(items)
        on_progress("candidates", n_done / P.n_items)
    return C, R
