"""`recbole-lpo evaluate`: a finished run measured again, and the curve of post-hoc logit adjustment."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from recbole_lpo.errors import InputError
from recbole_lpo.properties_files import parse_value
from recbole_lpo.quick_start import evaluate, load_recbole_checkpoint
from recbole_lpo.run_folder import without_nan
from recbole_lpo.settings import KEYS
from recbole_lpo.table import result_table

_NEIGHBOURS = tuple(key for key in KEYS if key.startswith("eval_neighbours"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run_dir", help="folder of a finished run")
    source.add_argument(
        "--recbole_checkpoint", help="file of RecBole's own trainer; its dataset must be the one that it was trained on"
    )
    parser.add_argument("--data_path", help="where that dataset is now")
    parser.add_argument(
        "--eval_logit_adjust", help="strengths of the adjustment, by commas: 0,0.1,0.3,0.5 (the run's own; 0: none)"
    )
    parser.add_argument("--eval_mask_history", help="True leaves the user's own items out of the ranking")
    for name in _NEIGHBOURS:
        parser.add_argument(f"--{name}", help=f"{KEYS[name]['meaning']}, in place of what the run had")
    parser.add_argument("--topk", help="list lengths, as [5,10,20]")
    parser.add_argument("--on", choices=("test", "valid"), default="test", help="what to measure on; choose t on valid")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")


def main(args: argparse.Namespace) -> int:
    """Print the table or the JSON; returns the exit code."""
    changes: dict[str, Any] = {}
    if args.eval_mask_history is not None:
        changes["eval_mask_history"] = parse_value(args.eval_mask_history)
    for name in _NEIGHBOURS:
        if getattr(args, name) is not None:
            changes[name] = parse_value(getattr(args, name))
    if args.topk is not None:
        changes |= {"topk": parse_value(args.topk)}
    if args.data_path is not None:
        changes["data_path"] = args.data_path
    strengths, run_dir = _strengths(args.eval_logit_adjust), args.run_dir
    if args.recbole_checkpoint:
        run_dir = load_recbole_checkpoint(args.recbole_checkpoint, changes)
    found = evaluate(run_dir, logit_adjust=strengths, on=args.on, config_dict=changes)
    sys.stdout.write(json.dumps(without_nan(found), indent=2) + "\n" if args.json else result_table(found) + "\n")
    return 0


def _strengths(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--eval_logit_adjust={text}: must be numbers >= 0, by commas, as 0,0.1,0.3.") from None
