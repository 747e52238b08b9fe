"""Makes `popularity-trap`: a small long-tail dataset whose right answers are known.

After each cue a popular item is likelier (0.6) than the one tail item that belongs to the cue (0.4), and in what is
held out the tail item is nearly always right. A model that has learned the training data perfectly by cross-entropy
therefore never ranks the right tail item first; one in which tail items weigh e times more does, because 0.4 e > 0.6.

Needs nothing but Python; the same seed gives the same bytes everywhere:

    python dataset/make_popularity_trap.py --output dataset/popularity-trap/popularity-trap.inter

Words used here: triple j is a cue `c`, its tail item `a`, and the tail item `b` that belongs to `a`. It has two
rivals, popular items `h`: one follows `c` instead of `a`, the other follows `a` instead of `b`. A block is what a user
does after a cue: `c rival next`, `c a rival` or `c a b`, where `next` is the popular item that belongs to the rival. A
user's sequence is an opening of one to three popular items, one to five blocks of different triples, and an ending of
three items, of which leave-one-out holds out the last two.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from itertools import chain
from pathlib import Path

TRIPLES = 60
# One fifth of all items: 3 * 60 tail items and 45 popular ones are 225.
HEAD_ITEMS = 45
# Popular items whose numbers are equal modulo this are a family; all popular items of a triple are of one family, that
# of the triple's own number, so triples of different families share none.
FAMILIES = 15
# The 30 blocks of each triple: a follows c in 12 of 30 (0.4), b follows a in 5 of 12 (0.42).
BLOCK_KINDS = ["c rival next"] * 18 + ["c a rival"] * 7 + ["c a b"] * 5
# Each group has one user for each triple to end in, with so many blocks before it. Were there as many for all, endings
# would stand where no training sequence shows what follows a cue. They add up to len(BLOCK_KINDS).
BLOCKS_IN_GROUP = [3, 4, 2, 3, 5, 2, 3, 1, 4, 3]
# One tenth of the users end in popular items; without them no metric of popular targets would have a user.
HEAD_TARGET_GROUP = 1
OPENING_LENGTHS = [1, 2, 3]
DEFAULT_SEED = 2024

Sequence = list[str]


def head_item(number: int) -> str:
    """A popular item; numbers beyond the last start again."""
    return f"h{number % HEAD_ITEMS:02d}"


def next_head_item(item: str) -> str:
    """The popular item of the same family that follows a popular item."""
    return head_item(int(item[1:]) + FAMILIES)


def rival_of_a(triple: int) -> str:
    """The popular item that follows the cue more often than `a` does."""
    return head_item(triple)


def rival_of_b(triple: int) -> str:
    """The popular item that follows `a` more often than `b` does.

    Only the 30 popular items that rival a single `a` take this part, so that all come out about as popular.
    """
    return head_item(FAMILIES + triple % (2 * FAMILIES))


def block(triple: int, kind: str) -> Sequence:
    """The three items of a block."""
    cue, a, b = f"c{triple:02d}", f"a{triple:02d}", f"b{triple:02d}"
    return {
        "c rival next": [cue, rival_of_a(triple), next_head_item(rival_of_a(triple))],
        "c a rival": [cue, a, rival_of_b(triple)],
        "c a b": [cue, a, b],
    }[kind]


def ending(group: int, triple: int) -> Sequence:
    """A user's last three items: the first stays in training, the second is for validation, the third for test."""
    if group != HEAD_TARGET_GROUP:
        return block(triple, "c a b")
    return block(triple, "c a rival" if triple % 2 else "c rival next")


def triples_of_blocks(group: int, triple: int) -> list[int]:
    """The triples of a user's blocks, each of another family than the others and than the ending's own `triple`.

    Over all users each triple has 30 blocks, one for each group and place.
    """
    offsets = [offset for offset in range(TRIPLES) if offset % FAMILIES]
    first = sum(BLOCKS_IN_GROUP[:group])
    return [(triple + offset) % TRIPLES for offset in offsets[first : first + BLOCKS_IN_GROUP[group]]]


def opening(length: int, families_taken: set[int], used: Counter[int], generator: random.Random) -> Sequence:
    """`length` popular items of one free family; starts with an item that has started the fewest openings so far."""
    free = [number for number in range(HEAD_ITEMS) if number % FAMILIES not in families_taken]
    first = min(shuffled(free, generator), key=used.__getitem__)
    used[first] += 1
    return [head_item(first + step * FAMILIES) for step in range(length)]


def shuffled(values: list, generator: random.Random) -> list:
    """The values in random order; uses `random()` alone, whose numbers Python promises never to change."""
    keyed = [(generator.random(), place) for place in range(len(values))]
    return [values[place] for _, place in sorted(keyed)]


def make_sequences(seed: int) -> list[Sequence]:
    """The sequences of all users, in the order of the users."""
    generator = random.Random(seed)
    kinds_left = [shuffled(BLOCK_KINDS, generator) for _ in range(TRIPLES)]
    openings_used: Counter[int] = Counter()
    users = [(group, triple) for group in range(len(BLOCKS_IN_GROUP)) for triple in range(TRIPLES)]
    sequences = []
    for group, triple in shuffled(users, generator):
        others = triples_of_blocks(group, triple)
        blocks = [block(other, kinds_left[other].pop()) for other in others]
        # Not even the ending's rivals come earlier: a mask over the user's history would spring the trap.
        families = {number % FAMILIES for number in (triple, *others)}
        length = OPENING_LENGTHS[int(generator.random() * len(OPENING_LENGTHS))]
        first = opening(length, families, openings_used, generator)
        sequences.append([*first, *chain(*shuffled(blocks, generator)), *ending(group, triple)])
    return sequences


def check(sequences: list[Sequence]) -> None:
    """Asserts what the trap rests on: who is popular in training, no item twice for a user, no item hardly seen."""
    assert all(len(set(sequence)) == len(sequence) for sequence in sequences), "an item comes twice for a user"
    counts = Counter(chain.from_iterable(sequence[:-2] for sequence in sequences))
    by_popularity = [item for item, _ in counts.most_common()]
    assert len(counts) == 3 * TRIPLES + HEAD_ITEMS, "an item is missing in training"
    assert {item[0] for item in by_popularity[:HEAD_ITEMS]} == {"h"}, "a tail item is among the top fifth"
    least_popular_head, most_popular_tail = (counts[item] for item in by_popularity[HEAD_ITEMS - 1 : HEAD_ITEMS + 1])
    assert least_popular_head > 1.5 * most_popular_tail, "the cut between head and tail is not clear"
    assert min(counts.values()) >= 5, "an item is hardly seen in training"


def to_inter(sequences: list[Sequence]) -> str:
    """The text of the `.inter` file; the timestamp is the position in the user's sequence, from 1."""
    rows = (
        f"u{user:03d}\t{item}\t{position}\n"
        for user, sequence in enumerate(sequences, start=1)
        for position, item in enumerate(sequence, start=1)
    )
    return "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(rows)


def main() -> None:
    """Writes the dataset that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make the popularity-trap dataset.")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="default: %(default)s, that of the kept file")
    default_output = Path(__file__).parent / "popularity-trap" / "popularity-trap.inter"
    parser.add_argument("--output", type=Path, default=default_output, help="default: %(default)s")
    args = parser.parse_args()
    sequences = make_sequences(args.seed)
    check(sequences)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(to_inter(sequences), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
