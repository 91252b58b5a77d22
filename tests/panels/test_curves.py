"""Charts of panels: what is drawn, what is left out, and how a number is written."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from suite.panels.curves import COLOURS, LIMIT, NAMED, POINTS, Curve, amounts, bar, curves, figure, still, table


def line(values: list[float], name: str = "one", step: float = 1.0) -> Curve:
    return Curve(name, [place * step for place in range(len(values))], values)


def paths(svg: str, colour: str = COLOURS[0]) -> list[str]:
    """The lines of a colour; the picture must be well-formed, because as an image it is not drawn otherwise."""
    ElementTree.fromstring(svg)
    return re.findall(rf'<path d="([^"]*)" fill="none" stroke="{colour}"', svg)


def heights(path: str) -> list[float]:
    return [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]


def test_a_line_runs_over_the_whole_span_and_its_scale_ends_at_a_round_number() -> None:
    svg = curves("Rate", [line([0, 4, 8])], "per_second", (0, 2))
    assert paths(svg) == ["M58.0 126.0L223.0 86.0L388.0 46.0"] and ">10/s<" in svg and ">5/s<" in svg and ">one 8/s<" in svg
    assert ">00:00:00<" in svg and ">00:00:02 UTC<" in svg


@pytest.mark.parametrize(("times", "values", "stretches"), [
    ([0, 1, 2, 3, 4], [1, 1, math.nan, 1, 1], 2), ([0, 1, 2, 3, 13, 14], [1] * 6, 2), ([0, 1, 2, 3, 4], [1] * 5, 1), ([5], [1], 1),
])
def test_a_gap_is_no_line(times: list[float], values: list[float], stretches: int) -> None:
    (path,) = paths(curves("x", [Curve("one", times, values)], "count", (0, 14)))
    assert path.count("M") == stretches


def test_of_many_samples_the_peaks_are_drawn_and_older_ones_are_not() -> None:
    values = [0.0] * 5000
    values[3210] = 1.0
    (path,) = paths(curves("x", [line(values)], "ratio", (0, 5000), most=1.0))
    assert 100 < len(heights(path)) <= POINTS and min(heights(path)) == 26.0
    (later,) = paths(curves("x", [line(values)], "ratio", (4000, 5000), most=1.0))
    assert min(heights(later)) == 126.0 and len(heights(later)) < 60


def test_what_is_beyond_the_scale_stays_on_the_chart() -> None:
    (path,) = paths(curves("x", [line([-3.0, 7.0])], "ratio", (0, 1), most=1.0))
    assert heights(path) == [126.0, 26.0]


def test_a_limit_is_a_broken_line_and_without_data_it_says_so() -> None:
    svg = curves("Memory", [], "ratio", (0, 60), limit=0.9, most=1.0)
    assert f'd="M58 36.0H388" stroke="{LIMIT}" stroke-dasharray' in svg and "no data yet" in svg
    assert "stroke-dasharray" not in curves("Memory", [], "ratio", (0, 60), most=1.0)


def test_of_too_many_lines_the_largest_are_drawn_in_their_own_order_and_the_others_counted() -> None:
    svg = curves("x", [line([float(place)], f"line {place}") for place in range(NAMED + 3)], "count", (0, 1))
    assert "and 3 more" in svg and "line 2 " not in svg and svg.index("line 3 ") < svg.index("line 8 ")
    assert [len(paths(svg, colour)) for colour in COLOURS] == [1] * NAMED


def test_names_cannot_bring_markup_and_a_still_picture_has_colours_of_its_own() -> None:
    svg = curves("<b>", [line([1.0], '<script a="1">')], "count", (0, 1))
    assert "<b>" not in svg and "<script" not in svg and "background" not in svg and 'fill="currentColor"' in svg
    image = curves("x", [], "count", (0, 1), still=True)
    assert "background:#fff;color:#1f2328" in image
    assert still(image, 'a "word"').startswith('<img src="data:image/svg+xml;base64,') and "&quot;word&quot;" in still(image, 'a "word"')


def test_a_bar_changes_its_colour_beyond_the_limit_and_never_leaves_its_frame() -> None:
    assert f'width="120.0" height="14" rx="2" fill="{COLOURS[0]}"' in bar(0.5, 0.9)
    assert f'width="240.0" height="14" rx="2" fill="{LIMIT}"' in bar(1.7, 0.9)
    assert 'd="M217 0V20"' in bar(0.0, 0.9) and "50%" in bar(0.5, 0.9)


def test_amounts_are_bars_a_single_one_is_a_number() -> None:
    two = amounts("Roles", [line([1.0], "admin"), line([2.0], "developer"), line([math.nan], "nobody")], "count")
    assert 'width="90.0" height="15"' in two and 'width="180.0" height="15"' in two and "nobody" not in two
    assert ">41 %<" in amounts("Decided in time", [line([0.41])], "ratio") and "no data yet" in amounts("x", [], "count")
    assert 'width="1.0"' in amounts("x", [line([0.0], "a"), line([0.0], "b")], "count")
    for svg in (two, amounts("x", [], "count", still=True)):
        ElementTree.fromstring(svg)


def test_the_table_has_the_newest_the_least_and_the_most() -> None:
    assert table([line([2.0, math.nan, 0.5]), line([1.0, math.nan])], "seconds") == [("one", "500 ms", "500 ms", "2 s"), ("one", "–", "1 s", "1 s")]
    assert table([line([])], "count") == [("one", "–", "–", "–")]


@pytest.mark.parametrize(("value", "unit", "words"), [
    (0.1234, "ratio", "12.3 %"), (1.0, "ratio", "100 %"), (0.012, "seconds", "12 ms"), (61.0, "seconds", "61 s"), (0, "bytes", "0 B"),
    (1536, "bytes", "1.5 KiB"), (1020 * 1024, "bytes", "1020 KiB"), (141 << 20, "bytes", "141 MiB"), (6 << 30, "bytes", "6 GiB"),
    (5 << 40, "bytes", "5,120 GiB"), (12.0, "count", "12"), (1234567.0, "count", "1,234,567"), (0.25, "per_second", "0.25/s"), (45, "celsius", "45 °C"),
    (27.5, "watts", "27.5 W"), (2.0, "per_hour", "2/h"), (None, "ratio", "–"), (math.nan, "bytes", "–"), (math.inf, "seconds", "–"),
])
def test_a_number_is_written_shortly_with_its_unit(value: float | None, unit: str, words: str) -> None:
    assert figure(value, unit) == words


def test_a_scale_of_bytes_ends_at_whole_units() -> None:
    assert ">5 GiB<" in curves("x", [line([3.1 * 2 ** 30])], "bytes", (0, 1))
