"""Containers read data and do not change it, by either of its paths, until one key says so."""

from __future__ import annotations

from tests.support.project import Project

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
