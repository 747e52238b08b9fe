"""Signals: the step that is running is finished, and a second signal does not wait for it."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from recbole_lpo.interruption import Interrupted, interruptible, whole_steps
from tests.run_folders import processes

pytestmark = pytest.mark.once


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_outside_of_a_step_a_signal_ends_the_block_at_once(number, code):
    with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as caught, interruptible():
        os.kill(os.getpid(), number)
        raise AssertionError("it went on")
    assert caught.value.exit_code == code


def test_within_a_step_a_signal_waits_for_the_optimizer():
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.ones(1)
    with pytest.raises(Interrupted), interruptible(), whole_steps([optimizer]):
        os.kill(os.getpid(), signal.SIGTERM)
        optimizer.step()
        raise AssertionError("it went on")
    assert weight.item() == -1.0


def test_where_no_optimizer_steps_a_signal_waits_for_the_end_of_the_block():
    done = False
    with pytest.raises(Interrupted), interruptible(), whole_steps([]):
        os.kill(os.getpid(), signal.SIGTERM)
        done = True
    assert done


def test_an_optimizer_steps_freely_after_the_block():
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with interruptible(), whole_steps([optimizer]):
        pass
    optimizer.step()


def _signal_twice():
    with interruptible(), whole_steps([]):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)


def test_a_second_signal_ends_the_process_at_once():
    process = processes.Process(target=_signal_twice)
    process.start()
    process.join(300)
    assert process.exitcode == 143


def test_in_another_thread_the_handlers_stay_those_of_the_process():
    seen = []

    def run():
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
