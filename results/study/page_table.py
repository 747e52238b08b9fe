"""The page's table of a comparison, from what `recbole-lpo compare` has written.

    python results/study/page_table.py NAME...

NAME: a folder beside this file, with `table.md` and `runs.csv` of a comparison. Puts its table between `<!-- NAME -->`
and `<!-- end -->` of README.md: differences from the baseline, one table for each way of choosing epochs; where there
are several datasets, in one table what each row has for the tail at no loss.
"""

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
MEANS = ["HR", "NDCG", "tail HR", "tail NDCG"]
AT_10 = ["", "HR@10", "NDCG@10", "tail HR@10", "tail NDCG@10"]
DIFFERENCES = [*AT_10, "over the curve on the tail [95 %]", "NDCG, p", "tail NDCG, p", "best epoch"]
GAINS = [*AT_10, "t", "NDCG@10", "tail NDCG@10", "tail gained [95 % over users]", "p users / seeds"]


def page_table(name: str) -> str:
    """The table as it stands on the page."""
    text = (HERE / name / "table.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    if len({re.split(", ", section, maxsplit=1)[0] for section in sections}) > 1:
        return _markdown([GAINS, *(line for section in sections for line in _gains(section))])
    with open(HERE / name / "runs.csv", newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    parts = []
    for section in sections:
        chosen_by = re.match(r".*best epochs by (.*), at 10\n", section)
        by = chosen_by[1] if chosen_by else ""
        table = _markdown([DIFFERENCES, *_differences(section, [run for run in runs if run["selected_by"] == by])])
        parts.append(f"Epochs chosen by {by}:\n\n{table}" if by else table)
    return "\n\n".join(parts)


def with_table(page: str, name: str, table: str) -> str:
    """The page with a table in its place. Raises SystemExit where it has none."""
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    found, places = place.subn(lambda at: f"{at[1]}{table}\n{at[2]}", page)
    if places != 1:
        raise SystemExit(f"{PAGE.name}: {places} places between <!-- {name} --> and <!-- end -->; there must be one.")
    return found


def _tables(section: str) -> list[list[list[str]]]:
    """The cells of each table of a page, the names of the columns first; without marks, .05 for 0.05."""
    blocks = [block.splitlines() for block in section.split("\n\n") if block.startswith("| ")]
    return [[[_plain(cell) for cell in line[2:-2].split(" | ")] for line in (b[0], *b[2:])] for b in blocks]


def _plain(cell: str) -> str:
    return re.sub(r"(?<![\d.])0\.(?=\d{4})", ".", re.sub(r"</?u>|\*\*", "", cell))


def _means(table: list[list[str]]) -> dict[str, list[str]]:
    """Method -> its figures at 10."""
    return {line[0]: [line[table[0].index(column)] for column in MEANS] for line in table[1:]}


def _differences(section: str, runs: list[dict[str, str]]) -> Iterator[list[str]]:
    means, tests = _tables(section)[:2]
    tested = {line[0]: _tested(tests[0], line) for line in tests[1:]}
    for method, figures in _means(means).items():
        epochs = ", ".join(str(int(run["best_epoch"]) + 1) for run in runs if run["method"] == method)
        yield [method, *figures, *tested.get(method, [""] * 3), epochs]


def _tested(columns: list[str], line: list[str]) -> list[str]:
    """Over the curve; the differences overall and on the tail with their p over users, and over seeds if several."""
    cells = [line[columns.index("tail over the curve")]]
    for metric in ("NDCG", "tail NDCG"):
        at = columns.index(metric)
        p = [value for value in line[at + 1 : at + 3] if value != "-"]
        cells.append(f"{line[at].split(' [')[0]}, {' / '.join(p)}")
    return cells


def _gains(section: str) -> Iterator[list[str]]:
    """A dash where a row is below the baseline on validation items without any adjustment."""
    means, _, lifted = _tables(section)[:3]
    at_no_loss = {line[0]: line for line in lifted[1:]}
    for number, (method, figures) in enumerate(_means(means).items()):
        found = dict(zip(lifted[0], at_no_loss.get(method, []), strict=False))
        cells = [found.get("t", "-"), *(found.get(metric, "").split(" ±")[0] for metric in ("NDCG", "tail NDCG"))]
        gained = found.get("tail NDCG gained", "-") != "-"
        cells += [f"{found['in %']} %: {found['tail NDCG gained'].removeprefix('+')}"] if gained else [""]
        cells += [f"{found['p users']} / {found['p seeds']}"] if gained else [""]
        dataset = "" if number else f"**{section.split(', ')[0]}** "
        yield [dataset + method, *figures, *cells]


def _markdown(lines: list[list[str]]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def main(*names: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in names:
        page = with_table(page, name, page_table(name))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
