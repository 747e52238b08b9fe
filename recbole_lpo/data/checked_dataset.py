"""RecBole's datasets over an `.inter` file that is checked and read in one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType

from recbole_lpo.data.checks import check_quotation_marks
from recbole_lpo.data.interaction_table import read_interactions


class CheckedFiles:
    """Before a RecBole dataset class: loads what RecBole loads, digit for digit; a column of tokens is a pandas
    category until the tokens get their numbers.

    RecBole holds a Python string for each cell: with it 20 million interactions took 6 GB and twice the time.
    """

    def _load_feat(self, filepath, source):
        if source is not FeatureSource.INTERACTION:
            check_quotation_marks(Path(filepath), self.config)
            return super()._load_feat(filepath, source)
        load, unload = self._get_load_and_unload_col(source)

        def is_wanted(field: str) -> bool:
            return (load is None or field in load) and field not in (unload or ())

        table = read_interactions(Path(filepath), self.config, is_wanted)
        if table is None:
            return super()._load_feat(filepath, source)
        for field, values in table.items():
            is_token = isinstance(values.dtype, pd.CategoricalDtype)
            self.field2source[field] = source
            self.field2type[field] = FeatureType.TOKEN if is_token else FeatureType.FLOAT
            self.field2seqlen[field] = 1
            if not is_token:
                self.field2bucketnum[field] = 2
        return table

    def _remap(self, remap_list):
        """As RecBole's, which numbers tokens in the order in which they first appear, but for each token once."""
        lists, columns = [], []
        for feat, field, kind in remap_list:
            if isinstance(feat[field].dtype, pd.CategoricalDtype):
                column = _Column(feat, field)
                columns.append(column)
                feat = column.tokens
            lists.append((feat, field, kind))
        super()._remap(lists)
        for column in columns:
            column.number()


class _Column:
    """A column of categories; tokens: a table of each of its tokens once, in the order of their first appearance."""

    def __init__(self, feat: pd.DataFrame, field: str) -> None:
        self._feat, self._field = feat, field
        values = feat[field].array
        first = pd.unique(values.codes)
        self._codes = first[first >= 0]
        self.tokens = pd.DataFrame({field: values.categories.to_numpy()[self._codes]})

    def number(self) -> None:
        """Put the numbers that the tokens have got in the place of the categories; 0 where none stands."""
        values = self._feat[self._field].array
        # Code -1, a missing value, takes the last place.
        numbers = np.zeros(len(values.categories) + 1, dtype=np.int64)
        numbers[self._codes] = self.tokens[self._field]
        self._feat[self._field] = numbers[values.codes]


class CheckedDataset(CheckedFiles, Dataset):
    """RecBole's Dataset over a checked file."""
