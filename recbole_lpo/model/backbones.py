"""How each of RecBole's models encodes a history, and which regularisers of its own it adds to the loss.

A model can be a backbone where it scores items by the product of a hidden state with an item table, and learns from the
softmax over all of them.
"""

from __future__ import annotations

from recbole.model import sequential_recommender as recbole_models
from torch import Tensor


class SequenceEncoder:
    """Backbones whose `forward(item_seq, item_seq_len)` gives the hidden state of a history."""

    def encode(self, interaction) -> Tensor:
        """(B, D) hidden states of a batch of histories."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def item_table(self) -> Tensor:
        """(N, D) what a hidden state is multiplied with to score every item, the padding included."""
        return self.item_embedding.weight

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


class NextItNetEncoder(SequenceEncoder):
    """NextItNet reads the padding too, and has penalties on its weights."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.ITEM_SEQ])

    def regulariser(self) -> Tensor:
        penalised = [self.item_embedding.weight, self.final_layer.weight]
        return self.reg_weight * self.reg_loss(penalised) + self.reg_loss_rb()


class GCSANEncoder(SequenceEncoder):
    """GCSAN has a penalty on its item embeddings."""

    def regulariser(self) -> Tensor:
        return self.reg_weight * self.reg_loss(self.item_embedding.weight)


_ENCODERS = {
    "SASRec": SequenceEncoder,
    "GRU4Rec": SequenceEncoder,
    "Caser": CaserEncoder,
    "NARM": SequenceEncoder,
    "STAMP": SequenceEncoder,
    "NextItNet": NextItNetEncoder,
    "LightSANs": SequenceEncoder,
    "SRGNN": SequenceEncoder,
    "GCSAN": GCSANEncoder,
}
BACKBONES = {name: (getattr(recbole_models, name), encoder) for name, encoder in _ENCODERS.items()}
