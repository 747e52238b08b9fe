"""RecBole's SHAN, ranked by the states that it learns."""

from __future__ import annotations

from types import ModuleType

from recbole_lpo.compat.ledger import Outcome, Recipe


def rank_by_left_padded_histories(shan: ModuleType) -> Outcome:
    """Without it SHAN ranks by other states than it learns: padding stands where it looks for the latest items.

    It trains, and scores single items, on histories padded on the left, whose last cells are the latest items; only its
    `full_sort_predict` reads them as RecBole keeps them, padded on the right.
    """
    as_kept = shan.SHAN.full_sort_predict

    def full_sort_predict(self, interaction):
        from recbole_lpo.core.padding import padded_on_the_left

        histories = padded_on_the_left(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return as_kept(self, {self.ITEM_SEQ: histories, self.USER_ID: interaction[self.USER_ID]})

    shan.SHAN.full_sort_predict = full_sort_predict
    return "applied", "SHAN.full_sort_predict pads histories on the left"


RECIPES = (
    Recipe("SHAN's ranking", "any", ("recbole.model.sequential_recommender.shan",), rank_by_left_padded_histories),
)  # fmt: skip
