"""GPU access: how containers get GPUs from the engine, and the two override files that ask for it.

There are two kinds. With CDI, a file on the host says what belongs to a GPU; it has to be made for
the driver that runs, and be readable by the engine. With NVIDIA's runtime, a hook of the engine
looks at the driver itself. Docker knows both, Podman only CDI. A project uses one of them at a
time: that of the override file which COMPOSE_FILE in .env names.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from .abilities import abilities, numbers
from .accelerator import OVERRIDE_FILES, override_in
from .ask import read_json, read_text
from .failure_rows import row
from .failures import remedy_for
from .gpu_facts import Access
from .project import same_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .facts import Engine
    from .gpu_facts import Gpu, GpuFacts

WSL2 = 2  # of `Facts.wsl`; version 1 has no GPUs
ACCESS_NAMES = {"cdi": "CDI", "nvidia": "NVIDIA's runtime"}
KIND = "nvidia.com/gpu"
PODMAN_DIRS = ("/etc/cdi", "/var/run/cdi")  # where an engine looks by default
# The newest CDI version that older engines read; newer ones say themselves what they could read.
# moby pull request 47706; the notes of NVIDIA Container Toolkit 1.19.1.
READABLE = {("docker", 25): (0, 6, 0), ("podman", 4): (0, 6, 0)}

GUIDE = (
    "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
)


# ------------------------------------------------------------------------------- the CDI files


@dataclass(frozen=True)
class Spec:
    """A CDI file for NVIDIA GPUs: its version, the names in it, the drivers it was made for."""

    path: str
    version: str
    names: tuple[str, ...]
    drivers: tuple[str, ...]


def read_spec(path: str, text: str) -> Spec | None:
    """What a CDI file says, in YAML or JSON; None if it is not for NVIDIA GPUs."""
    data = read_json(text)
    if data:
        kind, version = str(data.get("kind")), str(data.get("cdiVersion"))
        devices = data.get("devices") or []
        names = [str(device.get("name")) for device in devices if isinstance(device, dict)]
    else:

        def values(key: str) -> list[str]:
            value = r":[ \t]*[\"']?([^\"'\s,}]+)"
            return re.findall(r"^[ \t-]*(?:\{[ \t]*)?" + key + value, text, re.MULTILINE)

        kind, version = (next(iter(values(key)), "") for key in ("kind", "cdiVersion"))
        names = values("name")
    if kind != KIND:
        return None
    # In WSL the library is libcuda.so.1.1, whatever the driver of Windows.
    drivers = re.findall(r"/lib(?:cuda|nvidia-ml)\.so\.(\d{2,}\.\d+(?:\.\d+)?)", text)
    return Spec(path, version, tuple(names), tuple(dict.fromkeys(drivers)))


def read_specs(folders: Iterable[str]) -> list[Spec]:
    """The CDI files for NVIDIA GPUs; a name in a later one hides that of an earlier one."""
    specs: list[Spec] = []
    for folder in folders:
        try:
            paths = sorted(Path(folder).iterdir())
        except OSError:
            continue
        found = (
            read_spec(str(path), read_text(path))
            for path in paths
            if path.suffix in (".yaml", ".json")
        )
        specs += [spec for spec in found if spec]
    hidden: set[str] = set()
    used: list[Spec] = []
    for spec in reversed(specs):
        if set(spec.names) - hidden:
            used.insert(0, spec)
        hidden |= set(spec.names)
    return used


def gpu_names(gpu: Gpu, index: int) -> list[list[str]]:
    """For each thing that a container can be given of a GPU: the ids that mean it, its own first.

    A CDI file may call a GPU 0, gpu0 or by its UUID, and an instance 0:1, mig0:1 or by its UUID.
    """
    if not gpu.mig_enabled:
        return [[gpu.uuid, str(index), f"gpu{index}"]]
    return [
        [part.uuid, f"{index}:{slot}", f"mig{index}:{slot}"] for slot, part in enumerate(gpu.mig)
    ]


def known_ids(gpus: Sequence[Gpu]) -> dict[str, list[str]]:
    """Every id of every GPU and MIG instance, with all ids that mean the same."""
    groups = [
        ids
        for at, gpu in enumerate(gpus)
        for ids in gpu_names(gpu, at if gpu.index is None else gpu.index)
    ]
    return {one: ids for ids in groups for one in ids}


def split_ids(gpu_ids: str) -> list[str]:
    """The ids of GPU_IDS, each once, as Compose wants them; none of them means all GPUs."""
    ids = [*dict.fromkeys(one for one in re.split(r"[,\s]+", gpu_ids) if one)]
    return [] if ids == ["all"] else ids


def cdi_names(gpu_ids: str, gpus: Sequence[Gpu], names: Sequence[str]) -> list[str]:
    """GPU_IDS in the words of the CDI files; an id that they do not know is kept."""
    wanted, known = split_ids(gpu_ids), known_ids(gpus)
    if not wanted and ("all" in names or not gpus):
        return ["all"]
    wanted = wanted or list(dict.fromkeys(ids[0] for ids in known.values()))
    return [
        *dict.fromkeys(
            next((name for name in known.get(one, [one]) if name in names), one) for one in wanted
        )
    ]


def gpus_of(devices: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What CDI calls the GPUs, of the devices that it gives an engine; None: it does not say."""
    if devices is None:
        return None
    return tuple(one[len(KIND) + 1 :] for one in devices if one.startswith(f"{KIND}="))


