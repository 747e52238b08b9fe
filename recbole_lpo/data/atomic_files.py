"""RecBole's atomic files, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from tqdm import tqdm

from recbole_lpo.errors import InputError
from recbole_lpo.whole_files import appears_whole

_ROWS_A_CHUNK = 100_000


def write_interactions(
    path: Path,
    users: np.ndarray,
    items: np.ndarray,
    positions: np.ndarray,
    user_tokens: Sequence[str],
    item_tokens: Sequence[str],
    *,
    progress: bool = False,
) -> None:
    """Writes an `.inter` file: one row for each element of `users`, `items` (codes) and `positions`, all (n,)."""
    user_names = np.array(user_tokens, dtype=object)
    item_names = np.array(item_tokens, dtype=object)
    with (
        _written(path) as file,
        tqdm(total=len(users), desc=path.name, unit="row", unit_scale=True, disable=None if progress else True) as bar,
    ):
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for start in range(0, len(users), _ROWS_A_CHUNK):
            chunk = slice(start, start + _ROWS_A_CHUNK)
            rows = zip(user_names[users[chunk]], item_names[items[chunk]], positions[chunk].tolist(), strict=True)
            file.writelines([f"{user}\t{item}\t{position}\n" for user, item, position in rows])
            bar.update(len(users[chunk]))


def write_categories(path: Path, categories: Iterable[tuple[str, Sequence[int]]]) -> None:
    """Writes an `.item` file with the numbers of each item's categories as a token sequence."""
    with _written(path) as file:
        file.write("item_id:token\tcategories:token_seq\n")
        file.writelines(f"{item}\t{' '.join(map(str, numbers))}\n" for item, numbers in categories)


def write_category_names(path: Path, names: Sequence[str]) -> None:
    """Writes the numbering of the categories, `number<tab>name`, counted from 1."""
    with _written(path) as file:
        file.write("number\tcategory\n")
        file.writelines(f"{number}\t{name}\n" for number, name in enumerate(names, start=1))


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    """A text file to write, which appears whole at `path`; InputError where it cannot be written (say, disk full)."""
    try:
        with appears_whole(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from error
