"""Which of RecBole's sequential models can be backbones, and how each encodes a history.

A model can be a backbone where it scores items by the product of a hidden state with an item table, and learns from the
softmax over all of them.
"""

from __future__ import annotations

from recbole.model import sequential_recommender as recbole_models

from recbole_lpo.model import encoders
from recbole_lpo.model.encoders import ScoresByProduct, SequenceEncoder

_ENCODERS = {
    "SASRec": SequenceEncoder,
    "GRU4Rec": SequenceEncoder,
    "Caser": encoders.CaserEncoder,
    "NARM": SequenceEncoder,
    "STAMP": SequenceEncoder,
    "NextItNet": encoders.NextItNetEncoder,
    "LightSANs": SequenceEncoder,
    "SRGNN": SequenceEncoder,
    "GCSAN": encoders.GCSANEncoder,
    "SINE": SequenceEncoder,
    "CORE": encoders.COREEncoder,
    "BERT4Rec": encoders.BERT4RecEncoder,
    "HGN": encoders.HGNEncoder,
    "SHAN": encoders.SHANEncoder,
    "FEARec": encoders.FEARecEncoder,
    "NPE": encoders.NPEEncoder,
    "HRM": encoders.HRMEncoder,
    "FOSSIL": encoders.FOSSILEncoder,
    "SASRecF": SequenceEncoder,
    "GRU4RecF": SequenceEncoder,
    "FDSA": SequenceEncoder,
}
# Name -> (class, encoder). `recbole_lpo.register_backbone` adds the user's own.
BACKBONES = {name: (getattr(recbole_models, name), encoder) for name, encoder in _ENCODERS.items()}

_ONE_ITEM_AT_A_TIME = "it scores one item at a time and weighs the history by that item"
_SEVERAL_SOFTMAXES = "it mixes several distributions over the items, and ranks by the mixture"
_KNOWLEDGE_GRAPH = "it needs pretrained embeddings of a knowledge graph"
# RecBole's other sequential models, and why they cannot be backbones.
NO_BACKBONES = {
    "TransRec": "it ranks items by their distance, not by a product with an item table",
    "FPMC": "RecBole trains it on pairs of items only (loss_type BPR)",
    "RepeatNet": _SEVERAL_SOFTMAXES,
    "SASRecCPR": _SEVERAL_SOFTMAXES,
    "GRU4RecCPR": _SEVERAL_SOFTMAXES,
    "DIN": _ONE_ITEM_AT_A_TIME,
    "DIEN": _ONE_ITEM_AT_A_TIME,
    "S3Rec": "it is trained in two stages of its own",
    "KSR": _KNOWLEDGE_GRAPH,
    "GRU4RecKG": _KNOWLEDGE_GRAPH,
}


def encoding_class(backbone: str) -> type:
    """The class of a backbone with the methods of its encoder: its scores and loss are those of the backbone."""
    base, encoder = BACKBONES[backbone]
    return type(backbone, (encoder, base), {"__module__": __name__})


# How RecBole's own class scores all items: by the product of `encode` and `item_table`. A class that overrides this, or
# a model in which it was replaced, may score otherwise.
_SCORES_BY_PRODUCT = {base.full_sort_predict: encoder for base, encoder in BACKBONES.values()}
_SCORES_BY_PRODUCT[ScoresByProduct.full_sort_predict] = SequenceEncoder


def product_encoder(model) -> type[SequenceEncoder] | None:
    """The class whose `encode` and `item_table` a model, ours or RecBole's, scores all items by; None: it does not."""
    encoder = _SCORES_BY_PRODUCT.get(getattr(model.full_sort_predict, "__func__", None))
    return type(model) if encoder and isinstance(model, SequenceEncoder) else encoder
