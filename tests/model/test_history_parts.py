"""Histories encoded in parts have the states that they have as one batch."""

from __future__ import annotations

import pytest
import torch

from recbole_lpo.model import history_parts
from recbole_lpo.model.backbones import product_encoder
from recbole_lpo.model.history_parts import encode_in_parts
from tests.model.test_packed import POSITIONWISE_NAMES, built


@pytest.mark.parametrize("cells", [1, 20, 2**13])
@pytest.mark.parametrize("name", [*POSITIONWISE_NAMES, "LPOSASRec", "Caser", "NARM"])
def test_histories_encoded_in_parts_have_the_states_of_the_whole_batch(name, cells, toy, monkeypatch):
    _, train, model = built(name, toy)
    rows = train._dataset.inter_feat
    encoder = product_encoder(model)
    with torch.no_grad():
        whole = encoder.encode(model, rows)
        monkeypatch.setattr(history_parts, "_CELLS", cells)
        found = encode_in_parts(model, encoder, rows)
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


def test_no_part_is_wider_than_its_longest_history_or_larger_than_asked(toy, monkeypatch):
    _, train, model = built("SASRec", toy)
    rows, encoder, parts = train._dataset.inter_feat, product_encoder(model), []

    class Spy(encoder):
        @staticmethod
        def encode(model, part):
            parts.append(part)
            return encoder.encode(model, part)

    monkeypatch.setattr(history_parts, "_CELLS", 20)
    encode_in_parts(model, Spy, rows)
    assert sum(map(len, parts)) == len(rows)
    for part in parts:
        assert part[model.ITEM_SEQ].shape[1] == part[model.ITEM_SEQ_LEN].max()
        assert part[model.ITEM_SEQ].numel() <= 20
