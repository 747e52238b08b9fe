"""The walk over the catalogue in chunks gives the values and gradients of the scores as a whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recbole_lpo.core import column_softmax
from recbole_lpo.core.column_softmax import column_nll

fast = settings(max_examples=40, deadline=None)
RECOMPUTED, KEPT = 0, 10**9


def case(seed, rows, items, *, dim=4, scale=1.0, dtype=torch.float64):
    """(hidden, item table, bias), each of which asks for its gradient, and targets."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=generator, dtype=dtype) for shape in [(rows, dim), (items, dim), (items,)]]
    made[0] *= scale
    return [one.requires_grad_() for one in made], torch.randint(0, items, (rows,), generator=generator)


def whole(hidden, item_table, bias, target):
    """The twin: all scores at once, in float64."""
    return functional.cross_entropy((hidden @ item_table.T + bias).double(), target, reduction="none")


def value_and_gradients(loss, leaves):
    weight = torch.linspace(0.5, 2, len(loss), dtype=loss.dtype)
    return [loss.detach(), *torch.autograd.grad((weight * loss).sum(), leaves)]


@fast
@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(1, 23), st.integers(1, 30), st.integers(0, 600))
def test_value_and_gradients_are_those_of_all_scores_at_once(seed, rows, items, chunk, kept_bytes):
    leaves, target = case(seed, rows, items)
    hidden, item_table, bias = leaves
    found = column_nll(hidden, item_table, target, bias=bias, chunk=chunk, kept_bytes=kept_bytes)
    pairs = zip(value_and_gradients(found, leaves), value_and_gradients(whole(*leaves, target), leaves), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@fast
@given(st.integers(0, 10_000), st.floats(1, 1e4), st.sampled_from([RECOMPUTED, KEPT]))
def test_in_float32_scores_of_any_size_give_what_float64_gives_within_rounding(seed, scale, kept_bytes):
    leaves, target = case(seed, 5, 40, scale=scale, dtype=torch.float32)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    found = column_nll(leaves[0], leaves[1], target, bias=leaves[2], chunk=7, kept_bytes=kept_bytes)
    ours, theirs = value_and_gradients(found, leaves), value_and_gradients(whole(*exact, target), exact)
    # A score is rounded relative to its terms; the gradient of an item carries the size of the hidden state.
    rounding = 1e-6 * scale
    for one, other, size in zip(ours, theirs, [1, 1, scale, 1], strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one.double() / size, other / size, rtol=1e-4, atol=20 * rounding + 1e-6)


@fast
@given(st.integers(0, 10_000), st.floats(0.01, 5), st.sampled_from([RECOMPUTED, KEPT]))
def test_scores_that_need_no_shift_give_the_same_with_one(seed, scale, kept_bytes):
    leaves, target = case(seed, 5, 40, scale=scale, dtype=torch.float32)
    found = []
    for near_zero in (60.0, -1.0):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(column_softmax, "_NEAR_ZERO", near_zero)
            loss = column_nll(*leaves[:2], target, bias=leaves[2], chunk=7, kept_bytes=kept_bytes)
        found.append(value_and_gradients(loss, leaves))
    for plain, shifted in zip(*found, strict=True):
        torch.testing.assert_close(plain, shifted, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("bits", [59.9, 60.1, 130.0])
def test_scores_at_either_end_of_what_needs_no_shift_lose_nothing(sign, bits):
    n_items, score = 5000, sign * bits * 0.6931471805599453
    hidden = torch.full((3, 1), score).requires_grad_()
    table = torch.ones(n_items, 1).requires_grad_()
    found = column_nll(hidden, table, torch.tensor([0, 1, 4999]), chunk=64)
    torch.testing.assert_close(found, torch.full((3,), 8.517193191416238), rtol=0, atol=2e-5)
    (gradient,) = torch.autograd.grad(found.sum(), table)
    expected = torch.full((n_items, 1), 3 * score / n_items)
    expected[[0, 1, 4999]] -= score
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=0)


@fast
@given(
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.integers(1, 23),
    st.integers(1, 30),
    st.integers(0, 600),
    st.sampled_from([None, torch.bfloat16]),
)
def test_how_many_probabilities_are_kept_changes_no_digit(seed, rows, items, chunk, kept_bytes, gradient_dtype):
    leaves, target = case(seed, rows, items, dtype=torch.float32)
    options = {"bias": leaves[2], "chunk": chunk, "gradient_dtype": gradient_dtype}
    found = [
        value_and_gradients(column_nll(*leaves[:2], target, kept_bytes=size, **options), leaves)
        for size in (RECOMPUTED, kept_bytes, KEPT)
    ]
    for recomputed, some, kept in zip(*found, strict=True):
        assert recomputed.equal(some) and some.equal(kept)


@fast
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 40), st.floats(0.01, 100))
def test_products_of_the_gradient_in_bfloat16_leave_the_value_and_round_each_term_of_the_gradient(
    seed, rows, items, scale
):
    leaves, target = case(seed, rows, items, scale=scale, dtype=torch.float32)
    exact, found = (
        value_and_gradients(column_nll(*leaves[:2], target, bias=leaves[2], chunk=7, gradient_dtype=dtype), leaves)
        for dtype in (None, torch.bfloat16)
    )
    torch.testing.assert_close(found[0], exact[0], rtol=1e-6, atol=1e-6 * scale)
    hidden, table = (leaf.detach().abs() for leaf in leaves[:2])
    prob = torch.softmax(leaves[0].detach() @ leaves[1].detach().T + leaves[2].detach(), dim=1)
    weighted = torch.linspace(0.5, 2, rows)[:, None] * prob
    # The factors, the products of a chunk and their sum are rounded to 8 bits each; the target's own term is not.
    for one, other, terms in zip(
        found[1:], exact[1:], [weighted @ table, weighted.T @ hidden, weighted.sum(dim=0)], strict=True
    ):
        assert ((one - other).abs() <= 4 * 2**-8 * terms + 1e-6 * scale).all()


