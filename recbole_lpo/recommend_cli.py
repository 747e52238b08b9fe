"""`recbole-lpo recommend`: lists from a run folder as a table, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from recbole_lpo.errors import InputError
from recbole_lpo.quick_start import load
from recbole_lpo.recommendation import Recommendation, recommend

FORMATS = ("table", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--run_dir", required=True, help="folder of a finished run")
    parser.add_argument("--users", default="", help="user tokens, separated by commas")
    parser.add_argument("--users_file", help="file with one user token a line")
    parser.add_argument("--items", default="", help="history of a new user: item tokens, oldest first, by commas")
    parser.add_argument("--k", type=int, default=10, help="length of each list (10)")
    parser.add_argument("--tail_only", action="store_true", help="leave head items out")
    parser.add_argument("--keep_history", action="store_true", help="may recommend what the user has met already")
    parser.add_argument(
        "--eval_logit_adjust", type=float, help="rank by score - t * log(training share), t >= 0 (the run's own t)"
    )
    parser.add_argument(
        "--new_items", metavar="FILE", help="items added after training, in the form of the .item file, ranked as well"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="table, csv or json (table)")
    parser.add_argument("--output", help="file to write; standard output by default")


def main(args: argparse.Namespace) -> int:
    """Print or write the lists; returns the exit code."""
    users = [*_tokens(args.users), *_lines(args.users_file)]
    lists = recommend(
        load(args.run_dir),
        users,
        _tokens(args.items),
        k=args.k,
        tail_only=args.tail_only,
        keep_history=args.keep_history,
        logit_adjust=args.eval_logit_adjust,
        new_items_file=args.new_items,
    )
    text = render(lists, args.format)
    if args.output:
        try:
            Path(args.output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"--output={args.output}: cannot be written: {error.strerror}.") from None
    else:
        sys.stdout.write(text)
    return 0


def render(lists: Sequence[Recommendation], form: str) -> str:
    """The lists as text in one of FORMATS."""
    rows = [line.as_dict() for line in lists]
    if form == "json":
        return json.dumps(rows, indent=2) + "\n"
    headings = list(Recommendation.__dataclass_fields__)
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, headings, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
    cells = [[row["user"], row["rank"], row["item"], f"{row['score']:.4f}", row["group"]] for row in rows]
    return tabulate(cells, headings, disable_numparse=True) + "\n"


def _tokens(text: str) -> list[str]:
    return [token for token in text.split(",") if token]


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--users_file={path}: cannot be read: {error}") from None
