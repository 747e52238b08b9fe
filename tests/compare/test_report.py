"""report.html and the figures: what they say, what they say is missing, and that names in them stay text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lpo.compare.per_user import read_per_user
from recbole_lpo.compare.report import trade_off
from recbole_lpo.compare.report.deciles import by_decile
from recbole_lpo.compare.report.headline import headline
from recbole_lpo.compare.report.labels import spread
from recbole_lpo.compare.report.look import Look
from recbole_lpo.compare.report.tail_probability import less_the_mean
from recbole_lpo.compare.report.write import write_report
from recbole_lpo.compare.results import gather
from recbole_lpo.compare.study import study_of
from recbole_lpo.compare.summary import columns, mean, notes
from recbole_lpo.compare.tables import markdown
from recbole_lpo.compare.varied import varied_settings
from recbole_lpo.errors import InputError
from recbole_lpo.run_folder import METRICS, PER_USER
from tests.compare import made_study
from tests.compare.made_study import CUT, N_ITEMS, N_USERS, make_runs, study_of_methods

fast = settings(max_examples=60, deadline=None)
TITLES = (
    "Overall against tail accuracy", "Differences from the baseline", "Accuracy by popularity of the target",
    "How much probability the tail gets", "Learning curves", "Time and memory",
)  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page, by title of its figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "use", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open[-1:]):
            self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def reported(tmp_path, study, failures=(), **made):
    make_runs(study, tmp_path, **made)
    write_report(gather(study, tmp_path), study, tmp_path, failures)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def statements(tmp_path, study, **made):
    make_runs(study, tmp_path, **made)
    return {one.question: one for one in headline(gather(study, tmp_path)[0])}


def test_the_page_has_a_headline_a_table_and_every_figure_and_asks_for_nothing(tmp_path):
    page = reported(tmp_path, study_of_methods())
    for title in (*TITLES, "LPOSASRec: pref_weight", "Best on the tail"):
        assert title in page.words
    assert "Missing" not in page.words
    assert sum(tag == "svg" for tag, _ in page.tags) == len(TITLES) + 1
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#")[0] == "#" or attributes[name] == "data:,"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    uses = {attributes["xlink:href"][1:] for _, attributes in page.tags if "xlink:href" in attributes}
    assert uses and uses <= set(ids)


def test_a_page_made_again_is_the_same_to_the_byte(tmp_path):
    study = study_of_methods(["SASRec", "LPO"], seeds=[2020])
    make_runs(study, tmp_path)
    pages = []
    for _ in range(2):
        write_report(gather(study, tmp_path), study, tmp_path)
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_the_headline_names_the_winner_on_the_tail_and_no_winner_where_there_is_none(tmp_path):
    said = statements(tmp_path, study_of_methods(["SASRec", "LPO", "DPO"]))
    assert said["Best on the tail"].answer == "LPO"
    row = gather(study_of_methods(["SASRec", "LPO", "DPO"]), tmp_path)[0].row("LPO")
    test = row.tests[f"tailndcg@{CUT}"]
    assert test.low > 0
    assert f"{test.mean:+.4f} [{test.low:+.4f}, {test.high:+.4f}]" in said["Best on the tail"].figures
    assert said["More than adjusting SASRec by popularity?"].answer == "Yes: LPO"


def test_methods_that_differ_by_chance_share_the_lead(tmp_path):
    said = statements(tmp_path, study_of_methods(["SASRec", "A", "B"]))
    assert said["Best on the tail"].answer in (
        "A and B, level with each other",
        "B and A, level with each other",
    )


def test_a_method_like_the_baseline_is_no_winner(tmp_path):
    said = statements(tmp_path, study_of_methods(["A", "B"]))
    assert said["Best overall"].answer == said["Best on the tail"].answer == "No method beats A"
    assert "above the curve" in said["More than adjusting A by popularity?"].answer


@pytest.mark.parametrize(("dpo", "answer"), [((0.9, 0.30, 0.25), "No method beats SASRec"),
                                             ((0.2, 0.05, 0.25), "SASRec, the baseline")])  # fmt: skip
def test_a_row_with_other_users_is_never_named_with_the_figures_of_those_that_were_tested(
    dpo, answer, tmp_path, monkeypatch
):
    monkeypatch.setattr(made_study, "STORY", {"SASRec": (0.9, 0.30, 0.25), "DPO": dpo, "GRU": (1.3, 0.6, 0.3)})
    study = study_of_methods(["SASRec", "DPO", "GRU"])
    make_runs(study, tmp_path)
    for run in study.runs():
        if run.method == "GRU":
            users = pd.read_csv(run.folder(tmp_path) / PER_USER, dtype={"user": str, "target": str})
            users[1:].to_csv(run.folder(tmp_path) / PER_USER, index=False)
    (one,) = gather(study, tmp_path)
    assert one.row("GRU").untested
    assert mean(one.row("GRU").values(one.key())) > mean(one.row("SASRec").values(one.key()))
    said = headline(one)[0]
    assert said.answer == answer
    assert "GRU" not in said.figures
    if answer == "SASRec, the baseline":
        assert f"{mean(one.row('SASRec').values(one.key())):.4f}; all others with its test users" in said.figures


@pytest.mark.parametrize(
    ("methods", "made", "said"),
    [
        (["SASRec"], {}, ["Only SASRec has finished runs", "nothing to compare it with"]),
        (
            ["SASRec", "LPO"],
            {"skip": [("SASRec", 2020)]},
            ["No finished run of: SASRec", "no run of the baseline SASRec is finished"],
        ),
        (["SASRec", "LPO"], {"tail": False}, ["No finished run has tailndcg@10", "No test user has a tail target"]),
        (["SASRec", "LPO"], {"history": False}, ["no run has a history"]),
        (["SASRec", "LPO"], {"older": True}, ["popularity decile", "probability that it gives", "keep no ranks along"]),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_there(tmp_path, methods, made, said):
    page = reported(tmp_path, study_of_methods(methods, seeds=[2020]), **made)
    for words in said:
        assert words in page.words
    assert any(attributes.get("id", "").startswith("d0-cost-mark") for _, attributes in page.tags)
    assert not re.search(r"\bnan\b", page.words)


def test_a_study_without_any_finished_run_says_so(tmp_path):
    study = study_of_methods(["SASRec"], seeds=[2020])
    page = reported(tmp_path, study, ["toy SASRec seed 2020: no memory"], skip=[("SASRec", 2020)])
    assert "No run is finished" in page.words
    assert "toy SASRec seed 2020: no memory" in page.words


def test_every_dataset_has_a_section_of_its_own(tmp_path):
    page = reported(tmp_path, study_of_methods(["SASRec", "LPO"], datasets=["one", "two"], seeds=[2020]))
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == ["dataset-0", "dataset-1"]
    assert page.words.count("Best on the tail") == 2


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $\\frac{ & \"q' _x_"


def test_a_hostile_name_stays_text_everywhere(tmp_path):
    study = study_of_methods(["SASRec", HOSTILE], datasets=["<b>data</b>"], seeds=[2020])
    page = reported(tmp_path, study, [f"{HOSTILE}: failed"])
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag in ("img", "b") for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.words.count(re.sub(r"\s+", " ", HOSTILE)) >= 3
    assert "<b>data</b>" in page.words


def test_the_figures_of_the_page_are_written_as_png_and_svg_files(tmp_path):
    study = study_of_methods(["SASRec"], seeds=[2020])
    make_runs(study, tmp_path)
    written = write_report(gather(study, tmp_path), study, tmp_path, figures_to=tmp_path / "deep" / "figures")
    files = sorted(path.name for path in (tmp_path / "deep" / "figures").iterdir())
    # One method has no differences.
    assert len(files) == 2 * (len(TITLES) - 1)
    assert written == ["report.html", f"{tmp_path / 'deep' / 'figures'} ({len(files)} files)"]
    for name in files:
        content = (tmp_path / "deep" / "figures" / name).read_bytes()
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")
        else:
            assert ElementTree.fromstring(content).tag.endswith("svg")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"figures = .*taken: cannot be written to"):
        write_report(gather(study, tmp_path), study, tmp_path, figures_to=tmp_path / "taken")


def test_settings_that_differ_alone_are_varied_and_a_row_that_leaves_one_out_has_the_value_that_it_runs_with(tmp_path):
    (tmp_path / "study.yaml").write_text("""
