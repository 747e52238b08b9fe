"""Drawing the rivals of a batch of targets from the head of the catalogue."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.core.item_softmax import item_scores
from recbole_lpo.core.objectives.lpo import lpo
from recbole_lpo.model.rivals import draw_rivals
from recbole_lpo.settings import LossSettings

fast = settings(max_examples=30, deadline=None)
HEAD = torch.tensor([3, 7, 1, 9, 12, 5])
SPACES = ["prob", "log_prob"]
WAYS = [("head_gumbel", "prob"), ("head_gumbel", "log_prob"), ("head_random", "prob"), ("head_top_k", "prob")]


@st.composite
def batches(draw):
    """(logits of 13 columns, positions in the head that are barred); the first of these is the target's own."""
    rows = draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = 3 * torch.randn(rows, 13, generator=generator)
    return logits, torch.randint(-1, len(HEAD), (rows, draw(st.integers(1, 4))), generator=generator)


def draw(logits, barred, seed=0, **options):
    """Rivals of rows whose hidden states are the logits themselves: the items' vectors are the unit vectors."""
    found = LossSettings(**{"pref_num_rejected": 3, **options})
    stream = torch.Generator().manual_seed(seed)
    items = torch.eye(13, dtype=logits.dtype)
    rivals = draw_rivals(logits, items, logits.logsumexp(1), HEAD, barred, found, stream)
    return replace(rivals, score=item_scores(logits, items, rivals.columns)) if rivals.score is None else rivals


def log_prob_of(rivals, logits):
    return rivals.score - logits.logsumexp(1)[:, None]


def columns_of(rivals, logits):
    """The columns of the rivals, found again by their scores; None for an absent one."""
    return [
        [None if one.isneginf() else int((row - one).abs().argmin()) for one in found]
        for row, found in zip(logits, rivals.score, strict=True)
    ]


@pytest.mark.parametrize(("negatives", "space"), WAYS)
@fast
@given(batch=batches(), seed=st.integers(0, 1000))
def test_rivals_are_head_items_that_are_not_barred(negatives, space, batch, seed):
    logits, barred = batch
    rivals = draw(logits, barred, seed, pref_negatives=negatives, pref_sample_space=space)
    for drawn, forbidden in zip(columns_of(rivals, logits), barred, strict=True):
        allowed = set(HEAD.tolist()) - set(HEAD[forbidden[forbidden >= 0]].tolist())
        assert set(drawn) - {None} <= allowed


@pytest.mark.parametrize(("negatives", "space"), WAYS)
@fast
@given(batch=batches(), seed=st.integers(0, 1000))
def test_every_row_has_k_different_rivals_or_all_that_there_are(negatives, space, batch, seed):
    logits, barred = batch
    rivals = draw(logits, barred, seed, pref_negatives=negatives, pref_sample_space=space, pref_num_rejected=5)
    for drawn, forbidden in zip(columns_of(rivals, logits), barred, strict=True):
        present = [one for one in drawn if one is not None]
        n_allowed = len(HEAD) - len(set(forbidden[forbidden >= 0].tolist()))
        assert len(drawn) == 5
        assert len(set(present)) == len(present) == min(5, n_allowed)


@fast
@given(batches())
def test_head_top_k_takes_the_best_scored_head_items(batch):
    logits, barred = batch
    rivals = draw(logits, barred, pref_negatives="head_top_k")
    for row, drawn, forbidden in zip(logits, columns_of(rivals, logits), barred, strict=True):
        allowed = [int(item) for position, item in enumerate(HEAD) if position not in forbidden]
        best = sorted(allowed, key=lambda item: -float(row[item]))[:3]
        assert drawn == best + [None] * (3 - len(best))


@fast
@given(batches())
def test_without_noise_gumbel_is_head_top_k(batch):
    still = draw(*batch, pref_negatives="head_gumbel", pref_gumbel_scale=0.0)
    assert torch.equal(still.score, draw(*batch, pref_negatives="head_top_k").score)


def share_of_the_favourite(n=4000, **options):
    """How often a head item with nearly all of the probability is the one rival that is drawn, of six."""
    logits = torch.zeros(n, 13)
    logits[:, 9] = 12.0
    rivals = draw(logits, torch.full((n, 1), -1), pref_num_rejected=1, **options)
    return (rivals.score[:, 0] > 11).double().mean().item()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pref_negatives": "head_random"}, 1 / 6),
        ({"pref_negatives": "head_random", "pref_sample_space": "log_prob"}, 1 / 6),
        ({"pref_negatives": "head_gumbel", "pref_sample_space": "prob"}, math.e / (math.e + 5)),
        (
            {"pref_negatives": "head_gumbel", "pref_sample_space": "prob", "pref_gumbel_scale": 0.5},
            math.e**2 / (math.e**2 + 5),
        ),
        ({"pref_negatives": "head_gumbel", "pref_sample_space": "log_prob"}, 1.0),
        ({"pref_negatives": "head_top_k"}, 1.0),
    ],
)
def test_a_favourite_is_drawn_as_often_as_the_way_of_drawing_says(options, expected):
    assert abs(share_of_the_favourite(**options) - expected) <= 4 * math.sqrt(expected * (1 - expected) / 4000) + 1e-3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pref_negatives": "head_random"}, 1 / 60),
        ({"pref_sample_space": "prob"}, math.e / (math.e + 59)),
        ({"pref_sample_space": "prob", "pref_gumbel_scale": 0.5}, math.e**2 / (math.e**2 + 59)),
        ({"pref_sample_space": "log_prob", "pref_gumbel_scale": 3.0}, math.e**4 / (math.e**4 + 59)),
    ],
)
def test_in_a_head_too_large_for_noise_at_once_a_favourite_is_drawn_as_often(options, expected):
    logits = torch.zeros(4000, 64)
    logits[:, 9] = 12.0
    found, head = LossSettings(pref_num_rejected=1, **options), torch.arange(1, 61)
    stream = torch.Generator().manual_seed(0)
    rivals = draw_rivals(logits, torch.eye(64), logits.logsumexp(1), head, torch.full((4000, 1), -1), found, stream)
    share = (rivals.columns == 9).double().mean().item()
    assert abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / 4000) + 1e-3


