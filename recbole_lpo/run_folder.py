"""The folder that every run writes: settings, metrics, one row per user, weights, log."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from recbole_lpo.errors import InputError
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.properties_files import read_yaml

SETTINGS, METRICS, PER_USER, HISTORY = "settings.yaml", "metrics.json", "per_user.csv.gz", "history.jsonl"


def new_run_folder(run_dir: str | None, *, dataset: str, model: str, seed: int) -> Path:
    """Create the folder of a run: `run_dir`, or `runs/<dataset>/<model>/<time>-<seed>`. Refuses one that holds a run."""
    if run_dir is not None:
        folder = Path(run_dir)
        if (folder / METRICS).exists():
            raise InputError(f"run_dir = {run_dir}: holds a finished run already. Name another folder.")
    else:
        stem = Path("runs") / dataset / model / f"{datetime.now():%Y%m%d-%H%M%S}-{seed}"
        folder, n = stem, 1
        while folder.exists():
            n += 1
            folder = stem.with_name(f"{stem.name}-{n}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"run_dir = {folder}: cannot be made: {error.strerror}.") from None
    return folder


def write_settings(folder: Path, given: dict[str, Any]) -> None:
    """`settings.yaml`: all that is needed to run it again with `--config_files=<folder>/settings.yaml`."""
    # Values that yaml cannot say (enums) are RecBole's own derivations from the others, and come back by themselves.
    plain = {key: value for key, value in given.items() if key not in ("run_dir", "config_files") and _is_plain(value)}
    plain["data_path"] = str(Path(plain["data_path"]).resolve())
    _write_whole(folder / SETTINGS, yaml.safe_dump(_listed(plain), sort_keys=True, allow_unicode=True).encode())


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run folder. Raises InputError where it is none."""
    if not (folder / SETTINGS).is_file():
        raise InputError(f"{folder}: is not a run folder (no {SETTINGS}).")
    return read_yaml(folder / SETTINGS)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """`metrics.json`, unrounded; a figure without a value (a group without users) is null."""
    _write_whole(folder / METRICS, (json.dumps(_without_nan(metrics), indent=2) + "\n").encode())


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """`history.jsonl`: one line an epoch."""
    _write_whole(folder / HISTORY, "".join(json.dumps(_without_nan(record)) + "\n" for record in history).encode())


def write_per_user(folder: Path, evaluation: Evaluation, user_tokens, item_tokens) -> None:
    """`per_user.csv.gz`: user and target token, rank of the target (from 1), group."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["user", "target", "rank", "group"])
    users, targets = user_tokens[evaluation.user.numpy()], item_tokens[evaluation.target.numpy()]
    rows.writerows(zip(users, targets, evaluation.rank.tolist(), evaluation.group_of(), strict=True))
    # No time stamp in the gzip header: the same run gives the same bytes.
    _write_whole(folder / PER_USER, gzip.compress(text.getvalue().encode(), mtime=0))


def _write_whole(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ".partial")
    aside.write_bytes(content)
    os.replace(aside, path)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str | int | float) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (str, int, float, bool)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
