"""Evaluation under one protocol for every model of RecBole, sequential and general."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from recbole_lpo.core.logit_adjustment import adjust
from recbole_lpo.data.history import HistoryIndex
from recbole_lpo.errors import InputError, RunError
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.run_folder import CHECKPOINTS
from recbole_lpo.settings import RunSettings
from recbole_lpo.trainer.checkpoint import BEST, load_checkpoint, save_checkpoint

_ALL_DIGITS = 15


class TailEvaluation:
    """Stands before a trainer of RecBole in the bases of a class.

    Results keep all digits until they are reported, so that early stopping sees the metric unrounded; the history of a
    user is ranked or left out by `eval_mask_history` for every model alike (RecBole itself leaves it out for general
    models and ranks it for sequential ones); with `run_dir` set, the best weights go into the run folder instead of
    RecBole's pickled checkpoint.
    """

    run_dir: Path | None = None
    about: dict[str, Any] | None = None
    _before_test: HistoryIndex | None = None

    def __init__(self, config, model) -> None:
        super().__init__(config, model)
        self.run_settings = RunSettings.from_config(config)
        for metric in self.evaluator.metric_class.values():
            metric.decimal_place = _ALL_DIGITS
        if getattr(model, "head_tail_split", None) is not None:
            self.eval_collector.set_split(model.head_tail_split)

    @property
    def last_evaluation(self) -> Evaluation | None:
        """Users, targets and ranks of the latest evaluation."""
        return self.eval_collector.last

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """As RecBole's: an OrderedDict of metrics, rounded to `metric_decimal_place`."""
        result = self._evaluate_exactly(eval_data, load_best_model, model_file, show_progress)
        return result and self._rounded(result)

    def _rounded(self, result) -> OrderedDict[str, float]:
        places = self.config["metric_decimal_place"]
        return OrderedDict((key, round(value, places)) for key, value in result.items())

    def _valid_epoch(self, valid_data, show_progress=False):
        result = self._evaluate_exactly(valid_data, False, None, show_progress)
        score = result[self.valid_metric]
        if score != score:
            raise InputError(
                f"valid_metric = {self.valid_metric}: no validation user is in that group, so it has no value. "
                "Take another valid_metric, or another head/tail split (tail_split_ratio)."
            )
        return score, result

    def _evaluate_exactly(self, eval_data, load_best_model, model_file, show_progress):
        if load_best_model and model_file is None and self.run_dir is not None:
            load_checkpoint(self.best_file, self.model, device=self.device)
            load_best_model = False
        if self.run_settings.eval_mask_history:
            before_test = eval_data._dataset is not self._valid_dataset
            self._history = self._before_test if before_test else self._before_valid
        self.eval_collector.forget_evaluation()
        try:
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)
        except ValueError as error:
            if "rows of scores hold NaN" in str(error):
                raise RunError(f"{self.config['model']}: {error} Lower learning_rate, or set clip_grad_norm.") from None
            raise

    @property
    def best_file(self) -> Path:
        """Where the run folder keeps the best weights."""
        return self.run_dir / CHECKPOINTS / BEST

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if self.run_dir is None:
            super()._save_checkpoint(epoch, verbose=verbose, **kwargs)
        else:
            save_checkpoint(self.best_file, self.model, {**(self.about or {}), "epoch": epoch})

    def know_histories(self, train_data, valid_data) -> None:
        """Take in what users met before validation (training) and before the test (training and validation)."""
        if self.run_settings.eval_mask_history and self._before_test is None:
            train, valid = train_data._dataset, valid_data._dataset if valid_data else None
            self._valid_dataset = valid
            self._before_valid, self._before_test = HistoryIndex(train), HistoryIndex(train, valid)

    def _full_sort_batch_eval(self, batched_data):
        interaction, history, positive_u, positive_i = batched_data
        if not self.run_settings.eval_mask_history:
            history = None
        elif history is None:
            history = self._history.cells(interaction[self.config["USER_ID_FIELD"]].cpu(), positive_i)
        batch = super()._full_sort_batch_eval((interaction, history, positive_u, positive_i))
        interaction, scores, positive_u, positive_i = batch
        strength = self.run_settings.eval_logit_adjust
        if strength:
            scores = adjust(scores, self.eval_collector.log_prior, strength)
        return interaction, scores, positive_u, positive_i
