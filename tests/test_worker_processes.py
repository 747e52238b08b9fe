"""Processes of our own beside each other."""

from __future__ import annotations

import os

import pytest

from recbole_lpo.worker_processes import environment


@pytest.mark.parametrize(
    ("cores", "jobs", "said", "threads"),
    [(8, 2, None, 4), (8, 3, None, 2), (2, 4, None, 1), (8, 2, "1", 1), (8, 2, "16", 4), (8, 2, "all", 4)],
)
def test_processes_share_the_cores_and_take_no_more_threads_than_the_user_says(cores, jobs, said, threads, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert environment(jobs)["OMP_NUM_THREADS"] == str(threads)
