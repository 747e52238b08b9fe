"""Which column of a file holds the user, the item and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_lpo.errors import InputError, did_you_mean

# Names that well-known datasets use, compared without regard to case.
_USUAL_NAMES = {
    "user": ("user_id", "user", "userid", "uid", "reviewerid", "customer_id"),
    "item": ("item_id", "item", "itemid", "iid", "asin", "parent_asin", "movieid", "product_id", "business_id"),
    "time": ("timestamp", "time", "unixreviewtime", "unix_time", "time_stamp"),
}
_MOST_NAMES_SHOWN = 20


@dataclass(frozen=True)
class ColumnPlaces:
    """Places, counted from 0, of the three columns in a row that has `width` columns."""

    user: int
    item: int
    time: int
    width: int


def find_columns(
    existing: Sequence[str], path: Path, *, user: str | None, item: str | None, time: str | None
) -> ColumnPlaces:
    """The places of the user, item and time columns among the `existing` names.

    A given name is looked up as it stands or without the type that RecBole's atomic files append (`user_id:token`);
    without a name, exactly one of the usual names must be there. Raises InputError where none or several match, and
    where two roles would share a column.
    """
    places = {
        role: _find_column(role, wanted, existing, path)
        for role, wanted in (("user", user), ("item", item), ("time", time))
    }
    if len(set(places.values())) < len(places):
        names = ", ".join(f"{role}: {existing[place]!r}" for role, place in places.items())
        raise InputError(f"{path}: one column cannot have two roles ({names}).")
    return ColumnPlaces(**places, width=len(existing))


def show_names(names: Sequence[str]) -> str:
    """The names for an error message, cut where there are very many."""
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES_SHOWN])
    return shown if len(names) <= _MOST_NAMES_SHOWN else f"{shown} and {len(names) - _MOST_NAMES_SHOWN} more"


def _find_column(role: str, wanted: str | None, existing: Sequence[str], path: Path) -> int:
    bare_names = [name.strip().partition(":")[0] for name in existing]
    if wanted is None:
        matches = [place for place, name in enumerate(bare_names) if name.lower() in _USUAL_NAMES[role]]
    else:
        matches = [place for place, name in enumerate(existing) if wanted in (name.strip(), bare_names[place])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        several = show_names([existing[place] for place in matches])
        raise InputError(f"{path}: several columns could be the {role} ({several}). Name one with --{role}_column.")
    if wanted is None:
        problem = f"no column for the {role} under a usual name ({', '.join(_USUAL_NAMES[role])})"
        hint = ""
    else:
        problem = f"no column {wanted!r} for the {role}"
        hint = did_you_mean(wanted, bare_names)
    raise InputError(
        f"{path}: {problem}; it has {show_names(existing)}.{hint} Name the right one with --{role}_column."
    )
