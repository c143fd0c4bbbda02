"""A cache of models that users share: mounted where .env names it, with the rights of its group."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from host import shared_cache
from host.project import CACHE_FILE, Project, StopError
from host.shared_cache import share_cache
from tests.support.program import PROJECT

ENV = "COMPOSE_FILE=compose.yaml\nUSRID=1234\nGRPID=1234\n"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-amd64 of a project, beside a folder for models whose group the user has."""
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    (tmp_path / "big $disk").mkdir()
    group = (tmp_path / "big $disk").stat().st_gid
    monkeypatch.setattr(shared_cache, "groups_here", lambda _: {group, 1234})
    folder = tmp_path / "docker-amd64"
    folder.mkdir()
    (folder / "compose.yaml").touch()
    return folder


def shared(docker: Path, *lines: str) -> dict[str, Any]:
    """What dev gets with these lines in .env; nothing without an override file."""
    (docker / ".env").write_text("\n".join([ENV, *lines, ""]))
    share_cache(Project(docker, PROJECT))
    file, named = docker / CACHE_FILE, CACHE_FILE in (docker / ".env").read_text()
    assert file.is_file() == named
    read: dict[str, Any] = yaml.safe_load(file.read_text()) if named else {"services": {"dev": {}}}
    return dict(read["services"]["dev"])


def test_models_are_shared_only_if_a_key_says_where(docker: Path, tmp_path: Path) -> None:
    assert shared(docker) == {}
    dev = shared(docker, "SHARED_CACHE_DIR='../big $disk'")
    (volume,) = dev["volumes"]
    # Compose reads two dollar signs as one.
    assert volume["source"] == f"{tmp_path}/big $disk".replace("$", "$$")
    assert not volume["bind"]["create_host_path"]
    assert all(path.startswith(volume["target"] + "/") for path in dev["environment"].values())
    assert "HF_HOME" not in dev["environment"]  # it has the token
    assert shared(docker) == {}


def test_the_user_gets_the_group_of_the_folder_if_it_is_theirs(
    docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "SHARED_CACHE_DIR='../big $disk'"
    group = str((tmp_path / "big $disk").stat().st_gid)
    assert shared(docker, line)["group_add"] == [group]
    assert "group_add" not in shared(docker, line, f"GRPID={group}")
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert "group_add" not in shared(docker, line, "USRID=0")  # a rootless engine
    monkeypatch.setattr(shared_cache, "groups_here", lambda _: {1234})
    assert "group_add" not in shared(docker, line)


def test_a_folder_that_is_not_there_or_not_writable_is_one_sentence(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StopError) as caught:
        shared(docker, "SHARED_CACHE_DIR=/no/where")
    assert caught.value.name == "shared-cache-missing"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert shared(docker, "SHARED_CACHE_DIR='../big $disk'")["volumes"]
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "group"), [(0o2775, None), (0o2775, 5), (0o2775, 7), (0o775, None)]
)
def test_a_group_that_cannot_add_to_new_files_gets_the_command(
    docker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: int,
    group: int | None,
) -> None:
    folder = docker.parent / "big $disk"
    folder.chmod(mode)

    def getxattr(path: str, name: str) -> bytes:
        assert (path, name) == (str(folder), "system.posix_acl_default")
        if group is None:
            raise OSError(errno.ENODATA, "No data available")
        # As Linux has it after setfacl -m d:g::RIGHTS,d:o::rx. Not every disk of tests keeps such.
        entries = [struct.pack("<HHI", *one, 2**32 - 1) for one in ((1, 7), (4, group), (32, 5))]
        return struct.pack("<I", 2) + b"".join(entries)

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert shared(docker, "SHARED_CACHE_DIR='../big $disk'")["volumes"]
    told = f"setfacl -m d:g::rwx,d:o::rx '{folder}'\n" in capsys.readouterr().err
    assert told == (mode == 0o2775 and group != 7)
