"""One run folder for all processes of a run, written by one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from recbole_lpo.config import Config
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.errors import InputError
from recbole_lpo.run_folder import new_run_folder, write_settings
from recbole_lpo.trainer.run_log import no_log, run_log, without_tensorboard

# What RecBole writes by itself, each process over the files of the others.
_WRITES = ("save_dataset", "save_dataloaders", "log_wandb")


@contextmanager
def shared_run_folder(config: Config, *, quiet: bool, **named) -> Iterator[Path]:
    """The folder of a run, with its settings and its log, for all of its processes; `named` as in `new_run_folder`.

    One process makes it. Raises InputError where the others cannot see it.
    """
    ranks = ranks_of(config)
    with new_run_folder(config["run_dir"], **named) if ranks.writes else nullcontext() as made:
        folder = ranks.told(made and made.resolve())
        if not folder.is_dir():
            raise InputError(f"{folder}: this process cannot see the run folder. All need the same file system.")
        with shared_log(config, folder, quiet=quiet):
            yield made or folder


@contextmanager
def shared_log(config: Config, folder: Path, *, quiet: bool) -> Iterator[None]:
    """One process writes the settings of a run into its folder and logs there; what the others log is dropped."""
    if ranks_of(config).writes:
        with run_log(folder, quiet=quiet):
            write_settings(folder, config.given)
            yield
        return
    for key in _WRITES:
        config[key] = False
    with no_log(), without_tensorboard():
        yield
