"""The files of a search: trials.csv, best.yaml or the front, tune.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_lpo.run_folder import plain_settings
from recbole_lpo.tune.claims import FAILURE
from recbole_lpo.tune.outcome import Winner, ended, tally, values_text
from recbole_lpo.tune.plan import Plan
from recbole_lpo.tune.storage import import_optuna
from recbole_lpo.tune.trial_run import settings_of
from recbole_lpo.valid_metric import parse_valid_metric
from recbole_lpo.whole_files import write_whole

BEST, FRONT, PLAN = "best.yaml", "front", "tune.json"
_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
# With fewer finished trials the importance of a setting is noise.
_ENOUGH_FOR_IMPORTANCE = 10


def write_report(study, plan: Plan, found: Sequence[Winner], output: Path) -> str:
    """Write the files of a search; returns the text of tune.md.

    best.yaml holds the winner's settings, for `--config_files`; of several objectives there is a file for each trial of
    the front instead, front/<trial>.yaml.
    """
    trials = study.get_trials(deepcopy=False)
    text = _markdown(study, plan, trials, found)
    files = {"trials.csv": _trials_csv(plan, trials), "tune.md": text}
    if len(plan.objectives) > 1:
        (output / FRONT).mkdir(exist_ok=True)
        for old in (output / FRONT).glob("*.yaml"):
            old.unlink()
    for winner in found:
        name = BEST if len(plan.objectives) == 1 else f"{FRONT}/{winner.number:04d}.yaml"
        files[name] = _settings_file(plan, winner, trials)
    for name, content in files.items():
        write_whole(output / name, content.encode())
    return text


def _trials_csv(plan: Plan, trials: Sequence[Any]) -> str:
    """A line for each trial that counts and has ended; the objectives and metrics are of validation items."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    rows = ended(trials)
    metrics = sorted({name for trial in rows for name in trial.user_attrs.get("valid", {})})
    names = [*plan.objectives, *plan.space, "epochs", "seconds", "folders", "failure"]
    lines.writerow(["trial", "state", *names, *(f"valid/{name}" for name in metrics)])
    for trial in rows:
        attributes = trial.user_attrs
        values = trial.values if trial.state.name == "COMPLETE" else [""] * len(plan.objectives)
        settings = settings_of(trial.params, plan.space)
        about = [attributes.get("epochs", trial.last_step or ""), attributes.get("seconds", "")]
        about += [" ".join(attributes.get("folders", ())), attributes.get(FAILURE, "")]
        valid = [attributes.get("valid", {}).get(name, "") for name in metrics]
        drawn = [settings.get(name, "") for name in plan.space]
        lines.writerow([trial.number, _STATES[trial.state.name], *values, *drawn, *about, *valid])
    return text.getvalue()


def _settings_file(plan: Plan, winner: Winner, trials: Sequence[Any]) -> str:
    named = {"model": plan.model, "dataset": plan.dataset, "seed": plan.seeds[0]}
    settings = {**plan.settings, **winner.settings, **named}
    if "data_path" in settings:
        settings = plain_settings(settings)
    return (
        f"# Trial {winner.number} of {len(ended(trials))}: {values_text(winner.values, plan)} on validation items.\n"
        + yaml.safe_dump(settings, sort_keys=True, allow_unicode=True)
    )


def _markdown(study, plan: Plan, trials: Sequence[Any], found: Sequence[Winner]) -> str:
    counts = tally(trials)
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    seeds = ", ".join(map(str, plan.seeds))
    # The winner's own settings stand in its table.
    fixed = {name: value for name, value in plan.settings.items() if name not in plan.space}
    parts = [
        f"# {plan.model} on {plan.dataset}",
        f"{sum(counts.values())} trials: {told}. Objective: {' and '.join(plan.objectives)}, on validation items"
        f"{', mean over seeds' if len(plan.seeds) > 1 else ''}; seed {seeds}. "
        f"Early stopping watches {plan.settings['valid_metric']}.",
        _table(["setting", "space"], [[name, str(one)] for name, one in plan.space.items()]),
        "Held fixed: " + ", ".join(f"{name} {value}" for name, value in sorted(fixed.items())) + ".",
    ]
    if not found:
        parts.append("No trial was finished.")
    elif len(plan.objectives) == 1:
        parts += [f"## Best: trial {found[0].number}", _winners(plan, found)]
    else:
        parts += ["## The front", "No trial is better in one objective without being worse in another.",
                  _winners(plan, found)]  # fmt: skip
    if found:
        parts.append(
            "Test figures were computed once, after the search, for these trials only."
            if all(winner.test for winner in found)
            else "Trials without test figures have their weights on another machine: the same command there adds them."
        )
    importance = _importance(study, plan, counts["finished"])
    if importance:
        parts += ["## Importance of the settings", importance]
    return "\n\n".join(parts) + "\n"


def _winners(plan: Plan, found: Sequence[Winner]) -> str:
    """A column of the table for each test metric that an objective names."""
    named = (name.lower() for objective in plan.objectives for name in parse_valid_metric(objective).names)
    shown = list(dict.fromkeys(named))
    heading = [
        "trial",
        *(f"valid {name}" for name in plan.objectives),
        *(f"test {name}" for name in shown),
        *plan.space,
    ]
    rows = [
        [str(winner.number), *(f"{value:.4f}" for value in winner.values)]
        + [_figure(winner, name) for name in shown]
        + [_value(winner.settings[name]) for name in plan.space]
        for winner in found
    ]
    return _table(heading, rows)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(winner: Winner, name: str) -> str:
    return f"{winner.test[name]:.4f}" if winner.test and name in winner.test else "-"


def _importance(study, plan: Plan, finished: int) -> str:
    """How much each setting decides what separates good trials from others (PED-ANOVA, Watanabe et al. 2023)."""
    if len(plan.objectives) > 1 or len(plan.space) < 2 or finished < _ENOUGH_FOR_IMPORTANCE:
        return ""
    importance = import_optuna().importance
    shares = importance.get_param_importances(study, evaluator=importance.PedAnovaImportanceEvaluator())
    return _table(["setting", "share"], [[name, f"{share:.2f}"] for name, share in shares.items()])


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
