"""What is known of the items of a catalogue, coded for a model: attribute values as numbers, vectors side by side."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.item_content import Bags, standardised
from recbole_lpo.data.content_columns import AtomicText, Column, read_columns
from recbole_lpo.data.content_vectors import read_vectors
from recbole_lpo.errors import InputError
from recbole_lpo.settings import ContentSettings


@dataclass(frozen=True)
class ItemContent:
    """Content of N items.

    bags         the attribute values of each item, those of a field weighing 1 together
    n_values     V, how many values there are
    vectors      (N, W) float32, the columns of all vectors side by side, standardised; 0 where an item has none
    has_content  (N,) bool: the item has a value or a vector
    fingerprint  int64 that tells one content from another
    """

    bags: Bags
    n_values: int
    vectors: Tensor
    has_content: Tensor
    fingerprint: int

    def with_rows_beyond(self, n: int) -> ItemContent:
        """The same with n more rows at the end, which have no content."""
        start = functional.pad(self.bags.start, (0, n), value=len(self.bags.member))
        return replace(
            self,
            bags=Bags(self.bags.member, start, self.bags.weight),
            vectors=functional.pad(self.vectors, (0, 0, 0, n)),
            has_content=functional.pad(self.has_content, (0, n)),
        )


class ContentCoder:
    """Codes items by the values and vectors of a catalogue, so that items that come later are coded as its own are.

    A value that fewer than `content_min_count` items with training interactions have is `rare`: one value for all of
    these of a field. A value that the catalogue does not have is rare too, and nothing where the field has no rare one.
    A vector counts from the mean of the catalogue, in units of its root mean square.
    """

    def __init__(self, settings: ContentSettings, config, tokens: Sequence[str], seen: np.ndarray) -> None:
        """tokens: external token of each item number, the padding's first; seen (N,) bool, with training interactions.

        Raises InputError for what cannot be read, and where a field or a file knows none of the items.
        """
        self._id_field, self._text = config["ITEM_ID_FIELD"], AtomicText.of(config)
        # Sorted, so that the order in which they are named makes no difference.
        self._fields, self._files = sorted(set(settings.content_fields)), sorted(set(settings.content_file))
        self._vectors = {path: read_vectors(Path(path), self._text) for path in self._files}
        columns = self._columns(Path(config["data_path"]) / f"{config['dataset']}.item")
        known = list(tokens[1:])
        for name, values in self._sources(columns).items():
            self._check(name, values, known)
        self._numbers = self._vocabulary(columns, tokens, seen, settings.content_min_count)
        self._scales = {}
        for name, values in self._rows_of_numbers(columns).items():
            raw, present = _matrix(values, known)
            self._scales[name] = (*standardised(raw, present), raw.shape[1])
        self.catalogue = self._code(tokens, columns)

    def __deepcopy__(self, memo) -> ContentCoder:
        # It never changes, and a model that is its own opponent is copied every epoch.
        return self

    def code_file(self, path: Path) -> tuple[list[str], ItemContent]:
        """The items of a file like the `.item` file, and their content; their vectors are in the files of the settings.

        Raises InputError for a file that cannot be read, and for an item of which nothing is known.
        """
        columns = read_columns(path, self._id_field, [self._id_field, *self._fields], self._text)
        tokens = list(columns.pop(self._id_field).values)
        content = self._code(tokens, columns)
        unknown = [token for token, has in zip(tokens, content.has_content.tolist(), strict=True) if not has]
        if unknown or not tokens:
            what = f"nothing that the model knows is said of item {unknown[0]!r}" if unknown else "has no items"
            raise InputError(
                f"{path}: {what}; it must have {' or '.join(self._fields + self._files)}, with values that the "
                "catalogue has."
            )
        return tokens, content

    def _columns(self, path: Path) -> dict[str, Column]:
        return read_columns(path, self._id_field, self._fields, self._text) if self._fields else {}

    def _sources(self, columns: Mapping[str, Column]) -> dict[str, Mapping]:
        return {**{name: column.values for name, column in columns.items()}, **self._vectors}

    def _rows_of_numbers(self, columns: Mapping[str, Column]) -> dict[str, Mapping]:
        numeric = {name: column.values for name, column in columns.items() if column.kind.startswith("float")}
        return {**numeric, **self._vectors}

    def _check(self, name: str, values: Mapping, known: Sequence[str]) -> None:
        n_known = sum(token in values for token in known)
        if not n_known:
            raise InputError(
                f"content: {name} has a value for none of the {len(known)} items of the dataset (its first item is "
                f"{next(iter(values), None)!r}, one of the dataset {known[0] if known else None!r})."
            )
        if n_known < len(known):
            missing = len(known) - n_known
            logging.getLogger().info("content: %d of %d items have no %s", missing, len(known), name)

    def _vocabulary(self, columns, tokens, seen, min_count: int) -> dict[str, dict[str | None, int]]:
        """Field -> value -> number over all fields; the rare ones of a field stand under None."""
        numbers: dict[str, dict[str | None, int]] = {}
        next_number = 0
        trained = [token for token, was_seen in zip(tokens, seen, strict=True) if was_seen]
        for field, column in columns.items():
            if not column.kind.startswith("token"):
                continue
            count = Counter(value for token in trained for value in set(column.values.get(token, ())))
            values = {value for token in tokens for value in column.values.get(token, ())}
            frequent = sorted(value for value in values if count[value] >= min_count)
            kept: list[str | None] = [*frequent, None] if len(frequent) < len(values) else [*frequent]
            numbers[field] = {value: next_number + place for place, value in enumerate(kept)}
            next_number += len(kept)
        self._n_values = next_number
        return numbers

    def _code(self, tokens: Sequence[str], columns: Mapping[str, Column]) -> ItemContent:
        member: list[int] = []
        weight: list[float] = []
        start = np.zeros(len(tokens), dtype=np.int64)
        for row, token in enumerate(tokens):
            start[row] = len(member)
            for field, numbers in self._numbers.items():
                rare = numbers.get(None)
                found = {numbers.get(value, rare) for value in columns[field].values.get(token, ())} - {None}
                member.extend(sorted(found))
                weight.extend(1 / len(found) for _ in found)
        bags = Bags(torch.tensor(member, dtype=torch.int64), torch.from_numpy(start), torch.tensor(weight))
        size = np.diff(start, append=len(member))
        has_content, digest, parts = torch.from_numpy(size > 0), hashlib.sha256(repr(self._numbers).encode()), []
        for name, values in self._rows_of_numbers(columns).items():
            centre, scale, width = self._scales[name]
            raw, present = _matrix(values, tokens, width, name)
            parts.append(((raw - centre) * scale).masked_fill(~present[:, None], 0.0))
            has_content = has_content | present
            digest.update(raw.numpy().tobytes())
        vectors = torch.cat(parts, dim=1) if parts else torch.zeros(len(tokens), 0)
        digest.update(np.array(member, dtype=np.int64).tobytes() + start.tobytes())
        fingerprint = int.from_bytes(digest.digest()[:8], "little", signed=True)
        return ItemContent(bags, self._n_values, vectors, has_content, fingerprint)


def _matrix(
    values: Mapping[str, np.ndarray], tokens: Sequence[str], width: int | None = None, name: str = ""
) -> tuple[Tensor, Tensor]:
    """(vectors (N, W), 0 where there is none; whether there is one (N,) bool)."""
    present = np.array([token in values for token in tokens], dtype=bool)
    rows = [values[token] for token in tokens if token in values]
    width = len(rows[0]) if width is None else width
    if any(len(row) != width for row in rows):
        raise InputError(f"content: {name} has vectors of another width than the {width} numbers of the catalogue.")
    matrix = np.zeros((len(tokens), width), dtype=np.float32)
    if rows:
        matrix[present] = np.stack(rows)
    return torch.from_numpy(matrix), torch.from_numpy(present)
