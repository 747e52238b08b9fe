"""What the parts of the loss do to head and tail targets, summed on the device and read once an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.distributed.ranks import ALONE, Ranks

GROUP_NAMES = ("head", "tail")
PARTS = ("ce", "pref", "prob", "grad_ce", "grad_pref")


class LossMonitor:
    """Sums over an epoch, by the group of the target; no device sync until `pop`."""

    def __init__(self, *, of_preferences: bool = True) -> None:
        """of_preferences: whether the loss has a preference term."""
        self._of_preferences = of_preferences
        self._sums: Tensor | None = None
        self._steps: list[Tensor] = []

    def add(self, is_tail: Tensor, **parts: Tensor) -> None:
        """Add rows. is_tail (B,) bool; each part (B,), one of PARTS; an absent part counts 0."""
        rows = [torch.ones_like(parts["ce"])] + [parts.get(name, torch.zeros_like(parts["ce"])) for name in PARTS]
        stacked = torch.stack(rows).detach().double()
        group = torch.stack([~is_tail, is_tail]).double()
        sums = stacked @ group.T
        self._steps.append(sums)
        self._sums = sums if self._sums is None else self._sums + sums

    def parts_of(self, step: int) -> dict[str, float]:
        """Means of the rows of one step since the last `pop`, counted from 0: `<group>/ce`, and `/pref` of a preference
        model. Empty for a step that added no rows."""
        if step >= len(self._steps):
            return {}
        n, *parts = self._steps[step].tolist()
        named = dict(zip(PARTS, parts, strict=True))
        return {
            f"{group}/{part}": named[part][column] / n[column]
            for column, group in enumerate(GROUP_NAMES)
            for part in (("ce", "pref") if self._of_preferences else ("ce",))
            if n[column]
        }

    def pop(self, ranks: Ranks = ALONE) -> dict[str, float]:
        """Means of the rows since the last call, and a fresh start; over all of `ranks`, each of which calls it.

        Keys: `<group>/n`, and where the group has rows `<group>/ce` (nats), `/prob` (of the target); of a preference
        model also `/pref` (nats) and `/pref_gradient_share`: of the pull on the target's own score, the share that the
        weighted preference term has.
        """
        sums, self._sums = self._sums, None
        self._steps.clear()
        if ranks.several:
            # Summed on the CPU: a process that had no row knows of no device.
            sums = ranks.sum(torch.zeros(1 + len(PARTS), 2, dtype=torch.float64) if sums is None else sums.cpu())
        if sums is None:
            return {}
        table = sums.tolist()
        found = {}
        for column, group in enumerate(GROUP_NAMES):
            n, ce, pref, prob, grad_ce, grad_pref = (row[column] for row in table)
            found[f"{group}/n"] = n
            if n:
                found |= {f"{group}/ce": ce / n, f"{group}/prob": prob / n}
                if self._of_preferences:
                    pull = grad_ce + grad_pref
                    found[f"{group}/pref"] = pref / n
                    found[f"{group}/pref_gradient_share"] = grad_pref / pull if pull else 0.0
        return found
