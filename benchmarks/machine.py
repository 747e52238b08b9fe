"""What a result depends on beside the code: machine and versions. Names no host, user or folder."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = ("torch", "numpy", "pandas", "recbole")


def machine() -> dict[str, Any]:
    """CPU model, cores, memory in GB, operating system, and an `id` made of these."""
    found = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory_gb(), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "device": "cpu",
    }
    return {"id": hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:6], **found}


def memory_gb() -> float:
    """The memory of the machine, in GB (10^9 bytes)."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def versions() -> dict[str, str]:
    """Python, the libraries, recbole_lpo and, in a checkout, its revision ("+" where files were changed since)."""
    found = {"python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}}
    version = (ROOT / "recbole_lpo" / "version.py").read_text(encoding="utf-8")
    found["recbole_lpo"] = version.partition('"')[2].partition('"')[0]
    revision = _git("rev-parse", "--short", "HEAD")
    if revision:
        code = ("recbole_lpo", "properties", "benchmarks/*.py")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *code)
        found["revision"] = revision + ("+" if changed else "")
    return found


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
