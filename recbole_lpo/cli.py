"""The command line: run | compare | tune | evaluate | recommend | prepare | embed-items | settings | doctor."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from recbole_lpo import embed_items_cli, evaluate_cli, recommend_cli, settings_reference
from recbole_lpo.compare import compare_cli
from recbole_lpo.config_checks import known_keys
from recbole_lpo.data import prepare_cli
from recbole_lpo.distributed.group import launched, speaks_first, writes
from recbole_lpo.errors import InputError, RunError, did_you_mean, nearest
from recbole_lpo.interruption import Interrupted, interruptible
from recbole_lpo.properties_files import parse_value, read_yaml
from recbole_lpo.quick_start import resume, run
from recbole_lpo.registry import is_model, models_are_called, unknown_model
from recbole_lpo.table import result_table
from recbole_lpo.tune import tune_cli
from recbole_lpo.user_backbones import import_plugins
from recbole_lpo.version import __version__

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

_HELP = """usage: recbole-lpo run --model=LPOSASRec[,SASRec,...] --dataset=NAME [--key=value ...]
       recbole-lpo run --resume=DIR [--epochs=N]
       recbole-lpo compare --models=SASRec,LPOSASRec --datasets=ml-100k --seeds=3 [--jobs=2] [--key=value ...]
       recbole-lpo tune --model=LPOSASRec --dataset=ml-100k --space=FILE --trials=50 [--jobs=2] [--key=value ...]
       recbole-lpo evaluate --run_dir=DIR [--eval_logit_adjust=0,0.1,0.3] [--eval_mask_history=True]
       recbole-lpo recommend --run_dir=DIR (--users=A,B | --items=X,Y) [--k=10] [--tail_only]
       recbole-lpo prepare --dataset=NAME --input=FILE
       recbole-lpo embed-items --dataset=NAME --columns=title (--method=tfidf | --model=FOLDER)
       recbole-lpo settings | doctor

run trains each model, prints one table (overall, head, tail, coverage) and leaves a run folder for each.
`python run_recbole_lpo.py --model=...` does the same as `recbole-lpo run --model=...`.

