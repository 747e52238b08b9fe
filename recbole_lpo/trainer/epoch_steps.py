"""One epoch of training: batches, steps, losses."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from recbole.trainer import Trainer
from tqdm import tqdm

from recbole_lpo.core.gathered_rows import make_lookups_sparse
from recbole_lpo.core.item_softmax import softmax_method
from recbole_lpo.core.precision import cpu_has_bfloat16, half_precision
from recbole_lpo.core.reused_memory import give_back_spare
from recbole_lpo.data.item_batches import ItemBatches
from recbole_lpo.data.sequences import PackedBatch, PackedSequences
from recbole_lpo.distributed.parts import Part, parts_of_packed, parts_of_rows
from recbole_lpo.distributed.together import Together
from recbole_lpo.model.caser import trim_padding
from recbole_lpo.model.packed import can_pack, packed_loss
from recbole_lpo.trainer.finiteness import check_losses
from recbole_lpo.trainer.moments import forget_moments
from recbole_lpo.trainer.optimizer import fused


class EpochSteps:
    """The steps of an epoch: stands before a trainer of RecBole in the bases of a class.

    Against RecBole's: whole histories in place of padded prefixes, where the model allows it (`batching`); no reading
    of the device between steps; Adam runs fused; mixed precision (`enable_amp`) is bfloat16 where the device has it,
    and gradients are clipped after they are unscaled; Caser leaves the padding out; several processes (`nproc`) divide
    each batch among them and take the step that one process takes.
    """

    def __init__(self, config, model) -> None:
        super().__init__(config, model)
        if self.run_settings.batching == "packed":
            trim_padding(self.model)
        self._together = Together(self.model, self.ranks) if self.ranks.several else None
        self._packed: PackedSequences | ItemBatches | None = None
        self._item_softmax = self.run_settings.item_softmax
        in_bfloat16 = self.enable_amp or self._item_softmax == "chunked_bfloat16"
        if in_bfloat16 and self.device.type == "cpu" and cpu_has_bfloat16() is False:
            self.logger.warning(
                "This processor has no instructions for bfloat16: item_softmax = chunked_bfloat16 and enable_amp make "
                "the training slower on it, not faster."
            )

    def _build_optimizer(self, **kwargs):
        rate = getattr(self.model, "own_learning_rate", None)
        if rate is not None:
            kwargs = {"learning_rate": rate, **kwargs}
        return fused(super()._build_optimizer(**kwargs))

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        """An epoch over the model's own batches where it has some (`own_batches`), over whole histories where it allows
        these (`batching`), over RecBole's rows elsewhere.

        RecBole's own epoch where a trainer has one of its own, and where RecBole itself runs several processes. Before
        it, `start_epoch(epoch)` of a model that has it is called. It returns the weights that it has overwritten, as
        (parameter, row numbers), or None.
        """
        if hasattr(self.model, "start_epoch"):
            for weight, rows in self.model.start_epoch(epoch_idx) or ():
                self.ranks.take_from_first(weight)
                forget_moments(self.optimizer, weight, rows)
        if super()._train_epoch.__func__ is not Trainer._train_epoch or not self.config["single_spec"]:
            return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        self.model.train()
        loss_of = loss_func or self.model.calculate_loss
        if isinstance(self._packed, PackedSequences):
            loss_of = self._packed_loss
        if self._together is not None:
            batches, loss_of = self._parts(train_data, epoch_idx), self._together.loss_of(loss_of)
        elif self._packed is not None:
            batches = self._packed.epoch(epoch_idx)
        else:
            batches = (batch.to(self.device) for batch in train_data)
        steps = len(self._packed or train_data)
        if show_progress:
            batches = tqdm(batches, total=steps, ncols=100, desc=f"Train {epoch_idx:>5}", leave=False)
        dtype = half_precision(self.device)
        # bfloat16 has the range of float32: only float16 needs its loss scaled.
        scaling = self.enable_scaler and dtype == torch.float16
        scaler = torch.amp.GradScaler(self.device.type, enabled=scaling)
        losses, rates = torch.zeros(steps, device=self.device, dtype=torch.float64), []
        for step, batch in enumerate(batches):
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, dtype, enabled=self.enable_amp):
                loss = loss_of(batch)
            # Models of RecBole may give the parts of their loss.
            loss = sum(loss) if isinstance(loss, tuple) else loss
            scaler.scale(loss).backward()
            if self.clip_grad_norm:
                scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            losses[step] = loss.detach()
            rates.append(self._rate())
            scaler.step(self.optimizer)
            scaler.update()
        # Validation has other needs.
        give_back_spare()
        losses = self.ranks.sum(losses) / self.ranks.world
        # Read once an epoch: reading each step's loss would make the device wait for the host.
        check_losses(self, losses, rates)
        return losses.sum().item()

    def _parts(self, train_data, epoch_idx: int) -> Iterator[Part]:
        if self._packed is not None:
            return parts_of_packed(self._packed, epoch_idx, self.ranks)
        return parts_of_rows(train_data, self.ranks, self.device)

    def _packed_loss(self, batch: PackedBatch) -> torch.Tensor:
        return packed_loss(self.model, batch, self._packed.n_events, self._item_softmax)

    def _rate(self) -> float | None:
        """The learning rate now; None where the optimizer has none of torch's kind."""
        return self.optimizer.param_groups[0]["lr"] if hasattr(self.optimizer, "param_groups") else None

    def _pack(self, train_data) -> PackedSequences | ItemBatches | None:
        if hasattr(self.model, "own_batches"):
            return self.model.own_batches
        if self.run_settings.batching == "prefix" or not can_pack(self.model) or not self.config["single_spec"]:
            return None
        if self.config["benchmark_filename"] is not None:
            # The rows of files that were divided beforehand need not go on from each other.
            return None
        max_length, batch_targets = self.config["MAX_ITEM_LIST_LENGTH"], self.config["train_batch_size"]
        embedding = self.model.item_embedding
        method, n_items = self.run_settings.item_softmax, embedding.num_embeddings
        # The states of whole histories differ from RecBole's in their last digits already.
        self._item_softmax = softmax_method(method, batch_targets, n_items, self.device, recbole_digits=False)
        if hasattr(self.model, "item_softmax"):
            self.model.item_softmax = self._item_softmax
        if self._item_softmax != "dense" and not self.ranks.several:
            make_lookups_sparse(embedding)
        return PackedSequences(
            train_data._dataset,
            max_length=max_length,
            window_step=min(self.run_settings.batching_window_step or max(1, max_length // 2), max_length),
            batch_targets=batch_targets,
            seed=self.config["seed"],
            shuffle=self.config["shuffle"],
            device=self.device,
        )
