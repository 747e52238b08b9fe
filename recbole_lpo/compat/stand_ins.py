"""Modules that stand in for others while a third one is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_MISSING = object()


@contextmanager
def standing_in(*modules: ModuleType) -> Iterator[None]:
    """Imports inside find these modules under their names; afterwards all is as before."""
    before = {module.__name__: sys.modules.get(module.__name__, _MISSING) for module in modules}
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for name, module in before.items():
            if module is _MISSING:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
