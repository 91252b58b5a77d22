"""An indexing run that is killed loses nothing and doubles nothing; many more moments are tried by hand (see .ci/full)."""

from __future__ import annotations

import random

import killed_index


def test_an_indexing_run_that_is_killed_at_a_random_moment_is_mended_by_the_next(tmp_path):
    seed = random.randrange(1 << 30)
    done = killed_index.rounds(2, seed, tmp_path)
    assert len(done) == 2 and all(one.whole for one in done), (seed, done)
