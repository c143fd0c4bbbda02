"""A stand-in for a cluster: a scheduler's module, and its client, a program on PATH.

The client writes down its words, prints the answer that the file `answer` has, and fails if there
is none. So what a real client does beyond that is not proven by it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from host.clusters.job import Code, Image, Job, Record, Scheduler
from host.clusters.site import Site
from host.project import Project, StopError
from tests.support.program import PROJECT

CLIENT = "stand-in-client"
PROGRAM = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$0.calls"
cat "$0.answer" || exit 1
"""
IMAGE = Image("registry.example/team/demo:latest", f"sha256:{'1a' * 32}", f"sha256:{'2b' * 32}")
CODE = Code(Path("/shared/code/demo-1a2b3c4d5e6f"), "1a2b3c4d5e6f" + "0" * 28)


def project_with(folder: Path, *clusters: str, accelerator: str = "cpu") -> Project:
    """A project with clusters, of which only docker-amd64 is there."""
    docker = folder / "my work" / "docker-amd64"
    docker.mkdir(parents=True)
    (docker / ".env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    return Project(docker, {**PROJECT, "accelerator": accelerator, "clusters": list(clusters)})


class Cluster:
    """A cluster of a name, with the stand-ins for its scheduler and its client.

    Attributes:
        client: the program.
        states: what the scheduler says of jobs by their names; an error is raised.
        cancelled: the jobs that it was asked to end.
    """

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, folder: Path):
        """Put the client on PATH, and the scheduler where its module is looked for."""
        self.name = name
        self.client = folder / "bin" / f"{CLIENT}-{name}"
        self.client.parent.mkdir(exist_ok=True)
        self.client.write_text(PROGRAM)
        self.client.chmod(0o755)
        self.answer("4711\n")
        monkeypatch.setenv("PATH", f"{self.client.parent}{os.pathsep}{os.environ['PATH']}")
        self.states: dict[str, str] | StopError = {}
        self.cancelled: list[str] = []
        self.patch = monkeypatch
        self.scheduler = Scheduler(
            client=self.client.name,
            kind_of_image=lambda _: "registry",
            shared_code=lambda *_: "",
            check=lambda *_: None,
            files=self.files,
            submit=self.submit,
            states=self.said,
            logs=self.logs,
            cancel=lambda _project, _site, record: self.cancelled.append(record.name),
            enter=lambda job, number: (f"enter {job.request.door} {number}",),
        )
        self.install()

    def install(self, **changed: Any) -> None:
        """Make this the scheduler of the name, with some of its functions changed."""
        module: Any = ModuleType(f"host.clusters.{self.name}")
        module.SCHEDULER = self.scheduler._replace(**changed)
        module.KEYS = {}
        self.patch.setitem(sys.modules, module.__name__, module)

    def answer(self, text: str | None) -> None:
        """What the client prints; None lets it fail."""
        file = self.client.with_name(f"{self.client.name}.answer")
        if text is None:
            file.unlink()
        else:
            file.write_text(text)

    @property
    def calls(self) -> list[str]:
        """The words of each call of the client."""
        file = self.client.with_name(f"{self.client.name}.calls")
        return file.read_text().splitlines() if file.exists() else []

    def files(self, job: Job) -> dict[str, str]:
        """A file of the scheduler, and one that it needs beside it."""
        command = " ".join(job.request.command)
        return {"job.sh": f"#!/bin/sh\n{command}\n", "environment.toml": "image = 1\n"}

    def submit(self, job: Job) -> str:
        """Hand the first file over."""
        words = [self.client.name, str(job.folder / "job.sh")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StopError("The stand-in has refused the job.", "true", name="stand-in")
        return done.stdout.strip()

    def said(self, _project: Project, _site: Site, _records: tuple[Record, ...]) -> dict[str, str]:
        """The states of jobs."""
        if isinstance(self.states, StopError):
            raise self.states
        return self.states

    def logs(self, _project: Project, _site: Site, record: Record, follow: bool) -> int:
        """What a job has printed: its name and whether it is followed."""
        print(f"{record.id} {follow}")
        return 3
