"""The one table of failures: how each is recognised, its cause, and the command that helps.

All verbs, `env --show`, the hook and the tables in the documentation speak from it. The engine's
own words are always shown before; a text that no row knows stays the last word.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, NamedTuple

from .project import StopError, me

if TYPE_CHECKING:
    from .project import Project


class Failure(NamedTuple):
    """A row of the table.

    Attributes:
        name: the id; it never changes.
        patterns: regular expressions; the failure is what a text with one of them is about.
        cause: one sentence. Names in braces are groups of the pattern, or `me` (this script),
            `image` and `registry` (what was pushed or pulled).
        remedy: the command that helps, or one for each kind of engine ("" for all others).
        about_gpus: the probe knows more about this machine: it is asked first.
        registry: it is known only where an image is pushed or pulled.
    """

    name: str
    patterns: tuple[str, ...]
    cause: str
    remedy: str | Mapping[str, str] = ""
    about_gpus: bool = False
    registry: bool = False


def start_engine() -> dict[str, str]:
    """The command that starts each kind of engine on this machine."""
    service = "systemctl start" if Path("/run/systemd/system").is_dir() else "service"
    docker = f"sudo {service} docker" if "systemctl" in service else "sudo service docker start"
    desktop = (
        "open -a Docker" if sys.platform == "darwin" else "systemctl --user start docker-desktop"
    )
    return {
        "": docker,
        "docker-desktop": desktop,
        "docker-rootless": "systemctl --user start docker",
    }


FAILURES: tuple[Failure, ...] = (
    # --- the engine ---
    Failure(
        "docker-missing",
        (r"docker: command not found", r"there is no docker command"),
        "Docker is not installed on this machine (https://docs.docker.com/engine/install says how "
        "on each system).",
        "sudo apt-get install docker.io docker-compose-v2",
    ),
    Failure(
        "registry-login",
        (
            r"no basic auth credentials|unauthorized|denied: |access denied|resource is denied"
            r"|403 Forbidden",
        ),
        "The registry {registry} refuses {image}: it wants a login, or yours may not do that.",
        "docker login {registry}",
        registry=True,
    ),
    Failure(
        "registry-without-tls",
        (r"HTTP response to HTTPS client",),
        "The registry {registry} has no TLS, and Docker speaks without it to this machine only: "
        "use a tunnel, and name the image 127.0.0.1:5000/...",
        "ssh -L 5000:{registry} HOST",
        registry=True,
    ),
    Failure(
        "registry-certificate",
        (r"x509: ",),
        "The Docker daemon does not trust the certificate of {registry}: put its ca.crt into the "
        "folder that this command makes.",
        "sudo mkdir -p /etc/docker/certs.d/{registry}",
        registry=True,
    ),
    Failure(
        "registry-unreachable",
        (r"dial tcp|no such host|TLS handshake timeout|deadline exceeded|Client\.Timeout",),
        "The registry {registry} cannot be reached from the Docker daemon.",
        "curl -I https://{registry}/v2/",
        registry=True,
    ),
    Failure(
        "registry-image-missing",
        (r"manifest unknown|: not found|not known to registry",),
        "The registry {registry} has no image {image}: publish it where the project is built.",
        "{me} publish {image}",
        registry=True,
    ),
    Failure(
        "source-build",
        (
            r"torch-build stopped: (?P<said>[^\n]*)(?![\s\S]*torch-build stopped: )"
            r"(?:[\s\S]*torch-build advises: (?P<advice>[^\n]*))?",
        ),
        "{said}",
        "{advice}",
    ),
    Failure(
        "engine-permission",
        (r"ermission denied[^\n]*(docker[^\n]*sock|Docker daemon|docker API)",),
        "Your user may not talk to the Docker daemon: join its group, and log in again.",
        'sudo usermod -aG docker "$USER"',
    ),
    Failure(
        "engine-not-running",
        (
            r"Cannot connect to the Docker daemon|failed to connect to the docker API"
            r"|the docker daemon running",
        ),
        "The Docker daemon is not running.",
        start_engine(),
    ),
    Failure(
        "compose-missing",
        (
            r"'compose' is not a docker command|unknown command: docker compose"
            r"|unknown shorthand flag|unknown flag[^$]*docker \[OPTIONS\] COMMAND",
        ),
        "Docker has no Compose plugin (the old docker-compose 1.x cannot read this project).",
        "sudo apt-get install docker-compose-plugin",
    ),
    # --- GPUs ---
    Failure(
        "gpu-runtime-missing",
        (
            r"could not select device driver|unknown or invalid runtime name: nvidia"
            r"|Unknown runtime specified nvidia",
        ),
        "The engine does not know NVIDIA's runtime, or was not restarted since it was installed.",
        "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
        about_gpus=True,
    ),
    Failure(
        "gpu-driver-too-old",
        (r"unsatisfied condition: cuda",),
        "The NVIDIA driver is too old for the CUDA of this image: update it, or choose a CUDA that "
        "it runs.",
        "{me} update --data cuda_version=...",
        about_gpus=True,
    ),
    Failure(
        "gpu-unknown",
        (r"unresolvable CDI devices",),
        "GPU_IDS in .env names a GPU that no CDI file describes; {me} gpus lists those that are "
        "there.",
        "{me} env --refresh GPU_IDS",
        about_gpus=True,
    ),
    Failure(
        "gpu-files-changed",
        (
            r"error mounting[^\n]*(libcuda|libnvidia)|error gathering device information[^\n]*/dev/nvidia",
        ),
        "The CDI file of the GPUs was made for another driver.",
        "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        about_gpus=True,
    ),
    # --- this machine ---
    Failure(
        "port-taken",
        (r"port is already allocated|address already in use",),
        "A port of compose.override.yaml is taken on this machine: choose another one there.",
        "docker ps --format '{{{{.Names}}}} {{{{.Ports}}}}'",
    ),
    Failure(
        "disk-full",
        (r"(?i)no space left on device|not enough free space",),
        "The disk is full.",
        "docker system df && docker buildx prune",
    ),
    Failure(
        "mount-missing",
        (r"bind source path does not exist",),
        "A folder that .env or compose.override.yaml names does not exist.",
        "{me} config",
    ),
    Failure(
        "address-pools",
        (
            r"all predefined address pools have been fully subnetted|non-overlapping IPv4 address pool",
        ),
        "Docker has no free network left: each project of this machine takes one.",
        "docker network prune",
    ),
    # --- certificates and registries ---
    Failure(
        "daemon-certificate",
        (r"(failed to resolve source metadata|failed to do request)[^\n]*x509: certificate",),
        "A proxy inspects TLS, and the Docker daemon does not trust its certificate: put it into "
        "/usr/local/share/ca-certificates as a file NAME.crt.",
        "sudo update-ca-certificates && sudo systemctl restart docker",
    ),
    Failure(
        "build-certificate",
        (
            r"ertificate verify failed|CERTIFICATE_VERIFY_FAILED|invalid peer certificate"
            r"|SSL peer certificate|UnknownIssuer|x509: certificate",
        ),
        "A proxy inspects TLS, and the build does not trust its certificate: name a file of "
        "certificates as CA_BUNDLE in .env.",
        "{me} env --refresh CA_BUNDLE",
    ),
    Failure(
        "registry-limit",
        (r"toomanyrequests|pull rate limit",),
        "The registry has had too many requests from this address.",
        "docker login",
    ),
    Failure(
        "pin-gone",
        (r"failed to resolve source metadata[^\n]*@sha256:[^\n]*not found",),
        "The registry no longer has what compose.pins.yaml names.",
        "{me} pin",
    ),
    Failure(
        "base-image-missing",
        (r"failed to resolve source metadata|pull access denied|manifest unknown",),
        "A base image could not be pulled: no network, no login, or no such tag. The keys *_IMAGE "
        "of .env can name a mirror.",
        "{me} config",
    ),
    Failure(
        "compose-file-missing",
        (r"(open|stat) /[^\n]*\.yaml: no such file or directory",),
        "COMPOSE_FILE in .env names a file that is not here.",
        "{me} env --refresh COMPOSE_FILE",
    ),
    Failure(
        "no-network",
        (r"dns error|Temporary failure resolving|Could not resolve|network is unreachable",),
        "The build has no network, or a name could not be resolved. Proxies and mirrors are keys "
        "of .env.",
        "{me} config",
    ),
    # --- packages ---
    Failure(
        "apt-package-missing",
        (
            r"Unable to locate package (?P<package>[^\s]+)",
            r"Package '?(?P<package>[^\s']+)'? has no installation candidate",
        ),
        "A list in dependencies/ (apt-*.txt) names {package}, a package that this distribution does "
        "not have: correct it there.",
        "{me} build",
    ),
    Failure(
        "base-package-conflict",
        (
            r"(?m)^(?:#\d+ )?(?:[\d.]+ )?(?P<said>[^\n]*(but the base image has |(hides|the) base "
            r"image's )[^\n]*)$(?![\s\S]*base image's )",
            r"(?m)^(?:#\d+ )?(?:[\d.]+ )?(?P<said>[^\n]*but the base image has [^\n]*)$",
        ),
        "{said}",
    ),
    Failure(
        "lock-of-another-base",
        (r"uv\.lock has packages of another base image",),
        "dependencies/uv.lock was made for another base image, or before "
        "dependencies/base-override.txt changed.",
        "{me} lock",
    ),
    Failure(
        "lock-stale",
        (r"uv\.lock`[^\n]*needs to be updated",),
        "dependencies/uv.lock does not match dependencies/pyproject.toml.",
        "{me} lock",
    ),
    Failure(
        "no-versions-fit",
        (r"No solution found when resolving",),
        "No versions fit dependencies/pyproject.toml: a package does not exist, or two do not go "
        "together. Nothing was changed; correct it there.",
        "{me} lock",
    ),
    Failure(
        "conda-environment",
        (r"conda_env: (?P<said>[^\n]*)(?![\s\S]*conda_env: )",),
        "{said}",
    ),
    Failure(
        "pip-hash",
        (r"Hash mismatch for .(?P<package>[^`'\n]*)",),
        "{package} is not the file that the lock names: it was not installed. If its index has good "
        "reasons to change it:",
        "{me} lock --upgrade",
    ),
    Failure(
        "conda-hash",
        (r"(?P<package>\S+) tarball has incorrect ",),
        "{package} is not the file that conda.lock names: it was not installed. If its channel has "
        "good reasons to change it:",
        "{me} lock --upgrade",
    ),
    Failure(
        "conda-channel",
        (
            r"(?:Download error \(|Transfer finalized, status: )[\s\S]*\[(?P<address>[a-z]*:[^\]\s]*)\]",
        ),
        "A channel of conda could not be read: {address}. Mirrors and proxies are keys of .env.",
        "curl -I {address}",
    ),
)


def recognise(text: str, *, registry: bool = False) -> Failure | None:
    """The row that a text is about, if one is."""
    for failure in FAILURES:
        if failure.registry and not registry:
            continue
        if any(re.search(pattern, text) for pattern in failure.patterns):
            return failure
    return None


def engine_kind(text: str) -> str:
    """The kind of engine that an error text speaks of, by the socket that it names."""
    if "/.docker/desktop/" in text or "/.docker/run/" in text:
        return "docker-desktop"
    return "docker-rootless" if "/run/user/" in text else "docker"


def registry_of(image_name: str) -> str:
    """The registry that the name of an image means."""
    host = image_name.partition("/")[0]
    return host if re.search(r"[.:]|^localhost$", host) else "docker.io"


def words_for(failure: Failure, text: str, image_name: str = "") -> tuple[str, str]:
    """The cause and the remedy of a failure, with what its text names."""
    known = {"me": me(), "image": image_name, "registry": registry_of(image_name)}
    for pattern in failure.patterns:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            known.update({k: (v or "").strip() for k, v in found.groupdict().items()})
            break
    remedy = failure.remedy
    if not isinstance(remedy, str):
        remedy = remedy.get(engine_kind(text), remedy[""])
    return failure.cause.format_map(known), remedy.format_map(known)


def explain(project: Project, text: str, *, image_name: str = "") -> StopError | None:
    """What a failure means here: one sentence and one command; None if no row knows the text."""
    failure = recognise(text, registry=bool(image_name))
    if failure is None:
        return None
    cause, remedy = words_for(failure, text, image_name)
    if failure.about_gpus and project.accelerator == "cuda":
        found = gpu_cause(project)
        if found:
            cause, remedy = f"The containers cannot get a GPU: {found[0]}.", found[1] or remedy
    return StopError(cause, remedy, name=failure.name)


def gpu_cause(project: Project) -> tuple[str, str] | None:
    """Why containers get no GPU on this machine, and what helps, as the probe sees it."""
    from .gpu_env import without_gpus  # noqa: PLC0415  only projects for GPUs have it
    from .probe import probe  # noqa: PLC0415

    settings = project.settings
    keys = ("COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "CPU_OR_GPU", "GPU_IDS")
    return without_gpus(probe(project.folder), {key: settings.in_file(key) for key in keys})


def names() -> list[str]:
    """The ids of all rows."""
    return [failure.name for failure in FAILURES]
