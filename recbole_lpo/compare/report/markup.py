"""HTML from Python, in which text is always text."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is HTML already."""


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An HTML element. Children that are no Markup, and all attributes, are escaped.

    An attribute's name may end in `_` (`class_`), and has `-` for `_` inside; one that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Children one after the other, those that are no Markup escaped."""
    return Markup("".join(child if isinstance(child, Markup) else escape(str(child)) for child in children))
