"""The one table of failures: how each is recognised, its cause, and the command that helps.

Every verb, `env --show`, the hook and the tables in the documentation speak from it. What a program
said is shown first, always; a text that no row knows is the last word. The module is imported when
something has failed, since it takes a while to compile.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, Mapping, NamedTuple

from .ask import read_json, read_text
from .project import StopError, called_from, me

if TYPE_CHECKING:
    from .project import Project

EDIT = '"${{EDITOR:-vi}}" {folder}/'  # a file of docker-amd64 in the user's editor


class Failure(NamedTuple):
    """A row of the table. In all texts, {name} is what is known of this failure.

    Attributes:
        name: the id; it never changes.
        texts: what programs say, whatever the case of its letters. `...` stands for the rest of a
            line or a part of it, {name} for a word that becomes known, {said} for a rest of a line.
        cause: sentences. Always known are {me}, this script; {folder}, docker-amd64 from where the
            user is; {line}, the whole line that was recognised.
        remedy: a command that works when pasted; or one for each kind of engine or host (see
            `hosts`), or both ("docker-rootless", "mac", "docker-desktop mac"), "" for all others.
        only: the projects that can meet it: cuda, pip, conda, source, base-torch; "" for all.
        look: the name in look.LOOKS of what looks at this machine: it says more, or that it is
            another row.
        registry: it is known only where an image is pushed or pulled, as {image} of {registry}.
        status: an exit status that means it, whatever is said.
    """

    name: str
    texts: tuple[str, ...]
    cause: str
    remedy: str | Mapping[str, str]
    only: str = ""
    look: str = ""
    registry: bool = False
    status: int = 0


RESTART = {
    "": "sudo systemctl restart docker",
    "no-systemd": "sudo service docker restart",
    "docker-rootless": "systemctl --user restart docker",
    "docker-desktop": "docker desktop restart",
}

FAILURES: tuple[Failure, ...] = (
    # --- the engine ---
    Failure(
        "docker-missing",
        ("docker: command not found",),
        "Docker is not installed on this machine: https://docs.docker.com/engine/install says how.",
        {
            "": "sudo apt-get install docker.io docker-compose",
            "fedora": "sudo dnf install moby-engine docker-compose",
            "ubuntu": "sudo apt-get install docker.io docker-compose-v2",
            "mac": "brew install --cask docker",
        },
    ),
    Failure(
        "engine-permission",
        (
            "permission denied...docker.sock",
            "permission denied...connect to the Docker daemon",
            "permission denied...connect to the docker API",
        ),
        "Your user may not talk to the Docker daemon: it is not in the group docker.",
        {
            "": 'sudo usermod -aG docker "$USER" && newgrp docker',
            "docker-rootless": "docker context ls",
            "docker-desktop": "docker context ls",
        },
    ),
    Failure(
        "engine-not-running",
        (
            "Cannot connect to the Docker daemon",
            "failed to connect to the docker API",
            "Is the docker daemon running",
            "Cannot connect to Podman",
        ),
        "The container engine is not running.",
        {
            "": "sudo systemctl start docker",
            "no-systemd": "sudo service docker start",
            "docker-rootless": "systemctl --user start docker",
            "docker-desktop": "systemctl --user start docker-desktop",
            "docker-desktop mac": "open -a Docker",
            "docker-desktop wsl": "powershell.exe -Command \"Start-Process 'C:\\Program Files"
            "\\Docker\\Docker\\Docker Desktop.exe'\"",
            "podman": "systemctl --user start podman.socket",
            "podman mac": "podman machine start",
        },
    ),
    Failure(
        "engine-silent",
        ("no answer within {seconds} s",),
        "The container engine gives no answer.",
        RESTART,
    ),
    Failure(
        "compose-missing",
        (
            "'compose' is not a docker command",
            "unknown command: docker compose",
            "unknown shorthand flag",
            "unknown flag: --",
            "Docker Compose is missing",
            "Docker Compose is version 1",
        ),
        "Docker has no Compose plugin; docker-compose 1 cannot read this project.",
        {
            "": "sudo apt-get install docker-compose",
            "fedora": "sudo dnf install docker-compose",
            "docker-ce": "sudo apt-get install docker-compose-plugin",
            "ubuntu": "sudo apt-get install docker-compose-v2",
            "mac": "brew install docker-compose",
        },
    ),
    # --- what is not there yet ---
    Failure("env-missing", ("there is no .env yet",), "The project has no .env yet.", "{me} env"),
    Failure("image-not-built", (), "The image {image} is not built yet.", "{me} build {target}"),
    Failure("container-not-running", (), "The dev container is not running.", "{me} up"),
    Failure("container-not-started", (), "The dev container did not start.", "{me} logs"),
    Failure(
        "code-folder-missing",
        (),
        "LOCAL_CODE_DIR in .env names {path}, which does not exist.",
        "{me} env --refresh LOCAL_CODE_DIR",
    ),
    # --- a registry that is pushed to or pulled from ---
    Failure(
        "registry-login",
        (
            "no basic auth credentials",
            "unauthorized",
            "denied: ",
            "access denied",
            "resource is denied",
            "403 Forbidden",
        ),
        "The registry {registry} refuses {image}: it wants a login, or yours may not do that.",
        "docker login {registry}",
        registry=True,
    ),
    Failure(
        "registry-without-tls",
        ("server gave HTTP response to HTTPS client",),
        "The registry {registry} has no TLS, and Docker speaks without it to this machine only. "
        "Open a tunnel, and name the image 127.0.0.1:{port}/{path}.",
        "ssh -fNL {port}:127.0.0.1:{port} {host}",
        registry=True,
    ),
    Failure(
        "registry-certificate",
        ("x509: ",),
        "The Docker daemon does not trust the certificate of {registry}. Get its authority's "
        "certificate as ca.crt from those who run it.",
        "sudo install -D -m 644 ca.crt /etc/docker/certs.d/{registry}/ca.crt",
        registry=True,
    ),
    Failure(
        "registry-unreachable",
        (
            "dial tcp",
            "no such host",
            "TLS handshake timeout",
            "deadline exceeded",
            "Client.Timeout",
        ),
        "The registry {registry} cannot be reached from the Docker daemon.",
        "curl -I https://{registry}/v2/",
        registry=True,
    ),
    Failure(
        "registry-image-missing",
        ("manifest unknown", ": not found", "not known to registry"),
        "The registry {registry} has no image {image}: publish it where the project is built.",
        "{me} publish {image}",
        registry=True,
    ),
    # --- GPUs ---
    Failure(
        "gpu-runtime-missing",
        (
            "could not select device driver",
            "unknown or invalid runtime name: nvidia",
            "Unknown runtime specified nvidia",
        ),
        "The engine does not know NVIDIA's runtime, or was not restarted since it was installed.",
        {
            "": "sudo nvidia-ctk runtime configure --runtime=docker && "
            "sudo systemctl restart docker",
            "docker-rootless": "nvidia-ctk runtime configure --runtime=docker "
            "--config=$HOME/.config/docker/daemon.json && systemctl --user restart docker",
        },
        only="cuda",
        look="gpus",
    ),
    Failure(
        "gpu-driver-too-old",
        ("unsatisfied condition: cuda>={version}, please",),
        "The NVIDIA driver is too old for CUDA {version} of this image. Update the driver, or "
        "choose a CUDA that it runs.",
        "nvidia-smi",
        only="cuda",
        look="driver",
    ),
    Failure(
        "gpu-unknown",
        ("unresolvable CDI devices",),
        "GPU_IDS in .env names a GPU that no CDI file describes.",
        "{me} env --refresh GPU_IDS",
        only="cuda",
        look="gpus",
    ),
    Failure(
        "gpu-files-changed",
        (
            "error mounting...libcuda",
            "error mounting...libnvidia",
            "error gathering device information...nvidia",
        ),
        "The CDI file of the GPUs was made for another driver.",
        "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        only="cuda",
        look="gpus",
    ),
    # --- this machine ---
    Failure(
        "port-taken",
        ("port is already allocated", "address already in use"),
        "A port of compose.override.yaml is taken on this machine. Choose another one there.",
        EDIT + "compose.override.yaml",
        look="port",
    ),
    Failure(
        "disk-full",
        ("no space left on device", "not enough free space"),
        "A disk is full: the engine's, or the project's.",
        "docker system df && docker buildx prune",
        look="disk",
    ),
    Failure(
        "memory-used-up",
        ("exit code: 137", "exited with code 137", "SIGKILL"),
        "It was killed (exit status 137): this machine, or the container, had no memory left.",
        "free -h && sudo dmesg | grep -i 'killed process'",
        status=137,
    ),
    Failure(
        "folder-refused-to-engine",
        (
            "mount source path '{path}': mkdir...permission denied",
            "invalid mount config...stat {path}: permission denied",
            "bind source path does not exist: {path}",
        ),
        "The engine's root may not look into {path}: a network file system refuses it "
        "(root_squash), or a folder above is closed to others.",
        "namei -l {path}",
        look="closed folders",
    ),
    Failure(
        "mount-missing",
        ("bind source path does not exist: {path}",),
        "The folder {path}, which .env or compose.override.yaml names, does not exist.",
        "mkdir -p {path}",
    ),
    Failure(
        "address-pools",
        (
            "all predefined address pools have been fully subnetted",
            "could not find an available, non-overlapping IPv4 address pool",
        ),
        "Docker has no addresses left for another network: each project here takes some.",
        "docker network prune",
    ),
    Failure(
        "env-unreadable",
        ("Cannot read {path}.env: Permission denied", "open {path}.env: permission denied"),
        "The file .env belongs to another user. Each user works in a clone of their own.",
        "git config --global --add safe.directory {root}/.git && git clone {root} ~/{project}",
    ),
    Failure(
        "project-read-only",
        (
            "Cannot write {path}: Read-only file system",
            "Cannot write {path}: Permission denied",
            "failed to open file `/opt/dependencies/{file}`: Permission denied",
            "failed to open file `/opt/dependencies/{file}`: Read-only file system",
            "/opt/dependencies...Permission denied",
            "/opt/dependencies...Read-only file system",
        ),
        "The project's folder cannot be written: it is read-only, or belongs to another user.",
        "ls -ldn {folder} {folder}/dependencies",
    ),
    Failure(
        "env-value",
        (
            'invalid project name "{value}"',
            "invalid size: '{value}'",
            'in .env must be numbers, not "{value}"',
            'in .env must be names without colon, comma or slash, not "{value}"',
            'invalid argument "{value}" for',
            "unable to find user {value}: no matching entries",
        ),
        'A key of .env cannot have the value "{value}".',
        EDIT + ".env",
        look="env value",
    ),
    Failure(
        "compose-file-missing",
        ("open {path}.yaml: no such file or directory", "stat {path}.yaml: no such file"),
        "COMPOSE_FILE in .env names {path}.yaml, which does not exist.",
        "{me} env --refresh COMPOSE_FILE",
    ),
    # --- networks, mirrors and certificates ---
    Failure(
        "daemon-certificate",
        (
            "failed to resolve source metadata for {image}:...x509: ",
            "failed to do request...x509: ",
        ),
        "A proxy inspects TLS, and the Docker daemon does not trust its certificate. Its file "
        "belongs into /usr/local/share/ca-certificates, named *.crt.",
        {
            "": "sudo update-ca-certificates && sudo systemctl restart docker",
            "no-systemd": "sudo update-ca-certificates && sudo service docker restart",
            "docker-rootless": "sudo update-ca-certificates && systemctl --user restart docker",
            "docker-desktop": "docker desktop restart",
        },
    ),
    Failure(
        "build-certificate",
        (
            "certificate verify failed",
            "CERTIFICATE_VERIFY_FAILED",
            "invalid peer certificate",
            "SSL peer certificate",
            "UnknownIssuer",
            "x509: certificate",
        ),
        "A proxy inspects TLS, and the build does not trust its certificate. CA_BUNDLE in .env has "
        "to name a file of certificates with it.",
        "{me} env --refresh CA_BUNDLE COMPOSE_FILE",
        look="certificates",
    ),
    Failure(
        "registry-limit",
        ("toomanyrequests", "pull rate limit"),
        "The registry has had too many requests from this address. A login has a limit of its own.",
        "docker login",
    ),
    Failure(
        "pin-gone",
        ("failed to resolve source metadata for {image}:...@sha256:...not found",),
        "The registry no longer has what compose.pins.yaml names.",
        "{me} pin",
    ),
    Failure(
        "base-image-blocked",
        (
            "failed to resolve source metadata for {image}:...dial tcp",
            "failed to resolve source metadata for {image}:...timeout",
            "failed to resolve source metadata for {image}:...403 Forbidden",
        ),
        "The Docker daemon cannot reach the registry of {image}. Name a mirror of it as {key} in "
        ".env.",
        EDIT + ".env",
        look="base image",
    ),
    Failure(
        "base-image-missing",
        (
            "failed to resolve source metadata for {image}:",
            "pull access denied for {image},",
            "manifest for {image} not found",
        ),
        "There is no image {image}, or it wants a login. Another one can be {key} in .env.",
        "docker pull {image}",
        look="base image",
    ),
    Failure(
        "base-image-has-our-folder",
        (
            "A directory already exists at: {path}",
            "A virtual environment already exists at: {path}",
            "A virtual environment already exists at `{path}`",
            "A directory already exists at `{path}`",
            "cannot replace to directory...{path} with file",
            'error mounting...to rootfs at "{path}": ...not a directory',
        ),
        "The base image has something of its own at {path}, where this project puts a folder.",
        "docker run --rm --entrypoint ls {base} -ld {path}",
        look="base image",
    ),
    Failure(
        "python-blocked",
        (
            "Failed to download...python-build-standalone",
            "error sending request for url...python-build-standalone",
        ),
        "The build cannot reach GitHub, where uv gets Python. Name a mirror as "
        "UV_PYTHON_INSTALL_MIRROR in .env.",
        EDIT + ".env",
        only="pip",
    ),
    Failure(
        "pytorch-index-blocked",
        ("Failed to fetch: `{address}/whl/...", "Failed to fetch: {address}/whl/..."),
        "The build cannot reach PyTorch's index, {address}. Name a mirror as url in "
        "dependencies/pyproject.toml.",
        EDIT + "dependencies/pyproject.toml",
        only="pip",
    ),
    Failure(
        "apt-blocked",
        (
            "Temporary failure resolving '{address}'",
            "Could not resolve '{address}'",
            "Could not connect to {address}:",
            "E: Failed to fetch {address} ",
        ),
        "The build cannot reach {address}, where apt gets packages. Name a mirror as APT_MIRROR in "
        ".env.",
        EDIT + ".env",
    ),
    Failure(
        "index-login",
        (
            "HTTP status client error (401 Unauthorized) for url ({address})",
            "HTTP status client error (403 Forbidden) for url ({address})",
            "authentication credentials...{address}",
        ),
        "The package index wants a login. NETRC_FILE in .env names a file of passwords.",
        EDIT + ".env",
    ),
    Failure(
        "index-blocked",
        (
            "Failed to fetch: `{address}`",
            "Failed to fetch: {address}",
            "error sending request for url ({address})",
        ),
        "The build cannot reach the package index, {address}. Name a mirror as UV_DEFAULT_INDEX in "
        ".env.",
        EDIT + ".env",
    ),
    Failure(
        "conda-channel",
        (
            "Download error (...[{address}]",
            "Transfer finalized, status: ...[{address}]",
        ),
        "A channel of conda could not be read: {address}. Name a mirror as MAMBA_CHANNEL_ALIAS in "
        ".env.",
        EDIT + ".env",
        only="conda",
    ),
    Failure(
        "no-network",
        ("dns error", "Could not resolve host", "network is unreachable"),
        "The build has no network, or cannot resolve a name. Proxies and mirrors are keys of .env.",
        EDIT + ".env",
    ),
    # --- packages ---
    Failure(
        "apt-package-missing",
        (
            "Unable to locate package {package}",
            "Package '{package}' has no installation candidate",
            "Package {package} has no installation candidate",
        ),
        "A list in dependencies/ (apt-*.txt) names {package}, which the distribution lacks.",
        "grep -n {package} {folder}/dependencies/apt-*.txt",
    ),
    Failure(
        "base-package-conflict",
        (
            "but the base image has",
            "hides the base image's",
            "the base image's constraint file says",
            "but {package} of the base image",
        ),
        "{line}",
        EDIT + "dependencies/pyproject.toml",
        only="base-torch",
    ),
    Failure(
        "lock-of-another-base",
        ("uv.lock has packages of another base image",),
        "dependencies/uv.lock is for another base image, or older than base-override.txt.",
        "{me} lock",
        only="base-torch",
    ),
    Failure(
        "lock-stale",
        ("uv.lock`...needs to be updated", "uv.lock does not match pyproject.toml"),
        "dependencies/uv.lock does not match dependencies/pyproject.toml.",
        "{me} lock",
        only="pip",
    ),
    Failure(
        "dependency-file-invalid",
        (
            "TOML parse error at line {number}, column",
            "project.dependencies[{at}]` must be pep508",
            "project.dependencies[{at}]`.",
        ),
        "Line {number} of dependencies/pyproject.toml cannot be read: {reason}.",
        '"${{EDITOR:-vi}}" +{number} {folder}/dependencies/pyproject.toml',
        only="pip",
        look="dependency file",
    ),
    Failure(
        "requirement-invalid",
        ("Failed to parse: `{requirement}`",),
        "{requirement} is not a package with a version, such as 'numpy<3'.",
        "{me} add --help",
        only="pip",
        look="requirement",
    ),
    Failure(
        "package-missing",
        ("Because {package} was not found in the package registry",),
        "The package index has no {package}: the name is misspelt, or another index has it.",
        "{me} add --help",
        only="pip",
        look="package",
    ),
    Failure(
        "package-mistaken",
        ("`{package}` is often confused for `{meant}`",),
        "The package {package} is not the one that is meant, which is {meant}.",
        "{me} add {meant}",
        only="pip",
    ),
    Failure(
        "package-build",
        ("Failed to build `{package}`",),
        "{package} has no wheel for this Python, and its source could not be built. What it needs "
        "from apt belongs into apt-build.txt.",
        EDIT + "dependencies/apt-build.txt",
        only="pip",
    ),
    Failure(
        "no-versions-fit",
        ("No solution found when resolving",),
        "No versions fit dependencies/pyproject.toml; the lines above say why.",
        EDIT + "dependencies/pyproject.toml",
        only="pip",
    ),
    Failure(
        "index-without-hashes",
        ("all requirements must have a hash, but none were provided for: {package}",),
        "The index of {package} tells no hash of it, so that nothing could be checked. Name an "
        "index that does.",
        EDIT + "dependencies/pyproject.toml",
        only="pip",
    ),
    Failure(
        "pip-hash",
        ("Hash mismatch for `{package}`",),
        "{package} is not the file that the lock names, and was not installed. If its index has "
        "good reasons to change it, lock again.",
        "{me} lock --upgrade",
    ),
    Failure(
        "conda-package-missing",
        ("conda_env: There is no package {package} in the channels",),
        "No channel has {package}: the name is misspelt, or only PyPI has it.",
        "{me} add --pip {package}",
        only="conda",
    ),
    Failure(
        "conda-lock-stale",
        ("conda_env: {said}. Run: ./template.sh lock", "conda_env: {said} ./template.sh lock"),
        "{said}.",
        "{me} lock",
        only="conda",
    ),
    Failure(
        "conda-environment",
        ("conda_env: {said}",),
        "{said}",
        EDIT + "dependencies/environment.yml",
        only="conda",
    ),
    Failure(
        "conda-hash",
        ("{package} tarball has incorrect",),
        "{package} is not the file that conda.lock names, and was not installed. If its channel "
        "has good reasons to change it, lock again.",
        "{me} lock --upgrade",
        only="conda",
    ),
    Failure(
        "source-build",
        ("torch-build stopped: {said}", "torch-build advises: {advice}"),
        "{said}",
        "{advice}",
        only="source",
    ),
)


# ------------------------------------------------------------------------------- recognising one

Known = Dict[str, str]
CLOSING = "`')]\""
# Words that may have blanks in them.
WORDS = {"{said}": ".+", "{advice}": ".+", "{path}": "[^\n`'\"]+"}


def pattern(text: str) -> str:
    """The regular expression of a text of the table."""
    parts = re.split(r"(\.\.\.|\{\w+\})", text)
    made = ""
    for at, part in enumerate(parts):
        if at % 2 == 0:
            made += re.escape(part)
        elif part == "...":
            made += ".*?"
        else:
            until = parts[at + 1][:1]
            word = f"[^\n{re.escape(until)}]+" if until and until in CLOSING else r"[^\s`'\",]+"
            made += f"(?P<{part[1:-1]}>{WORDS.get(part, word)})"
    return made


def words_of(failure: Failure, text: str) -> Known | None:
    """What a text says of a failure; None if it is not about it. What is said last counts."""
    known: Known = {}
    for one in failure.texts:
        every = list(re.finditer(pattern(one), text, re.IGNORECASE))
        if every:
            found = every[-1]
            line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
            known.setdefault("line", re.sub(r"^#\d+ [\d.]+ |^[\d.]+ ", "", line).strip())
            for name, value in found.groupdict().items():
                known.setdefault(name, value.strip())
    return known or None


def matches(
    text: str, *, registry: bool = False, status: int = 0
) -> Iterator[tuple[Failure, Known]]:
    """The rows that a text or an exit status may be about, the likeliest first."""
    for failure in FAILURES:
        known = words_of(failure, text) if registry or not failure.registry else None
        if known is None and status and status == failure.status:
            known = {"line": ""}
        if known is not None:
            yield failure, known


def recognise(text: str, *, registry: bool = False) -> Failure | None:
    """The row that a text is about, if one is."""
    return next((failure for failure, _ in matches(text, registry=registry)), None)


def row(name: str) -> Failure:
    """The row of an id."""
    return next(failure for failure in FAILURES if failure.name == name)


# --------------------------------------------------------------------------- what helps, and where


def hosts() -> Iterator[str]:
    """What this machine is, in the words of the remedies."""
    if sys.platform == "darwin":
        yield "mac"
        return
    if "microsoft" in read_text(Path("/proc/sys/kernel/osrelease")).lower():
        yield "wsl"
    if not Path("/run/systemd/system").is_dir():
        yield "no-systemd"
    if Path("/var/lib/dpkg/info/docker-ce.list").exists():
        yield "docker-ce"
    yield from re.findall(r"(?m)^ID=\"?([a-z]+)", read_text(Path("/etc/os-release")))


def engine_kind(text: str) -> str:
    """The kind of engine: the socket that the text, the environment or Docker's context names."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    context = read_json(read_text(folder / "config.json")).get("currentContext", "")
    for where in (text, os.environ.get("DOCKER_HOST") or str(context)):
        if "podman" in where.lower():
            return "podman"
        if re.search(r"/\.docker/(desktop|run)/|^desktop-", where):
            return "docker-desktop"
        if re.search(r"/run/user/|^rootless", where):
            return "docker-rootless"
    here = "wsl" in hosts() and not shutil.which("dockerd")
    return "docker-desktop" if here else "docker"


