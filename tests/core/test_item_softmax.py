"""The likelihood of items under the softmax over the whole catalogue."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_lpo.core.item_softmax import catalogue_log_sum, item_scores, log1mexp, target_nll

fast = settings(max_examples=40, deadline=None)


@st.composite
def catalogues(draw):
    """(logits in float64, target, padding column); the target is never the padding."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.1, 1, 5]))
    pad_id = draw(st.integers(0, columns - 1))
    target = torch.randint(0, columns - 1, (rows,), generator=generator)
    return logits, target + (target >= pad_id), pad_id


def nll_of(logits, target):
    """Hidden states that are the logits themselves: the items' vectors are the unit vectors."""
    return target_nll(logits, torch.eye(logits.shape[1], dtype=logits.dtype), target)


def own_score(logits, target):
    return logits.gather(1, target[:, None])[:, 0]


def log1mexp_to_50_digits(x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 50
        return (1 - Decimal(x).exp()).ln()


def test_a_bias_is_added_to_the_score_of_its_item():
    hidden, items, bias = torch.randn(3, 4), torch.randn(6, 4), torch.randn(6)
    target = torch.tensor([0, 5, 2])
    expected = torch.nn.functional.cross_entropy(hidden @ items.T + bias, target, reduction="none")
    torch.testing.assert_close(target_nll(hidden, items, target, bias=bias), expected)


@fast
@given(catalogues())
def test_the_target_s_likelihood_is_that_of_torch(case):
    logits, target, _ = case
    expected = -torch.log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(nll_of(logits, target), expected, rtol=1e-12, atol=1e-12)


@fast
@given(catalogues())
def test_the_log_sum_is_that_of_all_columns(case):
    logits, target, _ = case
    found = catalogue_log_sum(nll_of(logits, target), own_score(logits, target))
    torch.testing.assert_close(found, torch.logsumexp(logits, dim=1), rtol=1e-12, atol=1e-12)


@fast
@given(catalogues())
def test_with_the_padding_taken_out_the_log_probabilities_are_those_of_a_catalogue_without_it(case):
    logits, target, pad_id = case
    # Beyond that a limit keeps the numbers finite; see below.
    assume(torch.softmax(logits, dim=1)[:, pad_id].max() < 1 - 1e-5)
    others = [column for column in range(logits.shape[1]) if column != pad_id]
    log_sum = catalogue_log_sum(nll_of(logits, target), own_score(logits, target), logits[:, pad_id])
    found = logits[:, others] - log_sum[:, None]
    torch.testing.assert_close(found, torch.log_softmax(logits[:, others], dim=1), rtol=1e-8, atol=1e-8)


@fast
@given(catalogues())
def test_with_the_padding_taken_out_the_gradient_is_that_of_a_catalogue_without_it(case):
    logits, target, pad_id = case
    # Beyond that a limit keeps the numbers finite; see below.
    assume(torch.softmax(logits, dim=1)[:, pad_id].max() < 1 - 1e-5)
    others = [column for column in range(logits.shape[1]) if column != pad_id]
    logits.requires_grad_()
    catalogue_log_sum(nll_of(logits, target), own_score(logits, target), logits[:, pad_id]).sum().backward()
    expected = torch.zeros_like(logits)
    expected[:, others] = torch.softmax(logits.detach()[:, others], dim=1)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-6, atol=1e-6)


COLUMNS = torch.tensor([[0, 6, 3, -1], [2, 2, 1, 4], [-1, 5, 4, 0]])


def hidden_and_items():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, 5, generator=generator, dtype=torch.float64, requires_grad=True) for n in (3, 7))


def test_scores_of_a_few_items_are_those_of_the_whole_catalogue():
    hidden, items = hidden_and_items()
    expected = (hidden @ items.T).gather(1, COLUMNS.clamp(min=0)).masked_fill(COLUMNS < 0, -torch.inf)
    torch.testing.assert_close(item_scores(hidden, items, COLUMNS), expected)


def test_scores_of_a_few_items_have_the_gradient_of_the_whole_catalogue():
    hidden, items = hidden_and_items()
    few = torch.autograd.grad(item_scores(hidden, items, COLUMNS).exp().sum(), [hidden, items])
    whole = (hidden @ items.T).gather(1, COLUMNS.clamp(min=0)).masked_fill(COLUMNS < 0, -torch.inf)
    for found, expected in zip(few, torch.autograd.grad(whole.exp().sum(), [hidden, items]), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_column_of_minus_one_has_probability_zero():
    found = item_scores(torch.ones(1, 2), torch.ones(3, 2), torch.tensor([[-1, 2]]))
    assert found.isneginf().tolist() == [[True, False]]


def test_a_padding_column_with_all_of_the_probability_leaves_finite_numbers():
    logits = torch.tensor([[100.0, 1.0, 2.0]], requires_grad=True)
    target = torch.tensor([1])
    log_sum = catalogue_log_sum(nll_of(logits, target), own_score(logits, target), logits[:, 0])
    log_sum.sum().backward()
    assert log_sum.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32_likelihoods_and_scores(dtype):
    hidden, items = torch.randn(2, 5).to(dtype), torch.randn(9, 5).to(dtype)
    assert target_nll(hidden, items, torch.tensor([1, 2])).dtype == torch.float32
    assert item_scores(hidden, items, torch.tensor([[1], [2]])).dtype == torch.float32


@fast
@given(st.floats(-16, 2.8))
def test_log1mexp_agrees_with_50_digits(exponent):
    x = -(10.0**exponent)
    found = log1mexp(torch.tensor(x, dtype=torch.float64)).item()
    assert found == pytest.approx(float(log1mexp_to_50_digits(x)), rel=1e-14)


@pytest.mark.parametrize("x", [-1e-30, -1e-12, -1e-3, -0.69, -0.6931471805599453, -0.7, -1.0, -30.0, -80.0])
def test_log1mexp_keeps_float32_accuracy(x):
    x = torch.tensor(x)
    assert log1mexp(x).item() == pytest.approx(float(log1mexp_to_50_digits(x.item())), rel=1e-6)


@pytest.mark.parametrize("x", [-1e-12, -1e-3, -0.69, -0.6931471805599453, -0.7, -30.0, -700.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_has_its_own_derivative(x, dtype):
    x = torch.tensor(x, dtype=dtype, requires_grad=True)
    log1mexp(x).backward()
    expected = -1 / torch.expm1(-x.detach().double())
    assert x.grad.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-38)
