"""Reading RecBole's checkpoints, which hold a pickled Config that torch.load refuses since torch 2.6.

While one of RecBole's own functions that read such a file is at work, and only in its thread, `torch.load` without an
explicit `weights_only` unpickles; everywhere else `torch.load` is torch's own. Unpickling runs the code that a file
holds, so it comes with a warning, except for a file which the very trainer at work has written.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from recbole_lpo.compat.ledger import Outcome, Recipe
from recbole_lpo.compat.versions import at_least, installed

_PRETRAINED_MODELS = {
    "recbole.model.context_aware_recommender.kd_dagfm": "KD_DAGFM",
    "recbole.model.general_recommender.convncf": "ConvNCF",
    "recbole.model.general_recommender.nais": "NAIS",
    "recbole.model.general_recommender.neumf": "NeuMF",
    "recbole.model.general_recommender.ract": "RaCT",
    "recbole.model.sequential_recommender.s3rec": "S3Rec",
}
_READING_METHODS = ("evaluate", "resume_checkpoint")
_WRITING_METHOD = "_save_checkpoint"
_COVERED = "_recbole_lpo_covered"

# The files that need no warning in the RecBole function at work; None where none is at work.
_trusted_files: ContextVar[frozenset[str] | None] = ContextVar("trusted_files", default=None)
_written_by: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


class _LoadSwitch:
    """Keeps `torch.load` replaced while RecBole's functions are at work, in however many threads, and no longer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work = 0
        self._usual_load: Callable[..., Any] | None = None

    def __enter__(self) -> None:
        import torch

        with self._lock:
            if self._at_work == 0:
                self._usual_load, torch.load = torch.load, self._load
            self._at_work += 1

    def __exit__(self, *exception: object) -> None:
        import torch

        with self._lock:
            self._at_work -= 1
            if self._at_work == 0:
                torch.load = self._usual_load

    def _load(self, file: Any, *args: Any, **kwargs: Any) -> Any:
        trusted = _trusted_files.get()
        if trusted is None or kwargs.get("weights_only") is not None:
            return self._usual_load(file, *args, **kwargs)
        if not (isinstance(file, str | os.PathLike) and _absolute(file) in trusted):
            warnings.warn(
                f"RecBole reads {file} by unpickling it, which runs whatever code the file holds: "
                "read only files from people you trust.",
                stacklevel=2,
            )
        return self._usual_load(file, *args, **{**kwargs, "weights_only": False})


_switch = _LoadSwitch()


def let_trainers_read(trainer_module: ModuleType) -> Outcome:
    """Without it every run fails after its training, when the best checkpoint is read, and none can be resumed.

    Trainer.evaluate and Trainer.resume_checkpoint are covered, and what subclasses put in their place, those made later
    included.
    """
    trainer = trainer_module.Trainer

    def cover_new_subclass(cls: type, **kwargs: Any) -> None:
        super(trainer, cls).__init_subclass__(**kwargs)
        _cover(cls)

    _cover(trainer)
    trainer.__init_subclass__ = classmethod(cover_new_subclass)
    return "applied", "Trainer and its subclasses read their checkpoints; a warning for files of others"


def let_models_read(model_module: ModuleType) -> Outcome:
    """Without it ConvNCF, NAIS, NeuMF, RaCT, KD_DAGFM and S3Rec cannot start from the checkpoint of an earlier run."""
    model = getattr(model_module, _PRETRAINED_MODELS[model_module.__name__])
    model.__init__ = _reading(model.__init__)
    return "applied", "models read the checkpoint that they start from; with a warning"


def let_load_data_and_model_read(quick_start: ModuleType) -> Outcome:
    """Without it load_data_and_model cannot read what run_recbole has saved."""
    import recbole.quick_start as package

    original = quick_start.load_data_and_model
    quick_start.load_data_and_model = _reading(original)
    # Imported before this package, recbole.quick_start holds the function under its own name too.
    if getattr(package, "load_data_and_model", None) is original:
        package.load_data_and_model = quick_start.load_data_and_model
    return "applied", "load_data_and_model reads its file; with a warning"


def _cover(trainer: type) -> None:
    for name in _READING_METHODS:
        if inspect.isfunction(vars(trainer).get(name)):
            setattr(trainer, name, _reading(vars(trainer)[name]))
    if inspect.isfunction(vars(trainer).get(_WRITING_METHOD)):
        setattr(trainer, _WRITING_METHOD, _noting_what_it_writes(vars(trainer)[_WRITING_METHOD]))
    for subclass in trainer.__subclasses__():
        _cover(subclass)


def _reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, at work in which torch.load unpickles. Its first argument may be the trainer that wrote the file."""

    @functools.wraps(function)
    def read(*args: Any, **kwargs: Any) -> Any:
        with _at_work(args[0] if args else None):
            return function(*args, **kwargs)

    return _once(function, read)


def _noting_what_it_writes(save: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(save)
    def save_and_note(trainer: Any, *args: Any, **kwargs: Any) -> None:
        file = kwargs.get("saved_model_file") or getattr(trainer, "saved_model_file", None)
        save(trainer, *args, **kwargs)
        if file is not None:
            _written_by.setdefault(trainer, set()).add(_absolute(file))

    return _once(save, save_and_note)


def _once(function: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper, or `function` itself where it is such a wrapper already."""
    if getattr(function, _COVERED, None) is function:
        return function
    setattr(wrapper, _COVERED, wrapper)
    return wrapper


@contextmanager
def _at_work(reader: Any) -> Iterator[None]:
    written = _written_by.get(reader, set()) if _is_trainer(reader) else set()
    before = _trusted_files.set(frozenset(written))
    try:
        with _switch:
            yield
    finally:
        _trusted_files.reset(before)


def _is_trainer(reader: Any) -> bool:
    return hasattr(type(reader), _WRITING_METHOD)


def _absolute(file: str | os.PathLike[str]) -> str:
    return os.path.realpath(os.fspath(file))


def _torch_unpickles_itself() -> str:
    version = installed("torch")
    return f"torch {version} unpickles by default" if version and not at_least(version, (2, 6)) else ""


RECIPES = tuple(
    Recipe(name, "torch >= 2.6", modules, action, _torch_unpickles_itself)
    for name, modules, action in (
        ("trainer checkpoints", ("recbole.trainer.trainer",), let_trainers_read),
        ("pretrained models", tuple(_PRETRAINED_MODELS), let_models_read),
        ("saved runs", ("recbole.quick_start.quick_start",), let_load_data_and_model_read),
    )
)
