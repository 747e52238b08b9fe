"""The table of the results, as Markdown, and its place in the README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import sections
from benchmarks.results import is_timed, medians, newest

START, END = "<!-- benchmarks: start, written by python -m benchmarks --table -->", "<!-- benchmarks: end -->"
# Processes running on average: with more before the start, something else takes part of the machine.
BUSY = 1.0
_EMPTY = "No full run is on file yet."
_MEDIANS = "Medians of interleaved repetitions; ± is half the distance between the fastest and the slowest."
_ONCE = "Each measured once: differences of a fifth may be chance."


def into_readme(readme: Path, runs: list[dict[str, Any]]) -> bool:
    """Write the table of the newest results between the markers; returns whether the file changed.

    Raises ValueError where the file has no markers.
    """
    before = readme.read_text(encoding="utf-8")
    head, start, rest = before.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{readme.name}: the markers of the table are missing.")
    after = f"{head}{START}\n\n{readme_table(runs)}\n\n{END}{tail}"
    readme.write_text(after, encoding="utf-8")
    return after != before


def readme_table(runs: list[dict[str, Any]]) -> str:
    """What stands between the markers."""
    found = newest(runs)
    return report(*found) if found else _EMPTY


def report(head: Mapping[str, Any], measurements: list[dict[str, Any]]) -> str:
    """Everything that was measured, and the goals, as Markdown."""
    figures = medians(measurements)
    kinds = (sections.comparison, sections.objectives, sections.losses, sections.accuracy, sections.goals)
    parts = [_about(head, figures), *(kind(figures) for kind in kinds), _older(head, measurements)]
    return "\n\n".join(part for part in parts if part)


def _about(head: Mapping[str, Any], figures: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    machine, versions = head["machine"], dict(head["versions"])
    revision = versions.pop("revision", None)
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"Measured {head['started'][:10]} on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB, {machine['system']}; device {machine['device']}, {head['threads']} threads; "
        f"{libraries}" + (f" (revision {revision})." if revision else "."),
        "**A quick run: too short to compare.**" if head["quick"] else "",
        _busy(head),
        "SASRec unless it says otherwise, histories of 50 items, batches of 2,048 targets, RecBole's default sizes. "
        + (_MEDIANS if any(found.get("n", 1) > 1 for (case, _), found in figures.items() if is_timed(case)) else _ONCE),
        "Memory is what the process held at its peak, imports included: from start to end for epochs, during that "
        "phase for preparation, evaluation and single steps.",
        "Objectives side by side, and losses, run at once, a step of each in its turn: what slows the machine down "
        "slows all of them. Each finds the caches full of the others' data, so a step takes longer than alone.",
        "RecBole runs its own trainer on its own rows; autograd's anomaly mode is on there because importing its "
        "sequential models turns it on. In evaluation it computes Hit, NDCG and MRR; ours computes those of head and "
        "tail, and coverage, as well.",
    ]
    return "\n".join(line for line in lines if line)


def _busy(head: Mapping[str, Any]) -> str:
    load = head["load"]
    return f"**The machine was busy (load {load:.1f} at the start): do not compare.**" if load > BUSY else ""


def _older(head: Mapping[str, Any], measurements: list[dict[str, Any]]) -> str:
    cases: dict[str, dict[str, None]] = {}
    for one in measurements:
        if "from" in one:
            run = one["from"]
            busy = f", load {run['load']:.1f} at the start" if run["load"] > BUSY else ""
            threads = "" if run["threads"] == head["threads"] else f", threads {run['threads']}"
            named = f"{run['started'][:10]}, revision {run['versions'].get('revision', 'unknown')}{threads}{busy}"
            cases.setdefault(named, {})[one["case"]] = None
    return "\n".join(f"* From the run of {run}: {', '.join(names)}." for run, names in cases.items())
