"""The table that a run prints: overall, head, tail and coverage, with what a reader needs to judge them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from recbole_lpo.evaluator.metrics import METRICS

# More users than this share, whose held-out item scores like another one, are worth a warning.
_MANY_TIED = 0.01

# Heading, and the metric it shows.
_COLUMNS = {
    "HR": "hit", "NDCG": "ndcg", "head HR": "headhit", "head NDCG": "headndcg", "tail HR": "tailhit",
    "tail NDCG": "tailndcg", "coverage": "coverage", "tail cov.": "tailcoverage", "tail share": "tailshare",
}  # fmt: skip


def result_table(runs: Sequence[dict[str, Any]]) -> str:
    """Test results of runs on one dataset, a row for each model and list length, and the counts and protocol below.

    The curve of post-hoc logit adjustment follows the rows of its model, a row for each strength t, at the list length
    that training watched. runs: contents of `metrics.json`, or what
    `recbole_lpo.evaluate` gives. A figure that does not exist (a group without users) shows
    as a dash.
    """
    cuts = sorted({int(key.rpartition("@")[2]) for run in runs for key in _figures(run) if "@" in key})
    measured = {key.partition("@")[0] for run in runs for key in _figures(run) if "@" in key}
    headings = [heading for heading, metric in _COLUMNS.items() if metric in measured]
    rows = [
        [name, k] + [_shown(figures.get(f"{_COLUMNS[heading]}@{k}")) for heading in headings]
        for run in runs
        for name, k, figures in _rows(run, cuts)
    ]
    table = tabulate(rows, ["model", "@k", *headings], disable_numparse=True, stralign="right", colalign=("left",))
    parts = [table if rows else "", _other_metrics(runs), "\n".join([*caption(runs), *_unseen(runs)])]
    return "\n\n".join(part for part in parts if part)


def _rows(run: dict[str, Any], cuts: list[int]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(name, list length, metrics): the run itself at every length, and its curve at one."""
    for k in cuts:
        yield _name(run, run["protocol"].get("logit_adjust")) if k == cuts[0] else "", k, _figures(run)
    watched = str(run["protocol"].get("valid_metric")).rpartition("@")[2]
    for point in run.get("adjusted", ()) if cuts else ():
        k = int(watched) if watched.isdigit() else cuts[-1]
        yield _name(run, point["strength"]), k, point["test"]


