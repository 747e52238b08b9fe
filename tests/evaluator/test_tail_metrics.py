"""What a run measures: overall, head and tail figures, against RecBole's own metrics and slow independent ones."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from sklearn.metrics import ndcg_score

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError, RunError
from recbole_lpo.evaluator.collector import TailCollector
from recbole_lpo.evaluator.metrics import METRICS
from recbole_lpo.table import result_table
from recbole_lpo.trainer.evaluation import TailEvaluation
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.run_log import without_tensorboard
from tests.conftest import SMALL, toy_rows, write_atomic

CUTS = [1, 3, 5, 10]
PAIRS = ("hit", "ndcg", "mrr")
EVERYTHING = ["Hit", "NDCG", "MRR", *(metric.__name__ for metric in METRICS)]
ONE_HELD_OUT = ["Hit", "NDCG", "MRR", "Recall", "Precision", "MAP"]


@pytest.fixture(scope="module")
def toy_settings(tmp_path_factory):
    """The small dataset, with some users whose held-out item nobody has trained on."""
    rows = toy_rows() + [
        (f"late{user}", f"i{item}", step) for user in range(6) for step, item in enumerate([0, 1, 2, 90 + user])
    ]
    folder = write_atomic(tmp_path_factory.mktemp("data"), "toy", rows)
    return {**SMALL, "dataset": "toy", "data_path": str(folder), "metrics": EVERYTHING, "topk": CUTS}


@pytest.fixture(scope="module")
def trained(toy_settings, tmp_path_factory):
    """What a run returned, and the run loaded again."""
    folder = str(tmp_path_factory.mktemp("runs") / "run")
    metrics = recbole_lpo.run("LPOSASRec", None, None, {**toy_settings, "run_dir": folder}, quiet=True)
    return metrics, recbole_lpo.load(folder)


def built(model, toy_settings, **changes):
    """(trainer, train, validation, test) of an untrained model."""
    config = Config(model, None, None, {**toy_settings, **changes})
    loaders = split_dataset(config, load_dataset(config))
    torch.manual_seed(1)
    with without_tensorboard():
        trainer = trainer_class(config["MODEL_TYPE"], model)(config, config.model_class(config, loaders[0]._dataset))
    trainer.eval_collector.data_collect(loaders[0])
    trainer.know_histories(*loaders[:2])
    return trainer, *loaders


def per_user(trainer):
    """{user number: rank} of the latest evaluation."""
    found = trainer.last_evaluation
    return dict(zip(found.user.tolist(), found.rank.tolist(), strict=True))


@pytest.mark.parametrize("k", CUTS)
@pytest.mark.parametrize("measure", PAIRS)
@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_overall_figure_is_the_mean_of_head_and_tail_weighted_by_their_users(part, measure, k, trained):
    metrics, loaded = trained
    figures = metrics[part]
    loaded.trainer.evaluate(loaded.valid_data if part == "valid" else loaded.test_data, load_best_model=False)
    n = loaded.trainer.last_evaluation.sizes()
    assert n["head"] > 0 < n["tail"]
    mean = n["head"] * figures[f"head{measure}@{k}"] + n["tail"] * figures[f"tail{measure}@{k}"]
    assert figures[f"{measure}@{k}"] == pytest.approx(mean / n["users"], abs=1e-12)


def test_head_and_tail_users_are_all_users_and_unseen_ones_are_in_the_tail(trained):
    n = trained[0]["n"]
    assert n["head"] + n["tail"] == n["users"] == 66
    assert n["unseen"] == 6 <= n["tail"]


def test_the_run_loaded_again_has_the_same_figures(trained):
    metrics, loaded = trained
    assert loaded.trainer.evaluate(loaded.test_data, load_best_model=False) == metrics["test"]


def test_the_rows_of_each_user_give_the_figures(trained):
    metrics = trained[0]
    with gzip.open(Path(metrics["run_dir"]) / "per_user.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    of_group = {"head": ("head",), "tail": ("tail", "unseen"), "unseen": ("unseen",), "": ("head", "tail", "unseen")}
    for name, groups in of_group.items():
        ranks = [int(row["rank"]) for row in rows if row["group"] in groups]
        assert metrics["test"][f"{name}hit@5"] == pytest.approx(sum(rank <= 5 for rank in ranks) / len(ranks))
    assert {row["target"] for row in rows if row["group"] == "unseen"} == {f"i{90 + user}" for user in range(6)}


def test_the_rows_of_each_user_tell_the_tail_s_probability_the_decile_and_the_ranks_along_the_curve(trained):
    metrics, loaded = trained
    with gzip.open(Path(metrics["run_dir"]) / "per_user.csv.gz", "rt") as file:
        rows = {row["user"]: row for row in csv.DictReader(file)}
    users, items = (loaded.dataset.field2id_token[field] for field in ("user_id", "item_id"))
    split, expected = loaded.split, {}
    with torch.no_grad():
        for interaction, *_ in loaded.test_data:
            probability = loaded.model.full_sort_predict(interaction).double()[:, 1:].softmax(dim=1)
            tail = probability[:, ~torch.tensor(split.is_head)[1:]].sum(dim=1)
            expected |= dict(zip(users[interaction["user_id"].numpy()], tail.tolist(), strict=True))
    assert {user: float(row["tail_prob"]) for user, row in rows.items()} == pytest.approx(expected, rel=1e-4)
    place = {items[item]: place for place, item in enumerate([*split.head_ids, *split.tail_ids])}
    assert all(int(row["decile"]) == 1 + place[row["target"]] * 10 // len(place) for row in rows.values())
    for point in metrics["adjusted"]:
        ranks = [int(row[f"rank t={point['strength']:g}"]) for row in rows.values()]
        assert point["test"]["hit@5"] == pytest.approx(np.mean([rank <= 5 for rank in ranks]))


def test_the_file_of_a_run_has_every_digit(trained):
    metrics = trained[0]
    assert json.loads((Path(metrics["run_dir"]) / "metrics.json").read_text())["test"] == metrics["test"]


# RecBole's own collector and ours, side by side.


def measured(collector_class, metrics, batches, n_items, is_head=None):
    """The figures that a collector and RecBole's evaluator give for batches of (scores, targets)."""
    config = Config(
        "SASRec",
        "none",
        None,
        {"metrics": metrics, "topk": CUTS, "valid_metric": first_of(metrics), "metric_decimal_place": 15},
    )
    collector = collector_class(config)
    if is_head is not None:
        counts = np.where(is_head, 5, 1)
        counts[0] = 0
        split = HeadTailSplit.from_counts(counts, rule="count_threshold", threshold=2, pad_id=0)
        collector.set_split(split)
        collector.data_struct.set("data.num_items", n_items)
    user = 1
    for scores, target in batches:
        rows = torch.arange(len(scores))
        collector.eval_batch_collect(scores.clone(), Interaction({"user_id": rows + user}), rows, target)
        user += len(rows)
    return Evaluator(config).evaluate(collector.get_data_struct())


