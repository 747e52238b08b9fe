"""What `valid_metric` says: one metric, or a weighted sum of several."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from recbole_lpo.errors import InputError

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TERM = re.compile(rf"\s*(?:(?P<weight>{_NUMBER})\s*\*\s*)?(?P<metric>[A-Za-z_]\w*(?:@\d+)?)\s*(?P<end>\+|$)")


@dataclass(frozen=True)
class ValidMetric:
    """A sum of metrics. terms: (weight > 0, name as written), in the order written; no name twice."""

    terms: tuple[tuple[float, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics, as written."""
        return tuple(name for _, name in self.terms)

    def value(self, figures: Mapping[str, float]) -> float:
        """The sum over figures, whose keys are in lower case, as `ndcg@10`; NaN where one of them is.

        A single metric of weight 1 is its figure to the last digit. Raises KeyError for a metric that is not there.
        """
        first, *rest = (weight * figures[name.lower()] for weight, name in self.terms)
        return sum(rest, first)


def parse_valid_metric(text: str, setting: str = "valid_metric") -> ValidMetric:
    """`NDCG@10`, or `0.5*NDCG@10 + 0.5*TailNDCG@10`: a weight > 0 before each metric, 1 where none is given.

    Raises InputError, which names the setting, for anything else; whether the metrics exist is not looked at.
    """
    terms, at = [], 0
    while True:
        term = _TERM.match(text, at)
        if term is None:
            raise InputError(
                f"{setting} = {text}: not understood at {text[at:].strip() or 'its end'!r}. Write a metric, as "
                "NDCG@10, or a weighted sum, as 0.5*NDCG@10 + 0.5*TailNDCG@10."
            )
        weight = float(term["weight"] or 1)
        if not 0 < weight < math.inf:
            raise InputError(f"{setting} = {text}: the weight {term['weight']} is out of range. Allowed: > 0.")
        terms.append((weight, term["metric"]))
        at = term.end()
        if not term["end"]:
            break
    names = [name.lower() for _, name in terms]
    twice = [name for (_, name), lower in zip(terms, names, strict=True) if names.count(lower) > 1]
    if twice:
        raise InputError(f"{setting} = {text}: names {twice[0]} twice. Add up its weights.")
    return ValidMetric(tuple(terms))
