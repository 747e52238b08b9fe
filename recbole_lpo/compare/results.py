"""What the finished runs of a comparison say: means over seeds, and paired tests against the baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lpo.compare.at_no_loss import AtNoLoss, at_no_loss
from recbole_lpo.compare.both_tails import Tail, both_tails
from recbole_lpo.compare.execute import is_finished
from recbole_lpo.compare.paired import Comparison, Test, paired_tests
from recbole_lpo.compare.per_user import PerUser, read_per_user
from recbole_lpo.compare.regrouped import regrouped, split_differs, without_groups
from recbole_lpo.compare.significance import Height, heights_above_curve
from recbole_lpo.compare.study import REFERENCE_OF, WEIGHTS_OF, Study
from recbole_lpo.run_folder import METRICS, read_history
from recbole_lpo.trainer.selection import selected_folder

# Tested: name in metrics.json -> (measure of a rank, group of users).
_TESTED = {
    "hit": ("hit", None), "ndcg": ("ndcg", None), "headhit": ("hit", "head"), "headndcg": ("ndcg", "head"),
    "tailhit": ("hit", "tail"), "tailndcg": ("ndcg", "tail"),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A method on a dataset.

    runs       contents of `metrics.json`, a finished seed each
    tests      metric -> Test; untested: why there are none, "" where there are or where it is the baseline
    regrouped  whether it was trained with another split than the baseline's, on whose groups it is measured here
    no_loss    with the tail lifted as far as its overall value allows; None where it is below the baseline
    height     over the adjustment curve of the baseline, in the tail value of the study's measure; None where there is
               no tail, no curve, or other users
    users      its test users; None where they are not known, or are not those of all seeds
    histories  for each seed, a record an epoch
    n_trials   how many trials of a search its settings had, 0 for none
    weights_of the method that was trained, where this one ranks with its weights; "" where it is trained itself
    reference_of  the method whose runs are its reference policies; "" where it needs none, or has others
    tails      definition of the tail -> what it is there; empty where deciles are not known, or other users
    """

    method: str
    runs: list[dict[str, Any]]
    tests: dict[str, Test]
    untested: str = ""
    regrouped: bool = False
    height: Height | None = None
    no_loss: AtNoLoss | None = None
    users: PerUser | None = None
    histories: list[list[dict[str, Any]]] = field(default_factory=list)
    n_trials: int = 0
    weights_of: str = ""
    reference_of: str = ""
    tails: dict[str, Tail] = field(default_factory=dict)

    def values(self, metric: str) -> np.ndarray:
        """The test results of the seeds; a run without the metric, or without users in its group, gives NaN."""
        return _numbers(run["test"].get(metric) for run in self.runs)

    def strengths(self) -> list[float]:
        """Strengths of post-hoc logit adjustment that every seed was measured at, beside the one it was run with."""
        measured = [{one["strength"] for one in run.get("adjusted") or ()} for run in self.runs]
        return sorted(set.intersection(*measured))

    def at(self, strength: float, metric: str) -> np.ndarray:
        """`values` under an adjustment of that strength, which may be the one that the runs had."""
        own = self.runs[0]["protocol"].get("logit_adjust") or 0.0
        return self.values(metric) if strength == own else self.adjusted(strength, metric)

    def adjusted(self, strength: float, metric: str) -> np.ndarray:
        """`values` under an adjustment of that strength, one of `strengths`."""
        at = [next(one["test"] for one in run["adjusted"] if one["strength"] == strength) for run in self.runs]
        return _numbers(test.get(metric) for test in at)


@dataclass(frozen=True)
class DatasetResults:
    """Rows of one dataset whose best epochs were chosen alike.

    measure, cut  what the study looks at first: hit or ndcg, at a list length (0 where only metrics of values were
                  measured, as AUC)
    selected_by   the metric of `also_select` that chose the epochs, "" for `valid_metric`
    """

    dataset: str
    measure: str
    cut: int
    rows: list[Row]
    baseline: str
    selected_by: str = ""

    @property
    def title(self) -> str:
        """The dataset, and how the epochs were chosen where that is not as usual."""
        return f"{self.dataset}, best epochs by {self.selected_by}" if self.selected_by else self.dataset

    def headed(self, text: str) -> str:
        """A heading that names the list length, if there is one."""
        return f"{text}, at {self.cut}" if self.cut else text

    def key(self, group: str = "") -> str:
        """The name of the measure in `metrics.json`, overall or for a group (head, tail)."""
        return f"{group}{self.measure}@{self.cut}"

    def row(self, method: str) -> Row | None:
        """The row of a method; None where none of its runs is finished."""
        return next((row for row in self.rows if row.method == method), None)


def gather(study: Study, output: Path, *, seed: int = 0) -> list[DatasetResults]:
    """The results of every dataset of which a run is finished, once for each way in which best epochs were chosen; runs
    that are not finished are left out."""
    folders: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for run in study.runs():
        folder = run.folder(output)
        places = {"": folder} | {metric: selected_folder(folder, metric) for metric in run.also_select}
        for metric, place in places.items():
            if is_finished(folder) and is_finished(place):
                folders.setdefault((run.dataset, metric), {}).setdefault(run.method, []).append(place)
    found = []
    for (dataset, metric), of_methods in sorted(folders.items(), key=lambda one: study.datasets.index(one[0][0])):
        one = _of_dataset(dataset, of_methods, study.baseline, seed)
        rows = [
            replace(
                row,
                n_trials=study.n_trials(row.method, dataset),
                weights_of=str(study.methods[row.method].get(WEIGHTS_OF, "")),
                reference_of=str(study.methods[row.method].get(REFERENCE_OF, "")),
            )
            for row in one.rows
        ]
        found.append(replace(one, rows=rows, selected_by=metric))
    return found