def evaluated_by_recbole(trainer, loader):
    """The figures that RecBole's own collector and loop give."""
    ours, trainer.eval_collector = trainer.eval_collector, Collector(trainer.config)
    try:
        return super(TailEvaluation, trainer).evaluate(loader, load_best_model=False)
    finally:
        trainer.eval_collector = ours


def first_of(metrics):
    return metrics[0] if metrics[0] == "GAUC" else f"{metrics[0]}@{CUTS[0]}"


def random_batches(n_items, sizes, seed, *, levels=None):
    """Batches of scores and targets; no two scores of a row alike, unless there are only some levels of score."""
    draw = torch.Generator().manual_seed(seed)
    batches = []
    for size in sizes:
        if levels:
            scores = torch.randint(levels, (size, n_items), generator=draw).float()
        else:
            scores = torch.rand((size, n_items), generator=draw).argsort(dim=1).float()
        scores[:, 0] = -torch.inf
        batches.append((scores, torch.randint(1, n_items, (size,), generator=draw)))
    return batches


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 60), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 2**31))
def test_where_no_scores_tie_the_figures_are_recboles_to_the_last_digit(n_items, sizes, seed):
    batches = random_batches(n_items, sizes, seed)
    assert measured(TailCollector, ONE_HELD_OUT, batches, n_items) == measured(
        Collector, ONE_HELD_OUT, batches, n_items
    )


def test_gauc_is_recboles_to_the_last_digit():
    batches = random_batches(30, [7, 5], 3)
    ours, theirs = (measured(kind, ["GAUC"], batches, 30) for kind in (TailCollector, Collector))
    assert ours == theirs
    assert 0 < ours["gauc"] < 1


def test_the_coverage_of_recbole_counts_the_padding_item_too():
    batches = random_batches(30, [7, 5], 3)
    ours = measured(TailCollector, ["ItemCoverage", "Coverage"], batches, 30, np.zeros(30, dtype=bool))
    assert ours["itemcoverage@3"] == pytest.approx(ours["coverage@3"] * 29 / 30)


