"""Ids in .env with which containers could not write are found before one starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from host import ids
from host.ids import Ids, check_ids, fitting_ids, ids_on_this_machine, may_write
from host.project import Project, StopError
from tests.support.program import PROJECT

ADA = Ids(1000, 1000)
Refusal = Callable[..., StopError | None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of the user who runs the tests, with an empty docker-amd64."""
    docker = tmp_path / "demo" / "docker-amd64"
    (docker / "dependencies").mkdir(parents=True)
    (docker.parent / "outputs").mkdir()
    return docker


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """A function: how a kind of engine's start is refused with ids in .env, None if it is not."""
    socket = folder.parent / "docker.sock"
    socket.touch()

    def check(kind: str, uid: int, gid: int, **env: str) -> StopError | None:
        monkeypatch.setattr(ids, "engine_kind", lambda _: kind)
        monkeypatch.setattr(ids, "engine_address", lambda: f"unix://{socket}")
        keys = {"USRID": uid, "GRPID": gid, "LOCAL_OUTPUTS_DIR": "../outputs", **env}
        text = "".join(f"{key}={value}\n" for key, value in keys.items())
        (folder / ".env").write_text(text)
        try:
            check_ids(Project(folder, PROJECT))
        except StopError as stop:
            return stop
        return None

    return check


def test_the_ids_that_the_probe_finds_are_not_refused(refused: Refusal) -> None:
    assert refused("docker", os.getuid(), os.getgid()) is None
    assert refused("docker-rootless", 0, 0) is None


def test_an_id_that_is_nobody_outside_is_refused_with_those_that_fit(refused: Refusal) -> None:
    stop = refused("docker-rootless", 1500, 1500)
    assert stop
    assert stop.name == "ids-wrong"
    assert "have to be 0:0 here" in stop.sentence
    assert stop.command.endswith(
        "env --refresh USRID GRPID USR GRP && ./docker-amd64/template.sh build"
    )
    stop = refused("docker", 4321, 4321)
    assert stop
    assert stop.name == "ids-wrong"


def test_what_is_open_to_them_is_not_refused(refused: Refusal, folder: Path) -> None:
    for one in (folder.parent, folder.parent / "outputs", folder / "dependencies"):
        one.chmod(0o777)
    assert refused("docker", 4321, 4321) is None
    assert refused("docker-rootless", 1500, 1500) is None
    (folder.parent / "outputs").chmod(0o755)
    stop = refused("docker-rootless", 1500, 1500)
    assert stop
    assert str(folder.parent / "outputs") in stop.sentence


@pytest.mark.parametrize("kind", ["docker-desktop", "podman"])
def test_engines_that_do_not_decide_by_ids_refuse_none(refused: Refusal, kind: str) -> None:
    assert refused(kind, 4321, 4321) is None
    assert refused("docker", 4321, 4321, CONTAINER_ENGINE="podman") is None


def test_ids_of_the_shell_are_taken_out_there(
    refused: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USRID", "4321")
    stop = refused("docker", os.getuid(), 4321)
    assert stop
    assert stop.command.startswith("unset USRID && ")


@pytest.mark.parametrize(
    ("kind", "address", "outside"),
    [
        ("docker", "unix:///dev/null", ADA),
        ("docker", "unix:///nowhere/docker.sock", None),
        ("docker", "ssh://ada@server", None),
        ("docker-desktop", "unix:///dev/null", None),
        ("docker-rootless", "unix:///nowhere/docker.sock", Ids(-1, -1)),
    ],
)
def test_who_a_container_is_outside_depends_on_the_engine(
    kind: str, address: str, outside: Ids | None
) -> None:
    assert ids_on_this_machine(ADA, kind, address) == outside


def test_id_0_of_a_rootless_engine_is_its_user_who_owns_the_socket(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").touch()
    status = (tmp_path / "docker.sock").stat()
    found = ids_on_this_machine(Ids(0, 0), "docker-rootless", f"unix://{tmp_path}/docker.sock")
    assert found == (status.st_uid, status.st_gid)


def test_a_folder_that_a_group_shares_needs_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o2775)
    status = tmp_path.stat()
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr(os, "getgid", lambda: 4321)
    assert not may_write(Ids(4321, 4321), tmp_path)
    assert fitting_ids("docker", tmp_path) == Ids(4321, status.st_gid)
    assert may_write(Ids(4321, status.st_gid), tmp_path)
