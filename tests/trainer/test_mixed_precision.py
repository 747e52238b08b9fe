"""Mixed precision encodes in 16 bits; the softmax, the preference and the clipping stay what they are without it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.core.precision import half_precision
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.trainer import epoch_steps
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.run_log import without_tensorboard
from tests.conftest import SMALL


def built(toy, **changes):
    """(trainer, training loader)"""
    config = Config("LPOSASRec", None, None, {**SMALL, **toy, "epochs": 1, **changes})
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    model = config.model_class(config, train._dataset)
    with without_tensorboard():
        return trainer_class(config["MODEL_TYPE"], "LPOSASRec")(config, model), train


def test_the_loss_of_a_hidden_state_is_the_same_in_mixed_precision(toy):
    trainer, _ = built(toy)
    hidden, target = torch.randn(30, 16), torch.arange(1, 31)
    found = []
    for enabled in (False, True):
        trainer.model.rival_streams.clear()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(trainer.model.loss_of(hidden, target, known_items=None, reference_states=None))
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec", "LPOSASRec", "LPOCaser"])
def test_a_run_in_mixed_precision_starts_near_the_run_without(name, toy):
    # Steps of nearly nothing: the loss of the fresh model.
    settings = {**SMALL, **toy, "epochs": 1, "learning_rate": 1e-9, "pref_negatives": "head_top_k"}
    settings |= {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "dropout_prob": 0.0}
    losses = []
    for enabled in (False, True):
        run = recbole_lpo.run(name, config_dict={**settings, "enable_amp": enabled}, quiet=True)
        line = (Path(run["run_dir"]) / "history.jsonl").read_text().splitlines()[0]
        losses.append(json.loads(line)["train_loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)


def test_gradients_are_unscaled_before_they_are_clipped(toy, monkeypatch):
    norms, clip = [], nn.utils.clip_grad_norm_
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *a, **options: norms.append(float(clip(*a, **options))))
    monkeypatch.setattr(epoch_steps, "half_precision", lambda device: torch.float16)
    for scaled in (False, True):
        settings = {"clip_grad_norm": {"max_norm": 0.5}, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
        trainer, train = built(toy, train_batch_size=4096, **settings)
        trainer.enable_amp = trainer.enable_scaler = scaled
        trainer.fit(train, verbose=False, saved=False)
    # The scale would be 2^16.
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_bfloat16_is_the_16_bit_type_of_the_cpu():
    assert half_precision(torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize("settings", [{"enable_amp": True}, {"item_softmax": "chunked_bfloat16"}, {}])
@pytest.mark.parametrize("has", [True, False, None])
def test_a_processor_that_is_slow_with_it_is_named_before_the_training(settings, has, toy, monkeypatch, caplog):
    monkeypatch.setattr(epoch_steps, "cpu_has_bfloat16", lambda: has)
    with caplog.at_level(logging.WARNING):
        built(toy, **settings)
    assert ("no instructions for bfloat16" in caplog.text) == (bool(settings) and has is False)


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_without_bfloat16_gets_float16(native, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert half_precision(torch.device("cuda")) == expected