@pytest.mark.parametrize("k", [3, 5, 10])
def test_ndcg_is_that_of_scikit_learn(k):
    batches = random_batches(40, [20, 13], 8)
    scores = torch.cat([scores for scores, _ in batches]).numpy()
    targets = torch.cat([target for _, target in batches]).numpy()
    scores[:, 0] = scores.min(initial=0, where=np.isfinite(scores)) - 1
    relevance = np.zeros_like(scores)
    relevance[np.arange(len(targets)), targets] = 1
    ours = measured(TailCollector, ["NDCG"], batches, 40)[f"ndcg@{k}"]
    assert ours == pytest.approx(ndcg_score(relevance, scores, k=k), abs=1e-12)


@pytest.mark.parametrize("group", ["head", "tail"])
def test_ndcg_of_a_group_is_that_of_scikit_learn_over_its_users(group):
    batches = random_batches(40, [20, 13], 9)
    is_head = np.arange(40) % 3 == 1
    scores = torch.cat([scores for scores, _ in batches]).numpy()
    targets = torch.cat([target for _, target in batches]).numpy()
    scores[:, 0] = -1
    relevance = np.zeros_like(scores)
    relevance[np.arange(len(targets)), targets] = 1
    member = is_head[targets] == (group == "head")
    ours = measured(TailCollector, ["HeadNDCG", "TailNDCG"], batches, 40, is_head)[f"{group}ndcg@5"]
    assert ours == pytest.approx(ndcg_score(relevance[member], scores[member], k=5), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(12, 40), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 2**31), st.integers(0, 39)
)
def test_coverage_and_shares_are_those_of_a_slow_count(n_items, sizes, seed, n_head):
    batches = random_batches(n_items, sizes, seed)
    is_head = np.zeros(n_items, dtype=bool)
    is_head[1 : 1 + min(n_head, n_items - 1)] = True
    ours = measured(TailCollector, ["Coverage", "TailCoverage", "TailShare"], batches, n_items, is_head)
    tail = {item for item in range(1, n_items) if not is_head[item]}
    for k in CUTS:
        lists = [
            sorted(range(n_items), key=lambda item, row=row: -row[item])[:k]
            for scores, _ in batches
            for row in scores.tolist()
        ]
        shown = [item for one in lists for item in one]
        assert ours[f"coverage@{k}"] == pytest.approx(len(set(shown)) / (n_items - 1))
        assert ours[f"tailshare@{k}"] == pytest.approx(sum(item in tail for item in shown) / len(shown))
        if tail:
            assert ours[f"tailcoverage@{k}"] == pytest.approx(len(set(shown) & tail) / len(tail))
        else:
            assert math.isnan(ours[f"tailcoverage@{k}"])


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 40), st.integers(1, 12), st.integers(0, 2**31), st.integers(1, 4))
def test_where_scores_tie_every_figure_is_of_the_middle_rank(n_items, size, seed, levels):
    batches = random_batches(n_items, [size], seed, levels=levels)
    scores, target = batches[0]
    ranks = []
    for row, item in zip(scores.tolist(), target.tolist(), strict=True):
        above = sum(score > row[item] for score in row)
        level = sum(score == row[item] for score in row) - 1
        ranks.append(1 + above + math.ceil(level / 2))
    ours = measured(TailCollector, ONE_HELD_OUT, batches, n_items)
    for k in CUTS:
        assert ours[f"hit@{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks]))
        assert ours[f"mrr@{k}"] == pytest.approx(np.mean([1 / rank if rank <= k else 0 for rank in ranks]))


# Groups and models at the edge.


def test_a_group_without_users_has_no_figure(toy_settings):
    trainer, _, _, test = built("SASRec", toy_settings, tail_split_ratio=0)
    result = trainer.evaluate(test, load_best_model=False)
    assert all(math.isnan(result[f"head{measure}@5"]) for measure in PAIRS)
    assert all(result[f"tail{measure}@5"] == pytest.approx(result[f"{measure}@5"]) for measure in PAIRS)


def test_a_group_without_users_is_null_in_the_file_of_the_run(toy_settings):
    metrics = recbole_lpo.run("SASRec", None, None, {**toy_settings, "tail_split_ratio": 0, "epochs": 1}, quiet=True)
    written = json.loads((Path(metrics["run_dir"]) / "metrics.json").read_text())
    assert [written[part]["headndcg@5"] for part in ("valid", "test")] == [None, None]
    assert written["n"]["head"] == 0
    history = (Path(metrics["run_dir"]) / "history.jsonl").read_text().splitlines()
    assert json.loads(history[0])["valid/headndcg@5"] is None


class Scores:
    """Put in the place of a model's scores: one row for every user, from a function of (users, items)."""

    def __init__(self, trainer, made):
        self.n_items, self.made = trainer.model.n_items, made
        trainer.model.full_sort_predict = self

    def __call__(self, interaction):
        return self.made(interaction["user_id"], self.n_items)


def test_a_model_that_scores_all_items_alike_gets_the_middle_rank(toy_settings):
    trainer, _, _, test = built("SASRec", toy_settings)
    Scores(trainer, lambda users, n_items: torch.zeros(len(users), n_items))
    trainer.evaluate(test, load_best_model=False)
    # n_items counts the padding: n - 1 items, n - 2 of which score like the target.
    assert set(per_user(trainer).values()) == {1 + math.ceil((trainer.model.n_items - 2) / 2)}
    assert trainer.last_evaluation.n_ties == 66


def test_the_table_warns_of_a_model_that_scores_all_items_alike(toy_settings, monkeypatch):
    config = Config("SASRec", None, None, toy_settings)
    flat = lambda self, interaction: torch.zeros(len(interaction), self.n_items)  # noqa: E731
    monkeypatch.setattr(config.model_class, "full_sort_predict", flat)
    metrics = recbole_lpo.run("SASRec", None, None, {**toy_settings, "epochs": 1}, quiet=True)
    assert metrics["protocol"]["tied_users"] == 66
    assert metrics["test"]["hit@10"] == 0
    assert "SASRec scores the held-out item like another one for 66 users" in result_table([metrics])


def test_a_model_that_has_collapsed_is_reported_in_the_log_and_in_the_metrics(toy_settings, monkeypatch, capsys):
    config = Config("SASRec", None, None, toy_settings)
    flat = lambda self, interaction: torch.zeros(len(interaction), self.n_items)  # noqa: E731
    monkeypatch.setattr(config.model_class, "full_sort_predict", flat)
    metrics = recbole_lpo.run("SASRec", None, None, {**toy_settings, "epochs": 2}, quiet=True)
    assert metrics["protocol"]["collapsed_users"] == 66
    assert metrics["warning"].startswith(
        "the model has collapsed: for 66 of 66 users the held-out item scores the same"
    )
    # Once, not after every evaluation.
    assert capsys.readouterr().err.count("SASRec: the model has collapsed") == 1


@pytest.mark.parametrize(("alike", "collapsed"), [(0.4, False), (0.6, True)])
def test_a_model_has_collapsed_where_most_items_score_like_the_held_out_one(alike, collapsed, toy_settings):
    trainer, _, _, test = built("SASRec", toy_settings)

    def scores(users, n_items):
        distinct = torch.arange(n_items).double()
        distinct[: round(alike * n_items)] = -1.0
        return distinct.expand(len(users), -1).clone()

    Scores(trainer, scores)
    trainer.evaluate(test, load_best_model=False)
    evaluation = trainer.last_evaluation
    tied = int((evaluation.target < round(alike * trainer.model.n_items)).sum())
    assert evaluation.n_collapsed == (tied if collapsed else 0)
    assert tied


def test_a_healthy_model_has_no_warning(trained):
    assert trained[0]["warning"] is None
    assert trained[0]["protocol"]["collapsed_users"] == 0


def test_the_table_of_a_healthy_model_has_no_such_warning(trained):
    assert trained[0]["protocol"]["tied_users"] == 0
    assert "like another one" not in result_table([trained[0]])


@pytest.mark.parametrize("model", ["LPOSASRec", "BPR"])
def test_scores_that_are_no_number_end_the_evaluation(model, toy_settings):
    trainer, _, _, test = built(model, toy_settings)
    Scores(trainer, lambda users, n_items: torch.full((len(users), n_items), torch.nan))
    with pytest.raises(RunError, match=rf"^{model}: \d+ of \d+ rows of scores hold NaN.* Lower learning_rate"):
        trainer.evaluate(test, load_best_model=False)


def test_scores_that_are_no_number_end_the_run(toy_settings, monkeypatch):
    config = Config("SASRec", None, None, toy_settings)
    broken = lambda self, interaction: torch.full((len(interaction), self.n_items), torch.nan)  # noqa: E731
    monkeypatch.setattr(config.model_class, "full_sort_predict", broken)
    with pytest.raises(RunError, match=r"^SASRec: \d+ of \d+ rows of scores hold NaN"):
        recbole_lpo.run("SASRec", None, None, toy_settings, quiet=True)


def test_an_evaluation_that_did_not_end_leaves_nothing_to_the_next(toy_settings):
    trainer, _, _, test = built("SASRec", toy_settings, eval_batch_size=20)
    before = trainer.evaluate(test, load_best_model=False)
    collect, seen = trainer.eval_collector.eval_batch_collect, []

    def interrupted(*batch):
        seen.append(batch)
        if len(seen) == 2:
            raise KeyboardInterrupt
        collect(*batch)

    trainer.eval_collector.eval_batch_collect = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.evaluate(test, load_best_model=False)
    trainer.eval_collector.eval_batch_collect = collect
    assert trainer.evaluate(test, load_best_model=False) == before


SEVERAL_HELD_OUT = {"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO"}}