datasets: [ml-100k]
runs:
  SASRec:
  plain: {model: LPOSASRec, preset: log_prob}
  more: {model: LPOSASRec, preset: log_prob, pref_weight: 0.5}
  other: {model: LPOSASRec, preset: log_prob, pref_weight: 0.5, pref_num_rejected: 3}
""")
    found = {one.setting: one.rows for one in varied_settings(study_of(file=str(tmp_path / "study.yaml")))}
    assert found == {
        "pref_weight": [(0.1, "plain"), (0.5, "more")],
        "pref_num_rejected": [(3, "other"), (10, "more")],
    }


def test_rows_that_rank_with_the_same_weights_vary_in_how_they_rank(tmp_path):
    (tmp_path / "study.yaml").write_text("""
datasets: [ml-100k]
runs:
  LPOSASRec:
  tuned: {model: LPOSASRec, pref_weight: 0.1}
  a third: {weights_of: tuned, eval_neighbours: 0.3}
  half: {weights_of: tuned, eval_neighbours: 0.5}
  half of the other: {weights_of: LPOSASRec, eval_neighbours: 0.5}
""")
    found = {one.setting: one.rows for one in varied_settings(study_of(file=str(tmp_path / "study.yaml")))}
    assert found == {
        "pref_weight": [(0.1, "tuned"), (0.5, "LPOSASRec")],
        "eval_neighbours": [(0.3, "a third"), (0.5, "half")],
    }


def test_rows_with_the_same_reference_vary_in_their_settings_and_the_reference_is_none(tmp_path, caplog):
    (tmp_path / "study.yaml").write_text("""
