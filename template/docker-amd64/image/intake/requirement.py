"""One requirement as pip reads it: what becomes of it in a project with these answers.

`judge` asks the rules below in order; the first that has something to say decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from . import family
from .found import (
    CHANGED,
    CONDA,
    PIP,
    TAKEN,
    Verdict,
    Wanted,
    decided_by_answer,
    fits,
    left_out,
    pinned,
    specifiers,
    unreadable,
)
from .lists import unquoted
from .names import (
    CONDA_ITSELF,
    MISNAMED,
    OTHER_PLATFORM,
    REQUIREMENT,
    normal,
    pip_name,
    python_has,
)
from .text import without_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ARCHIVES = (".whl", ".tar.gz", ".tgz", ".tar.bz2", ".zip", ".egg")
# The images: what a marker is compared with.
LINUX = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_release": "6.1.0",
    "platform_version": "#1 SMP",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "extra": "",
}
# A marker on Python may hold with another answer: these stand for all that there are.
PYTHONS = ("2.7", *(f"3.{minor}" for minor in range(5, 20)))
CLAUSE = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)\s*([^\s,]+)\s*")
# Folders in which conda's packages are built. A package of any other folder is somebody's own, and
# one of the same name on PyPI need not be the same.
CONDA_BUILD = re.compile(
    r"feedstock_root|/croot/|/conda-bld/|rattler-build|[/\\]abs_|/tmp/build/|/(home|Users)/builder/|"
    r"/Users/runner/|/home/task_|/opt/conda/|/Users/ktietz/|\\b\\abs"
)
OUTSIDE = "a build does not see the files of the code folder"
NETRC = "which goes into the file of NETRC_FILE in .env"
OTHER_SYSTEMS = {"win": "Windows", "macosx": "macOS", "ios": "iOS", "android": "Android"}


@dataclass(frozen=True)
class Asked:
    """A requirement in its parts.

    Attributes:
        written: the line as it is there.
        name: normalised, "" of a bare address that tells none.
        shown: the name as it is written.
        extras: with their brackets.
        version: the clause, "" for any.
        address: "" without one.
        marker: without its semicolon.
        given: further index pages are known, which may have a version with a local part.
    """

    written: str
    name: str
    shown: str = ""
    extras: str = ""
    version: str = ""
    address: str = ""
    marker: str = ""
    given: bool = False

    def line(self, **changes: str) -> str:
        """The requirement with other parts, as PEP 508 has it."""
        now = replace(self, **changes)  # type: ignore[arg-type]  # only texts are replaced
        marker = f" ; {now.marker}" if now.marker else ""
        if now.address and not now.shown:
            return f"{now.address}{marker}"
        address = f" @ {now.address}" if now.address else ""
        return f"{now.shown}{now.extras}{now.version}{address}{marker}"


def parts(text: str) -> Asked | None:
    """A requirement's parts, None where it is none."""
    line = " ".join(text.split())
    if re.match(r"(?:(?:git|hg|svn|bzr)\+|https?:|ftp:|ssh:)\S", line):
        address, _, marker = line.partition(" ;")
        return bare_address(line, address.strip(), marker.strip())
    match = REQUIREMENT.fullmatch(line.rstrip(",; "))
    if match is None:
        return None
    rest = (match["rest"] or "").strip()
    extras = re.sub(r"\s", "", match["extras"] or "")
    name = match["name"]
    if rest.startswith("@"):
        address, _, marker = rest[1:].partition(" ;")
        return Asked(line, normal(name), name, extras, "", address.strip(), marker.strip())
    version, _, marker = rest.partition(";")
    version = version.strip()
    if version.startswith("(") and version.endswith(")"):
        version = version[1:-1].strip()
    return Asked(line, normal(name), name, extras, version, "", marker.strip())


def bare_address(line: str, address: str, marker: str) -> Asked:
    """A requirement that is an address; its name is that of #egg, or of the file."""
    egg = re.search(r"[#&]egg=([\w.-]+)(\[[\w,. -]*\])?", address)
    if egg:
        left = re.sub(r"(?<=[#&])egg=[^&]*&?", "", address).rstrip("#&")
        return Asked(line, normal(egg[1]), egg[1], egg[2] or "", "", left, marker)
    wheel = wheel_of(address)
    shown = wheel.name if wheel else ""
    name = normal(shown) or family.of_repository(address) or pip_name(address)
    return Asked(line, name, shown, "", "", address, marker)