def test_head_and_tail_metrics_of_two_held_out_items_a_user_are_refused(toy_settings):
    trainer, _, _, test = built("BPR", toy_settings, **SEVERAL_HELD_OUT)
    with pytest.raises(InputError, match=r"^metrics: head and tail metrics need one held-out item per user"):
        trainer.evaluate(test, load_best_model=False)


def test_other_metrics_of_two_held_out_items_a_user_are_recboles(toy_settings):
    changes = {**SEVERAL_HELD_OUT, "metrics": ["Recall", "NDCG"], "valid_metric": "NDCG@5"}
    trainer, _, _, test = built("BPR", toy_settings, **changes)
    ours = trainer.evaluate(test, load_best_model=False)
    assert ours == evaluated_by_recbole(trainer, test)
    assert ours["recall@10"] > 0


def test_there_are_no_ranks_of_users_with_two_held_out_items(toy_settings):
    # In batches of one user, those with one held-out item would be ranked and the others not.
    changes = {**SEVERAL_HELD_OUT, "metrics": ["Recall"], "valid_metric": "Recall@5", "eval_batch_size": 1}
    trainer, _, _, test = built("BPR", toy_settings, **changes)
    trainer.evaluate(test, load_best_model=False)
    assert trainer.last_evaluation is None


def test_lists_longer_than_the_catalogue_are_refused(toy_settings):
    trainer, _, _, test = built("SASRec", toy_settings, topk=[5, 400])
    with pytest.raises(InputError, match=r"^topk = 400: the catalogue has \d+ items; ask for fewer"):
        trainer.evaluate(test, load_best_model=False)


