"""The folder that every run writes: settings, metrics, one row per user, weights, log."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from recbole_lpo.errors import InputError
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.whole_files import write_whole

SETTINGS, METRICS, PER_USER, HISTORY = "settings.yaml", "metrics.json", "per_user.csv.gz", "history.jsonl"
CHECKPOINTS = "checkpoint"


@contextmanager
def new_run_folder(run_dir: str | None, *, dataset: str, model: str, seed: int) -> Iterator[Path]:
    """The folder of a run: `run_dir`, or `runs/<dataset>/<model>/<time>-<seed>`. Refuses one that holds a run.

    Where the input turns out to be wrong before anything was trained, the folder goes away again.
    """
    folder = _free_folder(Path("runs") / dataset / model / f"{datetime.now():%Y%m%d-%H%M%S}-{seed}")
    if run_dir is not None:
        folder = Path(run_dir)
        _check_name(folder)
        if (folder / METRICS).exists():
            raise InputError(f"run_dir = {run_dir}: holds a finished run already. Name another folder.")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"run_dir = {folder}: cannot be made: {error.strerror}.") from None
    try:
        yield folder
    except InputError:
        if made and not any((folder / CHECKPOINTS).glob("*")):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                for parent in made[1:]:
                    parent.rmdir()
        raise


def _check_name(folder: Path) -> None:
    """Refuse a name that the file system cannot have: too long, with a NUL, not to be encoded."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"run_dir = {str(folder)[:80]!r}: cannot be made: {reason}.") from None


def _free_folder(wanted: Path) -> Path:
    """The wanted name, or the first of wanted-2, wanted-3, ... that is free."""
    names = (wanted.with_name(f"{wanted.name}-{n}") for n in itertools.count(2))
    return wanted if not wanted.exists() else next(folder for folder in names if not folder.exists())


def write_settings(folder: Path, given: dict[str, Any]) -> None:
    """`settings.yaml`: all that is needed to run it again with `--config_files=<folder>/settings.yaml`."""
    settings = yaml.safe_dump(plain_settings(given), sort_keys=True, allow_unicode=True)
    write_whole(folder / SETTINGS, settings.encode())


def plain_settings(given: dict[str, Any]) -> dict[str, Any]:
    """What yaml can say of the settings of a run, less the folder that it writes to; `data_path` made absolute.

    Values that yaml cannot say (enums) are RecBole's own derivations from the others, and come back by themselves.
    """
    plain = {key: value for key, value in given.items() if key not in ("run_dir", "config_files") and _is_plain(value)}
    plain["data_path"] = str(Path(plain["data_path"]).resolve())
    return _listed(plain)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run folder. Raises InputError where it is none."""
    if not (folder / SETTINGS).is_file():
        raise InputError(f"{folder}: is not a run folder (no {SETTINGS}).")
    return read_yaml(folder / SETTINGS)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """`metrics.json`, unrounded; a figure without a value (a group without users) is null."""
    write_whole(folder / METRICS, (json.dumps(_without_nan(metrics), indent=2) + "\n").encode())


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """`history.jsonl`: one line an epoch."""
    write_whole(folder / HISTORY, "".join(json.dumps(_without_nan(record)) + "\n" for record in history).encode())


def write_per_user(folder: Path, evaluation: Evaluation, user_tokens, item_tokens) -> None:
    """`per_user.csv.gz`: user and target token, rank of the target (from 1), group."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["user", "target", "rank", "group"])
    users, targets = user_tokens[evaluation.user.numpy()], item_tokens[evaluation.target.numpy()]
    rows.writerows(zip(users, targets, evaluation.rank.tolist(), evaluation.group_of(), strict=True))
    # No time stamp in the gzip header: the same run gives the same bytes.
    write_whole(folder / PER_USER, gzip.compress(text.getvalue().encode(), mtime=0))


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
