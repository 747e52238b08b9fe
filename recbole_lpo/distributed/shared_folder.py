"""One run folder for all processes of a run, written by one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

    One process makes it and logs; what the others log is dropped. Raises InputError where they cannot see it.
    """
    ranks = ranks_of(config)
    if ranks.writes:
        with new_run_folder(config["run_dir"], **named) as folder, run_log(folder, quiet=quiet):
            write_settings(folder, config.given)
            ranks.told(folder.resolve())
            yield folder
        return
    folder = ranks.told(None)
    if not folder.is_dir():
        raise InputError(f"{folder}: this process cannot see the run folder. All need the same file system.")
    for key in _WRITES:
        config[key] = False
    with no_log(), without_tensorboard():
        yield folder
