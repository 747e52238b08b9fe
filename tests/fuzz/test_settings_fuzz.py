"""Hostile and broken settings through the command line and in files: data, or one clear line."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_lpo.cli import main
from recbole_lpo.config_checks import known_keys
from recbole_lpo.settings import KEYS

pytestmark = pytest.mark.once
# The models that a run may name, so that the settings of each family are read.
MODELS = ("SASRec", "LPOSASRec", "GBCEGRU4Rec", "BPR")
TOUCH = ("__import__('os').system('touch pwned')", "open('pwned', 'w')", "exec('open(\\'pwned\\', \\'w\\')')")
STRANGE = (
    *TOUCH,
    *(
        "",
        " ",
        "~",
        "None",
        "nan",
        "-inf",
        "1e999",
        "-1",
        "0",
        "1.5",
        "9" * 400,
        "0x" + "f" * 5000,
        "True",
        "[1, 2]",
        "[]",
        "[[[]]]",
    ),
    *(
        "{}",
        "{'a': 1}",
        "{1: 2}",
        "(1,)",
        "(" * 500,
        "lambda: 0",
        "b'x'",
        "{1, 2}",
        "1j",
        "\u0663",
        "\ud800",
        "\0",
        "a\nb",
        "../..",
        "!!python/none",
    ),
)
_OUR_KEYS = st.sampled_from(sorted(KEYS))
# What decides where a run's data and results are is left alone; all else is fair game.
_RECBOLE_KEYS = st.sampled_from(sorted(known_keys() - set(KEYS) - {"model", "dataset", "config_files", "data_path"}))
_KEYS = st.one_of(_OUR_KEYS, _RECBOLE_KEYS, st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
_VALUES = st.one_of(st.sampled_from(STRANGE), st.text(max_size=20), st.integers().map(str), st.floats().map(repr))


def refused(*arguments: str) -> str:
    """The one line with which a run of a dataset that is not there is refused, and no sign of code that was run."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        # RecBole sets it to whatever gpu_id is.
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        code = main(["run", f"--model={arguments[0]}", "--dataset=absent", "--quiet", *arguments[1:]])
    assert code == 2
    assert not Path("pwned").exists()
    # Before it there may be a warning of a setting that nobody knows.
    message = said.getvalue().splitlines()[-1]
    assert message.startswith("error: ")
    assert "Traceback" not in said.getvalue()
    return message


def check_typed(model: str, key: str, value: str) -> None:
    refused(model, f"--{key}={value}")


def check_file(content: str) -> None:
    Path("mine.yaml").write_bytes(content.encode("utf-8", "surrogatepass"))
    refused("SASRec", "--config_files=mine.yaml")


def yaml_texts() -> st.SearchStrategy[str]:
    tags = (
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/name:os.system",
        "!!python/object/new:os.system []",
    )
    values = st.one_of(
        st.sampled_from((*tags, "*a", "&a [*a]", "<<: {a: 1}", "2024-13-45", "- x", "[" * 3000)), _VALUES
    )
    lines = st.lists(st.tuples(_KEYS, values).map(lambda pair: f"{pair[0]}: {pair[1]}"), max_size=4)
    return st.one_of(lines.map("\n".join), st.text(max_size=60))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MODELS), _KEYS, _VALUES)
def test_a_typed_setting_is_data_or_refused_in_one_line(model, key, value):
    check_typed(model, key, value)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(yaml_texts())
def test_a_settings_file_is_data_or_refused_in_one_line(content):
    check_file(content)


@pytest.mark.parametrize("key", ["pref_tau", "learning_rate", "teacher", "run_dir", "topk", "eval_args"])
@pytest.mark.parametrize("value", TOUCH)
def test_code_in_a_typed_setting_is_never_run(key, value):
    refused("SASRec", f"--{key}={value}")


@pytest.mark.long
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MODELS), _KEYS, _VALUES)
def test_thousands_of_typed_settings_are_data_or_refused_in_one_line(model, key, value):
    check_typed(model, key, value)


@pytest.mark.long
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(yaml_texts())
def test_thousands_of_settings_files_are_data_or_refused_in_one_line(content):
    check_file(content)
