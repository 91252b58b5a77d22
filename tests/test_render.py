"""Charts and tables as plain strings."""

from __future__ import annotations

import re
from base64 import b64decode
from html import unescape
from xml.etree import ElementTree

import pytest

from suite import render


def test_panels_draw_each_measure_on_its_own_scale_with_its_numbers() -> None:
    svg = render.panels(["cold <a>", "warm"], [("tokens/s", [50.0, 100.0]), ("ms to the first token", [1234.5, None])], title="Two settings")
    tree = ElementTree.fromstring(svg)
    texts = [node.text for node in tree.iter() if node.tag.endswith("text")]
    assert {"Two settings", "cold <a>", "warm", "tokens/s", "ms to the first token", "50", "100", "1,234", "–"} <= set(texts)
    lengths = [float(node.get("width")) for node in tree.iter() if node.tag.endswith("rect")]
    assert lengths[1] == 2 * lengths[0] and lengths[2] == lengths[1] and lengths[3] == 0.0


def test_panels_hold_every_label_whole() -> None:
    svg = render.panels(["a very long name of a setting", "둘째 설정"], [("x", [0.0, 0.0])])
    first = min(float(x) for x in re.findall(r'<rect x="([0-9.]+)"', svg))
    assert first > 7 * len("a very long name of a setting")
    assert "<title>x</title>" in svg and "nan" not in svg


def test_a_chart_is_an_image_that_an_untrusted_notebook_shows_and_a_table_in_words() -> None:
    drawing = render.chart(["cold", "<warm>"], [("tokens/s", [50.0, None])], title="Two & two")
    image = re.fullmatch(r'<img src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)" alt="([^"]*)" style="max-width:100%">', drawing._repr_html_())
    assert image is not None and b64decode(image[1]).decode() == drawing.svg == render.panels(["cold", "<warm>"], [("tokens/s", [50.0, None])], "Two & two")
    assert repr(drawing) == "Two & two\n        tokens/s\ncold    50\n<warm>  –" and unescape(image[2]) == repr(drawing)


def test_columns_are_stacked_on_the_line_with_their_marks() -> None:
    svg = render.columns([-1.0, 0.0, 1.0], [("own", [4, 0, 2]), ("<failed>", [0, 2, 2])], "seconds", "Requests", [(0.5, "whole & well")])
    root = ElementTree.fromstring(svg)
    rects = [rect.attrib for rect in root.iter("{http://www.w3.org/2000/svg}rect")][2:]
    tall = [float(rect["height"]) for rect in rects]
    assert tall[0] == tall[4] + tall[5] == 2 * tall[3] and tall[1] == tall[2] == 0
    floors = [float(rect["y"]) + float(rect["height"]) for rect in rects]
    assert floors[5] == pytest.approx(float(rects[4]["y"]), abs=0.2) and floors[0] == floors[4]
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"own", "<failed>", "whole & well", "Requests", "seconds"} <= set(texts)
    [line] = root.iter("{http://www.w3.org/2000/svg}line")
    assert float(rects[2]["x"]) < float(line.attrib["x1"]) < float(rects[4]["x"])
    assert render.columns([], [], "seconds") == ""
