"""`recbole-lpo doctor`: the report, its text, its exit code."""

from __future__ import annotations

import argparse
import json
import sys

import pytest
import torch

from recbole_lpo import compat, doctor, self_check
from recbole_lpo.core.objectives import OBJECTIVES


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        patch.setattr(sys, "argv", ["test"])
        return doctor.report()


@pytest.fixture
def quick(monkeypatch):
    """Without the checks that take seconds."""
    monkeypatch.setattr(doctor, "_CHECKS", {"losses": self_check.losses_are_right, "rank": self_check.ranks_are_right})


def run(*options: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.main(parser.parse_args(options))


def test_all_is_well_here(found):
    assert found["ok"]
    assert {check["name"]: check["detail"] for check in found["checks"]} == {
        "import of RecBole": "ok",
        "loss of every objective": "ok",
        "softmax over all items": "ok",
        "rank of the target": "ok",
        "draws of rivals": "ok",
        "training, saving and loading": "ok",
        "GPU": "ok" if torch.cuda.is_available() else "none here, not checked",
        "writing files here": "ok",
    }


def test_versions_name_what_is_and_what_is_not_installed(found, quick, monkeypatch):
    assert found["versions"]["recbole"] == "1.2.1"
    assert set(found["versions"]) >= {"python", "recbole_lpo", "torch", "numpy", "scipy", "pandas"}
    monkeypatch.setattr(doctor, "installed", {"torch": "2.13.0"}.get)
    versions = doctor.report()["versions"]
    assert (versions["torch"], versions["ray"]) == ("2.13.0", "not installed")


def test_every_patch_is_listed_with_its_status_reason_and_guard(found):
    assert [patch["name"] for patch in found["patches"]] == [patch.name for patch in compat.patches()]
    for patch in found["patches"]:
        assert patch["status"] and patch["reason"] and patch["guard"]


def test_the_machine_is_described(found):
    assert found["cpu_threads"]["available"] >= 1
    assert found["free_disk_gib"] >= 0
    assert found["cpu_bfloat16"] in (True, False, None)
    assert isinstance(found["gpus"], list)


@pytest.mark.parametrize(("has", "words"), [(True, "yes"), (False, "slow on it"), (None, "unknown")])
def test_whether_the_cpu_knows_bfloat16_is_said_in_words(has, words, quick, monkeypatch):
    monkeypatch.setattr(doctor, "cpu_has_bfloat16", lambda: has)
    line = next(line for line in doctor._as_text(doctor.report()).splitlines() if "bfloat16 in the CPU" in line)
    assert words in line


def test_gpus_are_listed_with_their_memory(quick, monkeypatch):
    device = argparse.Namespace(name="A GPU", total_memory=24 * 2**30)
    monkeypatch.setattr(doctor.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(doctor.torch.cuda, "get_device_properties", lambda index: device)
    found = doctor.report()
    assert found["gpus"] == [{"name": "A GPU", "memory_gib": 24.0}]
    assert "A GPU (24.0 GiB)" in doctor._as_text(found)


def test_json_is_the_report(quick, capsys):
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_text_is_aligned_and_fits_a_screen(quick, capsys):
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 150
    facts = lines[: lines.index("")]
    assert len({line.index(value) for line, value in zip(facts, map(last_column, facts), strict=True)}) == 1
    assert any(line.startswith("numpy names") and "applied" in line for line in lines)


def last_column(line: str) -> str:
    """The text behind the first gap of two spaces."""
    return line.split("  ", 1)[1].strip()


@pytest.mark.parametrize(
    ("objective", "complaint"),
    [
        (lambda *log_probs, tau: log_probs[0], "lpo is -3.917564429, must be 4.066157597"),
        (lambda *log_probs, tau: log_probs[0] * float("nan"), "lpo is nan, must be 4.066157597"),
        (lambda *log_probs, tau: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_wrong_loss_fails_with_exit_code_1(monkeypatch, capsys, quick, objective, complaint):
    monkeypatch.setitem(OBJECTIVES, "lpo", objective)
    assert run() == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert failed[0].startswith("losses") and complaint in failed[0]


def test_a_failed_check_is_told_in_json_too(monkeypatch, capsys, quick):
    monkeypatch.setattr("recbole_lpo.core.ranking.target_rank", lambda scores, target: torch.zeros_like(target))
    assert run("--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert found["checks"][1] == {
        "name": "rank",
        "ok": False,
        "detail": "20 of 20 ranks differ from the place in a sorted list",
    }
