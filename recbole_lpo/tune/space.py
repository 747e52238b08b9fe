"""What a search draws from: kinds of ranges, and the yaml file that names them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.properties_files import read_yaml

# kind -> how its value is written.
_FORMS = {
    "choice": "[value, value, ...]",
    "uniform": "[low, high]",
    "quniform": "[low, high, step]",
    "loguniform": "[low, high]",
    "int": "[low, high] or [low, high, step]",
    "logint": "[low, high]",
}
KINDS = tuple(_FORMS)
_EXAMPLE = "learning_rate: {loguniform: [1.e-4, 1.e-2]}"


@dataclass(frozen=True)
class Choice:
    """One of several values, as different as they like. values: plain values, lists among them; none twice."""

    values: tuple[Any, ...]

    def ends(self) -> tuple[Any, ...]:
        """The values that must be allowed for all of it to be: every one."""
        return self.values

    def __str__(self) -> str:
        return f"choice {list(self.values)}"


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included.

    low, high  bounds, low < high; above 0 where `log`
    whole      whole numbers only
    log        uniform in the logarithm
    step       low, low + step, ... up to high at most; None: every number between
    """

    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None

    def ends(self) -> tuple[Any, ...]:
        """The values that must be allowed for all of it to be: the lowest and the highest."""
        return self.low, self.highest

    @property
    def highest(self) -> float:
        """The largest number that can be drawn: `high`, or the last step that does not pass it."""
        if self.step is None:
            return self.high
        # A tenth of a step is not a float: [0.1, 0.5] in steps of 0.1 has five numbers.
        return self.low + math.floor((self.high - self.low) / self.step + 1e-9) * self.step

    def __str__(self) -> str:
        step = f", step {self.step:g}" if self.step is not None else ""
        name = {
            (False, False): "uniform",
            (False, True): "log-uniform",
            (True, False): "whole",
            (True, True): "log-whole",
        }
        return f"{name[self.whole, self.log]} {self.low:g} to {self.high:g}{step}"


Dimension = Choice | Range
Space = dict[str, Dimension]


def read_space(path: str | Path) -> Space:
    """The search space in a yaml file: setting -> {kind: values}.

    choice: [values]; uniform, loguniform: [low, high]; quniform: [low, high, step]; int: [low, high] or [low, high,
    step]; logint: [low, high]. Bounds are the values themselves. Raises InputError that names the setting, what it has
    and what is allowed, for an empty range too.
    """
    found = read_yaml(path, named_by="--space")
    if not found:
        raise InputError(f"{path}: is empty. Write a line for each setting to search, as {_EXAMPLE}.")
    return {name: _of_yaml(name, value, str(path)) for name, value in found.items()}


def _of_yaml(name: str, value: Any, where: str) -> Dimension:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise InputError(f"{where}: {name} = {value!r}: must be one kind with its values, as {_EXAMPLE}.")
    ((kind, values),) = value.items()
    return dimension(name, str(kind), values, where)


def dimension(name: str, kind: str, values: Any, where: str) -> Dimension:
    """One line of a search space. where: the file, for the message of an InputError."""
    if kind not in KINDS:
        raise InputError(
            f"{where}: {name}: there is no kind {kind!r}.{did_you_mean(kind, KINDS)} Allowed: {', '.join(KINDS)}."
        )
    told = f"{where}: {name} = {kind} {values!r}"
    if not isinstance(values, list | tuple):
        raise InputError(f"{told}: must be {_FORMS[kind]}.")
    return _choice(values, told) if kind == "choice" else _range(kind, values, told)


def _choice(values: Sequence[Any], told: str) -> Choice:
    if not values:
        raise InputError(f"{told}: is empty, there is nothing to choose from. Name at least one value.")
    for value in values:
        if not _is_plain(value):
            raise InputError(f"{told}: {value!r} is no value of a setting. Allowed: text, numbers, True, False, lists.")
    texts = [repr(value) for value in values]
    twice = [text for text in texts if texts.count(text) > 1]
    if twice:
        raise InputError(f"{told}: names {twice[0]} twice. Name every value once.")
    return Choice(tuple(values))


def _range(kind: str, values: Sequence[Any], told: str) -> Range:
    whole, log = kind in ("int", "logint"), kind in ("loguniform", "logint")
    lengths = {"quniform": (3,), "int": (2, 3)}.get(kind, (2,))
    if len(values) not in lengths:
        raise InputError(f"{told}: must be {_FORMS[kind]}.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise InputError(f"{told}: {value!r} is no finite number. Write {_FORMS[kind]}.")
        if whole and value != int(value):
            raise InputError(f"{told}: {value!r} is no whole number. Write {_FORMS[kind]}.")
    low, high, *steps = (int(value) if whole else float(value) for value in values)
    step = steps[0] if steps else 1 if kind == "int" else None
    if low >= high:
        raise InputError(
            f"{told}: is empty, low must be below high. To hold the setting at one value, give it outside the space."
        )
    if log and low <= 0:
        raise InputError(f"{told}: low must be above 0, as its logarithm is taken.")
    if step is not None and not 0 < step <= high - low:
        raise InputError(f"{told}: the step must be above 0 and at most high - low, which is {high - low:g}.")
    return Range(low, high, whole, log, step)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bool) or (isinstance(value, int | float) and value == value)
