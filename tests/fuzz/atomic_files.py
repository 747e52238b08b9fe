"""Atomic `.inter` files as they come from strangers."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.raw_files import WILD_TIMES, WILD_TOKENS, damaged_bytes, damaged_texts, encoded

_USERS = ("u1", "u2", "u3", "007", "7", "7.0", "True", "é", "a b")
_ITEMS = (*(f"i{n}" for n in range(9)), "1", "01", "1.0", 'x"y', "-")
_TIMES = ("1", "2", "3", "4", "5.5", "-3", "1e3", "1400000000", "1400000060", "1400000000000")
_HEADERS = (
    *[["user_id:token", "item_id:token", "timestamp:float"]] * 24,
    *[["user_id:token", "item_id:token", "rating:float", "timestamp:float"]] * 8,
    ["timestamp:float", "item_id:token", "user_id:token"],
    ["user_id:token", "item_id:token", "timestamp:float", "text:token_seq"],
    ["user_id:token", "item_id:token", "timestamp:foo"],
    ["user_id:token", "item_id:token", "x:foo", "timestamp:float"],
    ["user_id:token", "user_id:token", "item_id:token", "timestamp:float"],
    ["user_id:token", "item_id:token", "timestamp:float", "timestamp:token"],
    ["user_id", "item_id", "timestamp"],
    ["user_id:token", "item_id:token"],
    ["user_id:float", "item_id:token", "timestamp:float"],
    ["user_id:token", "item_id:token", "timestamp:float", "a:b:float"],
)


@st.composite
def atomic_files(draw) -> bytes:
    """An `.inter` file, whole or broken; few users, so that some have histories."""
    header = draw(st.sampled_from(_HEADERS))
    users = draw(st.sampled_from([_USERS, _USERS[:1], _USERS[:3]]))
    items = draw(st.sampled_from([_ITEMS, _ITEMS[:1], _ITEMS[:4]]))
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from(users), st.sampled_from(items), st.sampled_from(_TIMES)),
            min_size=draw(st.sampled_from([0, 8])),
            max_size=16,
        )
    )
    lines = []
    for user, item, time in rows:
        values = {"user_id": user, "item_id": item, "timestamp": time, "rating": "4.0", "text": "word word", "x": "1"}
        if draw(st.integers(0, 150)) == 0:
            name = draw(st.sampled_from(["user_id", "item_id", "timestamp"]))
            values[name] = draw(st.sampled_from(WILD_TIMES if name == "timestamp" else WILD_TOKENS))
        if draw(st.integers(0, 30)) == 0:
            values["user_id"] = f'"{user}"'
        lines.append("\t".join(values.get(cell.partition(":")[0], "0") for cell in header))
    end = draw(st.sampled_from([*["\n"] * 6, "\r\n", "\r"]))
    text = end.join(["\t".join(header), *lines]) + draw(st.sampled_from([end, ""]))
    if draw(st.integers(0, 5)) == 0:
        text = draw(damaged_texts(text))
    data = draw(encoded(text))
    return draw(damaged_bytes(data)) if draw(st.integers(0, 5)) == 0 else data
