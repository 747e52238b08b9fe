"""What an optimizer remembers of overwritten rows."""

from __future__ import annotations

import pytest
import torch

from recbole_lpo.trainer.moments import forget_moments


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad, torch.optim.RMSprop])
def test_the_moments_of_the_rows_are_zero_and_all_others_stay(kind):
    weight, other = (torch.nn.Parameter(torch.randn(4, 2)) for _ in range(2))
    optimizer = kind([weight, other], lr=0.1)
    (weight.sum() ** 2 + other.sum() ** 2).backward()
    optimizer.step()
    moments = {key: value.clone() for key, value in optimizer.state[weight].items()}
    of_other = {key: value.clone() for key, value in optimizer.state[other].items()}
    forget_moments(optimizer, weight, torch.tensor([1, 3]))
    of_rows = [key for key, value in moments.items() if value.shape == weight.shape]
    assert of_rows
    for key in of_rows:
        assert (moments[key] != 0).all()
        assert (optimizer.state[weight][key][[1, 3]] == 0).all()
        assert torch.equal(optimizer.state[weight][key][[0, 2]], moments[key][[0, 2]])
    assert optimizer.state[weight]["step"] == moments["step"]
    assert all(torch.equal(optimizer.state[other][key], of_other[key]) for key in of_other)


def test_after_it_adam_moves_a_row_by_its_new_gradient_alone():
    weight = torch.nn.Parameter(torch.zeros(2, 1))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    for _ in range(5):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    forget_moments(optimizer, weight, torch.tensor([1]))
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert weight[0] != before[0]
    assert weight[1] == before[1]


def test_before_the_first_step_there_is_nothing_to_forget():
    weight = torch.nn.Parameter(torch.zeros(2, 1))
    optimizer = torch.optim.Adam([weight])
    forget_moments(optimizer, weight, torch.tensor([0]))
    assert not optimizer.state[weight]
