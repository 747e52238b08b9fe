"""`python -m constraints`: the installed versions of what this package needs, directly or through others.

For Python 3.11 and newer.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import tomllib

_PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Left to the machine: torch comes in builds of its own (the Makefile's TORCH), RecBole without its dependencies.
_LEFT_OUT = {"recbole", "torch", "triton"}


def main() -> None:
    """Writes `name==version` lines, sorted, to standard output."""
    project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
    waiting = [*project["dependencies"], *(line for part in project["optional-dependencies"].values() for line in part)]
    found: dict[str, str] = {}
    while waiting:
        name = _NAME.match(waiting.pop())[0].lower().replace("_", "-")
        if name in found or name in _LEFT_OUT:
            continue
        try:
            found[name] = distribution(name).version
        except PackageNotFoundError:
            # Asked for on other systems only.
            continue
        waiting.extend(line for line in requires(name) or () if "extra ==" not in line)
    sys.stdout.write("# Written by `make constraints`: the newest libraries that the suite was run with.\n")
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(found.items()))


if __name__ == "__main__":
    main()
