"""A generated project on disk, and the person who works with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import run

SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Person:
    """Somebody without privileges who may use the engine; unless root tests, whoever tests.

    Attributes:
        uid: number of the user.
        gid: number of the group.
        name: what USER says; root's tests use numbers that no user database of the machine knows.
        home: a folder of his own, for the engine's client and for git.
        more: further environment variables.
    """

    uid: int
    gid: int
    name: str
    home: Path
    more: tuple[tuple[str, str], ...] = ()

    def run(
        self,
        *command: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 3600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this person; of the environment only PATH, language and engine go along.

        Args:
            command: program and arguments.
            cwd: the folder to run it in.
            env: further environment variables.
            stdin: text for its standard input, which is empty by default and never a terminal.
            timeout: seconds until `subprocess.TimeoutExpired`.
        """
        return run(
            *self.prefix(),
            *command,
            cwd=cwd,
            env=self.environment() | dict(env or {}),
            input=stdin or "",
            timeout=timeout,
        )

    def prefix(self) -> list[str]:
        """What to put before a command so that this person runs it, in the group of the socket."""
        if os.getuid() == self.uid:
            return []
        groups = {self.gid} | ({SOCKET.stat().st_gid} if SOCKET.exists() else set())
        supplementary = ",".join(map(str, groups))
        ids = [f"--reuid={self.uid}", f"--regid={self.gid}", f"--groups={supplementary}"]
        return ["setpriv", *ids, "--"]

    def environment(self) -> dict[str, str]:
        """The environment of this person's programs."""
        passed_on = ("PATH", "LANG", "DOCKER_HOST", "DOCKER_CONTEXT")
        return {
            **{name: os.environ[name] for name in passed_on if name in os.environ},
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "TERM": "dumb",
            **dict(self.more),
        }


@dataclass(frozen=True)
class Project:
    """A generated project that belongs to a person."""

    folder: Path
    owner: Person

    @property
    def docker(self) -> Path:
        """The folder docker-amd64."""
        return self.folder / "docker-amd64"

    def sh(
        self,
        *arguments: str,
        user: Person | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 3600,
    ) -> subprocess.CompletedProcess[str]:
        """Run `template.sh ARGUMENTS` as the owner, or as `user`, in the project, or in `cwd`."""
        script = self.docker / "template.sh"
        person = user or self.owner
        folder = cwd or self.folder
        return person.run(script, *arguments, cwd=folder, env=env, stdin=stdin, timeout=timeout)

    def ok(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run `template.sh ARGUMENTS` as the owner, give its stdout; a failure shows all said."""
        result = self.sh(*arguments, env=env)
        said = f"template.sh {' '.join(arguments)}\n{result.stdout}\n{result.stderr}"
        assert result.returncode == 0, said
        return result.stdout

    def build(self, *targets: str, env: Mapping[str, str] | None = None) -> str:
        """Run `template.sh build TARGETS` as the owner; give all it says, for `build_log`."""
        result = self.sh("build", *targets, env=env)
        said = f"{result.stdout}\n{result.stderr}"
        assert result.returncode == 0, said
        return said

    def compose(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run plain `docker compose ARGUMENTS` as the owner in docker-amd64; give its stdout."""
        result = self.owner.run("docker", "compose", *arguments, cwd=self.docker, env=env)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def config(self) -> dict[str, Any]:
        """What Compose makes of the project's files, with all profiles."""
        config: dict[str, Any] = json.loads(
            self.compose("--profile", "*", "config", "--format", "json")
        )
        return config

    @property
    def engine_name(self) -> str:
        """What Compose calls this project: the labels of all that it makes have it."""
        text = (self.docker / ".env").read_text()
        return str(re.findall(r"(?m)^COMPOSE_PROJECT_NAME=(\S+)", text)[-1])

    def image(self, service: str) -> str:
        """The name of an image: runtime, dev or tools."""
        return str(self.config()["services"][service]["image"])

    def set_env(self, **values: str) -> None:
        """Write keys of .env as a person does: in the line of the key, commented or not."""
        path = self.docker / ".env"
        text = path.read_text()
        for key, value in values.items():
            line = f"{key}={value}\n"
            text, found = re.subn(
                rf"(?m)^(# )?{key}=.*\n", line.replace("\\", r"\\"), text, count=1
            )
            if not found:
                text += line
        path.write_text(text)

    def use_debians_names(self) -> None:
        """Name Debian's packages, as for a stand-in of Ubuntu, which has no others."""
        path = self.docker / "dependencies/apt-runtime.txt"
        path.write_text(path.read_text().replace("libjpeg-turbo8", "libjpeg62-turbo"))

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project, as the owner."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if os.getuid() != self.owner.uid:
            os.chown(file, self.owner.uid, self.owner.gid)
        return file
