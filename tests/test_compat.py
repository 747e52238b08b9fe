"""RecBole 1.2.1 on today's libraries: every patch, and what it must leave alone."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import types
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
import scipy.sparse
import torch
from recbole.data.transform import MaskItemSequence

import recbole_lpo
from recbole_lpo import compat
from recbole_lpo.compat import checkpoints, import_hooks, ledger, libraries, ray_tune, versions
from recbole_lpo.errors import InputError
from tests.conftest import SMALL

PACKAGE_FOLDER = Path(recbole_lpo.__file__).parents[1]

# What a user of RecBole does with RecBole alone, after `import recbole_lpo`. It ends with one line of JSON.
STOCK_USE = """
import json, pickle, sys, warnings
facts = {}

import recbole_lpo
from recbole_lpo import compat

import numpy
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator.metrics import NDCG
facts["ndcg_without_config"] = float(NDCG.metric_info(None, numpy.array([[0, 1, 0]]), numpy.array([1]))[0, 2])
facts["interaction_without_config"] = len(Interaction({"value": torch.arange(3.0)}))

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.trainer import Trainer
from recbole.utils import get_model
facts["ray_seen"] = [name for name in sys.modules if name.split(".")[0] == "ray"]

settings = {
    "data_path": ".", "epochs": 1, "checkpoint_dir": "saved", "topk": [5], "valid_metric": "MRR@5", "state": "ERROR",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class", "price", "tags"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "embedding_size": 64, "n_layers": 1, "show_progress": False,
}

def unpickling_warnings(function, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments, **options)
    return result, [str(warning.message) for warning in caught if "unpickling" in str(warning.message)]

facts["test_result"] = dict(run_recbole(model="LightGCN", dataset="toy", config_dict=settings)["test_result"])
facts["objective"] = sorted(objective_function({"model": "BPR", "dataset": "toy", **settings}))

config = Config(model="BPR", dataset="toy", config_dict=settings)
dataset = create_dataset(config)
train, valid, test = data_preparation(config, dataset)
trainer = Trainer(config, get_model("BPR")(config, dataset))
trainer.fit(train, valid, verbose=False)
file = trainer.saved_model_file
_, facts["own_file"] = unpickling_warnings(trainer.evaluate, test)
_, facts["file_given"] = unpickling_warnings(Trainer(config, trainer.model).evaluate, test, model_file=file)
_, facts["resume"] = unpickling_warnings(Trainer(config, trainer.model).resume_checkpoint, file)
_, facts["load_data_and_model"] = unpickling_warnings(load_data_and_model, file)

pretrained = settings | {"train_method": "after_pretrain", "pre_model_path": file}
config = Config(model="ConvNCF", dataset="toy", config_dict=pretrained)
model, facts["pretrained"] = unpickling_warnings(get_model("ConvNCF"), config, dataset)
facts["pretrained_equal"] = bool(torch.equal(model.user_embedding.weight, trainer.model.user_embedding.weight))

try:
    torch.load(file)
    facts["elsewhere"] = "read"
except pickle.UnpicklingError:
    facts["elsewhere"] = "refused"
