"""What RecBole 1.2.1 needs to run on today's libraries.

`apply` is called once, by `import recbole_lpo`. It reads version numbers, imports nothing heavy and edits no file: each
patch waits for the module of RecBole that it is for and acts when that module is imported (at once where it is loaded
already). `patches` lists them all with what became of them, for `recbole-lpo doctor`; other modules that change RecBole
at run time add theirs with `register`. With RECBOLE_LPO_NO_PATCH=1 in the environment nothing is patched.
"""

from __future__ import annotations

import os

from recbole_lpo.compat import (
    anomaly_mode,
    checkpoints,
    libraries,
    masked_items,
    ray_tune,
    shan,
    sklearn_metrics,
    space_files,
    used_items,
    versions,
)
from recbole_lpo.compat.ledger import Patch, Recipe, lay, patches, register

__all__ = ["Patch", "apply", "patches", "register", "switched_off"]

NO_PATCH_VARIABLE = "RECBOLE_LPO_NO_PATCH"

_RECIPES: tuple[Recipe, ...] = (
    *libraries.RECIPES,
    *anomaly_mode.RECIPES,
    *checkpoints.RECIPES,
    *ray_tune.RECIPES,
    *masked_items.RECIPES,
    *shan.RECIPES,
    *sklearn_metrics.RECIPES,
    *space_files.RECIPES,
    *used_items.RECIPES,
)
_applied = False


def apply() -> None:
    """Check the installed versions and lay out every patch; a second call does nothing.

    Raises InputError where RecBole is missing or pandas is one under which RecBole silently writes wrong features.
    """
    global _applied
    if _applied:
        return
    versions.check()
    for recipe in _RECIPES:
        if switched_off():
            register(recipe.patch("off", f"{NO_PATCH_VARIABLE} is set"))
        else:
            lay(recipe)
    _applied = True


def switched_off() -> bool:
    """Whether the environment asks for a RecBole without patches."""
    return os.environ.get(NO_PATCH_VARIABLE, "") not in ("", "0")
