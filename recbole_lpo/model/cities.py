"""CITIES: a trained model whose rare items get the vectors that their contexts speak for."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.core.item_contexts import drawn_occurrences, occurrences
from recbole_lpo.core.precision import full_precision
from recbole_lpo.data.item_batches import ItemBatches
from recbole_lpo.data.popularity import PAD_ID, training_events
from recbole_lpo.errors import InputError
from recbole_lpo.model.content import without_item_table
from recbole_lpo.model.context_network import ContextNetwork
from recbole_lpo.model.encoders import SequenceEncoder
from recbole_lpo.model.mapped_embedding import MappedEmbedding
from recbole_lpo.model.objective import ObjectiveMixin
from recbole_lpo.model.starts_trained import StartsTrained, spread_of
from recbole_lpo.model.transfer_map import TransferMap
from recbole_lpo.settings import TransferSettings

# A context with fewer items beside its own says too little.
_LEAST = 2


class CITIESMixin(StartsTrained, ObjectiveMixin):
    """The weights of a trained model, frozen, and a network that learns the vectors of well-known items from their
    contexts, and then infers those of the rare ones (CITIES, Jang et al., ICDM 2020; its repository, swonj90/CITIES).

    loss = mean over items and dimensions of ((network(K contexts) - vector) / spread)^2, K drawn for each step. The
    spread of the vectors makes 1 what their mean would have.

    Where published code is otherwise: it has no spread, and the network first spends some hundred steps on the size of
    what it says; the best epoch here is the one with the best ranking of validation items, there the last one before
    the error on a twentieth of the items has risen ten times; of its learning rate the warm-up over 100 steps and the
    decay over a million are left to `warmup_ratio` and `lr_schedule`.
    """

    objective = "cities"

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        # There are no rows of targets whose loss could be shown.
        self.loss_monitor = None
        name = type(self).__name__
        reason = without_item_table(self, name)
        if reason:
            raise InputError(f"model = {name}: the vectors of its items cannot be inferred: {reason}.")
        if isinstance(self.item_embedding, MappedEmbedding) and self.item_embedding.side != "both":
            raise InputError(
                f"content_side = {self.item_embedding.side}: {name} infers vectors that stand on both sides. Set "
                "content_side to both."
            )
        self.transfer_settings = settings = TransferSettings.from_config(config)
        self.requires_grad_(False)
        users, items = map(torch.from_numpy, training_events(dataset))
        ids, maps = self.item_embedding, []
        if isinstance(ids, MappedEmbedding):
            ids, maps = ids.ids, list(ids.maps)
        found = occurrences(users, items, ids.num_embeddings, reach=settings.transfer_reach, least=_LEAST)
        rare, known = self._rare_and_known(torch.bincount(items, minlength=ids.num_embeddings), found.count)
        network = self._network(ids.embedding_dim)
        spread = spread_of(self.item_embedding.weight[known])
        maps.append(TransferMap(network, found, rare, spread=spread, keep_norm=settings.transfer_keep_norm))
        self.item_embedding = MappedEmbedding(ids, maps)
        self.own_batches = ItemBatches(known, settings.transfer_batch_size, config["seed"])
        self._is_known = torch.zeros(ids.num_embeddings, dtype=torch.bool)
        self._is_known[known] = True

    @staticmethod
    def unfit(encoder: type[SequenceEncoder]) -> str:
        """Why a backbone cannot be had, or ''."""
        return encoder.no_content

    @property
    def own_learning_rate(self) -> float:
        """That of its network: `learning_rate` is the one that the trained model had."""
        return self.transfer_settings.transfer_learning_rate

    def train(self, mode: bool = True) -> CITIESMixin:
        """As of any module, but for the trained model: that is frozen, its dropout as well."""
        super().train(False)
        self.training = mode
        self._transfer.network.train(mode)
        return self

    def calculate_loss(self, batch) -> Tensor:
        """The loss of some items, a scalar: (B,) item numbers as `own_batches` has them, or a batch of RecBole's rows,
        of whose targets the well-known ones are learned."""
        self.check_trained()
        items = batch if isinstance(batch, Tensor) else self._known_of(batch[self.POS_ITEM_ID])
        items = items.to(self.head_ids.device)
        if not len(items):
            return self._transfer.network.out.bias.sum() * 0
        stream, table, transfer = self.rival_stream(items.device), self._frozen_table(), self._transfer
        most = self.transfer_settings.transfer_max_contexts
        # A number that the host has at once: nothing waits for the device.
        n_drawn = int(torch.randint(1, most + 1, (), generator=self.rival_stream(torch.device("cpu"))))
        places = drawn_occurrences(transfer.found, items, n_drawn, stream)
        with full_precision(items.device):
            error = transfer.learned(table, items, places) - table[items]
            return (error / transfer.spread).square().mean()

    @property
    def _transfer(self) -> TransferMap:
        return self.item_embedding.maps[-1]

    @torch.no_grad()
    def _frozen_table(self) -> Tensor:
        """(N, D) the item table of the trained model."""
        table = self.item_embedding.ids.weight
        for step in self.item_embedding.maps[:-1]:
            table = step(table)
        return table

    def _known_of(self, items: Tensor) -> Tensor:
        return items[self._is_known.to(items.device)[items]].unique()

    def _rare_and_known(self, count: Tensor, n_contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Item numbers, of those that have contexts: whose vector is inferred, and whose vectors are learned from."""
        settings = self.transfer_settings
        if settings.transfer_items == "tail":
            is_rare = torch.ones_like(count, dtype=torch.bool)
            is_rare[self.head_ids] = False
        else:
            is_rare = count <= settings.transfer_max_count
        usable = n_contexts > 0
        usable[PAD_ID] = False
        rare, known = (usable & is_rare).nonzero()[:, 0], (usable & ~is_rare).nonzero()[:, 0]
        if not len(rare) or not len(known):
            raise InputError(
                f"transfer_items = {settings.transfer_items}, transfer_max_count = {settings.transfer_max_count}: of "
                f"the items with contexts {len(rare)} are to be inferred and {len(known)} to be learned from. "
                f"{type(self).__name__} needs both; with transfer_items rare, set transfer_max_count between the "
                "smallest and the largest number of interactions of an item."
            )
        return rare, known

    def _network(self, width: int) -> ContextNetwork:
        settings = self.transfer_settings
        if width % settings.transfer_heads:
            raise InputError(
                f"transfer_heads = {settings.transfer_heads}: must divide the width of the item vectors, {width}."
            )
        with self.own_weights():
            return ContextNetwork(
                width,
                reach=settings.transfer_reach,
                n_layers=settings.transfer_layers,
                n_heads=settings.transfer_heads,
            )
