"""One measurement in a process of its own: python -m benchmarks.worker JOB.json RESULT.json"""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks import turns


def main() -> None:
    """Measure what the job file says (measure, side, settings, folders, threads, in_turns) and write the figures."""
    _go_first_when_memory_runs_out()
    job_file, result_file = sys.argv[1:]
    # RecBole's Config reads the command line.
    del sys.argv[1:]
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    if job["in_turns"]:
        turns.take_part()
    import torch

    torch.set_num_threads(job["threads"])
    measure = importlib.import_module(f"benchmarks.measure.{job['measure']}").measure
    figures = measure(job["side"], job["settings"], job["folders"])
    Path(result_file).write_text(json.dumps(figures), encoding="utf-8")


def _go_first_when_memory_runs_out() -> None:
    """Have Linux end this process before any other; elsewhere nothing happens."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
