"""Whole histories give the targets and the loss of RecBole's prefix rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.data.sequences import PackedSequences
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.model.packed import POSITIONWISE, can_pack, hidden_states, packed_loss
from recbole_lpo.model.packed_sasrec import _causal_attention
from tests.conftest import REAL_DATA, SMALL


def built(name, settings):
    config = Config(name, None, None, {**SMALL, **settings})
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    return config, train, config.model_class(config, train._dataset).eval()


def packed(config, train, **changes):
    settings = {"window_step": 1, "batch_targets": 64, "seed": 1, "max_length": config["MAX_ITEM_LIST_LENGTH"]}
    return PackedSequences(train._dataset, **{**settings, **changes})


def prefixes_of(batch):
    """(histories (T, 8), lengths (T,)): RecBole's rows for the targets of a batch"""
    known = torch.zeros((len(batch.target), 8), dtype=torch.int64)
    known[:, : batch.items.shape[1]] = batch.known_items()
    return known, (known > 0).sum(dim=1)


def rows_of(histories, targets):
    """(history without padding, target) of each row, sorted."""
    pairs = zip(histories.tolist(), targets.tolist(), strict=True)
    return sorted((tuple(item for item in history if item), target) for history, target in pairs)


def packed_rows(sequences, max_length, epoch=0):
    found = []
    for batch in sequences.epoch(epoch):
        known = batch.known_items()
        assert known.shape[1] <= max_length
        found += rows_of(known, batch.target)
    return sorted(found)


def prefix_rows(train):
    inter = train._dataset.inter_feat
    return rows_of(inter["item_id_list"], inter["item_id"])


def test_with_a_window_step_of_one_every_row_is_a_row_of_recbole_and_none_is_missing(toy):
    config, train, _ = built("LPOSASRec", toy)
    assert packed_rows(packed(config, train), 8) == prefix_rows(train)


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_every_target_comes_once_an_epoch_with_enough_of_its_history(step, toy):
    config, train, _ = built("LPOSASRec", toy)
    sequences = packed(config, train, window_step=step)
    found, expected = packed_rows(sequences, 8), prefix_rows(train)
    assert sorted(target for _, target in found) == sorted(target for _, target in expected)
    assert sequences.n_targets == len(expected)
    for history, target in found:
        whole = [one for one, other in expected if other == target and one[len(one) - len(history) :] == history]
        assert any(len(history) >= min(len(one), 8 - step + 1) for one in whole)


