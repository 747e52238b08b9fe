"""The page's table of a comparison, from what `recbole-lpo compare` has written.

    python results/study/page_table.py NAME...

NAME: a folder beside this file, with `table.md` and `runs.csv` of a comparison on one dataset. Puts its table, one for
each way of choosing epochs, between `<!-- NAME -->` and `<!-- end -->` of README.md.
"""

import csv
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
HEADING = ["", "HR@10", "NDCG@10", "tail HR@10", "tail NDCG@10"]
HEADING += ["over the curve on the tail [95 %]", "NDCG, p", "tail NDCG, p", "best epoch"]


def page_table(name: str) -> str:
    """The table as it stands on the page."""
    with open(HERE / name / "runs.csv", newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    parts = []
    for section in re.split(r"^## ", (HERE / name / "table.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        means, tests = _tables(section)[:2]
        chosen_by = re.match(r".*best epochs by (.*), at 10\n", section)
        by = chosen_by[1] if chosen_by else ""
        tested = {line[0]: _differences(tests[0], line) for line in tests[1:]}
        lines = [HEADING, ["---"] * len(HEADING)]
        for line in means[1:]:
            epochs = [run["best_epoch"] for run in runs if (run["method"], run["selected_by"]) == (line[0], by)]
            shown = [line[means[0].index(column)] for column in ("method", "HR", "NDCG", "tail HR", "tail NDCG")]
            lines.append([*shown, *tested.get(line[0], [""] * 3), ", ".join(str(int(epoch) + 1) for epoch in epochs)])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"Epochs chosen by {by}:\n\n{table}" if by else table)
    return "\n\n".join(parts)


def with_table(page: str, name: str, table: str) -> str:
    """The page with a table in its place."""
    return re.sub(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda at: f"{at[1]}{table}\n{at[2]}", page, flags=re.DOTALL
    )


def _tables(section: str) -> list[list[list[str]]]:
    """The cells of each table of a page, the names of the columns first; without marks, .05 for 0.05."""
    blocks = [block.splitlines() for block in section.split("\n\n") if block.startswith("| ")]
    return [[[_plain(cell) for cell in line[2:-2].split(" | ")] for line in (b[0], *b[2:])] for b in blocks]


def _plain(cell: str) -> str:
    return re.sub(r"(?<![\d.])0\.(?=\d{4})", ".", re.sub(r"</?u>|\*\*", "", cell))


def _differences(columns: list[str], line: list[str]) -> list[str]:
    """Over the curve; the differences overall and on the tail with their p over users, and over seeds if several."""
    cells = [line[columns.index("tail over the curve")]]
    for metric in ("NDCG", "tail NDCG"):
        at = columns.index(metric)
        p = [value for value in line[at + 1 : at + 3] if value != "-"]
        cells.append(f"{line[at].split(' [')[0]}, {' / '.join(p)}")
    return cells


def main(*names: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in names:
        page = with_table(page, name, page_table(name))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
