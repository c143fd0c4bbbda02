"""A local image: what its labels and environment say, and what it will do on a host.

`facts_of` reads what `docker image inspect` or `podman image inspect` prints, `judge_image` judges
it. The condition that the image sets on a host is evaluated, not looked up in a table.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..compat.table import load
from .choices import Choice, choice, from_image, spoken
from .hosts import ARCHITECTURES, BadInputError, at_least, targets
from .json_file import read_json
from .libcuda import runs_cuda
from .remedies import drivers
from .requirement_rule import InvalidRuleError, conditions, evaluate
from .rules import Coverage, coverage, judge, only_ptx
from .search import newest_branch
from .stacks import Decided, Stack, resolve
from .this_machine import place
from .typed_host import machine_of
from .verdicts import EXIT, Finding, Layer, Verdict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .hosts import Gpu, Host

BASE_LABEL = "org.opencontainers.image.base.name"
ENGINES = ("docker", "podman")
SHOWN = (
    "CUDA_VERSION", "NVIDIA_REQUIRE_CUDA", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_DISABLE_REQUIRE", "NVIDIA_PRODUCT_NAME", "NVIDIA_PYTORCH_VERSION", "PYTORCH_VERSION",
    "TORCH_CUDA_ARCH_LIST",
)  # fmt: skip


class Image(NamedTuple):
    """An image.

    Attributes:
        name: its first tag, else its id.
        tags: all tags.
        arch: x86_64, aarch64, another name, or "" where it is not said.
        environment: its variables.
        labels: its labels.
    """

    name: str
    tags: tuple[str, ...]
    arch: str
    environment: dict[str, str]
    labels: dict[str, str]

    @property
    def cuda(self) -> str | None:
        """The CUDA line of the image, None where it does not say one."""
        version = re.match(r"([0-9]{1,8}\.[0-9]{1,8})", self.environment.get("CUDA_VERSION", ""))
        return version[1] if version else None


class Told(NamedTuple):
    """What an image does on a host; `starts` is None where that is not known."""

    image: Image
    verdict: Verdict
    layer: Layer | None
    why: str
    starts: bool | None
    gpu: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def options(parser: argparse.ArgumentParser) -> None:
    """Add the option of this check to a command line; `--image NAME` is there already."""
    parser.add_argument(
        "--inspect",
        nargs="?",
        const="",
        metavar="FILE",
        help="ask the engine about the local image that --image names, or read what `docker image"
        " inspect` printed into FILE",
    )
    parser.add_argument(
        "--host",
        dest="probe",
        metavar="FILE",
        help="the host that `template.sh env --json` described: the same as --probe",
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[str]:
    """The texts of a list, [] of anything else."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def facts_of(document: object, wanted: str = "") -> Image:
    """Read what `docker image inspect` prints.

    Args:
        document: its JSON: a list with an object, or the object.
        wanted: the name of the image, where the document has several.

    Raises:
        BadInputError: it is something else.
    """
    rows = document if isinstance(document, list) else [document]
    images = [row for row in rows if isinstance(row, dict) and ("Config" in row or "Id" in row)]
    if not images:
        raise BadInputError("this is not what `docker image inspect` prints: it has no image")
    named = [row for row in images if wanted and wanted in _items(row.get("RepoTags"))]
    row = (named or images)[0]
    config = _mapping(row.get("Config"))
    pairs = [one.partition("=") for one in _items(config.get("Env"))]
    labels = _mapping(config.get("Labels") or row.get("Labels"))
    tags = tuple(_items(row.get("RepoTags")))
    arch = _text(row.get("Architecture"))
    return Image(
        name=wanted or (tags[0] if tags else _text(row.get("Id"))[:19]) or "the image",
        tags=tags,
        arch=ARCHITECTURES.get(arch, arch),
        environment={name: value for name, _, value in pairs},
        labels={key: _text(value) for key, value in labels.items()},
    )


def is_for_gpus(image: Image) -> bool:
    """Whether an image says anything about NVIDIA GPUs."""
    names = [*image.environment, *image.labels]
    return (
        any(
            name.startswith(("NVIDIA_", "NV_CUDA", "com.nvidia.")) or name == "CUDA_VERSION"
            for name in names
        )
        or "PYTORCH_VERSION" in names
    )


