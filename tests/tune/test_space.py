"""Search spaces: yaml, RecBole's `.test` files, and what is refused before anything is trained."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_lpo.errors import InputError
from recbole_lpo.tune.recbole_space import read_recbole_space, space_of_file
from recbole_lpo.tune.space import KINDS, Choice, Range, dimension, read_space

YAML = """
learning_rate: {loguniform: [1e-4, 1.e-2]}
pref_weight: {uniform: [0, 1]}
hidden_dropout_prob: {quniform: [0.1, 0.5, 0.1]}
hidden_size: {choice: [64, 128]}
mlp: {choice: [[64, 32], [128]]}
n_layers: {int: [1, 3]}
pref_num_rejected: {int: [5, 52, 5]}
inner_size: {logint: [8, 512]}
"""
RECBOLE = """
learning_rate loguniform -8,0
embedding_size choice [64, 96, 128]

dropout uniform 0.0, 0.5
hidden_size quniform 32,128,32
loss choice ['BPR', 'CE']
"""


def written(tmp_path, text, name="space.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_yaml_file_names_a_range_for_each_setting(tmp_path):
    assert space_of_file(written(tmp_path, YAML)) == {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "pref_weight": Range(0, 1),
        "hidden_dropout_prob": Range(0.1, 0.5, step=0.1),
        "hidden_size": Choice((64, 128)),
        "mlp": Choice(([64, 32], [128])),
        "n_layers": Range(1, 3, whole=True, step=1),
        "pref_num_rejected": Range(5, 52, whole=True, step=5),
        "inner_size": Range(8, 512, whole=True, log=True),
    }


def test_a_test_file_of_recbole_gives_its_space_with_natural_logarithms_taken_back(tmp_path):
    space = space_of_file(written(tmp_path, RECBOLE, "hyper.test"))
    assert space.pop("learning_rate") == Range(math.exp(-8), 1.0, log=True)
    assert space == {
        "embedding_size": Choice((64, 96, 128)),
        "dropout": Range(0.0, 0.5),
        "hidden_size": Range(32.0, 128.0, step=32.0),
        "loss": Choice(("BPR", "CE")),
    }


def test_the_last_step_does_not_pass_the_upper_bound():
    assert Range(5, 52, whole=True, step=5).ends() == (5, 50)
    assert Range(0.1, 0.5, step=0.1).highest == pytest.approx(0.5)


finite = st.floats(-1e6, 1e6)


@given(st.sampled_from(["uniform", "loguniform", "quniform", "int", "logint"]), st.lists(finite, max_size=4))
def test_a_range_is_either_refused_or_not_empty(kind, values):
    try:
        one = dimension("x", kind, values, "file")
    except InputError as error:
        assert str(error).startswith(f"file: x = {kind} ")
    else:
        low, highest = one.ends()
        assert one.low == low < highest <= one.high or (one.step is not None and low < highest <= one.high * (1 + 1e-9))
        assert low > 0 or not one.log


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from([*KINDS, "range"]), values)
def test_any_value_in_a_yaml_file_is_read_or_refused_in_words(kind, value):
    try:
        dimension("x", kind, value, "file")
    except InputError as error:
        assert str(error).startswith("file: x")


@given(st.text(max_size=80))
def test_any_text_in_a_test_file_is_read_or_refused_in_words(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("space") / "hyper.test"
    path.write_text(text, encoding="utf-8")
    try:
        assert read_recbole_space(path)
    except InputError as error:
        assert str(error).startswith(str(path))


@pytest.mark.parametrize(
    "values",
    ["__import__('pathlib').Path('broken').touch()", "[open('broken', 'w')]", "[].__class__", "[1] if 1 else 2"],
)
def test_code_in_a_test_file_is_an_error_and_not_run(values, tmp_path):
    with pytest.raises(InputError, match="is no literal value"):
        read_recbole_space(written(tmp_path, f"x choice {values}", "hyper.test"))
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{uniform: [0.5, 0.5]}", "x = uniform [0.5, 0.5]: is empty, low must be below high"),
        ("{int: [3, 1]}", "is empty"),
        ("{choice: []}", "is empty, there is nothing to choose from"),
        ("{choice: [1, 1]}", "names 1 twice"),
        ("{loguniform: [0, 1]}", "low must be above 0"),
        ("{loguniform: [1, .inf]}", "inf is no finite number"),
        ("{int: [1, 2.5]}", "2.5 is no whole number"),
        ("{int: [1, yes]}", "True is no finite number"),
        ("{quniform: [0, 1]}", "must be [low, high, step]"),
        ("{quniform: [0, 1, 2]}", "the step must be above 0 and at most high - low, which is 1"),
        ("{uniform: 3}", "must be [low, high]"),
        ("{lognormal: [0, 1]}", "there is no kind 'lognormal'. Did you mean"),
        ("{uniform: [0, 1], int: [0, 1]}", "must be one kind with its values"),
        ("[64, 128]", "must be one kind with its values"),
        ("{choice: [{1: 2}]}", "is no value of a setting"),
    ],
)
def test_a_wrong_line_of_yaml_is_named_with_what_is_allowed(line, said, tmp_path):
    with pytest.raises(InputError) as caught:
        read_space(written(tmp_path, f"x: {line}"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("x choice", "line 1: 'x choice' is not understood"),
        ("x lognormal 0,1", "there is no kind 'lognormal'"),
        ("x int 0,1", "there is no kind 'int'"),
        ("x uniform 0,1\nx uniform 0,2", "line 2: x is named twice"),
        ("x loguniform 0,1000", "bounds are natural logarithms"),
        ("x uniform 1,0", "is empty"),
    ],
)
def test_a_wrong_line_of_a_test_file_is_named(text, said, tmp_path):
    with pytest.raises(InputError) as caught:
        read_recbole_space(written(tmp_path, text, "hyper.test"))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no such file of a search space"):
        space_of_file(tmp_path / "no.yaml")
    with pytest.raises(InputError, match="is empty"):
        read_space(written(tmp_path, yaml.safe_dump({})))
