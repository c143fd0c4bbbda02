"""A machine with rootless Podman, which is a privileged container of the tests' engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import run
from tests.support.project import Person

ROOT = Path(__file__).parents[2]
CERTS = Path("/etc/ssl/certs")
IMAGE = "hearth-podman-machine"
RUNTIME = "/run/user/1"  # of whoever it is


@dataclass(frozen=True)
class Podman(Person):
    """Somebody on that machine, whose ids are those of a person here.

    Attributes:
        machine: the container.
    """

    machine: str = ""

    def run(
        self,
        *command: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 3600,
    ) -> subprocess.CompletedProcess[str]:
        """See `Person.run`; the environment is all that the command gets."""
        known = {"HOME": "/home/jane", "USER": "jane", "TERM": "dumb", "XDG_RUNTIME_DIR": RUNTIME}
        words = {**known, **dict(self.more), **(env or {})}
        options = [word for key, value in words.items() for word in ("--env", f"{key}={value}")]
        return run(
            *("docker", "exec", "--interactive", "--user", f"{self.uid}:{self.gid}"),
            *("--workdir", cwd, *options, self.machine, *command),
            cwd=Path("/"),
            input=stdin or "",
            timeout=timeout,
        )


def root(machine: str, script: str) -> None:
    """Let root of the machine run a script."""
    done = run("docker", "exec", machine, "sh", "-euc", script)
    assert done.returncode == 0, done.stderr


def start(folder: Path, person: Person, *, in_memory: bool = True) -> Podman:
    """Start the machine, on which `folder` has the same path; `stop` removes it.

    It has the fake GPUs of tests/fakes/gpu_host, by a CDI file as the NVIDIA Container Toolkit
    makes it.

    Args:
        folder: where projects will be.
        person: whose ids its user has.
        in_memory: whether Podman's images are in memory, since apt waits for a disk after each
            package, and the images are small; else they are on the disk of the tests' engine.
    """
    done = run("docker", "build", "--tag", IMAGE, ROOT / ".ci/podman", timeout=3600)
    assert done.returncode == 0, done.stderr
    name = f"hearth-podman-{os.getpid()}"
    binds = f"{folder}:{folder}", f"{CERTS}:{CERTS}:ro"
    mounts = [word for bind in binds for word in ("--volume", bind)]
    store = "/home/jane/.local/share/containers"
    mounts += ["--tmpfs", f"{store}:exec,size=4g"] if in_memory else ["--volume", store]
    start_words = ("docker", "run", "--detach", "--rm", "--init", "--privileged", "--name", name)
    done = run(*start_words, *mounts, IMAGE)
    assert done.returncode == 0, done.stderr
    parts, fakes = folder / "podman-gpus", ROOT / "tests/fakes"
    parts.mkdir()
    inside = (fakes / "gpu_host/nvidia-smi").read_bytes()
    for file, content in (
        ("nvidia-smi", inside),
        ("libcuda.so.550.54.15", b""),
        ("bin/nvidia-smi", (fakes / "bin/nvidia-smi").read_bytes()),
    ):
        (parts / file).parent.mkdir(exist_ok=True)
        (parts / file).write_bytes(content)
        (parts / file).chmod(0o755)
    cdi = (fakes / "gpu_host/nvidia.yaml").read_text().replace("@HERE@", str(parts))
    (parts / "nvidia.yaml").write_text(cdi)
    user = f"{person.uid}:{person.gid}"
    root(
        name,
        f"groupadd --gid {person.gid} jane 2>/dev/null || true; "
        f"useradd --no-create-home --home-dir /home/jane --uid {person.uid} "
        f"--gid {person.gid} jane; "
        f"mkdir -p {RUNTIME} /etc/cdi; chmod 700 {RUNTIME}; chown -R {user} {RUNTIME} /home/jane; "
        "chmod 666 /dev/fuse /dev/net/tun; mount --make-rshared /; "
        f"cp {parts}/nvidia.yaml /etc/cdi/; "
        "for one in 0 1 ctl:255; do "
        'mknod -m 666 "/dev/nvidia${one%:*}" c 195 "${one#*:}"; done; '
        "mknod -m 666 /dev/nvidia-uvm c 508 0",
    )
    path = f"{parts}/bin:/usr/local/bin:/usr/bin:/bin"
    service = "podman system service --time 0 >/dev/null 2>&1 &"  # what template.sh advises
    more = (("PATH", path), ("FAKE_SMI", "mixed"), ("PODMAN_IGNORE_CGROUPSV1_WARNING", "1"))
    user_ = Podman(person.uid, person.gid, "jane", Path("/home/jane"), more, machine=name)
    done = user_.run("sh", "-c", service, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    return user_


def load(user: Podman, *images: str) -> None:
    """Give the machine images of the tests' engine, as Podman would have pulled them."""
    for image in images:
        saved = subprocess.Popen(("docker", "save", image), stdout=subprocess.PIPE)
        words = ["docker", "exec", "--interactive", "--user", str(user.uid)]
        words += ["--env", "HOME=/home/jane", "--env", f"XDG_RUNTIME_DIR={RUNTIME}", user.machine]
        done = subprocess.run(
            (*words, "podman", "load"),
            check=False,
            stdin=saved.stdout,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        loaded = done.stdout.split()[-1]
        if loaded == f"localhost/{image}":
            tag = user.run("podman", "tag", loaded, f"docker.io/library/{image}", cwd=Path("/"))
            assert tag.returncode == 0, tag.stderr


def stop(user: Podman) -> None:
    """Remove the machine, with all that its Podman stored."""
    run("docker", "rm", "--force", "--volumes", user.machine)
