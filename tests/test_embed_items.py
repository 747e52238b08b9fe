"""`recbole-lpo embed-items`: vectors from titles, made on this machine and trained with."""

from __future__ import annotations

import os
import sys
import types

import numpy as np
import pytest

from recbole_lpo.cli import main
from tests.conftest import SMALL


def test_vectors_made_from_titles_train_a_model_through_the_command(tmp_path, toy, capsys):
    words = ["red", "blue", "soap", "cream", "brush", "nail"]
    titles = [f"i{n}\t{words[n % 3]} {words[3 + n % 2]} {words[n % 5]}" for n in range(40)]
    item = tmp_path / "data" / "toy" / "toy.item"
    item.write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")
    where = [f"--data_path={toy['data_path']}", "--dataset=toy"]
    output = tmp_path / "titles.npy"
    assert main(["embed-items", *where, "--columns=title", "--method=tfidf", "--dim=4", f"--output={output}"]) == 0
    vectors = np.load(output)
    assert vectors.shape == (40, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert (tmp_path / "titles.tokens").read_text().split() == [f"i{n}" for n in range(40)]
    # Titles of the same words have the same vectors: 0 and 30 have the same remainders.
    np.testing.assert_allclose(vectors[0], vectors[30], atol=1e-6)
    small = [f"--{key}={value}" for key, value in SMALL.items() if key not in ("show_progress", "metrics")]
    given = [f"--content_file={output}", "--content_mode=gate", f"--run_dir={tmp_path / 'run'}", "--quiet"]
    capsys.readouterr()
    assert main(["run", "--model=LPOSASRec", *where, *small, *given]) == 0
    assert "LPOSASRec" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--columns=class"], "give one of --method=tfidf and --model=FOLDER"),
        (["--columns=class", "--method=tfidf", "--model=x"], "give one of --method=tfidf and --model=FOLDER"),
        (["--columns=title", "--method=tfidf"], "has no column 'title'"),
        (["--columns=class", "--method=tfidf", "--dim=0"], "--dim=0: must be at least 1"),
        (["--columns=class", "--method=tfidf", "--output=x.csv"], "--output=x.csv: must end in .npy"),
        (["--columns=class", "--model=nowhere"], "--model=nowhere: there is no such folder"),
        (["--columns=class", "--model=."], "needs sentence-transformers. Install it with: pip install 'recbole-lpo[te"),
    ],
)  # fmt: skip
def test_embed_items_refuses_in_one_line(words, told, toy, capsys, monkeypatch):
    # Absent, whatever is installed here.
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert main(["embed-items", f"--data_path={toy['data_path']}", "--dataset=toy", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_embed_items_asks_the_model_in_the_folder_and_fetches_nothing(toy, tmp_path, monkeypatch):
    asked = []

    class Encoder:
        def __init__(self, path, **given):
            asked.append((path, given, os.environ["HF_HUB_OFFLINE"]))

        def encode(self, texts, **given):
            return [[float(len(text)), 1.0] for text in texts]

    module = types.SimpleNamespace(SentenceTransformer=Encoder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    where = [f"--data_path={toy['data_path']}", "--dataset=toy", "--columns=class"]
    assert main(["embed-items", *where, f"--model={tmp_path}"]) == 0
    assert asked == [(str(tmp_path), {"local_files_only": True}, "1")]
    assert np.load(tmp_path / "data" / "toy" / "toy.class.npy").tolist() == [[2.0, 1.0]] * 40
