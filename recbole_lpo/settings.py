"""The plugin's settings: frozen, validated, and the only reader of RecBole's Config for them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from recbole_lpo.core.item_softmax import METHODS, check_method
from recbole_lpo.core.objectives.lpo import FORMS, SCORES
from recbole_lpo.core.popularity import RULES
from recbole_lpo.errors import InputError, did_you_mean

T = TypeVar("T")

# A key that starts so is ours: no model of RecBole 1.2.1 reads one (FEARec has a `tau`, others a `beta`).
PREFIXES = (
    "pref_",
    "tail_split_",
    "tail_alpha",
    "tail_reweight",
    "eval_mask_",
    "eval_logit_",
    "likelihood_",
    "eval_chunk_",
    "lr_",
    "warmup_",
    "run_dir",
    "preset",
    "batching",
    "item_softmax",
    "checkpoint_every",
    "content_",
)


def _setting(default: Any, kind: type | tuple[type, ...], meaning: str, **limits: Any) -> Any:
    """A field with its type, meaning and limits: choices, low, high (inclusive), above, below (exclusive)."""
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "optional": default is None, **limits})


class _Validated:
    """Checks every field against its own metadata, and reads itself from any mapping."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, _checked(spec.name, getattr(self, spec.name), spec.metadata))
        self._check_together()

    def _check_together(self) -> None:
        """Rules over more than one setting; overridden where there are any."""

    @classmethod
    def from_config(cls: type[T], config: Any) -> T:
        """The settings of this group in a RecBole Config or a dict; what is absent keeps its default."""
        names = [spec.name for spec in fields(cls)]
        return cls(**{name: config[name] for name in names if name in config})


@dataclass(frozen=True)
class LossSettings(_Validated):
    """What is minimised: sum_i w_i (ce_weight * CE_i + pref_weight * objective_i) (LPO4Rec Eq. 13, 16, 17)."""

    ce_weight: float = _setting(1.0, float, "weight of the cross-entropy", low=0)
    pref_weight: float = _setting(0.5, float, "weight of the preference objective (the paper's lambda)", low=0)
    pref_score: str = _setting("prob", str, "what the list compares", choices=SCORES)
    pref_tau: float = _setting(0.1, float, "temperature of the list softmax", above=0)
    pref_form: str = _setting("paper", str, "as printed, or as released with its sign", choices=FORMS)
    pref_num_rejected: int = _setting(10, int, "rivals of each target (the paper's K)", low=1)
    pref_negatives: str = _setting(
        "head_gumbel",
        str,
        "where rivals come from",
        choices=("head_gumbel", "head_random", "head_top_k", "uniform", "popularity", "in_batch", "self_play"),
    )
    pref_self_play_top: int = _setting(50, int, "best items of the previous epoch that rivals are drawn from", low=1)
    pref_sample_space: str = _setting("prob", str, "what the Gumbel noise is added to", choices=SCORES)
    pref_gumbel_scale: float = _setting(1.0, float, "scale of the Gumbel noise", low=0)
    pref_straight_through: bool = _setting(False, bool, "gradient through the choice of rivals")
    pref_straight_through_temperature: float = _setting(1.0, float, "temperature of that gradient", above=0)
    pref_exclude_history: bool = _setting(False, bool, "never draw an item of the row's own history")
    pref_pad_in_softmax: bool = _setting(False, bool, "count the padding column in the preference probabilities")
    pref_beta: float = _setting(1.0, float, "strength of the preference (DPO, S-DPO, DMPO, ...)", above=0)
    pref_gamma: float = _setting(1.0, float, "margin that SimPO asks for", low=0)
    pref_label_smoothing: float = _setting(0.0, float, "share of preferences taken to be wrong (DPO)", low=0, below=0.5)
    pref_robust: bool = _setting(False, bool, "the unbiased form of label smoothing (DPO)")
    pref_dynamic_base: str = _setting("dmpo", str, "what DynamicPO builds on", choices=("dmpo", "sdpo"))
    pref_dynamic_margin: float = _setting(2.0, float, "margin at which DynamicPO leaves beta as it is", low=0)
    pref_dynamic_scale: float = _setting(0.5, float, "how far DynamicPO moves beta", low=0, below=1)
    pref_reference: str | None = _setting(None, str, "run folder of the reference policy; by default one is trained")
    pref_init_from_reference: bool = _setting(True, bool, "start from the weights of the reference policy")
    tail_reweight: bool = _setting(True, bool, "weigh rows by the group of their target (Eq. 16)")
    tail_alpha: float = _setting(1.0, float, "alpha of a tail target")
    tail_alpha_head: float = _setting(0.0, float, "alpha of a head target")

    def _check_together(self) -> None:
        if self.ce_weight == 0 and self.pref_weight == 0:
            raise InputError("ce_weight = 0 and pref_weight = 0: nothing would be learned. Set one of them above 0.")
        if self.pref_straight_through and self.pref_negatives != "head_gumbel":
            raise InputError(
                f"pref_straight_through = True with pref_negatives = {self.pref_negatives}: the gradient goes through "
                "the Gumbel draw. Set pref_negatives to head_gumbel, or pref_straight_through to False."
            )
        if self.pref_negatives == "self_play" and self.pref_num_rejected > self.pref_self_play_top:
            raise InputError(
                f"pref_num_rejected = {self.pref_num_rejected} with pref_negatives = self_play: rivals come from the "
                f"{self.pref_self_play_top} best items of the previous epoch. Allowed: 1 to {self.pref_self_play_top}; "
                "or raise pref_self_play_top."
            )