options of run
  --model, -m NAME[,NAME]   models, ours and RecBole's alike; measured under one protocol
  --dataset, -d NAME        <data_path>/NAME/NAME.inter; ml-100k comes with RecBole
  --config_files="A B"      yaml files of settings, later ones over earlier ones
  --preset=NAME             paper | published_code | log_prob | recommended
  --resume=DIR              go on with a run that was killed or interrupted; with more --epochs also with a finished one
  --nproc=N                 train with N processes (or: torchrun --nproc_per_node=N run_recbole_lpo.py ...)
  --quiet                   no progress bars, only the table
  --key=value               any setting of RecBole or of properties/*.yaml, as in RecBole

option of every command
  --plugin=MODULE           import a module of yours first, one that calls recbole_lpo.register_backbone

`recbole-lpo COMMAND --help` shows the options of the other commands.
"""
_OPTIONS = ("model", "dataset", "config_files", "preset", "resume", "nproc", "quiet")
_ALIASES = {"-m": "--model", "-d": "--dataset"}
_FLAGS = ("quiet", "figures")
_PLUGIN = "--plugin="
# Never read as a number or a list.
_TEXTS = (
    "model", "models", "dataset", "datasets", "config_files", "run_dir", "resume", "study", "baseline", "output",
    "space", "storage", "objectives", "valid_metric", "pruner", "engine", "address", "tuned", "ip",
)  # fmt: skip
_SETTINGS_COMMANDS = {"compare": compare_cli, "tune": tune_cli}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 the run failed, 2 the input was wrong, 130 or 143 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        plugins = [word.removeprefix(_PLUGIN) for word in arguments if word.startswith(_PLUGIN)]
        with interruptible():
            import_plugins(plugins)
            return _dispatch([word for word in arguments if not word.startswith(_PLUGIN)], plugins)
    except InputError as error:
        # A value of the user's in the message may have line ends.
        _say(f"error: {' '.join(str(error).splitlines())}\n")
        return WRONG_INPUT
    except RunError as error:
        _say(f"failed: {error}\n")
        return FAILED
    except Interrupted as stop:
        _say(f"{stop}\n")
        return stop.exit_code
    except KeyboardInterrupt:
        _say("interrupted\n")
        return INTERRUPTED


def _say(why: str) -> None:
    if speaks_first():
        sys.stderr.write(why)


def _dispatch(arguments: list[str], plugins: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments and arguments[0][0] != "-" else ("run", arguments)
    if arguments in (["--version"], ["version"]):
        sys.stdout.write(f"recbole-lpo {__version__}\n")
        return DONE
    if command == "run":
        return _run(rest, plugins)
    if launched() is not None:
        raise InputError(f"{command}: torchrun starts the command `run` alone. Start this one without it.")
    if command in _SETTINGS_COMMANDS:
        return _with_settings(_SETTINGS_COMMANDS[command], rest, plugins)
    modules = {
        "evaluate": evaluate_cli, "recommend": recommend_cli, "prepare": prepare_cli, "embed-items": embed_items_cli,
        "settings": settings_reference, "doctor": _doctor(),
    }  # fmt: skip
    if command not in modules:
        names = ["run", *_SETTINGS_COMMANDS, *modules]
        raise InputError(f"{command}: no such command.{did_you_mean(command, names)} Commands: {', '.join(names)}.")
    parser = _Parser(prog=f"recbole-lpo {command}", allow_abbrev=False)
    modules[command].add_arguments(parser)
    return modules[command].main(parser.parse_args(rest))


class _Parser(argparse.ArgumentParser):
    """argparse answers wrong input with all options of the command, and the reason last."""

    def error(self, message: str):
        wrong = message.removeprefix("unrecognized arguments: ")
        if wrong == message:
            raise InputError(f"{self.prog}: {message}. `{self.prog} --help` shows what it takes.")
        near = did_you_mean(wrong.partition("=")[0], self._option_string_actions)
        raise InputError(f"{self.prog}: does not take {wrong}.{near} `{self.prog} --help` shows what it takes.")


def _doctor():
    # Looks at what is installed; nothing else should pay for that.
    from recbole_lpo import doctor

    return doctor


def _with_settings(module, arguments: list[str], plugins: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        sys.stdout.write(module.HELP)
        return DONE if arguments else WRONG_INPUT
    try:
        given = parse_settings(arguments)
        _check_options(given, module.OPTIONS, plugins)
        return module.main(given, plugins)
    except Interrupted as stop:
        said = f"{stop}: what is finished is kept, and the same command goes on from there."
        raise Interrupted(stop.number, said) from None


def _check_options(given: dict[str, Any], own: Sequence[str], plugins: list[str]) -> None:
    """Refuse options of other commands, and what is spelt like one of this command: neither is a setting, and the
    command would go on without it. A plugin's model may have settings of any name."""
    if plugins:
        return
    for key in given.keys() - {*own} - known_keys():
        near = nearest(key, own, cutoff=0.8)
        of = [f"`recbole-lpo {name}`" for name, module in _SETTINGS_COMMANDS.items() if key in module.OPTIONS]
        if of:
            raise InputError(f"--{key}: is an option of {' and '.join(of)}.")
        if near:
            raise InputError(f"--{key}: there is no such option. Did you mean '--{near}'?")


def _run(arguments: list[str], plugins: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        sys.stdout.write(_HELP)
        return DONE if arguments else WRONG_INPUT
    given = parse_settings(arguments)
    _check_options(given, _OPTIONS, plugins)
    quiet = bool(given.pop("quiet", False))
    if "resume" in given:
        return _resume(given, quiet)
    files = str(given.pop("config_files", "")).split()
    models = _names(given.pop("model", None) or _from_files(files, "model"))
    if not models:
        raise InputError(f"--model is missing, as --model=LPOSASRec. {models_are_called()}")
    unknown = [name for name in models if not is_model(name)]
    if unknown:
        raise unknown_model(unknown[0])
    if "dataset" not in given and not _from_files(files, "dataset"):
        raise InputError("--dataset is missing: the name of a folder under data_path (dataset/), or ml-100k.")
    if len(models) > 1 and "run_dir" in given:
        raise InputError("--run_dir names one folder, and several models were given. Leave it out, or run one model.")
    finished: list[dict[str, Any]] = []
    try:
        for name in models:
            finished.append(run(model=name, config_file_list=files, config_dict=dict(given), quiet=quiet))
    finally:
        # What was computed is shown even where a later model fails or is interrupted.
        if finished:
            _show(finished)
    return DONE


def _resume(given: dict[str, Any], quiet: bool) -> int:
    _show([resume(given.pop("resume"), given, quiet=quiet)])
    return DONE


def _show(finished: list[dict[str, Any]]) -> None:
    if not writes():
        return
    sys.stdout.write(result_table(finished) + "\n")
    sys.stdout.write("".join(f"{one['model']}: {one['run_dir']}\n" for one in finished))


def parse_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """`--key=value`, `--key value` and `--flag` as a mapping. A value is a literal or text, never code.

    Raises InputError for a word that is no setting and for a setting given twice with different values.
    """
    found: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        word = _ALIASES.get(word, word)
        if not word.startswith("--") or word == "--":
            raise InputError(f"{word!r}: settings are written --key=value, as --dataset=ml-100k.")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if key in _FLAGS:
                text = "True"
            elif words and not words[0].startswith("--"):
                text = words.pop(0)
            else:
                raise InputError(f"--{key}: has no value; write --{key}=value.")
        value = text if key in _TEXTS else parse_value(text)
        if key in found and found[key] != value:
            raise InputError(f"--{key} is given twice: {found[key]} and {value}.")
        found[key] = value
    return found


def _names(models: Any) -> list[str]:
    return [name.strip() for name in str(models or "").split(",") if name.strip()]


def _from_files(files: Sequence[str], key: str) -> Any:
    return {name: value for file in files for name, value in read_yaml(file).items()}.get(key)