def is_unreadable(spec: Spec, found: Engine) -> bool:
    """Whether an engine cannot read a CDI file, as it says itself or as its version tells."""
    seen = gpus_of(found.cdi_devices)
    if seen is not None and not set(spec.names) & set(seen):
        return True
    limit = READABLE.get((found.kind, (numbers(found.version) or (0,))[0]))
    return bool(limit and numbers(spec.version) > limit)


def is_outdated(spec: Spec, driver: str | None) -> bool:
    """Whether a CDI file was made for another driver than the one that runs."""
    return bool(driver and spec.drivers and driver not in spec.drivers)


def by_cdi(found: Engine, facts: GpuFacts) -> tuple[tuple[str, ...], str, str]:
    """The names that CDI knows the GPUs by; or none, why not in half a sentence, and what helps."""
    seen = gpus_of(found.cdi_devices)
    folders = PODMAN_DIRS if found.kind == "podman" else found.cdi_dirs
    specs = read_specs(folders) if found.local else []
    if not folders:
        return (), "", ""
    names = tuple(name for spec in specs for name in spec.names)
    for spec in specs:
        again = generate(spec.path)
        if is_unreadable(spec, found):
            warning = next((text for text in found.warnings if spec.path in text), "")
            if seen is not None and found.rootless and not warning:
                what = f"{spec.path} is newer than the engine, which has not read it"
                return (), what, restart(found)
            what = f"{spec.path} (CDI {spec.version}) cannot be read by this engine"
            return (), what + (f": {warning.rpartition(': ')[2]}" if warning else ""), again
        if is_outdated(spec, facts.driver):
            what = f"{spec.path} was made for driver {spec.drivers[0]}, and {facts.driver} runs"
            return (), what, again
    names = names if seen is None else seen
    missing = [ids[0] for ids in known_ids(facts.gpus).values() if not set(ids) & set(names)]
    if facts.wsl and "all" in names:  # where a file describes all GPUs as one
        missing = []
    if names and missing and specs:
        return (), f"{specs[-1].path} does not know {missing[0]}", generate(specs[-1].path)
    return (() if missing else names), "", ""


def generate(path: str) -> str:
    """The command that writes a CDI file; in a folder of the user's it needs no root."""
    own = str(Path.home()) in map(str, Path(path).parents)
    return f"{'' if own else 'sudo '}nvidia-ctk cdi generate --output={quote(path)}"


def restart(found: Engine) -> str:
    """The command that restarts an engine."""
    return remedy_for(row("engine-silent"), found.kind)


# -------------------------------------------------------------------------------------- GPU access


