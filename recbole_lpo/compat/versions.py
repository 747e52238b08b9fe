"""Which versions of RecBole and of its libraries are installed, and which of them cannot work. Imports none of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import warnings

from recbole_lpo.errors import InputError

RECBOLE_VERSION = "1.2.1"
FIRST_REFUSED_PANDAS = (3,)


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def at_least(version: str | None, minimum: tuple[int, ...]) -> bool:
    """Whether a version such as '2.13.0+cpu' is `minimum` or newer; False for None."""
    if version is None:
        return False
    numbers = re.match(r"\d+(\.\d+)*", version)
    return numbers is not None and tuple(int(part) for part in numbers[0].split(".")) >= minimum


def check() -> None:
    """Raise InputError for what cannot work, warn of what has not been tried."""
    _check_recbole()
    _check_pandas()


def _check_recbole() -> None:
    if importlib.util.find_spec("recbole") is None:
        raise InputError(
            f"RecBole is not installed, and recbole_lpo is a plugin for RecBole {RECBOLE_VERSION}. Install it beside "
            f"this package, without the old ray that its own metadata asks for: "
            f"`pip install --no-deps recbole=={RECBOLE_VERSION}` next to `pip install recbole-lpo` (any Python), "
            "or in one step `pip install 'recbole-lpo[recbole]'` (Python 3.10 and 3.11)."
        )
    version = installed("recbole")
    if version != RECBOLE_VERSION:
        warnings.warn(
            f"RecBole {version or 'of unknown version'} is installed; recbole_lpo is made and tested for RecBole "
            f"{RECBOLE_VERSION}, and other versions may fail or give other numbers. "
            f"To change it: `pip install --no-deps recbole=={RECBOLE_VERSION}`.",
            stacklevel=2,
        )


def _check_pandas() -> None:
    version = installed("pandas")
    if at_least(version, FIRST_REFUSED_PANDAS):
        raise InputError(
            f"pandas {version} is installed, and under pandas 3 RecBole {RECBOLE_VERSION} fills missing user and item "
            "features with wrong values without any error. Allowed: pandas >= 2.1.1 and < 3. "
            "Install one: `pip install 'pandas>=2.1.1,<3'`."
        )
