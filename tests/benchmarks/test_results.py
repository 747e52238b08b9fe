"""What was measured is kept, found again and summed up; the README shows the newest of it."""

from __future__ import annotations

import json

import pytest

from benchmarks.results import RESULTS, ResultFile, find, medians, newest, stored
from benchmarks.table import END, START, into_readme, readme_table, report
from tests.conftest import ROOT

MACHINE = {"id": "abc123", "cpu": "A CPU", "cores": 2, "memory_gb": 8.0, "system": "Linux", "device": "cpu"}
HEAD = {"quick": False, "threads": 2, "load": 0.0, "machine": MACHINE, "versions": {"torch": "2.9", "recbole": "1.2.1"}}
SETTINGS = {"model": "SASRec"}


def measured(side="ours", seconds=1.0, case="epoch/toy/SASRec", repetition=0, **figures) -> dict:
    figures = {"epoch_seconds": seconds, "steps": 2, "steps_per_epoch": 4, "peak_mb": 500.0, "prepare_seconds": 3.0,
               "prepare_peak_mb": 400.0, **figures}  # fmt: skip
    return {"case": case, "side": side, "repetition": repetition, "settings": SETTINGS, "figures": figures}


def run(*measurements, started="2026-01-02 03:04:05", **changes) -> dict:
    return {**HEAD, "started": started, "measurements": list(measurements), **changes}


def test_the_readme_shows_the_newest_results_on_file():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition(START)[2].partition(END)[0].strip()
    assert shown == readme_table(stored(RESULTS))