def access(found: Engine, facts: GpuFacts) -> Access:
    """The GPU access of this engine, or why it has none and what helps."""
    if not facts.gpu_ids:
        if facts.gpus:
            note = "MIG is on, but no GPU has an instance"
            return Access(note=note, fix="sudo nvidia-smi mig -lgip")
        fix = "nvidia-smi" if facts.gpu_status == "unknown" else ""
        return Access(note=facts.gpu_note or "no GPU was found", fix=fix)
    if not found.reachable:
        return Access(note=found.problem.rstrip("."), fix=found.fix)
    names, problem, fix = by_cdi(found, facts)
    kinds = (["cdi"] if names else []) + (["nvidia"] if by_runtime(found, facts) else [])
    if kinds or problem:
        how = mechanism(kinds[0], found) if kinds else ""
        return Access(tuple(kinds), names, problem, fix, how)
    return Access(note=why_no_access(found), fix=access_command(found))


def by_runtime(found: Engine, facts: GpuFacts) -> bool:
    """Whether `driver: nvidia` works: the runtime is registered, or its hook is where it looks.

    Docker Desktop has it built in on Windows, which is seen from WSL.
    """
    if found.kind == "docker-desktop":
        return facts.wsl == WSL2
    hook = found.kind == "docker" and found.local and shutil.which("nvidia-container-runtime-hook")
    return "nvidia" in found.runtimes or bool(hook)


def mechanism(kind: str, found: Engine) -> str:
    """How containers get GPUs by a kind of access: cdi, runtime or hook; "" by none.

    A device request for `driver: nvidia` is what `docker run --gpus` sends: Docker itself adds the
    hook. Where NVIDIA's runtime starts all containers, that runtime takes the hook's place.
    """
    if kind != "nvidia":
        return kind if kind == "cdi" else ""
    return "runtime" if found.default_runtime == "nvidia" else "hook"


def why_no_access(found: Engine) -> str:
    """Why an engine that answers hands over no GPU, in half a sentence."""
    if found.kind == "docker-desktop":
        return row("gpu-desktop").cause.rstrip(".")
    if found.kind == "podman":
        return "Podman needs a CDI file for the GPUs, and there is none"
    if shutil.which("nvidia-ctk"):
        return "the engine does not know NVIDIA's runtime, and there is no CDI file for the GPUs"
    return f"the NVIDIA Container Toolkit is not installed, its packages come from {GUIDE}"


def access_command(found: Engine) -> str:
    """The command that gives an engine GPU access, from the table of failures."""
    if found.kind == "docker-desktop":
        return remedy_for(row("gpu-desktop"), found.kind)
    has_toolkit = shutil.which("nvidia-ctk")
    install = remedy_for(row("gpu-toolkit-missing"), found.kind)
    if found.kind == "docker-rootless" and found.cdi_dirs:
        # A folder of the user's, which engines since version 29.2 look into, needs no root.
        home = str(Path.home())
        folder = next((one for one in found.cdi_dirs if one.startswith(home)), found.cdi_dirs[0])
        command = f"{generate(f'{folder}/nvidia.yaml')} && {restart(found)}"
        # The package is that row's first command.
        return command if has_toolkit else f"{install.partition(' && ')[0]} && {command}"
    missing = "gpu-cdi-missing" if found.kind == "podman" else "gpu-runtime-missing"
    return remedy_for(row(missing), found.kind) if has_toolkit else install


def gpu_lines(facts: GpuFacts) -> list[str]:
    """A line for each GPU and MIG instance, or one that says why there is none."""
    lines: list[str] = []
    for gpu in facts.gpus:
        details = [f"compute capability {gpu.compute_capability or 'unknown'}"]
        details += [f"{gpu.memory_mib / 1024:.0f} GiB"] if gpu.memory_mib else []
        lines.append(f"{gpu.name} ({', '.join([*details, gpu.uuid])})")
        lines += [f"  {part.name} ({part.uuid})" for part in gpu.mig]
        if gpu.mig_enabled and not gpu.mig:
            lines.append("  MIG is on but has no instance: nothing can run on this GPU")
    return lines or [f"none: {facts.gpu_note}" if facts.gpu_note else "none"]


