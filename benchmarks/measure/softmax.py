"""The loss over a whole catalogue, forward and backward, without any model around it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import memory, turns
from recbole_lpo.core.item_softmax import target_nll
from recbole_lpo.trainer.memory import keep_freed_memory

# Of 256 to 8,192 at a time the products alone are mostly fastest so: scores of 2,048 targets stay in the cache.
_COLUMNS = 256


def measure(side: str, settings: dict[str, Any], folders: dict[str, str]) -> dict[str, float]:
    """settings: `targets`, `items`, `width`; `warm_steps`, which are not counted, then `min_steps` and more until
    `seconds` have passed. side: `ours`, `bfloat16` (ours with the products of the gradient in it), `dense` (torch's
    cross_entropy), `linear_cross_entropy` (torch's, in chunks), or `matmuls`: the three that any exact loss needs,
    chunked, and nothing else.

    All keep freed memory, as runs of ours do, so that only the computation differs. above_mb: peak over the inputs and
    their gradients.
    """
    keep_freed_memory()
    draw = torch.Generator().manual_seed(2020)
    shape = (settings["items"], settings["width"])
    table = (torch.randn(shape, generator=draw) * 0.02).requires_grad_()
    hidden = torch.randn((settings["targets"], settings["width"]), generator=draw).requires_grad_()
    target = torch.randint(1, settings["items"], (settings["targets"],), generator=draw)
    memory.start_again()
    before, seconds, warm = memory.resident(), [], settings["warm_steps"]
    while len(seconds) < warm + settings["min_steps"] or sum(seconds[warm:]) < settings["seconds"]:
        table.grad = hidden.grad = None
        started = perf_counter()
        _STEPS[side](hidden, table, target)
        seconds.append(perf_counter() - started)
        turns.hand_over()
    counted = seconds[warm:]
    gradients = sum(leaf.grad.numel() * leaf.grad.element_size() for leaf in (table, hidden)) / 1e6
    return {
        "step_seconds": sum(counted) / len(counted),
        "steps": len(counted),
        "above_mb": memory.peak() - before - gradients,
        "peak_mb": memory.peak(),
    }


def _ours(hidden: Tensor, table: Tensor, target: Tensor) -> None:
    target_nll(hidden, table, target).mean().backward()


def _bfloat16(hidden: Tensor, table: Tensor, target: Tensor) -> None:
    target_nll(hidden, table, target, method="chunked_bfloat16").mean().backward()


def _dense(hidden: Tensor, table: Tensor, target: Tensor) -> None:
    functional.cross_entropy(hidden @ table.T, target).backward()


def _linear_cross_entropy(hidden: Tensor, table: Tensor, target: Tensor) -> None:
    options = torch.nn.LinearCrossEntropyOptions()
    functional.linear_cross_entropy(hidden, table, target, options=options).backward()


@torch.no_grad()
def _matmuls(hidden: Tensor, table: Tensor, target: Tensor) -> None:
    hidden.grad, table.grad = torch.zeros_like(hidden), torch.empty_like(table)
    # New memory for every chunk would take longer than what is computed in it needs.
    place = hidden.new_empty(len(hidden) * min(_COLUMNS, len(table)))
    for rows, gradient in zip(table.split(_COLUMNS), table.grad.split(_COLUMNS), strict=True):
        scores = place[: len(hidden) * len(rows)].view(len(hidden), len(rows))
        torch.mm(hidden, rows.T, out=scores)
        hidden.grad.addmm_(scores, rows)
        torch.mm(scores.T, hidden, out=gradient)


_STEPS = {
    "ours": _ours,
    "bfloat16": _bfloat16,
    "dense": _dense,
    "linear_cross_entropy": _linear_cross_entropy,
    "matmuls": _matmuls,
}
