"""Occurrences of items that go where their model goes."""

from __future__ import annotations

from dataclasses import fields

from torch import nn

from recbole_lpo.core.item_contexts import Occurrences


class KeptOccurrences(nn.Module):
    """A part of a model that is no weight of it: neither trained nor kept in checkpoints."""

    def __init__(self, found: Occurrences) -> None:
        super().__init__()
        for part in fields(found):
            self.register_buffer(part.name, getattr(found, part.name), persistent=False)

    @property
    def found(self) -> Occurrences:
        """The occurrences, on the device of the model."""
        return Occurrences(**{part.name: getattr(self, part.name) for part in fields(Occurrences)})
