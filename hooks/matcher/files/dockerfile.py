"""A Dockerfile: what its last stage is built on, and which packages its RUN lines install.

https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..hosts import BadInputError
from . import conda, conda_specs, projects, requirements
from .found import Line, Project, index_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .found import Open

_VARIABLE = re.compile(
    r"\$(?:\{(?P<name>\w+)(?:(?P<sign>:?[-+])(?P<word>[^}]*))?\}|(?P<bare>[A-Za-z_]\w*))"
)
_FROM = re.compile(
    r"(?:--platform=\S+\s+)?(?P<image>\S+)(?:\s+AS\s+(?P<name>[\w.-]+))?", re.IGNORECASE
)
_SEPARATOR = re.compile(r"&&|\|\||[;|\n()]")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")
_PYTHON_IMAGE = re.compile(r"(?:docker\.io/)?(?:library/)?python:([0-9]+\.[0-9]+)")
# Options of pip and uv with a value of its own word that name no package.
_WITH_VALUE = {
    "-t", "--target", "--prefix", "--root", "--python", "-p", "--platform", "--trusted-host",
    "--cache-dir", "--timeout", "--retries", "--src", "--abi", "--implementation", "--only-binary",
    "--no-binary", "--config-settings", "--index-strategy", "--python-version", "--progress-bar",
    "--torch-backend", "--proxy", "--cert", "--no-build-isolation-package", "--link-mode",
}  # fmt: skip
_INDEX_OPTIONS = {
    "-i", "--index-url", "--pypi-url", "--extra-index-url", "-f", "--find-links", "--index",
    "--default-index",
}  # fmt: skip
_INCLUDES = {"-r", "--requirement", "--requirements", "-c", "--constraint", "--constraints"}


class Instruction(NamedTuple):
    """An instruction with the number of its first line."""

    number: int
    word: str
    rest: str


@dataclass
class Stage:
    """A stage: its image or the stage that it goes on from, and what it installs."""

    name: str
    image: str
    line: Line
    runs: list[Instruction] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


def is_dockerfile(text: str) -> bool:
    """Whether a text begins as a Dockerfile does: with FROM, or ARG before it."""
    for line in text.splitlines():
        bare = line.strip()
        if bare and not bare.startswith("#"):
            return re.match(r"(?i)(from|arg)\s+\S", bare) is not None
    return False


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions: continued lines joined, comments and empty lines within them left out."""
    directive = re.match(r"(?:\s*#[^\n]*\n)*?\s*#\s*escape\s*=\s*(\S)", text, re.IGNORECASE)
    escape = directive[1] if directive else "\\"
    lines, at = text.splitlines(), 0
    while at < len(lines):
        number, whole = at + 1, ""
        while at < len(lines):
            line = lines[at]
            at += 1
            if not line.strip() or line.lstrip().startswith("#"):
                if whole:
                    continue
                break
            if not line.rstrip().endswith(escape):
                whole += line
                break
            whole += line.rstrip().removesuffix(escape) + " "
        word, _, rest = whole.strip().partition(" ")
        ends = [match[2] for match in _HEREDOC.finditer(rest)] if word.upper() == "RUN" else []
        for end in ends:
            while at < len(lines) and lines[at].strip() != end:
                rest += f"\n{lines[at]}"
                at += 1
            at += 1
        if word:
            yield Instruction(number, word.upper(), rest.strip())


def replaced(text: str, values: dict[str, str]) -> str:
    """A text with its variables; one without a value is empty, as in a build."""

    def value(match: re.Match[str]) -> str:
        have = values.get(match["name"] or match["bare"])
        sign, word = match["sign"] or "", match["word"] or ""
        if sign.endswith("+"):
            return word if have else ""
        return have if have or (have is not None and sign != ":-") else word

    return _VARIABLE.sub(value, text)


def _pairs(rest: str) -> list[tuple[str, str | None]]:
    """The names and values of ENV or ARG; None is an ARG without a default."""
    if "=" not in rest.split(" ", 1)[0] and " " in rest:
        name, _, value = rest.partition(" ")
        return [(name, value.strip())]
    try:
        words = shlex.split(rest)
    except ValueError:
        words = rest.split()
    parts = [word.partition("=") for word in words]
    return [(name, value if sign else None) for name, sign, value in parts]