facts["torch_load_untouched"] = torch.load is torch.serialization.load
facts["patches"] = {patch.name: [patch.status, patch.detail] for patch in compat.patches()}
print("\\n" + json.dumps(facts))
"""


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python with an empty command line, which RecBole's Config would read."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def facts_of(run: subprocess.CompletedProcess[str]) -> dict:
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def write_toy_dataset(folder: Path) -> None:
    """Twelve users with six interactions each, and items with missing features of every kind that RecBole fills."""
    folder.mkdir()
    interactions = [f"u{user}\ti{(3 * user + 5 * step) % 17}\t{step}" for user in range(12) for step in range(6)]
    items = [
        f"i{item}\t{'' if item % 4 == 0 else item % 3}\t{'' if item % 5 == 0 else item}\t{'' if item % 3 else 'a b'}"
        for item in range(17)
    ]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "toy.inter").write_text("\n".join([header, *interactions]) + "\n")
    header = "item_id:token\tclass:token\tprice:float\ttags:token_seq"
    (folder / "toy.item").write_text("\n".join([header, *items]) + "\n")


@pytest.fixture(scope="module")
def stock_use(tmp_path_factory) -> dict:
    """What STOCK_USE found, and under `stderr` what the user saw."""
    folder = tmp_path_factory.mktemp("stock")
    write_toy_dataset(folder / "toy")
    run = run_python(STOCK_USE, folder)
    return {**facts_of(run), "stderr": run.stderr}


class TestStockUse:
    """RecBole's own entry points, with nothing but `import recbole_lpo` before them."""

    def test_metrics_and_interaction_work_before_a_config_is_made(self, stock_use):
        assert stock_use["ndcg_without_config"] == pytest.approx(1 / numpy.log2(3))
        assert stock_use["interaction_without_config"] == 3

    def test_a_graph_model_runs_from_start_to_end(self, stock_use):
        assert 0 <= stock_use["test_result"]["hit@5"] <= 1

    def test_the_objective_function_runs_without_ray(self, stock_use):
        assert "best_valid_score" in stock_use["objective"]

    def test_the_stand_in_for_ray_is_gone_after_the_import(self, stock_use):
        assert stock_use["ray_seen"] == []
        assert stock_use["patches"]["ray"][0] == "applied"

    def test_a_trainer_reads_the_file_that_it_wrote_without_a_word(self, stock_use):
        assert stock_use["own_file"] == []

    @pytest.mark.parametrize("way", ["file_given", "resume", "load_data_and_model"])
    def test_a_file_that_the_user_gives_is_read_with_one_warning(self, stock_use, way):
        assert len(stock_use[way]) == 1
        assert "runs whatever code the file holds" in stock_use[way][0]

    def test_a_model_starts_from_a_checkpoint(self, stock_use):
        assert stock_use["pretrained_equal"]
        assert len(stock_use["pretrained"]) == 1

    def test_torch_load_stays_safe_elsewhere(self, stock_use):
        assert stock_use["elsewhere"] == "refused"
        assert stock_use["torch_load_untouched"]

    def test_no_warning_about_recbole_itself_is_shown(self, stock_use):
        assert "FutureWarning" not in stock_use["stderr"]
        assert "SparseTensor" not in stock_use["stderr"]

    def test_every_patch_tells_what_became_of_it(self, stock_use):
        own = {recipe.name for recipe in (*libraries.RECIPES, *checkpoints.RECIPES, *ray_tune.RECIPES)}
        statuses = {name: status for name, (status, _) in stock_use["patches"].items() if name in own}
        not_used_here = {"exhaustive search"} if versions.installed("hyperopt") is None else set()
        assert statuses == {name: "not needed" if name in not_used_here else "applied" for name in own}


def test_recbole_imported_first_is_patched_in_place(tmp_path):
    code = """
import json, sys, types
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].tune = types.ModuleType("ray.tune")
import recbole.quick_start
from recbole.trainer import Trainer
class Early(Trainer):
    def evaluate(self): pass
del sys.modules["ray"]
import recbole_lpo
import numpy
print("\\n" + json.dumps({
    "function": hasattr(recbole.quick_start.load_data_and_model, "__wrapped__"),
    "same": recbole.quick_start.load_data_and_model is recbole.quick_start.quick_start.load_data_and_model,
    "trainer": hasattr(Trainer.resume_checkpoint, "__wrapped__"), "early": hasattr(Early.evaluate, "__wrapped__"),
    "numpy": hasattr(numpy, "float"),
}))
"""
    assert set(facts_of(run_python(code, tmp_path)).values()) == {True}


