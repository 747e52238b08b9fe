"""`recbole-lpo doctor`: what is installed, what was patched, and whether the numbers come out right."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from tabulate import tabulate

from recbole_lpo import compat, self_check
from recbole_lpo.compat.versions import installed
from recbole_lpo.core.precision import cpu_has_bfloat16
from recbole_lpo.version import __version__

_NEEDED = ("recbole", "torch", "numpy", "scipy", "pandas", "safetensors", "matplotlib")
_OPTIONAL = ("optuna", "hyperopt", "pyarrow", "ray")
_NOT_INSTALLED = "not installed"
_GIB = 2**30
_IN_WORDS = {True: "yes", False: "no: item_softmax = chunked_bfloat16 and enable_amp are slow on it", None: "unknown"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `recbole-lpo doctor`."""
    parser.add_argument("--json", action="store_true", help="write the report as JSON")


def main(args: argparse.Namespace) -> int:
    """Write the report; 0 where every check passed, else 1."""
    found = report()
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if args.json else _as_text(found))
    return 0 if found["ok"] else 1


def report() -> dict[str, Any]:
    """All that is known about this installation, ready for JSON. `ok` tells whether every check passed."""
    # The checks come first: the one that imports RecBole lets the patches that wait for it be made.
    checks = [_outcome(name, check) for name, check in _CHECKS.items()]
    return {
        "ok": all(check["ok"] for check in checks),
        "versions": _versions(),
        "cpu_threads": {"used_by_torch": torch.get_num_threads(), "available": _available_cpus()},
        "cpu_bfloat16": cpu_has_bfloat16(),
        "gpus": _gpus(),
        "free_disk_gib": round(shutil.disk_usage(os.curdir).free / _GIB, 1),
        "patches": [asdict(patch) for patch in compat.patches()],
        "checks": checks,
    }


def _versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "recbole_lpo": __version__}
    return own | {name: installed(name) or _NOT_INSTALLED for name in (*_NEEDED, *_OPTIONAL)}


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[dict[str, Any]]:
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory_gib": round(device.total_memory / _GIB, 1)} for device in devices]


def _recbole_can_be_imported() -> str:
    """RecBole's own entry points."""
    import recbole.quick_start

    return "" if hasattr(recbole.quick_start, "run_recbole") else "recbole.quick_start has no run_recbole"


_CHECKS: dict[str, Callable[[], str | None]] = {
    "import of RecBole": _recbole_can_be_imported,
    "loss of every objective": self_check.losses_are_right,
    "softmax over all items": self_check.softmax_is_right,
    "rank of the target": self_check.ranks_are_right,
    "draws of rivals": self_check.draws_are_right,
    "training, saving and loading": self_check.a_run_is_right,
    "GPU": self_check.a_gpu_agrees_with_the_cpu,
    "writing files here": self_check.a_file_can_be_written,
}


def _outcome(name: str, check: Callable[[], str | None]) -> dict[str, Any]:
    """A check finds a problem or an empty text, or None where there is nothing to check; an error in it is a problem
    too, so that the report still comes out."""
    try:
        problem = check()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    detail = "none here, not checked" if problem is None else problem or "ok"
    return {"name": name, "ok": not problem, "detail": detail}


def _as_text(found: dict[str, Any]) -> str:
    threads = found["cpu_threads"]
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in found["gpus"]) or "none"
    facts = [
        *found["versions"].items(),
        ("CPU threads", f"{threads['used_by_torch']} used by torch, {threads['available']} available"),
        ("bfloat16 in the CPU", _IN_WORDS[found["cpu_bfloat16"]]),
        ("GPU", gpus),
        ("free disk here", f"{found['free_disk_gib']} GiB"),
    ]
    columns = ("name", "status", "guard", "reason", "detail")
    patches = [[patch[column] for column in columns] for patch in found["patches"]]
    checks = [
        (check["name"], check["detail"] if check["ok"] else f"FAILED: {check['detail']}") for check in found["checks"]
    ]
    headers = ["patch", "status", "for", "reason", "detail"]
    tables = (
        tabulate(facts, tablefmt="plain", disable_numparse=True),
        tabulate(patches, headers, tablefmt="simple", maxcolwidths=[None, None, 20, 44, 34]),
        tabulate(checks, ["check", "result"], tablefmt="simple"),
    )
    return "\n\n".join(tables) + "\n"
