"""How each of RecBole's models encodes a history, and which regularisers of its own it adds to the loss."""

from __future__ import annotations

from recbole.model.sequential_recommender import Caser, GRU4Rec, SASRec
from torch import Tensor


class SequenceEncoder:
    """Backbones whose `forward(item_seq, item_seq_len)` gives the hidden state of a history."""

    def encode(self, interaction) -> Tensor:
        """(B, D) hidden states of a batch of histories."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def regulariser(self) -> Tensor | None:
        """What the backbone adds to its loss by itself, unweighted; None: nothing."""
        return None


class CaserEncoder(SequenceEncoder):
    """Caser looks at the user too, and has penalties on its weights."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.USER_ID], interaction[self.ITEM_SEQ])

    def regulariser(self) -> Tensor:
        penalised = [self.user_embedding, self.item_embedding, self.conv_v, self.fc1, self.fc2]
        return self.reg_weight * self.reg_loss([layer.weight for layer in penalised]) + self.reg_loss_conv_h()


BACKBONES = {"SASRec": (SASRec, SequenceEncoder), "GRU4Rec": (GRU4Rec, SequenceEncoder), "Caser": (Caser, CaserEncoder)}