def test_the_table_stands_between_its_markers_and_the_rest_stays(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    assert into_readme(readme, [run(measured())])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "toy, SASRec" in text


def test_writing_the_table_twice_changes_nothing(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{START}{END}", encoding="utf-8")
    assert into_readme(readme, [run(measured())])
    assert not into_readme(readme, [run(measured())])


def test_a_readme_without_markers_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("text", encoding="utf-8")
    with pytest.raises(ValueError, match="markers"):
        into_readme(readme, [])


def test_a_row_says_median_spread_steps_memory_and_ratio():
    ours = [measured(seconds=seconds, repetition=n) for n, seconds in enumerate((1.0, 2.0, 1.5))]
    text = report(run(), [*ours, measured("recbole", 30.0, steps=4)])
    row = next(line for line in text.splitlines() if line.startswith("| toy, SASRec"))
    assert row == "| toy, SASRec | 1.5 s ± 33% (from 2 of 4 steps), 500 MB | 30 s, 500 MB |  | 20x |"


def test_what_was_left_out_and_what_failed_is_said():
    left_out = {"case": "epoch/toy/SASRec", "side": "recbole", "repetition": 0, "left_out": "needs 25 GB or more"}
    failed = {"case": "epoch/toy/SASRec", "side": "recbole-no-anomaly", "repetition": 0, "error": "killed by signal 9"}
    text = report(run(), [measured(), left_out, failed])
    assert "| needs 25 GB or more | killed by signal 9 |" in text


def test_a_goal_that_was_measured_is_shown_as_met_or_missed():
    case = "epoch/ml-100k/GRU4Rec"
    for seconds, verdict in ((12.0, "met"), (11.0, "**missed**")):
        text = report(run(), [measured(case=case), measured("recbole", seconds, case=case)])
        row = next(line for line in text.splitlines() if line.startswith("| GRU4Rec, ml-100k: RecBole's"))
        assert row.endswith(f"| at least 12x | {seconds:.0f}x | {verdict} |")


def test_a_quick_run_and_a_busy_machine_are_said_in_the_table():
    assert "too short to compare" in report(run(quick=True), [measured()])
    assert "machine was busy" in report(run(load=5.0), [measured()])
    assert "do not compare" not in report(run(), [measured()])


def test_the_median_leaves_out_what_has_no_value():
    times = medians([measured(seconds=value, repetition=n) for n, value in enumerate((4.0, None, 2.0, 3.0))])
    assert times["epoch/toy/SASRec", "ours"]["epoch_seconds"] == 3.0
    assert times["epoch/toy/SASRec", "ours"]["n"] == 4


def test_equal_accuracy_shows_mean_and_spread_over_seeds():
    figures = {"hit@10": 0.1, "ndcg@10": 0.05, "tailhit@10": 0.02, "tailndcg@10": 0.01}
    case = "equal-accuracy/toy/SASRec/50"
    both = [measured("packed", case=case, **figures), measured("packed", case=case, **{**figures, "hit@10": 0.2})]
    assert "| toy, SASRec, 50 | packed | 2 | 0.1500 ± 0.0707 | 0.0500 ± 0.0000 |" in report(run(), both)


def test_quick_runs_are_never_the_newest():
    full, quick = run(measured()), run(measured(seconds=9.0), quick=True)
    assert newest([quick, full]) == (full, full["measurements"])
    assert newest([quick]) is None


def test_a_case_that_the_newest_run_lacks_comes_from_an_older_one_and_says_so():
    slow = measured(case="end-to-end/toy", seconds=100.0, best_score=0.1, epochs=3)
    older = run(slow, measured(seconds=9.0), started="2025-01-01 00:00:00")
    head, shown = newest([run(measured()), older])
    assert head["started"].startswith("2026")
    assert [(one["case"], one["figures"]["epoch_seconds"]) for one in shown] == [
        ("epoch/toy/SASRec", 1.0),
        ("end-to-end/toy", 100.0),
    ]
    shown = [one | {"figures": slow["figures"] | {"seconds": 1.0}} for one in shown]
    assert "* From the run of 2025-01-01, revision unknown: end-to-end/toy." in report(head, shown)
    _, shown = newest([run(measured()), older | {"load": 1.4}])
    shown = [one | {"figures": slow["figures"] | {"seconds": 1.0}} for one in shown]
    assert "revision unknown, load 1.4 at the start: end-to-end/toy." in report(head, shown)


@pytest.mark.parametrize("changes", [{"threads": 1}, {"machine": {**MACHINE, "id": "other"}}])
def test_results_of_another_machine_or_thread_count_do_not_mix(changes):
    other = run(measured(case="evaluation/toy"), started="2025-01-01 00:00:00", **changes)
    assert len(newest([run(measured()), other])[1]) == 1


@pytest.mark.parametrize("started", ["2025-01-01 00:00:00", "2027-01-01 00:00:00"])
def test_a_whole_training_of_the_same_machine_stands_beside_with_its_threads(started):
    whole = run(measured(case="end-to-end/toy", seconds=9.0, best_score=0.1, epochs=3), started=started, threads=1)
    runs = sorted([whole, run(measured())], key=lambda one: one["started"], reverse=True)
    head, shown = newest(runs)
    assert head["started"].startswith("2026") and [one["case"] for one in shown] == [
        "epoch/toy/SASRec",
        "end-to-end/toy",
    ]
    shown = [one | {"figures": one["figures"] | {"seconds": 1.0, "best_score": 0.1, "epochs": 3}} for one in shown]
    assert f"* From the run of {started[:10]}, revision unknown, threads 1: end-to-end/toy." in report(head, shown)
    elsewhere = whole | {"machine": {**MACHINE, "id": "other"}}
    assert len(newest([run(measured()), elsewhere])[1]) == 1
    assert newest([whole]) is None


@pytest.mark.parametrize("changes", [{"threads": 1}, {"machine": {**MACHINE, "id": "other"}}])
def test_accuracy_from_any_machine_stands_beside_the_times_of_the_newest_run_that_took_some(changes):
    accuracy = run(measured(case="equal-accuracy/toy"), started="2027-01-01 00:00:00", **changes)
    head, shown = newest([accuracy, run(measured())])
    assert head["started"].startswith("2026")
    assert [one["case"] for one in shown] == ["epoch/toy/SASRec", "equal-accuracy/toy"]
    assert newest([accuracy]) is None


def test_accuracy_over_seeds_does_not_make_times_medians():
    figures = {"case": "equal-accuracy/toy", "hit@10": 0.1, "ndcg@10": 0.1, "tailhit@10": 0.1, "tailndcg@10": 0.1}
    once = run(measured(), *(measured(repetition=seed, **figures) for seed in range(2)))
    assert "Each measured once" in report(*newest([once]))
    twice = run(measured(), measured(repetition=1))
    assert "Medians" in report(*newest([twice]))


def test_runs_that_start_in_the_same_second_keep_a_file_each(tmp_path, monkeypatch):
    for process in (11, 12):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        ResultFile(tmp_path, HEAD).add(measured(seconds=process))
    monkeypatch.undo()
    found = [one["measurements"][0]["figures"]["epoch_seconds"] for one in stored(tmp_path)]
    assert sorted(found) == [11, 12]


def test_a_stored_measurement_is_found_for_the_same_job_alone():
    key = {name: measured()[name] for name in ("case", "side", "repetition", "settings")}
    runs = [run(measured())]
    assert find(runs, key, HEAD, timed=True) == measured()
    assert find(runs, key | {"settings": {"model": "GRU4Rec"}}, HEAD, timed=True) is None
    assert find(runs, key | {"repetition": 1}, HEAD, timed=True) is None
    assert find(runs, key, HEAD | {"versions": {"torch": "3", "recbole": "1.2.1"}}, timed=True) is None


def test_an_accuracy_counts_from_any_machine_and_a_time_from_its_own():
    key = {name: measured()[name] for name in ("case", "side", "repetition", "settings")}
    elsewhere = HEAD | {"threads": 64}
    assert find([run(measured())], key, elsewhere, timed=False)
    assert find([run(measured())], key, elsewhere, timed=True) is None


def test_every_measurement_is_on_file_at_once(tmp_path):
    file = ResultFile(tmp_path / "results", HEAD)
    for repetition in range(2):
        file.add(measured(repetition=repetition))
        assert len(json.loads(file.path.read_text())["measurements"]) == repetition + 1
    assert stored(tmp_path / "results") == [file.content]
    assert "-abc123-" in file.path.name
