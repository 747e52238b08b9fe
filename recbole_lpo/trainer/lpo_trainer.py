"""The loop's policy: schedule, early stopping, checkpoints, logging."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import get_trainer
from torch.optim.lr_scheduler import LRScheduler

from recbole_lpo.config_checks import larger_is_better
from recbole_lpo.core.precision import full_precision
from recbole_lpo.errors import InputError
from recbole_lpo.interruption import whole_steps
from recbole_lpo.run_folder import CHECKPOINTS, write_history
from recbole_lpo.trainer.checkpoint import BEST, put_weights, save_checkpoint
from recbole_lpo.trainer.epoch_steps import EpochSteps
from recbole_lpo.trainer.evaluation import TailEvaluation
from recbole_lpo.trainer.finiteness import fail
from recbole_lpo.trainer.plain_attributes import PlainAttributes
from recbole_lpo.trainer.run_log import epoch_line
from recbole_lpo.trainer.run_state import optimizers_of, put_run_state, run_state
from recbole_lpo.trainer.schedule import attach_schedule
from recbole_lpo.trainer.selection import Selection, selected_folder


class LoopPolicy(EpochSteps):
    """RecBole's training epochs, under a policy of our own: stands before a trainer of RecBole in the bases of a class.

    Against RecBole's `fit`: the learning rate can warm up and decay; early stopping compares the unrounded metric, and
    a tie is no improvement (RecBole rounds to four digits and lets a tie reset the patience); the parts of the loss are
    logged for head and tail; a loss that is not finite ends the run at the end of its epoch, with the first step that
    had one and the learning rate there; with a run folder, what training needs to go on is kept there
    (`checkpoint_every`), and `resumed` puts it back.

    Best epochs under further metrics (`also_select`) are kept beside that under `valid_metric`, each in a folder of its
    own; training ends when no metric improves any more.

    history     one dict an epoch: epoch, seconds, learning_rate, train_loss, parts of the loss, validation metrics,
                `best` (whether it is the best so far) and `best/<metric>` for the metrics of `also_select`
    selections  the best epochs: under `valid_metric` first, then under each metric of `also_select`
    resumed     the content of a `last` checkpoint to go on from, set before `fit`
    kept_epoch  the epoch that the best weights in the run folder are of
    """

    resumed: dict[str, Any] | None = None

    def __init__(self, config, model) -> None:
        super().__init__(config, model)
        self.history: list[dict[str, Any]] = []
        metrics = (config["valid_metric"], *self.run_settings.also_select)
        self.selections = [Selection(metric, larger_is_better(metric)) for metric in metrics]
        self.best_epoch: int | None = None
        self.kept_epoch: int | None = None
        self.schedule: LRScheduler | None = None
        self.plain_attributes: PlainAttributes | None = None

    def fit(
        self,
        train_data,
        valid_data=None,
        verbose=True,
        saved=True,
        show_progress=False,
        callback_fn=None,
    ):
        """Train until `epochs`, or until validation has not improved for more than `stopping_step` evaluations, those
        during the warm-up not counted, under any metric that is selected by.

        The arguments and the result (best validation score, best validation metrics) are those of RecBole's `fit`.
        """
        # A loader without rows counts as false.
        validated = valid_data is not None and self.eval_step > 0
        if validated and not len(valid_data._dataset):
            raise InputError(
                "The data has no validation interactions: every user needs at least 4 interactions for a sequential "
                "model to learn from, validate and test. Take more data, or set eval_step to 0 to train without."
            )
        if saved and self.start_epoch >= self.epochs and not self.resumed:
            self._save_checkpoint(-1, verbose=False)
        self.eval_collector.data_collect(train_data)
        self.know_histories(train_data, valid_data)
        if self.config["train_neg_sample_args"].get("dynamic", False):
            train_data.get_model(self.model)
        self._packed = self._pack(train_data)
        self._set_out(train_data)
        for epoch in range(self.start_epoch, self.epochs):
            if self.stopped_early:
                break
            self.epoch = epoch
            record = self._train_and_record(train_data, epoch, show_progress)
            if validated and (epoch + 1) % self.eval_step == 0:
                score = self._validate_and_record(valid_data, record, show_progress)
                if callback_fn:
                    callback_fn(epoch, score)
            if saved:
                self._keep(train_data, record, validated)
            self._report(record, verbose)
        if validated and self.best_epoch is not None:
            self._add_hparam_to_tensorboard(self.best_valid_score)
        self.tensorboard.flush()
        return self.best_valid_score, self.best_valid_result

    @property
    def stopped_early(self) -> bool:
        """Whether validation has not improved for more than `stopping_step` evaluations, under any metric."""
        return all(selection.is_over(self.stopping_step) for selection in self.selections)

    def _set_out(self, train_data) -> None:
        """Put back what an interrupted training had come to, if there is one, and start the schedule there."""
        self.plain_attributes = PlainAttributes(self.model)
        steps = len(self._packed or train_data)
        done_steps = self.start_epoch * steps
        if self.resumed:
            put_weights(self.last_file, self.resumed, self.model)
            put_run_state(self, train_data, self.resumed["state"])
            done_steps = self.resumed["state"]["steps"] or 0
            if self.kept_epoch == self.start_epoch - 1:
                # It was killed between the two files of that epoch, perhaps.
                self._save_checkpoint(self.kept_epoch, verbose=False)
            for selection in self.selections[1:]:
                if selection.epoch == self.start_epoch - 1:
                    self._save_selected(selection)
            if self._packed and getattr(self.model, "needs_reference", False):
                # Its states differ in the last digit with the batch that they were computed in: that of epoch 0.
                with full_precision(self.device):
                    for part in self._parts(train_data, 0):
                        if part.rows is not None:
                            self.model.reference.states(part.rows, self._packed.n_events)
            # It has a second copy of the weights.
            self.resumed.clear()
        self.schedule = attach_schedule(
            self.optimizer,
            total_steps=self.epochs * steps,
            warmup_ratio=self.run_settings.warmup_ratio,
            schedule=self.run_settings.lr_schedule,
            done_steps=done_steps,
        )

    def _train_and_record(self, train_data, epoch: int, show_progress: bool) -> dict[str, Any]:
        started = perf_counter()
        with whole_steps(optimizers_of(self).values()):
            losses = self._train_epoch(train_data, epoch, show_progress=show_progress)
        total = sum(losses) if isinstance(losses, tuple) else losses
        self.train_loss_dict[epoch] = total
        record = {
            "epoch": epoch,
            "seconds": perf_counter() - started,
            "learning_rate": self._rate(),
            "train_loss": total / max(1, len(self._packed or train_data)),
        }
        monitor = getattr(self.model, "loss_monitor", None)
        self.history.append(record | (monitor.pop(self.ranks) if monitor else {}))
        return self.history[-1]

    def _validate_and_record(self, valid_data, record, show_progress: bool) -> float:
        """The validation score; says in the record whether it is the best."""
        score, result = self.ranks.told(self._valid_epoch(valid_data, show_progress=show_progress))
        record |= {f"valid/{metric}": float(value) for metric, value in result.items()}
        # While the learning rate still rises, no improvement says nothing about what is to come.
        warming_up = record["epoch"] + 1 < self.run_settings.warmup_ratio * self.epochs
        for number, selection in enumerate(self.selections):
            best = selection.take(record["epoch"], result, patience=self.stopping_step, counts=not warming_up)
            record[f"best/{selection.key}" if number else "best"] = best
        self.show_best()
        return score

    def show_best(self) -> None:
        """Have RecBole's attributes say what the first selection says."""
        first = self.selections[0]
        self.cur_step, self.best_epoch, self.best_valid_score = first.waited, first.epoch, first.score
        self.best_valid_result = first.result and self._rounded(first.result)

    def _keep(self, train_data, record: dict[str, Any], validated: bool) -> None:
        """Write the history and the checkpoints that are due after an epoch.

        The state goes first: whoever has it can make the best weights of the same epoch from it, not the other way.
        """
        epoch, every = record["epoch"], self.run_settings.checkpoint_every
        at_the_end = epoch + 1 == self.epochs or self.stopped_early
        due = at_the_end or (every > 0 and (epoch + 1) % every == 0)
        # Without validation the latest weights count as the best.
        best = record.get("best", False) if validated else due or self.run_dir is None
        self.kept_epoch = epoch if best else self.kept_epoch
        if self.run_dir is not None:
            # All processes take part in the state; one writes.
            state = run_state(self, train_data, epoch) if every > 0 and (due or best) else None
            if self.ranks.writes:
                self.run_dir.mkdir(parents=True, exist_ok=True)
                write_history(self.run_dir, self.history)
            if self.ranks.writes and state:
                save_checkpoint(self.last_file, self.model, {**(self.about or {}), "epoch": epoch}, state)
        if best:
            self._save_checkpoint(epoch, verbose=False)
        for selection in self.selections[1:]:
            if record.get(f"best/{selection.key}") and self.run_dir is not None:
                self._save_selected(selection)

    def _save_selected(self, selection: Selection) -> None:
        folder = selected_folder(self.run_dir, selection.metric)
        self._save_best(folder / CHECKPOINTS / BEST, selection.epoch)

    def _report(self, record: dict[str, Any], verbose: bool) -> None:
        for key, value in record.items():
            if key != "epoch" and not isinstance(value, bool) and value is not None:
                name = key if "/" in key else f"train/{key}"
                self.tensorboard.add_scalar(name, value, record["epoch"])
        numbers = {key: value for key, value in record.items() if not isinstance(value, bool)}
        self.wandblogger.log_metrics(numbers, head="train")
        if verbose:
            self.logger.info(epoch_line(record, self.valid_metric))

    def _check_nan(self, loss) -> None:
        """RecBole's own epochs ask this after every step."""
        if not torch.isfinite(loss):
            fail(self, loss, f"in epoch {self.epoch}", self._rate())


class LPOTrainer(LoopPolicy, TailEvaluation, Trainer):
    """The trainer of the plugin's models, which RecBole's `get_trainer` finds for them."""


def trainer_class(model_type, model_name: str) -> type:
    """The trainer of any model under the policy here: RecBole's own, with our evaluation and, where RecBole's has the
    ordinary `fit`, our loop. Trainers with phases of their own (pre-training, say) keep their `fit`."""
    base = get_trainer(model_type, model_name)
    if issubclass(base, TailEvaluation):
        return base
    if not issubclass(base, Trainer):
        raise InputError(f"model = {model_name}: RecBole trains it outside PyTorch; it cannot be ranked here.")
    policies = (LoopPolicy, TailEvaluation) if base.fit is Trainer.fit else (TailEvaluation,)
    return type(f"Tail{base.__name__}", (*policies, base), {"__module__": __name__})
