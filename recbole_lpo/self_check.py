"""Whether this installation gives the right numbers: each check returns the problem that it found, or an empty text.

They need seconds, no data and no network, and touch every part that a result depends on: losses, ranks, draws, and a
whole run. Each is deterministic.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor

from recbole_lpo.core import ranking, sampling, streamed_sampling, weighted_sampling
from recbole_lpo.core.item_softmax import METHODS, softmax_method, target_nll
from recbole_lpo.core.objectives import LIKELIHOODS, OBJECTIVES
from recbole_lpo.errors import InputError
from recbole_lpo.run_folder import without_nan
from recbole_lpo.whole_files import write_whole

# Scores of seven items; item 3 is the held-out one, 1, 4 and 7 are its rivals. The reference scores all items alike.
_SCORES = (2.0, 0.5, -1.0, 1.5, 0.25, -0.5, 1.0)
_COUNTS = (100, 50, 20, 10, 5, 2, 1)
_CHOSEN, _REJECTED = 2, (0, 3, 6)
_HYPER = {
    "lpo": {"tau": 0.1},
    "dpo": {"beta": 0.5, "label_smoothing": 0.1},
    "sdpo": {"beta": 0.5},
    "dmpo": {"beta": 0.5},
    "dynamicpo": {"beta": 0.5},
    "simpo": {"beta": 0.5, "gamma": 1.0},
    "cpo": {"beta": 0.5},
    "ipo": {"beta": 0.5},
}
# Worked out in Python's own numbers by the formulas of the papers, as tests/test_self_check.py does again.
LOSSES = {
    "lpo": 4.0661575972,
    "dpo": 1.3805346823,
    "sdpo": 2.4587606234,
    "dmpo": 1.5019290813,
    "dynamicpo": 1.0871320149,
    "simpo": 2.3520081014,
    "orpo": 2.8630200115,
    "cpo": 1.5055346823,
    "ipo": 12.4166666667,
    "mppo": 1.1227173531,
    "bpr": 2.5848016990,
    "ce": 3.9175644290,
    "weighted_ce": 3.9175644290,
    "r2rec": 3.9175644290,
    "logit_adjusted_ce": 4.7604954496,
    "balanced_softmax": 4.7885750578,
    "focal": 3.7632775602,
    "class_balanced": 0.7896551893,
    "ips": 5.6100357238,
    "gbce": 1.6137161660,
    "sampled_softmax": 3.7051731623,
}
_TOLERANCE = 1e-6
# Standard errors by which a frequency may miss its probability; the seeds are fixed, so that it never does by chance.
_WIDEST_ERROR = 5.0
_DRAWS = 20_000


def losses_are_right() -> str:
    """The loss of every objective on one small example, in float64, against its known value."""
    found = {name: _loss_of(name) for name in (*OBJECTIVES, *LIKELIHOODS)}
    wrong = [
        f"{name} is {loss:.9f}, must be {LOSSES[name]:.9f}"
        for name, loss in found.items()
        if not abs(loss - LOSSES[name]) <= _TOLERANCE
    ]
    return "; ".join(wrong)


def _loss_of(name: str) -> float:
    scores, counts = torch.tensor([_SCORES], dtype=torch.float64), torch.tensor(_COUNTS)
    chosen, rejected = torch.tensor([_CHOSEN]), torch.tensor([_REJECTED])
    if name in OBJECTIVES:
        log_prob = torch.log_softmax(scores, dim=1)
        uniform = torch.full_like(log_prob, 1 / len(_SCORES)).log()
        policies = [part for policy in (log_prob, uniform) for part in (policy[:, _CHOSEN], policy[0, rejected])]
        return OBJECTIVES[name](*policies, **_HYPER.get(name, {})).item()
    parts = LIKELIHOODS[name]
    if parts.sampled:
        return parts.sampled(scores[:, _CHOSEN], scores[0, rejected]).item()
    bias = parts.score_bias(counts) if parts.score_bias else None
    nll = target_nll(scores, torch.eye(len(_SCORES), dtype=torch.float64), chosen, bias=bias, method="dense")
    loss = parts.row_loss(nll) if parts.row_loss else nll
    return (loss * parts.item_weight(counts)[chosen] if parts.item_weight else loss).item()


def softmax_is_right() -> str:
    """The cross-entropy by every method that the installed torch has, against float64 at once."""
    draw = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(50, 16, generator=draw), torch.randn(3_000, 16, generator=draw)
    target = torch.randint(3_000, (50,), generator=draw)
    scores = hidden.double() @ table.double().T
    expected = torch.logsumexp(scores, dim=1) - scores.gather(1, target[:, None])[:, 0]
    problems = []
    for method in METHODS:
        try:
            softmax_method(method, 1, 1, hidden.device)
        except InputError:
            continue
        off = (target_nll(hidden, table, target, method=method) - expected).abs().max().item()
        if not off <= 1e-4:
            problems.append(f"{method} is {off:.2g} off")
    return "; ".join(problems)


def ranks_are_right() -> str:
    """The rank by counting against the place in a sorted list."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.stack([torch.randperm(100, generator=draw) for _ in range(20)]).float()
    target = torch.randint(100, (20,), generator=draw)
    place = (scores.argsort(dim=1, descending=True) == target[:, None]).int().argmax(dim=1) + 1
    wrong = int((ranking.target_rank(scores, target) != place).sum())
    return f"{wrong} of {len(target)} ranks differ from the place in a sorted list" if wrong else ""


