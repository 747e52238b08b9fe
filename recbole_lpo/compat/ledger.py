"""The list of patches: what each is for, when it is needed, and what became of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from recbole_lpo.compat.import_hooks import when_imported

Status = Literal["applied", "not needed", "pending", "off"]
Outcome = tuple[Status, str]


@dataclass(frozen=True)
class Patch:
    """One change that is made to RecBole, or to a library on its behalf, at run time.

    name    a short word to tell it by
    reason  what goes wrong without it
    guard   the versions that it is for, in words
    status  `applied`; `not needed` under the versions at hand; `pending` until the module that it is for is imported;
            `off` where the user switched patches off
    detail  what was done, or why not
    """

    name: str
    reason: str
    guard: str
    status: Status
    detail: str = ""


def _always_needed() -> str:
    return ""


@dataclass(frozen=True)
class Recipe:
    """How a patch is made: after one of `modules` has been imported, `action` is called with it.

    The docstring of `action` gives the reason. `unneeded` tells why the versions at hand need no patch, or gives an
    empty text. `around` is a context in which the modules are executed.
    """

    name: str
    guard: str
    modules: tuple[str, ...]
    action: Callable[[ModuleType], Outcome]
    unneeded: Callable[[], str] = _always_needed
    around: Callable[[], AbstractContextManager[None]] = nullcontext

    def patch(self, status: Status, detail: str = "") -> Patch:
        """The entry in the list."""
        first_paragraph = (inspect.getdoc(self.action) or "").split("\n\n")[0]
        return Patch(self.name, " ".join(first_paragraph.split()), self.guard, status, detail)


_ledger: dict[str, Patch] = {}


def register(patch: Patch) -> None:
    """Put a patch in the list, in place of an earlier entry of its name."""
    _ledger[patch.name] = patch


def patches() -> list[Patch]:
    """Every patch, in the order in which they were first listed, with its status as of now."""
    return list(_ledger.values())


def lay(recipe: Recipe) -> None:
    """List a recipe's patch, and have it made when its time comes."""
    unneeded = recipe.unneeded()
    if unneeded:
        register(recipe.patch("not needed", unneeded))
        return
    awaited = ", ".join(name.rpartition(".")[2] for name in recipe.modules)
    register(recipe.patch("pending", f"waits for the import of {awaited}"))
    for name in recipe.modules:
        when_imported(name, lambda module: register(recipe.patch(*recipe.action(module))), recipe.around)
