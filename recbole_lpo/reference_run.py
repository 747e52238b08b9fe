"""Where a reference policy comes from: a run folder, trained first where the user names none."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock
from recbole.data.transform import construct_transform

from recbole_lpo.config import Config
from recbole_lpo.core.objectives import NEEDS_REFERENCE
from recbole_lpo.data.fingerprint import data_fingerprint
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.errors import InputError
from recbole_lpo.model import WITH_REFERENCE, parts_of
from recbole_lpo.model.backbones import BACKBONES, encoding_class
from recbole_lpo.model.content import attach_content
from recbole_lpo.model.reference import ReferencePolicy
from recbole_lpo.run_folder import CHECKPOINTS, METRICS, plain_settings, read_settings
from recbole_lpo.settings import LOSS_KEYS, PROCESS_KEYS, ContentSettings
from recbole_lpo.trainer.checkpoint import BEST, load_checkpoint, token_map_hash

_OF_THE_POLICY = LOSS_KEYS | {"preset", "run_dir", "model", "eval_logit_adjust_curve"}


def lacks_reference(config: Config) -> bool:
    """Whether a run needs a reference policy that its settings do not name."""
    method, _ = parts_of(config["model"]) or (None, None)
    needed = method in WITH_REFERENCE and not (method in NEEDS_REFERENCE and config["pref_weight"] == 0)
    return needed and config["pref_reference"] is None


def reference_folder(config: Config, train) -> Path:
    """The run folder of the reference for a run: the same backbone with cross-entropy, all else equal.

    Runs of the same settings on the same files share it, however many processes they have. train(config_dict) trains it
    where it is not there yet; all processes of a run call it together.
    """
    ranks = ranks_of(config)
    _, backbone = parts_of(config["model"])
    settings = {key: value for key, value in plain_settings(config.given).items() if key not in _OF_THE_POLICY}
    settings["model"] = backbone
    vectors = ContentSettings.from_config(config).content_file
    data = data_fingerprint(Path(config["data_path"]), config["dataset"], vectors)
    # Wherever the files lie, the same data has the same reference.
    policy = {key: value for key, value in settings.items() if key not in PROCESS_KEYS | {"data_path"}}
    digest = hashlib.sha256(json.dumps([policy, data], sort_keys=True).encode()).hexdigest()[:12]
    folder = Path("runs") / config["dataset"] / backbone / f"reference-{digest}"
    of_dataset = folder.parent.parent
    of_dataset.mkdir(parents=True, exist_ok=True)
    # Of several runs beside each other one trains it, and the others wait.
    with FileLock(of_dataset / f".{folder.name}.lock") if ranks.writes else nullcontext():
        if ranks.told((folder / METRICS).is_file()):
            logging.getLogger().info("Reference policy of %s: %s, trained before.", config["model"], folder)
        else:
            logging.getLogger().info("Reference policy of %s: training %s first.", config["model"], backbone)
            train(settings | {"run_dir": str(folder), "eval_logit_adjust_curve": []})
    return folder


def attach_reference(model, config, dataset) -> None:
    """Give a model the reference policy of `pref_reference`, and its weights to start from.

    dataset: the training dataset of the model. Raises InputError where the folder holds no such policy, or one of
    another catalogue, history length or size.
    """
    folder = Path(model.loss_settings.pref_reference)
    found = Config(config_dict=read_settings(folder))
    name = found["model"]
    backbone = parts_of(name)[1] if parts_of(name) else name
    if backbone not in BACKBONES:
        raise InputError(
            f"pref_reference = {folder}: holds {name}, which cannot be a reference. Allowed: a run of "
            f"{', '.join(BACKBONES)}, or of a model of ours on one of these."
        )
    if found["MAX_ITEM_LIST_LENGTH"] != config["MAX_ITEM_LIST_LENGTH"]:
        raise InputError(
            f"pref_reference = {folder}: reads histories of {found['MAX_ITEM_LIST_LENGTH']} items, "
            f"MAX_ITEM_LIST_LENGTH is {config['MAX_ITEM_LIST_LENGTH']}. They must be equal."
        )
    if not (folder / METRICS).is_file():
        raise InputError(
            f"pref_reference = {folder}: its training has not finished. End it with --resume={folder}, "
            "or name the folder of a finished run."
        )
    policy_class = encoding_class(backbone)
    if policy_class.training_states is not type(model).training_states:
        raise InputError(
            f"pref_reference = {folder}: holds {name}, which learns from other targets than {type(model).__name__}. "
            "Take a reference of the same backbone."
        )
    # RecBole's transforms of a batch put the names of their fields into the settings.
    construct_transform(found)
    # Its initial weights are thrown away; the model's own random stream must not notice.
    with torch.random.fork_rng(devices=[]):
        policy = policy_class(found, dataset)
        attach_content(policy, found, dataset)
    items = token_map_hash(dataset.field2id_token[dataset.iid_field])
    load_checkpoint(folder / CHECKPOINTS / BEST, policy, items=items)
    if model.loss_settings.pref_init_from_reference:
        _start_from(model, policy, folder)
    model.set_reference(ReferencePolicy(policy))


def _start_from(model, policy, folder: Path) -> None:
    try:
        model.load_state_dict(policy.state_dict())
    except RuntimeError:
        raise InputError(
            f"pref_init_from_reference = True: the weights of {folder} do not fit {type(model).__name__} (another "
            "backbone or size). Set it to False, or name a reference of the same backbone and sizes."
        ) from None