@pytest.mark.parametrize("targets", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("step", [1, 8])
def test_an_epoch_has_as_many_batches_as_it_says_and_none_is_empty(targets, step, toy):
    config, train, _ = built("LPOSASRec", toy)
    sequences = packed(config, train, window_step=step, batch_targets=targets)
    for epoch in range(3):
        sizes = [len(batch.target) for batch in sequences.epoch(epoch)]
        assert len(sizes) == len(sequences)
        assert min(sizes) > 0 and sum(sizes) == sequences.n_targets


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_rows_of_any_sizes_are_cut_into_batches_without_an_empty_one(counts, targets, epoch):
    users = np.repeat(np.arange(len(counts)), np.array(counts) + 1).astype(np.int32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("recbole_lpo.data.sequences.training_events", lambda dataset: (users, np.ones_like(users)))
        sequences = PackedSequences(None, max_length=50, window_step=25, batch_targets=targets, seed=0)
    batches = list(sequences.row_numbers(epoch))
    assert len(batches) == len(sequences) and all(map(len, batches))
    assert sorted(torch.cat(batches).tolist()) == list(range(sum(map(len, batches))))


def test_without_shuffling_every_epoch_has_the_same_batches_in_the_same_order(toy):
    config, train, _ = built("LPOSASRec", toy)
    first, second, shuffled = (
        [batch.target.tolist() for batch in packed(config, train, shuffle=shuffle).epoch(epoch)]
        for shuffle, epoch in [(False, 0), (False, 1), (True, 1)]
    )
    assert first == second != shuffled


def test_the_order_depends_on_the_seed_and_the_epoch_alone(toy):
    config, train, _ = built("LPOSASRec", toy)
    order = [[batch.target.tolist() for batch in packed(config, train, seed=s).epoch(e)] for s, e in
             [(1, 0), (1, 0), (1, 1), (2, 0)]]  # fmt: skip
    assert order[0] == order[1]
    assert order[0] != order[2]
    assert order[0] != order[3]


POSITIONWISE_NAMES = [base.__name__ for base in POSITIONWISE]


@pytest.mark.parametrize("n_users", [700, 3_000])
def test_no_batch_pads_many_short_histories_to_a_long_one(n_users, monkeypatch):
    """Most users have few items and a few have many: over a whole epoch less than a fifth of all cells is padding, and
    no batch has many times the cells of the others."""
    count = np.minimum(3 + np.random.default_rng(0).geometric(0.2, n_users) ** 2 // 8, 200)
    events = np.repeat(np.arange(n_users), count), np.ones(count.sum(), dtype=np.int32)
    monkeypatch.setattr("recbole_lpo.data.sequences.training_events", lambda dataset: events)
    sequences = PackedSequences(None, max_length=50, window_step=25, batch_targets=256, seed=0)
    batches = list(sequences.epoch(0))
    cells = [batch.items.numel() for batch in batches]
    assert sum(int(batch.length.sum()) for batch in batches) > 0.8 * sum(cells)
    assert max(cells) < 4 * 256


@pytest.mark.parametrize("name", [*POSITIONWISE_NAMES, *(f"LPO{name}" for name in POSITIONWISE_NAMES)])
def test_packed_states_are_the_states_of_the_prefixes(name, toy):
    config, train, model = built(name, toy)
    assert can_pack(model)
    with torch.no_grad():
        for batch in packed(config, train).epoch(0):
            by_prefix = model.forward(*prefixes_of(batch))
            torch.testing.assert_close(hidden_states(model, batch), by_prefix, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["dropout", "attn_dropout", "out_dropout", "feed_forward.dropout"])
def test_sasrec_drops_out_where_recbole_does(place, toy):
    # A dropout of 1 leaves nothing to chance.
    config, train, model = built("SASRec", toy)
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = float(name == place if place == "dropout" else name.endswith(f".{place}"))
    batch = next(packed(config, train).epoch(0))
    alone = model.forward(*prefixes_of(batch))
    torch.testing.assert_close(hidden_states(model, batch), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden_act", ["gelu", "relu", "swish", "tanh", "sigmoid"])
def test_sasrecs_gradients_are_those_of_the_prefixes(hidden_act, toy):
    config, train, model = built("SASRec", {**toy, "hidden_act": hidden_act})
    model.double()
    batch = next(packed(config, train).epoch(0))
    weight = torch.randn(len(batch.target), 16, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((weight * states).sum(), list(model.parameters()))
        for states in (hidden_states(model, batch), model.forward(*prefixes_of(batch)))
    )
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-7, atol=1e-7)


def test_attention_with_dropout_is_that_of_torch_where_nothing_is_dropped():
    query, key, value = torch.randn(3, 5, 4, 8, dtype=torch.float64)
    expected = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(_causal_attention(query, key, value, 0.0), expected)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs ../shared/data")
def test_on_amazon_beauty_the_mean_loss_of_packed_rows_is_that_of_recboles_rows():
    settings = {"dataset": "amazon-beauty", "data_path": str(REAL_DATA), "MAX_ITEM_LIST_LENGTH": 10}
    config, train, model = built("SASRec", {**settings, "train_batch_size": 4096})
    sequences = packed(config, train, batch_targets=4096)
    assert sequences.n_targets == len(train._dataset) == 131_413
    with torch.no_grad():
        some = [
            (packed_loss(model, batch, sequences.n_events).item(), len(batch.target)) for batch in sequences.epoch(0)
        ]
        rows = [(model.calculate_loss(batch).item(), len(batch)) for batch in train]
    packed_mean, prefix_mean = (sum(loss * n for loss, n in part) / 131_413 for part in (some, rows))
    assert packed_mean == pytest.approx(prefix_mean, abs=1e-5)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in POSITIONWISE_NAMES])
def test_a_backbone_that_reads_a_whole_row_at_once_is_not_packed(backbone, toy):
    assert not can_pack(built(backbone, toy)[2])
    assert not can_pack(built(f"LPO{backbone}", toy)[2])
