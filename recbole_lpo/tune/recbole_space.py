"""RecBole's `.test` files of a search space, read as data."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.tune.space import Space, dimension, read_space

_FORM = "name choice [value, value] | name uniform low,high | name quniform low,high,step | name loguniform low,high"
_KINDS = ("choice", "uniform", "quniform", "loguniform")
# exp of anything beyond is no float.
_LARGEST_LOG = 709.0


def space_of_file(path: str | Path) -> Space:
    """A search space from a file: `.yaml` and `.yml` as ours, anything else as RecBole's `.test`."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file of a search space. Check --space.")
    return read_space(path) if Path(path).suffix.lower() in (".yaml", ".yml") else read_recbole_space(path)


def read_recbole_space(path: str | Path) -> Space:
    """The search space in a `.test` file of RecBole: `name kind values` in every line that is not empty.

    RecBole hands the values of `choice` to `eval`; here they are literals, and text that is none is an InputError. The
    bounds of `loguniform` are natural logarithms, as RecBole has them: `loguniform -8,0` is exp(-8) to 1. `quniform`
    draws low, low + step, ...; RecBole draws multiples of the step, which differ where low is none. RecBole skips a
    line that it does not understand; here it is an InputError, and so is a name given twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    space: Space = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=2)
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        if len(words) < 3:
            raise InputError(f"{where}: {line.strip()!r} is not understood. Write {_FORM}.")
        name, kind, rest = words
        if kind not in _KINDS:
            raise InputError(
                f"{where}: {name}: there is no kind {kind!r}.{did_you_mean(kind, _KINDS)} Allowed: {', '.join(_KINDS)}."
            )
        if name in space:
            raise InputError(f"{where}: {name} is named twice. Give it one line.")
        space[name] = dimension(name, kind, _values(name, kind, rest, where), where)
    if not space:
        raise InputError(f"{path}: is empty. Write a line for each setting to search: {_FORM}.")
    return space


def _values(name: str, kind: str, text: str, where: str) -> Any:
    try:
        values = ast.literal_eval(text if kind == "choice" else f"[{text}]")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(f"{where}: {name} = {text!r}: is no literal value. Write {_FORM}.") from None
    if kind != "loguniform" or not all(isinstance(value, int | float) for value in values):
        return values
    for value in values:
        if abs(value) > _LARGEST_LOG:
            raise InputError(
                f"{where}: {name} = loguniform {text}: bounds are natural logarithms, as in RecBole, so {value} is out "
                f"of range. Allowed: -{_LARGEST_LOG:g} to {_LARGEST_LOG:g}; for bounds as they are write a yaml file."
            )
    return [math.exp(value) for value in values]
