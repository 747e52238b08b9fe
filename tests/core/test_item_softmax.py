"""The likelihood of items under the softmax over the whole catalogue."""

from __future__ import annotations

import warnings
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_lpo.core import item_softmax
from recbole_lpo.core.item_softmax import catalogue_log_sum, item_scores, log1mexp, softmax_method, target_nll
from recbole_lpo.errors import InputError

fast = settings(max_examples=40, deadline=None)

HAS_FUSED = hasattr(torch.nn.functional, "linear_cross_entropy")
fused = pytest.param(
    "fused", marks=pytest.mark.skipif(not HAS_FUSED, reason="linear_cross_entropy came with torch 2.13")
)
EXACT = ["dense", "chunked", fused]
METHODS = [*EXACT, "chunked_bfloat16"]


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


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("scale", [0.1, 1, 100, 1e4])
@pytest.mark.parametrize(("rows", "items"), [(0, 7), (1, 1), (1, 5), (6, 300)])
def test_every_method_gives_the_value_and_gradients_of_float64(rows, items, scale, method):
    generator = torch.Generator().manual_seed(rows + items)
    made = [torch.randn(*shape, generator=generator) for shape in [(rows, 5), (items, 5), (items,)]]
    made[0] *= scale
    target, weight = torch.randint(0, items, (rows,), generator=generator), torch.linspace(0.5, 2, rows)
    leaves, exact = ([one.to(dtype).requires_grad_() for one in made] for dtype in (torch.float32, torch.float64))
    with warnings.catch_warnings():
        # torch warns where its own loss falls back to all scores at once.
        warnings.simplefilter("error")
        found = target_nll(leaves[0], leaves[1], target, bias=leaves[2], method=method)
    logits = exact[0] @ exact[1].T + exact[2]
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    atol = 2e-5 * max(1, scale)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=atol)
    pairs = zip(
        torch.autograd.grad((weight * found).sum(), leaves),
        torch.autograd.grad((weight * expected).sum(), exact),
        [1, max(1, scale), 1],
        strict=True,
    )
    for ours, theirs, size in pairs:
        torch.testing.assert_close(ours.double() / size, theirs / size, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("method", ["chunked", "chunked_bfloat16", fused])
def test_a_second_derivative_is_refused_where_it_would_be_wrong(method):
    hidden, items = hidden_and_items()
    nll = target_nll(hidden, items, torch.tensor([1, 2, 6]), method=method).sum()
    with pytest.raises(RuntimeError, match=f"item_softmax = {method}: its gradient cannot be differentiated again"):
        torch.autograd.grad(nll, hidden, create_graph=True)


@pytest.mark.parametrize("method", METHODS)
def test_under_autocast_every_method_gives_float32_and_gradients_of_the_parameters_kind(method):
    hidden, items = torch.randn(4, 5, requires_grad=True), torch.randn(30, 5, requires_grad=True)
    target = torch.tensor([1, 2, 29, 0])
    expected = target_nll(hidden, items, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = target_nll(hidden.bfloat16(), items, target, method=method)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)
    assert [grad.dtype for grad in torch.autograd.grad(found.sum(), [hidden, items])] == [torch.float32] * 2


CPU = torch.device("cpu")


@pytest.mark.parametrize("n_items", [1, 41, 1_683, 2_048])
def test_up_to_four_million_scores_auto_is_dense_and_has_the_digits_of_torch(n_items):
    assert softmax_method("auto", 2_048, n_items, CPU) == "dense"


@pytest.mark.parametrize("n_items", [2_049, 12_102, 1_000_000])
def test_above_that_auto_walks_over_the_catalogue_on_a_cpu(n_items):
    assert softmax_method("auto", 2_048, n_items, CPU) == "chunked"


@pytest.mark.parametrize(("n_items", "expected"), [(41, "dense"), (512, "dense"), (1_683, "chunked")])
def test_without_digits_of_recbole_to_keep_auto_walks_above_a_million_scores(n_items, expected):
    assert softmax_method("auto", 2_048, n_items, CPU, recbole_digits=False) == expected


@pytest.mark.parametrize(("gib", "expected"), [(8, "chunked"), (80, "dense")])
def test_on_a_gpu_auto_is_dense_while_that_takes_a_quarter_of_the_memory(gib, expected, monkeypatch):
    class Device:
        total_memory = gib * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Device)
    # Three times 2,048 x 100,000 float32 are 2.3 GiB.
    assert softmax_method("auto", 2_048, 100_000, torch.device("cuda")) == expected


def test_auto_gives_the_digits_of_the_method_that_it_takes(monkeypatch):
    hidden, items, target = torch.randn(3, 4), torch.randn(50, 4), torch.tensor([0, 49, 7])
    assert torch.equal(target_nll(hidden, items, target), target_nll(hidden, items, target, method="dense"))
    monkeypatch.setattr(item_softmax, "_DENSE_CELLS", 10)
    assert torch.equal(target_nll(hidden, items, target), target_nll(hidden, items, target, method="chunked"))


def test_an_unknown_method_is_refused_with_those_that_there_are():
    allowed = "auto, dense, chunked, chunked_bfloat16, fused"
    with pytest.raises(InputError, match=rf"item_softmax = fast: unknown\. Allowed: {allowed}"):
        target_nll(torch.randn(1, 2), torch.randn(3, 2), torch.tensor([1]), method="fast")


def test_fused_on_a_torch_without_it_is_refused_with_the_version_and_the_way_out(monkeypatch):
    monkeypatch.delattr(torch.nn.functional, "linear_cross_entropy", raising=False)
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    with pytest.raises(InputError, match=r"item_softmax = fused: torch 2\.6\.0 has no .* Take item_softmax = chunked"):
        softmax_method("fused", 1, 1, CPU)


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
