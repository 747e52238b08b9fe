"""`recbole-lpo embed-items`: vectors of items from their titles, for `content_file`."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np

from recbole_lpo.data.content_columns import AtomicText, read_columns
from recbole_lpo.data.content_vectors import tokens_path
from recbole_lpo.data.text_vectors import sentence_vectors, tfidf_vectors
from recbole_lpo.errors import InputError
from recbole_lpo.whole_files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--dataset", required=True, help="name of the dataset")
    parser.add_argument("--data_path", default="dataset", help="folder that holds <dataset>/<dataset>.item (dataset)")
    parser.add_argument("--columns", required=True, help="columns of text in the .item file, by commas: title,brand")
    parser.add_argument("--method", choices=("tfidf",), help="tfidf: word weights in their main directions, no model")
    parser.add_argument("--model", metavar="FOLDER", help="a sentence-transformers model on this machine")
    parser.add_argument("--dim", type=int, default=64, help="numbers in each vector of tfidf (64)")
    parser.add_argument("--output", help="file to write, .npy (<data_path>/<dataset>/<dataset>.<columns>.npy)")


def main(args: argparse.Namespace) -> int:
    """Write the vectors; returns the exit code."""
    if (args.method is None) == (args.model is None):
        raise InputError("embed-items: give one of --method=tfidf and --model=FOLDER.")
    if args.dim < 1:
        raise InputError(f"--dim={args.dim}: must be at least 1.")
    folder = Path(args.data_path) / args.dataset
    names = [name.strip() for name in args.columns.split(",") if name.strip()]
    output = Path(args.output or folder / f"{args.dataset}.{'-'.join(names)}.npy")
    if output.suffix != ".npy":
        raise InputError(f"--output={output}: must end in .npy.")
    texts = _texts(folder / f"{args.dataset}.item", names)
    vectors = (
        sentence_vectors(list(texts.values()), Path(args.model))
        if args.model
        else tfidf_vectors(list(texts.values()), args.dim)
    )
    _write(output, list(texts), vectors)
    sys.stdout.write(
        f"{len(vectors):,} vectors of {vectors.shape[1]} numbers -> {output}\n"
        f"Train with them: recbole-lpo run --dataset={args.dataset} --content_file={output} --content_mode=add ...\n"
    )
    return 0


def _texts(path: Path, names: list[str]) -> dict[str, str]:
    """What the columns say of each item, one after the other; items of which they say nothing are left out."""
    columns = read_columns(path, None, names, AtomicText())
    numeric = [name for name, column in columns.items() if column.kind.startswith("float")]
    if numeric or not names:
        raise InputError(
            f"--columns: {numeric[0] if numeric else 'nothing'} is no text. Name token or token_seq columns."
        )
    items = dict.fromkeys(item for column in columns.values() for item in column.values)
    return {
        item: " ".join(word for column in columns.values() for word in column.values.get(item, ())) for item in items
    }


def _write(path: Path, tokens: list[str], vectors: np.ndarray) -> None:
    data = io.BytesIO()
    np.save(data, vectors)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(tokens_path(path), "".join(f"{token}\n" for token in tokens).encode())
        write_whole(path, data.getvalue())
    except OSError as error:
        raise InputError(f"--output={path}: cannot be written: {error.strerror}.") from None
