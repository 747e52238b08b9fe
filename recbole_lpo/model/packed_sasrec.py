"""RecBole's SASRec at every position that has a target, in fewer and larger steps than its own `forward`."""

from __future__ import annotations

import math

import torch
from recbole.model.layers import FeedForward, MultiHeadAttention
from recbole.model.sequential_recommender import SASRec
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.dropout import dropout
from recbole_lpo.data.sequences import PackedBatch


def sasrec_states(model: SASRec, batch: PackedBatch) -> Tensor:
    """(T, D) the hidden states that `model.forward` has at the targets' positions, up to rounding; its dropout draws
    masks of its own.

    Histories are padded on the right, so causal attention alone keeps the padding out of every position that counts.
    The last block does not go on past its attention where a position has no target: no later step would read it.
    """
    n_rows, length = batch.items.shape
    x = model.item_embedding(batch.items) + model.position_embedding.weight[:length]
    x = dropout(model.LayerNorm(x), model.dropout.p, model.training).flatten(0, 1)
    wanted = batch.row * length + batch.position
    *blocks, last = model.trm_encoder.layer
    for block in blocks:
        x = _block(block.feed_forward, block.multi_head_attention, x, _attend(block.multi_head_attention, x, n_rows))
    attended = _attend(last.multi_head_attention, x, n_rows)
    return _block(last.feed_forward, last.multi_head_attention, x[wanted], attended[wanted])


def _attend(attention: MultiHeadAttention, x: Tensor, n_rows: int) -> Tensor:
    """What every position takes from itself and those before it; (R * L, D) in and out."""
    projections = (attention.query, attention.key, attention.value)
    weight = torch.cat([projection.weight for projection in projections])
    bias = torch.cat([projection.bias for projection in projections])
    length, n_heads = len(x) // n_rows, attention.num_attention_heads
    joint = functional.linear(x, weight, bias).view(n_rows, length, 3, n_heads, -1)
    query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
    p = attention.attn_dropout.p if attention.training else 0.0
    if p > 0 and x.device.type == "cpu":
        found = _causal_attention(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), p).view_as(query)
    else:
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=p, is_causal=True)
    return found.transpose(1, 2).reshape(len(x), -1)


def _causal_attention(query: Tensor, key: Tensor, value: Tensor, p: float) -> Tensor:
    """`scaled_dot_product_attention` with dropout, which torch computes slowly on the CPU; all (R * H, L, D / H)."""
    length, width = query.shape[1:]
    later = torch.full((length, length), -torch.inf, dtype=query.dtype).triu_(1)
    scores = torch.baddbmm(later, query, key.transpose(1, 2), alpha=1 / math.sqrt(width))
    return torch.bmm(dropout(torch.softmax(scores, dim=-1), p, True), value)


def _block(feed_forward: FeedForward, attention: MultiHeadAttention, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of a block after its attention; (M, D) each."""
    found = dropout(attention.dense(attended), attention.out_dropout.p, attention.training)
    x = attention.LayerNorm(found + x)
    inner = feed_forward.dense_1(x)
    activation = feed_forward.intermediate_act_fn
    # RecBole writes gelu out in five steps.
    is_gelu = getattr(activation, "__func__", None) is FeedForward.gelu
    inner = functional.gelu(inner) if is_gelu else activation(inner)
    found = dropout(feed_forward.dense_2(inner), feed_forward.dropout.p, feed_forward.training)
    return feed_forward.LayerNorm(found + x)
