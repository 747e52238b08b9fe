"""Data, model and trainer of one side: ours, or RecBole's as its own users have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import recbole.config
import recbole.evaluator.collector
import recbole.trainer.trainer
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from benchmarks.cases import OURS, RECBOLE
from benchmarks.synthetic import Synthetic
from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.memory import keep_for_next_step

_SAME_DATA = ("load_col", "user_inter_num_interval", "item_inter_num_interval", "normalize_all", "eval_args")
_EVERYWHERE = {"use_gpu": False, "show_progress": False, "seed": 2020}


@dataclass(frozen=True)
class Side:
    """One side, ready to train. n_targets: training targets of an epoch, each once; n_interactions: in all."""

    config: Any
    train_data: Any
    valid_data: Any
    test_data: Any
    model: Any
    trainer: Any
    n_targets: int
    n_interactions: int

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return -(-self.n_targets // self.config["train_batch_size"])


def build(side: str, settings: dict[str, Any], folders: dict[str, str], adapt=lambda trainer: trainer) -> Side:
    """settings: `model`, `dataset` or `synthetic` (fields of Synthetic), `max_length`, and under `config` any setting.

    folders: where each dataset is, and under `synthetic` where the synthetic ones are. adapt: changes the class of our
    trainer.
    """
    name, given = _data(settings, folders)
    given |= _EVERYWHERE | {"MAX_ITEM_LIST_LENGTH": settings["max_length"]} | settings.get("config", {})
    ours = Config(settings["model"], name, None, given)
    if side == OURS:
        return _ours(ours, adapt)
    theirs = given | {key: ours.given[key] for key in _SAME_DATA if ours.given.get(key) is not None}
    return _recbole(settings["model"], name, theirs, anomaly_mode=side == RECBOLE)


def _data(settings: dict[str, Any], folders: dict[str, str]) -> tuple[str, dict[str, Any]]:
    if "synthetic" not in settings:
        return settings["dataset"], {"data_path": folders[settings["dataset"]]}
    made = Synthetic(**settings["synthetic"])
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
    return made.name, {"data_path": folders["synthetic"], "load_col": columns}


def _ours(config: Config, adapt) -> Side:
    """What `recbole_lpo.run` does before it trains."""
    keep_for_next_step()
    init_seed(config["seed"], config["reproducibility"])
    dataset = load_dataset(config)
    n_targets, n_interactions = _n_targets(dataset), len(dataset.inter_feat)
    train, valid, test = split_dataset(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = config.model_class(config, train._dataset).to(config["device"])
    trainer = adapt(trainer_class(config["MODEL_TYPE"], config["model"]))(config, model)
    trainer.know_histories(train, valid)
    return Side(config, train, valid, test, model, trainer, n_targets, n_interactions)


def _recbole(model_name: str, dataset_name: str, given: dict[str, Any], *, anomaly_mode: bool) -> Side:
    """What RecBole's `run_recbole` does before it trains.

    `import recbole_lpo` was needed to make RecBole start at all on current libraries. What it improves beyond that is
    taken back, but for the one empty set of its sampler: RecBole's own collector measures, and autograd's anomaly mode
    is on, as RecBole's `sine.py` leaves it for everyone who imports a sequential model.
    """
    torch.autograd.set_detect_anomaly(anomaly_mode)
    figures = {"metrics": ["Hit", "NDCG", "MRR"], "topk": [5, 10, 20], "valid_metric": "NDCG@10"}
    given = {"loss_type": "CE", "train_neg_sample_args": None, **figures, **given}
    config = recbole.config.Config(model=model_name, dataset=dataset_name, config_dict=given)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    n_targets, n_interactions = _n_targets(dataset), len(dataset.inter_feat)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    with patch.object(recbole.trainer.trainer, "Collector", recbole.evaluator.collector.Collector):
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return Side(config, train, valid, test, model, trainer, n_targets, n_interactions)


def _n_targets(dataset) -> int:
    """Of a user's n interactions the first is no target and two are held out, where that leaves one."""
    n = np.bincount(np.asarray(dataset.inter_feat[dataset.uid_field]))
    return int(np.maximum(n[n > 1] - 3, 1).sum())
