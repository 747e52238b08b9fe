"""Freed memory is kept for the next step where the C library can; the peak is told where the system knows it."""

from __future__ import annotations

import ctypes
import platform

import pytest
import torch

from recbole_lpo.trainer import memory
from recbole_lpo.trainer.memory import keep_freed_memory, peak_memory_mb


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_glibc_keeps_freed_memory():
    assert keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()


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
