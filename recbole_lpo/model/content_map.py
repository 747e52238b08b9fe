"""From a table of ids to one in which items are also what they are: their attributes and vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_lpo.core.dropout import dropout
from recbole_lpo.core.item_content import Bags, pooled
from recbole_lpo.core.precision import full_precision
from recbole_lpo.data.content import ItemContent

_BAG_PARTS = ("member", "start", "weight")


class ContentMap(nn.Module):
    """ids (N, D) -> table (N, D), with content c = pooled attribute embeddings + vectors . projection of each item.

    add      id + c
    replace  c
    gate     (1 - g) id + g c, where g = sigmoid(bias + slope z + c . direction) and z is the standardised log of
             1 + the item's training interactions. It starts at sigmoid(-z): rare items lean on their content

    An item without content is its id. An item that training never saw has no id part (g = 1): its embedding of an id
    would be random numbers, moved by nothing but being no target. A field adds the mean of the embeddings of the item's
    values, whatever their order and that of the fields.
    """

    def __init__(
        self,
        content: ItemContent,
        *,
        mode: str,
        width: int,
        spread: float,
        counts: Tensor,
        seed: int,
        dropout: float = 0.0,
        frozen: bool = True,
        zero_init: bool = False,
    ) -> None:
        """width D; spread: standard deviation of the first embeddings; counts (N,) training interactions of each item;
        frozen: False makes the vectors themselves parameters; zero_init: content starts at 0."""
        super().__init__()
        self.mode, self.p = mode, dropout
        # A stream of its own: the weights of the backbone are those that it has without content.
        stream = torch.Generator().manual_seed(seed)
        spread = 0.0 if zero_init else spread
        n_columns = content.vectors.shape[1]
        attributes = spread * torch.randn(content.n_values, width, generator=stream)
        projection = spread / math.sqrt(max(1, n_columns)) * torch.randn(n_columns, width, generator=stream)
        self.attributes = nn.Parameter(attributes) if content.n_values else None
        self.projection = nn.Parameter(projection) if n_columns else None
        if frozen or not n_columns:
            self.register_buffer("vectors", content.vectors, persistent=False)
        else:
            self.vectors = nn.Parameter(content.vectors.clone())
        for name, bags in (("bags", content.bags), ("transposed", content.bags.transposed(content.n_values))):
            for part in _BAG_PARTS:
                self.register_buffer(f"{name}_{part}", getattr(bags, part), persistent=False)
        unseen = content.has_content & (counts == 0)
        self.register_buffer("has_content", content.has_content[:, None], persistent=False)
        self.register_buffer("unseen", unseen[:, None], persistent=False)
        self.register_buffer("unseen_rows", unseen.nonzero()[:, 0], persistent=False)
        self.register_buffer("fingerprint", torch.tensor(content.fingerprint))
        if mode == "gate":
            rarity = torch.log1p(counts.float())
            known = rarity[content.has_content]
            rarity = (rarity - known.mean()) / known.std(unbiased=False).clamp(min=1e-6)
            self.register_buffer("rarity", rarity[:, None], persistent=False)
            self.gate = nn.Parameter(torch.tensor([0.0, -1.0]))
            self.gate_direction = nn.Parameter(torch.zeros(width))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (N, D) -> (N, D)."""
        with full_precision(ids.device):
            content = dropout(self.content(), self.p, self.training)
            if self.mode == "replace":
                return torch.where(self.has_content, content, ids)
            if self.mode == "gate":
                share = self.share(content)
                return (1 - share) * ids + share * content
            if len(self.unseen_rows):
                ids = ids.index_fill(0, self.unseen_rows, 0.0)
            return ids + content

    def content(self) -> Tensor:
        """(N, D) what the attributes and vectors of the items add up to; zeros for an item that has none."""
        return self._content(self._bags("bags"), self._bags("transposed"), self.vectors)

    def content_of(self, others: ItemContent) -> Tensor:
        """(M, D) the rows of items that are not in the table, made of their content alone."""
        device = self.has_content.device
        bags = Bags(*(getattr(others.bags, part).to(device) for part in _BAG_PARTS))
        return self._content(bags, bags.transposed(others.n_values), others.vectors.to(device))

    def share(self, content: Tensor) -> Tensor:
        """(N, 1) how much of each item is its content, in [0, 1]; content (N, D)."""
        bias, slope = self.gate
        share = torch.sigmoid(bias + slope * self.rarity + content @ self.gate_direction[:, None])
        return share.masked_fill(~self.has_content, 0.0).masked_fill(self.unseen, 1.0)

    def _content(self, bags: Bags, transposed: Bags, vectors: Tensor) -> Tensor:
        if self.attributes is None:
            return vectors @ self.projection
        found = pooled(self.attributes, bags, transposed)
        return found if self.projection is None else found + vectors @ self.projection

    def _bags(self, name: str) -> Bags:
        return Bags(*(getattr(self, f"{name}_{part}") for part in _BAG_PARTS))

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors) -> None:
        own, found = int(self.fingerprint), state_dict.get(f"{prefix}fingerprint")
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)
        if found is not None and int(found) != own:
            errors.append(
                "the content of the items (content_fields, content_file) is not what the weights were trained with: "
                "a file has changed since, or other columns are named"
            )