def test_scikit_learn_waits_until_a_metric_needs_it(tmp_path):
    code = """
import json, sys
import recbole_lpo.cli
from recbole.utils import get_model
assert recbole_lpo.registry.is_model("SASRec") and get_model("SASRec") and get_model("LPOSASRec")
early = [name for name in ("sklearn", "sklearn.metrics", "scipy.stats") if name in sys.modules]
from recbole.evaluator import metrics
values = [
    metrics.sk_auc([0, 0.5, 1], [0, 0.7, 1]), metrics.mean_absolute_error([1, 2], [1, 5]),
    metrics.mean_squared_error([1, 2], [1, 5], sample_weight=[3, 1]),
]
from sklearn.metrics import auc
status = {patch.name: patch.status for patch in recbole_lpo.compat.patches()}["scikit-learn"]
print("\\n" + json.dumps({"early": early, "values": values, "real": auc.__module__, "status": status}))
"""
    found = facts_of(run_python(code, tmp_path))
    assert found["values"] == pytest.approx([0.6, 1.5, 2.25])
    assert (found["early"], found["real"], found["status"]) == ([], "sklearn.metrics._ranking", "applied")


def test_a_scikit_learn_that_is_imported_already_is_used_as_it_is(tmp_path):
    code = """
import json
from sklearn.metrics import auc
import recbole_lpo
from recbole.evaluator import metrics
status = {patch.name: patch.status for patch in recbole_lpo.compat.patches()}["scikit-learn"]
print("\\n" + json.dumps({"same": metrics.sk_auc is auc, "status": status}))
"""
    assert facts_of(run_python(code, tmp_path)) == {"same": True, "status": "not needed"}


def test_importing_compat_imports_neither_recbole_nor_torch(tmp_path):
    # `import recbole_lpo` goes on to register the plugin, for which it needs RecBole: compat is looked at alone here.
    code = f"""
import json, sys, types
package = types.ModuleType("recbole_lpo")
package.__path__ = [{str(PACKAGE_FOLDER / "recbole_lpo")!r}]
sys.modules["recbole_lpo"] = package
from recbole_lpo import compat
compat.apply()
heavy = [name for name in ("torch", "numpy", "pandas", "recbole", "scipy") if name in sys.modules]
print(json.dumps({{"heavy": heavy, "statuses": sorted({{patch.status for patch in compat.patches()}})}}))
"""
    facts = facts_of(run_python(code, tmp_path))
    assert facts["heavy"] == []
    assert "pending" in facts["statuses"]
    assert "applied" not in facts["statuses"]


def test_no_patch_leaves_everything_alone(tmp_path):
    code = """
import json, sys
import recbole_lpo
from recbole_lpo import compat
import numpy, recbole.trainer
own = {recipe.name for recipe in compat._RECIPES}
print(json.dumps({
    "statuses": sorted({patch.status for patch in compat.patches() if patch.name in own}),
    "listed": own <= {patch.name for patch in compat.patches()},
    "numpy": hasattr(numpy, "float"), "trainer": hasattr(recbole.trainer.Trainer.resume_checkpoint, "__wrapped__"),
}))
"""
    facts = facts_of(run_python(code, tmp_path, RECBOLE_LPO_NO_PATCH="1"))
    assert facts == {"statuses": ["off"], "listed": True, "numpy": False, "trainer": False}


class TestList:
    def test_apply_again_changes_nothing(self):
        before = compat.patches()
        compat.apply()
        assert compat.patches() == before

    def test_names_are_unique_and_every_field_is_filled(self):
        assert len({patch.name for patch in compat.patches()}) == len(compat.patches())
        for patch in compat.patches():
            assert patch.name and patch.reason and patch.guard and patch.status and patch.detail

    def test_others_can_list_theirs(self, monkeypatch):
        monkeypatch.setattr(ledger, "_ledger", {})
        compat.register(compat.Patch("collector", "a reason", "any version", "pending"))
        compat.register(compat.Patch("collector", "a reason", "any version", "applied", "done"))
        assert [(patch.name, patch.status) for patch in compat.patches()] == [("collector", "applied")]

    def test_a_patch_that_the_versions_do_not_need_is_not_made(self, monkeypatch):
        monkeypatch.setattr(ledger, "_ledger", {})
        recipe = ledger.Recipe("nothing", "old", ("sys",), lambda module: pytest.fail("made"), lambda: "all is well")
        ledger.lay(recipe)
        assert [(patch.status, patch.detail) for patch in compat.patches()] == [("not needed", "all is well")]


