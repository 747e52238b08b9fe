"""`recbole-lpo prepare`: the flags, and what is said about the result."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from recbole_lpo.data.download import raw_file_of
from recbole_lpo.data.known_datasets import KNOWN_DATASETS, KnownDataset, known_dataset
from recbole_lpo.data.prepare import PreparedDataset, prepare
from recbole_lpo.data.raw_formats import SOURCES
from recbole_lpo.errors import InputError

_logger = logging.getLogger("recbole_lpo")

_DEFAULT_K_CORE = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `prepare` to a parser."""
    add = parser.add_argument
    add("--dataset", metavar="NAME", help=f"a known dataset, implies name, source, k_core: {', '.join(KNOWN_DATASETS)}")
    add("--download", action="store_true", help="fetch the raw file of a known dataset")
    add("--source", metavar="FORMAT", help=f"format of the raw files: {', '.join(SOURCES)}")
    add("--input", nargs="+", metavar="FILE", help="raw files, plain or gzipped, read in this order as one table")
    add("--output", default="dataset/", metavar="FOLDER", help="folder of all datasets (default: %(default)s)")
    add("--name", help="name of the dataset: <output>/<name>/<name>.inter is written")
    add(
        "--k_core", type=int, help=f"interactions each user and item keeps at least; 0: all (default {_DEFAULT_K_CORE})"
    )
    add("--user_column", metavar="NAME", help="column or key with the user (csv, parquet, JSON lines)")
    add("--item_column", metavar="NAME", help="column or key with the item")
    add("--time_column", metavar="NAME", help="column or key with the time: a number, larger is later")
    add(
        "--separator",
        help=r"between columns (csv, sequences; default: found in the header, any white space); '\t': tab",
    )
    add("--item_metadata", metavar="FILE", help="Amazon's meta_*.json.gz: adds <name>.item with categories")
    add("--drop_duplicates", action="store_true", help="keep only the earliest row of each user and item")
    add("--overwrite", action="store_true", help="replace an existing dataset")
    add("--quiet", action="store_true", help="no progress bars, no result line")


def main(args: argparse.Namespace) -> int:
    """Prepares the dataset that the flags of `add_arguments` describe; returns 0.

    Writes one line on the result to standard output and warns where a known dataset has other counts than published.
    Raises InputError for anything that the user can mend.
    """
    known = known_dataset(args.dataset) if args.dataset is not None else None
    name = args.name or (known.name if known else None)
    source = args.source or (known.source if known else None)
    if name is None or source is None:
        missing = "--name" if name is None else "--source"
        raise InputError(f"{missing} is missing. Give it, or --dataset with one of {', '.join(KNOWN_DATASETS)}.")
    k_core = args.k_core if args.k_core is not None else (known.k_core if known else _DEFAULT_K_CORE)

    prepared = prepare(
        source,
        _inputs(args, known, name),
        args.output,
        name,
        k_core=k_core,
        user_column=args.user_column,
        item_column=args.item_column,
        time_column=args.time_column,
        separator=args.separator.replace("\\t", "\t") if args.separator is not None else None,
        item_metadata=args.item_metadata,
        drop_duplicates=args.drop_duplicates,
        overwrite=args.overwrite,
        progress=not args.quiet,
    )
    if known is not None and k_core == known.k_core and not args.drop_duplicates:
        _warn_of_other_counts(prepared, known)
    if not args.quiet:
        sys.stdout.write(_result_line(prepared))
    return 0


def _inputs(args: argparse.Namespace, known: KnownDataset | None, name: str) -> list[str | Path]:
    if args.input:
        if args.download:
            raise InputError("--download and --input exclude each other: leave one out.")
        return args.input
    if known is None:
        advice = (
            f"--download knows only the datasets {', '.join(KNOWN_DATASETS)}" if args.download else "give a raw file"
        )
        raise InputError(f"--input is missing: {advice}.")
    return [raw_file_of(known, Path(args.output) / name / "raw", download=args.download, progress=not args.quiet)]


def _warn_of_other_counts(prepared: PreparedDataset, known: KnownDataset) -> None:
    for what in ("users", "items", "interactions"):
        found, published = getattr(prepared, what), getattr(known, what)
        if found != published:
            _logger.warning(
                "%s has %s %s where %s are published: is the raw file another version?",
                *(prepared.name, f"{found:,}", what, f"{published:,}"),
            )


def _result_line(prepared: PreparedDataset) -> str:
    return (
        f"{prepared.name}: {prepared.users:,} users, {prepared.items:,} items, {prepared.interactions:,} interactions "
        f"({prepared.dropped:,} of {prepared.read:,} dropped) -> {prepared.path}\n"
    )
