"""The plugin's settings: frozen, validated, and the only reader of RecBole's Config for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from recbole_lpo.core.item_softmax import METHODS, check_method
from recbole_lpo.core.objectives.lpo import FORMS, SCORES
from recbole_lpo.core.popularity import RULES
from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.validated import Validated, checked, setting

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
    "eval_neighbours",
    "lr_",
    "warmup_",
    "run_dir",
    "preset",
    "batching",
    "item_softmax",
    "checkpoint_every",
    "content_",
    "transfer_",
)


@dataclass(frozen=True)
class LossSettings(Validated):
    """What is minimised: sum_i w_i (ce_weight * CE_i + pref_weight * objective_i) (LPO4Rec Eq. 13, 16, 17)."""

    ce_weight: float = setting(1.0, float, "weight of the cross-entropy", low=0)
    pref_weight: float = setting(0.5, float, "weight of the preference objective (the paper's lambda)", low=0)
    pref_score: str = setting("prob", str, "what the list compares", choices=SCORES)
    pref_tau: float = setting(0.1, float, "temperature of the list softmax", above=0)
    pref_form: str = setting("paper", str, "as printed, or as released with its sign", choices=FORMS)
    pref_num_rejected: int = setting(10, int, "rivals of each target (the paper's K)", low=1)
    pref_negatives: str = setting(
        "head_gumbel",
        str,
        "where rivals come from",
        choices=("head_gumbel", "head_random", "head_top_k", "uniform", "popularity", "in_batch", "self_play"),
    )
    pref_self_play_top: int = setting(50, int, "best items of the previous epoch that rivals are drawn from", low=1)
    pref_sample_space: str = setting("prob", str, "what the Gumbel noise is added to", choices=SCORES)
    pref_gumbel_scale: float = setting(1.0, float, "scale of the Gumbel noise", low=0)
    pref_straight_through: bool = setting(False, bool, "gradient through the choice of rivals")
    pref_straight_through_temperature: float = setting(1.0, float, "temperature of that gradient", above=0)
    pref_exclude_history: bool = setting(False, bool, "never draw an item of the row's own history")
    pref_pad_in_softmax: bool = setting(False, bool, "count the padding column in the preference probabilities")
    pref_beta: float = setting(1.0, float, "strength of the preference (DPO, S-DPO, DMPO, ...)", above=0)
    pref_gamma: float = setting(1.0, float, "margin that SimPO asks for", low=0)
    pref_label_smoothing: float = setting(0.0, float, "share of preferences taken to be wrong (DPO)", low=0, below=0.5)
    pref_robust: bool = setting(False, bool, "the unbiased form of label smoothing (DPO)")
    pref_dynamic_base: str = setting("dmpo", str, "what DynamicPO builds on", choices=("dmpo", "sdpo"))
    pref_dynamic_margin: float = setting(2.0, float, "margin at which DynamicPO leaves beta as it is", low=0)
    pref_dynamic_scale: float = setting(0.5, float, "how far DynamicPO moves beta", low=0, below=1)
    pref_reference: str | None = setting(None, str, "run folder of the reference policy; by default one is trained")
    pref_init_from_reference: bool = setting(True, bool, "start from the weights of the reference policy")
    tail_reweight: bool = setting(True, bool, "weigh rows by the group of their target (Eq. 16)")
    tail_alpha: float = setting(1.0, float, "alpha of a tail target")
    tail_alpha_head: float = setting(0.0, float, "alpha of a head target")

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
class LikelihoodSettings(Validated):
    """What the likelihood objectives change in the cross-entropy; each reads its own."""

    likelihood_adjust_strength: float = setting(1.0, float, "how much of the log prior is added to the scores", low=0)
    likelihood_gamma: float = setting(2.0, float, "how much the focal loss passes over likely targets", low=0)
    likelihood_beta: float = setting(0.99, float, "class-balanced: 1 / (1 - beta) is a large count", low=0, below=1)
    likelihood_ips_power: float = setting(0.5, float, "exponent of the popularity in the propensity", low=0)
    likelihood_ips_clip: float = setting(10.0, float, "largest weight, the most popular item's being 1", low=1)
    likelihood_num_sampled: int = setting(256, int, "negatives of each target, drawn with repetition", low=1)
    likelihood_negatives: str = setting(
        "uniform", str, "how negatives are drawn from the catalogue", choices=("uniform", "popularity")
    )
    likelihood_log_q: bool = setting(True, bool, "sampled softmax: correct for how likely each item is drawn")
    likelihood_calibration: float = setting(0.75, float, "gBCE: overconfidence taken back", low=0, high=1)
    likelihood_form: str = setting(
        "normalised", str, "R2Rec's weights: summing to 1, or as released", choices=("normalised", "published_code")
    )
    likelihood_reembed_epoch: int | None = setting(
        None, int, "R2Rec: before this epoch, from 0, the vectors of tail items are drawn anew", low=0
    )


@dataclass(frozen=True)
class TransferSettings(Validated):
    """How vectors of rare items come from what stands around them: CITIES, and from `transfer_user_weight` on MELT."""

    transfer_items: str = setting("rare", str, "whose vectors are inferred", choices=("rare", "tail"))
    transfer_max_count: int = setting(5, int, "training interactions of a rare item, at most", low=1)
    transfer_reach: int = setting(24, int, "items before and after one that are its context", low=1)
    transfer_max_contexts: int = setting(10, int, "contexts of an item in a training step, at most", low=1)
    transfer_batch_size: int = setting(128, int, "items in a training step", low=1)
    transfer_learning_rate: float = setting(1e-4, float, "learning rate of the network that infers", above=0)
    transfer_layers: int = setting(2, int, "layers within a context, and as many across contexts", low=1)
    transfer_heads: int = setting(4, int, "attention heads of each layer", low=1)
    transfer_keep_norm: bool = setting(False, bool, "an inferred vector is as long as the one that it replaces")
    transfer_user_weight: float = setting(0.1, float, "weight of the transfer between users", low=0)
    transfer_item_weight: float = setting(0.4, float, "weight of the transfer between items", low=0)
    transfer_user_share: float = setting(0.8, float, "share of the users that are tail, by their length", low=0, high=1)
    transfer_curriculum: int = setting(180, int, "epochs until all users and items count in the transfers", low=1)


@dataclass(frozen=True)
class SplitSettings(Validated):
    """Which items are head and which are tail."""

    tail_split_rule: str = setting("item_share", str, "how the head is cut off", choices=RULES)
    tail_split_ratio: float = setting(0.2, float, "share of the head (of items or of interactions)", low=0, high=1)
    tail_split_threshold: float | None = setting(None, float, "interactions that a head item exceeds", low=0)
    tail_split_tie_break: str = setting("token", str, "order among equally popular items", choices=("token", "id"))
    tail_split_counts: str = setting("train", str, "what is counted", choices=("train", "augmented"))

    def _check_together(self) -> None:
        if self.tail_split_rule == "count_threshold" and self.tail_split_threshold is None:
            raise InputError(
                "tail_split_rule = count_threshold needs tail_split_threshold: a number >= 0 of training "
                "interactions that a head item exceeds, for example --tail_split_threshold=5."
            )


@dataclass(frozen=True)
class RunSettings(Validated):
    """How a run trains and is measured, whatever its model."""

    eval_mask_history: bool = setting(False, bool, "leave items of the user's own history out of the ranking")
    eval_logit_adjust: float = setting(0.0, float, "strength of the post-hoc logit adjustment of scores", low=0)
    eval_logit_adjust_curve: tuple[float, ...] = setting(
        (0.1, 0.3, 0.5, 1.0), tuple, "further strengths that the best weights are measured under", low=0
    )
    eval_neighbours: float = setting(
        0.0, float, "share of the neighbours of a history's items in the probabilities that are ranked", low=0, below=1
    )
    eval_neighbours_discount: float = setting(
        0.5, float, "power of both items' counts that a pair of neighbours loses", low=0
    )
    eval_neighbours_reach: int = setting(10, int, "how far apart neighbours are, and how many items speak", low=1)
    eval_neighbours_recency: float = setting(
        0.8, float, "what each item of a history counts against the one after it", above=0, high=1
    )
    eval_neighbours_fields: tuple[str, ...] = setting(
        (), list, "columns of the .item file; items with the same values are neighbours too"
    )
    eval_neighbours_alike: float = setting(
        1.0,
        float,
        "what items with the same values weigh together, against the other neighbours of the median item",
        low=0,
    )
    eval_chunk_items: int | None = setting(None, int, "items that are scored at once; by default by memory", low=1)
    warmup_ratio: float = setting(0.0, float, "share of all steps in which the learning rate rises", low=0, below=1)
    lr_schedule: str = setting("constant", str, "after the warm-up", choices=("constant", "cosine", "linear"))
    batching: str = setting("packed", str, "what a training row is", choices=("packed", "prefix"))
    batching_window_step: int | None = setting(
        None, int, "targets that each window of a user longer than MAX_ITEM_LIST_LENGTH adds, in packed batches", low=1
    )
    item_softmax: str = setting("auto", str, "how the softmax over all items is computed", choices=METHODS)
    checkpoint_every: int = setting(1, int, "epochs between checkpoints to go on from; 0 keeps none", low=0)
    also_select: tuple[str, ...] = setting(
        (), list, "further validation metrics, each with a best epoch of its own, measured as well"
    )
    run_dir: str | None = setting(None, str, "folder of the run; by default runs/<dataset>/<model>/<time>-<seed>")
    preset: str | None = setting(None, str, "a named set of settings, see properties/preset")
    dataset_counts: dict | None = setting(None, dict, "users, items and interactions that the data must have")

    def _check_together(self) -> None:
        check_method(self.item_softmax)


@dataclass(frozen=True)
class ContentSettings(Validated):
    """What items are, beside their ids, and how it enters the item table."""

    content_fields: tuple[str, ...] = setting((), list, "columns of the .item file")
    content_file: tuple[str, ...] = setting((), list, "files with a vector for each item")
    content_mode: str | None = setting(
        None, str, "how content enters the item table", choices=("none", "add", "replace", "gate", "init")
    )
    content_side: str = setting("both", str, "where content counts", choices=("both", "input", "output"))
    content_dropout: float = setting(0.0, float, "share of content left out in a training step", low=0, below=1)
    content_min_count: int = setting(2, int, "items with training that a value of an attribute must have", low=1)
    content_frozen: bool = setting(True, bool, "keep vectors as they are; only their projection learns")
    content_zero_init: bool = setting(False, bool, "content starts at zero")

    @property
    def mode(self) -> str:
        """The mode that is meant: by default `add` where content is named, else `none`."""
        named = bool(self.content_fields or self.content_file)
        return self.content_mode or ("add" if named else "none")

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
class ProcessSettings(Validated):
    """How many processes train a model together, and where they meet; RecBole's names."""

    nproc: int = setting(1, int, "processes that train together on this machine", low=1)
    world_size: int | None = setting(None, int, "processes on all machines; by default nproc", low=1)
    ip: str = setting("localhost", str, "address of the machine whose offset is 0")
    port: int | None = setting(None, int, "port there; by default a free one", low=1, high=65535)
    offset: int = setting(0, int, "processes on the machines before this one", low=0)

    @property
    def world(self) -> int:
        """Processes on all machines."""
        return self.world_size or self.nproc


GROUPS = (
    LossSettings,
    LikelihoodSettings,
    TransferSettings,
    SplitSettings,
    RunSettings,
    ContentSettings,
    ProcessSettings,
)
PROCESS_KEYS = frozenset(spec.name for spec in fields(ProcessSettings))
LOSS_KEYS = frozenset(
    spec.name for group in (LossSettings, LikelihoodSettings, TransferSettings) for spec in fields(group)
)
KEYS = {spec.name: spec.metadata for group in GROUPS for spec in fields(group)}


def check_own_keys(given: Mapping[str, Any]) -> None:
    """Refuse a key that has one of our prefixes and is none of our settings; names the nearest."""
    for key in given:
        if key not in KEYS and key.startswith(PREFIXES):
            raise InputError(f"{key}: there is no such setting.{did_you_mean(key, KEYS)}")


def check_own_value(name: str, value: Any) -> None:
    """Raise InputError where a setting of ours cannot have this value, whatever the others are."""
    checked(name, value, KEYS[name])
