"""RecBole's rows for sequential models, one for each target, as places in one flat log: no padded copy of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_lpo.data.runs import runs


@dataclass(frozen=True)
class EventLog:
    """n interactions sorted by user and time, shared by all rows made of them. `events` below are places in it, of any
    shape (...,).

    fields      {name: (n,) or (n, ...)}; token numbers are int32, floats as RecBole has them
    user_field  the name of the field of users
    first       (users,) int64 where the interactions of each user start
    max_length  the longest history of a row in items, at least 1
    """

    fields: dict[str, Tensor]
    user_field: str
    first: Tensor
    max_length: int

    @classmethod
    def from_sorted(cls, sorted_rows: Interaction, user_field: str, max_length: int) -> EventLog:
        """The log of interactions that are sorted by user and time; every column of integers holds token numbers."""
        fields = {
            name: values.int() if values.dtype == torch.int64 else values
            for name, values in sorted_rows.interaction.items()
        }
        users = fields[user_field].numpy()
        start, _ = runs(users)
        first = np.zeros(users.max(initial=-1) + 1, dtype=np.int64)
        first[users[start]] = start
        return cls(fields, user_field, torch.from_numpy(first), max_length)

    def __len__(self) -> int:
        return len(self.fields[self.user_field])

    def targets(self) -> Tensor:
        """All events but the first of each user, which is in no row the target; int32, ascending."""
        is_target = torch.ones(len(self), dtype=torch.bool)
        is_target[torch.from_numpy(runs(self.fields[self.user_field].numpy())[0])] = False
        return torch.arange(len(self), dtype=torch.int32)[is_target]

    def value(self, field: str, events: Tensor) -> Tensor:
        """(...,) the field of the events; token numbers as int64."""
        values = self.fields[field][events]
        return values.long() if values.dtype == torch.int32 else values

    def length(self, events: Tensor) -> Tensor:
        """(...,) int64, 0 to max_length: how many items are shown of what the user did before each event."""
        return (events - self.first_of_user(events)).clamp(max=self.max_length)

    def history(self, field: str, events: Tensor) -> Tensor:
        """(..., max_length) the field of the latest events before each, oldest first, padded on the right with 0."""
        length = self.length(events)[..., None]
        steps = torch.arange(self.max_length)
        known = steps < length
        values = self.value(field, (events[..., None] - length + steps).where(known, 0))
        values[~known] = 0
        return values

    def first_of_user(self, events: Tensor) -> Tensor:
        """(...,) the first event of each event's user."""
        return self.first[self.value(self.user_field, events)]


class PrefixColumns(MutableMapping):
    """{name: column} of rows whose targets are `events`; a column is made when it is first asked for, and kept."""

    def __init__(self, log: EventLog, events: Tensor, columns: dict[str, Callable[[Tensor], Tensor] | Tensor]) -> None:
        """columns: how to make each column from events, or the column itself."""
        self.log, self.events = log, events
        self._columns = columns
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        column = self._columns[name]
        if isinstance(column, Tensor):
            return column
        if name not in self._made:
            self._made[name] = column(self.events)
        return self._made[name]

    def __setitem__(self, name: str, column: Tensor) -> None:
        self._columns[name] = column

    def __delitem__(self, name: str) -> None:
        del self._columns[name]
        self._made.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def take(self, index) -> PrefixColumns:
        """The same columns of some rows, none of them made; index as for a tensor, or an array or list."""
        if not isinstance(index, (int, slice, Tensor)):
            index = np.array(index)
            index = torch.from_numpy(index if index.size else index.astype(np.int64))
        columns = {name: one[index] if isinstance(one, Tensor) else one for name, one in self._columns.items()}
        return PrefixColumns(self.log, self.events[index], columns)


class PrefixRows(Interaction):
    """RecBole's Interaction over PrefixColumns: a column of it is an ordinary tensor, some of its rows PrefixRows."""

    def __init__(self, columns: PrefixColumns) -> None:
        self.interaction = columns
        self.length = columns.events.unsqueeze(-1).shape[0]

    def __getitem__(self, index):
        return self.interaction[index] if isinstance(index, str) else PrefixRows(self.interaction.take(index))

    def _reindex(self, index) -> None:
        self.interaction = self.interaction.take(index)

    def known_events(self) -> Tensor:
        """The events behind training rows, in the order of the log: their targets, and the first event of every user
        among them, which is no row's target."""
        log, events = self.interaction.log, self.interaction.events
        known = torch.zeros(len(log), dtype=torch.bool)
        known[events] = True
        known[log.first_of_user(events)] = True
        return known.nonzero().squeeze(1)
