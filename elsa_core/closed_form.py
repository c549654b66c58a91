"""ELSA's loss and its gradient without the dense output.

X is users × items, here with rows of length 1 (the loss does not depend on their length). A (items × r) has rows of
length 1, B = A Aᵀ − I, x̂ = x B. The loss is the squared distance of x̂/‖x̂‖ and x, 2 − 2·cos(x̂, x), averaged over b
users. With h = x A (users × r) and G = Aᵀ A (r × r)

    x · x̂ = ‖h‖² − 1        ‖x̂‖² = h G hᵀ − 2‖h‖² + 1        c = cos(x̂, x) = x · x̂ / ‖x̂‖

    ∂c/∂h = (2/‖x̂‖ + 2 c/‖x̂‖²) h − c/‖x̂‖² · h G        ∂c/∂G = −c/(2‖x̂‖²) · hᵀ h

    ∂loss/∂A = Xᵀ ∂loss/∂h + 2 A ∂loss/∂G

so nothing of size users × items is ever made. Items meet in h and G only.
"""

import torch
from scipy import sparse

from elsa_core.sparse_product import weighted_row_sums

SMALLEST_SQUARED_LENGTH = 1e-6  # of x̂: a shorter one counts as this long, and only its direction carries gradient


def cosine_loss(X: sparse.csr_array, A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of 2 − 2·cos(x̂, x) over rows x of X (users, items), each of length 1; and its gradient by A (items, r)."""
    h = weighted_row_sums(X, A)
    gram = A.T @ A
    h_gram = h @ gram
    squared_h = (h * h).sum(dim=1)
    squared_length = (h_gram * h).sum(dim=1) - 2 * squared_h + 1
    is_long = squared_length > SMALLEST_SQUARED_LENGTH
    inverse = squared_length.clamp(min=SMALLEST_SQUARED_LENGTH).rsqrt()
    cosine = (squared_h - 1) * inverse
    pull = torch.where(is_long, cosine * inverse * inverse, 0)[:, None]
    scale = -2 / len(h)
    grad_h = scale * (2 * (inverse[:, None] + pull) * h - pull * h_gram)
    grad_gram = scale * (-0.5 * pull * h).T @ h
    grad = weighted_row_sums(X.T.tocsr(), grad_h).addmm_(A, grad_gram, alpha=2)
    return 2 - 2 * cosine.mean(), grad
