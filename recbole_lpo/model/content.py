"""Content of items in the item table of a backbone."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_lpo.data.content import ContentCoder
from recbole_lpo.data.popularity import PAD_ID, training_counts
from recbole_lpo.errors import InputError
from recbole_lpo.model.backbones import BACKBONES, product_encoder
from recbole_lpo.model.content_map import ContentMap
from recbole_lpo.model.encoders import SequenceEncoder
from recbole_lpo.model.mapped_embedding import MappedEmbedding
from recbole_lpo.settings import ContentSettings


def attach_content(model: nn.Module, config, dataset) -> None:
    """Make the content that the settings name part of a model's item table; nothing where it is there already.

    dataset: the training part. The model's `item_embedding` becomes a `MappedEmbedding`, which the backbone's own
    `forward`, the softmax, evaluation and recommendation see alike; with `content_mode: init` it stays what it is and
    gets its first values from the content. No random number is drawn that the backbone would have drawn.
    Raises InputError for a model without one item table of its own, and for content that cannot be read.
    """
    settings = ContentSettings.from_config(config)
    if settings.mode == "none" or hasattr(model, "content_coder"):
        return
    _check_model(model, settings, config)
    ids = model.item_embedding
    counts = torch.from_numpy(training_counts(dataset))
    tokens = dataset.field2id_token[dataset.iid_field].astype(str)
    coder = ContentCoder(settings, config, tokens, (counts > 0).numpy())
    # Some backbones have rows beyond the items, as that of a mask token.
    beyond = ids.num_embeddings - len(tokens)
    content_map = ContentMap(
        coder.catalogue.with_rows_beyond(beyond),
        mode=settings.mode,
        width=ids.embedding_dim,
        spread=float(ids.weight.detach()[PAD_ID + 1 :].std()),
        counts=nn.functional.pad(counts, (0, beyond)),
        seed=config["seed"],
        dropout=settings.content_dropout,
        frozen=settings.content_frozen,
        zero_init=settings.content_zero_init,
    )
    model.content_coder = coder
    if settings.mode == "init":
        _start_from(ids, content_map)
    else:
        model.item_embedding = MappedEmbedding(ids, [content_map], settings.content_side)


@dataclass(frozen=True)
class NewItems:
    """Items that were added after training: their tokens, and (M, D) their vectors, as rows of `item_embedding` are."""

    tokens: list[str]
    weight: Tensor


@torch.no_grad()
def new_items(model: nn.Module, path: Path, *, known: Collection[str]) -> NewItems:
    """The items of a file like the `.item` file, made of their content alone.

    known: the tokens of the catalogue. Raises InputError for a model whose scores do not see content, a backbone whose
    table cannot be had for other items, an item of the catalogue, and a file that cannot be used.
    """
    embedding = model.item_embedding if hasattr(model, "content_coder") else None
    content = next((step for step in getattr(embedding, "maps", ()) if isinstance(step, ContentMap)), None)
    if content is None or embedding.side == "input":
        raise InputError(
            f"new_items = {path}: {type(model).__name__} does not score items by their content. Take a run with "
            "content_mode add, replace or gate, and content_side both or output."
        )
    encoder = product_encoder(model)
    if encoder is None or "weight" not in inspect.signature(encoder.item_table).parameters:
        raise InputError(
            f"new_items = {path}: {type(model).__name__} has no item table for other items than its own; its encoder's "
            "item_table must take their vectors as `weight`."
        )
    tokens, coded = model.content_coder.code_file(path)
    there = [token for token in tokens if token in known]
    if there:
        raise InputError(f"new_items = {path}: {there[0]!r} is in the catalogue already ({len(there)} such items).")
    return NewItems(tokens, content.content_of(coded))


@torch.no_grad()
def _start_from(ids: nn.Embedding, content_map: ContentMap) -> None:
    """Put the content in the place of the first embeddings, spread as these are: a random projection of it."""
    content, has_content = content_map.content(), content_map.has_content
    rows = has_content.expand_as(content)
    scale = ids.weight[rows].std() / content[rows].std().clamp(min=torch.finfo(content.dtype).tiny)
    ids.weight.copy_(torch.where(has_content, content * scale, ids.weight))


def without_item_table(model: nn.Module, name: str) -> str:
    """Why a model has no one item table of its own that could be another than its weights; '' where it has."""
    encoder = type(model) if isinstance(model, SequenceEncoder) else BACKBONES.get(name, (None, None))[1]
    reason = encoder.no_content if encoder else "it is no backbone of recbole_lpo"
    if not reason and not isinstance(getattr(model, "item_embedding", None), nn.Embedding | MappedEmbedding):
        reason = "it has no `item_embedding` that is a torch.nn.Embedding"
    return reason


def _check_model(model: nn.Module, settings: ContentSettings, config) -> None:
    name = config["model"]
    reason = without_item_table(model, name)
    if reason:
        raise InputError(
            f"content_mode = {settings.mode}: {name} cannot take the content of items: {reason}. Set content_mode to "
            "none for it, or take another backbone, as SASRec."
        )
    if settings.content_side != "both" and set(config["eval_args"]["mode"].values()) != {"full"}:
        raise InputError(
            f"content_side = {settings.content_side}: RecBole scores the candidates of a sampled evaluation with the "
            "input side. Set content_side to both, or the mode in eval_args to full."
        )
