"""A run's data, model and trainer, made from its settings or loaded from its folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recbole.utils import ModelType, init_seed

from recbole_lpo.config import Config
from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.data.popularity import interactions_hash
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.errors import InputError
from recbole_lpo.model.content import attach_content
from recbole_lpo.resume import made_with
from recbole_lpo.run_folder import CHECKPOINTS, METRICS, read_settings
from recbole_lpo.trainer.checkpoint import BEST, load_checkpoint, put_weights, token_map_hash
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.recbole_checkpoint import read_recbole_checkpoint
from recbole_lpo.trainer.run_log import without_tensorboard


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with the data that it was trained on.

    `trainer.evaluate(test_data, load_best_model=False)` measures it again.
    """

    config: Config
    dataset: Any
    train_data: Any
    valid_data: Any
    test_data: Any
    model: Any
    trainer: Any

    @property
    def split(self) -> HeadTailSplit:
        """Which items are head and which are tail."""
        return self.trainer.eval_collector.split


def prepare(config: Config) -> LoadedRun:
    """Data, model and trainer, in RecBole's order of drawing random numbers."""
    init_seed(config["seed"], config["reproducibility"])
    dataset = load_dataset(config)
    train_data, valid_data, test_data = split_dataset(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = _built(config, train_data._dataset)
    # Models of ours have it by now, RecBole's own do not.
    attach_content(model, config, train_data._dataset)
    model.to(config["device"])
    trainer = trainer_class(config["MODEL_TYPE"], config["model"])(config, model)
    if trainer.run_settings.also_select and not hasattr(trainer, "selections"):
        raise InputError(
            f"also_select with model = {config['model']}: RecBole trains it in phases of its own, of which only the "
            "best epoch under valid_metric is kept. Leave also_select out."
        )
    trainer.know_histories(train_data, valid_data)
    if not ranks_of(config).writes:
        # Weights are the same everywhere by now; dropout and negatives are each process's own.
        init_seed(ranks_of(config).own_seed(config["seed"]), config["reproducibility"])
    return LoadedRun(config, dataset, train_data, valid_data, test_data, model, trainer)


def _built(config: Config, train_dataset):
    # Where negatives are sampled RecBole makes the labels of them, later.
    sampled = config["train_neg_sample_args"]["distribution"] != "none"
    from_labels = config["MODEL_TYPE"] == ModelType.CONTEXT and not sampled
    if from_labels and config["LABEL_FIELD"] not in train_dataset.inter_feat:
        raise InputError(
            f"model = {config['model']}: learns from labels, and {config['dataset']} has no column "
            f"{config['LABEL_FIELD']!r}. Name it by LABEL_FIELD, or make it of another, as threshold: {{'rating': 3}}; "
            "load_col must name what is read. Or have negatives sampled (train_neg_sample_args)."
        )
    try:
        return config.model_class(config, train_dataset)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        if isinstance(error, InputError) or not config.model_class.__module__.startswith("recbole."):
            raise
        # RecBole looks at what a model needs where it uses it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"model = {config['model']}: RecBole cannot make it with these settings and this dataset ({reason})."
        ) from error


def load(run_dir: str | Path, config_dict: dict[str, Any] | None = None) -> LoadedRun:
    """The best model of a run folder, ready to evaluate or to recommend, with its data.

    config_dict: settings in place of those of the run, for the evaluation (`eval_mask_history`, `topk`, ...).
    """
    folder = Path(run_dir)
    changes = {**(config_dict or {}), "checkpoint_dir": str(folder / CHECKPOINTS)}
    config = Config(config_dict=read_settings(folder) | changes)
    if config["pref_reference"] is not None and not Path(config["pref_reference"]).is_dir():
        # Ranking needs no reference policy: a run can be read where its own is gone.
        config["pref_reference"] = None
    with without_tensorboard():
        prepared = prepare(config)
    items = token_map_hash(item_tokens(prepared))
    about = load_checkpoint(folder / CHECKPOINTS / BEST, prepared.model, items=items)
    if about.get("interactions") != interactions_hash(prepared.train_data._dataset):
        logging.getLogger().warning(
            "%s: was trained on other interactions of these items: %s has changed since, or is split otherwise. "
            "Figures are of the data as it is now.",
            folder,
            config["dataset"],
        )
    if not (folder / METRICS).is_file():
        logging.getLogger().warning(
            "%s: its training has not finished; these are its best weights so far. Go on with --resume=%s.",
            folder,
            folder,
        )
    prepared.trainer.eval_collector.data_collect(prepared.train_data)
    prepared.trainer.run_dir = folder
    prepared.model.eval()
    return prepared


def load_recbole_checkpoint(file: str | Path, config_dict: dict[str, Any] | None = None) -> LoadedRun:
    """As `load`, of a file that RecBole's own trainer has written (`saved/<model>-<time>.pth`), with a warning.

    The file is a pickle; it is read as data, nothing in it runs. It does not say which items its weights are of: the
    dataset must be the very file that the model was trained on. config_dict: settings in place of those of the file,
    `data_path` say.
    """
    path = Path(file)
    settings, weights, others = read_recbole_checkpoint(path)
    logging.getLogger().warning(
        "%s: RecBole's checkpoints do not say which items they are of. If %s is not the file that this model was "
        "trained on, all figures are wrong without a sign of it.",
        path,
        settings["dataset"],
    )
    settings |= config_dict or {}
    cuts = settings.get("topk", 10)
    # Nothing is trained: any metric that is measured will do.
    settings["valid_metric"] = f"NDCG@{max(cuts) if isinstance(cuts, list) else cuts}"
    config = Config(config_dict=settings)
    with without_tensorboard():
        prepared = prepare(config)
    put_weights(path, {"weights": weights, "other_parameter": others}, prepared.model)
    prepared.trainer.eval_collector.data_collect(prepared.train_data)
    prepared.model.eval()
    return prepared


def about_of(prepared: LoadedRun) -> dict[str, Any]:
    """What checkpoints of the run say of themselves."""
    config = prepared.config
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "items": token_map_hash(item_tokens(prepared)),
        "interactions": interactions_hash(prepared.train_data._dataset),
        "split": prepared.split.describe() | {"held_out": str(config["eval_args"]["split"])},
        "made_with": made_with() | {"device": str(config["device"])},
    }


def item_tokens(prepared: LoadedRun) -> np.ndarray:
    """(N,) the names of the items in the data, by item number."""
    return prepared.dataset.field2id_token[prepared.dataset.iid_field]
