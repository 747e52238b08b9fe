"""The network that infers vectors from contexts: what it must not depend on."""

from __future__ import annotations

import pytest
import torch

from recbole_lpo.core.item_contexts import Contexts, contexts_at, occurrences
from recbole_lpo.model.context_network import ContextNetwork

REACH, WIDTH, N_ITEMS = 3, 8, 30


@pytest.fixture
def network():
    torch.manual_seed(3)
    return ContextNetwork(WIDTH, reach=REACH, n_layers=2, n_heads=4).eval()


@pytest.fixture
def table():
    return torch.randn(N_ITEMS, WIDTH, generator=torch.Generator().manual_seed(5))


def some_contexts():
    generator = torch.Generator().manual_seed(1)
    users = torch.repeat_interleave(torch.arange(40), torch.randint(1, 10, (40,), generator=generator))
    items = torch.randint(1, N_ITEMS, (len(users),), generator=generator)
    found = occurrences(users, items, N_ITEMS, reach=REACH, least=1)
    return contexts_at(found, torch.arange(len(found.place)), reach=REACH)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_context_is_encoded_the_same_alone_and_among_others(network, table, monkeypatch):
    monkeypatch.setattr("recbole_lpo.model.context_network._TOGETHER", 7)
    contexts = some_contexts()
    encoded = network.encode(table, contexts)
    for row in range(0, len(encoded), 9):
        length = contexts.length[row : row + 1]
        alone = Contexts(contexts.items[row : row + 1, :length], contexts.offset[row : row + 1, :length], length)
        close(network.encode(table, alone)[0], encoded[row])


def test_the_vector_of_the_item_itself_is_not_seen(network, table):
    contexts = Contexts(torch.tensor([[4, 9, 5]]), torch.tensor([[REACH - 1, REACH, REACH + 1]]), torch.tensor([3]))
    before = network.encode(table, contexts)
    changed = table.clone()
    changed[9] = 100.0
    close(network.encode(changed, contexts), before)
    changed[5] = 100.0
    assert not torch.allclose(network.encode(changed, contexts), before)


def test_what_stands_before_an_item_is_not_what_stands_after_it(network, table):
    there = Contexts(torch.tensor([[4, 9, 5]]), torch.tensor([[REACH - 1, REACH, REACH + 1]]), torch.tensor([3]))
    back = Contexts(torch.tensor([[5, 9, 4]]), there.offset, there.length)
    assert not torch.allclose(network.encode(table, there), network.encode(table, back), atol=1e-3)


def test_the_order_of_the_contexts_does_not_matter(network):
    encoded = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(2))
    present = torch.ones(2, 5, dtype=torch.bool)
    close(network.combine(encoded[:, [3, 1, 4, 0, 2]], present), network.combine(encoded, present))


def test_an_absent_context_says_nothing(network):
    encoded = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(2))
    present = torch.tensor([[True, True, False], [True, True, True]])
    changed = encoded.clone()
    changed[0, 2] = 50.0
    close(network.combine(changed, present), network.combine(encoded, present))
    close(network.combine(encoded[:1, :2], present[:1, :2]), network.combine(encoded, present)[:1])


def test_the_vector_of_one_context_is_that_of_the_encoder_over_it_alone(network):
    encoded = torch.randn(3, 1, WIDTH, generator=torch.Generator().manual_seed(2))
    expected = network.out(network.across(encoded)[:, 0])
    close(network.combine(encoded, torch.ones(3, 1, dtype=torch.bool)), expected)


def test_a_step_reaches_every_parameter(network, table):
    network.train()
    encoded = network.encode(table, some_contexts())
    network.combine(encoded[:6].unflatten(0, (2, 3)), torch.ones(2, 3, dtype=torch.bool)).square().sum().backward()
    # A key's bias adds the same to all scores of a softmax, which rounding alone may move.
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in network.parameters())
