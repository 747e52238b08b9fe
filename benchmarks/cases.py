"""What is measured: the only place that lists the cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# What the names of cases start with that compare accuracy, not time, and of those that time whole trainings.
ACCURACY, END_TO_END = "equal-accuracy/", "end-to-end/"
OURS, RECBOLE, NO_ANOMALY = "ours", "recbole", "recbole-no-anomaly"
# Ours with `item_softmax: chunked_bfloat16`.
BFLOAT16, _IN_BFLOAT16 = "bfloat16", {"item_softmax": "chunked_bfloat16"}
# The users of Amazon Beauty, on whom catalogue and history grow.
_USERS = 22_363
_TARGETS, _WIDTH = 2048, 64
# Where accuracy is compared: small batches and a larger learning rate need a tenth of the epochs, and one block with
# little dropout validates better on Amazon Beauty than RecBole's defaults.
_SMALL_BATCHES = {"train_batch_size": 512, "learning_rate": 0.002, "eval_step": 2, "stopping_step": 1}
_ACCURACY_SETTINGS = {
    "SASRec": {"n_layers": 1, "n_heads": 1, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2} | _SMALL_BATCHES,
    "GRU4Rec": _SMALL_BATCHES,
}


@dataclass(frozen=True)
class Side:
    """Who is measured: a name, what differs from the settings of the case, and how many GB it takes at least (too much
    for a machine is left out). path: what the measure calls it, the name unless given; once: not repeated."""

    name: str
    path: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    needs_gb: float = 0.0
    once: bool = False


@dataclass(frozen=True)
class Case:
    """One comparison.

    measure   module of `benchmarks.measure`
    settings  what it measures
    sides     in the order in which they run
    repeat    how often, the sides in turns
    expect    seconds of one process, about, on two cores
    by_name   takes hours: measured only where `--only` asks for it, and a stored result counts
    seeds     repetition n runs with seed 2020 + n; otherwise all run with the same seed
    step_by_step  the sides of a repetition at once, each a step in its turn: for ratios that are closer to one than
              what a shared machine does from minute to minute
    """

    name: str
    measure: str
    settings: dict[str, Any]
    sides: tuple[Side, ...]
    repeat: int = 1
    expect: float = 14.0
    by_name: bool = False
    seeds: bool = False
    step_by_step: bool = False


@dataclass(frozen=True)
class _Scale:
    """How much of everything.

    timing, growth_timing: how long steps are timed, in `timing` enough for a whole epoch of most of our models;
    whole_epoch: seconds, enough for one of RecBole's SASRec; models: how often each is repeated; users: with the mean
    length of their histories; long_runs, long_expect: for what takes hours.
    """

    repeat: int
    timing: dict[str, float]
    growth_timing: dict[str, float]
    whole_epoch: float
    models: dict[str, int]
    catalogue: tuple[int, ...]
    lengths: tuple[int, ...]
    users: tuple[tuple[int, float], ...]
    long_runs: dict[str, int]
    long_expect: float
    seeds: int


_FULL = _Scale(
    repeat=3,
    # RecBole's first steps are slower than those that follow and do not show all the memory that these take.
    timing={"warm_steps": 2, "min_steps": 8, "seconds": 12.0},
    growth_timing={"warm_steps": 2, "min_steps": 3, "seconds": 3.0},
    whole_epoch=600.0,
    models={"SASRec": 3, "GRU4Rec": 3, "Caser": 2, "LPOSASRec": 1, "LPOGRU4Rec": 1, "LPOCaser": 1},
    catalogue=(10_000, 100_000, 1_000_000),
    lengths=(10, 50, 200),
    users=((10_000, 9.0), (100_000, 9.0), (1_000_000, 20.0)),
    long_runs={"epochs": 300},
    long_expect=3600.0,
    seeds=5,
)
_QUICK = _Scale(
    repeat=1,
    timing={"warm_steps": 1, "min_steps": 1, "seconds": 1.0},
    growth_timing={"warm_steps": 1, "min_steps": 1, "seconds": 1.0},
    whole_epoch=1.0,
    models={"SASRec": 1, "GRU4Rec": 1, "LPOSASRec": 1},
    catalogue=(10_000,),
    lengths=(10, 50),
    users=((10_000, 9.0),),
    long_runs={"epochs": 3},
    long_expect=60.0,
    seeds=1,
)


def cases(datasets: Sequence[str], *, quick: bool) -> list[Case]:
    """Every case. quick: fewer steps and models, less growth, short end-to-end runs; a few minutes."""
    scale = _QUICK if quick else _FULL
    return [
        *(case for dataset in datasets for case in _on_dataset(dataset, scale)),
        _preferences(datasets[0], scale),
        *_catalogue(scale),
        *_length(scale),
        *_users(scale),
        *(case for dataset in datasets for case in _by_name(dataset, scale)),
    ]


def _on_dataset(dataset: str, scale: _Scale) -> Iterator[Case]:
    for model, repeat in scale.models.items():
        settings = {"dataset": dataset, "model": model, "max_length": 50, **scale.timing}
        theirs = Side(RECBOLE)
        if model == "SASRec":
            # Its memory grows for more steps than are timed elsewhere.
            theirs = Side(RECBOLE, settings={"seconds": scale.whole_epoch}, once=True)
        recbole = () if model.startswith("LPO") else (theirs, Side(NO_ANOMALY, once=True))
        yield Case(f"epoch/{dataset}/{model}", "training", settings, (Side(OURS), *recbole), repeat, expect=30)
    settings = {"dataset": dataset, "model": "SASRec", "max_length": 50}
    yield Case(f"evaluation/{dataset}", "evaluation", settings, (Side(OURS), Side(RECBOLE)), min(2, scale.repeat))


def _preferences(dataset: str, scale: _Scale) -> Case:
    """Objectives beside cross-entropy, over a whole epoch. The one before it, which fills the cache of the reference's
    hidden states, is not counted."""
    settings = {"dataset": dataset, "backbone": "SASRec", "max_length": 50}
    settings |= {**scale.timing, "warm_epoch": True, "seconds": 600.0}
    models = {"SASRec": False, "LPOSASRec": False, "DPOSASRec": True, "SDPOSASRec": True}
    sides = [Side(model, OURS, {"model": model, "reference": reference}) for model, reference in models.items()]
    for model in ("SASRec", "LPOSASRec"):
        sides.append(Side(f"{model}-{BFLOAT16}", OURS, {"model": model, "config": _IN_BFLOAT16}))
    name = f"preference/{dataset}"
    return Case(name, "training", settings, tuple(sides), scale.repeat, expect=20, step_by_step=True)


def _catalogue(scale: _Scale) -> Iterator[Case]:
    for items in scale.catalogue:
        expect = 15 + items / 20_000
        # The scores of a batch, their softmax, and their gradient.
        batch_gb = 3 * 4 * _TARGETS * items / 1e9
        # RecBole scores 4,096 users at once and marks the hits in a table of the same size.
        users_gb = 2 * 4 * 4096 * items / 1e9
        loss = {"targets": _TARGETS, "items": items, "width": _WIDTH, **scale.growth_timing}
        # Torch's takes minutes for a million.
        loss |= {"warm_steps": 1, "min_steps": min(2, loss["min_steps"])}
        sides = (Side(OURS), Side(BFLOAT16), Side("matmuls"), Side("linear_cross_entropy"))
        sides += (Side("dense", needs_gb=batch_gb),)
        yield Case(f"catalogue/loss/{items}", "softmax", loss, sides, expect=2 * expect, step_by_step=True)
        data = {"synthetic": {"users": _USERS, "items": items}, "model": "SASRec", "max_length": 50}
        sides = (Side(OURS), Side(RECBOLE, needs_gb=batch_gb))
        yield Case(f"catalogue/training/{items}", "training", data | scale.growth_timing, sides, expect=expect)
        sides = (Side(OURS), Side(RECBOLE, needs_gb=users_gb))
        yield Case(f"catalogue/evaluation/{items}", "evaluation", data, sides, expect=expect)


def _length(scale: _Scale) -> Iterator[Case]:
    for length in scale.lengths:
        made = {"users": 2_000, "items": 10_000, "mean_length": 1.2 * length + 5}
        settings = {"synthetic": made, "model": "SASRec", "max_length": length, **scale.growth_timing}
        # Measured at lengths 10 and 50, where it grows like this.
        sides = (Side(OURS), Side(RECBOLE, needs_gb=0.06 * length))
        yield Case(f"length/{length}", "training", settings, sides, expect=15 + length / 4)


def _users(scale: _Scale) -> Iterator[Case]:
    for users, mean_length in scale.users:
        made = {"users": users, "items": 10_000, "mean_length": mean_length}
        settings = {"synthetic": made, "model": "SASRec", "max_length": 50, **scale.growth_timing}
        # RecBole's rows: 50 items and 50 times for each target, and a copy while they are split.
        rows_gb = users * mean_length * 50 * (8 + 4) * 2 / 1e9
        sides = (Side(OURS), Side(RECBOLE, needs_gb=rows_gb))
        yield Case(f"users/{users}", "training", settings, sides, expect=15 + users / 8_000)


def _by_name(dataset: str, scale: _Scale) -> Iterator[Case]:
    last = {"expect": scale.long_expect, "by_name": True}
    for model in ("SASRec", "GRU4Rec"):
        named = {"dataset": dataset, "model": model}
        whole = named | {"max_length": 50, "config": scale.long_runs}
        yield Case(f"{END_TO_END}{dataset}/{model}", "end_to_end", whole, (Side(RECBOLE), Side(OURS)), **last)
        for max_length in (10, 50):
            config = scale.long_runs | _ACCURACY_SETTINGS[model]
            settings, sides = named | {"max_length": max_length, "config": config}, (Side("packed"), Side("prefix"))
            if (model, max_length) == ("SASRec", 50):
                sides += (Side(f"packed-{BFLOAT16}", "packed", {"config": config | _IN_BFLOAT16}),)
            name = f"{ACCURACY}{dataset}/{model}/{max_length}"
            yield Case(name, "accuracy", settings, sides, scale.seeds, seeds=True, **last)
