"""A million users with one item each: bounded memory, through the real command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

USERS = 1_000_000
# What `prepare` promises: 64 bytes an interaction and 200 for each user and item; beside it the libraries themselves.
_MEGABYTES = (64 * USERS + 200 * USERS) / 1e6
_COMMAND = """
import resource, sys
from recbole_lpo.cli import main
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = main(sys.argv[1:])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3, file=sys.stderr)
sys.exit(code)
"""


def run(*arguments: str) -> tuple[int, str, float]:
    """(exit code, last line but one of stderr, megabytes above the start) of a command in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _COMMAND, *arguments], capture_output=True, text=True, check=False)
    *said, megabytes = done.stderr.splitlines()
    return done.returncode, said[-1] if said else "", float(megabytes)


@pytest.mark.long
def test_a_million_users_with_one_item_each_are_prepared_in_bounded_memory_and_refused_for_training_in_one_line():
    with Path("raw.csv").open("w") as file:
        file.write("user,item,time\n")
        file.writelines(f"u{user},i{user % 1000},{user}\n" for user in range(USERS))
    code, said, megabytes = run("prepare", "--source=csv", "--input", "raw.csv", "--name=wide", "--k_core=0", "--quiet")
    assert (code, said) == (0, "")
    assert megabytes < 1.5 * _MEGABYTES
    code, said, megabytes = run("run", "--model=LPOSASRec", "--dataset=wide", "--quiet")
    assert code == 2
    assert said.startswith("error: wide: no user has enough interactions")
    assert megabytes < 3_000
