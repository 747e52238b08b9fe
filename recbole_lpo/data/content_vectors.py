"""Vectors of items from a file: `.npy`, parquet, safetensors, or an atomic file as of RecBole's `preload_weight`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_lpo.data.content_columns import AtomicText, read_columns
from recbole_lpo.errors import InputError

TOKENS = ".tokens"
# What files of vectors end with, where they are no atomic files.
VECTORS = (".npy", ".parquet", ".safetensors", TOKENS)
# Names under which a parquet file may hold the items.
_ITEM_NAMES = ("item_id", "item", "token", "asin", "id")


def read_vectors(path: Path, text: AtomicText) -> dict[str, np.ndarray]:
    """The vector of each item token in a file, float32 (W,), W the same for all.

    .npy          an array (items, W), with the item tokens beside it in `<name>.tokens`, one a line
    .parquet      a column of items (item_id, item, token, asin or id), and one column of lists or several of numbers
    .safetensors  one tensor (items, W) with `<name>.tokens` beside it, or a tensor (W,) under each item's token
    any other     an atomic file: a column of tokens first, then float or float_seq columns, as in RecBole's
                  `additional_feat_suffix` and `preload_weight`
    Raises InputError for a file that is none of these, vectors of different widths, and numbers that are not finite.
    """
    if not path.is_file():
        raise InputError(f"content_file = {path}: there is no such file.")
    read = {".npy": _npy, ".parquet": _parquet, ".safetensors": _safetensors}.get(path.suffix)
    tokens, vectors = read(path) if read else _atomic(path, text)
    if len(set(tokens)) < len(tokens):
        raise InputError(f"{path}: an item has two vectors ({len(tokens)} rows, {len(set(tokens))} items).")
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{path}: the vector of item {tokens[wrong[0]]!r} holds NaN or infinity ({len(wrong)} such items). Mend or "
            "remove them; an item without a vector is its id alone."
        )
    return dict(zip(tokens, vectors.astype(np.float32), strict=True))


def tokens_path(path: Path) -> Path:
    """Where the item tokens of an array of vectors stand."""
    return path.with_suffix(TOKENS)


def _npy(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not an array of numpy ({' '.join(str(error).split())[:120]}).") from None
    return _with_tokens(path, vectors)


def _with_tokens(path: Path, vectors: np.ndarray) -> tuple[list[str], np.ndarray]:
    beside = tokens_path(path)
    try:
        tokens = beside.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"{path}: needs {beside.name} beside it, the item token of each row, one a line, in UTF-8."
        ) from None
    return tokens, _rows(path, tokens, vectors)


def _rows(path: Path, tokens: list[str], vectors: np.ndarray) -> np.ndarray:
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not vectors.shape[1]:
        shape = f"{vectors.dtype} of the shape {vectors.shape}"
        raise InputError(f"{path}: holds {shape}; it must be numbers (items, width).")
    if len(vectors) != len(tokens):
        raise InputError(f"{path}: has {len(vectors)} vectors for {len(tokens)} item tokens.")
    return vectors


def _stacked(path: Path, tokens: list[str], vectors: list) -> np.ndarray:
    widths = {np.shape(vector) for vector in vectors}
    if len(widths) != 1:
        shown = ", ".join(map(str, sorted(widths)[:4]))
        raise InputError(f"{path}: the vectors of the items have different widths or none at all ({shown}).")
    try:
        return _rows(path, tokens, np.array(vectors, dtype=np.float32))
    except (TypeError, ValueError):
        raise InputError(f"{path}: the vectors of the items are not numbers.") from None


def _parquet(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: needs pyarrow. Install it with: pip install 'recbole-lpo[parquet]'") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0][:120]}).") from None
    item = next((name for name in _ITEM_NAMES if name in table.column_names), None)
    rest = [name for name in table.column_names if name != item]
    if item is None or not rest:
        raise InputError(
            f"{path}: has the columns {', '.join(table.column_names)}; it must have one of {', '.join(_ITEM_NAMES)}, "
            "and one column of lists or several of numbers."
        )
    tokens = list(map(str, table[item].to_pylist()))
    columns = [table[name].to_pylist() for name in rest]
    rows = columns[0] if len(rest) == 1 and isinstance(columns[0][0], list) else list(zip(*columns, strict=True))
    return tokens, _stacked(path, tokens, rows)


def _safetensors(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise InputError(f"{path}: needs safetensors. Install it with: pip install safetensors") from None
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a safetensors file of numpy's types ({str(error)[:120]}).") from None
    if len(tensors) == 1 and next(iter(tensors.values())).ndim == 2:
        return _with_tokens(path, next(iter(tensors.values())))
    return list(tensors), _stacked(path, list(tensors), list(tensors.values()))


def _atomic(path: Path, text: AtomicText) -> tuple[list[str], np.ndarray]:
    columns = read_columns(path, None, None, text)
    of_text = [name for name, column in columns.items() if column.kind.startswith("token")]
    if of_text or not columns:
        raise InputError(
            f"{path}: must hold a column of item tokens and then float or float_seq columns"
            + (f"; {of_text[0]} is text. Name text columns of the .item file in content_fields." if of_text else ".")
        )
    parts = [column.values for column in columns.values()]
    tokens = [token for token in parts[0] if all(token in part for part in parts)]
    return tokens, _stacked(path, tokens, [np.concatenate([part[token] for part in parts]) for token in tokens])
