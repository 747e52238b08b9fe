"""MELT: what few interactions say of a user or an item is taught by those of whom much is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recbole_lpo.core.curriculum import item_curriculum, user_curriculum
from recbole_lpo.core.item_contexts import histories_at, occurrences, slices
from recbole_lpo.data.item_batches import ItemBatches
from recbole_lpo.data.popularity import training_events
from recbole_lpo.data.runs import runs
from recbole_lpo.errors import InputError
from recbole_lpo.model.encoders import ScoresByProduct, SequenceEncoder
from recbole_lpo.model.kept_occurrences import KeptOccurrences
from recbole_lpo.model.likelihood import LikelihoodMixin
from recbole_lpo.model.mapped_embedding import MappedEmbedding
from recbole_lpo.model.packed import is_positionwise
from recbole_lpo.model.starts_trained import StartsTrained, spread_of
from recbole_lpo.settings import TransferSettings

# Histories that are encoded at once without a gradient.
_ROWS_AT_ONCE = 512


class MELTMixin(StartsTrained, ScoresByProduct, LikelihoodMixin):
    """Cross-entropy, and two linear maps that learn to complete what is known (MELT, Kim et al., SIGIR 2023; its
    repository, rlqja1107/MELT).

    user transfer  W_U of the state of a head user's last few items (1 to K_U - 1, drawn) is to be the state of all of
                   them; head users have more than K_U training interactions
    item transfer  W_I of the mean of h + W_U h over some histories that end with a head item (1 to K_I, drawn) is to be
                   the item's vector; such a history is what came before it, or what came after it, read from the end
    loss           cross-entropy + transfer_user_weight * user transfer + transfer_item_weight * item transfer, each the
                   mean of squares over users or items and dimensions, weighted by `core.curriculum`

    Before every epoch but the first the vector of each tail item is overwritten by W_I of the mean of h over all its
    histories. A tail user is ranked by h + W_U h. It begins with the weights of a trained model.

    Where published code is otherwise: it learns from one drawn negative for each target where this is the softmax over
    all items, for which its weights of the transfers were not chosen. It overwrites before the first epoch too, by a
    map that has learned nothing. W_I says vectors in units of the spread of those of head items; there it has to find
    their size first, and the tail's vectors are many times too long till then. Head items are those of the run's own
    split; there, those above a quantile of the counts. The optimizer forgets what it knew of overwritten rows.
    """

    objective = "ce"
    encodes_by_forward = True

    def __init__(self, config, dataset) -> None:
        name = type(self).__name__
        if config["MAX_ITEM_LIST_LENGTH"] < 2:
            raise InputError(
                f"MAX_ITEM_LIST_LENGTH = {config['MAX_ITEM_LIST_LENGTH']} with {name}: from the last items of a "
                "history it learns what all of it is. Take 2 or more."
            )
        super().__init__(config, dataset)
        if isinstance(self.item_embedding, MappedEmbedding):
            raise InputError(
                f"content_mode with {name}: it overwrites the vectors of tail items, which content is a part of. Set "
                "content_mode to none."
            )
        self.transfer_settings = TransferSettings.from_config(config)
        width = self.item_embedding.embedding_dim
        with self.own_weights():
            self.user_transfer, self.item_transfer = _linear(width), _linear(width)
        self._know_users_and_items(config, dataset)
        self.register_buffer("spread", spread_of(self.item_embedding.weight[self.head_ids]))
        self._progress = 0.0
        self._user_batches, self._item_batches = self._users.cycled(0), self._items.cycled(0)

    @staticmethod
    def unfit(encoder: type[SequenceEncoder]) -> str:
        """Why a backbone cannot be had, or ''."""
        plain = vars(SequenceEncoder)
        own = any(getattr(encoder, name) is not plain[name] for name in ("encode", "item_table", "training_states"))
        return (
            "its states are not made by `forward` of the history alone, or its item table is not plain" if own else ""
        )

    def start_epoch(self, epoch: int) -> list[tuple[Tensor, Tensor]] | None:
        """Called before every epoch: says how far the curriculum is, and overwrites the vectors of tail items.

        Returns what was overwritten, as (parameter, row numbers).
        """
        super().start_epoch(epoch)
        self._progress = min(1.0, epoch / self.transfer_settings.transfer_curriculum)
        self._user_batches, self._item_batches = self._users.cycled(epoch), self._items.cycled(epoch)
        return [(self.item_embedding.weight, self._overwrite())] if epoch and len(self.tail_items) else None

    def loss_of(self, hidden, target, *, known_items, reference_states) -> Tensor:
        self.check_trained()
        loss = super().loss_of(hidden, target, known_items=known_items, reference_states=reference_states)
        settings = self.transfer_settings
        if settings.transfer_user_weight:
            loss = loss + settings.transfer_user_weight * self.user_loss(next(self._user_batches).to(hidden.device))
        if settings.transfer_item_weight:
            loss = loss + settings.transfer_item_weight * self.item_loss(next(self._item_batches).to(hidden.device))
        return loss

    def encode(self, interaction) -> Tensor:
        states = SequenceEncoder.encode(self, interaction)
        if self.training:
            return states
        is_tail = self.is_tail_user[interaction[self.USER_ID]][:, None]
        return states + is_tail * self.user_transfer(states)

    def user_loss(self, users: Tensor) -> Tensor:
        """The user transfer of some head users, a scalar; users (B,) rows of `user_end` and `user_length`."""
        end, length = self.user_end[users], self.user_length[users].clamp(max=self.max_seq_length)
        most = min(max(2, self.tail_length), self.max_seq_length)
        n_few = torch.randint(1, most, length.shape, generator=self._stream()).to(end.device)
        few = self._states(slices(self._kept.found.items, end - n_few, n_few), n_few)
        full = self._states(slices(self._kept.found.items, end - length, length), length)
        weight = user_curriculum(
            length, progress=self._progress, tail_length=self.tail_length, max_length=self.max_seq_length
        )
        return (weight[:, None] * (self.user_transfer(few) - full).square()).mean()

    def item_loss(self, items: Tensor) -> Tensor:
        """The item transfer of some head items (B,), a scalar."""
        count, stream = self._kept.found.count[items], self._stream()
        drawn = [
            torch.randperm(n, generator=stream)[: int(torch.randint(1, min(n, most) + 1, (), generator=stream))]
            for n in (2 * count).tolist()
            for most in [max(1, self.tail_count)]
        ]
        row = torch.repeat_interleave(torch.tensor([len(one) for one in drawn])).to(items.device)
        states = self._states(*self._histories(items[row], torch.cat(drawn).to(items.device)))
        mean = _means(states + self.user_transfer(states), row, len(items))
        weight = item_curriculum(count, progress=self._progress, tail_count=self.tail_count)
        error = self.spread * self.item_transfer(mean) - self.item_embedding(items)
        return (weight[:, None] * error.square()).mean()

    @torch.no_grad()
    def inferred(self, items: Tensor) -> Tensor:
        """(B, D) the vectors of items (B,) that all their histories speak for, each item with some; in eval mode."""
        count = 2 * self._kept.found.count[items]
        row = torch.repeat_interleave(torch.arange(len(items), device=items.device), count)
        nth = torch.arange(len(row), device=row.device) - torch.repeat_interleave(torch.cumsum(count, 0) - count, count)
        history, length = self._histories(items[row], nth)
        order = torch.argsort(length, stable=True)
        states = torch.cat([self._states(history[part], length[part]) for part in torch.split(order, _ROWS_AT_ONCE)])
        return self.spread * self.item_transfer(_means(states, row[order], len(items)))

    def _overwrite(self) -> Tensor:
        """Gives the tail items their inferred vectors; returns their numbers."""
        was_training = self.training
        self.eval()
        parts = torch.split(self.tail_items, _ROWS_AT_ONCE)
        rows = torch.cat([self.inferred(part) for part in parts])
        self.train(was_training)
        with torch.no_grad():
            self.item_embedding.weight[self.tail_items] = rows
        return self.tail_items

    def _histories(self, items: Tensor, nth: Tensor) -> tuple[Tensor, Tensor]:
        """(histories, lengths) of items (M,): the nth (M,) of each, of twice as many as it has occurrences, the second
        half of them backward."""
        found = self._kept.found
        count = found.count[items]
        return histories_at(found, found.start[items] + nth % count, nth >= count)

    def _states(self, history: Tensor, length: Tensor) -> Tensor:
        if not is_positionwise(self):
            # Some models have weights for each of the longest history's places.
            history = nn.functional.pad(history, (0, self.max_seq_length - history.shape[1]))
        else:
            history = history[:, : int(length.max())]
        return self.forward(history, length)

    def _stream(self) -> torch.Generator:
        """What is drawn here are few numbers, which a host has at once."""
        return self.rival_stream(torch.device("cpu"))

    def _know_users_and_items(self, config, dataset) -> None:
        settings, split = self.transfer_settings, self.head_tail_split
        users, items = training_events(dataset)
        start, length = runs(users)
        self.tail_length = int(np.quantile(length, settings.transfer_user_share))
        is_tail_user = torch.ones(dataset.user_num, dtype=torch.bool)
        is_tail_user[users[start[length > self.tail_length]].astype(np.int64)] = False
        found = occurrences(
            torch.from_numpy(users),
            torch.from_numpy(items),
            self.item_embedding.num_embeddings,
            reach=self.max_seq_length - 1,
            least=0,
        )
        self._kept = KeptOccurrences(found)
        head_items, tail_items = map(torch.tensor, (split.head_ids, split.tail_ids))
        head_items, tail_items = (ids[found.count[ids] > 0] for ids in (head_items, tail_items))
        self.tail_count = int(found.count[tail_items].max()) if len(tail_items) else 0
        head_users = torch.from_numpy(np.flatnonzero(length > self.tail_length))
        if not len(head_users) or not len(head_items):
            raise InputError(
                f"transfer_user_share = {settings.transfer_user_share}, tail_split_ratio = {split.describe()['ratio']}:"
                f" there are {len(head_users)} head users and {len(head_items)} head items, and "
                f"{type(self).__name__} learns from both. Lower the first, or raise the other."
            )
        for name, values in (
            ("is_tail_user", is_tail_user),
            ("user_end", torch.from_numpy(start + length)),
            ("user_length", torch.from_numpy(length)),
            ("tail_items", tail_items),
        ):
            self.register_buffer(name, values, persistent=False)
        # One pass over each in the steps of an epoch.
        steps = -(-int((length - 1).sum()) // config["train_batch_size"])
        self._users, self._items = (
            ItemBatches(heads, len(heads) // max(1, steps - 1) + 1, config["seed"])
            for heads in (head_users, head_items)
        )


def _linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.xavier_normal_(layer.weight)
    return layer


def _means(values: Tensor, row: Tensor, n_rows: int) -> Tensor:
    """(n_rows, D) the means of values (M, D) by their row (M,), each of which has some."""
    total = values.new_zeros(n_rows, values.shape[1]).index_add(0, row, values)
    return total / torch.bincount(row, minlength=n_rows)[:, None]