datasets: [ml-100k]
runs:
  SASRec:
  LPOSASRec:
  weak: {model: DPOSASRec, pref_beta: 0.1, reference_of: SASRec}
  usual: {model: DPOSASRec, learning_rate: 0.001, reference_of: SASRec}
  strong: {model: DPOSASRec, pref_beta: 3, reference_of: SASRec}
  of another: {model: DPOSASRec, pref_beta: 3, reference_of: LPOSASRec}
""")
    found = {one.setting: one.rows for one in varied_settings(study_of(file=str(tmp_path / "study.yaml")))}
    assert found == {"pref_beta": [(0.1, "weak"), (3, "strong")]}
    assert "reference_of" not in caplog.text


def test_users_are_read_as_they_were_written_whatever_their_order(tmp_path):
    study = study_of_methods(["SASRec"])
    make_runs(study, tmp_path)
    folders = [run.folder(tmp_path) for run in study.runs()]
    users = read_per_user(folders)
    assert users.rank.shape == users.tail_prob.shape == (N_USERS, 2)
    for seed, folder in enumerate(folders):
        metrics = json.loads((folder / "metrics.json").read_text())
        value = np.where(users.rank[:, seed] <= CUT, 1 / np.log2(1 + users.rank[:, seed]), 0)
        assert value.mean() == pytest.approx(metrics["test"][f"ndcg@{CUT}"])
        assert value[users.in_tail].mean() == pytest.approx(metrics["test"][f"tailndcg@{CUT}"])
    both = [json.loads((folder / "metrics.json").read_text())["adjusted"][1]["test"] for folder in folders]
    mean = np.mean([test[f"ndcg@{CUT}"] for test in both])
    assert users.value("ndcg", CUT, strength=1.0).mean() == pytest.approx(mean)
    assert read_per_user([*folders, tmp_path]) is None


@fast
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.floats(0.1, 3))
def test_labels_keep_their_order_and_their_distance_and_move_no_further_than_they_must(wanted, gap):
    found = spread(wanted, gap)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(found[order]) >= gap - 1e-9).all()
    # Nothing moves where nothing touches.
    if (np.diff(np.sort(wanted)) >= gap).all():
        assert found == pytest.approx(wanted)
    assert found.mean() == pytest.approx(np.mean(wanted), abs=1e-6)


@fast
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10)), min_size=1, max_size=40))
def test_the_mean_of_the_deciles_weighted_by_users_is_the_overall_mean(rows):
    value, decile = np.array(rows).T
    found, means, halves = by_decile(value, decile.astype(int))
    n = [int((decile == one).sum()) for one in found]
    assert np.dot(means, n) / len(rows) == pytest.approx(value.mean(), abs=1e-9)
    assert all((half == 0) or users > 1 for half, users in zip(halves, n, strict=True))


@fast
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=30), st.data())
def test_the_probability_of_the_whole_tail_gives_the_papers_difference_of_means(weights, data):
    probability = np.array(weights) / sum(weights)
    tail = np.array(data.draw(st.lists(st.booleans(), min_size=len(weights), max_size=len(weights))))
    if tail.any():
        slowly = probability[tail].mean() - probability.mean()
        found = less_the_mean(probability[tail].sum(), int(tail.sum()), len(tail))
        assert math.isclose(found, slowly, abs_tol=1e-12)


def test_rows_that_rank_otherwise_than_the_first_say_so_below_the_table(tmp_path):
    study = study_of_methods(["SASRec", "LPO", "DPO"])
    make_runs(study, tmp_path)
    for run in study.runs():
        told = {"LPO": {"mask_history": True}, "DPO": {"logit_adjust": 0.2}}.get(run.method, {})
        file = run.folder(tmp_path) / METRICS
        metrics = json.loads(file.read_text())
        file.write_text(json.dumps({**metrics, "protocol": metrics["protocol"] | told}))
    said = notes(gather(study, tmp_path)[0])
    assert [line for line in said if line.startswith(("SASRec:", "LPO:", "DPO:"))] == [
        "LPO: Leave one out: each user's last item tests, the one before it validates, all items ranked, the user's "
        "own history left out of the ranking.",
        "DPO: as it was run, ranked with t = 0.2.",
    ]


def test_a_point_of_the_curve_without_adjustment_is_no_other_than_it_was_measured(tmp_path):
    study = study_of_methods(["SASRec"])
    make_runs(study, tmp_path)
    users = read_per_user([run.folder(tmp_path) for run in study.runs()])
    shifted = replace(users, rank=users.rank + 5, curve={0.0: users.rank})
    assert shifted.value("ndcg", CUT, strength=0.0).mean() == users.value("ndcg", CUT).mean()
    assert shifted.value("ndcg", CUT).mean() < users.value("ndcg", CUT).mean()


@pytest.mark.parametrize("strength", [0.1, 0.30000000000000004, 1.0, 2])
def test_the_strength_of_a_column_of_ranks_is_read_back_to_the_last_digit(strength, tmp_path, monkeypatch):
    monkeypatch.setattr(made_study, "STRENGTHS", (strength,))
    study = study_of_methods(["SASRec"])
    make_runs(study, tmp_path)
    users = read_per_user([run.folder(tmp_path) for run in study.runs()])
    assert list(users.curve) == [strength]


def test_the_table_says_how_far_a_method_is_over_the_curve_of_the_baseline(tmp_path):
    study = study_of_methods(["SASRec", "LPO"])
    make_runs(study, tmp_path)
    one = gather(study, tmp_path)[0]
    height = one.row("LPO").height
    assert f"| {height.mean:+.4f} [{height.low:+.4f}, {height.high:+.4f}] |" in markdown([one], "SASRec")
    without_curve = replace(one, rows=[replace(row, height=None) for row in one.rows])
    assert "| tail over the curve |" in markdown([one], "SASRec")
    assert "| tail over the curve |" not in markdown([without_curve], "SASRec")


def test_every_method_is_drawn_with_its_own_adjustment_curve(tmp_path):
    study = study_of_methods(["SASRec", "LPO", "DPO"])
    make_runs(study, tmp_path)
    found = gather(study, tmp_path)[0]
    drawn = trade_off.draw(found, Look(list(study.methods), study.baseline))
    lines = {line.get_gid(): line.get_xydata() for line in drawn.axes[0].get_lines()}
    for gid, method in (("curve", "SASRec"), ("curve-0", "LPO"), ("curve-1", "DPO")):
        row = found.row(method)
        expected = [[row.at(t, found.key(group)).mean() for group in ("", "tail")] for t in (0.0, *row.strengths())]
        np.testing.assert_allclose(lines[gid], expected)


def test_the_tail_gets_less_than_its_share_where_the_story_says_so(tmp_path):
    study = study_of_methods(["SASRec", "LPO"], seeds=[2020])
    make_runs(study, tmp_path)
    rows = {row.method: row for row in gather(study, tmp_path)[0].rows}
    share = (N_ITEMS - 40) / N_ITEMS
    means = {method: rows[method].users.tail_prob.mean() for method in rows}
    assert means["SASRec"] < means["LPO"] < share


def test_unseen_items_have_a_column_where_any_user_holds_one_out(tmp_path):
    study = study_of_methods(["SASRec", "LPO"])
    make_runs(study, tmp_path)
    one = gather(study, tmp_path)[0]
    for row in one.rows:
        for run in row.runs:
            run["test"][f"unseenhit@{CUT}"] = None
    assert "unseen HR" not in columns(one)
    assert not [line for line in notes(one) if line.startswith("Unseen:")]
    for run in one.row("LPO").runs:
        run["test"][f"unseenhit@{CUT}"] = 0.2
    assert columns(one)["unseen HR"] == f"unseenhit@{CUT}"
    assert [line for line in notes(one) if line.startswith("Unseen:")]
    assert "| unseen HR |" in markdown([one], "SASRec")
