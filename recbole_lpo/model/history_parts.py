"""Encoding a batch of histories in parts of like length."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_lpo.model.encoders import SequenceEncoder
from recbole_lpo.model.packed import is_positionwise

# Positions of histories that are encoded at a time: 2 MB for each tensor of 64 numbers a position.
_CELLS = 2**13


def encode_in_parts(model, encoder: type[SequenceEncoder], interaction: Interaction) -> Tensor:
    """(B, D) the hidden states of `encoder.encode`, up to rounding, for a model in eval mode.

    A model that pads on the right and looks back only needs no column beyond a history's end: its histories are sorted
    by length and encoded some at a time, each part cut to its longest. Other models encode the batch as it is.
    """
    if not is_positionwise(model):
        return encoder.encode(model, interaction)
    sequence, lengths = model.ITEM_SEQ, interaction[model.ITEM_SEQ_LEN]
    rows = lengths.argsort(stable=True)
    longest = lengths[rows].tolist()
    parts, end = [], len(rows)
    while end:
        start = max(0, end - max(1, _CELLS // max(1, longest[end - 1])))
        part = interaction[rows[start:end]]
        cut = {**part.interaction, sequence: part[sequence][:, : longest[end - 1]]}
        parts.append(encoder.encode(model, Interaction(cut)))
        end = start
    hidden = torch.cat(parts[::-1])
    return torch.empty_like(hidden).index_copy_(0, rows, hidden)
