"""The fused optimizer is the optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW

from recbole_lpo.trainer.optimizer import fused


def trained(kind, change, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()
    optimizer = change(kind(model.parameters(), **options))
    x = torch.randn(20, 5, dtype=torch.float64)
    for _ in range(30):
        optimizer.zero_grad()
        (model(x) - x.sum(dim=1, keepdim=True)).square().mean().backward()
        optimizer.step()
    return optimizer, list(model.parameters())


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_fused_steps_are_the_steps_of_the_optimizer(kind, weight_decay):
    options = {"lr": 0.01, "weight_decay": weight_decay}
    _, plain = trained(kind, lambda optimizer: optimizer, **options)
    optimizer, found = trained(kind, fused, **options)
    assert optimizer.param_groups[0]["fused"]
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_groups_keep_their_own_rates():
    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = fused(Adam([{"params": [one], "lr": 0.5}, {"params": [other]}], lr=0.1, weight_decay=0.2))
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.5, 0.2), (0.1, 0.2)]


@pytest.mark.parametrize("kind", [SGD, Adagrad])
def test_other_optimizers_stay_as_they_are(kind):
    optimizer = kind([nn.Parameter(torch.zeros(2))], lr=0.1)
    assert fused(optimizer) is optimizer


def test_weights_that_no_fused_kernel_takes_keep_their_optimizer():
    optimizer = Adam([nn.Parameter(torch.zeros(2, dtype=torch.complex64))])
    assert fused(optimizer) is optimizer
