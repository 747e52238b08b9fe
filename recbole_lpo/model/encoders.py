"""How each backbone encodes a history, what it scores items with, and which losses of its own it has.

An encoder stands before a model of RecBole in the bases of a class. The score of item n is hidden . item_table()[n]: a
bias of the items is one more column of the table, which meets a 1 in the hidden state; a temperature divides the state.
"""

from __future__ import annotations

import contextlib
import io

import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.padding import padded_on_the_left
from recbole_lpo.errors import InputError


class SequenceEncoder:
    """Backbones whose `forward(item_seq, item_seq_len)` gives the hidden state of a history.

    no_content             why the content of items cannot be part of its item table, or ''
    encodes_by_forward     whether `encode` gives the states of `forward` while the model trains
    """

    no_content = ""
    encodes_by_forward = False

    def encode(self, interaction) -> Tensor:
        """(B, D) hidden states of a batch of histories, from which the next item is predicted."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def item_table(self, weight: Tensor | None = None) -> Tensor:
        """(N, D) what a hidden state is multiplied with to score every item, the padding included.

        Asked for once a loss: a backbone may drop parts of it at random while it trains. weight: (M, D) vectors of
        other items, which are not in the catalogue, in place of its own.
        """
        return self.item_embedding.weight if weight is None else weight

    def training_states(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        """What a batch of RecBole's rows trains: (T, D) hidden states, (T,) the item that each is to predict, and (T,)
        the row of the batch that it belongs to. One for each row, its next item, unless the backbone learns otherwise.
        """
        target = interaction[self.POS_ITEM_ID]
        return self.encode(interaction), target, torch.arange(len(target), device=target.device)

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        """The loss with what the backbone adds to it by itself, unweighted.

        loss is a scalar; hidden (T, D) the states from which it was made.
        """
        return loss


class ScoresByProduct:
    """RecBole's two ways to ask for scores, of a model whose `encode` is not what its own `full_sort_predict` ranks by:
    stands before an encoder in the bases of a class."""

    def full_sort_predict(self, interaction) -> Tensor:
        """(B, N) scores of all items."""
        return self.encode(interaction) @ self.item_table().T

    def predict(self, interaction) -> Tensor:
        """(B,) the score of one item of each row."""
        return (self.encode(interaction) * self.item_table()[interaction[self.ITEM_ID]]).sum(dim=1)


class CaserEncoder(SequenceEncoder):
    """Caser looks at the user too, and has penalties on its weights."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.USER_ID], interaction[self.ITEM_SEQ])

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        penalised = [self.user_embedding, self.item_embedding, self.conv_v, self.fc1, self.fc2]
        penalty = self.reg_weight * self.reg_loss([layer.weight for layer in penalised])
        return loss + penalty + self.reg_loss_conv_h()


class NextItNetEncoder(SequenceEncoder):
    """NextItNet reads the padding too, and has penalties on its weights."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.ITEM_SEQ])

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        penalised = [self.item_embedding.weight, self.final_layer.weight]
        return loss + self.reg_weight * self.reg_loss(penalised) + self.reg_loss_rb()


class GCSANEncoder(SequenceEncoder):
    """GCSAN has a penalty on its item embeddings."""

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        return loss + self.reg_weight * self.reg_loss(self.item_embedding.weight)


class COREEncoder(SequenceEncoder):
    """CORE scores by the cosine over a temperature; items of the table are dropped at random while it trains."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.ITEM_SEQ]) / self.temperature

    def item_table(self, weight: Tensor | None = None) -> Tensor:
        weight = self.item_embedding.weight if weight is None else weight
        return functional.normalize(self.item_dropout(weight), dim=-1)


