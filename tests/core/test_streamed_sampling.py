"""Plackett-Luce draws that look at few scores: the same law as noise for every column, and few scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_lpo.core import streamed_sampling
from recbole_lpo.core.sampling import gumbel_top_k
from recbole_lpo.core.streamed_sampling import (
    best_scored,
    draw_from_probabilities,
    draw_from_scores,
    draws_at_once,
    first_distinct,
)

fast = settings(max_examples=40, deadline=None)
DRAWS = {"probabilities": draw_from_probabilities, "scores": draw_from_scores}


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_from(scores, k, draw, *, exclude=None, scale=1.0, seed=0):
    """(columns, how many rows of scores were asked for at a time)."""
    asked = []

    def score_of(rows):
        asked.append(len(scores[rows]))
        return scores[rows]

    exclude = torch.empty((len(scores), 0), dtype=torch.int64) if exclude is None else exclude
    return draw(score_of, tuple(scores.shape), k, scale=scale, exclude=exclude, generator=stream(seed)), asked


@st.composite
def cases(draw):
    """(probabilities of 40 columns, k, excluded columns, seed); in some rows fewer than k columns are left."""
    generator = stream(draw(st.integers(0, 10_000)))
    spread, rows = draw(st.sampled_from([0.1, 1.0, 8.0])), draw(st.integers(1, 5))
    probabilities = torch.softmax(spread * torch.randn(rows, 40, generator=generator), dim=1)
    exclude = torch.randint(-1, 40, (rows, draw(st.sampled_from([0, 1, 5, 150]))), generator=generator)
    return probabilities, draw(st.integers(1, 5)), exclude, draw(st.integers(0, 1000))


@pytest.mark.parametrize("way", DRAWS)
@fast
@given(cases(), st.sampled_from([0.3, 1.0, 3.0]))
def test_a_row_draws_different_allowed_columns_and_all_of_them_where_k_is_large(way, case, scale):
    scores, k, exclude, seed = case
    scores = scores if way == "probabilities" else scores.log()
    found, _ = drawn_from(scores, k, DRAWS[way], exclude=exclude, scale=scale, seed=seed)
    for row, barred in zip(found.tolist(), exclude.tolist(), strict=True):
        allowed = set(range(40)) - set(barred)
        present = [column for column in row if column >= 0]
        assert len(set(present)) == len(present) == min(k, len(allowed))
        assert set(present) <= allowed
        assert row == present + [-1] * (k - len(present))


def test_columns_of_minus_infinity_are_never_drawn():
    scores = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf]).expand(50, 4)
    found, _ = drawn_from(scores, 3, draw_from_scores)
    assert {tuple(sorted(row)) for row in found.tolist()} == {(-1, 0, 2)}


@pytest.mark.parametrize("way", DRAWS)
def test_the_same_stream_draws_the_same(way):
    scores = torch.softmax(torch.randn(30, 200, generator=stream(1)), dim=1)
    one, other = (drawn_from(scores, 5, DRAWS[way], seed=3)[0] for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, drawn_from(scores, 5, DRAWS[way], seed=4)[0])


def p_value_of_pairs(found, scores, scale, barred=()):
    """Chi-square of the first two columns drawn against Plackett-Luce."""
    weight = np.exp(scores.double().numpy() / scale)
    weight[list(barred)] = 0
    pairs = list(itertools.permutations(np.flatnonzero(weight), 2))
    expected = [weight[a] / weight.sum() * weight[b] / (weight.sum() - weight[a]) for a, b in pairs]
    counts = np.zeros((len(weight), len(weight)))
    np.add.at(counts, tuple(found[:, :2].T.numpy()), 1)
    assert counts.sum() == sum(counts[pair] for pair in pairs)
    return stats.chisquare([counts[pair] for pair in pairs], len(found) * np.array(expected)).pvalue


PROBABILITIES = torch.tensor([0.55, 0.3, 0.1, 0.02, *[0.0] * 12])
SCORES = torch.tensor([3.0, -0.7, 0.4, 0.0, 1.0])


@pytest.mark.parametrize("candidates", [1, 2, 7])
@pytest.mark.parametrize("barred", [(), (0,), (2, 7)])
def test_ordered_pairs_of_probabilities_follow_plackett_luce(candidates, barred, monkeypatch):
    monkeypatch.setattr(streamed_sampling, "n_candidates", lambda k: candidates)
    n = 60_000
    exclude = torch.tensor([[*barred, -1]]).expand(n, -1)
    found, asked = drawn_from(PROBABILITIES.expand(n, -1), 2, draw_from_probabilities, exclude=exclude, seed=candidates)
    # Every way to end is among the rows: by uniform draws alone, and completed.
    assert 0.15 * n < sum(asked) and (candidates < 2 or sum(asked) < 0.5 * n)
    assert p_value_of_pairs(found, PROBABILITIES, 1.0, barred) > 1e-4


@pytest.mark.parametrize(("scale", "n_columns"), [(0.5, 26), (2.0, 6)])
def test_one_column_of_probabilities_is_drawn_by_its_weight_at_any_scale(scale, n_columns):
    probabilities = torch.tensor([0.6, 0.35, 0.05] + [0.0] * (n_columns - 3))
    found, asked = drawn_from(probabilities.expand(60_000, -1), 1, draw_from_probabilities, scale=scale)
    assert 0 < sum(asked) < 30_000
    weight = torch.softmax(probabilities.double() / scale, dim=0)
    assert stats.chisquare(torch.bincount(found[:, 0], minlength=n_columns), 60_000 * weight).pvalue > 1e-4


@pytest.mark.parametrize("candidates", [1, 2, 7])
@pytest.mark.parametrize("barred", [(), (0,), (2, 4)])
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_ordered_pairs_of_scores_follow_plackett_luce(candidates, barred, scale, monkeypatch):
    monkeypatch.setattr(streamed_sampling, "n_candidates", lambda k: candidates)
    exclude = torch.tensor([[*barred, -1]]).expand(30_000, -1)
    found, _ = drawn_from(SCORES.expand(30_000, -1), 2, draw_from_scores, scale=scale, exclude=exclude, seed=candidates)
    assert p_value_of_pairs(found, SCORES, scale, barred) > 1e-4


def test_few_rows_are_asked_for_where_scores_are_probabilities():
    probabilities = torch.softmax(torch.randn(4000, 500, generator=stream(0)), dim=1)
    _, asked = drawn_from(probabilities, 5, draw_from_probabilities)
    expected = 5 * (np.e - 1) / 500
    assert sum(asked) / 4000 < 1.3 * expected


def test_noise_too_small_for_uniform_draws_still_takes_the_most_probable_first():
    probabilities = torch.softmax(5 * torch.randn(20, 40, generator=stream(0)), dim=1)
    found, _ = drawn_from(probabilities, 1, draw_from_probabilities, scale=1e-4)
    assert torch.equal(found[:, 0], probabilities.argmax(dim=1))


@pytest.mark.parametrize("way", [*DRAWS, "best"])
def test_no_more_scores_than_a_block_are_asked_for_at_a_time(way, monkeypatch):
    monkeypatch.setattr(streamed_sampling, "_BLOCK_ON_CPU", 1000)
    monkeypatch.setattr(streamed_sampling, "_LEAST_ROWS", 2)
    scores = torch.softmax(torch.randn(700, 300, generator=stream(0)), dim=1)
    draw = DRAWS.get(way, lambda *args, scale, generator, **options: best_scored(*args, **options))
    found, asked = drawn_from(scores, 5, draw)
    assert max(asked) == 3
    assert (found >= 0).all()


@fast
@given(cases(), st.sampled_from([1, 90, 10_000]))
def test_the_best_scored_in_blocks_are_those_of_all_scores_at_once(case, block):
    scores, k, exclude, _ = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed_sampling, "_BLOCK_ON_CPU", block)
        patch.setattr(streamed_sampling, "_LEAST_ROWS", 1)
        found = best_scored(lambda rows: scores[rows], tuple(scores.shape), k, exclude=exclude)
    assert torch.equal(found, gumbel_top_k(scores, k, scale=0.0, exclude=exclude))


@fast
@given(
    rows=st.lists(st.tuples(*[st.integers(-1, 6)] * 5), min_size=1, max_size=4),
    barred=st.lists(st.integers(-1, 6), max_size=3),
    k=st.integers(1, 7),
)
def test_the_first_distinct_candidates_are_those_that_reading_them_in_order_finds(rows, barred, k):
    exclude = torch.tensor([barred] * len(rows), dtype=torch.int64).reshape(len(rows), len(barred))
    for row, found in zip(rows, first_distinct(torch.tensor(rows), k, exclude).tolist(), strict=True):
        expected = [one for one in dict.fromkeys(row) if one >= 0 and one not in barred][:k]
        assert found == expected + [-1] * (k - len(expected))


@pytest.mark.parametrize(
    ("device", "shape", "k", "at_once"),
    [("cpu", (2048, 160), 10, True), ("cpu", (2048, 161), 10, False), ("cuda", (2048, 12_000), 10, True),
     ("cuda", (2048, 200_000), 10, False), ("cpu", (200_000, 200), 100, False)],
)  # fmt: skip
def test_noise_for_every_column_is_for_small_draws_from_few_columns_or_on_other_devices(device, shape, k, at_once):
    assert draws_at_once(shape, k, torch.device(device)) == at_once