@dataclass(frozen=True)
class LikelihoodSettings(_Validated):
    """What the likelihood objectives change in the cross-entropy; each reads its own."""

    likelihood_adjust_strength: float = _setting(1.0, float, "how much of the log prior is added to the scores", low=0)
    likelihood_gamma: float = _setting(2.0, float, "how much the focal loss passes over likely targets", low=0)
    likelihood_beta: float = _setting(0.99, float, "class-balanced: 1 / (1 - beta) is a large count", low=0, below=1)
    likelihood_ips_power: float = _setting(0.5, float, "exponent of the popularity in the propensity", low=0)
    likelihood_ips_clip: float = _setting(10.0, float, "largest weight, the most popular item's being 1", low=1)
    likelihood_num_sampled: int = _setting(256, int, "negatives of each target, drawn with repetition", low=1)
    likelihood_negatives: str = _setting(
        "uniform", str, "how negatives are drawn from the catalogue", choices=("uniform", "popularity")
    )
    likelihood_log_q: bool = _setting(True, bool, "sampled softmax: correct for how likely each item is drawn")
    likelihood_calibration: float = _setting(0.75, float, "gBCE: overconfidence taken back", low=0, high=1)
    likelihood_form: str = _setting(
        "normalised", str, "R2Rec's weights: summing to 1, or as released", choices=("normalised", "published_code")
    )
    likelihood_reembed_epoch: int | None = _setting(
        None, int, "R2Rec: before this epoch, from 0, the vectors of tail items are drawn anew", low=0
    )


@dataclass(frozen=True)
class SplitSettings(_Validated):
    """Which items are head and which are tail."""

    tail_split_rule: str = _setting("item_share", str, "how the head is cut off", choices=RULES)
    tail_split_ratio: float = _setting(0.2, float, "share of the head (of items or of interactions)", low=0, high=1)
    tail_split_threshold: float | None = _setting(None, float, "interactions that a head item exceeds", low=0)
    tail_split_tie_break: str = _setting("token", str, "order among equally popular items", choices=("token", "id"))
    tail_split_counts: str = _setting("train", str, "what is counted", choices=("train", "augmented"))

    def _check_together(self) -> None:
        if self.tail_split_rule == "count_threshold" and self.tail_split_threshold is None:
            raise InputError(
                "tail_split_rule = count_threshold needs tail_split_threshold: a number >= 0 of training "
                "interactions that a head item exceeds, for example --tail_split_threshold=5."
            )


