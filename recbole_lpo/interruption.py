"""Ctrl-C and SIGTERM: the step that is running is finished, the second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.optim import Optimizer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal has asked the process to end. The command line prints the message and exits with `exit_code`.

    number: of the signal.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message or f"interrupted by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As a shell shows a process that a signal has ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class _Asked:
    """The signal that has come, if any, and whether it has to wait for the end of a step."""

    number: int | None = None
    in_steps = False
    process: int | None = None


_asked = _Asked()


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted in the block: at once, or at the end of a step within `whole_steps`.

    Only in the main thread, where python handles signals; elsewhere, and within such a block, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _on_signal:
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in _SIGNALS}
    _asked.number, _asked.process = None, os.getpid()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def whole_steps(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """While the block runs a signal waits until an optimizer has made its step, or until the block ends."""
    hooks = [optimizer.register_step_post_hook(_end_of_step) for optimizer in optimizers]
    _asked.in_steps = True
    try:
        yield
    finally:
        _asked.in_steps = False
        for hook in hooks:
            hook.remove()
    _end_of_step()


def _end_of_step(*_) -> None:
    if _asked.number is not None:
        raise Interrupted(_asked.number)


def _on_signal(number: int, _frame) -> None:
    # A worker of a loader inherits this handler and has nothing to finish.
    if _asked.number is not None or os.getpid() != _asked.process:
        os._exit(128 + number)
    _asked.number = number
    if not _asked.in_steps:
        raise Interrupted(number)
