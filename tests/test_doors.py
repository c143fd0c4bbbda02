"""`doors` finds what differs between the ways into a container, and nothing that belongs to one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from host import doors, measure
from host.doors import OWN, differences, reason
from host.project import Project
from host.room import shown
from tests.support.program import PROJECT


def room(*, umask: str = "0022", **environment: str) -> dict[str, Any]:
    """A room as room.py describes it."""
    return {"user": "jane", "umask": umask, "environment": {"PATH": "/bin", **environment}}


def test_what_belongs_to_a_door_is_no_difference() -> None:
    rooms = {"exec": room(TEMPLATE_SH="./t.sh"), "ssh": room(SSH_CLIENT="::1", SHLVL="1")}
    assert differences(rooms, OWN) == []


def test_every_door_is_named_for_what_is_not_the_same() -> None:
    rooms = {"exec": room(A="1"), "ssh": room(umask="0077"), "run": room(A="1", B="")}
    assert differences(rooms, OWN | {"B"}) == [
        ("$A", "exec", "1"),
        ("$A", "ssh", "(not set)"),
        ("$A", "run", "1"),
        ("umask", "exec", "0022"),
        ("umask", "ssh", "0077"),
        ("umask", "run", "0022"),
    ]


def test_one_door_alone_differs_from_nothing() -> None:
    assert differences({"exec": room()}, OWN) == []
    assert differences({}, OWN) == []


def test_a_closed_door_has_the_line_that_says_why() -> None:
    assert reason("\nhearth: dev does not run\n  hint\n") == "hearth: dev does not run"
    traceback = 'Traceback (most recent call last):\n  File "x"\nRuntimeError: no kernel\n'
    assert reason(f"warning\n{traceback}") == "RuntimeError: no kernel"
    assert reason(" \n") == ""


def test_verify_compares_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    measure.verify_options(parser)
    given = parser.parse_args(["--doors", "--json"])
    monkeypatch.setattr(doors, "do_doors", lambda _, options: 4 if options is given else 0)
    assert measure.do_verify(Project(Path(), PROJECT), given) == 4


def test_no_door_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "HF_TOKEN").write_text("hf_canary$1\n")
    (tmp_path / "PIN").write_text("1")
    (tmp_path / "LINES").write_text("first one\nsecond\n")
    (tmp_path / "folder").mkdir()
    found = shown(
        {
            "HF_TOKEN": "hf_canary$1",
            "URL": "https://x:hf_canary$1@host",
            "PIN": "1",
            "N": "11",
            "LINES": "first one\nsecond",
        },
        tmp_path,
    )
    assert "canary" not in str(found)
    assert found["URL"] == f"https://x:<{tmp_path}/HF_TOKEN>@host"
    assert found["PIN"] == f"<{tmp_path}/PIN>"
    assert found["LINES"] == f"<{tmp_path}/LINES>"
    assert found["N"] == "11"
