"""What the finished runs of a comparison say: means over seeds, and paired tests against the baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_lpo.compare.execute import is_finished
from recbole_lpo.compare.significance import Difference, holm, paired_differences, paired_over_seeds
from recbole_lpo.compare.study import Study
from recbole_lpo.run_folder import METRICS, PER_USER

# Tested: name in metrics.json -> (measure of a rank, group of users).
_TESTED = {
    "hit": ("hit", None), "ndcg": ("ndcg", None), "headhit": ("hit", "head"), "headndcg": ("ndcg", "head"),
    "tailhit": ("hit", "tail"), "tailndcg": ("ndcg", "tail"),
}  # fmt: skip


@dataclass(frozen=True)
class Test:
    """A row's difference from the baseline in one metric.

    mean, low, high, effect  over users (values averaged over seeds), with the 95 % bootstrap interval
    p_users, p_seeds         randomisation test over users, and t test over seeds (NaN for one seed), Holm-corrected
    n                        users
    """

    mean: float
    low: float
    high: float
    effect: float
    p_users: float
    p_seeds: float
    n: int


@dataclass(frozen=True)
class Row:
    """A method on a dataset.

    runs: contents of `metrics.json`, a finished seed each; tests: metric -> Test; n_trials: how many trials of a search
    its settings had, 0 for none.
    """

    method: str
    runs: list[dict[str, Any]]
    tests: dict[str, Test]
    untested: str = ""
    n_trials: int = 0

    def values(self, metric: str) -> np.ndarray:
        """The test results of the seeds; a run without the metric, or without users in its group, gives NaN."""
        return _numbers(run["test"].get(metric) for run in self.runs)

    def strengths(self) -> list[float]:
        """Strengths of post-hoc logit adjustment that every seed was measured at, beside the one it was run with."""
        measured = [{one["strength"] for one in run.get("adjusted") or ()} for run in self.runs]
        return sorted(set.intersection(*measured))

    def adjusted(self, strength: float, metric: str) -> np.ndarray:
        """`values` under an adjustment of that strength."""
        at = [next(one["test"] for one in run["adjusted"] if one["strength"] == strength) for run in self.runs]
        return _numbers(test.get(metric) for test in at)


@dataclass(frozen=True)
class DatasetResults:
    """Rows of one dataset; cut: the list length that is tested and shown."""

    dataset: str
    cut: int
    rows: list[Row]


def gather(study: Study, output: Path, *, seed: int = 0) -> list[DatasetResults]:
    """The results of every dataset of which a run is finished; runs that are not are left out."""
    runs = [(run, run.folder(output)) for run in study.runs()]
    found = []
    for dataset in study.datasets:
        folders: dict[str, list[Path]] = {}
        for run, folder in runs:
            if run.dataset == dataset and is_finished(folder):
                folders.setdefault(run.method, []).append(folder)
        if folders:
            of_dataset = _of_dataset(dataset, folders, study.baseline, seed)
            rows = [replace(row, n_trials=study.n_trials(row.method, dataset)) for row in of_dataset.rows]
            found.append(replace(of_dataset, rows=rows))
    return found


def _of_dataset(dataset: str, folders: dict[str, list[Path]], baseline: str, seed: int) -> DatasetResults:
    metrics = {
        method: [json.loads((folder / METRICS).read_text(encoding="utf-8")) for folder in of_method]
        for method, of_method in folders.items()
    }
    cut = _cut(next(iter(metrics.values()))[0])
    tests, untested = {}, {}
    if baseline in folders:
        ranks = {method: _ranks(of_method) for method, of_method in folders.items()}
        others = [method for method in folders if method != baseline]
        untested = {method: why for method in others if (why := _not_comparable(ranks[method], ranks[baseline]))}
        tests = _tests([method for method in others if method not in untested], baseline, ranks, metrics, cut, seed)
    rows = [Row(method, metrics[method], tests.get(method, {}), untested.get(method, "")) for method in folders]
    return DatasetResults(dataset, cut, rows)


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _cut(metrics: dict[str, Any]) -> int:
    """The list length of the validation metric, or the longest one measured."""
    wanted = str(metrics["protocol"]["valid_metric"]).rpartition("@")[2]
    cuts = sorted({int(key.rpartition("@")[2]) for key in metrics["test"] if "@" in key})
    return int(wanted) if wanted.isdigit() and int(wanted) in cuts else cuts[-1]


def _ranks(folders: list[Path]) -> pd.DataFrame | None:
    """Rows: users by token, columns: target, group, and a rank for each seed; None where a run has no ranks."""
    if not all((folder / PER_USER).is_file() for folder in folders):
        return None
    frames = [
        pd.read_csv(folder / PER_USER, dtype={"user": str, "target": str}, keep_default_na=False).set_index("user")
        for folder in folders
    ]
    whole = frames[0][["target", "group"]].copy()
    for number, frame in enumerate(frames):
        whole[number] = frame["rank"]
    return whole.sort_index()


def _not_comparable(ranks: pd.DataFrame | None, baseline: pd.DataFrame | None) -> str:
    if ranks is None or baseline is None:
        return "no rank for each user"
    if ranks.isna().any(axis=None) or not ranks[["target", "group"]].equals(baseline[["target", "group"]]):
        return "other test users, targets or groups than the baseline's"
    return ""


def _tests(methods, baseline, ranks, metrics, cut: int, seed: int) -> dict[str, dict[str, Test]]:
    """method -> metric -> Test; one Holm correction over all of them."""
    pairs, differences, members, over_seeds = [], [], [], []
    for method in methods:
        group = ranks[method]["group"].to_numpy()
        for name, (measure, wanted) in _TESTED.items():
            member = np.full(len(group), True) if wanted is None else (group == "head") == (wanted == "head")
            if not member.any():
                continue
            key = f"{name}@{cut}"
            pairs.append((method, key))
            differences.append(_measured(ranks[method], measure, cut) - _measured(ranks[baseline], measure, cut))
            members.append(member)
            over_seeds.append(_over_seeds(metrics[method], metrics[baseline], key))
    if not pairs:
        return {}
    users = paired_differences(np.stack(differences, axis=1), np.stack(members, axis=1), seed=seed)
    p_users, p_seeds = holm(users.p), holm(np.array(over_seeds))
    found: dict[str, dict[str, Test]] = {}
    for index, (method, key) in enumerate(pairs):
        found.setdefault(method, {})[key] = _test(users, index, p_users[index], p_seeds[index])
    return found


def _test(users: Difference, index: int, p_users: float, p_seeds: float) -> Test:
    figures = (users.mean, users.low, users.high, users.effect)
    return Test(*(float(values[index]) for values in figures), float(p_users), float(p_seeds), int(users.n[index]))


def _measured(ranks: pd.DataFrame, measure: str, cut: int) -> np.ndarray:
    """(U,) the metric of each user, averaged over the seeds."""
    rank = ranks.drop(columns=["target", "group"]).to_numpy(np.float64)
    value = np.ones_like(rank) if measure == "hit" else 1.0 / np.log2(1.0 + rank)
    return np.where(rank <= cut, value, 0.0).mean(axis=1)


def _over_seeds(method: list[dict[str, Any]], baseline: list[dict[str, Any]], key: str) -> float:
    ours = {run["seed"]: run["test"].get(key) for run in method}
    theirs = {run["seed"]: run["test"].get(key) for run in baseline}
    both = [seed for seed in ours if ours[seed] is not None and theirs.get(seed) is not None]
    return paired_over_seeds(np.array([ours[seed] for seed in both]), np.array([theirs[seed] for seed in both]))
