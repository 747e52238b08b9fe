"""RecBole's SequentialDataset over one flat array: the same rows and splits, without a padded row for each prefix."""

from __future__ import annotations

from functools import partial

import numpy as np
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_lpo.data.checked_dataset import CheckedFiles
from recbole_lpo.data.prefix_rows import EventLog, PrefixColumns, PrefixRows
from recbole_lpo.data.runs import runs

_SEQUENCES = (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ)


class FlatSequentialDataset(CheckedFiles, SequentialDataset):
    """Gives RecBole's loaders, models and samplers what SequentialDataset gives them, digit for digit, from one array.

    RecBole makes a row of MAX_ITEM_LIST_LENGTH int64 for each target, in a loop over them. Here `inter_feat` holds the
    place of each target alone, and what is read of it is made then: the rows of a batch, or a column asked for by name.
    """

    def data_augmentation(self) -> None:
        """RecBole's rows, in RecBole's order; by RecBole itself where interactions hold fields of sequences."""
        if any(self.field2type[field] in _SEQUENCES for field in self.inter_feat):
            super().data_augmentation()
            return
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        log = EventLog.from_sorted(self.inter_feat, self.uid_field, self.max_item_list_len)
        columns = {field: partial(log.value, field) for field in log.fields}
        columns[self.item_list_length_field] = log.length
        for field in log.fields:
            if field != self.uid_field:
                columns[getattr(self, f"{field}_list_field")] = partial(log.history, field)
        self.inter_feat = PrefixRows(PrefixColumns(log, log.targets(), columns))

    def leave_one_out(self, group_by, leave_one_mode):
        """As RecBole's, which for two held-out rows goes through lists of Python numbers."""
        if group_by is None or leave_one_mode != "valid_and_test":
            return super().leave_one_out(group_by, leave_one_mode)
        # Of a slice, because the column that is asked for is kept.
        parts = last_two_held_out(self.inter_feat[:][group_by].numpy())
        self._drop_unused_col()
        return [self.copy(self.inter_feat[rows]) for rows in parts]

    def __getitem__(self, index, join=True):
        rows = Interaction(dict(self.inter_feat[index].interaction))
        return self.join(rows) if join else rows


def last_two_held_out(users: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(training, validation, test) row numbers, by RecBole's rule for leave-one-out.

    users: (n,) int, the user of each row. The users stand in the order in which they first appear, the rows of each in
    theirs. The last row of a user is for the test, the one before it for validation; one row always stays for training,
    so that users with two rows have none for validation and users with one are in training alone.
    """
    first_row = np.zeros(users.max(initial=-1) + 1, dtype=np.int64)
    # Of several values for one place the last one stays: backwards that is the first row.
    first_row[users[::-1]] = np.arange(len(users))[::-1]
    order = np.argsort(first_row[users], kind="stable")
    start, count = runs(users[order])
    end = start + count
    valid, test = end[count > 2] - 2, end[count > 1] - 1
    in_training = np.ones(len(users), dtype=bool)
    in_training[valid] = in_training[test] = False
    return order[in_training], order[valid], order[test]
