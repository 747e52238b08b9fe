"""What several processes cannot do, found out before any of them starts."""

from __future__ import annotations

import torch
import torch.distributed as dist
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_trainer

from recbole_lpo.config import Config
from recbole_lpo.distributed.group import launched
from recbole_lpo.errors import InputError
from recbole_lpo.settings import ProcessSettings


def check_processes(config: Config) -> None:
    """Raises InputError where a run of several processes cannot be; says nothing of a run of one."""
    settings, place = ProcessSettings.from_config(config), launched()
    if place is None:
        _check_machines(settings)
    world = place.world if place else settings.world
    if world == 1:
        return
    if place and settings.nproc not in (1, place.local_world):
        raise InputError(
            f"nproc = {settings.nproc}: {place.local_world} processes were started on this machine already. Leave "
            "nproc out where torchrun starts them."
        )
    if not dist.is_available():
        raise InputError(f"nproc = {settings.nproc}: this torch was built without torch.distributed. Allowed: 1.")
    _check_devices(config, place.local_world if place else settings.nproc)
    _check_trainer(config, world)
    if config["train_batch_size"] < world:
        raise InputError(
            f"train_batch_size = {config['train_batch_size']}: {world} processes divide each batch among them. It must "
            f"be at least {world}."
        )


def _check_machines(settings: ProcessSettings) -> None:
    world, n, before = settings.world, settings.nproc, settings.offset
    if before + n > world:
        raise InputError(
            f"world_size = {world}: there are offset = {before} processes on the machines before this one and nproc = "
            f"{n} here. It must be at least {before + n}."
        )
    if world > n and settings.port is None:
        raise InputError(
            f"world_size = {world} with nproc = {n}: machines meet at ip and port. Set port to one that is free on the "
            "machine at ip, the same on all machines."
        )


def _check_devices(config: Config, here: int) -> None:
    if config["device"].type != "cuda" or here <= torch.cuda.device_count():
        return
    n = torch.cuda.device_count()
    raise InputError(
        f"nproc = {here}: each process needs a GPU, and {n} can be used (gpu_id = {config['gpu_id']}). Allowed: 1 to "
        f"{n}; with CUDA_VISIBLE_DEVICES= in the environment the processes take the CPU."
    )


def _check_trainer(config: Config, world: int) -> None:
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])
    ordinary = issubclass(trainer, Trainer) and config["MODEL_TYPE"] != ModelType.TRADITIONAL
    if ordinary and hasattr(config.model_class, "tell_of_no_rows"):
        return
    if not ordinary or trainer.fit is not Trainer.fit or trainer._train_epoch is not Trainer._train_epoch:
        raise InputError(
            f"nproc: {world} processes cannot train {config['model']}: RecBole's {trainer.__name__} has a way of its "
            "own to train it, or counts what it learns. Train it with one process."
        )
