"""Evaluation under one protocol for every model of RecBole, sequential and general."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from recbole.utils import ModelType

from recbole_lpo.data.history import HistoryIndex
from recbole_lpo.data.neighbours import Neighbours
from recbole_lpo.data.popularity import PAD_ID
from recbole_lpo.distributed.parts import own_batches
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.evaluator.collector import ProductScores
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.model.backbones import product_encoder
from recbole_lpo.model.history_parts import encode_in_parts
from recbole_lpo.run_folder import CHECKPOINTS
from recbole_lpo.settings import RunSettings
from recbole_lpo.trainer.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from recbole_lpo.trainer.collapse import collapse_warning
from recbole_lpo.trainer.finiteness import check_validation, nan_scores
from recbole_lpo.trainer.random_streams import undisturbed_streams
from recbole_lpo.valid_metric import parse_valid_metric

_ALL_DIGITS = 15
# Up to here a batch is scored as RecBole scores it, to the last bit. Above, histories are encoded without their padding
# and items come in chunks: half the time on Amazon Beauty and a fifth of the memory; a last bit may round otherwise.
_WHOLE_CELLS = 2**22
# The most, where a model can only score whole rows: 512 MB of float32, as for general models.
_MOST_CELLS = 2**27


@dataclass(frozen=True)
class Measured:
    """One evaluation.

    logit_adjust  strength of the post-hoc logit adjustment that it was made under, >= 0
    figures       metrics, rounded to `metric_decimal_place`
    evaluation    users, targets and ranks; None where a row holds out none or several items
    """

    logit_adjust: float
    figures: OrderedDict[str, float]
    evaluation: Evaluation | None


class TailEvaluation:
    """Stands before a trainer of RecBole in the bases of a class.

    Results keep all digits until they are reported, so that early stopping sees the metric unrounded; the history of a
    user is ranked or left out by `eval_mask_history` for every model alike (RecBole itself leaves it out for general
    models and ranks it for sequential ones); with `run_dir` set, the best weights go into the run folder instead of
    RecBole's pickled checkpoint.

    What followed a history's items in training can be mixed into the scores (`eval_neighbours`).

    Memory stays bounded on a large catalogue: a model that scores by a product with an item table is ranked some items
    at a time (`eval_chunk_items`), and one that can only score whole rows gets fewer users at once.

    Several processes divide the batches among them; all of them then have all ranks, in the order of one process, and
    compute the same metrics from them. One of them saves checkpoints.
    """

    neighbours: Neighbours | None = None
    run_dir: Path | None = None
    about: dict[str, Any] | None = None
    epoch: int | None = None
    _before_test: HistoryIndex | None = None
    _told_of_collapse = False

    def __init__(self, config, model) -> None:
        self.ranks = ranks_of(config)
        super().__init__(config, model)
        self.run_settings = RunSettings.from_config(config)
        self.eval_collector.ranks = self.ranks
        for metric in self.evaluator.metric_class.values():
            metric.decimal_place = _ALL_DIGITS
        if getattr(model, "head_tail_split", None) is not None:
            self.eval_collector.set_split(model.head_tail_split)

    @property
    def last_evaluation(self) -> Evaluation | None:
        """Users, targets and ranks of the latest evaluation."""
        return self.eval_collector.last

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """As RecBole's: an OrderedDict of metrics, rounded to `metric_decimal_place`; under `eval_logit_adjust`."""
        result = self._evaluate_exactly(eval_data, load_best_model, model_file, show_progress)
        return result and self._rounded(result)

    def evaluate_adjusted(
        self,
        eval_data,
        strengths: Sequence[float],
        *,
        load_best_model: bool = True,
        show_progress: bool = False,
        tail_prob: bool = False,
    ) -> list[Measured]:
        """Measure under several strengths (>= 0) of the post-hoc logit adjustment, from the same scores.

        An evaluation for each strength, in their order; none for data without rows. tail_prob: the first of them says
        what probability each user's softmax gives the tail.
        """
        if not strengths or not eval_data:
            return []
        results = self._results(eval_data, tuple(strengths), load_best_model, None, show_progress, tail_prob)
        return [
            Measured(strength, self._rounded(result), evaluation)
            for strength, result, evaluation in zip(strengths, results, self.eval_collector.evaluations, strict=True)
        ]

    def _rounded(self, result) -> OrderedDict[str, float]:
        places = self.config["metric_decimal_place"]
        return OrderedDict((key, round(value, places)) for key, value in result.items())

    def _valid_epoch(self, valid_data, show_progress=False):
        result = self._evaluate_exactly(valid_data, False, None, show_progress)
        for metric in (self.valid_metric, *self.run_settings.also_select):
            # A weighted sum is shown and kept beside the metrics that it is made of.
            score = result[metric.lower()] = parse_valid_metric(metric).value(result)
            check_validation(self, metric.lower(), score)
        return result[self.valid_metric], result

    def _evaluate_exactly(self, eval_data, load_best_model, model_file, show_progress):
        strengths = (self.run_settings.eval_logit_adjust,)
        return self._results(eval_data, strengths, load_best_model, model_file, show_progress)[0]

    def _results(
        self, eval_data, strengths, load_best_model, model_file, show_progress, tail_prob: bool = False
    ) -> list:
        """The unrounded metrics under each strength; None for data without rows."""
        if load_best_model and model_file is None and self.run_dir is not None:
            # The process that writes them may not have finished.
            self.ranks.wait()
            load_checkpoint(self.best_file, self.model)
            load_best_model = False
        if self.run_settings.eval_mask_history:
            before_test = eval_data._dataset is not self._valid_dataset
            self._history = self._before_test if before_test else self._before_valid
        self.eval_collector.start(strengths, tail_prob=tail_prob)
        try:
            batches = own_batches(eval_data, self.ranks) if self.ranks.several and eval_data else eval_data
            # Sampled candidates must not move what training draws afterwards.
            with undisturbed_streams(eval_data):
                first = super().evaluate(batches, load_best_model, model_file, show_progress)
        except ValueError as error:
            if "rows of scores hold NaN" in str(error):
                raise nan_scores(self, error) from None
            raise
        self._warn_of_collapse()
        structs, self.eval_collector.structs = self.eval_collector.structs[1:], []
        return [first, *map(self.evaluator.evaluate, structs)]

    def _warn_of_collapse(self) -> None:
        """Once a run, in its log."""
        warning = None if self._told_of_collapse else collapse_warning(self.last_evaluation)
        if warning:
            self._told_of_collapse = True
            self.logger.warning("%s: %s", self.config["model"], warning)

    @property
    def best_file(self) -> Path:
        """Where the run folder keeps the best weights."""
        return self.run_dir / CHECKPOINTS / BEST

    @property
    def last_file(self) -> Path:
        """Where the run folder keeps the state of the training."""
        return self.run_dir / CHECKPOINTS / LAST

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if self.run_dir is None and self.ranks.writes:
            super()._save_checkpoint(epoch, verbose=verbose, **kwargs)
        elif self.run_dir is not None:
            self._save_best(self.best_file, epoch)

    def _save_best(self, file: Path, epoch: int) -> None:
        if self.ranks.writes:
            save_checkpoint(file, self.model, {**(self.about or {}), "epoch": epoch})

    def know_histories(self, train_data, valid_data) -> None:
        """Take in what users met before validation (training) and before the test (training and validation), and which
        items are neighbours in training, as far as the settings ask for it."""
        if self.run_settings.eval_neighbours and self.neighbours is None:
            self.neighbours = Neighbours(train_data._dataset, self.config, self.run_settings)
        if self.run_settings.eval_mask_history and self._before_test is None:
            train, valid = train_data._dataset, valid_data._dataset if valid_data else None
            self._valid_dataset = valid
            self._before_valid, self._before_test = HistoryIndex(train), HistoryIndex(train, valid)

    def _full_sort_batch_eval(self, batched_data):
        interaction, history, positive_u, positive_i = batched_data
        n_rows, n_items, chunk = len(interaction), self.tot_item_num, self.run_settings.eval_chunk_items
        in_one_piece = chunk >= n_items if chunk else n_rows * n_items <= _WHOLE_CELLS
        as_recbole = in_one_piece or self.eval_collector.needs_whole_rows
        encoder = None if as_recbole else product_encoder(self.model)
        whole_rows = encoder is None or self.neighbours is not None
        too_much = whole_rows and n_rows * n_items > _MOST_CELLS
        if too_much and n_rows > 1 and self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
            # RecBole asks for the scores of a batch; those of its first half are collected here.
            half = n_rows // 2
            first, scores, *held_out = self._full_sort_batch_eval(_rows(batched_data, slice(0, half)))
            self.eval_collector.eval_batch_collect(scores, first, *held_out)
            return self._full_sort_batch_eval(_rows(batched_data, slice(half, n_rows)))
        if not self.run_settings.eval_mask_history:
            history = None
        elif history is None:
            history = self._history.cells(interaction[self.config["USER_ID_FIELD"]].cpu(), positive_i)
        if encoder:
            scores = self._product(encoder, interaction, history, chunk)
        else:
            interaction, scores, *_ = super()._full_sort_batch_eval((interaction, history, positive_u, positive_i))
        if self.neighbours is not None:
            scores = self.neighbours.mixed(scores.whole() if encoder else scores, interaction)
        return interaction, scores, positive_u, positive_i

    def _product(self, encoder, interaction, history, chunk: int | None) -> ProductScores:
        interaction = interaction.to(self.device)
        rows, columns = history or (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
        # The padding is no item: it is left out of every row.
        excluded = (
            torch.cat([torch.arange(len(interaction)), rows]),
            torch.cat([torch.full((len(interaction),), PAD_ID), columns]),
        )
        hidden, item_table = encode_in_parts(self.model, encoder, interaction), encoder.item_table(self.model)
        return ProductScores(hidden, item_table, tuple(part.to(self.device) for part in excluded), chunk)


def _rows(batched_data, rows: slice):
    """Some rows of a batch of a sequential model, each of which holds out one item."""
    interaction, _, _, positive_i = batched_data
    positive_i = positive_i[rows]
    return interaction[rows], None, torch.arange(len(positive_i)), positive_i
