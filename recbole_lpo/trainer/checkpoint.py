"""The files of a checkpoint: tensors and plain values only, whole or absent.

`best` has the weights that validated best, `last` also all that training needs to go on as if it had never stopped
(`trainer.run_state`). Both are safetensors files. The one entry of their header is JSON with `format`, `tree` (the
values that are no tensors) and `sha256` (the checksum over these and the tensors).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from torch import Tensor, nn

from recbole_lpo.errors import InputError, WriteError
from recbole_lpo.trainer.safetensors_file import tensor_bytes, write_safetensors
from recbole_lpo.trainer.tensor_tree import to_tensors, to_tree
from recbole_lpo.whole_files import appears_whole

BEST, LAST = "best.safetensors", "last.safetensors"
_ENTRY, _FORMAT = "checkpoint", "recbole_lpo 1"
_OLD_SUFFIX = ".pth"


def token_map_hash(tokens: np.ndarray) -> str:
    """What tells one catalogue from another: the hash of its external item tokens in order of item number."""
    return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest()


def save_checkpoint(path: Path, model: nn.Module, about: dict[str, Any], state: dict[str, Any] | None = None) -> None:
    """Write aside, flush, then rename, so that `path` is never half a file.

    about: plain values (text, numbers, lists, dicts) that say what the weights belong to. state: what else training
    needs to go on. Raises WriteError where the file cannot be written; an earlier `path` then stays as it was.
    """
    # Where RecBole names a layer here, its weights are in the state dict as well.
    others = model.other_parameter() or {}
    others = {name: value for name, value in others.items() if not isinstance(value, nn.Module)}
    content = {"weights": dict(model.state_dict()), "other_parameter": others, "about": about, "state": state}
    tensors, plain = to_tensors(content)
    entry = json.dumps({"format": _FORMAT, "tree": plain, "sha256": _checksum(tensors, plain)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with appears_whole(path) as aside:
            write_safetensors(aside, tensors, {_ENTRY: entry})
    except OSError as error:
        kept = "The file of that name from before is as it was." if path.exists() else "There is none from before."
        raise WriteError(f"{path}: the checkpoint cannot be written ({_one_line(error)}). {kept}") from error


def load_checkpoint(path: Path, model: nn.Module, *, items: str | None = None) -> dict[str, Any]:
    """Put the weights of a file into a model; returns what the file says about itself.

    A file can hold data, it cannot run anything. items: the `token_map_hash` of the catalogue that the model was built
    for. Raises InputError where the file is missing, damaged, or of another model or catalogue.
    """
    content = read_checkpoint(path)
    put_weights(path, content, model, items=items)
    return content["about"]


def put_weights(path: Path, content: dict[str, Any], model: nn.Module, *, items: str | None = None) -> None:
    """As `load_checkpoint`, of a file that was read before; path: what an error names."""
    if items is not None and content["about"].get("items") != items:
        raise InputError(f"{path}: belongs to another catalogue (its item tokens differ from those of this dataset).")
    try:
        model.load_state_dict(content["weights"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the weights do not fit the model: {_one_line(error)}") from None
    model.load_other_parameter(content["other_parameter"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """`weights`, `other_parameter`, `about` and `state` (None in `best`) of a file, its checksum verified.

    Raises InputError where the file is missing, damaged, or something else.
    """
    try:
        # safetensors alone takes a file with a flipped bit without a word.
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_ENTRY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']}")
        if header["sha256"] != _checksum(tensors, header["tree"]):
            raise ValueError("its checksum is wrong")
        content = to_tree(tensors, header["tree"])
        return {key: content[key] for key in ("weights", "other_parameter", "about", "state")}
    except FileNotFoundError:
        raise _no_such_file(path) from None
    except Exception as error:
        # A damaged file makes the reader fail in any way: OSError, SafetensorError, KeyError, ...
        raise InputError(f"{path}: not a checkpoint of recbole_lpo, or damaged ({_one_line(error)}).") from None


def read_about(path: Path) -> dict[str, Any]:
    """What a whole file says about itself, without its tensors."""
    with safe_open(path, framework="pt") as file:
        return json.loads(json.loads(file.metadata()[_ENTRY])["tree"])["about"]


def _no_such_file(path: Path) -> InputError:
    if path.with_suffix(_OLD_SUFFIX).is_file():
        return InputError(
            f"{path.with_suffix(_OLD_SUFFIX)}: was written by an earlier version, whose files are no longer read. "
            "Run the settings.yaml of its folder again."
        )
    return InputError(f"{path}: there is no such checkpoint. Was the run finished?")


def _checksum(tensors: dict[str, Tensor], plain: str) -> str:
    found = hashlib.sha256(plain.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        found.update(tensor_bytes(tensor))
    return found.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
