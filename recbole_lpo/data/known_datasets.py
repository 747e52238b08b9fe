"""Datasets of the literature: where their raw files are, how they are prepared, and the counts that must come out."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lpo.errors import InputError, did_you_mean


@dataclass(frozen=True)
class KnownDataset:
    """`raw_file` is what is read; it lies in the archive at `archive_member` where that is set.

    The counts are those after preparing with `k_core`, duplicates kept.
    """

    name: str
    source: str
    url: str
    raw_file: str
    k_core: int
    users: int
    items: int
    interactions: int
    archive_member: str | None = None

    @property
    def download_name(self) -> str:
        """The file name at the end of the address."""
        return self.url.rpartition("/")[2]


def known_dataset(name: str) -> KnownDataset:
    """The known dataset of that name. Raises InputError, with the nearest name, for another."""
    if name not in KNOWN_DATASETS:
        raise InputError(
            f"--dataset={name}: unknown; one of {', '.join(KNOWN_DATASETS)}.{did_you_mean(name, KNOWN_DATASETS)} For "
            f"other data give --name, --source and --input."
        )
    return KNOWN_DATASETS[name]


_AMAZON_2014 = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"

KNOWN_DATASETS = {
    dataset.name: dataset
    for dataset in (
        KnownDataset(
            name="amazon-beauty",
            source="amazon2014",
            url=_AMAZON_2014 + "reviews_Beauty_5.json.gz",
            raw_file="reviews_Beauty_5.json.gz",
            k_core=5,
            users=22_363,
            items=12_101,
            interactions=198_502,
        ),
        KnownDataset(
            name="amazon-toys-games",
            source="amazon2014",
            url=_AMAZON_2014 + "reviews_Toys_and_Games_5.json.gz",
            raw_file="reviews_Toys_and_Games_5.json.gz",
            k_core=5,
            users=19_412,
            items=11_924,
            interactions=167_597,
        ),
        KnownDataset(
            name="amazon-sports-outdoors",
            source="amazon2014",
            url=_AMAZON_2014 + "reviews_Sports_and_Outdoors_5.json.gz",
            raw_file="reviews_Sports_and_Outdoors_5.json.gz",
            k_core=5,
            users=35_598,
            items=18_357,
            interactions=296_337,
        ),
        KnownDataset(
            name="ml-1m",
            source="movielens",
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            raw_file="ratings.dat",
            archive_member="ml-1m/ratings.dat",
            # Every user has 20 ratings at least; the published counts are those of the raw file.
            k_core=0,
            users=6_040,
            items=3_706,
            interactions=1_000_209,
        ),
    )
}
