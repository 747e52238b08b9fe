"""`recbole-lpo compare`: methods x datasets x seeds, run where they are not yet, tested and shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from recbole_lpo.compare.execute import execute
from recbole_lpo.compare.results import gather
from recbole_lpo.compare.study import Study, study_of
from recbole_lpo.compare.tables import latex, markdown, runs_csv, table_csv
from recbole_lpo.config import Config
from recbole_lpo.errors import InputError
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.whole_files import write_whole

STUDY = "study.yaml"

HELP = """usage: recbole-lpo compare --models=SASRec,LPOSASRec --datasets=amazon-beauty --seeds=3 [--key=value ...]
       recbole-lpo compare --study=FILE.yaml [--output=DIR] [--jobs=2]

Trains every method on every dataset with every seed, each in a run folder and a process of its own, and writes
table.md, table.tex, table.csv, runs.csv, and report.html, a page with figures. What is finished is never run again
unless its settings or its data have changed: start the same command again after an interruption and it goes on. A run
that fails is reported and stops no other.

options
  --models=A,B        methods by the names of their models; the first one is the baseline of the tests
  --datasets=X,Y      datasets
  --seeds=N           how many (2020, 2021, ...), or a list: --seeds=[1,2,3]. Default: 1
  --study=FILE        yaml with `datasets`, `seeds`, `settings` (of all runs), `baseline`, and `runs`: the name of a
                      row -> its settings, `model` among them. A row with `weights_of: ROW` is not trained: it ranks
                      with the weights of that row, and may set eval_neighbours, eval_logit_adjust, ... of its own.
                      One with `reference_of: ROW` has that row's run of the same seed as its reference policy
  --baseline=ROW      what the others are tested against
  --tuned=DIR[,DIR]   folders of `recbole-lpo tune`: a row takes the best settings found for its model and dataset,
                      but for those that it names itself
  --output=DIR        default: compare/<name of the study file, or the models>
  --jobs=N            runs beside each other, the threads divided among them. Default: 1
  --figures[=DIR]     the figures of the page as PNG and SVG files too. Default: figures/ in the output folder
  --config_files="A B"  yaml files of settings for all runs
  --key=value         any setting of `recbole-lpo run`, for all runs
"""


_NAMING = ("models", "datasets", "seeds", "study", "baseline", "output", "tuned")
OPTIONS = (*_NAMING, "jobs", "figures", "config_files")


def main(given: dict[str, Any], plugins: Sequence[str] = ()) -> int:
    """Run a comparison from the parsed command line; returns the exit code: 1 where a run failed.

    plugins: modules of the user's that every run imports first.
    """
    options = {name: given.pop(name, None) for name in _NAMING}
    jobs, figures = given.pop("jobs", 1), given.pop("figures", False)
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise InputError(f"--jobs={jobs}: must be a whole number >= 1.")
    study = study_of(
        models=_names(options["models"]),
        datasets=_names(options["datasets"]),
        seeds=options["seeds"],
        file=options["study"],
        baseline=options["baseline"],
        settings={**_from_files(given.pop("config_files", "")), **given},
        tuned=_names(options["tuned"]),
    )
    _check_settings(study)
    output = Path(options["output"] or Path("compare") / _default_name(options["study"], study))
    _take(output, study)
    try:
        with FileLock(output / ".lock", timeout=0):
            outcomes = execute(
                study.runs(), output, jobs=jobs, plugins=plugins, report=lambda line: sys.stderr.write(line + "\n")
            )
            failures = [
                f"{one.run.dataset} {one.run.method} seed {one.run.seed}: {one.failure}"
                for one in outcomes
                if one.failure
            ]
            figures_to = output / "figures" if figures is True else Path(str(figures)) if figures else None
            sys.stdout.write(_write_results(study, output, failures, figures_to))
    except Timeout:
        raise InputError(f"output = {output}: another comparison is writing there. Wait for it, or end it.") from None
    return 1 if failures else 0


def _write_results(study: Study, output: Path, failures: Sequence[str], figures_to: Path | None) -> str:
    # Brings matplotlib, which nothing else needs.
    from recbole_lpo.compare.report.write import write_report

    results = gather(study, output)
    folders = {(run.dataset, run.method, run.seed): str(run.folder(output)) for run in study.runs()}
    text = markdown(results, study.baseline, failures)
    written = {
        "table.md": text,
        "table.tex": latex(results),
        "table.csv": table_csv(results),
        "runs.csv": runs_csv(results, lambda *key: folders[key]),
    }
    for name, content in written.items():
        write_whole(output / name, content.encode())
    pages = write_report(results, study, output, failures, figures_to)
    return f"{text}\n{output}: {', '.join([*written, *pages])}\n"


def _take(output: Path, study: Study) -> None:
    """Make the folder ours, or see that it is: it may hold nothing, or an earlier state of this very study."""
    described = {
        "datasets": list(study.datasets),
        "seeds": list(study.seeds),
        "settings": study.settings,
        "runs": study.methods,
        "baseline": study.baseline,
    }
    try:
        if (output / STUDY).is_file():
            earlier = read_yaml(output / STUDY)
            rows, datasets = earlier.get("runs") or {}, earlier.get("datasets") or ()
            goes_on = rows and set(rows) <= set(study.methods) and set(datasets) & set(study.datasets)
            # Its tables would be lost. A study that has lost a row or a dataset still shares runs with what it was.
            if not goes_on and not any(run.folder(output).exists() for run in study.runs()):
                raise InputError(
                    f"output = {output}: belongs to another study (its rows: {', '.join(rows)}). Name another folder."
                )
        elif output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"output = {output}: holds something that is no comparison. Name another folder.")
        output.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
        write_whole(output / STUDY, text.encode())
    except OSError as error:
        raise InputError(f"output = {output}: cannot be written to: {error.strerror}.") from None


def _check_settings(study: Study) -> None:
    """Raise InputError for settings that are wrong before anything is trained."""
    for run in study.runs():
        if run.seed == study.seeds[0]:
            try:
                Config(config_dict=dict(run.settings))
            except InputError as error:
                raise InputError(f"{run.method} on {run.dataset}: {error}") from None


def _from_files(names: str) -> dict[str, Any]:
    return {key: value for name in names.split() for key, value in read_yaml(name).items()}


def _default_name(file: str | None, study: Study) -> str:
    return Path(file).stem if file else "-".join([*study.datasets, *study.methods])[:100]


def _names(text: Any) -> list[str]:
    if isinstance(text, list | tuple):
        return [str(name) for name in text]
    return [name.strip() for name in str(text or "").split(",") if name.strip()]
