"""The largest response of filters of every height, without the work on the zeros at the end."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.window_max import filter_bank, window_max


@st.composite
def cases(draw):
    """(x of n of L steps, filters of the heights 1 to L, L), float64."""
    length = draw(st.integers(1, 7))
    known = draw(st.integers(1, length))
    rows, width, n_filters = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn((rows, known, width), generator=generator, dtype=torch.float64)
    filters = [
        torch.randn((n_filters, height, width), generator=generator, dtype=torch.float64)
        for height in range(1, length + 1)
    ]
    return x.requires_grad_(), [block.requires_grad_() for block in filters], length


def window_by_window(x, filters, length):
    """The slow twin: every window of all L steps."""
    whole = torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[1]))
    found = []
    for block in filters:
        height = block.shape[1]
        windows = [whole[:, start : start + height] for start in range(length - height + 1)]
        responses = torch.stack([torch.einsum("rhd,fhd->rf", window, block) for window in windows])
        found.append(responses.max(dim=0).values)
    return torch.cat(found, dim=1)


@given(cases())
@settings(max_examples=25, deadline=None)
def test_it_is_the_largest_over_all_windows(case):
    x, filters, length = case
    found = window_max(x, filter_bank(filters), length)
    torch.testing.assert_close(found, window_by_window(x, filters, length), rtol=1e-12, atol=1e-12)


@given(cases())
@settings(max_examples=25, deadline=None)
def test_its_gradients_are_those_of_the_window_that_won(case):
    x, filters, length = case
    found, slow = window_max(x, filter_bank(filters), length), window_by_window(x, filters, length)
    weight = torch.randn_like(found)
    ours = torch.autograd.grad((weight * found).sum(), [x, *filters])
    theirs = torch.autograd.grad((weight * slow).sum(), [x, *filters])
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-12, atol=1e-12)


def test_a_window_beyond_the_known_steps_gives_zero():
    # Steps -1, -2, then one of zeros. Height 1 may take that one, height 2 the window (-2, 0), height 3 has one window.
    x = torch.tensor([[[-1.0], [-2.0]]])
    filters = [torch.ones((1, height, 1)) for height in (1, 2, 3)]
    assert window_max(x, filter_bank(filters), 3).tolist() == [[0.0, -2.0, -3.0]]


def test_of_equal_windows_the_first_has_the_gradient():
    x = torch.tensor([[[3.0], [3.0]]], requires_grad=True)
    filters = [torch.ones((1, height, 1)) for height in (1, 2)]
    window_max(x, filter_bank(filters), 2)[0, 0].backward()
    assert x.grad.flatten().tolist() == [1.0, 0.0]


def test_the_bank_has_a_filter_in_each_column_and_zeros_below_its_height():
    filters = [torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0], [5.0, 6.0]]])]
    assert filter_bank(filters).tolist() == [[1.0, 3.0], [2.0, 4.0], [0.0, 5.0], [0.0, 6.0]]
