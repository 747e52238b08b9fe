"""Figures as files, and as SVG inside a page."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from recbole_lpo.compare.report.look import INK, PAPER

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_PAGE_COLOURS = {INK: "currentColor", PAPER: "var(--paper)"}
_DPI = 200


def file_of(figure: Figure, form: str) -> bytes:
    """The figure as the content of a `png` (200 dots an inch, on white) or `svg` file, the same bytes each time."""
    written = io.BytesIO()
    nameless = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[form]
    figure.savefig(written, format=form, dpi=_DPI, facecolor="white", metadata=nameless)
    return written.getvalue()


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an <svg> element of a page: ink and paper of the page, ids of its own, and a title for readers.

    name: put in front of every id, so that no two figures of a page share one. All text goes through an XML writer, so
    that a name in it stays text.
    """
    written = io.BytesIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(written.getvalue())
    for parent in root.iter():
        for child in [child for child in parent if child.tag == f"{{{_SVG}}}metadata"]:
            parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _for_the_page(key, value, name))
    _, _, width, height = root.get("viewBox").split()
    root.attrib.update({"role": "img", "aria-label": title, "width": width, "height": height})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _for_the_page(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == f"{{{_XLINK}}}href":
        return value.replace("#", f"#{name}-", 1)
    if key in ("style", "fill", "stroke"):
        for colour, on_page in _PAGE_COLOURS.items():
            value = value.replace(colour, on_page)
    return re.sub(r"url\(#", f"url(#{name}-", value)
