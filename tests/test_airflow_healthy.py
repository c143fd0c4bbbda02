"""The health check of Airflow's containers: soon at the start, seldom afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import healthy
import pytest
import start

from tests.conftest import ROOT

COMPOSE = ROOT / "template/docker-amd64/compose.yaml.jinja"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """The pauses that checks make, in a container whose api-server answers and that starts at 7."""
    made: list[float] = []
    monkeypatch.setattr(healthy, "SEEN", str(tmp_path / "healthy"))
    monkeypatch.setattr(healthy, "this_start", lambda: "7")
    monkeypatch.setattr(healthy, "ask", lambda _: {"scheduler": {"status": "healthy"}})
    clock = [100.0]

    def sleep(seconds: float) -> None:
        made.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(healthy, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    return made


def test_a_start_is_seen_at_once_and_what_works_is_asked_seldom(pauses: list[float]) -> None:
    assert healthy.check("scheduler")
    assert pauses == []
    assert healthy.check("scheduler")
    assert pauses == [healthy.PAUSE]


def test_one_check_asks_until_a_start_is_over(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["", "unhealthy"])

    def ask(_: str) -> dict[str, dict[str, str]]:
        status = next(answers, "healthy")
        if not status:
            raise ConnectionRefusedError
        return {"scheduler": {"status": status}}

    monkeypatch.setattr(healthy, "ask", ask)
    assert healthy.check("scheduler")
    assert pauses == [healthy.STEP] * 2


def test_what_works_again_is_seen_at_once(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert healthy.check("scheduler")
    with monkeypatch.context() as broken:
        broken.setattr(healthy, "ask", lambda _: {"scheduler": {"status": "unhealthy"}})
        assert not healthy.check("scheduler")
        assert pauses == [healthy.PAUSE]
        assert not healthy.check("scheduler")
        assert sum(pauses) == 2 * healthy.PAUSE
    before = [*pauses]
    assert healthy.check("scheduler")
    assert pauses == before
    # A container that was started again has the file of its former start.
    monkeypatch.setattr(healthy, "this_start", lambda: "8")
    assert healthy.check("scheduler")
    assert pauses == before


def test_a_worker_is_healthy_when_it_has_registered(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert healthy.PID == start.PID
    file = tmp_path / "pid"
    monkeypatch.setattr(healthy, "PID", str(file))
    monkeypatch.setattr(healthy, "ask", lambda _: {"metadatabase": {"status": "healthy"}})
    assert not healthy.check("worker")
    # A file that a killed worker left, and whose number another program has now.
    file.write_text(f"{os.getpid()}\n")
    assert not healthy.registered()
    program = "import sys; print('here', flush=True); sys.stdin.read()"
    words = (sys.executable, "-c", program, "airflow edge worker: project")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as worker:  # type: ignore[call-overload]
        assert worker.stdout.readline()  # before, Linux may not know its words yet
        file.write_text(f"{worker.pid}\n")
        assert healthy.check("worker")
    assert not healthy.registered()
    assert pauses


def test_a_check_may_take_as_long_as_its_pause() -> None:
    (limit,) = re.findall(r"timeout: (\d+)s", COMPOSE.read_text())
    assert int(limit) > healthy.PAUSE + 2 * healthy.TIMEOUT
    assert healthy.this_start().isdigit()
