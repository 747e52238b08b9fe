"""Runs that are killed, at any moment and in the middle of writing a checkpoint, and go on as if nothing had happened.

The suite kills a few; with RECBOLE_LPO_KILLS=N (`make test-long`) each kind of run is killed N times.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.run_folders import differences, run_and_die, seconds_of

pytestmark = pytest.mark.once

KILLS = int(os.environ.get("RECBOLE_LPO_KILLS", "1"))
RUNS = {
    "LPO": {"model": "LPOSASRec"},
    "LPO with a schedule": {"model": "LPOSASRec", "warmup_ratio": 0.3, "lr_schedule": "cosine"},
    "a reference objective": {"model": "DPOSASRec"},
    "self-play": {"model": "LPOGRU4Rec", "pref_negatives": "self_play", "pref_self_play_top": 10},
    "RecBole's SASRec": {"model": "SASRec"},
    "RecBole's rows": {"model": "SASRec", "batching": "prefix"},
    "RecBole's GRU4Rec": {"model": "GRU4Rec", "learner": "adagrad"},
    "a general model": {"model": "BPR"},
}
SHORT = ("LPO", "a reference objective", "RecBole's rows", "a general model")


@pytest.mark.parametrize("name", RUNS if KILLS > 1 else SHORT)
def test_a_run_that_is_killed_again_and_again_is_the_run_that_never_stopped(name, toy):
    settings = {**SMALL, **toy, "epochs": 5, "stopping_step": 2, **RUNS[name]}
    draw = random.Random(name)
    whole, killed = Path("whole"), Path("killed")
    longest = seconds_of({**settings, "run_dir": str(whole)})
    deaths = 0
    for number in range(KILLS):
        deaths += run_and_die({**settings, "run_dir": str(killed)}, after=draw.uniform(0, longest / 2))
        place = draw.choice(("half", "whole"))
        deaths += run_and_die({**settings, "run_dir": str(killed)}, write=(place, draw.randint(1, 3)))
        if number + 1 < KILLS and (killed / "metrics.json").exists():
            assert differences(whole, killed) == []
            killed = Path(f"killed-{number}")
    run_and_die({**settings, "run_dir": str(killed)})
    assert deaths
    assert differences(whole, killed) == []
    print(f"{name}: {deaths} kills")
    assert not list(killed.glob("checkpoint/.*.part"))
