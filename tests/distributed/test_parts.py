"""How batches are divided: nothing lost, nothing twice, in the order of one process."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.data.sequences import PackedSequences
from recbole_lpo.distributed.parts import own_batches, parts_of_packed, parts_of_rows
from recbole_lpo.distributed.ranks import ALONE, Ranks
from tests.conftest import SMALL, write_toy

WORLD = st.integers(2, 5)


def all_ranks(world):
    return [Ranks(rank, world) for rank in range(world)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), WORLD)
def test_evaluation_batches_of_all_processes_one_after_the_other_are_those_of_one(n_rows, batch_size, world):
    loader = DataLoader(list(range(n_rows)), batch_size=batch_size)
    found = [batch.tolist() for ranks in all_ranks(world) for batch in own_batches(loader, ranks)]
    assert found == [batch.tolist() for batch in loader]
    assert all(len(own_batches(loader, ranks)) > 0 for ranks in all_ranks(world))


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    config = Config("SASRec", None, None, {**SMALL, **write_toy(tmp_path_factory.mktemp("data"))})
    return lambda: split_dataset(config, load_dataset(config))[0]


def check(batches, parts):
    """batches: the targets of each batch; parts: those of each process, None for none, with their share."""
    for whole, *own in zip(batches, *parts, strict=True):
        together = [target for targets, _ in own for target in targets or ()]
        assert sorted(together) == sorted(whole)
        assert sum(share for _, share in own) == pytest.approx(1)
        assert [len(targets or ()) / len(whole) for targets, _ in own] == pytest.approx([share for _, share in own])


@pytest.mark.parametrize("world", [2, 5])
def test_the_parts_of_recboles_batches_are_the_batches_of_one_process(world, train):
    batches = [batch["item_id"].tolist() for batch in train()]
    parts = [
        [(part.rows and part.rows["item_id"].tolist(), part.share) for part in parts_of_rows(train(), ranks, "cpu")]
        for ranks in all_ranks(world)
    ]
    check(batches, parts)


@pytest.mark.parametrize(("world", "batch_targets"), [(2, 64), (5, 64), (5, 10)])
def test_the_parts_of_packed_batches_are_the_batches_of_one_process(world, batch_targets, train):
    packed = PackedSequences(train()._dataset, max_length=8, window_step=4, batch_targets=batch_targets, seed=1)
    batches = [batch.event.tolist() for batch in packed.epoch(3)]
    parts = [
        [(part.rows and part.rows.event.tolist(), part.share) for part in parts_of_packed(packed, 3, ranks)]
        for ranks in all_ranks(world)
    ]
    assert (world, batch_targets) != (5, 10) or any(rows is None for part in parts for rows, _ in part)
    check(batches, parts)


def test_alone_a_process_agrees_with_itself():
    values = torch.tensor([1.0, 2.0])
    assert ALONE.sum(values) is values
    assert (ALONE.told("a"), ALONE.gathered("a"), ALONE.own_seed(7), ALONE.writes) == ("a", ["a"], 7, True)


def test_processes_draw_from_streams_of_their_own():
    seeds = {ranks.own_seed(seed) for ranks in all_ranks(8) for seed in range(2020, 2120)}
    assert len(seeds) == 800
