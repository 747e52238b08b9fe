"""Where the settings files of the plugin are, and how a yaml file or a value typed by a user is read."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_lpo.errors import InputError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the files inside the package; a checkout has them at its top level.
PROPERTIES = _PACKAGE / "properties" if (_PACKAGE / "properties").is_dir() else _PACKAGE.parent / "properties"
_LIST_OF_WORDS = re.compile(r"\[\s*[A-Za-z_]\w*\s*(,\s*[A-Za-z_]\w*\s*)*\]")
_WORDS = {"true": True, "false": False, "~": None}


class _Loader(yaml.SafeLoader):
    """Safe, and reads 1e-3 as a number, which YAML 1.1 takes for text and RecBole's files rely on."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def read_yaml(path: str | Path, *, named_by: str = "--config_files") -> dict[str, Any]:
    """The mapping in a yaml file; an empty file is an empty mapping. Raises InputError with the line that is wrong.

    named_by: what the user names it by.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
        # Refuses lists that hold themselves, and whole numbers too long for Python to write down.
        json.dumps(content, default=str, skipkeys=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file. Check {named_by}.") from None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable yaml file: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold `key: value` lines, found a {type(content).__name__}.")
    return {str(key): value for key, value in content.items()}


def read_property(kind: str, name: str) -> dict[str, Any]:
    """`properties/<kind>/<name>.yaml`, or an empty mapping where there is none."""
    path = PROPERTIES / kind / f"{name}.yaml"
    return read_yaml(path) if path.is_file() else {}


def read_preset(name: str) -> dict[str, Any]:
    """The settings of a preset; raises InputError naming the presets that exist."""
    known = sorted(path.stem for path in (PROPERTIES / "preset").glob("*.yaml"))
    if name not in known:
        raise InputError(f"preset = {name}: unknown. Allowed: {', '.join(known)}.{did_you_mean(str(name), known)}")
    return read_property("preset", name)


def parse_value(text: Any) -> Any:
    """What a typed value means: a Python literal, a list of plain words as [Hit,NDCG], true or false in any case, `~`
    for None, or else the text itself.

    RecBole passes such strings through `eval`; here a value is only ever data. What is not a string is left as it is,
    but for numpy's numbers, which become Python's: a search draws them, and no settings file can hold them.
    """
    if isinstance(text, np.generic):
        text = text.item()
    if not isinstance(text, str):
        return text
    try:
        value = ast.literal_eval(text)
        # Fails on a whole number too long for Python to write down, which a hexadecimal one can be.
        repr(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if _LIST_OF_WORDS.fullmatch(text):
            return [word.strip() for word in text[1:-1].split(",")]
        return _WORDS.get(text.lower(), text)
    return value if value is None or isinstance(value, str | int | float | list | tuple | dict) else text
