"""Freed memory is kept for the next step where the C library can; the peak is told where the system knows it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest
import torch

from recbole_lpo.trainer import memory
from recbole_lpo.trainer.memory import keep_few_kernels, keep_freed_memory, peak_memory_mb

pytestmark = pytest.mark.once
_CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_glibc_keeps_freed_memory():
    assert keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()


_MANY_SHAPES = """
import torch
from recbole_lpo.trainer import memory

{prepared}
activate = torch.nn.functional.gelu
activate(torch.zeros(9, 64))
before = memory.peak_memory_mb(torch.device("cpu"))
for n_rows in range(100, 400):
    activate(torch.zeros(n_rows, 64))
print(memory.peak_memory_mb(torch.device("cpu")) - before)
"""


@pytest.mark.skipif(memory.resource is None, reason="the system does not count")
def test_tensors_of_many_shapes_leave_few_kernels_behind():
    def growth(prepared: str) -> float:
        script = _MANY_SHAPES.format(prepared=prepared)
        variables = {key: value for key, value in os.environ.items() if key != _CAPACITY}
        return float(subprocess.check_output([sys.executable, "-c", script], env=variables, text=True).split()[-1])

    kept = growth("")
    if kept < 20:
        pytest.skip("this torch computes GELU without oneDNN")
    assert growth("memory.keep_few_kernels()") < kept / 4


@pytest.mark.parametrize(("before", "after"), [(None, "16"), ("300", "300")])
def test_the_number_of_kernels_that_a_user_has_set_stays(before, after, monkeypatch):
    monkeypatch.delenv(_CAPACITY, raising=False)
    # So that the original is put back, whatever is set in between.
    monkeypatch.setenv(_CAPACITY, before or "")
    if before is None:
        del os.environ[_CAPACITY]
    keep_few_kernels()
    assert os.environ[_CAPACITY] == after


@pytest.mark.skipif(memory.resource is None, reason="the system does not count")
def test_the_peak_rises_by_what_is_allocated_and_never_falls():
    before = peak_memory_mb(torch.device("cpu"))
    held = torch.ones(round(before + 200) * 10**6, dtype=torch.uint8)
    peak = peak_memory_mb(torch.device("cpu"))
    assert peak >= len(held) / 1e6
    del held
    assert peak_memory_mb(torch.device("cpu")) >= peak


def test_there_is_no_peak_where_the_system_does_not_count(monkeypatch):
    monkeypatch.setattr(memory, "resource", None)
    assert peak_memory_mb(torch.device("cpu")) is None
