"""Where the padding of histories stands."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_on_the_left(histories: Tensor, length: Tensor) -> Tensor:
    """Histories (B, L) padded on the right, with their lengths (B,) from 0 to L, padded on the left:
    [1, 2, 0] becomes [0, 1, 2]."""
    n_cells = histories.shape[1]
    cells = torch.arange(n_cells, device=histories.device) + length[:, None]
    return torch.gather(histories, 1, cells % n_cells)
