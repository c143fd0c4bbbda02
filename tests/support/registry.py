"""A container registry on 127.0.0.1: Docker's own server, from Debian's package docker-registry."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.process import run

PROGRAM = "docker-registry"
# Docker speaks plain HTTP to addresses of 127.0.0.0/8 without being told to.
CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/store}}}}
http: {{addr: "{address}"}}
"""
AUTH = "auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}\n"
MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json"


def registry_problem() -> str | None:
    """Why there can be no registry here, in one sentence; None when there can."""
    if shutil.which(PROGRAM) is None:
        return f"there is no {PROGRAM} (Debian's package of that name)"
    return None


@dataclass
class Registry:
    """A registry that can be stopped and started again; what it stores stays.

    Attributes:
        folder: where it keeps its configuration and images.
        password: whether it asks for one; nobody has it.
    """

    folder: Path
    password: bool = False
    address: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it on the port that it had before, or on a free one; return when it answers."""
        if not self.address:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.address = f"127.0.0.1:{free.getsockname()[1]}"
        (self.folder / "htpasswd").write_text("")
        config = CONFIG + (AUTH if self.password else "")
        path = self.folder / "config.yml"
        path.write_text(config.format(folder=self.folder, address=self.address))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", path], stdout=log, stderr=log)
        end = time.monotonic() + 100
        while not self._answers():
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; whoever asks it then is refused the connection."""
        if self._process:
            self._process.terminate()
            self._process.wait(100)
            self._process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """No registry for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def tags(self, repository: str) -> set[str]:
        """The tags of a repository that it holds."""
        with urllib.request.urlopen(f"{self._url}{repository}/tags/list") as answer:  # noqa: S310
            return set(json.load(answer)["tags"])

    def digest(self, repository: str, tag: str) -> str:
        """The digest of a tag, as the registry says it."""
        request = urllib.request.Request(  # noqa: S310
            f"{self._url}{repository}/manifests/{tag}", method="HEAD", headers={"Accept": MANIFESTS}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return str(answer.headers["Docker-Content-Digest"])

    def push(self, image: str, repository: str, tag: str) -> str:
        """Push a local image under a name; give its digest. The local image gets no new name."""
        name = f"{self.address}/{repository}:{tag}"
        for command in (["tag", image, name], ["push", "--quiet", name]):
            result = run("docker", *command)
            assert result.returncode == 0, result.stderr
        self.forget()
        return self.digest(repository, tag)

    def forget(self) -> None:
        """Take the engine's names for images of this registry away, tags and digests alike."""
        row = "{{.Repository}} {{.Tag}} {{.Digest}}"
        for line in run("docker", "image", "ls", "--digests", "--format", row).stdout.splitlines():
            repository, tag, digest = line.split()
            if repository.startswith(f"{self.address}/"):
                name = f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}"
                run("docker", "image", "rm", name)

    @property
    def _url(self) -> str:
        return f"http://{self.address}/v2/"

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self._url, timeout=10).close()  # noqa: S310
        except urllib.error.HTTPError:  # it asks for a password
            return True
        except OSError:
            return False
        return True
