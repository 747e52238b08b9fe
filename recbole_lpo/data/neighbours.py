"""The neighbours of items in the training histories of a dataset, for the ranking (`eval_neighbours`)."""

from __future__ import annotations

from recbole.utils import ModelType
from torch import Tensor

from recbole_lpo.core.neighbours import mixed_log_prob, neighbour_table, neighbour_weight
from recbole_lpo.data.popularity import training_events
from recbole_lpo.errors import InputError
from recbole_lpo.settings import RunSettings


class Neighbours:
    """Mixes into scores what followed the items of a history in training."""

    def __init__(self, train_dataset, config, settings: RunSettings) -> None:
        """Raises InputError for a model without histories, and where a few candidates are ranked."""
        if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
            raise InputError(
                f"eval_neighbours = {settings.eval_neighbours} with model = {config['model']}: neighbours are those of "
                "the items of a history, which only sequential models are given. Set it to 0."
            )
        modes = set(config["eval_args"]["mode"].values())
        if modes != {"full"}:
            raise InputError(
                f"eval_neighbours = {settings.eval_neighbours} with eval_args.mode = {sorted(map(str, modes))}: the "
                "probabilities that are mixed are over all items. Set eval_args.mode to full, or eval_neighbours to 0."
            )
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
