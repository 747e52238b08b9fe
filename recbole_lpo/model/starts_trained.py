"""Methods that begin with the weights of a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from recbole_lpo.core.item_content import standardised
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.errors import InputError
from recbole_lpo.model.reference import ReferencePolicy


class StartsTrained:
    """Stands before an objective's mixin in the bases of a class: the model of `pref_reference` is where it begins.

    A model that is made to be ranked only, from a checkpoint, needs no such model.
    """

    takes_reference = True
    _has_trained_weights = False

    def __init__(self, config, dataset) -> None:
        name = type(self).__name__
        if ranks_of(config).several:
            raise InputError(
                f"nproc with {name}: it learns of items beside histories, in one process. Leave nproc out."
            )
        super().__init__(config, dataset)
        settings = self.loss_settings
        if not settings.pref_init_from_reference:
            raise InputError(
                f"pref_init_from_reference = False: {name} begins with the weights of a trained model. Leave it out."
            )
        if settings.pref_reference is not None:
            # Reading a run folder takes RecBole's Config, which takes the models.
            from recbole_lpo.reference_run import attach_reference

            attach_reference(self, config, dataset)

    def set_reference(self, reference: ReferencePolicy) -> None:
        """Called when the weights are those of a trained model; there is no other use for that model."""
        self._has_trained_weights = True

    @contextmanager
    def own_weights(self) -> Iterator[None]:
        """What is drawn inside comes from a stream of its own: the rest of the run is that of the trained model."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._rival_seed)
            yield

    def check_trained(self) -> None:
        """Raise InputError where the weights are not those of a trained model."""
        if not self._has_trained_weights:
            raise InputError(
                f"{type(self).__name__} begins with the weights of a trained model. `recbole-lpo run` trains one "
                "first; with RecBole's own entry points set pref_reference to the run folder of a trained model."
            )


def spread_of(vectors: Tensor) -> Tensor:
    """() the root of the mean square of vectors (M, D) about their mean; 1 where all are the same."""
    _, scale = standardised(vectors.detach(), torch.ones(len(vectors), dtype=torch.bool, device=vectors.device))
    return 1 / scale
