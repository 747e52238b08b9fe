"""Runs of several processes for the tests: `python -m torch.distributed.run ... trained_by_several.py CASES FOLDER`."""

import json
import sys
from pathlib import Path

from recbole.model.sequential_recommender import SASRec
from torch import nn

import recbole_lpo


class Spare(SASRec):
    """SASRec with weights that no loss reaches."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.spare = nn.Linear(3, 3)


def run_all(cases: dict, folder: Path) -> None:
    """Run each of the cases, {name: settings with a model}, into a run folder of that name."""
    recbole_lpo.register_backbone(Spare)
    for name, settings in cases.items():
        recbole_lpo.run(config_dict={**settings, "run_dir": str(folder / name)}, quiet=True)


if __name__ == "__main__":
    run_all(json.loads(sys.argv[1]), Path(sys.argv[2]))
