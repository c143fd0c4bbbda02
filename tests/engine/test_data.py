"""Folders of this machine in containers: data read-only until a key says so, and shared models."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.project import SOCKET, Project

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('mine')"


def test_data_is_read_only_until_a_key_says_otherwise(plain_project: Project) -> None:
    plain_project.write("data/set.txt", "42\n")
    try:
        plain_project.ok("up")
        for start in ("exec", "run"):
            assert plain_project.ok(start, "cat", "/data/set.txt", "data/set.txt") == "42\n42\n"
            for path in ("/data/set.txt", "/workspace/data/new", "/data/new"):
                said = plain_project.sh(start, "python", "-c", WRITE, path)
                assert said.returncode == 1
                assert "OSError: [Errno 30] Read-only file system" in said.stderr
            assert plain_project.sh(start, "rm", "-rf", "data").returncode == 1
            plain_project.ok(start, "touch", "/outputs/mine", "/workspace/mine")
        # A further disk has its place in data; nobody else could make it.
        mounted = ("run", "-v", f"{plain_project.docker}/host:/data/more/x:ro")
        assert plain_project.ok(*mounted, "ls", "/data/more/x")
        place = plain_project.folder / "data/more/x"
        assert place.stat().st_uid == plain_project.owner.uid
        plain_project.ok("env", "--set", "DATA_READ_ONLY=false")
        plain_project.ok("up")
        for path in ("/data/by exec", "/workspace/data/here"):
            plain_project.ok("exec", "python", "-c", WRITE, path)
        plain_project.ok("run", "python", "-c", WRITE, "/data/by run")
        data = plain_project.folder / "data"
        assert {"by exec", "here", "by run", "set.txt"} <= {one.name for one in data.iterdir()}
    finally:
        plain_project.ok("env", "--set", "DATA_READ_ONLY=true")
        plain_project.ok("down")


def test_an_env_of_before_keeps_data_writable(plain_project: Project) -> None:
    env = plain_project.docker / ".env"
    now = env.read_text()
    lines = [one for one in now.splitlines() if not one.startswith("DATA_READ_ONLY=")]
    plain_project.write("docker-amd64/.env", "\n".join([*lines, ""]))
    try:
        for _ in range(2):
            plain_project.ok("run", "touch", "/data/mine", "/workspace/data/mine")
            plain_project.ok("env")
        assert "DATA_READ_ONLY=false\n" in env.read_text()
    finally:
        plain_project.write("docker-amd64/.env", now)


def test_models_in_a_shared_folder_belong_to_its_group(
    plain_project: Project, open_folder: Path
) -> None:
    folder = open_folder / "shared models"
    folder.mkdir()
    if os.getuid() == 0:  # somebody else's, with a group that the user has beside the first one
        os.chown(folder, 0, SOCKET.stat().st_gid)
    folder.chmod(0o2770)
    try:
        plain_project.ok("env", "--set", f"SHARED_CACHE_DIR={folder}")
        plain_project.ok("up")
        make = 'mkdir -p "$HF_HUB_CACHE" && touch "$HF_HUB_CACHE/model"'
        plain_project.ok("run", "sh", "-c", make)
        plain_project.ok("exec", "sh", "-c", 'ls "$HF_HUB_CACHE/model" && mkdir "$TORCH_HOME"')
        for path in (folder / "huggingface/hub/model", folder / "torch"):
            assert path.stat().st_gid == folder.stat().st_gid
            assert path.stat().st_uid == plain_project.owner.uid
        folder.rename(folder.with_name("moved"))
        said = plain_project.sh("run", "true")
        assert "failure: shared-cache-missing" in said.stderr
    finally:
        plain_project.ok("env", "--set", "SHARED_CACHE_DIR=")
        plain_project.ok("down")