def _compat(image: Image) -> str:
    """What became of the libraries of cuda-compat: "image" (they are there) or "remove".

    An image of Hearth without them asks for any driver of its CUDA's major.
    """
    major = (image.cuda or "").partition(".")[0]
    asks = image.environment.get("NVIDIA_REQUIRE_CUDA") == f"cuda>={major}.0"
    return "remove" if asks and BASE_LABEL in image.labels else "image"


def choice_of(image: Image) -> Choice | None:
    """The choice that an image amounts to; None where the table does not know what is in it."""
    environment = image.environment
    release = environment.get("NVIDIA_PYTORCH_VERSION", "")
    product = environment.get("NVIDIA_PRODUCT_NAME", "PyTorch")  # Triton's images name both
    if re.fullmatch(r"[0-9]{2}\.[0-9]{2}", release) and product == "PyTorch":
        made = choice(service="ngc", ngc_release=release, project=False)
        return made._replace(compat="image")
    base = image.labels.get(BASE_LABEL, "")
    for name in filter(None, (*(image.tags or (image.name,)), base)):
        try:
            found = from_image(name)
        except BadInputError:
            continue
        if found.service != "devel":
            return found
        # What is compiled in it is the user's own: the image itself needs no compiler.
        return found._replace(flavour="runtime", compat=_compat(image))
    if image.cuda:
        made = choice(service="devel", cuda=image.cuda, flavour="runtime", project=False)
        return made._replace(compat=_compat(image))
    version = re.match(
        r"[0-9]{1,8}\.[0-9]{1,8}\.[0-9]{1,8}", environment.get("PYTORCH_VERSION", "")
    )
    return choice(torch=version[0], project=False) if version else None


def _start(image: Image, machine: Host) -> Iterator[Finding]:
    """What the image's own conditions say about each GPU."""
    for gpu in machine.gpus:
        for condition in conditions(image.environment):
            first = condition.split(" ")[0]
            on = f"on driver {machine.driver or '(not known)'} with {gpu.label}"
            try:
                result = evaluate(condition, machine, gpu)
            except InvalidRuleError:
                why = f"{image.name} does not start: its condition {first} is not understood"
                yield Finding(Verdict.FAILS, Layer.IMAGE_START_CHECK, why, gpu.label)
                continue
            if result is None:
                why = f"it is not known whether {image.name} starts {on} ({first})"
                yield Finding(Verdict.UNKNOWN, Layer.IMAGE_START_CHECK, why, gpu.label)
            elif not result:
                why = f"{image.name} does not start {on} (unsatisfied condition: {first})"
                yield Finding(Verdict.FAILS, Layer.IMAGE_START_CHECK, why, gpu.label)


def _stack_of(image: Image, wanted: Choice | None, arch: str) -> Stack:
    """What compiles and runs in an image: its CUDA, and whether it has cuda-compat libraries."""
    try:
        found = resolve(wanted, load(), arch) if wanted else None
    except Decided:
        found = None
    made = found or Stack(image.name, has_compat=None)
    return made._replace(name=image.name, cuda=image.cuda or made.cuda)


def _lacks_code(machine: Host, gpu: Gpu, stack: Stack, entries: tuple[str, ...]) -> str:
    """Why a compiled list gives a GPU no code that its driver takes; empty if it does."""
    table = load()
    found = coverage(targets(entries), gpu.cc or "", table)
    if found is Coverage.CUBIN:
        return ""
    listed = f"{stack.name} is compiled for {spoken([*entries])}"
    if found is Coverage.NONE:
        return f"{listed}, not for {gpu.label}"
    if found is Coverage.FAMILY:
        return f"{listed}, and it is not known whether its family targets run on {gpu.label}"
    if stack.cuda is None:
        return f"{listed}: only PTX for {gpu.label}, of a CUDA that is not known"
    verdict, why = only_ptx(gpu, stack, runs_cuda(machine, gpu, stack, table))
    return "" if verdict is Verdict.WORKS else why


def _compiled(image: Image, machine: Host, wanted: Choice | None) -> Iterator[Finding]:
    """What TORCH_CUDA_ARCH_LIST says about each GPU: it is what was compiled in the image."""
    listed = image.environment.get("TORCH_CUDA_ARCH_LIST", "").strip(" ;")
    entries = tuple(re.split(r"[ ;]+", listed)) if listed else ()
    try:
        targets(entries)
    except BadInputError:  # names of architectures, such as Ampere
        return
    stack = _stack_of(image, wanted, machine.arch)
    for gpu in machine.gpus:
        why = _lacks_code(machine, gpu, stack, entries) if entries and gpu.cc else ""
        if not why:
            continue
        verdict, more = Verdict.UNKNOWN, "what else is in it is not known"
        if image.environment.get("NVIDIA_PRODUCT_NAME") == "PyTorch":
            verdict, more = Verdict.FAILS, "no kernel image is available for the device"
        yield Finding(verdict, Layer.KERNEL_IMAGE, f"{why}; {more}", gpu.label)