def test_products_of_the_gradient_in_bfloat16_cost_a_step_a_ten_thousandth_of_its_gradient():
    generator = torch.Generator().manual_seed(0)
    leaves = [(torch.randn(n, 64, generator=generator) * size).requires_grad_() for n, size in [(512, 1), (5000, 0.1)]]
    target = torch.randint(0, 5000, (512,), generator=generator)
    exact, found = (
        value_and_gradients(column_nll(*leaves, target, gradient_dtype=dtype), leaves)
        for dtype in (None, torch.bfloat16)
    )
    for one, other in zip(found[1:], exact[1:], strict=True):
        assert 0 < (one - other).norm() < 5e-4 * other.norm()


def test_products_in_bfloat16_see_few_numbers_of_rows_for_each_of_which_onednn_keeps_memory(monkeypatch):
    seen, product = set(), torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, **named: seen.add((*a.shape, *b.shape)) or product(a, b, **named))
    for rows in (65, 70, 100, 128):
        leaves, target = case(0, rows, 20, dtype=torch.float32)
        loss = column_nll(*leaves[:2], target, chunk=20, gradient_dtype=torch.bfloat16)
        assert loss.shape == (rows,)
        loss.sum().backward()
    # Scores, and the gradients of hidden states and items.
    assert seen == {(128, 4, 4, 20), (128, 20, 20, 4), (20, 128, 128, 4)}


@pytest.mark.parametrize("kept_bytes", [RECOMPUTED, KEPT])
def test_the_gradients_are_the_slopes_of_the_value(kept_bytes):
    leaves, target = case(0, 3, 7)

    def loss(hidden, item_table, bias):
        return column_nll(hidden, item_table, target, bias=bias, chunk=3, kept_bytes=kept_bytes)

    assert torch.autograd.gradcheck(loss, leaves)


def test_the_cross_entropy_of_equal_scores_is_the_log_of_their_number():
    found = column_nll(torch.zeros(2, 3), torch.randn(1000, 3), torch.tensor([0, 999]), chunk=64)
    torch.testing.assert_close(found, torch.full((2,), 6.907755278982137))