def stages(text: str, name: str) -> list[Stage]:
    """The stages of a Dockerfile.

    Raises:
        BadInputError: it has no FROM, or one that is not understood.
    """
    found: list[Stage] = []
    before: dict[str, str] = {}
    for one in instructions(text):
        if one.word == "FROM":
            match = _FROM.fullmatch(one.rest)
            line = Line(name, one.number, f"FROM {one.rest}")
            image = replaced(match["image"], before) if match else ""
            if match is None or not image:
                raise BadInputError(f"{line} names no image: a value of an ARG is missing")
            found.append(Stage((match["name"] or "").lower(), image, line))
        elif one.word == "ARG" and not found:
            before |= {
                key: replaced(value, before) for key, value in _pairs(one.rest) if value is not None
            }
        elif found:
            _in_stage(found[-1], one, before)
    if not found:
        raise BadInputError(f"{name} is not a Dockerfile: it has no FROM")
    return found


def _in_stage(stage: Stage, one: Instruction, before: dict[str, str]) -> None:
    if one.word in {"ENV", "ARG"}:
        for key, value in _pairs(one.rest):
            # An ARG without a default has the one that it got before the first FROM.
            new = before.get(key) if value is None else replaced(value, stage.values)
            if new is not None:
                stage.values[key] = new
    elif one.word == "RUN":
        stage.runs.append(one._replace(rest=replaced(one.rest, stage.values)))
    elif one.word == "COPY" and (copied := re.search(r"--from=(\S+)", one.rest)):
        stage.copies.append(copied[1].lower())


def _line_of(found: list[Stage], name: str, stage: Stage) -> list[Stage]:
    """A stage with those that it goes on from, the first one first."""
    chain = [stage]
    index = found.index(stage)
    while True:
        earlier = [one for one in found[:index] if one.name and one.name == chain[0].image.lower()]
        if not earlier:
            return chain
        if len(chain) > len(found):
            raise BadInputError(f"{name}: the stage {stage.name} is built on itself")
        index = found.index(earlier[-1])
        chain.insert(0, earlier[-1])


def read(project: Project, text: str, name: str, open_file: Open) -> None:
    """Add what the last stage of a Dockerfile is built on and installs.

    Raises:
        BadInputError: it is no Dockerfile, or a file that it installs from cannot be read.
    """
    found = stages(text, name)
    chain = _line_of(found, name, found[-1])
    project.kind = "docker"
    project.image = chain[0].image.partition("@")[0]
    project.image_line = chain[0].line
    if python := _PYTHON_IMAGE.match(project.image):
        project.python = python[1]
    for stage in chain:
        _installs(project, stage, name, open_file)
    if project.named("torch"):
        return
    for source in found[-1].copies:
        stages_of = {one.name or str(index): one for index, one in enumerate(found)}
        if source not in stages_of:
            continue
        other = Project(kind="docker")
        for stage in _line_of(found, name, stages_of[source]):
            _installs(other, stage, name, open_file)
        if other.named("torch"):
            project.asked += other.asked
            project.limits += other.limits
            project.index, project.extra = other.index, other.extra
            project.notes += [
                *other.notes,
                f"PyTorch is installed in the stage {source}, which the last one copies from",
            ]
            return


def _environment(project: Project, stage: Stage) -> None:
    """Take the indexes that ENV names for pip and uv."""
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        if name in stage.values:
            project.env_index = index_name(stage.values[name])
    for name in ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"):
        words = stage.values.get(name, "").split()
        project.env_extra += filter(None, map(index_name, words))
    backend = stage.values.get("UV_TORCH_BACKEND", "auto")
    if backend != "auto":
        project.env_index = backend


def _installs(project: Project, stage: Stage, name: str, open_file: Open) -> None:
    _environment(project, stage)
    for run in stage.runs:
        bare = re.sub(r"(?:^|\s)--(?:mount|network|security)=\S+", " ", run.rest).strip()
        if bare.startswith("["):
            bare = " ".join(re.findall(r'"((?:\\.|[^"\\])*)"', bare))
        for part in _SEPARATOR.split(bare):
            # The < of a range within quotes is none of the shell's; those without are as written.
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            _command(project, words, Line(name, run.number, " ".join(words)), open_file)


def _command(project: Project, words: list[str], line: Line, open_file: Open) -> None:
    """Add what one command of a RUN installs, if it is one of a package manager."""
    names = [posixpath.basename(word) for word in words]
    for index, word in enumerate(names):
        rest = words[index + 1 :]
        if re.fullmatch(r"pip[0-9.]*", word) and rest[:1] in (["install"], ["sync"]):
            _pip(project, rest[1:], line, open_file)
        elif word == "uv" and rest[:1] == ["sync"]:
            _lock(project, "uv.lock", line, open_file)
        elif word == "poetry" and rest[:1] == ["install"]:
            _lock(project, "poetry.lock", line, open_file)
        elif word in {"conda", "mamba", "micromamba"} and index + 1 < len(words):
            _conda(project, rest, line, open_file)
        else:
            continue
        return


