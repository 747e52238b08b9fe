"""Writing the page and the figures of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recbole_lpo.compare.report.figures import Drawn, figures
from recbole_lpo.compare.report.look import Look, drawing
from recbole_lpo.compare.report.page import page
from recbole_lpo.compare.report.svg import file_of
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.study import Study
from recbole_lpo.compare.varied import varied_settings
from recbole_lpo.errors import InputError
from recbole_lpo.whole_files import write_whole

PAGE, FORMS = "report.html", ("png", "svg")


def write_report(
    results: Sequence[DatasetResults],
    study: Study,
    output: Path,
    failures: Sequence[str] = (),
    figures_to: Path | None = None,
) -> list[str]:
    """Write `report.html` into the folder of a comparison; returns what was written, in words.

    figures_to: a folder for the same figures as `<dataset>-<figure>.png` and `.svg`, made where there is none. Raises
    InputError where it cannot be written to.
    """
    look, written = Look(list(study.methods), study.baseline), [PAGE]
    with drawing():
        varied = varied_settings(study)
        drawn = [figures(one, look, varied) for one in results]
        write_whole(output / PAGE, page(results, drawn, look, failures).encode())
        if figures_to:
            n_files = sum(_write_figures(figures_to, *each) for each in zip(results, drawn, strict=True))
            written.append(f"{figures_to} ({n_files} files)")
    return written


def _write_figures(folder: Path, one: DatasetResults, drawn: Sequence[Drawn]) -> int:
    """Write the figures of a dataset; returns how many files they are."""
    dataset = re.sub(r"[^\w.-]+", "_", one.title)
    names = {f"{dataset}-{each.name}": each.figure for each in drawn if each.figure is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in names.items():
            for form in FORMS:
                write_whole(folder / f"{name}.{form}", file_of(figure, form))
    except OSError as error:
        raise InputError(f"figures = {folder}: cannot be written to: {error.strerror}.") from None
    return len(names) * len(FORMS)