def remedy_for(failure: Failure, kind: str) -> str:
    """The command for a kind of engine on this machine."""
    if isinstance(failure.remedy, str):
        return failure.remedy
    words = [*(f"{kind} {host}" for host in hosts()), kind, *hosts(), ""]
    return next(failure.remedy[word] for word in words if word in failure.remedy)


def everywhere(project: Project | None) -> Known:
    """What is known of every failure."""
    folder = Path(me()).parent
    if project and not (called_from() / folder / "host" / "project.json").is_file():
        folder = project.folder  # template.sh was called by a link
    known = {"me": me(), "folder": str(folder)}
    if project:
        known.update(root=str(project.root), project=project.name)
    return known


def speak(failure: Failure, known: Mapping[str, str], kind: str = "docker") -> StopError:
    """A failure in words: what is known is put into its row."""
    quoted = {k: v if k == "advice" else shlex.quote(v) for k, v in known.items()}
    remedy = known.get("remedy") or remedy_for(failure, kind).format_map(Unknown(quoted))
    cause = known.get("cause") or failure.cause.format_map(Unknown(known))
    cause = cause if cause.endswith(".") else f"{cause}."
    return StopError(cause, remedy.strip(), name=failure.name)


class Unknown(Dict[str, str]):
    """Words for a row; the name of what is not known is all that can be said of it."""

    def __missing__(self, key: str) -> str:
        """The name in capitals, as in the documentation."""
        return key.upper()


