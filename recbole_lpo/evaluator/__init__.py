"""Tail and head metrics for every model of RecBole, from one integer per user: the rank of the held-out item."""
