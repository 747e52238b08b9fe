"""`recbole-lpo settings`: every setting of the plugin in one document, made from the code and the settings files."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from dataclasses import fields
from functools import cache

from recbole_lpo.properties_files import PROPERTIES, read_yaml
from recbole_lpo.settings import GROUPS
from recbole_lpo.validated import allowed

_DOCUMENTED = re.compile(r"^(\w+):[^#]*#\s*\((?P<kind>.+?)\)(?=\s|$)\s*(?P<text>.*)$")
_CONTINUED = re.compile(r"^\s+#\s*(.*)$")
_TITLES = {
    "LossSettings": "Loss", "LikelihoodSettings": "Likelihood objectives",
    "TransferSettings": "Vectors of rare items", "SplitSettings": "Head and tail",
    "RunSettings": "Every run", "ContentSettings": "Item content", "ProcessSettings": "Processes",
}  # fmt: skip
_HEAD = """# Settings of recbole_lpo

Written by `recbole-lpo settings > properties/README.md`; do not edit. Default and allowed values come from
`recbole_lpo/settings.py`, the rest from the comments of the yaml files beside this one. A preset, an objective, a model
or a dataset may start from another value: see its file. All of RecBole's own settings work as in RecBole. A setting is
given as `--key=value`, in a file for `--config_files`, or in `config_dict`; a value is data and is never run as code.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command takes none of its own."""
    parser.description = "Write the reference of all settings of recbole_lpo to standard output, as markdown."


def main(args: argparse.Namespace) -> int:
    """Writes the reference; returns 0."""
    sys.stdout.write(reference())
    return 0


def reference() -> str:
    """The document: a section for each group of settings, a table row for each setting."""
    parts = [_HEAD]
    for group in GROUPS:
        title = _TITLES[group.__name__]
        purpose = (inspect.getdoc(group) or "").splitlines()[0]
        parts.append(f"## {title}\n\n{purpose}\n")
        parts.append("| setting | type, unit | default | allowed | meaning | file |\n|---|---|---|---|---|---|")
        for spec in fields(group):
            kind, text, file = _comments()[spec.name]
            range_ = allowed(spec.metadata).removeprefix(" Allowed: ").removesuffix(".") or "any"
            meaning = spec.metadata["meaning"]
            meaning = text if _begins_alike(meaning, text) else f"{meaning}. {text}"
            meaning += _starts_otherwise(spec.name, spec.default)
            cells = (f"`{spec.name}`", kind, f"`{_as_typed(spec.default)}`", range_, meaning, f"[{file}]({file})")
            parts.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _begins_alike(meaning: str, text: str) -> bool:
    """Whether a comment begins with what is meant, in about the same words, and then says more."""
    words, others = (re.findall(r"\w+", one.lower()) for one in (meaning, text))
    first = set(others[: len(words) + 2])
    return sum(word in first for word in words) >= 0.7 * len(words)


def _starts_otherwise(name: str, default: object) -> str:
    """The values of the files of objectives that differ from the default."""
    found: dict[str, list[str]] = {}
    for objective, settings in _of_objectives().items():
        value = settings.get(name, default)
        if value != default:
            found.setdefault(_as_typed(value), []).append(objective)
    return f" ({'; '.join(value + ' with ' + ', '.join(names) for value, names in found.items())})" if found else ""


@cache
def _of_objectives() -> dict[str, dict[str, object]]:
    return {path.stem: read_yaml(path) for path in sorted((PROPERTIES / "objective").glob("*.yaml"))}


@cache
def _comments() -> dict[str, tuple[str, str, str]]:
    """(type and unit, meaning, file) of every setting that a yaml file documents; the first file counts."""
    found: dict[str, tuple[str, str, str]] = {}
    first = [PROPERTIES / "overall.yaml", *(PROPERTIES / "objective" / f"{name}.yaml" for name in ("lpo", "dpo"))]
    for path in [*first, *sorted(PROPERTIES.rglob("*.yaml"))]:
        open_key = None
        for line in path.read_text(encoding="utf-8").splitlines():
            start, more = _DOCUMENTED.match(line), _CONTINUED.match(line)
            if start:
                open_key = None if start[1] in found else start[1]
                if open_key:
                    found[open_key] = (start["kind"], start["text"], path.relative_to(PROPERTIES).as_posix())
            elif more and open_key:
                kind, text, file = found[open_key]
                found[open_key] = (kind, f"{text} {more[1].strip()}".strip(), file)
            else:
                open_key = None
    return found


def _as_typed(default: object) -> str:
    return "~" if default is None else str(list(default)) if isinstance(default, tuple) else str(default)