@dataclass(frozen=True)
class Wheel:
    """What the name of a wheel tells."""

    name: str
    version: str
    tags: tuple[tuple[str, str, str], ...]


def wheel_of(address: str) -> Wheel | None:
    """The wheel that an address ends in, None where it is none."""
    # Not by urlsplit, which raises for brackets in the place of a host.
    path = re.split(r"[?#]", address, maxsplit=1)[0] if "://" in address else address
    file = unquote(path).rpartition("/")[2]
    file = file.rpartition("\\")[2]
    if not file.endswith(".whl"):
        return None
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, ValueError):
        return None
    sorted_tags = sorted((tag.interpreter, tag.abi, tag.platform) for tag in tags)
    return Wheel(str(name), str(version), tuple(sorted_tags))


# --- rules ----------------------------------------------------------------------------------------


def other_platform(asked: Asked, wanted: Wanted) -> Verdict | None:
    """A package or a marker for another platform."""
    del wanted
    if OTHER_PLATFORM.fullmatch(asked.name):
        return left_out("as it is for another platform")
    if not asked.marker:
        return None
    try:
        marker = Marker(asked.marker)
    except InvalidMarker:
        return unreadable("its marker is none")
    if not any(holds(marker, python) for python in PYTHONS):
        return left_out("as its marker never holds in the images")
    return None


def holds(marker: Marker, python: str) -> bool:
    """Whether a marker holds on Linux with this Python."""
    here = {**LINUX, "python_version": python, "python_full_version": f"{python}.1"}
    here["implementation_version"] = here["python_full_version"]
    try:
        return bool(marker.evaluate(here))
    except (UndefinedComparison, UndefinedEnvironmentName, ValueError):
        return True


def decided(asked: Asked, wanted: Wanted) -> Verdict | None:
    """Python and PyTorch, which answers decide."""
    name = "torch" if asked.name == "pytorch" else asked.name  # PyPI's pytorch only names torch
    question = family.ANSWERS.get(name)
    if question is None:
        return None
    if name in {"torch", "python"} and wanted.base_has_torch:
        return left_out("the base image has its own")
    if question == "torch_version" and not wanted.torch and wanted.manager == "pip":
        return None  # somebody brings a framework of their own
    if question in {"cuda_version", "accelerator"}:
        return left_out("it is a package of conda, and an answer decides it")
    version = re.sub(r"\+[\w.]+", "", asked.version) or pinned_by_file(asked)
    return decided_by_answer(question, readable(version) or version, wanted)


def pinned_by_file(asked: Asked) -> str:
    """The version of a wheel at an address, as a pin."""
    wheel = wheel_of(asked.address) if asked.address else None
    return f"=={wheel.version.partition('+')[0]}" if wheel else ""


def of_base_image(asked: Asked, wanted: Wanted) -> Verdict | None:
    """What a base image with its own PyTorch has."""
    if wanted.base_has_torch and family.base_image_has(asked.name):
        return left_out("the base image has its own")
    return None


def with_torch(asked: Asked, wanted: Wanted) -> Verdict | None:
    """What comes with PyTorch, or follows its version."""
    if not wanted.torch and (wanted.manager == "pip" or family.comes_with_torch(asked.name)):
        return None
    if family.comes_with_torch(asked.name):
        return left_out(
            "conda's PyTorch brings its own"
            if wanted.manager == "conda"
            else "PyTorch brings the one that fits it"
            if wanted.accelerator == "cuda"
            else "only PyTorch for CUDA needs it"
        )
    follower = family.FOLLOWERS.get(asked.name)
    if follower is None:
        return None
    if follower.ended and wanted.torch:
        return left_out(follower.ended)
    if wanted.manager == "conda" and follower.conda:
        same = asked.name == asked.written
        reason = "left to conda, whose build matches its PyTorch"
        return Verdict(TAKEN if same else CHANGED, reason, follower.conda, CONDA)
    return following(asked, follower, wanted)


def following(asked: Asked, follower: family.Follower, wanted: Wanted) -> Verdict | None:
    """What pip installs to go with PyTorch."""
    wheel = wheel_of(asked.address) if asked.address else None
    if wheel:
        return wheel_for_torch(asked, wheel, follower, wanted)
    if asked.address:
        return None if not follower.compiled else compiled(asked, wanted)
    if follower.exact and asked.version and not is_kept(asked.version, follower):
        line = asked.line(version="")
        reason = "taken without its version, which follows PyTorch's"
        return Verdict(CHANGED, reason, line, PIP, compiled=follower.compiled)
    return compiled(asked, wanted) if follower.compiled else None