# Straight-through sampling


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("score", SPACES)
@fast
@given(batch=batches(), seed=st.integers(0, 1000), scale=st.sampled_from([0.0, 0.3, 1.0, 3.0]))
def test_straight_through_has_the_loss_of_the_same_draw_without_it(space, score, batch, seed, scale):
    logits, barred = batch
    chosen = torch.log_softmax(logits, dim=1)[:, 4]
    options = {"pref_sample_space": space, "pref_gumbel_scale": scale}
    plain = draw(logits, barred, seed, **options)
    through = draw(logits, barred, seed, **options, pref_straight_through=True)
    expected = lpo(chosen, log_prob_of(plain, logits), tau=0.5, score=score)
    found = lpo(chosen, log_prob_of(through, logits), tau=0.5, score=score, rejected_weight=through.weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@fast
@given(batches(), st.integers(0, 1000))
def test_straight_through_counts_no_barred_rival(batch, seed):
    logits, barred = batch
    weight = draw(logits, barred, seed, pref_straight_through=True).weight
    for row, forbidden in zip(weight, barred, strict=True):
        assert row[forbidden[forbidden >= 0]].tolist() == [0.0] * int((forbidden >= 0).sum())


def log_softmax_by_hand(row):
    return row - (row.max() + np.log(np.exp(row - row.max()).sum()))


def surrogate(row, k_hot, soft_then, noise, allowed, options):
    """LPO of one row with the softmax's *change* added to the fixed choice: its slope is the straight-through one."""
    log_prob = log_softmax_by_hand(row)
    weight = k_hot + soft_choice(log_prob, k_hot, noise, allowed, options) - soft_then
    score = np.exp(log_prob) if options["score"] == "prob" else log_prob
    rivals = sum(w * math.exp(score[c] / options["tau"]) for w, c in zip(weight, HEAD.tolist(), strict=True))
    return math.log(math.exp(score[4] / options["tau"]) + rivals) - score[4] / options["tau"]


def soft_choice(log_prob, k_hot, noise, allowed, options):
    scores = log_prob[HEAD.numpy()]
    scores = (np.exp(scores) if options["space"] == "prob" else scores) + noise
    raised = np.where(allowed, np.exp(scores / options["temperature"]), 0.0)
    return k_hot.sum() * raised / raised.sum()


@pytest.mark.parametrize(("score", "tau"), [("prob", 0.5), ("log_prob", 1.0)])
@pytest.mark.parametrize(("space", "temperature"), [("prob", 0.4), ("log_prob", 1.5)])
def test_straight_through_has_the_slope_of_a_slow_twin(score, tau, space, temperature, monkeypatch):
    noise = torch.randn(1, len(HEAD), generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr("recbole_lpo.model.rivals.gumbel_noise", lambda shape, **_: noise)
    logits = torch.randn(1, 13, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    ways = {"pref_sample_space": space, "pref_straight_through_temperature": temperature}
    rivals = draw(logits, torch.tensor([[2, -1]]), pref_straight_through=True, **ways)
    chosen = torch.log_softmax(logits, dim=1)[:, 4]
    rejected = log_prob_of(rivals, logits)
    lpo(chosen, rejected, tau=tau, score=score, rejected_weight=rivals.weight).sum().backward()

    options = {"score": score, "tau": tau, "space": space, "temperature": temperature}
    row, fixed = logits.detach().numpy()[0], rivals.weight.detach().numpy()[0]
    allowed = np.arange(len(HEAD)) != 2
    state = (fixed, soft_choice(log_softmax_by_hand(row), fixed, noise.numpy()[0], allowed, options), noise.numpy()[0])
    assert fixed.sum() == 3
    for column in range(13):
        step = 1e-5 * np.eye(13)[column]
        up, down = (surrogate(moved, *state, allowed, options) for moved in (row + step, row - step))
        assert logits.grad[0, column].item() == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-9)


def test_a_gradient_passes_through_the_choice_only_when_asked():
    logits = torch.randn(2, 13, requires_grad=True)
    barred = torch.full((2, 1), -1)
    assert draw(logits, barred).weight is None
    weight = draw(logits, barred, pref_straight_through=True).weight
    (weight * torch.arange(6.0)).sum().backward()
    assert (logits.grad != 0).any()


def test_with_the_whole_head_barred_straight_through_leaves_finite_gradients():
    logits = torch.randn(1, 13, requires_grad=True)
    rivals = draw(logits, torch.arange(6)[None], pref_straight_through=True)
    chosen = torch.log_softmax(logits, dim=1)[:, 4]
    loss = lpo(chosen, log_prob_of(rivals, logits), rejected_weight=rivals.weight)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.isfinite().all()