# The user's own history.


@pytest.fixture(scope="module")
def histories(toy_settings):
    """{user token: all items in time order} of the raw rows."""
    rows = Path(toy_settings["data_path"], "toy", "toy.inter").read_text().splitlines()[1:]
    found = defaultdict(list)
    for user, item, time in (row.split("\t") for row in rows):
        found[user].append((float(time), item))
    return {user: [item for _, item in sorted(items)] for user, items in found.items()}


def ranks_by_hand(trainer, loader, scores, histories, *, part, mask):
    """Ranks that a slow count gives: of all items, or of those that the user has not met before this part."""
    dataset = loader._dataset
    item_numbers, user_tokens = dataset.field2token_id["item_id"], dataset.field2id_token["user_id"]
    expected = {}
    for user in per_user(trainer):
        items = [item_numbers[item] for item in histories[user_tokens[user]]]
        target = items[-1] if part == "test" else items[-2]
        met = set(items[:-1] if part == "test" else items[:-2]) - {target} if mask else set()
        row = scores(torch.tensor([user]), len(item_numbers))[0].tolist()
        expected[user] = 1 + sum(row[item] > row[target] for item in range(1, len(row)) if item not in met)
    return expected


def scores_of_user(users, n_items):
    """No two alike, and other ones for every user."""
    return torch.stack([torch.rand(n_items, generator=torch.Generator().manual_seed(int(user))) for user in users])


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("model", ["LPOSASRec", "BPR"])
def test_the_history_is_left_out_of_the_ranking_or_not_as_asked_and_the_target_never(
    model, part, mask, toy_settings, histories
):
    trainer, _, valid, test = built(model, toy_settings, eval_mask_history=mask, MAX_ITEM_LIST_LENGTH=3)
    loader = valid if part == "valid" else test
    Scores(trainer, scores_of_user)
    trainer.evaluate(loader, load_best_model=False)
    assert per_user(trainer) == ranks_by_hand(trainer, loader, scores_of_user, histories, part=part, mask=mask)


