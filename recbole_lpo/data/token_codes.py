"""User and item tokens as consecutive int32 codes, in order of first appearance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_lpo.errors import InputError

# RecBole reads atomic files with pandas' defaults: these words become NaN, and the rows are dropped with a log line.
READ_AS_MISSING = frozenset(
    {
        *("NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
# Unicode's line ends too, and halves of surrogate pairs, which JSON can spell and UTF-8 cannot.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _RefusedToken(Exception):
    """A token that no atomic file can carry; `raw` is the token as read, the message says why."""

    def __init__(self, raw: str, reason: str) -> None:
        super().__init__(reason)
        self.raw = raw


class TokenCodes(dict[str, int]):
    """The code of each token, given at its first look-up; `tokens[code]` is the token.

    White space around a token is not part of it. Looking up a known token costs one dictionary access, nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []

    def __missing__(self, raw: str) -> int:
        token = raw.strip()
        if reason := _reason_to_refuse(token):
            raise _RefusedToken(raw, reason)
        code = self.get(token)
        if code is None:
            code = len(self.tokens)
            self.tokens.append(token)
            self[token] = code
        # The padded spelling is remembered too, so that a file full of it is no slower.
        self[raw] = code
        return code

    def encode(self, tokens: Sequence[str], role: str, numbers: Sequence[int], path: Path) -> np.ndarray:
        """The codes (n,) int32 of `tokens`; `role` ("user" or "item") and `numbers` (lines) are for the error alone.

        Raises InputError at a token that RecBole could not read back as it is: an empty one, one with a tab, line end
        or other control character, one that starts with a quotation mark, one of pandas' words for a missing value, and
        RecBole's own "[PAD]".
        """
        try:
            return np.fromiter(map(self.__getitem__, tokens), dtype=np.int32, count=len(tokens))
        except _RefusedToken as refused:
            number = numbers[tokens.index(refused.raw)]
            shown = refused.raw if len(refused.raw) <= 40 else refused.raw[:40] + "..."
            raise InputError(
                f"{path}, line {number}: the {role} id {shown!r} {refused}. Rename it or remove the line."
            ) from None


def _reason_to_refuse(token: str) -> str | None:
    if not token:
        return "is empty"
    if _UNWRITABLE.search(token):
        return "has a tab, a line end or another control character"
    if token.startswith('"'):
        return "starts with a quotation mark, which RecBole would take for quoting"
    if token in READ_AS_MISSING:
        return "would be read as a missing value by RecBole and silently dropped"
    if token == "[PAD]":
        return "is the token that RecBole keeps for padding"
    return None