@dataclass(frozen=True)
class RunSettings(_Validated):
    """How a run trains and is measured, whatever its model."""

    eval_mask_history: bool = _setting(False, bool, "leave items of the user's own history out of the ranking")
    eval_logit_adjust: float = _setting(0.0, float, "strength of the post-hoc logit adjustment of scores", low=0)
    eval_logit_adjust_curve: tuple[float, ...] = _setting(
        (0.1, 0.3, 0.5, 1.0), tuple, "further strengths that the best weights are measured under", low=0
    )
    eval_chunk_items: int | None = _setting(None, int, "items that are scored at once; by default by memory", low=1)
    warmup_ratio: float = _setting(0.0, float, "share of all steps in which the learning rate rises", low=0, below=1)
    lr_schedule: str = _setting("constant", str, "after the warm-up", choices=("constant", "cosine", "linear"))
    batching: str = _setting("packed", str, "what a training row is", choices=("packed", "prefix"))
    batching_window_step: int | None = _setting(
        None, int, "targets that each window of a user longer than MAX_ITEM_LIST_LENGTH adds, in packed batches", low=1
    )
    item_softmax: str = _setting("auto", str, "how the softmax over all items is computed", choices=METHODS)
    checkpoint_every: int = _setting(1, int, "epochs between checkpoints to go on from; 0 keeps none", low=0)
    run_dir: str | None = _setting(None, str, "folder of the run; by default runs/<dataset>/<model>/<time>-<seed>")
    preset: str | None = _setting(None, str, "a named set of settings, see properties/preset")
    dataset_counts: dict | None = _setting(None, dict, "users, items and interactions that the data must have")

    def _check_together(self) -> None:
        check_method(self.item_softmax)


@dataclass(frozen=True)
class ContentSettings(_Validated):
    """What items are, beside their ids, and how it enters the item table."""

    content_fields: tuple[str, ...] = _setting((), list, "columns of the .item file")
    content_file: tuple[str, ...] = _setting((), list, "files with a vector for each item")
    content_mode: str | None = _setting(
        None, str, "how content enters the item table", choices=("none", "add", "replace", "gate", "init")
    )
    content_side: str = _setting("both", str, "where content counts", choices=("both", "input", "output"))
    content_dropout: float = _setting(0.0, float, "share of content left out in a training step", low=0, below=1)
    content_min_count: int = _setting(2, int, "items with training that a value of an attribute must have", low=1)
    content_frozen: bool = _setting(True, bool, "keep vectors as they are; only their projection learns")
    content_zero_init: bool = _setting(False, bool, "content starts at zero")

    @property
    def mode(self) -> str:
        """The mode that is meant: by default `add` where content is named, else `none`."""
        named = bool(self.content_fields or self.content_file)
        return self.content_mode or ("add" if named else "none")

    def files(self, item_file: Path) -> list[Path]:
        """The files that content is read from; item_file: the dataset's `.item`."""
        if self.mode == "none":
            return []
        return [*([item_file] if self.content_fields else []), *map(Path, self.content_file)]

    def _check_together(self) -> None:
        if self.mode == "none":
            return
        if not (self.content_fields or self.content_file):
            raise InputError(
                f"content_mode = {self.content_mode}: no content is named. Set content_fields to columns of the .item "
                "file, as --content_fields=[categories], or content_file to a file of vectors."
            )
        if self.mode == "init" and self.content_side != "both":
            raise InputError(
                f"content_side = {self.content_side} with content_mode = init: the embeddings that start from content "
                "stand on both sides. Set content_side to both."
            )
        if self.mode in ("replace", "init") and self.content_zero_init:
            raise InputError(
                f"content_zero_init = True with content_mode = {self.mode}: all items would start alike. Set it to "
                "False."
            )


