"""A process for each measurement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.machine import ROOT

# Characters of the log of a failed process that are kept.
_LOG_END = 3000


class Measuring:
    """A worker that has been started. After `wait`: `seconds` that it took; `outcome`: figures, or an error; `log`: the
    end of what a failed one has printed (it names folders of this machine: to show, not to keep)."""

    def __init__(self, job: dict[str, Any], folder: Path, *, limit: float | None, in_turns: bool) -> None:
        """job: what `benchmarks.worker` reads. folder: an empty one, for its files. limit: seconds until it is
        stopped."""
        self._result, self._log, self._limit = folder / "result.json", folder / "log.txt", limit
        self._stopped = False
        self.outcome: dict[str, Any] = {}
        self.seconds, self.log = 0.0, ""
        job_file = folder / "job.json"
        job_file.write_text(json.dumps({**job, "in_turns": in_turns}), encoding="utf-8")
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(job["threads"]))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "benchmarks.worker", str(job_file), str(self._result)]
        self._started = perf_counter()
        with self._log.open("wb") as log:
            pipe = subprocess.PIPE if in_turns else None
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **counts, "PYTHONPATH": path},
                stdin=pipe, stdout=pipe or log, stderr=log,
            )  # fmt: skip
        self._watch = threading.Timer(limit, self._stop) if limit else None
        if self._watch:
            self._watch.daemon = True
            self._watch.start()

    def wait(self) -> None:
        """Returns when the process has ended."""
        code = self.process.wait()
        self.seconds = perf_counter() - self._started
        self.end()
        if code == 0:
            self.outcome = {"figures": json.loads(self._result.read_text(encoding="utf-8"))}
            return
        if self._stopped:
            self.outcome = {"error": f"stopped after {self._limit:.0f} s"}
        else:
            self.outcome = {"error": f"killed by signal {-code}" if code < 0 else "failed"}
        self.log = self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_END:]

    def end(self) -> None:
        """Leave no process behind, whatever has happened."""
        if self._watch:
            self._watch.cancel()
        self.process.kill()
        self.process.wait()

    def _stop(self) -> None:
        self._stopped = True
        self.process.kill()
