"""The reference policy that DPO and its kin compare with: one epoch of the backbone, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from recbole_lpo.run_folder import METRICS


def reference_for(settings: dict[str, Any], folders: dict[str, str]) -> str:
    """The run folder of the reference policy of a case. It is trained in a process of its own, so that its memory does
    not count."""
    backbone, dataset, length = settings["backbone"], settings["dataset"], settings["max_length"]
    folder = Path(folders["scratch"]) / f"reference-{backbone}-{dataset}-{length}"
    if not (folder / METRICS).exists():
        command = [
            sys.executable, str(ROOT / "run_recbole_lpo.py"), f"--model={backbone}", f"--dataset={dataset}", "--quiet",
            f"--data_path={folders[dataset]}", f"--MAX_ITEM_LIST_LENGTH={length}", "--epochs=1", "--eval_step=0",
            "--use_gpu=False", f"--run_dir={folder}",
        ]  # fmt: skip
        subprocess.run(command, check=True)
    return str(folder)