def draws_are_right() -> str:
    """How often each sampler draws each ordered pair of five columns, against the exact Plackett-Luce probability."""
    log_weight = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.2])
    none = torch.empty((_DRAWS, 0), dtype=torch.int64)
    scores = log_weight.expand(_DRAWS, -1)
    cumulative = weighted_sampling.cumulative_weight(log_weight.exp())
    samplers: dict[str, Callable[[torch.Generator], Tensor]] = {
        "gumbel_top_k": lambda draw: sampling.gumbel_top_k(scores, 2, generator=draw),
        "weighted_draw": lambda draw: weighted_sampling.weighted_draw(cumulative, 2, exclude=none, generator=draw),
        "draw_from_scores": lambda draw: streamed_sampling.draw_from_scores(
            lambda rows: scores[rows], (_DRAWS, 5), 2, scale=1.0, exclude=none, generator=draw
        ),
    }
    share = torch.softmax(log_weight.double(), dim=0).tolist()
    problems = []
    for name, sampler in samplers.items():
        drawn = sampler(torch.Generator().manual_seed(0))
        for first, second in permutations(range(5), 2):
            p = share[first] * share[second] / (1 - share[first])
            found = ((drawn[:, 0] == first) & (drawn[:, 1] == second)).double().mean().item()
            if not abs(found - p) <= _WIDEST_ERROR * (p * (1 - p) / _DRAWS) ** 0.5:
                problems.append(f"{name} draws {first}, {second} in {found:.4f} of all cases, must be {p:.4f}")
                break
    return "; ".join(problems)


def a_run_is_right() -> str:
    """A short training on made data: the loss falls by a tenth at least, and the saved run is measured alike."""
    from recbole_lpo import quick_start

    with tempfile.TemporaryDirectory(prefix="recbole-lpo-doctor-") as name:
        folder = Path(name)
        (folder / "cycle").mkdir()
        rows = [f"u{user}\ti{(user + step) % 12}\t{step}" for user in range(48) for step in range(8)]
        table = "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows])
        (folder / "cycle" / "cycle.inter").write_text(table + "\n", encoding="utf-8")
        settings = {
            "data_path": name, "run_dir": str(folder / "run"), "hidden_size": 16, "inner_size": 32, "n_layers": 1,
            "epochs": 5, "train_batch_size": 32, "learning_rate": 0.01, "MAX_ITEM_LIST_LENGTH": 8, "topk": [3],
            "valid_metric": "NDCG@3", "pref_num_rejected": 2, "tail_split_ratio": 0.5, "eval_logit_adjust_curve": [],
            "gpu_id": "",
        }  # fmt: skip
        done = quick_start.run("LPOSASRec", "cycle", None, settings, quiet=True)
        history = (folder / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
        first, *_, last = (json.loads(line)["train_loss"] for line in history)
        again = quick_start.evaluate(folder / "run")[0]["test"]
    problems = [] if last < 0.9 * first else [f"the loss went from {first:.4f} to {last:.4f} in 5 epochs"]
    # A group without users has NaN, which equals nothing.
    if without_nan({key: again.get(key) for key in done["test"]}) != without_nan(done["test"]):
        problems.append("the saved run has other figures when it is loaded again")
    return "; ".join(problems)


def a_gpu_agrees_with_the_cpu() -> str | None:
    """The cross-entropy of the example above on the first GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    draw = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(50, 16, generator=draw), torch.randn(3_000, 16, generator=draw)
    target = torch.randint(3_000, (50,), generator=draw)
    there = target_nll(hidden.cuda(), table.cuda(), target.cuda(), method="dense").cpu()
    off = (there - target_nll(hidden, table, target, method="dense")).abs().max().item()
    return "" if off <= 1e-2 else f"the cross-entropy there is {off:.2g} off"


def a_file_can_be_written() -> str:
    """A file in the current folder, where runs are kept by default, and room for more."""
    path = Path(f".recbole-lpo-doctor-{os.getpid()}")
    try:
        write_whole(path, b"written")
        found = path.read_bytes()
        path.unlink()
    except OSError as error:
        return f"{Path.cwd()}: cannot be written to ({error.strerror})"
    return "" if found == b"written" else f"{Path.cwd()}: what was written is not what is read"
