"""Going on with a run that has stopped: what may be changed, and whether there is anything left to do."""

from __future__ import annotations

import logging
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from recbole_lpo.compat.versions import installed
from recbole_lpo.errors import InputError, WriteError
from recbole_lpo.interruption import Interrupted
from recbole_lpo.run_folder import CHECKPOINTS, METRICS, read_settings
from recbole_lpo.trainer.checkpoint import BEST, LAST, read_about, read_checkpoint
from recbole_lpo.trainer.selection import Selection, selected_folder
from recbole_lpo.whole_files import NO_ROOM

# With another value of any other setting the run would be another one from its first step.
MAY_CHANGE = (
    "epochs", "stopping_step", "checkpoint_every", "show_progress", "data_path", "gpu_id", "world_size", "ip", "port",
    "offset",
)  # fmt: skip
_MAY_GROW = ("epochs", "stopping_step")


def is_resumable(folder: Path) -> bool:
    """Whether a folder holds whole checkpoints to go on from."""
    try:
        _read_whole(folder)
    except InputError:
        return False
    return True


def settings_and_checkpoint(folder: Path, changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings, content of the `last` checkpoint) with which the run of a folder goes on.

    changes: settings in place of those of the run. Raises InputError where the folder holds nothing to go on from,
    where a change would make it another run, and where nothing is left to do.
    """
    settings = read_settings(folder)
    if not (folder / CHECKPOINTS / LAST).is_file():
        raise InputError(
            f"{folder}: has no checkpoint to go on from ({CHECKPOINTS}/{LAST}): no epoch was finished, "
            "checkpoint_every is 0, or the model has a training of its own in phases. Start the run again, in "
            "another folder."
        )
    checkpoint = _read_whole(folder)
    for key, value in changes.items():
        _check_change(settings, key, value, checkpoint["state"])
    changed = {**settings, **changes}
    if (folder / METRICS).is_file():
        _check_unfinished(folder, changed, checkpoint["state"])
    return changed, checkpoint


def check_same_data(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError where the data are not those that the run has been trained on.

    before, now: what checkpoints say of themselves, the one that was kept and one of this process.
    """
    if any(before.get(key) != now[key] for key in ("items", "interactions", "split")):
        raise InputError(
            f"{folder}: the data or their split have changed since the run was begun; it cannot go on with others. Put "
            "the old files back, or start a new run."
        )


@contextmanager
def saying_the_way_on(folder: Path) -> Iterator[None]:
    """Where a signal or a full disk ends the run of a folder, the error says what is kept of it and how to go on."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.number, f"{stop}: {_way_on(folder)}") from None
    except WriteError as error:
        raise WriteError(f"{error} {_way_on(folder)}") from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise WriteError(f"{folder}: cannot be written to: {error.strerror}. {_way_on(folder)}") from error


def _way_on(folder: Path) -> str:
    last = folder / CHECKPOINTS / LAST
    if not last.is_file():
        return "No checkpoint is kept; start the run again."
    script = Path(sys.argv[0])
    command = f"python {shlex.quote(str(script))}" if script.suffix == ".py" else "recbole-lpo run"
    plugins = "".join(f"{shlex.quote(word)} " for word in sys.argv if word.startswith("--plugin="))
    return (
        f"The state after epoch {read_about(last)['epoch']} is kept; what was begun after it is repeated, to the same "
        f"result. To go on: {command} {plugins}--resume={shlex.quote(str(folder))}"
    )


def made_with() -> dict[str, Any]:
    """The versions of what computes, and the number of threads: with others the last digits differ."""
    names = ("recbole_lpo", "recbole", "torch", "numpy", "scipy", "pandas")
    versions = {name: installed(name.replace("_", "-")) for name in names}
    return {"python": platform.python_version(), **versions, "threads": torch.get_num_threads()}


def warn_of_differences(about: Mapping[str, Any]) -> None:
    """Log how this process differs from the one that made a checkpoint. about: what the checkpoint says of itself."""
    before, now = about.get("made_with", {}), made_with()
    different = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
    if different:
        logging.getLogger().warning(
            "The run goes on with other %s: its last digits may differ from those of a run that never stopped.",
            ", ".join(different),
        )


def _read_whole(folder: Path) -> dict[str, Any]:
    """The content of the `last` checkpoint. Raises InputError where it, or the `best` beside it, is of no use."""
    checkpoint = read_checkpoint(folder / CHECKPOINTS / LAST)
    state = checkpoint["state"]
    if state is None:
        raise InputError(f"{folder / CHECKPOINTS / LAST}: has weights alone, and nothing to train on from.")
    wanted = {folder: state["counters"]["kept_epoch"]}
    wanted |= {selected_folder(folder, one["metric"]): one["epoch"] for one in state["selections"][1:]}
    for place, kept in wanted.items():
        # The best weights of the same epoch are made from this file.
        if kept is None or kept == state["epoch"]:
            continue
        file = place / CHECKPOINTS / BEST
        best = read_checkpoint(file)["about"]["epoch"]
        if best != kept:
            raise InputError(f"{file}: has the weights of epoch {best}, those of epoch {kept} belong here.")
    return checkpoint


def _check_change(settings: Mapping[str, Any], key: str, value: Any, state: Mapping[str, Any]) -> None:
    before = settings.get(key)
    if value == before:
        return
    if key not in MAY_CHANGE:
        raise InputError(
            f"{key} = {value}: the run was started with {before}, and with another value it would be another run. "
            f"A run that goes on may change {', '.join(MAY_CHANGE)}; start a new one for the rest."
        )
    if key not in _MAY_GROW:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < before:
        raise InputError(
            f"{key} = {value}: the run was started with {before}; it can only be raised, to a whole number."
        )
    if key == "epochs":
        _check_more_epochs(settings, value, state["epoch"] + 1)
    elif early := [one["metric"] for one in state["selections"] if one["passed_over"]]:
        raise InputError(
            f"stopping_step = {value}: with {before} the patience under {', '.join(early)} had run out while training "
            "went on for another metric, and what came then was not looked at. Start a new run with more patience."
        )


def _check_more_epochs(settings: Mapping[str, Any], epochs: int, trained: int) -> None:
    if settings.get("warmup_ratio") or settings.get("lr_schedule") != "constant":
        raise InputError(
            f"epochs = {epochs}: the learning rate of this run follows `epochs` (warmup_ratio = "
            f"{settings.get('warmup_ratio')}, lr_schedule = {settings.get('lr_schedule')}), so its {trained} epochs so "
            "far would have been others. Start a new run with more epochs."
        )
    if settings["eval_step"] > settings["epochs"]:
        raise InputError(
            f"epochs = {epochs}: the run validates every eval_step = {settings['eval_step']} epochs, but at least "
            f"once, so after {settings['epochs']}; with more epochs it would not have. Start a new run with "
            "more epochs."
        )


def _check_unfinished(folder: Path, settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    trained = state["epoch"] + 1
    if all(Selection(**one).is_over(settings["stopping_step"]) for one in state["selections"]):
        raise InputError(
            f"{folder}: the run is finished. It stopped early after {trained} epochs: "
            f"{', '.join(one['metric'] for one in state['selections'])} had not improved for more than "
            f"stopping_step = {settings['stopping_step']} evaluations. To train on, raise stopping_step."
        )
    if trained >= settings["epochs"]:
        raise InputError(
            f"{folder}: the run is finished, all its {trained} epochs are trained. To train on, raise epochs: "
            f"--resume={folder} --epochs={2 * trained}."
        )
