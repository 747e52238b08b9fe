"""Attributes and vectors of items: what is read, how it is coded, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from recbole_lpo.data.content import ContentCoder
from recbole_lpo.data.content_columns import AtomicText, read_columns
from recbole_lpo.data.content_vectors import read_vectors
from recbole_lpo.errors import InputError
from recbole_lpo.settings import ContentSettings

ITEMS = """item_id:token\tbrand:token\tclass:token_seq\tprice:float\tlook:float_seq
a\tx\tred blue\t1\t1 2
b\tx\tblue red\t2\t3 4
c\ty\tgreen\t\t5 6
elsewhere\tz\tred\t9\t7 8
d\t\tgold\t3\t
"""
TOKENS = ["[PAD]", "a", "b", "c", "d"]
SEEN = np.array([False, True, True, True, False])


def coder(folder, text=ITEMS, tokens=TOKENS, seen=SEEN, **given):
    (folder / "toy.item").write_text(text)
    config = {
        "data_path": str(folder), "dataset": "toy", "ITEM_ID_FIELD": "item_id", "encoding": "utf-8",
        "field_separator": "\t", "seq_separator": " ",
    }  # fmt: skip
    return ContentCoder(ContentSettings(**given), config, tokens, seen)


def coded(folder, **given):
    return coder(folder, **given).catalogue


def members(content):
    ends = [*content.bags.start.tolist()[1:], len(content.bags.member)]
    return [content.bags.member[a:b].tolist() for a, b in zip(content.bags.start.tolist(), ends, strict=True)]


def same(one, other):
    return (
        members(one) == members(other)
        and torch.equal(one.bags.weight, other.bags.weight)
        and torch.equal(one.vectors, other.vectors)
        and one.fingerprint == other.fingerprint
    )


def refused(folder, **given):
    with pytest.raises(InputError) as caught:
        coder(folder, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_value_of_a_field_has_a_number_and_those_of_an_item_share_a_weight_of_one(tmp_path):
    content = coded(tmp_path, content_fields=["class"], content_min_count=1)
    # blue, green, red, and rare: gold, which no item with training has.
    assert (members(content), content.n_values) == ([[], [0, 2], [0, 2], [1], [3]], 4)
    assert content.bags.weight.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    assert content.has_content.tolist() == [False, True, True, True, True]


def test_values_that_few_trained_items_have_are_one_value(tmp_path):
    content = coded(tmp_path, content_fields=["class"], content_min_count=2)
    assert (members(content), content.n_values) == ([[], [0, 1], [0, 1], [2], [2]], 3)


def test_an_item_with_an_empty_cell_has_no_value_of_that_field(tmp_path):
    content = coded(tmp_path, content_fields=["brand"], content_min_count=1)
    assert members(content) == [[], [0], [0], [1], []]
    assert not content.has_content[4]


def test_the_order_of_fields_tokens_and_rows_changes_nothing(tmp_path):
    fields = ["brand", "class", "look", "price"]
    one = coded(tmp_path, content_fields=fields)
    header, *rows = ITEMS.splitlines()
    turned = "\n".join([header, *reversed(rows)]).replace("red blue", "blue red")
    assert same(one, coded(tmp_path, text=turned, content_fields=fields[::-1] + fields[:1]))


def test_items_of_the_file_that_are_not_in_the_catalogue_change_nothing(tmp_path):
    fields = ["brand", "class", "look", "price"]
    without = "\n".join(line for line in ITEMS.splitlines() if not line.startswith("elsewhere"))
    assert same(coded(tmp_path, content_fields=fields), coded(tmp_path, text=without, content_fields=fields))


def test_another_value_of_an_item_is_another_content(tmp_path):
    one = coded(tmp_path, content_fields=["class"])
    other = coded(tmp_path, text=ITEMS.replace("c\ty\tgreen", "c\ty\tred"), content_fields=["class"])
    assert one.fingerprint != other.fingerprint


def test_numbers_are_counted_from_their_mean_and_a_missing_one_is_the_mean(tmp_path):
    content = coded(tmp_path, content_fields=["price"])
    root = 1.5**0.5
    torch.testing.assert_close(content.vectors[:, 0], torch.tensor([0.0, -root, 0.0, 0.0, root]))
    assert content.has_content.tolist() == [False, True, True, False, True]


def test_new_items_are_coded_as_those_of_the_catalogue(tmp_path):
    known = coder(tmp_path, content_fields=["class", "price"], content_min_count=1)
    (tmp_path / "new.item").write_text(
        "item_id:token\tprice:float\tclass:token_seq\nn1\t1\tblue red\nn2\t\tnever-met\n"
    )
    tokens, content = known.code_file(tmp_path / "new.item")
    assert tokens == ["n1", "n2"]
    assert members(content) == [members(known.catalogue)[1], [3]]
    assert torch.equal(content.vectors[0], known.catalogue.vectors[1])


def test_an_unknown_value_of_a_new_item_counts_for_nothing_where_the_field_has_no_rare_values(tmp_path):
    known = coder(tmp_path, tokens=TOKENS[:4], seen=SEEN[:4], content_fields=["class"], content_min_count=1)
    (tmp_path / "new.item").write_text("item_id:token\tclass:token_seq\nn1\tblue never-met\n")
    assert members(known.code_file(tmp_path / "new.item")[1]) == [[0]]
    (tmp_path / "new.item").write_text("item_id:token\tclass:token_seq\nn1\tnever-met\n")
    with pytest.raises(InputError, match="nothing that the model knows is said of item 'n1'"):
        known.code_file(tmp_path / "new.item")


@pytest.mark.parametrize(
    ("text", "fields", "told"),
    [
        (ITEMS, ["clas"], "has no column 'clas'; its columns are item_id, brand, class, price, look. Did you mean"),
        (ITEMS.replace("price:float", "price:number"), ["price"], "column 'price' has type 'number'; allowed: token"),
        (ITEMS.replace("\t2\t3 4", "\tdear\t3 4"), ["price"], "line 3: price is 'dear', which is not a finite number"),
        (ITEMS.replace("\t2\t3 4", "\tnan\t3 4"), ["price"], "line 3: price is 'nan', which is not a finite number"),
        (ITEMS.replace("3 4", "3 inf"), ["look"], "line 3: look is '3 inf', which is not a finite number"),
        (ITEMS.replace("3 4", "3 4 5"), ["look"], "line 3: look has 3 numbers, the rows before have 2"),
        (ITEMS.replace("item_id:token", "item_id"), ["look"], "is not name:type"),
        ("item_id:token\tclass:token\nzz\tred\n", ["class"], "class has a value for none of the 4 items"),
        ("item_id:token\tclass:token\n", ["class"], "class has a value for none of the 4 items"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, fields, told):
    assert told in refused(tmp_path, text=text, content_fields=fields)


def test_a_dataset_without_an_item_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_columns(tmp_path / "toy.item", "item_id", ["class"], AtomicText())


VECTORS = {"a": [1.0, 2.0], "b": [3.0, 4.0], "zz": [0.0, 9.0]}


def written(folder, kind, vectors=VECTORS):
    """A file of vectors of a kind."""
    path = folder / f"look.{kind}"
    rows = np.array(list(vectors.values()), dtype=np.float32)
    if kind in ("npy", "safetensors"):
        (folder / "look.tokens").write_text("".join(f"{token}\n" for token in vectors))
    match kind:
        case "npy":
            np.save(path, rows)
        case "safetensors":
            save_file({"vectors": rows}, path)
        case "parquet":
            pd.DataFrame({"item_id": list(vectors), "vector": list(rows)}).to_parquet(path)
        case "ent":
            lines = [f"{token}\t{' '.join(map(str, row))}" for token, row in vectors.items()]
            path.write_text("\n".join(["ent_id:token\tent_vec:float_seq", *lines]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["npy", "parquet", "safetensors", "ent"])
def test_a_file_of_vectors_gives_each_items_vector_in_every_format(tmp_path, kind):
    found = read_vectors(written(tmp_path, kind), AtomicText())
    assert {token: row.tolist() for token, row in found.items()} == VECTORS


def test_safetensors_may_name_a_tensor_after_each_item_and_parquet_have_a_column_for_each_number(tmp_path):
    save_file({token: np.array(row, dtype=np.float32) for token, row in VECTORS.items()}, tmp_path / "v.safetensors")
    pd.DataFrame([[token, *row] for token, row in VECTORS.items()], columns=["item", "v0", "v1"]).to_parquet(
        tmp_path / "v.parquet"
    )
    for name in ("v.safetensors", "v.parquet"):
        found = read_vectors(tmp_path / name, AtomicText())
        assert {token: row.tolist() for token, row in found.items()} == VECTORS


def test_vectors_of_items_that_are_not_in_the_catalogue_are_left_out_and_items_without_one_have_none(tmp_path):
    content = coded(tmp_path, content_file=[str(written(tmp_path, "npy"))])
    torch.testing.assert_close(content.vectors, torch.tensor([[0.0, 0], [-1, -1], [1, 1], [0, 0], [0, 0]]))
    assert content.has_content.tolist() == [False, True, True, False, False]


def test_vectors_for_none_of_the_items_are_refused(tmp_path):
    path = written(tmp_path, "npy", {"q": [1.0, 2.0]})
    told = refused(tmp_path, content_file=[str(path)])
    assert "has a value for none of the 4 items" in told and "'q'" in told


@pytest.mark.parametrize("kind", ["npy", "parquet", "safetensors"])
def test_a_vector_with_nan_is_refused_with_its_item(tmp_path, kind):
    path = written(tmp_path, kind, {**VECTORS, "b": [1.0, float("nan")]})
    assert "the vector of item 'b' holds NaN or infinity" in refused(tmp_path, content_file=[str(path)])


def test_vectors_of_different_widths_are_refused(tmp_path):
    pd.DataFrame({"item_id": ["a", "b"], "vector": [[1.0, 2.0], [1.0]]}).to_parquet(tmp_path / "v.parquet")
    assert "different widths" in refused(tmp_path, content_file=[str(tmp_path / "v.parquet")])


def test_a_file_of_vectors_that_is_not_there_damaged_or_without_tokens_is_refused(tmp_path):
    assert "there is no such file" in refused(tmp_path, content_file=[str(tmp_path / "v.npy")])
    np.save(tmp_path / "v.npy", np.ones((2, 2)))
    assert "needs v.tokens beside it" in refused(tmp_path, content_file=[str(tmp_path / "v.npy")])
    (tmp_path / "v.tokens").write_text("a\n")
    assert "2 vectors for 1 item tokens" in refused(tmp_path, content_file=[str(tmp_path / "v.npy")])
    (tmp_path / "v.tokens").write_text("a\na\n")
    assert "an item has two vectors" in refused(tmp_path, content_file=[str(tmp_path / "v.npy")])
    np.save(tmp_path / "v.npy", np.ones(2))
    assert "must be numbers (items, width)" in refused(tmp_path, content_file=[str(tmp_path / "v.npy")])
    for name in ("v.npy", "v.parquet", "v.safetensors"):
        (tmp_path / name).write_text("nothing of the kind")
        assert refused(tmp_path, content_file=[str(tmp_path / name)]).startswith(str(tmp_path / name))
    (tmp_path / "v.ent").write_text("id:token\tword:token\na\tb\n")
    assert "word is text" in refused(tmp_path, content_file=[str(tmp_path / "v.ent")])
