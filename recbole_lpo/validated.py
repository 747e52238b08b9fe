"""Settings as fields with a type, a meaning and limits, and the check of a value against them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from recbole_lpo.errors import InputError, did_you_mean

T = TypeVar("T")


def setting(default: Any, kind: type | tuple[type, ...], meaning: str, **limits: Any) -> Any:
    """A field with its type, meaning and limits: choices, low, high (inclusive), above, below (exclusive)."""
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "optional": default is None, **limits})


class Validated:
    """Checks every field against its own metadata, and reads itself from any mapping."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, checked(spec.name, getattr(self, spec.name), spec.metadata))
        self._check_together()

    def _check_together(self) -> None:
        """Rules over more than one setting; overridden where there are any."""

    @classmethod
    def from_config(cls: type[T], config: Any) -> T:
        """The settings of this group in a RecBole Config or a dict; what is absent keeps its default."""
        names = [spec.name for spec in fields(cls)]
        return cls(**{name: config[name] for name in names if name in config})


def checked(name: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    """The value of a setting in its type; raises InputError where it is out of its limits. metadata: of `setting`."""
    kind = metadata["kind"]
    if value is None and metadata["optional"]:
        return None
    if kind is tuple and (value is None or isinstance(value, list | tuple)):
        return tuple(checked(name, one, {**metadata, "kind": float}) for one in value or ())
    if kind is list:
        return tuple(checked(name, one, {**metadata, "kind": str}) for one in _names(name, value, metadata))
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} = {value!r}: must be {_KIND_NAMES[kind]} ({metadata['meaning']}).{allowed(metadata)}")
    if "choices" in metadata and value not in metadata["choices"]:
        hint = did_you_mean(str(value), metadata["choices"])
        raise InputError(f"{name} = {value}: unknown ({metadata['meaning']}).{allowed(metadata)}{hint}")
    inside = (
        value == value
        and value not in (float("inf"), float("-inf"))
        and value >= metadata.get("low", value)
        and value <= metadata.get("high", value)
        and not ("above" in metadata and value <= metadata["above"])
        and not ("below" in metadata and value >= metadata["below"])
        if isinstance(value, int | float) and not isinstance(value, bool)
        else True
    )
    if not inside:
        raise InputError(f"{name} = {value}: out of range ({metadata['meaning']}).{allowed(metadata)}")
    return value


def _names(name: str, value: Any, metadata: Mapping[str, Any]) -> Sequence[Any]:
    """The names of a list; text may have them by commas, with brackets or without."""
    if isinstance(value, str):
        parts = (part.strip(" '\"") for part in value.strip().removeprefix("[").removesuffix("]").split(","))
        return [part for part in parts if part]
    if value is not None and not isinstance(value, list | tuple):
        raise InputError(f"{name} = {value!r}: must be {_KIND_NAMES[list]} ({metadata['meaning']}).")
    return value or ()


_KIND_NAMES = {
    float: "a number", int: "a whole number", bool: "True or False", str: "text", dict: "a mapping",
    tuple: "a list of numbers, [] for none", list: "a list of names, [] for none",
}  # fmt: skip


def allowed(metadata: Mapping[str, Any]) -> str:
    """What a setting may be, as a sentence with a space before it; empty where its type says all."""
    if "choices" in metadata:
        return f" Allowed: {', '.join(metadata['choices'])}."
    signs = {"low": ">=", "above": ">", "high": "<=", "below": "<"}
    limits = [f"{sign} {metadata[key]}" for key, sign in signs.items() if key in metadata]
    if limits:
        return f" Allowed: {' and '.join(limits)}."
    return " Allowed: any finite number." if metadata["kind"] is float else ""
