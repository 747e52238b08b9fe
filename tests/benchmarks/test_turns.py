"""Processes whose steps go in turns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.processes import Measuring
from benchmarks.turns import hand_over, lead
from tests.conftest import ROOT

_WORKER = """
import sys, time
from benchmarks import turns
name, steps, log = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "ab", buffering=0)
turns.take_part()
print("what a library prints")
for step in range(steps):
    log.write(name.encode())
    time.sleep(0.01)
    log.write(name.encode() + b" ")
    waited = turns.hand_over()
    assert waited > 0
if name == "c":
    raise RuntimeError("fails in its turn")
"""


def _start(name: str, steps: int, log) -> subprocess.Popen:
    command = [sys.executable, "-c", _WORKER, name, str(steps), str(log)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


def test_one_step_at_a_time_each_in_its_turn_until_all_have_ended(tmp_path):
    log = tmp_path / "log"
    workers = [_start(name, steps, log) for name, steps in (("a", 3), ("b", 1), ("c", 2))]
    lead(workers)
    assert [worker.wait() for worker in workers] == [0, 0, 1]
    assert log.read_text().split() == ["aa", "bb", "cc", "aa", "cc", "aa"]


def test_a_worker_ends_when_whoever_leads_it_is_gone(tmp_path):
    worker = _start("a", 10**9, tmp_path / "log")
    worker.stdin.close()
    assert worker.wait(timeout=60) == 1


def test_without_turns_a_step_waits_for_nobody():
    assert hand_over() == 0.0


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_process_that_hangs_is_stopped_and_said_to_be(tmp_path, in_turns):
    one = Measuring({"threads": 1}, tmp_path, limit=0.2, in_turns=in_turns)
    one.wait()
    assert one.outcome == {"error": "stopped after 0 s"} and one.seconds < 60


def test_a_process_that_fails_leaves_the_end_of_its_log_and_no_figures(tmp_path):
    one = Measuring({"threads": 1}, tmp_path, limit=None, in_turns=False)
    one.wait()
    assert one.outcome == {"error": "failed"} and "KeyError" in one.log
