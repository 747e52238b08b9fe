"""The complete training loss of a model against slow twins that follow the paper's equations."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from recbole_lpo.config import Config
from recbole_lpo.core.objectives.lpo import lpo
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.model.monitor import LossMonitor
from recbole_lpo.model.rivals import draw_rivals
from tests.conftest import SMALL

BACKBONES = ["SASRec", "GRU4Rec", "Caser"]


def built(settings, name="LPOSASRec"):
    """(loader of RecBole's prefix rows, model in training mode)."""
    config = Config(name, None, None, {**SMALL, **settings})
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    return train, config.model_class(config, train._dataset)


def first_batch(train):
    torch.manual_seed(0)
    return next(iter(train))


def with_uneven_scores(model):
    """Larger item vectors, so that probabilities are far from equal and every term of the loss matters."""
    with torch.no_grad():
        model.item_embedding.weight.mul_(20)
    return model


@pytest.fixture
def the_same_rivals(monkeypatch):
    """Rivals that a twin knows beforehand: the first K head items that are not barred. A list of what was barred."""
    barred = []

    def draw(scores, k, *, exclude, **_):
        barred.append(exclude)
        return first_allowed(scores.shape[1], exclude, k)

    monkeypatch.setattr("recbole_lpo.model.rivals.gumbel_top_k", draw)
    return barred


def first_allowed(n_head, barred, k):
    """The first K positions in the head of every row that are not barred, -1 where there are fewer."""
    rows = [[position for position in range(n_head) if position not in row][:k] for row in barred.tolist()]
    return torch.tensor([row + [-1] * (k - len(row)) for row in rows])


def slow_rows(model, batch, *, tau, score, published, padding_counts):
    """(CE, LPO) of every row: Eq. 12 term by term, in Python floats."""
    with torch.no_grad():
        logits = (model.encode(batch).double() @ model.item_embedding.weight.double().T).tolist()
    head = model.head_tail_split.head_ids.tolist()
    found = []
    for row, target in zip(logits, batch["item_id"].tolist(), strict=True):
        ce = math.log(sum(math.exp(one - row[target]) for one in row))
        whole = sum(math.exp(one) for one in (row if padding_counts else row[1:]))
        rivals = [item for item in head if item != target][: model.loss_settings.pref_num_rejected]
        own, *others = (
            math.exp(row[item]) / whole if score == "prob" else math.log(math.exp(row[item]) / whole)
            for item in [target, *rivals]
        )
        share = math.exp(own / tau) / (math.exp(own / tau) + sum(math.exp(other / tau) for other in others))
        found.append((ce, share if published else -math.log(share)))
    return found


def tail_targets(model, batch):
    """Whether the target of each row is tail."""
    head = set(model.head_tail_split.head_ids.tolist())
    return [target not in head for target in batch["item_id"].tolist()]


def slow_weights(model, batch):
    """Eq. 16."""
    raised = [math.e if tail else 1.0 for tail in tail_targets(model, batch)]
    return [one / sum(raised) for one in raised]


def caser_penalties(model):
    """The L2 terms that RecBole's Caser adds to its own loss."""
    layers = [model.user_embedding, model.item_embedding, model.conv_v, model.fc1, model.fc2]
    norms = sum(layer.weight.double().norm() for layer in layers)
    filters = sum(filter_.weight.double().norm() for filter_ in model.conv_h)
    return (model.reg_weight * norms + model.reg_weight * filters).item()


def twin_of(model, batch, weights, pref_weight, **options):
    rows = slow_rows(model, batch, **options)
    loss = sum(weight * (ce + pref_weight * pref) for weight, (ce, pref) in zip(weights, rows, strict=True))
    return loss + (caser_penalties(model) if hasattr(model, "conv_v") else 0.0)


PRESETS = {
    "paper": ({"pref_weight": 0.5}, {"tau": 0.1, "score": "prob", "published": False, "padding_counts": False}),
    "log_prob": ({"pref_weight": 0.1}, {"tau": 1.0, "score": "log_prob", "published": False, "padding_counts": False}),
    "published_code": (
        {"pref_weight": 0.5},
        {"tau": 2.0, "score": "prob", "published": True, "padding_counts": True},
    ),
}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_loss_is_that_of_a_slow_twin_of_eq_12_16_and_17(preset, backbone, toy, the_same_rivals):
    train, model = built({**toy, "preset": preset}, f"LPO{backbone}")
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    weight, options = PRESETS[preset or "paper"]
    weights = [1 / len(batch)] * len(batch) if preset == "log_prob" else slow_weights(model, batch)
    expected = twin_of(model, batch, weights, **weight, **options)
    assert model.calculate_loss(batch).item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("preset", ["paper", "log_prob"])
@pytest.mark.parametrize("item_softmax", ["dense", "chunked"])
def test_the_gradient_is_that_of_the_loss_made_from_all_scores(item_softmax, preset, toy, the_same_rivals):
    train, model = built({**toy, "preset": preset, "item_softmax": item_softmax})
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    weight, options = PRESETS[preset]
    target, head = batch["item_id"], model.head_tail_split.head_ids.tolist()
    n_rivals = model.loss_settings.pref_num_rejected
    rivals = torch.tensor([[item for item in head if item != own][:n_rivals] for own in target.tolist()])
    logits = model.encode(batch) @ model.item_embedding.weight.T
    # The padding is no rival and no part of the list's probabilities.
    log_prob = torch.log_softmax(logits[:, 1:], dim=1)
    own, others = log_prob.gather(1, target[:, None] - 1)[:, 0], log_prob.gather(1, rivals - 1)
    rows = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    rows = rows + weight["pref_weight"] * lpo(own, others, tau=options["tau"], score=options["score"])
    weights = [1 / len(batch)] * len(batch) if preset == "log_prob" else slow_weights(model, batch)
    parameters = list(model.parameters())
    expected = torch.autograd.grad((torch.tensor(weights) * rows).sum(), parameters, allow_unused=True)
    found = torch.autograd.grad(model.calculate_loss(batch), parameters, allow_unused=True)
    assert [one is None for one in found] == [one is None for one in expected]
    for one, other in zip(found, expected, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("space", ["prob", "log_prob"])
def test_the_gradient_of_the_draw_goes_through_the_whole_softmax(space, toy):
    changes = {
        "pref_straight_through": True,
        "pref_sample_space": space,
        "tail_reweight": False,
        "pref_pad_in_softmax": True,
    }
    train, model = built({**toy, **changes})
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    settings, target = model.loss_settings, batch["item_id"]
    hidden, table = model.encode(batch), model.item_table()
    logits = hidden @ table.T
    log_sum, in_head = logits.logsumexp(1), model.position_in_head[target[:, None]]
    rivals = draw_rivals(hidden, table, log_sum, model.head_ids, in_head, settings, model.rival_stream(hidden.device))
    own, others = logits.gather(1, target[:, None])[:, 0] - log_sum, rivals.score - log_sum[:, None]
    preference = lpo(own, others, tau=settings.pref_tau, score=settings.pref_score, rejected_weight=rivals.weight)
    expected = (log_sum - logits.gather(1, target[:, None])[:, 0] + settings.pref_weight * preference).mean()
    (expected,) = torch.autograd.grad(expected, table)
    model.rival_streams.clear()
    (found,) = torch.autograd.grad(model.calculate_loss(batch), model.item_embedding.weight)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_both_groups_are_among_the_targets_of_the_twin(toy):
    train, model = built(toy)
    assert set(tail_targets(model, first_batch(train))) == {True, False}


def test_in_a_batch_without_tail_targets_the_published_code_makes_a_step_as_many_times_larger(toy, the_same_rivals):
    train, model = built({**toy, "preset": "published_code"})
    batch = first_batch(train)
    batch = batch[model.eval().position_in_head[batch["item_id"]] >= 0]
    expected = twin_of(model, batch, [1.0] * len(batch), 0.5, **PRESETS["published_code"][1])
    assert model.calculate_loss(batch).item() == pytest.approx(expected, rel=2e-5)


def test_in_a_batch_without_tail_targets_the_paper_takes_the_mean(toy, the_same_rivals):
    train, model = built(toy)
    batch = first_batch(train)
    batch = batch[model.eval().position_in_head[batch["item_id"]] >= 0]
    expected = twin_of(model, batch, [1 / len(batch)] * len(batch), 0.5, **PRESETS["paper"][1])
    assert model.calculate_loss(batch).item() == pytest.approx(expected, rel=2e-5)


def test_the_weight_of_the_cross_entropy_scales_it_alone(toy, the_same_rivals):
    train, model = built({**toy, "ce_weight": 0.25, "pref_weight": 2.0})
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    rows = slow_rows(model, batch, **PRESETS["paper"][1])
    weights = slow_weights(model, batch)
    expected = sum(weight * (0.25 * ce + 2 * pref) for weight, (ce, pref) in zip(weights, rows, strict=True))
    assert model.calculate_loss(batch).item() == pytest.approx(expected, rel=2e-5)


def test_the_alphas_weigh_the_groups(toy):
    train, model = built({**toy, "pref_weight": 0, "tail_alpha": 2.0, "tail_alpha_head": 0.5})
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    nll = [ce for ce, _ in slow_rows(model, batch, **PRESETS["paper"][1])]
    raised = [math.exp(2.0 if tail else 0.5) for tail in tail_targets(model, batch)]
    expected = sum(weight * ce for weight, ce in zip(raised, nll, strict=True)) / sum(raised)
    assert model.calculate_loss(batch).item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("settings", [{}, {"preset": "log_prob"}, {"pref_straight_through": True}])
def test_every_parameter_receives_a_gradient(settings, backbone, toy):
    train, model = built({**toy, **settings}, f"LPO{backbone}")
    model.calculate_loss(first_batch(train)).backward()
    assert [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()] == []


@pytest.mark.parametrize("settings", [{}, {"preset": "log_prob"}, {"pref_straight_through": True}])
def test_gradients_are_finite_when_a_model_is_certain(settings, toy):
    train, model = built({**toy, **settings})
    with torch.no_grad():
        model.item_embedding.weight.mul_(1e4)
    model.calculate_loss(first_batch(train)).backward()
    assert all(one.grad.isfinite().all() for one in model.parameters())


def test_the_target_and_its_history_are_barred_where_the_history_is_excluded(toy, the_same_rivals):
    train, model = built({**toy, "pref_exclude_history": True, "pref_num_rejected": 2})
    batch = first_batch(train)
    model.calculate_loss(batch)
    head = model.head_tail_split.head_ids.tolist()
    rows = zip(the_same_rivals[0].tolist(), batch["item_id"].tolist(), batch["item_id_list"].tolist(), strict=True)
    for barred, target, history in rows:
        assert {head[position] for position in barred if position >= 0} == {target, *history} & set(head)


def test_the_target_alone_is_barred_where_the_history_is_not_excluded(toy, the_same_rivals):
    train, model = built(toy)
    batch = first_batch(train)
    model.calculate_loss(batch)
    assert torch.equal(the_same_rivals[0], model.position_in_head[batch["item_id"]][:, None])


# Random streams


def test_drawing_rivals_leaves_the_global_random_state_alone(toy):
    train, model = built(toy)
    batch = first_batch(train)
    model.eval()
    before = torch.get_rng_state()
    model.calculate_loss(batch)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_rivals_moves_neither_the_dropout_nor_the_order_of_the_data(toy):
    runs = []
    for k in (1, 7):
        train, model = built({**toy, "pref_num_rejected": k})
        torch.manual_seed(3)
        targets, nll = [], []
        for _ in range(2):
            for batch in train:
                targets.append(batch["item_id"].tolist())
                model.calculate_loss(batch)
                nll.append(model.loss_monitor.pop()["tail/ce"])
        runs.append((targets, nll))
    assert runs[0] == runs[1]


def test_the_seed_alone_decides_which_rivals_are_drawn(toy):
    train, model = built(toy)
    _, again = built(toy)
    _, other = built({**toy, "seed": 7})
    batch = first_batch(train)
    other.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    loss = model.eval().calculate_loss(batch).item()
    torch.manual_seed(2)
    assert again.eval().calculate_loss(batch).item() == loss
    assert other.eval().calculate_loss(batch).item() != loss


def test_every_step_draws_anew(toy):
    train, model = built({**toy, "preset": "log_prob"})
    batch = first_batch(train)
    model = with_uneven_scores(model.eval())
    assert model.calculate_loss(batch).item() != model.calculate_loss(batch).item()


# Limits


def test_more_rivals_than_the_head_has_items_are_refused_by_the_name_of_the_setting(toy):
    with pytest.raises(InputError, match=r"pref_num_rejected = 9.*head items, and there are 8.*1 to 8"):
        built({**toy, "pref_num_rejected": 9})


def test_as_many_rivals_as_the_head_has_items_are_allowed(toy):
    train, model = built({**toy, "pref_num_rejected": 8})
    assert model.calculate_loss(first_batch(train)).isfinite()


def test_an_empty_head_is_refused_by_the_name_of_the_setting(toy):
    with pytest.raises(InputError, match=r"pref_negatives.*head items, and there are 0 .*tail_split_ratio"):
        built({**toy, "tail_split_ratio": 0})


def test_without_the_preference_term_an_empty_head_is_the_mean_cross_entropy(toy):
    train, model = built({**toy, "tail_split_ratio": 0, "pref_weight": 0})
    batch = first_batch(train)
    nll = [ce for ce, _ in slow_rows(model.eval(), batch, **PRESETS["paper"][1])]
    assert model.calculate_loss(batch).item() == pytest.approx(sum(nll) / len(nll), rel=1e-5)


def test_a_loss_that_is_not_the_softmax_over_all_items_is_refused(toy):
    with pytest.raises(InputError, match="loss_type = BPR"):
        built({**toy, "loss_type": "BPR"})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_model_in_training_can_be_copied(backbone, toy):
    """As RecBole does to count its operations."""
    train, model = built(toy, f"LPO{backbone}")
    batch = first_batch(train)
    model.eval().calculate_loss(batch)
    twin = copy.deepcopy(model)
    assert twin.calculate_loss(batch).item() == model.calculate_loss(batch).item()


def test_the_state_holds_what_the_backbone_holds_and_no_more(toy):
    _, ours = built(toy)
    _, theirs = built(toy, "SASRec")
    assert list(ours.state_dict()) == list(theirs.state_dict())


# What the monitor says


def test_the_monitor_gives_the_means_of_each_group():
    monitor = LossMonitor()
    monitor.add(torch.tensor([True, False, True]), ce=torch.tensor([1.0, 2.0, 4.0]), prob=torch.tensor([0.1, 0.5, 0.2]))
    monitor.add(torch.tensor([True]), ce=torch.tensor([7.0]), pref=torch.tensor([3.0]), prob=torch.tensor([0.3]))
    found = monitor.pop()
    assert (found["head/n"], found["tail/n"]) == (1, 3)
    assert (found["head/ce"], found["tail/ce"]) == pytest.approx((2, 4))
    assert (found["head/pref"], found["tail/pref"]) == pytest.approx((0, 1))
    assert (found["head/prob"], found["tail/prob"]) == pytest.approx((0.5, 0.2))


def test_the_gradient_share_is_that_of_the_sums():
    monitor = LossMonitor()
    parts = {"ce": torch.ones(2), "grad_ce": torch.tensor([0.5, 1.0]), "grad_pref": torch.tensor([0.5, 0.0])}
    monitor.add(torch.tensor([True, True]), **parts)
    assert monitor.pop()["tail/pref_gradient_share"] == pytest.approx(0.25)


def test_a_group_without_rows_has_a_count_and_no_means():
    monitor = LossMonitor()
    monitor.add(torch.tensor([True]), ce=torch.ones(1))
    assert {key for key in monitor.pop() if key.startswith("head")} == {"head/n"}


def test_reading_the_monitor_starts_it_afresh():
    monitor = LossMonitor()
    monitor.add(torch.tensor([True]), ce=torch.ones(1))
    monitor.pop()
    assert monitor.pop() == {}


def test_the_monitor_keeps_no_graph():
    monitor, ce = LossMonitor(), torch.ones(1, requires_grad=True)
    monitor.add(torch.tensor([True]), ce=ce * 2)
    assert not monitor._sums.requires_grad


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_monitor_of_a_batch_is_that_of_a_slow_twin(preset, toy, the_same_rivals):
    train, model = built({**toy, "preset": preset})
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    model.calculate_loss(batch)
    found, rows = model.loss_monitor.pop(), slow_rows(model, batch, **PRESETS[preset or "paper"][1])
    for name, wanted in (("head", False), ("tail", True)):
        group = [row for row, tail in zip(rows, tail_targets(model, batch), strict=True) if tail == wanted]
        assert found[f"{name}/n"] == len(group)
        assert found[f"{name}/ce"] == pytest.approx(sum(ce for ce, _ in group) / len(group), rel=1e-5)
        assert found[f"{name}/pref"] == pytest.approx(sum(pref for _, pref in group) / len(group), rel=1e-5)


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_gradient_share_is_that_of_autograd_on_the_logits(preset, toy, the_same_rivals):
    train, model = built({**toy, "preset": preset})
    model, batch = with_uneven_scores(model.eval()), first_batch(train)
    model.calculate_loss(batch)
    found = model.loss_monitor.pop()
    weight, options = PRESETS[preset or "paper"]
    target = batch["item_id"]
    with torch.no_grad():
        logits = model.encode(batch).double() @ model.item_embedding.weight.double().T
    pulls = []
    for terms in (cross_entropy_terms, lpo_terms):
        leaf = logits.clone().requires_grad_()
        terms(leaf, target, model, options).sum().backward()
        pulls.append(leaf.grad.gather(1, target[:, None])[:, 0].abs())
    is_tail = torch.tensor(tail_targets(model, batch))
    for name, member in (("head", ~is_tail), ("tail", is_tail)):
        by_ce, by_pref = pulls[0][member].sum(), weight["pref_weight"] * pulls[1][member].sum()
        expected = (by_pref / (by_ce + by_pref)).item()
        assert expected > 1e-5
        assert found[f"{name}/pref_gradient_share"] == pytest.approx(expected, rel=1e-4)


def cross_entropy_terms(logits, target, model, options):
    return torch.logsumexp(logits, dim=1) - logits.gather(1, target[:, None])[:, 0]


def lpo_terms(logits, target, model, options):
    counted = logits if options["padding_counts"] else logits[:, 1:]
    log_prob = logits - torch.logsumexp(counted, dim=1, keepdim=True)
    scores = log_prob.exp() if options["score"] == "prob" else log_prob
    barred, k = model.position_in_head[target][:, None], model.loss_settings.pref_num_rejected
    rivals = model.head_ids[first_allowed(len(model.head_ids), barred, k)]
    of_list = torch.cat([scores.gather(1, target[:, None]), scores.gather(1, rivals)], dim=1) / options["tau"]
    log_share = torch.log_softmax(of_list, dim=1)[:, 0]
    return log_share.exp() if options["published"] else -log_share


def test_without_the_preference_term_its_share_of_the_gradient_is_zero(toy):
    train, model = built({**toy, "pref_weight": 0})
    model.calculate_loss(first_batch(train))
    assert model.loss_monitor.pop()["tail/pref_gradient_share"] == 0
