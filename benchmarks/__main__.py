"""The command line: python -m benchmarks [--quick] [--only=PATTERN] ..."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import Case, cases
from benchmarks.machine import ROOT, machine, versions
from benchmarks.results import RESULTS, ResultFile, stored
from benchmarks.schedule import Job, Schedule, jobs
from benchmarks.table import BUSY, into_readme, report

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
_DATA_FOLDERS = (ROOT / "dataset", ROOT.parent / "shared" / "data")
# RecBole has this one in its own folder.
_WITH_RECBOLE = "ml-100k"


class _Wrong(Exception):
    """Input that the user can mend."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; returns the exit code: 0 done, 1 a case failed, 2 the input was wrong, 130 interrupted."""
    options = _parser().parse_args(argv)
    try:
        return _table() if options.table else _run(options)
    except _Wrong as error:
        sys.stderr.write(f"error: {error}\n")
        return WRONG_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was measured is on file\n")
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    datasets = [name for name in options.datasets.split(",") if name]
    if not datasets:
        raise _Wrong("--datasets names no dataset.")
    every = cases(datasets, quick=options.quick)
    if options.list:
        sys.stdout.write("".join(f"{_listed(case)}\n" for case in _fitting(every, options.only)))
        return DONE
    wanted = _fitting(every, options.only) if options.only else [case for case in every if not case.by_name]
    planned = _of_sides(list(jobs(wanted, options.repeat)), options.sides)
    data = [Path(options.data_path)] if options.data_path else list(_DATA_FOLDERS)
    used = sorted({job.settings["dataset"] for job in planned if "dataset" in job.settings})
    folders = {name: _folder_of(name, data) for name in used}
    folders["synthetic"] = str(Path(tempfile.gettempdir()) / "recbole_lpo-benchmarks-data")
    found, load = machine(), os.getloadavg()[0]
    if load > BUSY:
        _say(f"warning: load {load:.1f}: something else runs on this machine; the table will say so")
    head = {"quick": options.quick, "threads": options.threads or found["cores"], "load": round(load, 2)}
    file = ResultFile(Path(options.results), head | {"machine": found, "versions": versions()})
    older = [] if options.again else stored(Path(options.results))
    well = Schedule(file, older, folders=folders, say=_say).run(planned)
    sys.stdout.write(report(file.content, file.content["measurements"]) + "\n")
    return DONE if well else FAILED


def _fitting(every: Sequence[Case], patterns: str | None) -> list[Case]:
    names = {case.name for case in every}
    asked = [word if word in names else f"*{word}*" for word in (patterns or "*").split(",") if word]
    found = [case for case in every if any(fnmatch.fnmatchcase(case.name, pattern) for pattern in asked)]
    if not found:
        raise _Wrong(f"--only={patterns}: fits no case. Cases: {', '.join(case.name for case in every)}.")
    return found


def _of_sides(every: Sequence[Job], names: str | None) -> list[Job]:
    found = [job for job in every if names is None or job.side.name in names.split(",")]
    if not found:
        known = dict.fromkeys(job.side.name for job in every)
        raise _Wrong(f"--sides={names}: takes part in none of these cases. Sides: {', '.join(known)}.")
    return found


def _listed(case: Case) -> str:
    note = "  (only where --only names it)" if case.by_name else ""
    return f"{case.name}: {', '.join(side.name for side in case.sides)}{note}"


def _folder_of(dataset: str, folders: Sequence[Path]) -> str:
    """The data path to hand over for a dataset."""
    for folder in folders:
        if (folder / dataset / f"{dataset}.inter").is_file():
            return str(folder.resolve())
    if dataset == _WITH_RECBOLE:
        return str(folders[0].resolve())
    raise _Wrong(
        f"dataset = {dataset}: {dataset}/{dataset}.inter is not in {' or '.join(map(str, folders))}. Make it with "
        f"`recbole-lpo prepare --dataset={dataset}`, name its folder with --data_path, or leave it out: "
        f"--datasets={_WITH_RECBOLE}."
    )


def _table() -> int:
    changed = into_readme(ROOT / "README.md", stored(RESULTS))
    _say("README.md: table written anew" if changed else "README.md: table is up to date")
    return DONE


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--quick", action="store_true", help="a few minutes: fewer steps, models and sizes; no figures to quote")
    add(
        "--only",
        metavar="PATTERN",
        help="cases so named, or with this in their names (commas between); * fits anything",
    )
    add("--sides", metavar="NAMES", help="only these sides of the cases (commas between): ours, recbole, ...")
    add("--list", action="store_true", help="the cases, and who is measured in each")
    add("--table", action="store_true", help="write the README's table from the newest full results, measure nothing")
    add("--datasets", default=f"amazon-beauty,{_WITH_RECBOLE}", help="comma-separated (default: %(default)s)")
    add("--data_path", help="folder of the datasets (default: dataset, then ../shared/data)")
    add("--threads", type=_count, help="threads of torch (default: all cores)")
    add("--repeat", type=_count, help="repetitions of every case (default: each case's own)")
    add("--results", default=str(RESULTS), help="where results are kept (default: benchmarks/results)")
    add("--again", action="store_true", help="measure what takes hours again even where a result is on file")
    return parser


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number, 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
