"""What tests read from the log of a build."""

from __future__ import annotations

import pytest

from tests.support.build_log import nothing_built, stages_built

FIRST = """#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#2 [os 1/1] FROM docker.io/library/debian:bookworm-slim
#2 DONE 0.2s

#3 [runtime wheels 2/3] COPY --from=lock /opt/dependencies/wheel[s] ./wheels/
#3 DONE 0.1s

#4 [runtime deps 1/1] RUN uv sync
#4 CACHED
"""


def test_a_stage_is_built_of_which_a_step_was_executed() -> None:
    assert stages_built(FIRST) == {"wheels"}
    assert stages_built(FIRST.replace("#4 CACHED", "#4 1.5 Resolved\n#4 DONE 2.0s")) == {
        "wheels",
        "deps",
    }


def test_each_build_of_a_log_counts_its_steps_from_one() -> None:
    assert stages_built(FIRST + FIRST.replace("#3 DONE 0.1s", "#3 CACHED")) == {"wheels"}


def test_a_step_that_a_build_at_the_same_time_executed_is_not_this_ones() -> None:
    ours = "#5 [wheels 2/3] COPY --from=lock /opt/dependencies/wheel[s] ./wheels/\n#5 CACHED\n"
    assert stages_built(FIRST + ours) == set()


def test_nor_is_one_that_differs_only_by_the_name_of_a_cache() -> None:
    run = "[lock 5/5] RUN --mount=type=cache,id={}-uv-debian-12,target=/var/cache/uv uv lock\n"
    theirs = f"#8 {run.format('old-times')}#8 DONE 0.5s\n"
    ours = f"#9 {run.format('on-a-pin')}#9 CACHED\n"
    assert stages_built(FIRST + theirs) == {"wheels", "lock"}
    assert stages_built(FIRST + theirs + ours) == {"wheels"}


def test_of_builds_that_should_build_nothing_one_may_find_its_cache_dropped() -> None:
    nothing = FIRST.replace("#3 DONE 0.1s", "#3 CACHED")
    assert stages_built(nothing) == set()
    logs = [FIRST, nothing, "not asked for"]
    made = [lambda log=log: log for log in logs]
    assert nothing_built(*made)
    assert not nothing_built(made[0], made[0])


def test_a_log_without_a_build_is_not_one_that_built_nothing() -> None:
    with pytest.raises(AssertionError, match="no step"):
        stages_built("Cannot connect to the Docker daemon")
