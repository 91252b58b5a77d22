"""Charts and tables as plain strings."""

from __future__ import annotations

import re
from base64 import b64decode
from html import unescape
from xml.etree import ElementTree

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
