"""The log of one run: a file in its folder, and nothing of the run before it."""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class RunLogFile(logging.FileHandler):
    """`train.log` of a run folder. RecBole's `init_logger` sends a process's second run to the first one's file."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir / "train.log", encoding="utf-8")
        self.run_dir = run_dir
        self.writers: list[SummaryWriter] = []
        self.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(message)s"))

    def close(self) -> None:
        """End the TensorBoard writers of the run too: each has a thread and an open file."""
        for writer in self.writers:
            writer.close()
        super().close()


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _COLOUR.sub("", super().format(record))


@contextmanager
def run_log(run_dir: Path, *, quiet: bool) -> Iterator[None]:
    """Log a run into its folder, and to stderr (warnings only where quiet), for the time of the block."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(logging.Formatter("%(message)s") if sys.stderr.isatty() else _PlainFormatter("%(message)s"))
    screen.setLevel(logging.WARNING if quiet else logging.INFO)
    file = RunLogFile(run_dir)
    root.handlers = [screen, file]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)
        file.close()


@contextmanager
def no_log() -> Iterator[None]:
    """Drop what is logged in the block: one of several processes does that for all."""
    root = logging.getLogger()
    before, root.handlers = root.handlers[:], [logging.NullHandler()]
    try:
        yield
    finally:
        root.handlers = before


class _NoWriter:
    """Takes what a trainer writes for TensorBoard and drops it."""

    def add_scalar(self, *_, **__) -> None:
        """Nothing."""

    add_hparams = add_scalar
    flush = add_scalar


_writing = [True]


@contextmanager
def without_tensorboard() -> Iterator[None]:
    """Trainers made in the block write no events and no folder for them: a model that is loaded trains no more."""
    _writing.append(False)
    try:
        yield
    finally:
        _writing.pop()


def tensorboard_writer(recbole_makes, logger: logging.Logger) -> SummaryWriter | _NoWriter:
    """RecBole's `get_tensorboard`, but into the run folder where there is one.

    RecBole writes to `log_tensorboard/` in the working directory, all runs of a process into the first one's folder.
    """
    if not _writing[-1]:
        return _NoWriter()
    for handler in logger.handlers:
        if isinstance(handler, RunLogFile):
            handler.writers.append(SummaryWriter(str(handler.run_dir / "tensorboard")))
            return handler.writers[-1]
    return recbole_makes(logger)


def epoch_line(record: dict[str, Any], valid_metric: str) -> str:
    """The line of an epoch in the log; record: one of the trainer's `history`."""
    parts = [f"epoch {record['epoch']:3d}", f"{record['seconds']:6.1f} s", f"loss {record['train_loss']:.4f}"]
    for group in ("head", "tail"):
        if f"{group}/ce" in record:
            parts.append(f"{group} ce {record[f'{group}/ce']:.3f} p {record[f'{group}/prob']:.4f}")
        if f"{group}/pref" in record:
            parts.append(f"pref {record[f'{group}/pref']:.3f} share {record[f'{group}/pref_gradient_share']:.3f}")
    score = record.get(f"valid/{valid_metric}")
    if score is not None:
        tail = record.get(f"valid/tail{valid_metric}", math.nan)
        shown = f"valid {valid_metric} {score:.4f}" + (f" (tail {tail:.4f})" if tail == tail else "")
        parts.append(shown + (" best" if record["best"] else ""))
    return "  ".join(parts)
