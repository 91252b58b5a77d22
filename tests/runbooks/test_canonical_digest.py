"""The canonical digest: the same for what says the same, another for whatever says anything else."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from release_stage import Archive

from suite.checks.result import MIME
from suite.runbooks.digest import canonical, generated, of_json, of_notebook, sources

KEYS = st.text(max_size=6)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12)
OUTPUT = st.fixed_dictionaries({"output_type": st.sampled_from(["stream", "display_data"])}, optional={
    "text": st.text(max_size=6), "metadata": st.dictionaries(KEYS, PLAIN, max_size=2),
    "data": st.dictionaries(st.sampled_from([MIME, "text/plain", "text/html", "image/png"]), JSON, max_size=3)})
CELL = st.fixed_dictionaries({"cell_type": st.sampled_from(["code", "markdown"]), "source": st.text(max_size=8)}, optional={
    "metadata": st.fixed_dictionaries({}, optional={"tags": st.lists(st.sampled_from(["parameters", "not-run", "x"]), max_size=2), "a": PLAIN}),
    "outputs": st.lists(OUTPUT, max_size=2), "execution_count": st.none() | st.integers(0, 9), "id": st.text(max_size=3)})
NOTEBOOK = st.fixed_dictionaries({"cells": st.lists(CELL, max_size=4)}, optional={"metadata": st.dictionaries(KEYS, JSON, max_size=2)})


@given(JSON)
def test_the_order_of_keys_and_a_trip_through_a_file_change_nothing(value: Any) -> None:
    assert canonical(json.loads(json.dumps(value))) == canonical(value) == canonical(json.loads(canonical(value)))
    if isinstance(value, dict):
        assert of_json(dict(reversed(value.items()))) == of_json(value)


@given(JSON, JSON)
def test_values_that_differ_have_digests_that_differ(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (of_json(one) == of_json(other)) is same


@given(NOTEBOOK, NOTEBOOK)
def test_every_edit_of_a_notebook_changes_its_whole_digest(one: Any, other: Any) -> None:
    assert (of_notebook(one).whole == of_notebook(other).whole) is (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


@given(NOTEBOOK, st.integers(0, 9), st.text(max_size=4), JSON)
def test_ids_counts_times_and_metadata_are_not_content(notebook: Any, count: int, name: str, anything: Any) -> None:
    other = copy.deepcopy(notebook)
    other["metadata"] = {"papermill": anything}
    for cell in other["cells"]:
        cell |= {"execution_count": count, "id": name, "metadata": {**cell.get("metadata", {}), "papermill": anything}}
        for output in cell.get("outputs", []):
            output["metadata"] = {"x": anything}
    assert of_notebook(other).content == of_notebook(notebook).content


@given(NOTEBOOK, st.data())
def test_a_source_an_output_or_a_tag_is_content(notebook: Any, data: Any) -> None:
    notebook["cells"].append({"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream", "text": "y"}], "metadata": {"tags": ["x"]}})
    other = copy.deepcopy(notebook)
    cell = other["cells"][-1]
    data.draw(st.sampled_from([lambda: cell.update(source="z"), lambda: cell["outputs"][0].update(text="z"), lambda: cell.update(outputs=[]),
                               lambda: cell.update(cell_type="markdown"), lambda: cell.update(metadata={}), lambda: other["cells"].pop()]))()
    assert of_notebook(other).content != of_notebook(notebook).content


@given(NOTEBOOK)
def test_lines_and_one_piece_of_text_are_the_same_source(notebook: Any) -> None:
    other = copy.deepcopy(notebook)
    for cell in other["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    assert sources(other) == sources(notebook) and len(sources(notebook)) == sum(not generated(cell) for cell in notebook["cells"])


def test_two_executions_with_the_same_outcome_have_one_content(tmp_path: Any) -> None:
    archive = Archive(tmp_path)
    one, other = (json.loads((archive.make(name) / "phase2_health.ipynb").read_bytes()) for name in ("R1", "R2"))
    assert of_notebook(one).whole != of_notebook(other).whole  # the records carry the times of their checks
    assert of_notebook(one).content == of_notebook(other).content
    broken = json.loads((archive.make("R3", broken=["P2.4"]) / "phase2_health.ipynb").read_bytes())
    assert of_notebook(broken).content != of_notebook(one).content and of_notebook(broken).sources == of_notebook(one).sources
