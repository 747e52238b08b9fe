"""The precision that losses and scores are computed in."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_lpo.core.precision import at_least_float32, cpu_has_bfloat16

KINDS = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float32: torch.float32}
KINDS |= {torch.float64: torch.float64}


@pytest.mark.parametrize("kind", KINDS)
@given(values=st.lists(st.floats(-100, 100, width=16), max_size=5))
def test_half_precision_becomes_float32_without_a_change_of_value_and_no_other_kind_is_touched(kind, values):
    given_values = torch.tensor(values, dtype=kind)
    found = at_least_float32(given_values)
    assert found.dtype == KINDS[kind]
    assert torch.equal(found.double(), given_values.double())
    assert (found is given_values) == (kind in (torch.float32, torch.float64))


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"avx512_bf16": True}, True), ({"architecture": "arm64", "bf16": True}, True), ({"avx512_bf16": False}, False)],
)
def test_a_processor_has_bfloat16_where_one_of_its_instruction_sets_has(found, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert cpu_has_bfloat16() is expected


def test_a_torch_that_cannot_tell_leaves_it_open(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert cpu_has_bfloat16() is None
