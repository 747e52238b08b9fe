"""Freed memory is kept for the next step where the C library can, and nothing happens elsewhere."""

from __future__ import annotations

import ctypes
import platform

import pytest

from recbole_lpo.trainer.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_glibc_keeps_freed_memory():
    assert keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()