def test_items_that_a_bias_rules_out_leave_no_nan_even_where_they_fill_a_chunk():
    (hidden, item_table, bias), target = case(0, 3, 12)
    ruled_out = bias.detach().clone()
    ruled_out[:8] = -torch.inf
    found = column_nll(hidden, item_table, target % 4 + 8, bias=ruled_out, chunk=4)
    expected = column_nll(hidden, item_table[8:], target % 4, bias=ruled_out[8:], chunk=4)
    torch.testing.assert_close(found, expected)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(found.sum(), [hidden, item_table]))


def test_a_sure_target_costs_nothing_and_never_less():
    (hidden, item_table, _), _ = case(0, 200, 50, scale=1e3, dtype=torch.float32)
    target = (hidden @ item_table.T).argmax(dim=1)
    assert (column_nll(hidden, item_table, target, chunk=8) >= 0).all()


@pytest.mark.parametrize("kept_bytes", [RECOMPUTED, KEPT])
def test_transposed_arguments_and_a_computed_table_get_their_gradients(kept_bytes):
    (hidden, item_table, bias), target = case(1, 4, 9)
    sources = [hidden.detach().T.contiguous().requires_grad_(), item_table.detach().T.contiguous().requires_grad_()]
    found = column_nll(sources[0].T, (2 * sources[1]).T, target, bias=bias, chunk=4, kept_bytes=kept_bytes)
    expected = whole(sources[0].T, (2 * sources[1]).T, bias, target)
    pairs = zip(value_and_gradients(found, sources), value_and_gradients(expected, sources), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_an_argument_without_gradient_leaves_those_of_the_others(frozen):
    leaves, target = case(2, 4, 9)
    learning = [leaf for number, leaf in enumerate(leaves) if number != frozen]
    leaves[frozen].requires_grad_(False)
    found = column_nll(leaves[0], leaves[1], target, bias=leaves[2], chunk=4)
    pairs = zip(
        value_and_gradients(found, learning), value_and_gradients(whole(*leaves, target), learning), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kept_bytes", [RECOMPUTED, KEPT])
def test_a_retained_graph_gives_the_same_gradient_again(kept_bytes):
    leaves, target = case(3, 4, 9)
    loss = column_nll(leaves[0], leaves[1], target, bias=leaves[2], chunk=4, kept_bytes=kept_bytes).sum()
    first, second = (torch.autograd.grad(loss, leaves, retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_under_autocast_it_is_computed_in_float32():
    (hidden, item_table, _), target = case(4, 6, 30, dtype=torch.float32)
    expected = column_nll(hidden, item_table, target, chunk=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(column_nll(hidden, item_table, target, chunk=8), expected)
        mixed = column_nll(hidden.bfloat16(), item_table, target, chunk=8)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, column_nll(hidden.bfloat16().float(), item_table, target, chunk=8))


def test_a_table_in_half_precision_has_a_gradient_of_its_own_kind():
    (hidden, item_table, _), target = case(5, 6, 30, dtype=torch.float32)
    halved = item_table.detach().bfloat16().requires_grad_()
    column_nll(hidden, halved, target, chunk=8).sum().backward()
    exact = torch.autograd.grad(column_nll(hidden, halved.detach().float().requires_grad_(), target).sum(), hidden)
    assert halved.grad.dtype == torch.bfloat16
    torch.testing.assert_close(torch.autograd.grad(column_nll(hidden, halved, target).sum(), hidden), exact)


def test_probabilities_that_are_kept_for_a_second_backward_pass_are_not_overwritten():
    leaves, target = case(3, 300, 2000)
    hidden, item_table, bias = leaves
    first = column_nll(hidden, item_table, target, bias=bias, kept_bytes=KEPT).sum()
    expected = torch.autograd.grad(whole(*leaves, target).sum(), leaves)
    for _ in range(2):
        found = torch.autograd.grad(first, leaves, retain_graph=True)
        # Another step in between, in memory of the same size.
        column_nll(hidden.detach().requires_grad_(), item_table, target, kept_bytes=KEPT).sum().backward()
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
