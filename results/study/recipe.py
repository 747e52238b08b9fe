"""With neighbours or without, and how much adjustment: chosen on validation items, measured on test items.

    python results/study/recipe.py OUTPUT

OUTPUT: the folder that `recbole-lpo compare --study=results/study/recipes.yaml --output=OUTPUT` has filled. Of each
model, the ranking and the t with most on the tail of the validation items, among those not below SASRec overall there.
Prints both figures, and the paired differences on test items from SASRec, and of the rows with LPO from those without
(Holm over a dataset).
"""

import sys
from pathlib import Path

import numpy as np
from along_the_curve import table

from recbole_lpo.compare.results import DatasetResults, Row, gather
from recbole_lpo.compare.study import study_of
from recbole_lpo.compare.summary import with_spread

MODELS = ("SASRec", "categories", "LPO, categories")
AT = (0.0, 0.3, 0.5, 0.7)


def on_validation(row: Row, strength: float) -> tuple[float, float]:
    """NDCG@10 overall and on the tail, means over seeds."""
    found = [
        run["valid"] if strength == 0 else next(one["valid"] for one in run["adjusted"] if one["strength"] == strength)
        for run in row.runs
    ]
    return tuple(float(np.mean([one[key] for one in found])) for key in ("ndcg@10", "tailndcg@10"))


def chosen(model: str, one: DatasetResults) -> tuple[str, float]:
    """(row, t) of a model, whether it ranks with neighbours or not."""
    least, _ = on_validation(one.row("SASRec"), 0.0)
    found = {
        (row.method, t): on_validation(row, t)
        for row in one.rows
        if row.method == model or row.weights_of == model
        for t in (0.0, *row.strengths())
    }
    return max((key for key in found if found[key][0] >= least), key=lambda key: found[key][1])


def main(output: str) -> None:
    study = study_of(file=str(Path(__file__).with_name("recipes.yaml")))
    for one in gather(study, Path(output)):
        choice = {model: chosen(model, one) for model in MODELS}
        for model, (row, t) in choice.items():
            valid = " / ".join(f"{value:.4f}" for value in on_validation(one.row(row), t))
            test = " / ".join(with_spread(one.row(row).at(t, key)) for key in ("ndcg@10", "tailndcg@10"))
            sys.stdout.write(f"{one.dataset}, {model}: {row}, t {t:g}; validation {valid}, test {test}\n")
        compared = [(row, t, "SASRec", 0.0) for row, t in choice.values() if (row, t) != ("SASRec", 0.0)]
        sys.stdout.write("\n".join([*table("over SASRec", compared, one), ""]))
        with_lpo, without = "LPO, categories, neighbours, alike", "categories, neighbours, alike"
        sys.stdout.write("\n".join([*table("what LPO adds", [(with_lpo, t, without, t) for t in AT], one), ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
