"""Nested values as tensors and JSON, and the files that hold the tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import sparse

from recbole_lpo.trainer.safetensors_file import write_safetensors
from recbole_lpo.trainer.tensor_tree import to_tensors, to_tree

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5)
)
KEYS = st.one_of(st.text(max_size=5), st.integers(-3, 3), st.sampled_from(["$tensor", "$items", "a/b"]))
TREES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)
TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip


@given(TREES)
def test_a_tree_of_plain_values_comes_back_with_its_types(tree):
    tensors, plain = to_tensors(tree)
    assert tensors == {}
    assert repr(to_tree(tensors, plain)) == repr(tree)


def test_tensors_and_arrays_come_back_from_any_depth():
    tree = {"a": [torch.arange(3), {"b": (np.arange(4.0).reshape(2, 2), torch.tensor(5))}], "a/0": torch.zeros(2)}
    tensors, plain = to_tensors(tree)
    found = to_tree(tensors, plain)
    assert found["a"][0].tolist() == [0, 1, 2]
    assert found["a"][1]["b"][0].tolist() == [[0, 1], [2, 3]]
    assert found["a"][1]["b"][1].shape == ()
    # Its path is that of another tensor; the name is not.
    assert found["a/0"].tolist() == [0, 0]
    assert len(tensors) == 4


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok"])
def test_a_sparse_matrix_comes_back_in_its_format(form):
    matrix = sparse.random(5, 7, 0.3, format=form, random_state=0)
    found = to_tree(*to_tensors({"m": matrix}))["m"]
    assert found.format == form
    assert (found.toarray() == matrix.toarray()).all()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", torch.eye(2).to_sparse(), np.array([None])])
def test_anything_else_is_refused_with_its_place(value):
    with pytest.raises(TypeError, match=r"^/a/0: a checkpoint cannot hold a "):
        to_tensors({"a": [value]})


@given(
    st.lists(st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 99)), max_size=6)
)
def test_the_library_reads_what_is_written(tensors):
    made = {
        f"t{number}": torch.randint(-9, 9, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for number, (dtype, shape, seed) in enumerate(tensors)
    }
    write_safetensors(Path("file"), made, {"key": "välue"})
    found = load_file("file")
    assert found.keys() == made.keys()
    for name, tensor in made.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor)


def test_a_tensor_that_does_not_lie_in_rows_is_written_as_it_reads():
    write_safetensors(Path("file"), {"t": torch.arange(6).reshape(2, 3).T}, {})
    assert load_file("file")["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
