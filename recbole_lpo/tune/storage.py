"""Where a study is kept, and Optuna, which keeps it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_lpo.errors import InputError, RunError
from recbole_lpo.tune.plan import Plan

STUDY_FILE = "study.db"
_JOURNAL = "journal:"
_LOCK_SECONDS = 60


def import_optuna() -> Any:
    """The module, quiet. Raises InputError naming the extra where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise InputError(
            "tune needs Optuna, which is not installed: pip install 'recbole-lpo[tune]' (or pip install optuna)."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def default_storage(output: Path) -> str:
    """SQLite in the folder of the search.

    Its transactions survive a process that is killed while it writes; a journal file does not: half a last line makes
    Optuna refuse the file once another line follows. On NFS, where SQLite's locks do not hold, a journal is the better
    one.
    """
    return f"sqlite:///{(output / STUDY_FILE).resolve()}"


def open_study(storage: str, plan: Plan):
    """The Optuna study of a plan, made where it is not there yet.

    storage: a URL of SQLAlchemy's (sqlite:///FILE, postgresql://..., mysql://...), `journal:FILE`, or
    `journal-redis://HOST:PORT`. Raises InputError where it cannot be used.
    """
    optuna = import_optuna()
    try:
        return optuna.create_study(
            storage=_opened(optuna, storage),
            study_name=plan.name,
            directions=list(plan.directions),
            pruner=_pruner(optuna, plan),
            load_if_exists=True,
        )
    except InputError:
        raise
    except Exception as error:
        # Every database driver has exceptions of its own, and some that are no subclass of anything telling.
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"storage = {without_password(storage)}: cannot be used ({type(error).__name__}: {reason}). Allowed: a URL "
            "as sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME with its driver installed, journal:FILE, or "
            "journal-redis://HOST:PORT."
        ) from None


@contextmanager
def kept_in(storage: str) -> Iterator[None]:
    """Inside, a storage or a disk that fails raises RunError: what the study has stays there."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (import_optuna().exceptions.OptunaError, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"the search cannot be written on ({type(error).__name__}: {reason}). What is in "
            f"{without_password(storage)} stays: start the same command again to go on."
        ) from error


def without_password(storage: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", storage)


def seeded_sampler(plan: Plan, place: int):
    """The sampler of one trial, the `place`-th from 1 of those that count.

    Seeded by its place, not by the process: a search in one process draws the same trials whether it is interrupted or
    not, and processes beside each other do not draw alike.
    """
    optuna = import_optuna()
    return optuna.samplers.TPESampler(seed=(plan.sampler_seed * 1_000_003 + place) % 2**32, constant_liar=True)


def _opened(optuna, storage: str):
    if storage.startswith(_JOURNAL):
        backend = optuna.storages.journal.JournalFileBackend(storage.removeprefix(_JOURNAL))
        return optuna.storages.journal.JournalStorage(backend)
    if storage.startswith("journal-redis://"):
        backend = optuna.storages.journal.JournalRedisBackend(storage.removeprefix("journal-"))
        return optuna.storages.journal.JournalStorage(backend)
    waits = {"connect_args": {"timeout": _LOCK_SECONDS}} if storage.startswith("sqlite:") else {}
    return optuna.storages.get_storage(optuna.storages.RDBStorage(storage, engine_kwargs=waits))


def _pruner(optuna, plan: Plan):
    epochs = int(plan.settings["epochs"])
    if plan.pruner == "median":
        # The first epochs say more of the learning rate than of what it comes to. Steps are counted from 1.
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1 + max(1, epochs // 20))
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    return optuna.pruners.NopPruner()
