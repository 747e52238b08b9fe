"""report.html: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from recbole_lpo.compare.report.figures import Drawn
from recbole_lpo.compare.report.headline import Statement, headline
from recbole_lpo.compare.report.look import Look
from recbole_lpo.compare.report.markup import Markup, element, joined
from recbole_lpo.compare.report.svg import inline_svg
from recbole_lpo.compare.results import DatasetResults
from recbole_lpo.compare.summary import best_two, columns, larger_is_better, mean, notes, peak_mb, seconds_an_epoch, std

_HERE = Path(__file__).parent


def page(
    results: Sequence[DatasetResults], drawn: Sequence[Sequence[Drawn]], look: Look, failures: Sequence[str] = ()
) -> str:
    """The page. drawn: the figures of each dataset; failures: a line for each run that failed.

    A policy in its head forbids the browser every request, and every script but the one that sorts the tables.
    """
    script = (_HERE / "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = f"Comparison: {' · '.join(look.methods)}"
    sections = [
        _section(number, one, of_dataset, look)
        for number, (one, of_dataset) in enumerate(zip(results, drawn, strict=True))
    ]
    links = [joined(element("a", one.title, href=f"#dataset-{n}"), " ") for n, one in enumerate(results)]
    body = joined(
        element("h1", title),
        element("p", "Datasets: ", *links, class_="note") if len(results) > 1 else "",
        element("p", "No run is finished: there is nothing to show.", class_="missing") if not results else "",
        element("p", element("a", f"Runs that failed: {len(failures)}", href="#failed")) if failures else "",
        *sections,
        _failures(failures) if failures else "",
        element("script", Markup(script)),
    )
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<link rel="icon" href="data:,">'),
        element("title", title[:120]),
        element("style", Markup((_HERE / "page.css").read_text(encoding="utf-8"))),
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _failures(failures: Sequence[str]) -> Markup:
    lines = element("ul", *(element("li", failure) for failure in failures))
    return element("section", element("h2", "Runs that failed"), lines, id="failed")


def _section(number: int, one: DatasetResults, drawn: Sequence[Drawn], look: Look) -> Markup:
    first, second, *rest = [_figure(number, each) for each in drawn]
    missing = [method for method in look.methods if one.row(method) is None]
    return element(
        "section",
        element("h2", one.title),
        element("div", *map(_card, headline(one)), class_="cards"),
        element("p", f"No finished run of: {', '.join(missing)}.", class_="missing") if missing else "",
        element("div", first, second, class_="grid"),
        _table(one, look),
        element("div", *rest, class_="grid"),
        id=f"dataset-{number}",
    )


def _card(statement: Statement) -> Markup:
    lines = {"question": statement.question, "answer": statement.answer, "figures": statement.figures}
    return element("div", *(element("div", text, class_=name) for name, text in lines.items()), class_="card")


def _figure(number: int, each: Drawn) -> Markup:
    name = f"d{number}-{each.name}"
    if each.figure is None:
        return element("figure", element("h3", each.title), element("p", f"Missing: {each.missing}", class_="missing"))
    image = element("div", Markup(inline_svg(each.figure, name, each.title)), class_="scroll")
    return element("figure", element("h3", each.title), image, element("figcaption", each.caption), id=name)


def _table(one: DatasetResults, look: Look) -> Markup:
    metrics = columns(one)
    heading = ["method", *metrics, "s/epoch", "peak MB", "seeds"]
    bests = {
        key: best_two([mean(row.values(key)) for row in one.rows], larger=larger_is_better(key))
        for key in metrics.values()
    }
    body = []
    for row in one.rows:
        swatch = element("span", class_="swatch", style=f"background:{look.colour(row.method)}")
        cells = [element("td", swatch, row.method, " (baseline)" if row.method == look.baseline else "")]
        cells += [_cell(row.values(key), *bests[key]) for key in metrics.values()]
        for found, digits in ((seconds_an_epoch(row), 2), (peak_mb(row), 0)):
            middle = sorted(found)[len(found) // 2] if found else math.nan
            cells.append(_number(middle, f"{middle:.{digits}f}"))
        cells.append(_number(len(row.runs), str(len(row.runs))))
        body.append(element("tr", *cells))
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name, scope="col") for name in heading))),
        element("tbody", *body),
        class_="sortable",
    )
    return element(
        "div",
        element("h3", one.headed("All figures")),
        element("div", table, class_="scroll"),
        element("p", "Mean ± standard deviation over seeds. Best of a column bold, second underlined.", class_="note"),
        *(element("p", note, class_="note") for note in notes(one)),
        class_="table",
    )


def _cell(values, best: float, second: float) -> Markup:
    average, spread = mean(values), std(values)
    text = joined(f"{average:.4f}", "" if math.isnan(spread) else element("span", f" ± {spread:.4f}", class_="sd"))
    mark = "best" if average == best else "second" if average == second else None
    return _number(average, text, mark)


def _number(value: float, text: str, mark: str | None = None) -> Markup:
    known = not math.isnan(value)
    return element("td", text if known else "-", data_value=repr(float(value)) if known else "", class_=mark)
