"""RecBole's dataset and its splits, from files that were checked and in exact time order."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from recbole.data import create_dataset, data_preparation
from recbole.data import dataset as recbole_dataset
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType

from recbole_lpo.data.checked_dataset import CheckedDataset
from recbole_lpo.data.checks import check_interaction_file
from recbole_lpo.data.flat_dataset import FlatSequentialDataset
from recbole_lpo.data.known_datasets import KNOWN_DATASETS
from recbole_lpo.errors import InputError, did_you_mean

# Whole numbers beyond this are not exact in float32, in which RecBole keeps times.
_FLOAT32_EXACT = 2**24
# What torch says of a training set without rows.
_NO_ROWS = "num_samples should be a positive integer"
# Cells (users x items) that a general model scores at once: 512 MB of float32.
_GENERAL_CELLS = 2**27


def load_dataset(config):
    """RecBole's dataset for a Config of ours, but the flat one, which gives the same rows, for its SequentialDataset.

    Raises InputError, in one line, for files that cannot be used.
    """
    _refuse_pickles(config)
    ours = own_dataset_class(config)
    if ours is None:
        check_files(config)
    else:
        _find_files(config)
    try:
        dataset = (ours or create_dataset)(config)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{config['data_path']}: RecBole cannot load the dataset: {reason}") from error
    absent = [name for name in config["selected_features"] or () if name not in dataset.field2type]
    if absent:
        raise InputError(
            f"selected_features = {config['selected_features']}: {config['model']} reads these columns of the items, "
            f"and {config['dataset']}.item has no {', '.join(absent)}. Name columns that it has, or take another model."
        )
    if not len(dataset.inter_feat):
        raise InputError(
            f"{config['dataset']}: no interaction is left after filtering (user_inter_num_interval = "
            f"{config['user_inter_num_interval']}, item_inter_num_interval = {config['item_inter_num_interval']})."
        )
    _check_counts(dataset, config)
    if config["TIME_FIELD"] in dataset.inter_feat:
        times = dataset.inter_feat[config["TIME_FIELD"]]
        dataset.inter_feat[config["TIME_FIELD"]] = exact_in_float32(times, dataset.inter_feat[dataset.uid_field])
    return dataset


def own_dataset_class(config) -> type | None:
    """Our class for the one that RecBole's `create_dataset` would take. None: datasets that it makes for some models
    alone, and those divided into files beforehand, stay RecBole's."""
    if config["benchmark_filename"] or hasattr(recbole_dataset, f"{config['model']}Dataset"):
        return None
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return FlatSequentialDataset
    return None if config["MODEL_TYPE"] == ModelType.KNOWLEDGE else CheckedDataset


def split_dataset(config, dataset):
    """RecBole's (train, validation, test) loaders.

    For general models RecBole counts `eval_batch_size` in cells (users x items), which by default scores one user at a
    time on a catalogue of 12 thousand; here it counts users, as it does for sequential models.
    """
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL and _scores_whole_rows(config.model_class):
        users = min(config["eval_batch_size"], max(1, _GENERAL_CELLS // dataset.item_num))
        config["eval_batch_size"] = users * dataset.item_num
    too_short = (
        f"{config['dataset']}: no user has enough interactions to train on some and hold out two "
        f"({dataset.inter_num} interactions of {dataset.user_num - 1} users). A sequential model needs "
        "users with at least 4."
    )
    try:
        train, valid, test = data_preparation(config, dataset)
    except ValueError as error:
        if _NO_ROWS in str(error):
            raise InputError(too_short) from None
        reason = " ".join(str(error).split())
        raise InputError(f"{config['dataset']}: RecBole cannot split the dataset: {reason}") from error
    if not len(train._dataset) or not len(test._dataset):
        raise InputError(too_short)
    return train, valid, test


def exact_in_float32(times: pd.Series, users: pd.Series) -> pd.Series:
    """The times, or ranks in their place where float32 would merge two of one order.

    RecBole turns times into float32, whose step is 64 to 128 s at today's Unix times, and so orders what one user did
    within two minutes by its place in the file (RecBole issue 2204). Ranks start from 1; where there are too many
    distinct times for float32 they are counted within each user.
    """
    values = times.to_numpy(np.float64)
    distinct = np.unique(values)
    if len(np.unique(distinct.astype(np.float32))) == len(distinct):
        return times
    if len(distinct) >= _FLOAT32_EXACT:
        return times.groupby(users.to_numpy()).rank(method="dense")
    _, rank = np.unique(values, return_inverse=True)
    return pd.Series(rank + 1.0, index=times.index, name=times.name)


def _scores_whole_rows(model_class: type) -> bool:
    return getattr(model_class, "full_sort_predict", None) is not AbstractRecommender.full_sort_predict


def _refuse_pickles(config) -> None:
    """RecBole takes a dataset that an earlier run pickled over its files, and to load a pickle can run any code."""
    way_out = "A pickle can run code when it is loaded; datasets are read from their atomic files alone."
    for key in ("save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path"):
        if config[key]:
            raise InputError(f"{key} = {config[key]}: is not supported. {way_out} Leave it out.")
    folder = Path(config["checkpoint_dir"])
    pickles = [*folder.glob("*Dataset.pth"), *folder.glob("*-dataloader.pth")]
    if pickles:
        raise InputError(f"{pickles[0]}: RecBole would load this pickle. {way_out} Remove it.")


def check_files(config) -> None:
    """InputError, in one line, where the files of the interactions are not there or cannot be used."""
    for path in _find_files(config):
        check_interaction_file(path, config)


def _find_files(config) -> list[Path]:
    folder, name = Path(config["data_path"]), config["dataset"]
    suffixes = config["benchmark_filename"]
    names = [f"{name}.{suffix}.inter" for suffix in suffixes] if suffixes else [f"{name}.inter"]
    missing = [file for file in names if not (folder / file).is_file()]
    if missing:
        there = [path.parent.name for path in folder.parent.glob("*/*.inter") if path.stem == path.parent.name]
        make = f"--dataset={name} --download` (or with --input=FILE)"
        if name not in KNOWN_DATASETS:
            make = f"--name={name} --source=csv --input=FILE`"
        raise InputError(
            f"dataset = {name}: {folder / missing[0]} is not there.{did_you_mean(name, there)} Two ways to get it: "
            f"make it from the raw files with `recbole-lpo prepare --output={folder.parent} {make}, or point "
            "--data_path at the folder that holds it as <data_path>/<dataset>/<dataset>.inter. RecBole's own download "
            "no longer works."
        )
    return [folder / file for file in names]


def _check_counts(dataset, config) -> None:
    expected = config["dataset_counts"]
    if not expected:
        return
    found = {"users": dataset.user_num - 1, "items": dataset.item_num - 1, "interactions": dataset.inter_num}
    wrong = {key: value for key, value in expected.items() if found.get(key) != value}
    if not wrong:
        return
    figures = ", ".join(f"{found[key]} {key} (expected {value})" for key, value in wrong.items())
    changed = {"user_inter_num_interval", "item_inter_num_interval", "val_interval"} & set(config.external_config_dict)
    message = f"dataset = {config['dataset']}: after filtering it has {figures}."
    if not changed:
        raise InputError(f"{message} It is not the dataset of that name; set dataset_counts to ~ to run it anyway.")
    logging.getLogger().warning("%s Its filter was changed (%s).", message, ", ".join(sorted(changed)))
