"""Some of the damaged model files, others each day; `.ci/full` runs a thousand (tests/damaged_gguf.py)."""

from __future__ import annotations

import datetime
import random

from damaged_gguf import SMALL, Model, damaged, examine

from suite.serving import trial
from suite.serving.weights import check

FILES = 120


def test_the_undamaged_ones_load(tmp_path):
    for family in ("llama", "qwen2"):
        path = tmp_path / f"{family}.gguf"
        path.write_bytes(Model(family, random.Random(1)).bytes())
        assert trial.ensure(check(path), SMALL, tmp_path) > 0


def test_no_damaged_file_ends_a_process_that_is_not_a_trial(tmp_path):
    seed = datetime.date.today().toordinal() * 1000
    ends, killed = examine(FILES, seed, tmp_path)
    assert sum(ends.values()) == FILES
    total = {end: sum(number for (_, which), number in ends.items() if which == end) for end in {end for _, end in ends}}
    assert "KILLED THE REAL LOAD" not in total, (seed, killed)
    # the check is what should see them: a trial that dies is the last line of defence
    assert total["refused by the check"] > FILES / 3 and total.get("killed the trial child", 0) < FILES / 20, (seed, total, killed)
    assert total["works"] > 0  # some damage harms nothing


def test_a_seed_gives_the_same_file_again():
    assert damaged(7) == damaged(7) and len({damaged(seed)[1] for seed in range(20)}) == 20
