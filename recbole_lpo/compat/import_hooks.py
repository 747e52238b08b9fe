"""Doing something when a module is imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

Action = Callable[[ModuleType], None]
Around = Callable[[], AbstractContextManager[None]]


class _Hook(NamedTuple):
    action: Action
    around: Around


_hooks: dict[str, list[_Hook]] = {}


def when_imported(name: str, action: Action, around: Around = nullcontext) -> None:
    """Call `action` with the module `name`: now where it is imported already, else right after it has been executed.

    `around` makes a context in which the module is executed; it is not entered for a module that is imported already.
    """
    _hooks.setdefault(name, []).append(_Hook(action, around))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if name in sys.modules:
        action(sys.modules[name])


class _HookFinder(MetaPathFinder):
    """Lets the finders behind it find the hooked modules, and gives them a loader that runs the hooks."""

    def __init__(self) -> None:
        self._searching: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # Another import hook may ask all finders in turn, this one included: then the name is being searched already.
        if fullname not in _hooks or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
            found = (finder.find_spec(fullname, path, target) for finder in others)
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self._searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _HookLoader(spec.loader)
        return spec


class _HookLoader(Loader):
    """A module's own loader, with the hooks before and after."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module shows its own loader to whoever asks, as if it had been imported without hooks.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        hooks = tuple(_hooks[module.__name__])
        with ExitStack() as stack:
            for hook in hooks:
                stack.enter_context(hook.around())
            self._loader.exec_module(module)
        for hook in hooks:
            hook.action(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_finder = _HookFinder()
