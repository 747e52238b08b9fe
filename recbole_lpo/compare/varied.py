"""Settings that a study varies: rows of one model that differ in one setting and in nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recbole_lpo.compare.study import OTHER_ROWS, Study
from recbole_lpo.config import Config


@dataclass(frozen=True)
class Varied:
    """A setting of a model, and the rows for its values: (value, method), numbers in rising order."""

    model: str
    setting: str
    rows: list[tuple[Any, str]]


def varied_settings(study: Study) -> list[Varied]:
    """Every setting with at least two values among rows that are alike in all others.

    A row that does not name a setting has the value that it is run with: that of its preset, or the default.
    """
    found = []
    for model in dict.fromkeys(own["model"] for own in study.methods.values()):
        rows = {method: own for method, own in study.methods.items() if own["model"] == model}
        keys = sorted({key for own in rows.values() for key in own} - {"model"})
        whole = {method: _resolved(study, own, keys) for method, own in rows.items()} if len(rows) > 1 else {}
        for key in (key for key in keys if key not in OTHER_ROWS):
            alike: dict[str, dict[str, tuple[Any, str]]] = {}
            for method, values in whole.items():
                rest = _text({name: value for name, value in values.items() if name != key})
                alike.setdefault(rest, {}).setdefault(_text(values[key]), (values[key], method))
            found += [Varied(model, key, _ordered(list(of.values()))) for of in alike.values() if len(of) > 1]
    return found


def _resolved(study: Study, own: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    given = {**dict.fromkeys(OTHER_ROWS), **study.settings_of(own, study.datasets[0])}
    if all(key in given for key in keys):
        return {key: given[key] for key in keys}
    trained = {key: value for key, value in given.items() if key not in OTHER_ROWS}
    config = Config(config_dict={**trained, "dataset": study.datasets[0], "seed": study.seeds[0]})
    return {key: given[key] if key in given else config[key] for key in keys}


def _ordered(rows: list[tuple[Any, str]]) -> list[tuple[Any, str]]:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in rows)
    return sorted(rows, key=lambda row: row[0]) if numbers else rows


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
