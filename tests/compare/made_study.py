"""Finished run folders of a made-up comparison, without any training: quick, and with a known story."""

from __future__ import annotations

import numpy as np
import torch

from recbole_lpo.compare.study import Study
from recbole_lpo.core.ranking import group_mean, hit_at, ndcg_at
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.run_folder import write_history, write_metrics, write_per_user

N_USERS, N_ITEMS, N_HEAD, CUT = 400, 200, 40, 10
STRENGTHS = (0.3, 1.0)
# Method -> how far the ranks of head and of tail targets fall (larger: better), and the probability of the tail.
STORY = {
    "SASRec": (0.9, 0.30, 0.25),
    "LPO": (0.85, 0.80, 0.55),
    "LPO, lambda 0.5": (0.70, 0.82, 0.60),
    "DPO": (0.75, 0.28, 0.25),
}


def study_of_methods(methods=STORY, *, datasets=("toy",), seeds=(2020, 2021), baseline=None, settings=None) -> Study:
    """A study of these rows, LPO ones with `pref_weight` for a setting of their own."""
    rows = {
        name: {"model": "LPOSASRec", "pref_weight": 0.5 if "0.5" in name else 0.3}
        if name.startswith("LPO")
        else {"model": "SASRec" if name == "SASRec" else "DPOSASRec"}
        for name in methods
    }
    return Study(rows, tuple(datasets), tuple(seeds), settings or {}, baseline or next(iter(rows)))


def make_runs(study: Study, output, *, skip=(), history=True, older=False, tail=True) -> None:
    """Run folders of every run, but those whose (method, seed) is in `skip`.

    older: as they were written before deciles, probabilities and ranks along the curve were kept; tail: whether there
    are tail items.
    """
    for run in study.runs():
        if (run.method, run.seed) not in skip:
            _make_run(run, run.folder(output), history=history, older=older, tail=tail)


def _make_run(run, folder, *, history: bool, older: bool, tail: bool) -> None:
    folder.mkdir(parents=True)
    users = np.random.default_rng(7)
    target = 1 + np.minimum(N_ITEMS - 1, users.exponential(N_ITEMS / 3, N_USERS)).astype(int)
    luck = users.random(N_USERS)
    own = np.random.default_rng([run.seed, sum(map(ord, run.method))])
    head, in_tail, tail_prob = STORY.get(run.method, (0.5, 0.5, 0.4))
    n_head = N_HEAD if tail else N_ITEMS

    def ranks(strength: float):
        # The adjustment lifts the tail a little, and takes more from the head.
        skill = np.where(target <= n_head, head - 0.4 * strength, in_tail + 0.1 * strength)
        noisy = np.clip(luck + own.normal(0, 0.05, N_USERS), 0, 1) ** (4 * skill)
        return torch.tensor(1 + (noisy * (N_ITEMS - 1)).astype(int))

    is_head = torch.zeros(N_ITEMS + 1, dtype=torch.bool)
    is_head[1 : n_head + 1] = True
    decile = torch.tensor([0, *(1 + np.arange(N_ITEMS) * 10 // N_ITEMS)])
    probability = torch.tensor(np.clip(own.normal(tail_prob, 0.08, N_USERS), 0, 1))
    seen = torch.ones(N_ITEMS + 1, dtype=torch.bool)
    evaluation = Evaluation(
        torch.arange(1, N_USERS + 1), torch.tensor(target), ranks(0.0), is_head, seen, decile, 0, 0, probability
    )
    curve = {strength: ranks(strength) for strength in STRENGTHS}
    tokens = np.array([str(number) for number in range(max(N_USERS, N_ITEMS) + 1)])
    if older:
        _write_older(folder, evaluation, tokens)
    else:
        write_per_user(folder, evaluation, tokens, tokens, curve)
    records = [
        {"epoch": epoch, "seconds": 1.5, "train_loss": 6.0 - epoch, f"valid/ndcg@{CUT}": 0.1 + 0.02 * epoch}
        for epoch in range(4)
    ]
    if history:
        write_history(folder, records)
    figures = {strength: _figures(rank, evaluation.in_head) for strength, rank in curve.items()}
    split = {"rule": "item_share", "ratio": 0.2, "threshold": None, "items": N_ITEMS, "head_items": n_head}
    split |= {"tail_items": N_ITEMS - n_head, "n_tied": 0, "cut_count": 5}
    protocol = {"split": {"LS": "valid_and_test"}, "order": "TO", "candidates": "full", "mask_history": False}
    protocol |= {"logit_adjust": 0.0, "max_history": 10, "valid_metric": f"NDCG@{CUT}", "tied_users": 0}
    metrics = {
        "model": run.settings["model"],
        "dataset": run.dataset,
        "seed": run.seed,
        "protocol": protocol,
        "split": split,
        "valid": {},
        "test": _figures(evaluation.rank, evaluation.in_head),
        "n": evaluation.sizes(),
        "epochs": {"trained": 4, "best": 2},
        "parameters": 1000,
        "seconds": {"train": 6.0, "train_epoch": 1.5, "total": 8.0},
        "memory": {"peak_mb": 300.0},
        "adjusted": [{"strength": strength, "test": found, "valid": {}} for strength, found in figures.items()],
    }
    write_metrics(folder, metrics)


def _figures(rank, in_head) -> dict[str, float]:
    found = {}
    for name, measure in (("hit", hit_at), ("ndcg", ndcg_at)):
        for group, member in (("", None), ("head", in_head), ("tail", ~in_head)):
            found[f"{group}{name}@{CUT}"] = group_mean(measure(rank, CUT), member)
    return found


def _write_older(folder, evaluation, tokens) -> None:
    import gzip

    lines = ["user,target,rank,group"]
    columns = (tokens[evaluation.user], tokens[evaluation.target], evaluation.rank.tolist(), evaluation.group_of())
    lines += [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    (folder / "per_user.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
