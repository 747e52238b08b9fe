"""The folder that every run writes: settings, metrics, one row per user, weights, log."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from torch import Tensor

from recbole_lpo.errors import InputError
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.settings import PROCESS_KEYS, ContentSettings
from recbole_lpo.trainer.checkpoint import LAST
from recbole_lpo.whole_files import remove_parts, write_whole

SETTINGS, METRICS, PER_USER, HISTORY = "settings.yaml", "metrics.json", "per_user.csv.gz", "history.jsonl"
CHECKPOINTS, SELECTED = "checkpoint", "selected"
_LOCK = ".lock"
# A process that was just killed may need a moment to be gone.
_PATIENCE_SECONDS = 1.0
# In front of the strength, in the heading of a column of `per_user.csv.gz`.
CURVE_RANK = "rank t="
# What says where a run takes place, not what it is; `nproc` stays, as processes draw for themselves.
_OF_THE_PLACE = {"run_dir", "config_files"} | (PROCESS_KEYS - {"nproc"})


@contextmanager
def new_run_folder(run_dir: str | None, *, dataset: str, model: str, seed: int) -> Iterator[Path]:
    """The folder of a run, held by it: `run_dir`, or `runs/<dataset>/<model>/<time>-<seed>`. Refuses one with a run.

    Where the input turns out to be wrong before anything was trained, the folder goes away again.
    """
    folder = _free_folder(Path("runs") / dataset / model / f"{datetime.now():%Y%m%d-%H%M%S}-{seed}")
    if run_dir is not None:
        folder = Path(run_dir)
        _check_name(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"run_dir = {folder}: cannot be made: {error.strerror}.") from None
    with held(folder):
        _check_free(folder)
        try:
            yield folder
        except InputError:
            if made and not any((folder / CHECKPOINTS).glob("*")):
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):
                    for parent in made[1:]:
                        parent.rmdir()
            raise


def _check_free(folder: Path) -> None:
    if (folder / METRICS).exists():
        raise InputError(f"run_dir = {folder}: holds a finished run already. Name another folder.")
    if (folder / CHECKPOINTS / LAST).exists():
        raise InputError(
            f"run_dir = {folder}: holds a run that was interrupted. Go on with it (--resume={folder}), or name another "
            "folder."
        )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else writes to the folder in the block. Raises InputError where somebody does already.

    The lock is the operating system's: it goes with the process that holds it, however that one ends.
    """
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE_SECONDS)
    except Timeout:
        raise InputError(f"{folder}: another run is writing there. Wait for it, or name another folder.") from None
    try:
        for place in (folder, folder / CHECKPOINTS):
            remove_parts(place)
        yield
    finally:
        lock.release()


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
    """What yaml can say of the settings of a run, less its folder and the place where machines meet; paths of data made
    absolute.

    Values that yaml cannot say (enums) are RecBole's own derivations from the others, and come back by themselves.
    """
    plain = {key: value for key, value in given.items() if key not in _OF_THE_PLACE and _is_plain(value)}
    plain["data_path"] = str(Path(plain["data_path"]).resolve())
    vectors = ContentSettings.from_config(plain).content_file
    if vectors:
        plain["content_file"] = [str(Path(path).resolve()) for path in vectors]
    return _listed(plain)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run folder. Raises InputError where it is none."""
    if not (folder / SETTINGS).is_file():
        raise InputError(f"{folder}: is not a run folder (no {SETTINGS}).")
    return read_yaml(folder / SETTINGS)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """`metrics.json`, unrounded; a figure without a value (a group without users) is null."""
    write_whole(folder / METRICS, (json.dumps(without_nan(metrics), indent=2) + "\n").encode())


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """`history.jsonl`: one line an epoch."""
    write_whole(folder / HISTORY, "".join(json.dumps(without_nan(record)) + "\n" for record in history).encode())


def read_history(folder: Path) -> list[dict[str, Any]]:
    """What `write_history` wrote; nothing where it cannot be read."""
    try:
        return [json.loads(line) for line in (folder / HISTORY).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def _exactly(strength: float) -> str:
    """As short as the number allows: it is read back and looked up."""
    short = f"{strength:g}"
    return short if float(short) == strength else repr(float(strength))


def write_per_user(
    folder: Path, evaluation: Evaluation, user_tokens, item_tokens, curve: Mapping[float, Tensor] | None = None
) -> None:
    """`per_user.csv.gz`, a row for each user.

    user, target  tokens
    rank          of the target, from 1
    group         head, tail or unseen
    decile        tenth of the catalogue that the target is in, 1 the most popular
    tail_prob     probability that the softmax gives all tail items together; absent where it was not measured
    rank t=...    of the target under the post-hoc logit adjustment of that strength; curve: strength -> (U,) ranks
    """
    users, targets = user_tokens[evaluation.user.numpy()], item_tokens[evaluation.target.numpy()]
    columns = {
        "user": users,
        "target": targets,
        "rank": evaluation.rank.tolist(),
        "group": evaluation.group_of(),
        "decile": evaluation.decile[evaluation.target].tolist(),
    }
    if evaluation.tail_prob is not None:
        columns["tail_prob"] = [f"{prob:.6g}" for prob in evaluation.tail_prob.tolist()]
    columns |= {f"{CURVE_RANK}{_exactly(strength)}": rank.tolist() for strength, rank in (curve or {}).items()}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
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


def without_nan(value: Any) -> Any:
    """Plain values, with null in the place of numbers that JSON cannot say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
