"""Tests that the tables of `compare` do not have: along the adjustment curve, and rows with LPO against those without.

    python results/study/along_the_curve.py OUTPUT

OUTPUT: the folder that `recbole-lpo compare --study=results/study/main.yaml --output=OUTPUT` has filled. Prints, for
each dataset, the difference in NDCG@10, its 95 % interval over users, and p over users and over seeds, both after Holm
over the comparisons of a table.
"""

import sys
from pathlib import Path

import numpy as np

from recbole_lpo.compare.paired import Comparison, paired_tests
from recbole_lpo.compare.results import DatasetResults, Row, gather
from recbole_lpo.compare.study import study_of

BOTH = "categories, neighbours 0.5"
WITH_LPO = {
    "SASRec": "LPO", "categories": "LPO, categories", "neighbours 0.5": "LPO, neighbours 0.5", BOTH: f"LPO, {BOTH}",
}  # fmt: skip
STRENGTHS = (0.3, 0.4, 0.5, 0.7)


def compared(ours: Row, at: float, theirs: Row, their_at: float, group: str) -> Comparison:
    """NDCG@10 of two rows under adjustments of these strengths; group: "" or tail."""
    difference = ours.users.value("ndcg", 10, strength=at) - theirs.users.value("ndcg", 10, strength=their_at)
    member = ours.users.in_tail if group else np.full(len(difference), True)
    key = f"{group}ndcg@10"
    seeds = [
        dict(zip([run["seed"] for run in row.runs], row.at(t, key), strict=True))
        for row, t in ((ours, at), (theirs, their_at))
    ]
    return Comparison(difference, member, *seeds)


def table(title: str, of: list[tuple[str, float, str, float]], one: DatasetResults) -> list[str]:
    """A line for each pair (row, its t, other row, its t), overall and on the tail; one Holm correction for all."""
    named = [(pair, group) for pair in of for group in ("", "tail")]
    comparisons = [compared(one.row(a), t, one.row(b), u, group) for (a, t, b, u), group in named]
    lines = [f"{one.dataset}, {title}"]
    for ((a, t, b, u), group), test in zip(named, paired_tests(comparisons, seed=0), strict=True):
        lines.append(
            f"  {a} (t {t:g}) - {b} (t {u:g}), {group or 'all'}: {test.mean:+.4f} [{test.low:+.4f}, {test.high:+.4f}] "
            f"p {test.p_users:.4f} / {test.p_seeds:.4f}"
        )
    return lines


def main(output: str) -> None:
    study = study_of(file=str(Path(__file__).with_name("main.yaml")))
    for one in gather(study, Path(output)):
        at_no_loss = {row.method: row.no_loss.strength if row.no_loss else 0.0 for row in one.rows}
        adds = [
            (ours, at, theirs, their_at)
            for theirs, ours in WITH_LPO.items()
            for at, their_at in sorted({(0.0, 0.0), (at_no_loss[ours], at_no_loss[theirs])})
        ]
        along = [(row, t, "SASRec", 0.0) for row in (BOTH, WITH_LPO[BOTH]) for t in STRENGTHS]
        sys.stdout.write("\n".join([*table("what LPO adds", adds, one), *table("along the curve", along, one), ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
