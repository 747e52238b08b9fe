"""One run of a comparison in a process of its own: `python -m recbole_lpo.compare.worker FOLDER`, told by stdin.

A run that fails, or that the system kills for want of memory, takes no other run with it. The process ends with the one
that started it, however that one ends: its standard input is then closed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from recbole_lpo.errors import InputError, RunError
from recbole_lpo.interruption import Interrupted, interruptible
from recbole_lpo.measured_run import measure_again
from recbole_lpo.quick_start import run_to_the_end
from recbole_lpo.user_backbones import import_plugins
from recbole_lpo.worker_processes import end_with_the_parent


def main() -> int:
    """Read `settings`, `plugins` and `weights_of` (a run folder, or null) from the first line of stdin, and train, or
    rank with those weights; the exit code is that of a run."""
    told = json.loads(sys.stdin.readline())
    end_with_the_parent()
    try:
        with interruptible():
            import_plugins(told["plugins"])
            if told["weights_of"]:
                measure_again(Path(told["weights_of"]), Path(sys.argv[1]), told["settings"])
            else:
                run_to_the_end({**told["settings"], "run_dir": sys.argv[1]}, quiet=True)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except RunError as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    except Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