def _of_dataset(dataset: str, folders: dict[str, list[Path]], baseline: str, seed: int) -> DatasetResults:
    metrics = {
        method: [json.loads((folder / METRICS).read_text(encoding="utf-8")) for folder in of_method]
        for method, of_method in folders.items()
    }
    first = next(iter(metrics.values()))[0]
    measure, cut = _measure(first), _cut(first)
    users = {method: read_per_user(of_method) for method, of_method in folders.items()}
    tests, untested, heights, no_loss, tails = {}, {}, {}, {}, {}
    other_split = {method for method in folders if split_differs(users[method], users.get(baseline))}
    for method in other_split:
        users[method], metrics[method] = regrouped(
            users[method], metrics[method], users[baseline], metrics[baseline][0]
        )
    if baseline in folders:
        others = [method for method in folders if method != baseline]
        untested = {method: why for method in others if (why := _not_comparable(users[method], users[baseline]))}
        tested = [method for method in others if method not in untested]
        tests = _tests(tested, baseline, users, metrics, cut, seed)
        heights = _heights(tested, baseline, users, metrics, measure, cut, seed)
        comparable = {method: users[method] for method in (baseline, *tested) if users[method]}
        no_loss = at_no_loss(metrics, comparable, baseline, measure, cut, seed=seed)
        seeds = {method: [run["seed"] for run in runs] for method, runs in metrics.items()}
        tails = both_tails(comparable, seeds, baseline, measure, cut, seed=seed)
    histories = {method: [read_history(folder) for folder in of_method] for method, of_method in folders.items()}
    for method in other_split:
        histories[method] = [without_groups(history) for history in histories[method]]
    rows = [
        Row(
            method,
            metrics[method],
            tests.get(method, {}),
            untested.get(method, ""),
            method in other_split,
            heights.get(method),
            no_loss.get(method),
            users[method],
            histories[method],
            tails=tails.get(method, {}),
        )
        for method in folders
    ]
    return DatasetResults(dataset, measure, cut, rows, baseline)


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _cut(metrics: dict[str, Any]) -> int:
    """The list length of the validation metric, or the longest one measured; 0 where no metric is of a list."""
    wanted = str(metrics["protocol"]["valid_metric"]).rpartition("@")[2]
    cuts = sorted({int(key.rpartition("@")[2]) for key in metrics["test"] if "@" in key})
    return int(wanted) if wanted.isdigit() and int(wanted) in cuts else max(cuts, default=0)


def _measure(metrics: dict[str, Any]) -> str:
    """hit or ndcg: the one that validation watched, else ndcg."""
    return "hit" if "hit" in str(metrics["protocol"]["valid_metric"]).lower() else "ndcg"


def _not_comparable(users: PerUser | None, baseline: PerUser | None) -> str:
    if users is None or baseline is None:
        return "no rank for each user, or seeds with other users"
    return "" if users.who.equals(baseline.who) else "other test users or targets than the baseline's"


def _tests(methods, baseline, users, metrics, cut: int, seed: int) -> dict[str, dict[str, Test]]:
    """method -> metric -> Test; one Holm correction over all of them."""
    compared: dict[tuple[str, str], Comparison] = {}
    for method in methods:
        in_tail = users[method].in_tail
        for name, (measure, wanted) in _TESTED.items():
            member = np.full(len(in_tail), True) if wanted is None else in_tail == (wanted == "tail")
            if not member.any():
                continue
            key = f"{name}@{cut}"
            difference = users[method].value(measure, cut) - users[baseline].value(measure, cut)
            ours, theirs = ({run["seed"]: run["test"].get(key) for run in metrics[one]} for one in (method, baseline))
            compared[method, key] = Comparison(difference, member, ours, theirs)
    found: dict[str, dict[str, Test]] = {}
    for (method, key), test in zip(compared, paired_tests(list(compared.values()), seed=seed), strict=True):
        found.setdefault(method, {})[key] = test
    return found


def _heights(methods, baseline, users, metrics, measure: str, cut: int, seed: int) -> dict[str, Height]:
    theirs = users[baseline]
    if not methods or theirs is None or not theirs.curve or not theirs.in_tail.any():
        return {}
    own_strength = metrics[baseline][0]["protocol"].get("logit_adjust") or 0.0
    curve = {own_strength: theirs.value(measure, cut)}
    curve |= {strength: theirs.value(measure, cut, strength=strength) for strength in theirs.curve}
    values = np.stack([users[method].value(measure, cut) for method in methods], axis=1)
    along = np.stack([curve[strength] for strength in sorted(curve)], axis=1)
    found = heights_above_curve(values, along, theirs.in_tail, seed=seed)
    return dict(zip(methods, found, strict=True))