def test_the_data_has_targets_in_the_history_and_histories_longer_than_a_row(histories):
    assert any(items[-1] in items[:-1] for items in histories.values())
    assert any(len(set(items[:-4]) - set(items[-4:])) > 0 for items in histories.values())


def test_leaving_the_history_out_changes_the_ranks(toy_settings):
    ranks = []
    for mask in (True, False):
        trainer, _, _, test = built("BPR", toy_settings, eval_mask_history=mask)
        Scores(trainer, scores_of_user)
        trainer.evaluate(test, load_best_model=False)
        ranks.append(per_user(trainer))
    assert ranks[0] != ranks[1]


def test_a_run_says_whether_the_history_was_left_out(toy_settings):
    metrics = recbole_lpo.run("BPR", None, None, {**toy_settings, "eval_mask_history": True, "epochs": 1}, quiet=True)
    assert metrics["protocol"]["mask_history"] is True
    assert "the user's own history left out of the ranking" in result_table([metrics])


# Other ways to evaluate.


@pytest.mark.parametrize("model", ["LPOSASRec", "BPR"])
def test_among_sampled_candidates_the_figures_still_add_up(model, toy_settings):
    changes = {"eval_args": {"mode": "uni20"}, "epochs": 1}
    metrics = recbole_lpo.run(model, None, None, {**toy_settings, **changes}, quiet=True)
    figures, n = metrics["test"], metrics["n"]
    mean = n["head"] * figures["headndcg@5"] + n["tail"] * figures["tailndcg@5"]
    assert figures["ndcg@5"] == pytest.approx(mean / n["users"], abs=1e-12)
    assert metrics["protocol"]["candidates"] == "uni20"


@pytest.mark.parametrize("model", ["LPOSASRec", "BPR"])
def test_among_sampled_candidates_a_user_has_one_row_and_a_rank_among_them(model, toy_settings):
    trainer, _, _, test = built(model, toy_settings, eval_args={"mode": "uni20"})
    trainer.evaluate(test, load_best_model=False)
    ranks = per_user(trainer)
    assert len(ranks) == len(trainer.last_evaluation.user) == 66
    assert max(ranks.values()) <= 21


def test_leaving_the_history_out_of_sampled_candidates_is_refused(toy_settings):
    with pytest.raises(InputError, match=r"^eval_mask_history = True: RecBole draws the candidates"):
        Config("BPR", None, None, {**toy_settings, "eval_mask_history": True, "eval_args": {"mode": "uni20"}})


@pytest.mark.parametrize("model", ["LPOSASRec", "LPOCaser", "BPR"])
def test_the_size_of_the_batches_does_not_change_the_figures(model, toy_settings):
    results, users = [], []
    for size in (7, 64):
        trainer, _, _, test = built(model, toy_settings, eval_batch_size=size)
        results.append(trainer.evaluate(test, load_best_model=False))
        users.append(per_user(trainer))
    assert results[0] == results[1]
    assert users[0] == users[1]


def test_a_general_model_scores_as_many_users_at_once_as_asked(toy_settings):
    _, _, _, test = built("BPR", toy_settings, eval_batch_size=7)
    assert [len(batch[0]) for batch in test] == [7] * 9 + [3]


def test_general_and_sequential_models_are_measured_on_the_same_users_and_targets(toy_settings):
    found = []
    for model in ("LPOSASRec", "BPR"):
        trainer, _, _, test = built(model, toy_settings)
        trainer.evaluate(test, load_best_model=False)
        last = trainer.last_evaluation
        found.append((dict(zip(last.user.tolist(), last.target.tolist(), strict=True)), last.sizes()))
    assert found[0] == found[1]


def test_a_list_ends_where_no_candidate_is_left(toy_settings):
    settings = {**toy_settings, "eval_args": {"mode": "uni4"}, "epochs": 1, "metrics": ["Coverage", "TailShare"]}
    found = recbole_lpo.run("Pop", None, None, {**settings, "topk": [5, 10], "valid_metric": "Coverage@5"}, quiet=True)
    # The held-out item and four others are all that can be listed.
    for metric in ("coverage", "tailshare"):
        assert found["test"][f"{metric}@5"] == found["test"][f"{metric}@10"]
    assert 0 < found["test"]["coverage@10"] <= 1
