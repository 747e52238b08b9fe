"""`recbole-lpo prepare`: flags, known datasets, downloads from a server on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import logging
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from recbole_lpo.data import known_datasets, prepare_cli
from recbole_lpo.data.download import raw_file_of
from recbole_lpo.data.known_datasets import KNOWN_DATASETS
from recbole_lpo.errors import InputError

DATASET_SETTINGS = Path(__file__).resolve().parents[2] / "properties" / "dataset"
REVIEWS = "".join(
    json.dumps({"reviewerID": f"u{user}", "asin": f"i{item}", "unixReviewTime": item}) + "\n"
    for user in range(5)
    for item in range(5)
)
RATINGS = "1::7::5::100\n"


def prepare(*flags: str) -> int:
    parser = argparse.ArgumentParser()
    prepare_cli.add_arguments(parser)
    return prepare_cli.main(parser.parse_args(flags))


def zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def server():
    """A server whose `files` map a path to the bytes it sends and the length it announces; `asked` lists requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            if self.path not in self.server.files:
                self.send_error(404)
                return
            body, length = self.server.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.files, http.asked = {}, []
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def serve(server, monkeypatch, name: str, body: bytes, length: int | None = None) -> str:
    """Lets the known dataset `name` come from the server; returns its address."""
    known = KNOWN_DATASETS[name]
    path = f"/{known.download_name}"
    server.files[path] = (body, len(body) if length is None else length)
    url = f"http://127.0.0.1:{server.server_port}{path}"
    monkeypatch.setitem(known_datasets.KNOWN_DATASETS, name, dataclasses.replace(known, url=url))
    return url


def test_a_known_dataset_needs_only_its_name_and_its_raw_file(capsys):
    Path("reviews").write_text(REVIEWS)
    assert prepare("--dataset=amazon-beauty", "--input=reviews", "--output=out") == 0
    path = Path("out/amazon-beauty/amazon-beauty.inter")
    assert path.is_file()
    expected = f"amazon-beauty: 5 users, 5 items, 25 interactions (0 of 25 dropped) -> {path}\n"
    assert capsys.readouterr().out == expected


def test_counts_other_than_the_published_ones_are_reported(caplog):
    Path("reviews").write_text(REVIEWS)
    prepare("--dataset=amazon-beauty", "--input=reviews")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 3
    assert "amazon-beauty has 5 users where 22,363 are published: is the raw file another version?" in warnings


def test_counts_are_not_compared_for_another_filter_than_the_published_one(caplog):
    Path("reviews").write_text(REVIEWS)
    prepare("--dataset=amazon-beauty", "--input=reviews", "--k_core=3")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_movielens_1m_is_not_filtered_by_default():
    Path("ratings.dat").write_text(RATINGS)
    prepare("--dataset=ml-1m", "--input=ratings.dat")
    assert Path("dataset/ml-1m/ml-1m.inter").read_text().splitlines()[1:] == ["1\t7\t1"]


def test_other_data_needs_a_name_a_source_and_an_input(capsys):
    Path("clicks").write_text("who\twhat\twhen\nu\ti\t1\n")
    flags = ["--name=mine", "--source=csv", "--user_column=who", "--item_column=what", "--time_column=when"]
    assert prepare(*flags, "--input", "clicks", r"--separator=\t", "--k_core=0", "--quiet") == 0
    assert Path("dataset/mine/mine.inter").read_text().splitlines()[1:] == ["u\ti\t1"]
    assert capsys.readouterr() == ("", "")
    for missing in ("--name", "--source", "--input"):
        given = [flag for flag in ("--name=mine", "--source=csv", "--input=clicks") if not flag.startswith(missing)]
        with pytest.raises(InputError, match=missing):
            prepare(*given)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--dataset=amazon-beuty"], "Did you mean 'amazon-beauty'"),
        (["--dataset=ml-1m", "--download", "--input=x"], "exclude each other"),
        (["--name=x", "--source=csv", "--download"], "knows only the datasets amazon-beauty"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, expected):
    with pytest.raises(InputError, match=expected):
        prepare(*flags)


def test_without_a_raw_file_the_address_and_the_file_name_are_told():
    with pytest.raises(InputError) as caught:
        prepare("--dataset=amazon-beauty")
    message = str(caught.value)
    assert "--download" in message
    assert KNOWN_DATASETS["amazon-beauty"].url in message
    assert "dataset/amazon-beauty/raw/reviews_Beauty_5.json.gz" in message


def test_download_fetches_once_and_prepares(server, monkeypatch):
    serve(server, monkeypatch, "amazon-beauty", REVIEWS.encode())
    prepare("--dataset=amazon-beauty", "--download")
    prepare("--dataset=amazon-beauty", "--download", "--overwrite")
    assert server.asked == ["/reviews_Beauty_5.json.gz"]
    assert Path("dataset/amazon-beauty/amazon-beauty.inter").read_text().count("\n") == 26


def test_download_unpacks_an_archive(server, monkeypatch):
    serve(server, monkeypatch, "ml-1m", zipped("ml-1m/ratings.dat", RATINGS))
    prepare("--dataset=ml-1m", "--download")
    assert Path("dataset/ml-1m/raw/ratings.dat").read_text() == RATINGS
    assert Path("dataset/ml-1m/ml-1m.inter").is_file()


@pytest.mark.parametrize("fault", ["absent", "cut short", "no server"])
def test_a_download_that_fails_says_what_to_do_by_hand_and_leaves_nothing(server, monkeypatch, fault):
    url = serve(server, monkeypatch, "amazon-beauty", b"half", length=8)
    if fault == "absent":
        server.files.clear()
    elif fault == "no server":
        url = "http://127.0.0.1:1/reviews_Beauty_5.json.gz"
        known = dataclasses.replace(KNOWN_DATASETS["amazon-beauty"], url=url)
        monkeypatch.setitem(known_datasets.KNOWN_DATASETS, "amazon-beauty", known)
    with pytest.raises(InputError) as caught:
        prepare("--dataset=amazon-beauty", "--download")
    message = str(caught.value)
    assert url in message
    assert "save it as dataset/amazon-beauty/raw/reviews_Beauty_5.json.gz" in message
    assert "\n" not in message
    assert not list(Path("dataset/amazon-beauty/raw").glob("*"))


@pytest.mark.parametrize("body", [b"<html>", zipped("other", "x"), zipped("ml-1m/ratings.dat", RATINGS * 99)[:-9]])
def test_an_archive_that_is_not_whole_is_refused(body):
    folder = Path("raw")
    folder.mkdir()
    (folder / "ml-1m.zip").write_bytes(body)
    with pytest.raises(InputError, match=r"not a whole zip archive with ml-1m/ratings\.dat"):
        raw_file_of(KNOWN_DATASETS["ml-1m"], folder, download=False)
    assert [path.name for path in folder.iterdir()] == ["ml-1m.zip"]


@pytest.mark.parametrize("name", KNOWN_DATASETS)
def test_the_settings_of_a_known_dataset_have_its_counts_and_filter(name):
    known = KNOWN_DATASETS[name]
    settings = yaml.safe_load((DATASET_SETTINGS / f"{name}.yaml").read_text(encoding="utf-8"))
    counts = {"users": known.users, "items": known.items, "interactions": known.interactions}
    assert settings["dataset_counts"] == counts
    interval = f"[{known.k_core},inf)" if known.k_core else None
    assert settings["user_inter_num_interval"] == settings["item_inter_num_interval"] == interval
