"""An item table that is made of another one, in the place where a backbone has its embedding of items."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor, is_grad_enabled, nn
from torch.nn import functional

from recbole_lpo.core.gathered_rows import with_sparse_rows

SIDES = ("both", "input", "output")


class MappedEmbedding(nn.Module):
    """Table = last map(... first map(ids)): what a backbone's `item_embedding` becomes where item vectors are more than
    the embeddings of ids.

    A map is a module whose `forward` takes an item table (N, D) and gives another one (N, D): `ContentMap` is one, and
    transfer from head to tail items is meant to be another. They are applied in order.

    ids   the backbone's own embedding
    maps  at least one
    side  which table is mapped: what histories are looked up in (input), what scores are made of (output), or both

    The mapped table is made once a step: it is kept until a gradient has gone through it, a weight was written to, or
    the model changed between training and evaluation (by `train()` and `eval()`, so an evaluation makes it once).
    Torch's fused optimizers do not say that they write, so weights must not change in between by other means than a
    backward pass and a step. `weight`, `num_embeddings`, `embedding_dim`, `padding_idx` and `sparse` are those of an
    `nn.Embedding`.
    """

    def __init__(self, ids: nn.Embedding, maps: Sequence[nn.Module], side: str = "both") -> None:
        super().__init__()
        self.ids, self.maps, self.side = ids, nn.ModuleList(maps), side
        self.num_embeddings, self.embedding_dim = ids.num_embeddings, ids.embedding_dim
        self.padding_idx, self.sparse = ids.padding_idx, False
        self._kept: tuple[Any, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """(N, D) the table that scores are made of."""
        return self.ids.weight if self.side == "input" else self.mapped()

    def forward(self, items: Tensor) -> Tensor:
        """Rows of the table that histories are looked up in: (...) item numbers -> (..., D)."""
        table = self.ids.weight if self.side == "output" else self.mapped()
        return functional.embedding(items, table, padding_idx=self.padding_idx, sparse=self.sparse)

    def mapped(self) -> Tensor:
        """(N, D) the mapped table, from memory where it is still true."""
        written = [(id(weight), weight.data_ptr(), weight._version) for weight in self.parameters()]
        state = (is_grad_enabled(), written)
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self._made()
        return self._kept[1]

    def train(self, mode: bool = True) -> MappedEmbedding:
        """As of any module; the table is made anew."""
        self._kept = None
        return super().train(mode)

    def _made(self) -> Tensor:
        table = self.ids.weight
        for step in self.maps:
            table = step(table)
        # Lookups alone may leave a sparse gradient; the maps get a dense one.
        table = with_sparse_rows(table)
        if table.requires_grad:
            owner = weakref.ref(self)
            table.register_hook(lambda grad: _forget(owner()))
        return table

    def __getstate__(self) -> dict[str, Any]:
        # Copies of a model make a table of their own: one with a gradient cannot be copied.
        return {**self.__dict__, "_kept": None}


def id_embedding(model: nn.Module) -> nn.Embedding:
    """The embedding of ids of a model: its `item_embedding`, or what that is mapped from."""
    found = model.item_embedding
    return found.ids if isinstance(found, MappedEmbedding) else found


def _forget(embedding: MappedEmbedding | None) -> None:
    if embedding is not None:
        embedding._kept = None
