"""The negative items that RecBole draws for masked places of a history."""

from __future__ import annotations

import random
from types import ModuleType

from recbole_lpo.compat.ledger import Outcome, Recipe


def end_where_every_item_is_known(transform: ModuleType) -> Outcome:
    """Without it BERT4Rec draws for ever where a history holds the whole catalogue: no item outside of it is left.

    Any item is drawn there. The cross-entropy over all items does not look at it.
    """
    as_drawn = transform.MaskItemSequence._neg_sample

    def _neg_sample(self, item_set, n_items):
        # The catalogue is items 1 to n_items - 1; 0 is padding.
        if len(item_set) >= n_items - 1 and len({*item_set} - {0}) == n_items - 1:
            return random.randint(1, n_items - 1)
        return as_drawn(self, item_set, n_items)

    transform.MaskItemSequence._neg_sample = _neg_sample
    return "applied", "MaskItemSequence draws any item where a history holds them all"


RECIPES = (Recipe("masked items", "any", ("recbole.data.transform",), end_where_every_item_is_known),)
