"""Reading a checkpoint of RecBole itself, which is a pickle, without running anything that is in it.

RecBole's file is what `torch.save` makes of a dict: weights, and the whole Config object. A pickle can call whatever it
names. Here a name stands for one of three things: what puts a tensor together (done by functions below), a class of
RecBole, numpy or yaml (an inert object in its place, which only keeps its attributes), or a reason to refuse the file.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_lpo.errors import InputError

_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_INERT = ("recbole", "recbole_lpo", "numpy", "yaml")
_BUNDLED = "ml-100k"
# Of this machine and this moment, or of a way to measure that ours replaces.
_NOT_CARRIED = {
    "metrics", "valid_metric", "metric_decimal_place", "eval_batch_size", "checkpoint_dir", "device", "gpu_id",
    "use_gpu", "nproc", "world_size", "offset", "ip", "port", "local_rank", "single_spec", "show_progress", "worker",
    "log_wandb", "saved", "state", "encoding", "save_dataset", "save_dataloaders", "dataset_save_path",
    "dataloaders_save_path", "model_type", "train_neg_sample_args", "valid_neg_sample_args", "test_neg_sample_args",
}  # fmt: skip


class _Inert:
    """Takes the place of an object that is not needed, and does nothing."""

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, *_, **__) -> None:
        """Takes anything."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)

    def append(self, _) -> None:
        """Nothing."""

    def __setitem__(self, *_) -> None:
        """Nothing."""


def read_recbole_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], Any]:
    """(settings, weights, what the model keeps beside them) of a file that RecBole's trainer has written.

    Raises InputError where the file is missing, is something else, or names anything that such a file has no use for.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = _Reader(archive).load()
        config = vars(content["config"])
        settings = _carried(config["final_config_dict"]) | {"model": config["model"], "dataset": config["dataset"]}
        # RecBole puts the name of the dataset behind the path; of the one that it brings along the path is its own.
        settings["data_path"] = str(Path(settings["data_path"]).parent)
        if settings["dataset"] == _BUNDLED:
            del settings["data_path"]
        return settings, dict(content["state_dict"]), content.get("other_parameter")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except Exception as error:
        # A damaged or hostile file makes the reader fail in any way.
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a checkpoint of RecBole, or damaged ({reason}).") from None


class _Reader(pickle.Unpickler):
    """Unpickles the `data.pkl` of an archive of `torch.save`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        super().__init__(archive.open(name))
        self._archive, self._root = archive, name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in _REBUILT:
            return _REBUILT[name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch", "device") or module.partition(".")[0] in _INERT:
            return type(name, (_Inert,), {})
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of weights and settings")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        return torch.frombuffer(bytearray(self._archive.read(f"{self._root}data/{int(key)}")), dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_) -> Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()


def _parameter(data: Tensor, *_) -> Tensor:
    return data


_REBUILT = {"_rebuild_tensor_v2": _tensor, "_rebuild_parameter": _parameter}


def _carried(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that say what was trained and on what; plain values only."""
    return {key: value for key, value in settings.items() if key.lower() not in _NOT_CARRIED and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, str | int | float | bool)