def is_kept(version: str, follower: family.Follower) -> bool:
    """Whether a pin names no exact PyTorch."""
    since, pin = follower.kept_from, pinned(version)
    return bool(since) and (not pin or fits(pin, f">={since}"))


def compiled(asked: Asked, wanted: Wanted) -> Verdict:
    """What is compiled against PyTorch: by the rules of all others, with a mark."""
    plain = plain_verdict(asked, wanted)
    return replace(plain, compiled=bool(plain.becomes))


def wheel_for_torch(
    asked: Asked, wheel: Wheel, follower: family.Follower, wanted: Wanted
) -> Verdict | None:
    """A wheel of the family at an address: it is for the PyTorch that its version tells."""
    told = re.search(r"(?:torch|pt)[-_.]?(\d+(?:\.\d+)*)", wheel.version, re.IGNORECASE)
    here = wanted.torch
    if told and fits_torch(told[1], here):
        return None
    if not told and not follower.exact:
        return None
    line = asked.line(address="", shown=asked.shown or asked.name)
    other = f"taken by its name, as the wheel at its address is for another PyTorch than {here}"
    return Verdict(CHANGED, other, line, PIP, compiled=follower.compiled)


def fits_torch(told: str, here: str) -> bool:
    """Whether 2.3, or 23 as some write it, is this PyTorch."""
    major, minor = family.release(here)
    return told in {here, f"{major}.{minor}", f"{major}{minor}", f"{major}{minor}0"}


def needed_otherwise(asked: Asked, wanted: Wanted) -> Verdict | None:
    """A version that Hearth or PyTorch cannot do with."""
    own = family.OWN.get(asked.name, "")
    if own and not asked.address and (clashes(asked.version, own)):
        return left_out(f"as the entrypoint needs {asked.name}{own} to install your project")
    needs = family.torch_needs(asked.name, wanted.torch)
    if needs and forbids(asked.version, needs):
        reason = f"taken without its version, as PyTorch needs {asked.name}{needs}"
        return Verdict(CHANGED, reason, asked.line(version=""), PIP)
    return None


def forbids(version: str, needs: str) -> bool:
    """Whether a clause has no version in common with what something needs."""
    pin = pinned(version)
    return bool(pin and not fits(pin, needs)) or (needs[:2] == ">=" and clashes(version, needs))


def clashes(version: str, own: str) -> bool:
    """Whether a clause forbids every version of `own`, which is `>=X`."""
    least = own.removeprefix(">=")
    for clause in version.split(","):
        match = CLAUSE.fullmatch(clause)
        if match is None:
            continue
        sign, value = match.groups()
        if sign == "~=":
            sign, value = "==", f"{value.rpartition('.')[0]}.*"
        series = value.endswith(".*") and fits(least, f"=={value}")
        value = value.removesuffix(".*")
        if sign in {"==", "===", "<="} and not series and fits(value, f"<{least}"):
            return True
        if sign == "<" and fits(value, f"<={least}"):
            return True
    return False


def not_on_pypi(asked: Asked, wanted: Wanted) -> Verdict | None:
    """Names that PyPI has no such package for."""
    del wanted
    if asked.address and not asked.address.startswith("file:"):
        return None
    if CONDA_ITSELF.fullmatch(asked.name):
        return left_out("conda itself is made of it")
    if python_has(asked.name):
        return left_out("Python has it itself")
    if other := MISNAMED.get(asked.name):
        line = asked.line(shown=other, version="", address="")
        return Verdict(CHANGED, f"taken as {other}, which is its name on PyPI", line, PIP)
    return None


RULES: tuple[Callable[[Asked, Wanted], Verdict | None], ...] = (
    other_platform,
    decided,
    of_base_image,
    with_torch,
    needed_otherwise,
    not_on_pypi,
)


def judge(text: str, wanted: Wanted, *, given: bool = False) -> Verdict:
    """What becomes of a requirement, without the options behind it.

    Args:
        text: one line, comments and blanks around it cut off.
        wanted: the answers.
        given: whether further indexes are taken, which may have versions with a local part.
    """
    if local := path_verdict(text, wanted.manager):
        return local
    asked = parts(text)
    if asked is None:
        return unreadable("it is no requirement")
    asked = replace(asked, given=given)
    for rule in RULES:
        if verdict := rule(asked, wanted):
            return checked(verdict)
    return checked(plain_verdict(asked, wanted))


