"""Tail-item recommendation in RecBole.

Importing the package makes RecBole 1.2.1 run on today's libraries (`compat`) and registers the plugin's models,
trainer, metrics and settings with it (`registry`); RecBole's own entry points then accept them by name.
"""

from recbole_lpo import compat

compat.apply()

from recbole_lpo import registry  # noqa: E402  RecBole can only be imported once compat has prepared the way

registry.register()

from recbole_lpo.errors import InputError, RunError  # noqa: E402
from recbole_lpo.model.encoders import SequenceEncoder  # noqa: E402
from recbole_lpo.quick_start import (  # noqa: E402
    evaluate,
    load,
    load_recbole_checkpoint,
    objective_function,
    recommend,
    resume,
    run,
)
from recbole_lpo.user_backbones import register_backbone  # noqa: E402
from recbole_lpo.version import __version__  # noqa: E402

__all__ = [
    "InputError",
    "RunError",
    "SequenceEncoder",
    "__version__",
    "evaluate",
    "load",
    "load_recbole_checkpoint",
    "objective_function",
    "recommend",
    "register_backbone",
    "resume",
    "run",
]