class TestVersions:
    @pytest.mark.parametrize(
        ("version", "minimum", "expected"),
        [
            ("2.13.0+cpu", (2, 6), True),
            ("2.5.1", (2, 6), False),
            ("3.0.0rc1", (3,), True),
            ("0.3", (0, 2, 6), True),
            (None, (1,), False),
            ("unknown", (1,), False),
        ],
    )
    def test_comparison(self, version, minimum, expected):
        assert versions.at_least(version, minimum) is expected

    def test_missing_recbole_names_both_ways_to_install_it(self, monkeypatch):
        monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="not installed") as caught:
            versions.check()
        assert "pip install --no-deps recbole==1.2.1" in str(caught.value)
        assert "recbole-lpo[recbole]" in str(caught.value)

    @pytest.mark.parametrize(("version", "shown"), [("1.2.0", "RecBole 1.2.0"), (None, "of unknown version")])
    def test_another_recbole_is_warned_of(self, monkeypatch, version, shown):
        monkeypatch.setattr(versions, "installed", {"recbole": version, "pandas": "2.3.3"}.get)
        with pytest.warns(UserWarning, match=f"{shown}.*tested for RecBole 1.2.1"):
            versions.check()

    def test_pandas_3_is_refused(self, monkeypatch):
        monkeypatch.setattr(versions, "installed", {"recbole": "1.2.1", "pandas": "3.1.1"}.get)
        with pytest.raises(InputError, match=r"pandas 3\.1\.1 is installed.*wrong values.*pandas>=2\.1\.1,<3"):
            versions.check()


class TestLibraries:
    def test_dok_matrix_takes_an_update(self):
        libraries.supply_dok_update(types.ModuleType("model"))
        matrix = scipy.sparse.dok_matrix((2, 3), dtype=numpy.float32)
        matrix._update({(0, 2): 1.0, (1, 0): 4.0})
        assert matrix.toarray().tolist() == [[0, 0, 1], [4, 0, 0]]

    def test_a_scipy_that_has_the_update_keeps_it(self, monkeypatch):
        monkeypatch.setattr(scipy.sparse.dok_matrix, "_update", dict.update, raising=False)
        assert libraries.supply_dok_update(types.ModuleType("model"))[0] == "not needed"
        assert scipy.sparse.dok_matrix._update is dict.update

    def test_exhaustive_search_visits_the_whole_grid(self):
        pytest.importorskip("hyperopt")
        from recbole.trainer import HyperTuning

        visited = []

        def objective(settings, files):
            visited.append((settings["layers"], settings["size"]))
            score = -abs(settings["layers"] - 2) - settings["size"] / 100
            result = {"best_valid_score": score, "best_valid_result": {}, "test_result": {}}
            return {"model": "toy", "valid_score_bigger": True, **result}

        grid = {"choice": {"layers": [1, 2], "size": [8, 16, 32]}}
        tuning = HyperTuning(objective, params_dict=grid, algo="exhaustive", early_stop=100)
        tuning.run()
        assert sorted(visited) == [(layers, size) for layers in (1, 2) for size in (8, 16, 32)]
        assert tuning.best_params == {"layers": 2, "size": 8}

    def test_numpy_itself_keeps_its_random_state(self):
        import recbole.trainer.hyper_tuning as hyper_tuning

        assert isinstance(hyper_tuning.np.random.RandomState(1), numpy.random.Generator)
        assert isinstance(numpy.random.RandomState(1), numpy.random.mtrand.RandomState)
        assert hyper_tuning.np.prod([2, 3]) == 6

    @pytest.mark.parametrize(
        ("module", "shown"),
        [("recbole.data.dataset.dataset", False), ("mine", True), ("my.recbole.data.x", True)],
    )
    def test_only_warnings_about_recbole_are_silenced(self, module, shown):
        message = "A value is trying to be set on a copy of a DataFrame or Series through chained assignment"
        with warnings.catch_warnings(record=True) as caught:
            warnings.resetwarnings()
            libraries.silence_warnings_about_recbole(types.ModuleType("recbole"))
            warnings.warn_explicit(message, FutureWarning, "file.py", 1, module=module, registry={})
            warnings.warn_explicit("another message", FutureWarning, "file.py", 2, module=module, registry={})
        assert [str(warning.message) for warning in caught] == [message] * shown + ["another message"]

    def test_filters_that_the_user_set_come_first(self):
        with warnings.catch_warnings():
            warnings.resetwarnings()
            warnings.simplefilter("error")
            libraries.silence_warnings_about_recbole(types.ModuleType("recbole"))
            with pytest.raises(UserWarning):
                warnings.warn_explicit("torch.sparse.SparseTensor(x", UserWarning, "f", 1, module="recbole.model.x")


