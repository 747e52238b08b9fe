"""Popularity of items in RecBole's training data, and the head/tail split that follows from it."""

from __future__ import annotations

import hashlib

import numpy as np

from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.data.prefix_rows import PrefixRows
from recbole_lpo.data.runs import runs
from recbole_lpo.settings import SplitSettings

PAD_ID = 0


def training_events(dataset) -> tuple[np.ndarray, np.ndarray]:
    """(users, items) of every training interaction, sorted by user, each user's in time order; two int32 arrays (n,).

    For a sequential dataset RecBole keeps a row per *target* and so forgets the first item of every user (its
    `item_counter` misses 15 % of the training interactions of Amazon Beauty). It is put back here: from the flat array
    where the dataset has one, else from the user's shortest history. Files that were divided beforehand
    (`benchmark_filename`) may hold rows whose histories do not go on from each other: of these it has the shortest
    history and all targets.
    """
    if isinstance(dataset.inter_feat, PrefixRows):
        fields, known = dataset.inter_feat.interaction.log.fields, dataset.inter_feat.known_events()
        return fields[dataset.uid_field][known].numpy(), fields[dataset.iid_field][known].numpy()
    users = dataset.inter_feat[dataset.uid_field].numpy()
    items = dataset.inter_feat[dataset.iid_field].numpy()
    list_field = getattr(dataset, f"{dataset.iid_field}_list_field", None)
    if list_field is not None:
        lengths = dataset.inter_feat[dataset.item_list_length_field].numpy()
        by_length = np.lexsort((lengths, users))
        users, items, lengths = users[by_length], items[by_length], lengths[by_length]
        _, first_row = np.unique(users, return_index=True)
        histories, lengths = dataset.inter_feat[list_field].numpy()[by_length[first_row]], lengths[first_row]
        kept = np.arange(histories.shape[1]) < lengths[:, None]
        users = np.concatenate([np.repeat(users[first_row], lengths), users])
        items = np.concatenate([histories[kept], items])
    order = np.argsort(users, kind="stable")
    return users[order].astype(np.int32), items[order].astype(np.int32)


def interactions_hash(dataset) -> str:
    """What tells one training set from another of the same items: a hash of its users and items in order."""
    users, items = training_events(dataset)
    return hashlib.sha256(users.tobytes() + items.tobytes()).hexdigest()


def training_counts(dataset, *, augmented: bool = False) -> np.ndarray:
    """Training interactions of each item, (item_num,) int64, index = RecBole's item number, 0 at the padding.

    augmented: count an item as often as it occurs in the prefix rows of its user, as LPO4Rec's published code does: the
    item at position j (from 0) of a user with n items counts n - max(j, 1) times.
    """
    users, items = training_events(dataset)
    weights = None
    if augmented and len(users):
        start, length = runs(users)
        position = np.arange(len(users)) - np.repeat(start, length)
        weights = np.repeat(length, length) - np.maximum(position, 1)
    counts = np.bincount(items, weights=weights, minlength=dataset.item_num).astype(np.int64)
    counts[PAD_ID] = 0
    return counts


def head_tail_split(dataset, settings: SplitSettings) -> HeadTailSplit:
    """The split of RecBole's training dataset under the settings; column 0 is RecBole's padding item."""
    by_token = settings.tail_split_tie_break == "token"
    return HeadTailSplit.from_counts(
        training_counts(dataset, augmented=settings.tail_split_counts == "augmented"),
        rule=settings.tail_split_rule,
        ratio=settings.tail_split_ratio,
        threshold=settings.tail_split_threshold,
        tie_break=dataset.field2id_token[dataset.iid_field].astype(str) if by_token else None,
        pad_id=PAD_ID,
    )
