"""Writing the page and the figures of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recbole_lpo.compare.report.figures import figures
from recbole_lpo.compare.report.look import Look, drawing
from recbole_lpo.compare.report.page import page
from recbole_lpo.compare.report.svg import file_of
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.study import Study
from recbole_lpo.compare.varied import varied_settings
from recbole_lpo.errors import InputError
from recbole_lpo.whole_files import write_whole

PAGE = "report.html"


def write_report(
    results: Sequence[DatasetResults],
    study: Study,
    output: Path,
    failures: Sequence[str] = (),
    figures_to: Path | None = None,
) -> list[str]:
    """Write `report.html` into the folder of a comparison; returns what was written.

    figures_to: a folder for the same figures as `<dataset>-<figure>.png` and `.svg`, made where there is none. Raises
    InputError where it cannot be written to.
    """
    look, written = Look(list(study.methods), study.baseline), [PAGE]
    with drawing():
        varied = varied_settings(study)
        drawn = [figures(one, look, varied) for one in results]
        write_whole(output / PAGE, page(results, drawn, look, failures).encode())
        for one, of_dataset in zip(results, drawn if figures_to else [], strict=bool(figures_to)):
            for each in of_dataset:
                if each.figure is not None:
                    name = re.sub(r"[^\w.-]+", "_", one.dataset) + f"-{each.name}"
                    written += _write_figure(figures_to, name, each.figure)
    return written


def _write_figure(folder: Path, name: str, figure) -> list[str]:
    files = [folder / f"{name}.{form}" for form in ("png", "svg")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            write_whole(file, file_of(figure, file.suffix[1:]))
    except OSError as error:
        raise InputError(f"figures = {folder}: cannot be written to: {error.strerror}.") from None
    return [str(file) for file in files]