class Unsafe:
    """Something that torch.load refuses to read with weights_only."""


@pytest.fixture
def unsafe_file(tmp_path) -> Path:
    file = tmp_path / "unsafe.pth"
    torch.save({"config": Unsafe()}, file)
    return file


def make_trainer(base: type, **methods) -> object:
    """An instance of a subclass of RecBole's Trainer, made without its settings."""
    cls = type("OwnTrainer", (base,), methods)
    return cls.__new__(cls)


class TestCheckpoints:
    @pytest.fixture
    def trainer_class(self) -> type:
        from recbole.trainer import Trainer

        return Trainer

    def test_a_subclass_with_its_own_evaluate_reads_the_file_with_a_warning(self, trainer_class, unsafe_file):
        trainer = make_trainer(trainer_class, evaluate=lambda self, file: torch.load(file))
        with pytest.warns(UserWarning, match="unpickling"):
            assert isinstance(trainer.evaluate(unsafe_file)["config"], Unsafe)
        assert torch.load is torch.serialization.load

    @pytest.mark.filterwarnings("error")
    def test_a_subclass_reads_what_it_saved_itself_without_a_warning(self, trainer_class, tmp_path):
        def save(self, epoch, saved_model_file=None):
            torch.save({"config": Unsafe()}, saved_model_file or self.saved_model_file)

        trainer = make_trainer(trainer_class, evaluate=lambda self, file: torch.load(file), _save_checkpoint=save)
        trainer.saved_model_file = str(tmp_path / "own.pth")
        trainer._save_checkpoint(0)
        trainer._save_checkpoint(1, saved_model_file=tmp_path / "other.pth")
        trainer.evaluate(tmp_path / "own.pth")
        trainer.evaluate(str(tmp_path / "other.pth"))

    def test_another_trainer_is_warned_of_that_file(self, trainer_class, unsafe_file):
        def methods():
            return {
                "evaluate": lambda self, file: torch.load(file),
                "_save_checkpoint": lambda self, epoch: None,
                "saved_model_file": str(unsafe_file),
            }

        writer, reader = make_trainer(trainer_class, **methods()), make_trainer(trainer_class, **methods())
        writer._save_checkpoint(0)
        with pytest.warns(UserWarning, match="unpickling"):
            reader.evaluate(unsafe_file)

    def test_an_explicit_weights_only_is_respected(self, trainer_class, unsafe_file):
        trainer = make_trainer(trainer_class, evaluate=lambda self, file: torch.load(file, weights_only=True))
        with pytest.raises(pickle.UnpicklingError):
            trainer.evaluate(unsafe_file)
        assert torch.load is torch.serialization.load

    def test_other_threads_stay_safe_while_a_trainer_is_at_work(self, trainer_class, unsafe_file):
        refused = []

        def read_elsewhere():
            try:
                torch.load(unsafe_file)
            except pickle.UnpicklingError:
                refused.append(True)

        def evaluate(self):
            thread = threading.Thread(target=read_elsewhere)
            thread.start()
            thread.join()

        make_trainer(trainer_class, evaluate=evaluate).evaluate()
        assert refused == [True]

    def test_methods_are_covered_once_each(self, trainer_class):
        method = trainer_class.evaluate
        checkpoints._cover(trainer_class)
        assert trainer_class.evaluate is method

    def test_a_method_that_wraps_a_covered_one_is_covered_itself(self, trainer_class):
        @functools.wraps(trainer_class.evaluate)
        def decorated(self):
            """Bears the marks of the method that it wraps."""

        assert checkpoints._reading(trainer_class.evaluate) is trainer_class.evaluate
        assert checkpoints._reading(decorated) is not decorated

    @pytest.mark.parametrize(("module", "name"), sorted(checkpoints._PRETRAINED_MODELS.items()))
    def test_every_model_that_starts_from_a_checkpoint_is_covered(self, module, name):
        assert hasattr(getattr(importlib.import_module(module), name).__init__, "__wrapped__")


