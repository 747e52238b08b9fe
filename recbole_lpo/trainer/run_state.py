"""What a training is at the end of an epoch, so that it can go on as if it had never stopped."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from recbole_lpo.errors import InputError
from recbole_lpo.trainer.random_streams import put_streams, streams
from recbole_lpo.trainer.selection import Selection

_COUNTERS = ("kept_epoch", "train_loss_dict")


def optimizers_of(trainer) -> dict[str, Optimizer]:
    """The optimizers of a trainer, by attribute, each once: RecVAE's has two, and one of them as `optimizer` too."""
    names = {id(value): name for name, value in vars(trainer).items() if isinstance(value, Optimizer)}
    return {name: vars(trainer)[name] for name in names.values()}


def run_state(trainer, train_data, epoch: int) -> dict[str, Any]:
    """All but the weights: optimizers, schedule, early stopping, history, random streams; tensors and plain values.

    epoch: the one that has just ended, from 0. Processes that train together all call it: each has streams of its own.
    """
    return {
        "epoch": epoch,
        "steps": trainer.schedule.last_epoch if trainer.schedule else None,
        "counters": {name: getattr(trainer, name) for name in _COUNTERS},
        "selections": [selection.state() for selection in trainer.selections],
        "history": trainer.history,
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers_of(trainer).items()},
        "streams": trainer.ranks.gathered(streams(train_data, trainer.model)),
        "attributes": trainer.plain_attributes.changed(),
    }


def put_run_state(trainer, train_data, state: dict[str, Any]) -> None:
    """Have a trainer that was just made stand where `run_state` found one of the same settings.

    Weights and learning rate schedule are not part of it. Raises InputError where the state does not fit the trainer.
    """
    optimizers = optimizers_of(trainer)
    try:
        for name, found in state["optimizers"].items():
            optimizers[name].load_state_dict(found)
        put_streams(state["streams"][trainer.ranks.rank], train_data, trainer.model)
        trainer.plain_attributes.put(state["attributes"])
        for name in _COUNTERS:
            setattr(trainer, name, state["counters"][name])
        trainer.selections[:] = (Selection(**one) for one in state["selections"])
        trainer.show_best()
        trainer.history[:] = state["history"]
        trainer.start_epoch = state["epoch"] + 1
    except (IndexError, KeyError, ValueError, AttributeError, RuntimeError, TypeError) as error:
        raise InputError(f"the checkpoint does not fit the settings of its run: {error!r}") from None
