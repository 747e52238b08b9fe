"""What a comparison runs: methods x datasets x seeds, each with the settings that it is run with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_lpo.compare.tuned import Tuned, read_tuned
from recbole_lpo.data.fingerprint import data_fingerprint
from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.model import WITH_REFERENCE, parts_of
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.registry import is_model, model_names
from recbole_lpo.settings import KEYS, RunSettings

_KEYS = ("datasets", "seeds", "settings", "runs", "baseline")
FIRST_SEED = 2020
# A row with it is not trained: it ranks with the weights of the row that it names.
WEIGHTS_OF = "weights_of"
# A row with it has the run of the row that it names, of the same dataset and seed, as its reference policy.
REFERENCE_OF = "reference_of"
# What a row says of another row; all else is a setting.
OTHER_ROWS = (WEIGHTS_OF, REFERENCE_OF)
_AFTER_TRAINING = {key for key in KEYS if key.startswith("eval_")} | {"eval_batch_size", "topk", "metrics"}


@dataclass(frozen=True)
class Run:
    """One training: a method (the name of its row), a dataset, a seed, and all settings that it is given.

    source     the run whose weights it ranks with; None where it is trained itself
    reference  the run that is its reference policy; None where it needs none, or has one by its settings
    """

    method: str
    dataset: str
    seed: int
    settings: dict[str, Any]
    source: Run | None = None
    reference: Run | None = None

    @property
    def digest(self) -> str:
        """A hash of the settings, and of what the files of the data hold, wherever they lie."""
        folder = Path(self.settings.get("data_path", "dataset")) / self.dataset
        vectors = self.settings.get("content_file") or []
        vectors = [vectors] if isinstance(vectors, str) else vectors
        data = data_fingerprint(folder, self.dataset, vectors)
        settings = {key: value for key, value in self.settings.items() if key != "data_path"}
        told = [settings, data, *(run.digest for run in self.rests_on)]
        text = json.dumps(told, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def rests_on(self) -> tuple[Run, ...]:
        """The runs that must have ended before it can begin."""
        return tuple(run for run in (self.source, self.reference) if run)

    def told(self, output: Path) -> dict[str, Any]:
        """The settings that its process is given, the folder of its reference policy among them."""
        if self.reference is None:
            return self.settings
        return {**self.settings, "pref_reference": str(self.reference.folder(output).resolve())}

    def folder(self, output: Path) -> Path:
        """Its run folder in the folder of the comparison."""
        return output / "runs" / self.dataset / _as_path(self.method) / f"{self.seed}-{self.digest}"

    @property
    def also_select(self) -> tuple[str, ...]:
        """The metrics by which it chooses a best epoch beside that of `valid_metric`."""
        return RunSettings.from_config(self.settings).also_select


@dataclass(frozen=True)
class Study:
    """A comparison.

    methods   name of the row -> its settings, `model` among them, `weights_of` where it ranks with those of another,
              `reference_of` where another is its reference policy
    settings  those of every row
    tuned     (model, dataset) -> what a search has found for it
    """

    methods: dict[str, dict[str, Any]]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    baseline: str
    tuned: dict[tuple[str, str], Tuned] = field(default_factory=dict)

    def runs(self) -> list[Run]:
        """Every run, the first seed of all methods before the second: a table is useful early."""
        return [
            self._run(method, dataset, seed)
            for dataset in self.datasets
            for seed in self.seeds
            for method in self.methods
        ]

    def _run(self, method: str, dataset: str, seed: int) -> Run:
        own = dict(self.methods[method])
        if WEIGHTS_OF not in own:
            named = own.pop(REFERENCE_OF, None)
            settings = {**self.settings_of(own, dataset), "dataset": dataset, "seed": seed}
            if named is None:
                return Run(method, dataset, seed, settings)
            # That of the trials of a search, of their one seed, gives way.
            settings.pop("pref_reference", None)
            return Run(method, dataset, seed, settings, reference=self._run(named, dataset, seed))
        source = self._run(own.pop(WEIGHTS_OF), dataset, seed)
        # Only the epoch that `valid_metric` chose is measured again.
        return Run(method, dataset, seed, {**source.settings, **own, "also_select": []}, source)

    def n_trials(self, method: str, dataset: str) -> int:
        """How many trials the settings of a row had on a dataset; 0 where they were not searched."""
        tuned = self.tuned.get((self.methods[method]["model"], dataset))
        return tuned.n_trials if tuned else 0

    def settings_of(self, own: dict[str, Any], dataset: str) -> dict[str, Any]:
        """The settings of a row, own, with those of all rows and those of its search."""
        tuned = self.tuned.get((own["model"], dataset))
        return tuned.over(self.settings, own) if tuned else {**self.settings, **own}


def study_of(
    *,
    models: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: Any = None,
    file: str | None = None,
    baseline: str | None = None,
    settings: dict[str, Any] | None = None,
    tuned: Sequence[str] = (),
) -> Study:
    """A study from names, from a yaml file, or from both (what is given here comes after what the file says).

    file: `datasets` (list), `seeds` (list, or how many), `settings` (for every run), `runs` (name of the row -> its
    settings, `model` among them, or `weights_of`, another row, and what of the ranking is other than there; with
    `reference_of`, the row that is its reference policy), `baseline` (name of a row). tuned: folders of searches.
    Raises InputError naming what is wrong.
    """
    found = read_yaml(file, named_by="--study") if file else {}
    for key in found:
        if key not in _KEYS:
            raise InputError(
                f"{file}: {key}: there is no such key.{did_you_mean(key, _KEYS)} Keys: {', '.join(_KEYS)}."
            )
    methods = _methods(found.get("runs"), file) | {name: {"model": name} for name in models}
    chosen = tuple(str(name) for name in datasets or _listed(found.get("datasets")))
    if not methods:
        raise InputError("compare: no method. Name some, as --models=SASRec,LPOSASRec, or `runs` in a --study file.")
    if not chosen:
        raise InputError("compare: no dataset. Name some, as --datasets=ml-100k, or `datasets` in a --study file.")
    for name, own in methods.items():
        if not name.isprintable():
            raise InputError(f"runs: {name!r}: the name of a row must be text that can be printed.")
        if not is_model(own["model"]):
            raise InputError(
                f"{name}: model = {own['model']}: unknown.{did_you_mean(str(own['model']), model_names())}"
            )
    wanted = baseline or found.get("baseline") or next(iter(methods))
    if wanted not in methods:
        raise InputError(
            f"baseline = {wanted}: is no row.{did_you_mean(str(wanted), methods)} Rows: {', '.join(methods)}."
        )
    shared = {**_mapping(found.get("settings"), "settings", file), **(settings or {})}
    for name, own in methods.items():
        if REFERENCE_OF in own:
            _check_reference(name, own, methods)
    for where, given in (
        ("the settings of all runs", shared),
        *((f"runs.{name}", own) for name, own in methods.items()),
    ):
        for key in ("dataset", "seed", "run_dir", *(("model",) if given is shared else ())):
            if key in given:
                raise InputError(f"{key}: a comparison sets it for each run. Leave it out of {where}.")
    of_searches = read_tuned(tuned)
    rows = {(own["model"], dataset) for own in methods.values() for dataset in chosen}
    for model, dataset in of_searches:
        if (model, dataset) not in rows:
            raise InputError(f"tuned: a search for {model} on {dataset}, and no row is {model} on {dataset}.")
    all_seeds = seeds_of(seeds if seeds is not None else found.get("seeds", 1))
    return Study(methods, chosen, all_seeds, shared, str(wanted), of_searches)


def _methods(runs: Any, file: str | None) -> dict[str, dict[str, Any]]:
    methods = {name: _mapping(own, f"runs.{name}", file) for name, own in _mapping(runs, "runs", file).items()}
    return {name: {"model": _model_of(name, own, methods), **own} for name, own in methods.items()}


def _model_of(name: str, own: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]]) -> str:
    if WEIGHTS_OF not in own:
        return own.get("model", name)
    source = str(own[WEIGHTS_OF])
    if source not in methods or WEIGHTS_OF in methods[source]:
        trained = [row for row, given in methods.items() if WEIGHTS_OF not in given]
        raise InputError(
            f"runs.{name}: weights_of = {source}: is no row that is trained.{did_you_mean(source, trained)} Trained: "
            f"{', '.join(trained)}."
        )
    for key in own:
        if key not in _AFTER_TRAINING | {WEIGHTS_OF}:
            raise InputError(
                f"runs.{name}: {key}: training depends on it, and a row with weights_of is not trained. It may set "
                f"{', '.join(sorted(_AFTER_TRAINING))}. Leave {key} out, or weights_of."
            )
    return methods[source].get("model", source)


def _check_reference(name: str, own: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]]) -> None:
    named = own[REFERENCE_OF]
    method, _ = parts_of(own["model"]) or (None, None)
    if method not in WITH_REFERENCE:
        raise InputError(
            f"runs.{name}: reference_of = {named}: {own['model']} has no reference policy. Leave it out; the "
            f"methods that have one are {', '.join(sorted(WITH_REFERENCE))}."
        )
    if own.get("pref_reference") is not None:
        raise InputError(
            f"runs.{name}: pref_reference = {own['pref_reference']}, and reference_of = {named}. Leave one of them out."
        )
    allowed = [row for row, given in methods.items() if not given.keys() & OTHER_ROWS]
    if named not in allowed:
        raise InputError(
            f"runs.{name}: reference_of = {named}: is no row that is trained without another."
            f"{did_you_mean(str(named), allowed)} Allowed: {', '.join(allowed)}."
        )


def _mapping(value: Any, name: str, file: str | None) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{file}: {name} must hold `name: value` lines, found a {type(value).__name__}.")
    return {str(key): item for key, item in value.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def seeds_of(value: Any) -> tuple[int, ...]:
    """Seeds as a user writes them: how many, or a list of them. Raises InputError for anything else."""
    if _is_whole(value) and 1 <= value < FIRST_SEED:
        return tuple(range(FIRST_SEED, FIRST_SEED + value))
    seeds = tuple(value) if isinstance(value, list | tuple) else ()
    if seeds and all(_is_whole(seed) and seed >= 0 for seed in seeds) and len(set(seeds)) == len(seeds):
        return seeds
    raise InputError(
        f"seeds = {value}: must be how many (1 to {FIRST_SEED - 1}: {FIRST_SEED}, {FIRST_SEED + 1}, ...) or a list of "
        "different whole numbers >= 0, as [1,2,3]."
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_path(name: str) -> str:
    """A folder's name from the name of a row; two names never share one."""
    plain = re.sub(r"[^\w.=+-]+", "_", name)
    return plain if plain == name and plain.strip(".") else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