@pytest.fixture
def without_ray(monkeypatch):
    """No ray is imported, and what a test imports as ray is forgotten after it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        del sys.modules[name]


def write_ray(folder: Path, monkeypatch, tune: str, version: str = "2.6.3") -> None:
    """A package `ray` in front of any other."""
    (folder / "ray").mkdir()
    (folder / "ray" / "__init__.py").write_text(f"__version__ = {version!r}\n")
    (folder / "ray" / "tune.py").write_text(tune)
    monkeypatch.syspath_prepend(folder)


def quick_start_with_tune() -> types.ModuleType:
    """What is left in a module that was executed as RecBole's quick_start is."""
    module = types.ModuleType("quick_start")
    with ray_tune.tune_can_be_imported():
        exec("from ray import tune", vars(module))
    return module


@pytest.mark.usefixtures("without_ray")
class TestRay:
    def test_without_ray_a_stand_in_takes_the_reports(self, monkeypatch):
        monkeypatch.setattr(ray_tune.importlib.util, "find_spec", lambda name: None)
        module = quick_start_with_tune()
        status, detail = ray_tune.give_quick_start_a_tune(module)
        assert module.tune.report(**{"hit@10": 0.1}) is None
        assert (status, detail) == ("applied", "a stand-in for ray.tune, as ray is not installed")
        assert "ray" not in sys.modules and "ray.tune" not in sys.modules

    def test_a_broken_ray_is_survived_and_named(self, tmp_path, monkeypatch):
        write_ray(tmp_path, monkeypatch, "import pkg_resources_that_is_gone\n")
        status, detail = ray_tune.give_quick_start_a_tune(quick_start_with_tune())
        assert status == "applied"
        assert "ModuleNotFoundError: No module named 'pkg_resources_that_is_gone'" in detail
        assert not [name for name in sys.modules if name.split(".")[0] == "ray"]

    def test_a_ray_that_the_caller_had_put_in_place_is_there_again(self, monkeypatch):
        theirs = types.ModuleType("ray")
        monkeypatch.setitem(sys.modules, "ray", theirs)
        quick_start_with_tune()
        assert sys.modules["ray"] is theirs
        assert "ray.tune" not in sys.modules

    def test_the_ray_that_recbole_asks_for_is_used_as_it_is(self, tmp_path, monkeypatch):
        write_ray(tmp_path, monkeypatch, "import numpy\nkind = numpy.bool8\ndef report(_metric=None, **kwargs): ...\n")
        module = quick_start_with_tune()
        assert ray_tune.give_quick_start_a_tune(module)[0] == "not needed"
        assert module.tune is sys.modules["ray.tune"]
        assert "bool8" not in vars(numpy)

    @pytest.mark.parametrize(
        ("version", "in_tune", "in_train"),
        [
            ("2.60.0", "def report(metrics, *, checkpoint=None): seen.append(metrics)\n", ""),
            ("2.31.0", "", "from ray.tune import seen\ndef report(metrics): seen.append(metrics)\n"),
            ("2.9.3", "def report(_metric=None, **kwargs): raise DeprecationWarning\n", "report = seen.append\n"),
        ],
    )
    def test_today_s_ray_gets_a_dict(self, tmp_path, monkeypatch, version, in_tune, in_train):
        write_ray(tmp_path, monkeypatch, f"seen = []\n{in_tune}", version)
        (tmp_path / "ray" / "train.py").write_text(f"from ray.tune import seen\n{in_train}")
        module = quick_start_with_tune()
        assert ray_tune.give_quick_start_a_tune(module)[0] == "applied"
        module.tune.report(**{"hit@10": 0.1})
        assert module.tune.seen == [{"hit@10": 0.1}]


