"""The neighbours of items in the training histories of a dataset, for the ranking (`eval_neighbours`)."""

from __future__ import annotations

from torch import Tensor

from recbole_lpo.config_checks import check_neighbours
from recbole_lpo.core.alike_items import alike_items
from recbole_lpo.core.neighbours import mixed_log_prob, neighbour_table, neighbour_weight, with_alike_items
from recbole_lpo.data.attribute_values import attribute_values
from recbole_lpo.data.popularity import training_events
from recbole_lpo.settings import RunSettings


class Neighbours:
    """Mixes into scores what followed the items of a history in training, and what is like them."""

    def __init__(self, train_dataset, config, settings: RunSettings) -> None:
        """Raises InputError as `check_neighbours` (RecBole's own Config has not looked) and as `attribute_values`."""
        check_neighbours(config)
        self._settings = settings
        self._history = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        self._length = config["ITEM_LIST_LENGTH_FIELD"]
        users, items = training_events(train_dataset)
        self._table = neighbour_table(
            users,
            items,
            train_dataset.item_num,
            reach=settings.eval_neighbours_reach,
            discount=settings.eval_neighbours_discount,
        )
        if settings.eval_neighbours_fields:
            tokens = train_dataset.field2id_token[train_dataset.iid_field].astype(str)
            alike = alike_items(attribute_values(config, tokens, settings.eval_neighbours_fields))
            self._table = with_alike_items(self._table, alike, settings.eval_neighbours_alike)

    def mixed(self, scores: Tensor, interaction) -> Tensor:
        """The log of the mixture for a batch of histories, (B, N), from scores (B, N), -inf for what is not ranked."""
        settings = self._settings
        weight = neighbour_weight(
            self._table,
            interaction[self._history],
            interaction[self._length],
            reach=settings.eval_neighbours_reach,
            recency=settings.eval_neighbours_recency,
        )
        return mixed_log_prob(scores, weight, settings.eval_neighbours)