def _lock(project: Project, file: str, line: Line, open_file: Open) -> None:
    try:
        text = open_file(posixpath.join(posixpath.dirname(line.file), file))
    except BadInputError:
        project.notes.append(f"{line} installs from {file}, which is not beside it")
        return
    other = Project()
    projects.read_lock(other, text, file)
    project.asked += other.asked


def _open_beside(file: str, line: Line, open_file: Open) -> tuple[str, str]:
    """Name and text of a file of the build: below the Dockerfile's folder, or above that."""
    folder = posixpath.dirname(line.file)
    base = posixpath.basename(file)
    tries = [file.lstrip("/"), base, f"../{file.lstrip('/')}", f"../{base}"]
    for one in dict.fromkeys(tries):
        name = posixpath.normpath(posixpath.join(folder, one))
        try:
            return name, open_file(name)
        except BadInputError as error:
            if "cannot be read" not in str(error):
                raise
    return "", ""


def _pip(whole: Project, words: list[str], line: Line, open_file: Open) -> None:
    """Add what one `pip install` names; its indexes hold for this command only."""
    project = Project(kind="docker", index=whole.env_index, extra=list(whole.env_extra))
    _pip_words(project, list(words), line, open_file)
    if project.named("torch"):
        whole.index, whole.extra, whole.links = project.index, project.extra, project.links
    whole.asked += project.asked
    whole.limits += project.limits
    whole.notes += project.notes
    whole.python = whole.python or project.python


def _own(project: Project, word: str, line: Line, open_file: Open) -> None:
    """Add what the project itself asks for, where `pip install .` installs that."""
    for file in ("pyproject.toml", "setup.cfg"):
        name, text = _open_beside(file, line, open_file)
        if name:
            _included(project, name, text, open_file, limit=False)
            return
    project.notes.append(f"{line} installs {word}, whose files were not found")


def _pip_words(project: Project, rest: list[str], line: Line, open_file: Open) -> None:
    while rest:
        word = rest.pop(0)
        option, sign, value = word.partition("=")
        if option in _INCLUDES:
            value = value if sign else (rest.pop(0) if rest else "")
            name, text = _open_beside(value, line, open_file)
            if not name:
                project.notes.append(f"{line} installs from {value}, which was not found")
            else:
                _included(project, name, text, open_file, limit=option.startswith(("-c", "--c")))
        elif option in _INDEX_OPTIONS:
            value = value if sign else (rest.pop(0) if rest else "")
            given = {"--default-index": "--index-url", "--index": "--extra-index-url"}
            address = value.split("=")[-1] if option == "--index" else value
            option = given.get(option, option)
            requirements.add(
                project, Line(line.file, line.number, f"{option} {address}"), open_file
            )
        elif option == "--torch-backend":
            project.index = value or (rest.pop(0) if rest else "")
        elif re.fullmatch(r"\.{1,2}/?(\[[\w,.-]*\])?", word):
            _own(project, word, line, open_file)
        elif option in _WITH_VALUE and not sign:
            rest[:1] = []
        elif not word.startswith("-") and not re.match(r"[.$<>]|[0-9]*>", word):
            added = requirements.requirement(Line(line.file, line.number, word))
            if added:
                project.asked.append(added._replace(line=line))


def _included(project: Project, name: str, text: str, open_file: Open, *, limit: bool) -> None:
    if name.endswith("pyproject.toml"):
        projects.read_pyproject(project, text, name, open_file)
        project.kind = "docker"
        return
    if name.endswith("setup.cfg"):
        projects.read_setup_cfg(project, text, name)
        return
    other = Project()
    requirements.read(other, text, name, open_file)
    (project.limits if limit else project.asked).extend(other.asked)
    project.limits += other.limits
    project.index = other.index or project.index
    project.extra += other.extra


def _conda(project: Project, words: list[str], line: Line, open_file: Open) -> None:
    """Add what `conda install` names, or the file of `conda env create -f FILE`."""
    rest = list(words)
    verbs = {"install", "create", "update", "env"}
    if not verbs & set(rest):
        return
    while rest:
        word = rest.pop(0)
        option, sign, value = word.partition("=")
        if option in {"-f", "--file", "-c", "--channel", "-n", "--name", "-p", "--prefix"}:
            value = value if sign else (rest.pop(0) if rest else "")
            if option in {"-c", "--channel"}:
                project.channels.append(value)
            elif option in {"-f", "--file"}:
                name, text = _open_beside(value, line, open_file)
                if not name:
                    project.notes.append(f"{line} installs from {value}, which was not found")
                elif name.endswith((".yml", ".yaml")):
                    conda.read(project, text, name, open_file)
                    project.kind = "docker"
        elif not word.startswith("-") and word not in verbs and re.match(r"[\w:]", word):
            conda_specs.add(project, Line(line.file, line.number, word))
            if project.asked:
                project.asked[-1] = project.asked[-1]._replace(line=line)