def _figures(run: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a run: those of the test items, or of the validation items where it was measured on these."""
    return run["valid" if _on_validation(run) else "test"]


def _on_validation(run: dict[str, Any]) -> bool:
    return run["protocol"].get("measured_on") == "valid"


def _name(run: dict[str, Any], strength: float | None) -> str:
    return f"{run['model']} t={strength:g}" if strength else run["model"]


def caption(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader needs to judge the figures: counts, split, protocol, seeds, and what makes rows unlike."""
    first = runs[0]
    n, split, protocol = first["n"], first["split"], first["protocol"]
    lines = []
    if n:
        whose = "validation" if _on_validation(first) else "test"
        lines.append(
            f"{first['dataset']}: {n['users']:,} {whose} users, {n['head']:,} with a head item held out, {n['tail']:,} "
            f"with a tail item ({n['unseen']:,} of these with an item that training never saw)."
        )
    lines.append(
        f"Head: {split['head_items']:,} of {split['items']:,} items ({_rule(split)}), tail: {split['tail_items']:,}; "
        f"{split['n_tied']:,} items tie at the cut"
        + (f" ({split['cut_count']} interactions)." if split["n_tied"] else ".")
    )
    if any(run["protocol"].get("logit_adjust") or run.get("adjusted") for run in runs):
        lines.append("t: post-hoc logit adjustment, ranked by score - t * log(training share of the item).")
    with_neighbours = {run["model"]: found for run in runs if (found := run["protocol"].get("neighbours"))}
    lines += [
        f"{name}: ranked with what followed the items of a history in training, share {found['share']:g} "
        f"(discount {found['discount']:g}, reach {found['reach']}, recency {found['recency']:g}){_alike(found)}."
        for name, found in with_neighbours.items()
    ]
    if _on_validation(first):
        lines.append("Measured on the validation items.")
    lines.append(
        f"{_ranking(protocol)}, equal scores at their middle rank. "
        f"Seed {', '.join(str(seed) for seed in sorted({r['seed'] for r in runs}))}."
    )
    unlike = {run["model"]: _ranking(run["protocol"]) for run in runs}
    lines += [f"{name}: {ranking}." for name, ranking in unlike.items() if ranking != _ranking(protocol)]
    lengths = {run["model"]: length for run in runs if (length := run["protocol"].get("max_history"))}
    if len(set(lengths.values())) > 1:
        lines.append(
            f"Items of a history that are read: {', '.join(f'{name} {length}' for name, length in lengths.items())}."
        )
    return [*lines, *_warnings(runs)]


def _ranking(protocol: dict[str, Any]) -> str:
    """What was ranked for whom."""
    history = "left out of the ranking" if protocol["mask_history"] else "ranked too"
    ranked = "all items ranked" if protocol["candidates"] == "full" else f"candidates: {protocol['candidates']}"
    return f"{_splitting(protocol)}, {ranked}, the user's own history {history}"


def _alike(neighbours: Mapping[str, Any]) -> str:
    if "fields" not in neighbours:
        return ""
    return f" and what is like them by {', '.join(neighbours['fields'])} ({neighbours['alike']:g})"


def _unseen(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What each run does for the users whose held-out item training never saw, at the list length that it watched."""
    lines = []
    for run in runs:
        k = str(run["protocol"].get("valid_metric")).rpartition("@")[2]
        hit, ndcg = (_figures(run).get(f"unseen{metric}@{k}") for metric in ("hit", "ndcg"))
        if run["n"] and run["n"]["unseen"] and hit is not None and ndcg is not None:
            name = _name(run, run["protocol"].get("logit_adjust"))
            lines.append(f"{name} on items that training never saw: HR@{k} {hit:.4f}, NDCG@{k} {ndcg:.4f}.")
    return lines


def _warnings(runs: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    if any(run["n"] != runs[0]["n"] for run in runs):
        sizes = "; ".join(f"{run['model']} {run['n']}" for run in runs)
        lines.append(f"Not measured on the same users, so do not compare the rows: {sizes}.")
    elif any(run["split"] != runs[0]["split"] for run in runs):
        lines.append("The rows have different head/tail splits, so do not compare their head and tail columns.")
    coarse: dict[str, int] = {}
    for run in runs:
        tied, n = run["protocol"]["tied_users"], run["n"]
        if tied and n and tied > _MANY_TIED * n["users"]:
            coarse[run["model"]] = max(tied, coarse.get(run["model"], 0))
    return lines + [
        f"{name} scores the held-out item like another one for {tied:,} users: ranks are coarse."
        for name, tied in coarse.items()
    ]


def _other_metrics(runs: Sequence[dict[str, Any]]) -> str:
    """The metrics that were asked for and have no column, one line a run."""
    shown = set(_COLUMNS.values()) | {metric.__name__.lower() for metric in METRICS} | {"mrr"}
    lines = []
    for run in runs:
        rest = {key: value for key, value in _figures(run).items() if key.partition("@")[0] not in shown}
        if rest:
            lines.append(f"{run['model']}: " + "  ".join(f"{key} {_shown(value)}" for key, value in rest.items()))
    return "\n".join(lines)


def _splitting(protocol: dict[str, Any]) -> str:
    held_out = {
        "valid_and_test": "Leave one out: each user's last item tests, the one before it validates",
        "test_only": "Leave one out: each user's last item tests",
    }
    split = protocol["split"]
    return held_out.get(split.get("LS")) or f"Split {split}, order {protocol['order']}"


def _rule(split: dict[str, Any]) -> str:
    if split["rule"] == "item_share":
        return f"the most popular {split['ratio']:.0%}"
    if split["rule"] == "interaction_share":
        return f"the fewest items that hold {split['ratio']:.0%} of the interactions"
    return f"more than {split['threshold']:g} training interactions"


def _shown(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
