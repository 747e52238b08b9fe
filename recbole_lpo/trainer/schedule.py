"""The learning rate over the steps of a run."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def rate_factor(step: int, *, total_steps: int, warmup_ratio: float, schedule: str) -> float:
    """What the base learning rate is multiplied with at a step.

    Rises linearly from 1 / warm-up steps to 1 over the first `warmup_ratio` of all steps, then stays (`constant`) or
    falls to 0 at the last step (`cosine`, `linear`). step from 0; returns a number in [0, 1].
    """
    warmup_steps = round(warmup_ratio * total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1 - progress


def attach_schedule(
    optimizer: Optimizer, *, total_steps: int, warmup_ratio: float, schedule: str, done_steps: int = 0
) -> LambdaLR | None:
    """Have the optimizer follow the schedule by itself, after each of its steps.

    RecBole's training loops know no scheduler; a hook on the optimizer serves all of them. Returns the scheduler, or
    None where the rate never changes.
    """
    if warmup_ratio == 0 and schedule == "constant":
        return None

    def factor(step: int) -> float:
        return rate_factor(step, total_steps=total_steps, warmup_ratio=warmup_ratio, schedule=schedule)

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    scheduler = LambdaLR(optimizer, factor, last_epoch=done_steps - 1)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return scheduler