def access_lines(facts: GpuFacts) -> list[str]:
    """How containers can get the GPUs, and what prevents it; nothing without a GPU."""
    if not facts.gpus:
        return []
    kinds = " or ".join(ACCESS_NAMES[kind] for kind in facts.access.kinds)
    lines = [f"get GPUs by {kinds}"] if kinds else []
    return [*lines, *([f"{facts.access.note}: {facts.access.fix}"] if facts.access.note else [])]


# ------------------------------------------------------------------------------ the override files


def access_kind(files: Iterable[str]) -> str:
    """The kind of GPU access that these Compose files ask for: cdi, nvidia or none."""
    kinds = {name: kind for kind, name in OVERRIDE_FILES.items()}
    return kinds.get(override_in(files), "none")


def override_texts(
    gpu_ids: str, facts: GpuFacts, more: str = "", services: Sequence[str] = ("runtime", "dev")
) -> dict[str, str]:
    """The texts of both override files for the GPUs of GPU_IDS, by file name.

    `more` is YAML: what else these services get.
    """
    gpu_ids = re.sub(r"[^\w,:./ -]", "", gpu_ids)  # no id has what could break these files
    # In WSL a container has all GPUs, whatever it asks for:
    # https://github.com/NVIDIA/nvidia-container-toolkit/issues/21
    chosen = "" if facts.wsl else gpu_ids
    ids = split_ids(chosen)
    devices = [f"{KIND}={name}" for name in cdi_names(chosen, facts.gpus, facts.access.cdi_names)]

    def listed(values: Iterable[str], indent: int) -> str:
        return "".join(f'\n{" " * indent}- "{value}"' for value in values)

    selection = f"device_ids:{listed(ids, 14)}" if ids else "count: all"
    request = f"""\
  deploy:
    resources:
      reservations:
        devices:
          - driver: nvidia
            capabilities: [gpu, compute, utility]
            {selection}
"""
    cdi_request = f"  devices:{listed(devices, 4)}\n"
    if not abilities(facts.engine.kind, facts.engine.version).cdi_devices:
        cdi_request = f"""\
  deploy:
    resources:
      reservations:
        devices:
          - driver: cdi
            capabilities: [gpu]
            device_ids:{listed(devices, 14)}
"""
    return {
        OVERRIDE_FILES["nvidia"]: override_text("nvidia", gpu_ids, more + request, services),
        OVERRIDE_FILES["cdi"]: override_text("cdi", gpu_ids, more + cdi_request, services),
    }


# Only a container that was given GPUs has a health check. The image of an older template has no
# such file, and is not sick for that.
CHECK = "/opt/container/gpu_health.py"
HEALTH = f"""\
  # Whether the GPUs still work. An image of before the check is not sick.
  healthcheck:
    test: [CMD-SHELL, "[ ! -e {CHECK} ] || exec python -IS {CHECK}"]
    interval: 60s
    timeout: 40s
    retries: 2
"""


def override_text(kind: str, gpu_ids: str, request: str, services: Sequence[str]) -> str:
    """The text of an override file; template.sh and the entrypoint read GPUS_GIVEN."""
    return f"""\
# This machine's GPUs for the containers, by {ACCESS_NAMES[kind]}. ./template.sh writes this file
# from GPU_IDS in .env: change it there. COMPOSE_FILE in .env names it where it is used.
x-gpus: &gpus
  environment:
    GPUS_GIVEN: "{gpu_ids}"
{HEALTH}{request}
{same_for(services, "gpus")}"""


def unknown_ids(gpu_ids: str, gpus: Sequence[Gpu]) -> list[str]:
    """The ids of GPU_IDS that mean nothing on this machine."""
    known: Mapping[str, list[str]] = known_ids(gpus)
    whole = {gpu.uuid for gpu in gpus}
    return [one for one in split_ids(gpu_ids) if one not in known and one not in whole]
