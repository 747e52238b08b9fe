"""Backbones of the user's own."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence

import torch
from recbole.data.transform import construct_transform
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_lpo.errors import InputError
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.model.encoders import SequenceEncoder
from recbole_lpo.registry import announce_backbone, is_model

_PROBED_ROWS = 4
_registered: dict[str, tuple[type, type, str]] = {}
_HOW_TO_FIT = (
    "The score of every item must be the product of a hidden state with an item table: "
    "`forward(item_seq, item_seq_len)` and `item_embedding.weight`, or what an `encoder` (a subclass of "
    "recbole_lpo.SequenceEncoder) says."
)


def register_backbone(
    model_class: type[SequentialRecommender],
    encoder: type[SequenceEncoder] | None = None,
    name: str | None = None,
) -> None:
    """Make `LPO<name>`, `DPO<name>`, ... of a sequential model of the user's own, for RecBole's entry points and ours.

    model_class  in RecBole's form; `full_sort_predict` ranks by hidden state . item table. Its settings come from the
                 user, with CE as the default of `loss_type`
    encoder      how it encodes histories and what it scores items with; by default that of the backbone it is derived
                 from, or else `forward(item_seq, item_seq_len)` and `item_embedding.weight`
    name         by default the name of the class; one given before is given anew
    Raises InputError for a class or a name that cannot be; and, when a model of it is built, where its scores are not
    that product.
    """
    name = name or getattr(model_class, "__name__", None)
    if not (inspect.isclass(model_class) and issubclass(model_class, SequentialRecommender)):
        raise InputError(f"register_backbone: {model_class!r} is no subclass of RecBole's SequentialRecommender.")
    if encoder is None:
        derived = (known for base, known in BACKBONES.values() if issubclass(model_class, base))
        encoder = next(derived, SequenceEncoder)
    if not (inspect.isclass(encoder) and issubclass(encoder, SequenceEncoder)):
        raise InputError(
            f"register_backbone: encoder = {encoder!r}: must be a subclass of recbole_lpo.SequenceEncoder."
        )
    if encoder.encode is SequenceEncoder.encode and not _reads_histories(model_class):
        signature = inspect.signature(model_class.forward)
        raise InputError(f"register_backbone: {name}.forward{signature} is not called with two tensors. {_HOW_TO_FIT}")
    if not str(name).isidentifier() or (is_model(name) and not _is_the_users(name)):
        raise InputError(f"register_backbone: name = {name}: must be a word that no model of RecBole has.")
    BACKBONES[name] = (model_class, type(f"Probed{encoder.__name__}", (_Probed, encoder), {}))
    _registered[name] = (model_class, encoder, name)
    announce_backbone(name)


def registered_backbones() -> list[tuple[type, type, str]]:
    """The arguments of `register_backbone` for every backbone of the user's, for another process to call it with."""
    return list(_registered.values())


def import_plugins(names: Sequence[str]) -> None:
    """Import modules of the user's that register backbones, from the working directory too. Raises InputError."""
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, ValueError) as error:
            raise InputError(f"--plugin={name}: cannot be imported: {error}") from None


class _Probed(SequenceEncoder):
    """Looks, when the model is built, whether its scores are the product that the objectives take them for."""

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        rows = dataset.inter_feat[:_PROBED_ROWS]
        rows = construct_transform(config)(dataset, rows).to(config["device"])
        training = self.training
        self.to(config["device"]).eval()
        try:
            with torch.no_grad():
                hidden, table, scores = self.encode(rows), self.item_table(), self.full_sort_predict(rows)
                wrong = self._difference(hidden, table, scores.view(len(rows), -1))
        except (
            AttributeError,
            IndexError,
            KeyError,
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            wrong = (
                f"it fails on {len(rows)} rows of the data with {type(error).__name__}: {' '.join(str(error).split())}"
            )
        self.train(training)
        if wrong:
            raise InputError(f"{type(self).__name__}: {wrong}. {_HOW_TO_FIT}")

    def _difference(self, hidden, table, scores) -> str:
        """What is wrong with states, table and scores of some rows; '' for nothing."""
        if hidden.ndim != 2 or len(hidden) != len(scores):
            return f"the hidden states of {len(scores)} rows have the shape {tuple(hidden.shape)}"
        expected = (self.n_items, hidden.shape[1])
        if tuple(table.shape) != expected:
            return f"the item table has the shape {tuple(table.shape)}, it must have {expected}"
        if scores.shape[1] != self.n_items or not torch.allclose(hidden @ table.T, scores, rtol=1e-3, atol=1e-4):
            return "full_sort_predict ranks by other scores than hidden state . item table"
        return ""


def _reads_histories(model_class: type) -> bool:
    try:
        inspect.signature(model_class.forward).bind(None, None, None)
    except TypeError:
        return False
    return True


def _is_the_users(name: str) -> bool:
    return name in BACKBONES and issubclass(BACKBONES[name][1], _Probed)