def checked(verdict: Verdict) -> Verdict:
    """A verdict whose requirement pip can read, else that it is none."""
    if verdict.kind != PIP:
        return verdict
    if re.match(r"\S+://", verdict.becomes):
        known = pip_name(verdict.becomes)
        return verdict if known else unreadable("its address tells no name, write `name @ address`")
    try:
        Requirement(verdict.becomes)
    except InvalidRequirement:
        return unreadable("it is no requirement")
    return verdict


def path_verdict(text: str, manager: str) -> Verdict | None:
    """The verdict on a file or folder of one machine, None for what is no path."""
    line = unquoted(text)
    where = line.partition(" ;")[0].strip()
    if re.fullmatch(r"\.[\\/]?(\[[^\]]*\])?", where):
        return left_out("as it is the project itself, which is installed when a container starts")
    is_path = re.match(r"[./~\\]|file:|[A-Za-z]:[\\/]", where) or (
        "://" not in where
        and " @ " not in where
        and "+" not in where.partition("/")[0]
        and (where.endswith(ARCHIVES) or re.fullmatch(r"[\w.-]+([\\/][\w.-]+)+[\\/]?", where))
    )
    if not is_path:
        return None
    wheel = wheel_of(where)
    if wheel and (why := why_no_wheel_fits(wheel, "")):
        return left_out(f"as {why}")
    if re.match(r"[/~]|file:|[A-Za-z]:[\\/]", where):
        return left_out("as it is a path of one machine")
    instead = "PYTHONPATH in compose.override.yaml makes it importable"
    if where.endswith(ARCHIVES):
        instead = "ask for a release of an index, or install it in dependencies/post-install.sh"
    if wheel and manager == "pip":
        instead = "copy it to dependencies/wheels and run template.sh add --image wheels/NAME.whl"
    return left_out(f"as {OUTSIDE}: {instead}")


def plain_verdict(asked: Asked, wanted: Wanted) -> Verdict:
    """A package that none of the rules is about."""
    if asked.address:
        return address_verdict(asked, wanted)
    version = readable(asked.version)
    if version is None:
        line = asked.line(version="")
        return Verdict(CHANGED, "taken without its version, which pip cannot read", line, PIP)
    bare = re.sub(r"\+[\w.]+", "", version)
    if bare != version and not asked.given:
        reason = "taken without the local part of its version, which only another index has"
        return Verdict(CHANGED, reason, asked.line(version=bare), PIP)
    if version != asked.version.strip():
        reason = "taken with its version as pip reads it"
        return Verdict(CHANGED, reason, asked.line(version=version), PIP)
    return Verdict(TAKEN, "", asked.written.rstrip(",; "), PIP)


def readable(version: str) -> str | None:
    """A version clause that pip can read: >=1.2.* means >=1.2; None where nothing helps."""
    if specifiers(version) is not None and not re.search(r"[<>~]=?[^,]*\.\*", version):
        return version
    clauses = [CLAUSE.fullmatch(clause) for clause in version.split(",") if clause.strip()]
    found = []
    for match in clauses:
        if match is None:
            return None
        sign, value = match.groups()
        ordered = sign not in {"==", "!=", "==="}
        found.append(f"{sign}{value.removesuffix('.*') if ordered else value}")
    mended = ",".join(found)
    return mended if specifiers(mended) is not None else None


# --- addresses ------------------------------------------------------------------------------------


def address_verdict(asked: Asked, wanted: Wanted) -> Verdict:
    """A requirement at an address."""
    address = asked.address
    if re.match(r"git\+git@|git@|(git\+)?ssh://|git\+(git|http)://", address):
        return over_https(asked)
    if address.startswith("file:") or "://" not in address:
        return without_path(asked)
    if why := why_no_address(address, wanted):
        return left_out(why)
    return with_address(asked, address, "")


def why_no_address(address: str, wanted: Wanted) -> str:
    """Why nothing can be had from an address, "" where it can be tried."""
    if "${" in re.sub(r"//[^/@]*@", "//", address):
        return "as its address has an environment variable, which a lock cannot have"
    if re.match(r"(hg|svn|bzr)\+", address):
        return "as uv installs from git only"
    if address.startswith("git+file:"):
        return "as it is a path of one machine"
    wheel = wheel_of(address)
    why = why_no_wheel_fits(wheel, wanted.python) if wheel else ""
    return f"as {why}" if why else ""