@dataclass(frozen=True)
class ProcessSettings(_Validated):
    """How many processes train a model together, and where they meet; RecBole's names."""

    nproc: int = _setting(1, int, "processes that train together on this machine", low=1)
    world_size: int | None = _setting(None, int, "processes on all machines; by default nproc", low=1)
    ip: str = _setting("localhost", str, "address of the machine whose offset is 0")
    port: int | None = _setting(None, int, "port there; by default a free one", low=1, high=65535)
    offset: int = _setting(0, int, "processes on the machines before this one", low=0)

    @property
    def world(self) -> int:
        """Processes on all machines."""
        return self.world_size or self.nproc


GROUPS = (LossSettings, LikelihoodSettings, SplitSettings, RunSettings, ContentSettings, ProcessSettings)
PROCESS_KEYS = frozenset(spec.name for spec in fields(ProcessSettings))
LOSS_KEYS = frozenset(spec.name for group in (LossSettings, LikelihoodSettings) for spec in fields(group))
KEYS = {spec.name: spec.metadata for group in GROUPS for spec in fields(group)}


def check_own_keys(given: Mapping[str, Any]) -> None:
    """Refuse a key that has one of our prefixes and is none of our settings; names the nearest."""
    for key in given:
        if key not in KEYS and key.startswith(PREFIXES):
            raise InputError(f"{key}: there is no such setting.{did_you_mean(key, KEYS)}")


def check_own_value(name: str, value: Any) -> None:
    """Raise InputError where a setting of ours cannot have this value, whatever the others are."""
    _checked(name, value, KEYS[name])


def _checked(name: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    kind = metadata["kind"]
    if value is None and metadata["optional"]:
        return None
    if kind is tuple and (value is None or isinstance(value, list | tuple)):
        return tuple(_checked(name, one, {**metadata, "kind": float}) for one in value or ())
    if kind is list:
        return tuple(_checked(name, one, {**metadata, "kind": str}) for one in _names(name, value, metadata))
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} = {value!r}: must be {_KIND_NAMES[kind]} ({metadata['meaning']}).{allowed(metadata)}")
    if "choices" in metadata and value not in metadata["choices"]:
        hint = did_you_mean(str(value), metadata["choices"])
        raise InputError(f"{name} = {value}: unknown ({metadata['meaning']}).{allowed(metadata)}{hint}")
    inside = (
        value == value
        and value not in (float("inf"), float("-inf"))
        and value >= metadata.get("low", value)
        and value <= metadata.get("high", value)
        and not ("above" in metadata and value <= metadata["above"])
        and not ("below" in metadata and value >= metadata["below"])
        if isinstance(value, int | float) and not isinstance(value, bool)
        else True
    )
    if not inside:
        raise InputError(f"{name} = {value}: out of range ({metadata['meaning']}).{allowed(metadata)}")
    return value


def _names(name: str, value: Any, metadata: Mapping[str, Any]) -> Sequence[Any]:
    """The names of a list; text may have them by commas, with brackets or without."""
    if isinstance(value, str):
        parts = (part.strip(" '\"") for part in value.strip().removeprefix("[").removesuffix("]").split(","))
        return [part for part in parts if part]
    if value is not None and not isinstance(value, list | tuple):
        raise InputError(f"{name} = {value!r}: must be {_KIND_NAMES[list]} ({metadata['meaning']}).")
    return value or ()


_KIND_NAMES = {
    float: "a number", int: "a whole number", bool: "True or False", str: "text", dict: "a mapping",
    tuple: "a list of numbers, [] for none", list: "a list of names, [] for none",
}  # fmt: skip


def allowed(metadata: Mapping[str, Any]) -> str:
    """What a setting may be, as a sentence with a space before it; empty where its type says all."""
    if "choices" in metadata:
        return f" Allowed: {', '.join(metadata['choices'])}."
    signs = {"low": ">=", "above": ">", "high": "<=", "below": "<"}
    limits = [f"{sign} {metadata[key]}" for key, sign in signs.items() if key in metadata]
    if limits:
        return f" Allowed: {' and '.join(limits)}."
    return " Allowed: any finite number." if metadata["kind"] is float else ""
