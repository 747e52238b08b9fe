"""A model that scores items alike: its ranks are those of nobody's choice."""

from __future__ import annotations

from recbole_lpo.evaluator.groups import Evaluation


def collapse_warning(evaluation: Evaluation | None) -> str | None:
    """A sentence where, for half of the users or more, the held-out item scores like most other items; else None."""
    if evaluation is None:
        return None
    users, collapsed = len(evaluation.rank), evaluation.n_collapsed
    if not users or 2 * collapsed < users:
        return None
    return (
        f"the model has collapsed: for {collapsed:,} of {users:,} users the held-out item scores the same as most "
        "other items. They share the middle rank, and the figures say nothing about the model."
    )