def with_address(asked: Asked, address: str, reason: str) -> Verdict:
    """A requirement at this address, without its password."""
    bare = without_secret(address)
    if bare != address:
        reason = f"taken without its password, {NETRC}"
    if not bare.isprintable() or re.search(r"[\s\"'<>]", bare):
        return unreadable("its address is none")
    return Verdict(CHANGED if reason else TAKEN, reason, asked.line(address=bare), PIP)


def over_https(asked: Asked) -> Verdict:
    """A repository over SSH, for which a build has no key."""
    match = re.fullmatch(
        r"(?:git\+)?(?:(?:ssh|git|http)://)?(?:[^@/\s]+@)?([\w.-]+)(?::\d+(?=/))?[:/](\S+)",
        asked.address,
    )
    if match is None:
        return unreadable("its address is none")
    reason = f"taken over https, as builds have no SSH key; a password for it is one {NETRC}"
    return with_address(asked, f"git+https://{match[1]}/{match[2].lstrip('/')}", reason)


def without_path(asked: Asked) -> Verdict:
    """`name @ file:///...`, as conda's pip freezes it: the package without the path."""
    wheel = wheel_of(asked.address)
    if wheel and normal(wheel.name) == asked.name:
        version = f"=={wheel.version.partition('+')[0]}"
        reason = "taken by the version of its file, as its address is a path of one machine"
        return Verdict(CHANGED, reason, asked.line(address="", version=version), PIP)
    if not CONDA_BUILD.search(asked.address):
        return left_out("as it is a path of one machine")
    reason = "taken without its address, which is a path of one machine, so in any version"
    return Verdict(CHANGED, reason, asked.line(address=""), PIP)


def why_no_wheel_fits(wheel: Wheel, python: str) -> str:
    """Why a wheel cannot be installed in the images, "" where it can."""
    systems = {platform for _, _, platform in wheel.tags}
    if not any(is_linux(platform) for platform in systems):
        first = min(systems)
        name = next((name for key, name in OTHER_SYSTEMS.items() if first.startswith(key)), first)
        return f"it is a wheel for {name}"
    if python and not any(runs_on(tag, python) for tag in wheel.tags):
        others = sorted({interpreter for interpreter, _, _ in wheel.tags})
        return f"it is a wheel for {', '.join(others)}, and python_version is {python}"
    return ""


def is_linux(platform: str) -> bool:
    """Whether a tag's platform is that of the images."""
    return platform == "any" or (
        platform.startswith(("linux", "manylinux")) and platform.endswith("x86_64")
    )


def runs_on(tag: Iterable[str], python: str) -> bool:
    """Whether a tag is for this Python."""
    interpreter, abi, _ = tag
    minor = int(python.partition(".")[2])
    match = re.fullmatch(r"(cp|py)3(\d*)", interpreter)
    if match is None:
        return "py3" in interpreter
    if match[1] == "py" or abi in {"abi3", "none"}:
        return int(match[2] or 0) <= minor
    return match[2] == str(minor)


def merged(first: str, second: str) -> str | None:
    """Two lines for one package as one, None where they cannot be joined."""
    one, other = parts(first), parts(second)
    if one is None or other is None or one.address or other.address:
        return None
    if one.marker != other.marker:
        return None
    clauses = list(
        dict.fromkeys(
            clause.strip()
            for clause in f"{one.version},{other.version}".split(",")
            if clause.strip()
        )
    )
    extras = sorted({e for part in (one, other) for e in part.extras.strip("[]").split(",") if e})
    return one.line(version=",".join(clauses), extras=f"[{','.join(extras)}]" if extras else "")


def contradict(first: str, second: str) -> bool:
    """Whether a version that one line names is none that the other wants."""
    one, other = parts(first), parts(second)
    if one is None or other is None:
        return False
    pins = [(pinned(a.version), b.version) for a, b in ((one, other), (other, one))]
    return any(pin and asked and not fits(pin, asked) for pin, asked in pins)


def holds_here(line: str, python: str) -> bool:
    """Whether a requirement's marker holds in the images, with this Python if it is known."""
    asked = parts(line)
    if asked is None or not asked.marker or not python:
        return True
    try:
        return holds(Marker(asked.marker), python)
    except InvalidMarker:
        return True
