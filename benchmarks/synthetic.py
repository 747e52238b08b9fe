"""Made-up histories of a wanted size, to see how cost grows with users, items and lengths.

As a command, `python -m benchmarks.synthetic SETTINGS FOLDER`, it writes them; SETTINGS are the fields as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

_SHORTEST = 5
# Interactions that are held and written at once.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Synthetic:
    """users have 5 or more interactions, mean_length in the mean, geometrically distributed; an item's popularity falls
    with its rank to the power of -zipf. All items are in the catalogue (`.item`), whether anybody met them or not."""

    users: int
    items: int
    mean_length: float = 9.0
    zipf: float = 1.0
    seed: int = 2020

    @property
    def name(self) -> str:
        """The name of the dataset; the same for the same data."""
        return "synthetic-" + "-".join(f"{key}{value:g}" for key, value in asdict(self).items()).replace("_", "")

    def blocks(self):
        """The interactions, user by user, as frames with the columns of an atomic file."""
        draw = np.random.default_rng(self.seed)
        length = _SHORTEST + draw.geometric(1 / (self.mean_length - _SHORTEST + 1), self.users) - 1
        share = np.cumsum(np.arange(1, self.items + 1, dtype=np.float64) ** -self.zipf)
        last = np.cumsum(length)
        cuts = np.searchsorted(last, np.arange(_BLOCK, last[-1] + _BLOCK, _BLOCK))
        first = 0
        for end in np.minimum(cuts + 1, self.users):
            part = length[first:end]
            n = int(part.sum())
            item = np.searchsorted(share, draw.random(n) * share[-1]) + 1
            step = np.arange(n) - np.repeat(np.cumsum(part) - part, part) + 1
            user = np.repeat(np.arange(first, end), part) + 1
            yield pd.DataFrame({"user_id:token": user, "item_id:token": item, "timestamp:float": step})
            first = end

    def write(self, folder: Path) -> None:
        """`<folder>/<name>/<name>.inter` and `.item`."""
        aside = folder / f"{self.name}.{os.getpid()}"
        aside.mkdir(parents=True)
        for number, block in enumerate(self.blocks()):
            mode, header = ("a", False) if number else ("w", True)
            block.to_csv(aside / f"{self.name}.inter", sep="\t", index=False, mode=mode, header=header)
        items = pd.DataFrame({"item_id:token": np.arange(1, self.items + 1)})
        items.to_csv(aside / f"{self.name}.item", sep="\t", index=False)
        os.replace(aside, folder / self.name)


if __name__ == "__main__":
    Synthetic(**json.loads(sys.argv[1])).write(Path(sys.argv[2]))
