"""Training RecBole's models on whole histories, where their state at a position depends only on what came before."""

from __future__ import annotations

from recbole.model.sequential_recommender import FDSA, GRU4Rec, GRU4RecF, SASRec, SASRecF
from torch import Tensor, nn

from recbole_lpo.core.gathered_rows import with_sparse_rows
from recbole_lpo.core.item_softmax import target_nll
from recbole_lpo.core.precision import at_least_float32, full_precision
from recbole_lpo.data.sequences import PackedBatch
from recbole_lpo.model.encoders import SequenceEncoder
from recbole_lpo.model.packed_sasrec import sasrec_states

# Causal, padded on the right, and read at the last position: checked against the prefix rows in the tests.
POSITIONWISE = (SASRec, GRU4Rec, SASRecF, GRU4RecF, FDSA)


def can_pack(model: nn.Module) -> bool:
    """Whether a model can be trained on whole histories: one of POSITIONWISE, or a class made of one that leaves its
    `forward` alone, and that learns from the softmax over all items by RecBole's loss or ours and nothing else."""
    kind = type(model)
    for base in POSITIONWISE:
        if kind.forward is base.forward and model.loss_type == "CE":
            return kind.calculate_loss is base.calculate_loss or _has_the_plain_encoder(kind)
    return False


def is_positionwise(model: nn.Module) -> bool:
    """Whether a model's `forward` is that of one of POSITIONWISE."""
    return any(type(model).forward is base.forward for base in POSITIONWISE)


def hidden_states(model: nn.Module, batch: PackedBatch) -> Tensor:
    """(T, D) hidden states from which the targets of a batch are predicted.

    SASRec has an encoder of its own for this. Elsewhere the model's own `forward` runs; only the step that keeps the
    last position is left out.
    """
    if type(model).forward is SASRec.forward:
        return sasrec_states(model, batch)
    model.gather_indexes = _every_position
    try:
        states = model.forward(batch.items, batch.length)
    finally:
        del model.gather_indexes
    return states[batch.row, batch.position]


def packed_loss(model: nn.Module, batch: PackedBatch, n_events: int, item_softmax: str = "auto") -> Tensor:
    """The training loss of a batch, a scalar: the model's own preference loss, or RecBole's mean cross-entropy.

    n_events: how many training interactions the batches are made of; item_softmax: how the softmax of RecBole's models
    is computed (ours know).
    """
    ours = hasattr(model, "loss_of")
    table = model.item_table() if ours else model.item_embedding.weight
    if model.item_embedding.sparse:
        table = with_sparse_rows(table)
    hidden = hidden_states(model, batch)
    if not ours:
        with full_precision(hidden.device):
            return target_nll(at_least_float32(hidden), table, batch.target, method=item_softmax).mean()
    model.item_table = lambda: table
    try:
        return model.loss_of(
            hidden,
            batch.target,
            known_items=batch.known_items,
            reference_states=lambda policy: policy.states(batch, n_events),
        )
    finally:
        del model.item_table


def _has_the_plain_encoder(kind: type) -> bool:
    if not issubclass(kind, SequenceEncoder):
        return False
    plain = ("training_states", "with_own_losses", *(() if kind.encodes_by_forward else ("encode",)))
    return all(getattr(kind, name) is vars(SequenceEncoder)[name] for name in plain)


def _every_position(output: Tensor, gather_index: Tensor) -> Tensor:
    return output