class TestImportHooks:
    @pytest.fixture
    def module_name(self, tmp_path, monkeypatch, request):
        """A module that notes when it is executed."""
        name = f"hooked_{request.node.name.split('[')[0]}"
        (tmp_path / f"{name}.py").write_text("events = ['executed']\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(import_hooks, "_hooks", {})
        yield name
        sys.modules.pop(name, None)

    def test_the_action_follows_the_import(self, module_name):
        import_hooks.when_imported(module_name, lambda module: module.events.append("acted"))
        assert importlib.import_module(module_name).events == ["executed", "acted"]

    def test_an_imported_module_is_acted_on_at_once(self, module_name):
        module = importlib.import_module(module_name)
        import_hooks.when_imported(module_name, lambda module: module.events.append("acted"))
        assert module.events == ["executed", "acted"]

    def test_the_context_is_left_when_the_module_fails(self, module_name, tmp_path):
        (tmp_path / f"{module_name}.py").write_text("1 / 0\n")
        events = []

        @contextmanager
        def around():
            events.append("entered")
            try:
                yield
            finally:
                events.append("left")

        import_hooks.when_imported(module_name, lambda module: events.append("acted"), around)
        with pytest.raises(ZeroDivisionError):
            importlib.import_module(module_name)
        assert events == ["entered", "left"]
        assert module_name not in sys.modules

    def test_the_module_shows_its_own_loader(self, module_name):
        import_hooks.when_imported(module_name, lambda module: None)
        module = importlib.import_module(module_name)
        assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
        assert inspect.getsource(module).startswith("events")

    def test_a_finder_that_asks_all_finders_ends(self, module_name, monkeypatch):
        class Asking:
            busy = False

            @classmethod
            def find_spec(cls, name, path, target=None):
                if cls.busy or not name.startswith("hooked_"):
                    return None
                cls.busy = True
                try:
                    return importlib.util.find_spec(name)
                finally:
                    cls.busy = False

        events = []
        import_hooks.when_imported(module_name, lambda module: events.append("acted"))
        monkeypatch.setattr(sys, "meta_path", [import_hooks._finder, Asking, *sys.meta_path[1:]])
        importlib.import_module(module_name)
        assert events == ["acted"]

    def test_other_modules_are_left_alone(self):
        assert import_hooks._finder.find_spec("json", None) is None


def test_the_users_of_recboles_repeatable_sampler_share_one_set_and_get_the_same_negatives(toy):
    from recbole.data import create_dataset
    from recbole.sampler import RepeatableSampler

    dataset = create_dataset(recbole_lpo.config.Config("SASRec", None, None, {**SMALL, **toy}))
    sampler = RepeatableSampler(["train", "valid"], dataset).set_phase("valid")
    assert len({id(used) for used in sampler.used_ids}) == 1
    recboles = RepeatableSampler(["train", "valid"], dataset).set_phase("valid")
    recboles.used_ids = numpy.array([set() for _ in range(dataset.user_num)])
    users, items, drawn = numpy.arange(1, 9), numpy.arange(1, 9), []
    for one in (sampler, recboles):
        numpy.random.seed(3)
        drawn.append(one.sample_by_user_ids(users, items, 30))
        assert not (drawn[-1].reshape(30, 8) == torch.from_numpy(items)).any()
    assert torch.equal(*drawn)


def test_a_negative_is_drawn_where_a_history_holds_the_whole_catalogue_and_as_recbole_does_elsewhere():
    sequences = MaskItemSequence.__new__(MaskItemSequence)
    assert {sequences._neg_sample([2, 1, 3, 1, 0, 0], 4) for _ in range(50)} == {1, 2, 3}
    assert {sequences._neg_sample([2, 1, 1, 0, 0, 0], 4) for _ in range(50)} == {3}
    random.seed(3)
    drawn = sequences._neg_sample([5, 6], 100)
    random.seed(3)
    assert drawn == random.randint(1, 99)
