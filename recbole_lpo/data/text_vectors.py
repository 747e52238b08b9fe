"""Vectors of texts: TF-IDF with a truncated SVD, or a sentence-transformers model that is on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_lpo.errors import InputError


def tfidf_vectors(texts: Sequence[str], width: int, *, seed: int = 0) -> np.ndarray:
    """(n, width') float32, width' = min(width, texts - 1, words - 1): the texts' TF-IDF weights of words and pairs of
    words in their largest singular directions, each row of length 1 (latent semantic analysis).

    Words that one text alone has are left out: they say nothing of what texts share. Raises InputError where no word is
    left.
    """
    # scikit-learn takes a second to import, and nothing else of a run needs it.
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    try:
        weights = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2).fit_transform(texts)
    except ValueError:
        weights = None
    if weights is None or min(weights.shape) < 2:
        raise InputError(f"embed-items: no words are shared among the {len(texts)} texts. Name columns that hold text.")
    width = min(width, min(weights.shape) - 1)
    return normalize(TruncatedSVD(width, random_state=seed).fit_transform(weights)).astype(np.float32)


def sentence_vectors(texts: Sequence[str], model: Path) -> np.ndarray:
    """(n, W) float32 from the sentence-transformers model in a folder; nothing is fetched.

    Raises InputError without the optional extra `text`, and for a folder that holds no such model.
    """
    if not model.is_dir():
        raise InputError(
            f"--model={model}: there is no such folder. Name one that holds a sentence-transformers model (nothing is "
            "downloaded), or take --method=tfidf, which needs none."
        )
    # Read when these libraries are imported.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError(
            f"--model={model}: needs sentence-transformers. Install it with: pip install 'recbole-lpo[text]'; or take "
            "--method=tfidf, which needs no model."
        ) from None
    try:
        encoder = SentenceTransformer(str(model), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--model={model}: not a sentence-transformers model ({reason}).") from None
    return np.asarray(encoder.encode(list(texts), show_progress_bar=False), dtype=np.float32)