def failed(name: str, project: Project | None = None, **known: str) -> StopError:
    """The failure of an id, which a verb has found by itself."""
    return speak(row(name), {**everywhere(project), **known})


def explain(
    project: Project | None, text: str, *, image_name: str = "", status: int = 0
) -> StopError | None:
    """What a failure means here: its cause and one command; None if no row knows the text."""
    for failure, said in matches(text, registry=bool(image_name), status=status):
        known = {**everywhere(project), **said, **words_of_image(image_name)}
        if failure.look and project:
            from .look import LOOKS, Case  # noqa: PLC0415  some failures only need it

            seen = LOOKS[failure.look](Case(project, text, known))
            if seen is None:
                continue
            known.update(seen)
        return speak(failure, known, engine_kind(text))
    return None


def words_of_image(name: str) -> Known:
    """What the name of an image in a registry is made of; nothing without a name."""
    if not name:
        return {}
    registry, _, path = name.partition("/")
    if not re.search(r"[.:]|^localhost$", registry):
        registry, path = "docker.io", name
    host, _, port = registry.partition(":")
    return {
        "image": name,
        "registry": registry,
        "path": path,
        "host": host,
        "port": port or "5000",
    }


def registry_of(image_name: str) -> str:
    """The registry that the name of an image means."""
    return words_of_image(image_name).get("registry", "docker.io")