class BERT4RecEncoder(SequenceEncoder):
    """BERT4Rec learns to fill masked positions of a history, and has a bias for each item.

    Its mask token has no row in the table. As in RecBole, a masked first position is not learned from.
    """

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        if self.mask_item_length < 1:
            raise InputError(
                f"mask_ratio = {self.mask_ratio}: BERT4Rec masks mask_ratio * MAX_ITEM_LIST_LENGTH items of a history, "
                f"and MAX_ITEM_LIST_LENGTH is {self.max_seq_length}. The product must be at least 1."
            )

    def encode(self, interaction) -> Tensor:
        length = interaction[self.ITEM_SEQ_LEN]
        states = self.forward(self.reconstruct_test_data(interaction[self.ITEM_SEQ], length))
        return _and_one(self.gather_indexes(states, length - 1))

    def item_table(self, weight: Tensor | None = None) -> Tensor:
        if weight is not None:
            # An item that was never learned has no bias of its own.
            return torch.cat([weight, self.output_bias[1:].mean().expand(len(weight), 1)], dim=1)
        return torch.cat([self.item_embedding.weight[: self.n_items], self.output_bias[:, None]], dim=1)

    def training_states(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        masked, position = interaction[self.MASK_ITEM_SEQ], interaction[self.MASK_INDEX]
        row, nth = (position > 0).nonzero(as_tuple=True)
        states = self.forward(masked)[row, position[row, nth]]
        return _and_one(states), interaction[self.POS_ITEMS][row, nth], row


class HGNEncoder(SequenceEncoder):
    """HGN looks at the user too, predicts with a table of its own, and has penalties on what a batch touches."""

    no_content = "it looks items up in one table and predicts them with another"

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.USER_ID])

    def item_table(self, weight: Tensor | None = None) -> Tensor:
        return self.item_embedding_for_prediction.weight if weight is None else weight

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        return loss + self.reg_loss(
            self.user_embedding(interaction[self.USER_ID]),
            self.item_embedding_for_prediction(interaction[self.POS_ITEM_ID]),
            self.item_embedding(interaction[self.ITEM_SEQ]),
        )


class SHANEncoder(SequenceEncoder):
    """SHAN looks at the user too, reads the history padded on the left, and has penalties on what a batch touches."""

    def encode(self, interaction) -> Tensor:
        history = padded_on_the_left(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return self.forward(history, interaction[self.USER_ID])

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        user, target = interaction[self.USER_ID], interaction[self.POS_ITEM_ID]
        return loss + self.reg_loss(self.user_embedding(user), self.item_embedding(target))


class FEARecEncoder(SequenceEncoder):
    """FEARec adds contrastive losses, where its `contrast` asks for them."""

    def __init__(self, config, dataset) -> None:
        # Its layers print which frequencies they keep.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(config, dataset)

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        # These stand in the midst of its own `calculate_loss`: it runs with our loss where its cross-entropy was, and
        # its first pass over the batch is the one that gave `hidden`.
        forward, done = self.forward, [hidden]
        vars(self).update(
            forward=lambda *history: done.pop() if done else forward(*history), loss_fct=lambda logits, target: loss
        )
        try:
            return super().calculate_loss(interaction)
        finally:
            del self.forward, vars(self)["loss_fct"]


class NPEEncoder(SequenceEncoder):
    """NPE looks at the user too, and scores with the positive part of its item embeddings."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.USER_ID])

    def item_table(self, weight: Tensor | None = None) -> Tensor:
        return self.relu(self.item_embedding.weight if weight is None else weight)


class HRMEncoder(SequenceEncoder):
    """HRM looks at the user too."""

    def encode(self, interaction) -> Tensor:
        # With average pooling it writes into the lengths that it is given.
        length = interaction[self.ITEM_SEQ_LEN].clone()
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.USER_ID], length)


class FOSSILEncoder(SequenceEncoder):
    """FOSSIL looks at the user too, and has penalties on what a batch touches."""

    def encode(self, interaction) -> Tensor:
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], interaction[self.USER_ID])

    def with_own_losses(self, loss: Tensor, interaction, hidden: Tensor) -> Tensor:
        user, target = interaction[self.USER_ID], interaction[self.POS_ITEM_ID]
        return loss + self.reg_loss(self.user_lambda(user), self.item_embedding(target), hidden)


def _and_one(hidden: Tensor) -> Tensor:
    """(B, D) -> (B, D + 1): a 1 for the column of the biases."""
    return torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)