def _capabilities(image: Image, access: str) -> Iterator[Finding]:
    """Without `compute` among the capabilities the runtime mounts no libcuda; CDI mounts all."""
    listed = image.environment.get("NVIDIA_DRIVER_CAPABILITIES", "")
    names = {name.strip() for name in listed.split(",")}
    if listed and not names & {"all", "compute"} and access != "cdi":
        yield Finding(
            Verdict.FAILS,
            Layer.DRIVER,
            f"NVIDIA_DRIVER_CAPABILITIES={listed} of {image.name} leaves out compute, so libcuda is"
            " not mounted: start it with -e NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )


def judge_image(image: Image, machine: Host) -> Told:
    """Say what an image does on a host.

    Raises:
        BadInputError: it is not an image for NVIDIA GPUs.
    """
    if not is_for_gpus(image):
        raise BadInputError(
            f"{image.name} is not an image for NVIDIA GPUs: it has neither CUDA_VERSION nor another"
            " variable of NVIDIA's"
        )
    access = machine.access
    checks = list(_start(image, machine))
    notes = _start_notes(image, checks, access)
    if access == "cdi":
        checks = []
    foreign = bool(image.arch) and image.arch != machine.arch
    wanted = choice_of(image)
    own = judge(machine, wanted) if wanted else None
    # The image's own condition takes the place of the table's, and the image exists.
    skipped = {Layer.IMAGE_START_CHECK, Layer.IMAGE_TAG, Layer.PLATFORM}
    findings = [one for one in (own.findings if own else ()) if one.layer not in skipped]
    findings = [*checks, *findings, *_capabilities(image, access)]
    if foreign:
        why = f"{image.name} is for {image.arch}, and the host is {machine.arch}: exec format error"
        findings.insert(0, Finding(Verdict.FAILS, Layer.PLATFORM, why))
    if wanted is None or wanted.service != "ngc":
        findings += _compiled(image, machine, wanted)
    starts = False if foreign else _starts(checks)
    if findings:
        one = _decides(findings)
        return Told(
            image, one.verdict, one.layer, one.why, starts, one.gpu, tuple(findings), tuple(notes)
        )
    if own is None or not own.verdict.works:
        why = own.why if own else f"which CUDA is in {image.name} is not known"
        layer = own.layer if own else None
        return Told(image, Verdict.UNKNOWN, layer, why, starts, "", (), tuple(notes))
    return Told(image, Verdict.WORKS, None, own.why, starts, "", (), tuple(notes))


def _start_notes(image: Image, checks: list[Finding], access: str) -> list[str]:
    """What to say of how containers get GPUs, and whether the image asks for any."""
    notes = []
    if checks and access == "cdi":
        notes.append(
            "containers get GPUs by CDI on this host, which does not check NVIDIA_REQUIRE_CUDA"
        )
    elif not access and any(one.verdict is Verdict.FAILS for one in checks):
        notes.append("where containers get GPUs by CDI, this condition is not checked")
    if image.environment.get("NVIDIA_VISIBLE_DEVICES") in {"void", "none"}:
        notes.append("the image asks for no GPU: start it with --gpus all")
    return notes


def _decides(findings: list[Finding]) -> Finding:
    """The finding that decides: the first that fails, else the first unknown, else the worst."""
    for verdict in (Verdict.FAILS, Verdict.UNKNOWN):
        for one in findings:
            if one.verdict is verdict:
                return one
    return max(findings, key=lambda one: one.verdict.rank)


def _starts(checks: list[Finding]) -> bool | None:
    verdicts = {one.verdict for one in checks}
    if Verdict.FAILS in verdicts:
        return False
    return None if Verdict.UNKNOWN in verdicts else True


# --- the command ----------------------------------------------------------------------------------


def _asked_engine(name: str) -> object:
    """What the first engine that answers says about an image.

    Raises:
        BadInputError: there is no engine, it does not answer, or it has no such image.
    """
    if name.startswith("-") or not name.strip() or "\0" in name:
        raise BadInputError(f"{name!r} is not the name of an image")
    failure = "neither docker nor podman is installed: give what `docker image inspect` printed"
    for engine in ENGINES:
        try:
            done = subprocess.run(
                [engine, "image", "inspect", name],
                capture_output=True,
                check=False,
                timeout=20,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            continue
        except (OSError, subprocess.TimeoutExpired):
            failure = f"{engine} does not answer"
            continue
        if done.returncode == 0:
            return _document(done.stdout, f"the answer of {engine}")
        said = done.stderr.strip().splitlines()
        if re.search(r"(?i)no such image|image not known|not found", done.stderr):
            failure = f"{engine} has no image {name} here. Run: {engine} pull {name}"
        else:
            failure = f"{engine} image inspect failed: {said[-1][:120] if said else 'no reason'}"
    raise BadInputError(failure)


def _document(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadInputError(f"{name} is not JSON") from None


def _facts(image: Image) -> dict[str, str]:
    return {name: image.environment[name] for name in SHOWN if name in image.environment}


def _remedies(image: Image, machine: Host, told: Told) -> list[str]:
    """What to paste where another driver would do: the branch that NVIDIA supports for longest."""
    if told.verdict is not Verdict.FAILS or machine.driver is None:
        return []
    last = newest_branch(machine)
    for branch in load().recommended:
        newer = machine._replace(driver=str(branch), cuda=None)
        if branch > last or at_least(machine.driver, str(branch)):
            continue
        if judge_image(image, newer).verdict.works:
            found = [*drivers(machine, branch, place())]
            return [f"# with a driver of branch {branch} it works:", *found]
    return []


def _as_json(told: Told, remedies: list[str]) -> dict[str, Any]:
    """The machine-readable answer; keys are stable."""
    return {
        "image": told.image.name,
        "architecture": told.image.arch or None,
        "environment": _facts(told.image),
        "starts": told.starts,
        "verdict": told.verdict.value,
        "layer": told.layer.value if told.layer else None,
        "why": told.why,
        "gpu": told.gpu,
        "notes": list(told.notes),
        "remedies": remedies,
    }


def _said(told: Told) -> list[str]:
    facts = _facts(told.image)
    first, *more = facts.pop("NVIDIA_REQUIRE_CUDA", "").split() or [""]
    if first:
        facts["NVIDIA_REQUIRE_CUDA"] = f"{first} or {len(more)} more" if more else first
    shown = ", ".join(f"{name}={value[:60]}" for name, value in facts.items())
    starts = {True: "starts", False: "does not start", None: "may not start"}[told.starts]
    layer = f" ({told.layer.value})" if told.layer else ""
    head = f"{told.image.name} ({told.image.arch or 'architecture not said'})"
    return [
        f"{head}: {shown}." if shown else f"{head}.",
        f"It {starts} on this host: {told.verdict.value}{layer}",
        f"{told.why}.",
        *(f"{note[:1].upper()}{note[1:]}." for note in told.notes),
    ]


def _is_there(name: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # too long, or with a byte that no name has
        return Path(name).exists()
    return False


def run(options: argparse.Namespace) -> int | None:
    """Inspect the image that the options name, and print what it does.

    Returns:
        The exit status; None where the options ask for no inspection.

    Raises:
        BadInputError: no such image, no engine, or no host.
    """
    if options.inspect is None:
        return None
    if not options.inspect and not options.image:
        raise BadInputError("--inspect needs an image: name it with --image, or give a FILE")
    if options.image and options.inspect not in {"", "-"} and not _is_there(options.inspect):
        options.gpus.insert(0, options.inspect)  # --image NAME --inspect 4090: no file, a GPU
        options.inspect = ""
    document = (
        read_json(options.inspect, "the JSON of `docker image inspect`")
        if options.inspect
        else _asked_engine(options.image)
    )
    image = facts_of(document, options.image or "")
    if not is_for_gpus(image):
        raise BadInputError(
            f"{image.name} is not an image for NVIDIA GPUs: it sets no CUDA_VERSION"
        )
    host = machine_of(options)
    if host is None:
        raise BadInputError(
            "no NVIDIA GPU was found there: name GPU and driver, as in 4090 --driver 570"
        )
    told = judge_image(image, host)
    remedies = _remedies(image, host, told)
    if options.json:
        print(json.dumps(_as_json(told, remedies), indent=2))
    else:
        print(*_said(told), *[""][: len(remedies)], *(f"  {one}" for one in remedies), sep="\n")
    return EXIT.get(told.verdict, 0)
