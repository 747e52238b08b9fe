"""The popularity trap: the kept file is the generated one, and its answers are those that dataset/README.md states."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KEPT_FILE = ROOT / "dataset" / "popularity-trap" / "popularity-trap.inter"


def load_generator():
    specification = importlib.util.spec_from_file_location("trap", ROOT / "dataset" / "make_popularity_trap.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


trap = load_generator()


@pytest.fixture(scope="module")
def sequences() -> list[list[str]]:
    """The sequences in the kept file."""
    by_user = defaultdict(list)
    for line in KEPT_FILE.read_text(encoding="utf-8").splitlines()[1:]:
        user, item, position = line.split("\t")
        by_user[user].append(item)
        assert int(position) == len(by_user[user])
    return list(by_user.values())


@pytest.fixture(scope="module")
def followers(sequences) -> dict[str, Counter[str]]:
    """How often each item follows each item in training, where leave-one-out removes each user's last two."""
    pairs = defaultdict(Counter)
    for sequence in sequences:
        training = sequence[:-2]
        for item, follower in pairwise(training):
            pairs[item][follower] += 1
    return pairs


def is_head(item: str) -> bool:
    return item.startswith("h")


def hit_rate(sequences, followers, *, target: int, head: bool, tilt: float, k: int = 1) -> tuple[float, int]:
    """HR@k, and the number of users, of ranking by probability given the last item, tail items times `tilt`."""
    hits = []
    for sequence in sequences:
        if is_head(sequence[target]) == head:
            scores = {
                item: count * (1 if is_head(item) else tilt) for item, count in followers[sequence[target - 1]].items()
            }
            hits.append(sequence[target] in sorted(scores, key=scores.get, reverse=True)[:k])
    return sum(hits) / len(hits), len(hits)


def test_generating_again_gives_the_kept_bytes():
    made = trap.make_sequences(trap.DEFAULT_SEED)
    assert trap.to_inter(made).encode() == KEPT_FILE.read_bytes()


def test_the_counts_are_those_of_the_settings(sequences):
    settings = yaml.safe_load((ROOT / "properties" / "dataset" / "popularity-trap.yaml").read_text(encoding="utf-8"))
    assert settings["dataset_counts"] == {
        "users": len(sequences),
        "items": len(set().union(*sequences)),
        "interactions": sum(map(len, sequences)),
    }


def test_the_head_is_the_top_fifth_by_training_count_without_a_tie_at_the_cut(sequences):
    counts = Counter(item for sequence in sequences for item in sequence[:-2])
    ranked = counts.most_common()
    n_head = round(0.2 * len(ranked))
    assert n_head == 45
    assert {item for item, _ in ranked[:n_head]} == {f"h{number:02d}" for number in range(45)}
    assert (ranked[n_head - 1][1], ranked[n_head][1], ranked[-1][1]) == (72, 40, 5)


def test_after_each_cue_the_rival_is_likelier_and_e_turns_it_round(followers):
    for triple in range(trap.TRIPLES):
        for before, tail_item in ((f"c{triple:02d}", f"a{triple:02d}"), (f"a{triple:02d}", f"b{triple:02d}")):
            total = followers[before].total()
            tail = followers[before][tail_item] / total
            popular = max(count for item, count in followers[before].items() if is_head(item)) / total
            assert set(followers[before]) - {tail_item} == {max(followers[before], key=followers[before].get)}
            assert popular > 1.3 * tail
            assert math.e * tail > 1.5 * popular


@pytest.mark.parametrize(
    ("target", "head", "users", "plain", "tilted"),
    [(-2, False, 570, 0, 1), (-2, True, 30, 1, 0), (-1, False, 540, 0, 1), (-1, True, 60, 1, 0.5)],
    ids=["validation-tail", "validation-head", "test-tail", "test-head"],
)
def test_perfect_knowledge_gives_the_stated_hit_rates(sequences, followers, target, head, users, plain, tilted):
    assert hit_rate(sequences, followers, target=target, head=head, tilt=1) == (plain, users)
    assert hit_rate(sequences, followers, target=target, head=head, tilt=math.e) == (tilted, users)
    for tilt in (1, math.e):
        assert hit_rate(sequences, followers, target=target, head=head, tilt=tilt, k=2) == (1, users)


def test_no_user_meets_an_item_twice_nor_the_rivals_of_the_ending_before(sequences):
    for sequence in sequences:
        assert len(set(sequence)) == len(sequence)
        triple = int(sequence[-3][1:])
        assert {trap.rival_of_a(triple), trap.rival_of_b(triple)}.isdisjoint(sequence[:-2])


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_seed_passes_the_checks_with_other_sequences(seed, sequences):
    made = trap.make_sequences(seed)
    trap.check(made)
    assert made != sequences
