"""Reads conda's environment files and edits them line by line: comments and order stay as they are.

`parse` says what a file means, `put`, `remove` and `add_channel` change single lines of it. `take`
reads an environment.yml from elsewhere, `from_requirements` what pip's way lists: both give lines
for the project's own file and a note on everything that had to change. `to_requirements` goes the
way back.

Python 3.10 or newer with PyYAML: Copier's, and the one of the build stages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAIN, CUDA, DEV = "environment.yml", "environment-cuda.yml", "environment-dev.yml"
# Where code that was there before may list its packages; the first of them is taken in.
EXISTING = (MAIN, "environment.yaml", "requirements.txt")
FORGE, NO_DEFAULTS = "conda-forge", "nodefaults"
# Owned by the template: what decides their versions.
ANSWERS = {
    "python": "python_version",
    "pytorch": "torch_version",
    "pytorch-gpu": "torch_version",
    "pytorch-cpu": "torch_version",
    "torch": "torch_version",
    "pytorch-cuda": "cuda_version",
    "cudatoolkit": "cuda_version",
    "cuda-version": "cuda_version",
    "cpuonly": "accelerator",
    "pytorch-mutex": "accelerator",
}
# Compiled against one release of PyTorch, so the solver finds the version.
WITH_TORCH = {"torchvision", "torchaudio"}
# What pip's PyTorch brings along; conda's has packages of its own for it.
OF_PIP_TORCH = re.compile(r"torch|triton|pytorch-triton|nvidia-[a-z0-9-]+-cu\d+|cuda-bindings")
# Channels that an environment of conda-forge does without, and why.
NO_CHANNELS = {
    "defaults": "its owner charges for it",
    "main": "its owner charges for it",
    "r": "its owner charges for it",
    "anaconda": "its owner charges for it",
    "free": "its owner charges for it",
    "msys2": "it is for Windows",
    "pytorch": "PyTorch is no longer published there, conda-forge has it",
    "pytorch-nightly": "PyTorch is no longer published there, conda-forge has it",
    "nvidia": "conda-forge has CUDA",
}
OTHER_PLATFORM = re.compile(
    r"vc|vc14_runtime|vs20\d\d_.*|ucrt|msys2-.*|m2w64-.*|pywin32(-.*)?|pywinpty|win_inet_pton|wincertstore|"
    r"menuinst|console_shortcut|libcxx|appnope|pyobjc(-.*)?|python\.app|tapi|ld64|cctools|__.*"
)
# Lines of an export that the solver adds by itself.
BOOKKEEPING = {"_libgcc_mutex", "_openmp_mutex"}
# What the template's own lines have: without a version, there is nothing to take.
OURS = {"pip", "setuptools"}
# conda's names of Python packages that PyPI knows by another one.
PYPI_NAMES = {
    "brotli-python": "brotli",
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "pyg": "torch-geometric",
    "pytorch_geometric": "torch-geometric",
    "pyqt": "pyqt5",
    "pytables": "tables",
    "python-graphviz": "graphviz",
    "python-lmdb": "lmdb",
    "seaborn-base": "seaborn",
}
NO_PYTHON = "no Python package in conda.lock, dependencies/apt-runtime.txt may have it"
MANY = 60  # packages with exact versions: what an export has, and nobody writes by hand

SPEC = re.compile(
    r"(?:([^\s:\[\]=<>]+)::)?((?=[\d.-]*[A-Za-z_])[A-Za-z0-9_][A-Za-z0-9_.-]*)(?:(?=[\s=<>!~\[])(.*))?"
)
REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?P<extras>\[[^\]]*\])?\s*(?P<rest>[@<>=!~;(].*)?"
)
# https://host/NAME-1.0.whl, git+https://host/group/NAME.git@branch, or with #egg=NAME
ADDRESS = re.compile(
    r"(?:(?:git|hg)\+)?(?:https?|ssh)://\S*?/(?P<name>[A-Za-z0-9][\w.]*?(?:-[A-Za-z_][\w.]*?)*)"
    r"(?:\.git|-\d[^/\s]*)?(?:@[^\s#]*)?(?:#(?:\S*&)?egg=(?P<egg>[\w.-]+)\S*|#\S*)?"
)
CHANNEL = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)*|(?:https?|file)://[^\s\"'#]+")
MARKER = re.compile(r"^[ \t]*#[ \t]*Yours\b.*$", re.MULTILINE)
SECRET = re.compile(r"(\w+://)[^/@\s]+@|/t/[^/\s]+")


class FileError(Exception):
    """Why an environment file cannot be read or edited: one sentence."""


class Environment(NamedTuple):
    """What an environment file lists; `owned` are the template's specs, `conda` the user's own."""

    channels: list[str]
    owned: list[str]
    conda: list[str]
    pip: list[str]


class Taken(NamedTuple):
    """Lines for an environment file, and what had to change on the way to them, one note each.

    `before` and `after` are further channels, asked before and after conda-forge.
    """

    conda: list[str]
    pip: list[str]
    notes: list[str]
    before: Sequence[str] = ()
    after: Sequence[str] = ()


# --- names and URLs -------------------------------------------------------------------------------


def name_of(spec: str) -> str:
    """The package that a conda spec names, "" where it is none."""
    match = SPEC.fullmatch(spec.strip())
    return match[2].lower() if match else ""


def pip_name(line: str) -> str:
    """The one spelling of the name of a pip line, also of a bare address; "" where it has none."""
    match = REQUIREMENT.fullmatch(line.strip()) or ADDRESS.fullmatch(line.strip())
    return (
        re.sub(r"[-_.]+", "-", (match.groupdict().get("egg") or match["name"])).lower()
        if match
        else ""
    )


def without_secret(url: str) -> str:
    """A URL without a token or password; `git` is the name by which everybody may read."""
    return SECRET.sub(
        lambda match: (
            match[0] if re.fullmatch(r"\w*ssh://\w+@|https?://git@", match[0]) else match[1] or ""
        ),
        url,
    )


# --- reading --------------------------------------------------------------------------------------


def load(path: Path) -> str:
    """The text of a file with its line ends as they are.

    Raises:
        FileError: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise FileError(f"{path.name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FileError(f"{path.name} is no text in UTF-8.") from None


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all; it keeps its mode."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(text.encode("utf-8"))
        if path.exists():
            new.chmod(path.stat().st_mode & 0o7777)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise FileError(f"{path.name} cannot be written: {error.strerror}.") from None


def _compose(text: str, where: str) -> yaml.MappingNode | None:
    """The file's mapping as nodes that know their places; None where the file says nothing."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = str(error.problem or error.context)
        if "'\\t'" in problem:
            problem = "a tab is there, and YAML is indented with blanks"
        raise FileError(f"{where} is no YAML{line}: {problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileError(f"{where} is no YAML: {str(error).splitlines()[0]}.") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        return None
    if not isinstance(root, yaml.MappingNode):
        raise FileError(f"{where} is no environment file: it has no `dependencies:` with a list.")
    return root


def _child(mapping: yaml.MappingNode | None, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value of a mapping."""
    pairs = mapping.value if mapping else []
    return next((pair for pair in pairs if getattr(pair[0], "value", None) == key), None)


def _list(pair: tuple[yaml.Node, yaml.Node] | None, where: str) -> list[yaml.Node]:
    """The items of a list, [] where it is left out or empty."""
    if pair is None or (
        isinstance(pair[1], yaml.ScalarNode) and pair[1].value in ("", "~", "null")
    ):
        return []
    if not isinstance(pair[1], yaml.SequenceNode):
        line = pair[0].start_mark.line + 1
        raise FileError(f"{where}, line {line}: `{pair[0].value}:` is no list of `- name` lines.")
    return list(pair[1].value)


def _texts(items: Iterable[yaml.Node], where: str) -> list[str]:
    """The texts of scalar items, as they stand there: 3.10 is no number here."""
    found = []
    for item in items:
        if not isinstance(item, yaml.ScalarNode) or not item.value.strip():
            raise FileError(f"{where}, line {item.start_mark.line + 1}: a name is expected there.")
        found.append(" ".join(item.value.split()))
    return found


def _pip(item: yaml.Node) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value of the item that is the pip part."""
    return _child(item, "pip") if isinstance(item, yaml.MappingNode) else None


def parse(text: str, where: str = MAIN) -> Environment:
    """What an environment file says; `where` is what messages call it.

    Raises:
        FileError: it is no YAML, or no environment file.
    """
    root = _compose(text, where)
    pair = _child(root, "dependencies")
    items = _list(pair, where)
    parts = [part for item in items if (part := _pip(item))]
    specs = [item for item in items if _pip(item) is None]
    marker = MARKER.search(text, pair[0].end_mark.index) if pair else None
    owned = [item for item in specs if marker and item.start_mark.index < marker.start()]
    return Environment(
        channels=_texts(_list(_child(root, "channels"), where), where),
        owned=_texts(owned, where),
        conda=_texts(specs[len(owned) :], where),
        pip=[line for part in parts for line in _texts(_list(part, where), where)],
    )


# --- editing --------------------------------------------------------------------------------------


class _Lines:
    """A file's text, cut at line ends, by the places that nodes have in it."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.newline = "\r\n" if "\r\n" in text else "\n"
        root = _compose(text, where)
        if any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)
        ):
            raise FileError(f"{where} has YAML aliases (*name), which can only be edited by hand.")
        if root is not None and root.flow_style:
            raise self.by_hand(root)
        self.root = root

    def by_hand(self, node: yaml.Node) -> FileError:
        """The refusal to edit what is not one item a line."""
        line = node.start_mark.line + 1
        return FileError(f"{self.where}, line {line}: write the list with one `- name` a line.")

    def items(self, key: str) -> list[yaml.Node]:
        """The items of a list of the file."""
        return self.block(_child(self.root, key))

    def block(self, pair: tuple[yaml.Node, yaml.Node] | None) -> list[yaml.Node]:
        """The items of a list that stand on lines of their own."""
        items = _list(pair, self.where)
        if pair and isinstance(pair[1], yaml.SequenceNode) and items and pair[1].flow_style:
            raise self.by_hand(pair[1])
        for item in items:
            self.indent(item)
        return items

    def indent(self, item: yaml.Node) -> str:
        """What stands before an item's dash."""
        start = self.text.rfind("\n", 0, item.start_mark.index) + 1
        before = re.fullmatch(r"( *)- +", self.text[start : item.start_mark.index])
        if before is None:
            raise self.by_hand(item)
        return before[1]

    def line_end(self, index: int) -> int:
        """Where the line ends in which the index is."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def end(self, node: yaml.Node) -> int:
        """Where the last line of an item ends; a block's own mark is behind comments."""
        while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and node.value:
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
        return self.line_end(max(node.start_mark.index, node.end_mark.index - 1))

    def insert(self, index: int, *lines: str) -> str:
        """The text with further lines at the start of a line, or at the end."""
        before = self.text[:index]
        if before and not before.endswith("\n"):
            before += self.newline
        return before + "".join(line + self.newline for line in lines) + self.text[index:]

    def cut(self, start: yaml.Node, end: yaml.Node) -> str:
        """The text without the lines of an item."""
        begin = self.text.rfind("\n", 0, start.start_mark.index) + 1
        return self.text[:begin] + self.text[self.end(end) :]

    def swap(self, node: yaml.Node, text: str) -> str:
        """The text with another scalar in this place."""
        return self.text[: node.start_mark.index] + text + self.text[node.end_mark.index :]


def _scalar(text: str) -> str:
    """A text as YAML has it in a list: quoted only where it would mean something else bare."""
    try:
        if yaml.safe_load(f"- {text} # x") == [text]:
            return text
    except yaml.YAMLError:
        pass
    return "'" + text.replace("'", "''") + "'"


def check_spec(spec: str, *, pip: bool) -> str:
    """The one spelling of a line that a user wants in a file: blanks around and in it are single.

    Raises:
        FileError: it names no package, an answer decides its version, or it holds a password.
    """
    line = " ".join(spec.split())
    if without_secret(line) != line:
        raise FileError(
            f"{without_secret(line)}: a password in it would be in git and in the images; "
            "it goes into the file that NETRC_FILE in .env names."
        )
    name = pip_name(line) if pip else name_of(line)
    if not name or not line.isprintable() or (not pip and "#" in line):
        kind = "pip requirement" if pip else "conda package"
        raise FileError(f"{line[:80]!r} names no {kind}.")
    if pip and name in WITH_TORCH:
        raise FileError(f"{name} must match conda's PyTorch: ./template.sh add {name}")
    if name in ANSWERS:
        raise FileError(
            f"The version of {name} is an answer: template.sh update --data {ANSWERS[name]}=..."
        )
    return line


def put(text: str, spec: str, *, pip: bool = False, where: str = MAIN) -> str:
    """Add a line under "Yours", or to the pip part; what is there under its name is replaced.

    Raises:
        FileError: the line is refused, or the file has a shape that cannot be edited.
    """
    line = check_spec(spec, pip=pip)
    name = pip_name(line) if pip else name_of(line)
    # Several lines may name it: the first is replaced, the others go.
    lines = _Lines(text, where)
    while len(found := _named(lines, name, pip=pip)) > 1:
        lines = _Lines(lines.cut(found[-1], found[-1]), where)
    text = lines.text
    if found:
        return lines.swap(found[0], _scalar(line))
    pair = _child(lines.root, "dependencies")
    if pair is None:
        text = lines.insert(len(text), "dependencies:")
        return put(text, line, pip=pip, where=where)
    items = lines.block(pair)
    part = next((part for item in items if (part := _pip(item))), None)
    if pip and part:
        there = lines.block(part)
        indent = lines.indent(there[-1]) if there else lines.indent(_owner(items, part)) + "    "
        return lines.insert(
            lines.end(there[-1] if there else part[0]), f"{indent}- {_scalar(line)}"
        )
    specs = [item for item in items if _pip(item) is None]
    indent = lines.indent(items[0]) if items else "  "
    index = lines.end(specs[-1] if specs else pair[0])
    marker = MARKER.search(text, pair[0].end_mark.index)
    if marker:
        index = max(index, lines.line_end(marker.end()))
    new = (
        [f"{indent}- pip:", f"{indent}    - {_scalar(line)}"]
        if pip
        else [f"{indent}- {_scalar(line)}"]
    )
    return lines.insert(index, *new)


def _owner(items: list[yaml.Node], part: tuple[yaml.Node, yaml.Node]) -> yaml.Node:
    """The item that a pip part is."""
    return next(item for item in items if _pip(item) == part)


def _named(lines: _Lines, name: str, *, pip: bool) -> list[yaml.Node]:
    """The user's own items of that name; the template's lines stay out of it."""
    pair = _child(lines.root, "dependencies")
    items = lines.block(pair)
    if pip:
        parts = [part for item in items if (part := _pip(item))]
        return [
            node
            for part in parts
            for node in lines.block(part)
            if isinstance(node, yaml.ScalarNode) and pip_name(node.value) == name
        ]
    marker = MARKER.search(lines.text, pair[0].end_mark.index) if pair else None
    return [
        node
        for node in items
        if isinstance(node, yaml.ScalarNode)
        and name_of(node.value) == name
        and not (marker and node.start_mark.index < marker.start())
    ]


def remove(text: str, name: str, *, pip: bool = False, where: str = MAIN) -> str:
    """The text without the user's lines of that name; the pip part goes with its last line.

    Raises:
        FileError: the file has a shape that cannot be edited.
    """
    wanted = pip_name(name) if pip else name_of(name)
    while True:
        lines = _Lines(text, where)
        found = _named(lines, wanted, pip=pip)
        if not found:
            return text
        # A pip part with this line only goes as a whole.
        items = lines.items("dependencies")
        lone = [item for item in items if (part := _pip(item)) and part[1].value == found[:1]]
        text = lines.cut((lone or found)[0], found[0])


def add_channel(text: str, channel: str, *, first: bool = False, where: str = MAIN) -> str:
    """Add a channel, asked before conda-forge (`first`) or after it; one that is there stays.

    Raises:
        FileError: it is no channel or holds a password, or the file's shape cannot be edited.
    """
    if not CHANNEL.fullmatch(channel) or without_secret(channel) != channel:
        raise FileError(f"{without_secret(channel)[:80]!r} is no name or address of a channel.")
    lines = _Lines(text, where)
    items = lines.items("channels")
    if channel in _texts(items, where):
        return text
    if not items:
        raise FileError(f"{where} has no channels; write them as a list, {FORGE} among them.")
    asked = [item for item in items if item.value != NO_DEFAULTS] or items
    forge = next((item for item in asked if item.value == FORGE), asked[0])
    index = lines.text.rfind("\n", 0, forge.start_mark.index) + 1 if first else lines.end(asked[-1])
    return lines.insert(index, f"{lines.indent(forge)}- {_scalar(channel)}")


# --- intake ---------------------------------------------------------------------------------------


def shortened(names: Iterable[str], most: int = 6) -> str:
    """A few names and how many more there are."""
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _grouped(judged: Iterable[tuple[str, str]]) -> list[str]:
    """The notes on lines, one for all those that have the same reason; "" is none."""
    reasons: dict[str, list[str]] = {}
    for line, reason in judged:
        if reason:
            reasons.setdefault(reason, []).append(line)
    # What is lost is named to the last.
    most = {reason: MANY if reason.startswith("left") else 6 for reason in reasons}
    return [f"{shortened(lines, most[reason])}: {reason}." for reason, lines in reasons.items()]


def without_build(spec: str) -> str:
    """`numpy=1.26.4=py312h` as `numpy=1.26.4`; a build chosen by a pattern stays."""
    match = re.fullmatch(r"([^\s=<>!~\[]+)(?:==?|\s+)([\w.!+]+)(?:=|\s+)([\w.+-]+)", spec)
    return f"{match[1]}={match[2]}" if match else spec


def _left_out(name: str, line: str) -> str:
    """Why a package has no place in a project's file, "" where it has one."""
    if name in ANSWERS:
        version = re.fullmatch(r"python\s*==?\s*(\d+\.\d+).*", line)
        data = f"{ANSWERS[name]}={version[1] if version else '...'}"
        return f"left out, an answer decides it (template.sh update --data {data})"
    if OTHER_PLATFORM.fullmatch(name):
        return "left out, as it is for another platform"
    return ""


def _take_channel(given: str) -> tuple[str, str]:
    """A channel by its name where it has one, or "", and what had to change."""
    url = r"https?://(?:conda\.anaconda\.org|repo\.anaconda\.com/pkgs)/(?!t/)"
    channel = re.sub(url, "", given.rstrip("/"))
    bare = without_secret(channel)
    if channel in NO_CHANNELS:
        return "", f"left out of the channels, {NO_CHANNELS[channel]}"
    if not CHANNEL.fullmatch(bare):
        return "", "left out of the channels, as it is neither a name nor an address"
    if bare != channel:
        secret, key = (
            ("token", "CONDA_AUTH_FILE") if "/t/" in channel else ("password", "NETRC_FILE")
        )
        return bare, f"taken without its {secret}, which goes into the file of {key} in .env"
    return bare, ""


def _take_spec(item: str) -> tuple[str, str]:
    """A conda line as the project has it, or "", and what had to change."""
    channel, _, bare = item.rpartition("::")
    name = name_of(bare)
    spec = without_build(bare)
    reason = "taken without its build, which belongs to one platform" if spec != bare else ""
    if left := _left_out(name, bare):
        return "", left
    if name in BOOKKEEPING or bare in OURS:
        return "", ""
    if name == "blas":
        return _take_blas(bare)
    if name in WITH_TORCH and spec != name:
        spec, reason = name, "taken without its version, which follows PyTorch's"
    if channel in NO_CHANNELS:
        reason = "taken from conda-forge"
    elif channel and channel != FORGE:
        spec = f"{channel}::{spec}"
    try:
        return check_spec(spec, pip=False), reason
    except FileError as error:
        return "", f"left out: {str(error).rstrip('.')}"


def _take_blas(bare: str) -> tuple[str, str]:
    """A choice of the library for matrices: `defaults` has it as blas, conda-forge as libblas."""
    library = re.search(r"mkl|openblas|blis|netlib|accelerate", bare)
    if library is None:
        return "", "left out, conda-forge's packages choose their libblas"
    return f"libblas=*=*{library[0]}", f"taken as libblas=*=*{library[0]}, as conda-forge names it"


def _take_requirement(item: str) -> tuple[str, str]:
    """A pip line as the project has it, or "", and what had to change."""
    line = re.sub(r"(-e|--editable)[ =]*(?=(git|hg)\+)", "", item)
    name = pip_name(line)
    if re.match(r"-|file:|[./~]|[A-Za-z]:[\\/]", line) or re.search(r"@\s*file:", line):
        kind = "an option of pip" if line.startswith("-") else "a path of one machine"
        return "", f"left out, as it is {kind}"
    if left := _left_out(name, line):
        return "", left
    if name in WITH_TORCH or OF_PIP_TORCH.fullmatch(name):
        return "", "left to conda, whose build matches its PyTorch"
    bare = without_secret(line)
    reason = "taken without its password, which goes into the file of NETRC_FILE in .env"
    try:
        return check_spec(bare, pip=True), reason if bare != line else ""
    except FileError as error:
        return "", f"left out: {str(error).rstrip('.')}"


def from_requirements(lines: Iterable[str]) -> Taken:
    """What pip's way lists (PEP 508) as lines for an environment file.

    What must match conda's PyTorch becomes conda's; `notes` name it, and what is left out.
    """
    bare = [" ".join(re.sub(r"(^|\s)#.*|\s--hash=\S+", "", line).split()) for line in lines]
    judged = [(without_secret(line), *_take_requirement(line)) for line in bare if line]
    conda = [name for line in bare if (name := pip_name(line)) in WITH_TORCH]
    return Taken(
        conda=list(dict.fromkeys(conda)),
        pip=[taken for _, taken, _ in judged if taken],
        notes=_grouped((line, reason) for line, _, reason in judged),
    )


def requirement_lines(text: str) -> list[str]:
    """The lines of a requirements.txt; what goes on behind a backslash is one line."""
    return re.sub(r"\\\r?\n", " ", text).splitlines()


def _with_included(lines: Iterable[str], folder: Path | None) -> list[str]:
    """The lines of a pip part; `-r FILE` is what that file of the folder lists, if it is there."""
    found = []
    for line in lines:
        match = re.fullmatch(r"(?:-r|--requirement)[ =]*([^\s/\\]+)", line)
        file = folder / match[1] if folder and match else None
        found += requirement_lines(load(file)) if file and file.is_file() else [line]
    return found


def take(text: str, where: str = MAIN, folder: Path | None = None) -> Taken:
    """Somebody's environment.yml as lines for the project's own; each change has a note.

    Args:
        text: what the file says.
        where: what messages call it.
        folder: where it is, for a `-r requirements.txt` in its pip part.

    Raises:
        FileError: it is no YAML, or no environment file.
    """
    root = _compose(text, where)
    pair = _child(root, "dependencies")
    if root is None or pair is None:
        raise FileError(f"{where} is no environment file: it has no `dependencies:` with a list.")
    items = _list(pair, where)
    parts = [part for item in items if (part := _pip(item))]
    scalars = [item for item in items if isinstance(item, yaml.ScalarNode)]
    specs = [(spec, *_take_spec(spec)) for spec in _texts(scalars, where)]
    lines = [line for part in parts for line in _texts(_list(part, where), where)]
    pip = from_requirements(_with_included(lines, folder))
    channels = _texts(_list(_child(root, "channels"), where), where)
    asked = [(without_secret(name), *_take_channel(name)) for name in channels]
    names = [name for _, name, _ in asked if name and name != NO_DEFAULTS]
    forge = names.index(FORGE) if FORGE in names else 0
    notes = _grouped((line, reason) for line, _, reason in [*asked, *specs]) + pip.notes
    if len(items) > len(parts) + len(scalars):
        notes.append("Of the dependencies, what is neither a package nor a pip part is left out.")
    if sum(taken != given for given, taken, _ in specs) > MANY:
        notes.append(
            "Every package has an exact version, as in an export: "
            "if they cannot be had together, keep the lines of what you import."
        )
    if _child(root, "prefix"):
        notes.append("prefix: left out, it is a folder of one machine.")
    if variables := _child(root, "variables"):
        notes.append(
            f"variables ({shortened(_keys(variables[1]))}): left out, export them in "
            "dependencies/pre-run.sh or name them in compose.override.yaml."
        )
    return Taken(
        conda=[*(taken for _, taken, _ in specs if taken), *pip.conda],
        pip=pip.pip,
        notes=notes,
        before=names[:forge],
        after=[name for name in names[forge:] if name != FORGE],
    )


def _keys(node: yaml.Node) -> list[str]:
    """The names in a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]


def add_all(text: str, taken: Taken, where: str = MAIN) -> str:
    """The text with everything that was taken.

    Raises:
        FileError: the file has a shape that cannot be edited.
    """
    for channel in taken.before:
        text = add_channel(text, channel, first=True, where=where)
    for channel in taken.after:
        text = add_channel(text, channel, where=where)
    for spec in taken.conda:
        text = put(text, spec, where=where)
    for line in taken.pip:
        text = put(text, line, pip=True, where=where)
    return text


def take_into(folder: Path, file: Path, where: str) -> list[str] | None:
    """Take an environment.yml or requirements.txt into the folder's own environment.yml.

    Args:
        folder: dependencies/.
        file: one of `EXISTING`.
        where: what messages call it.

    Returns:
        A note on each change; None if the folder's own has lines already.

    Raises:
        FileError: one of the two is no environment file.
    """
    own = folder / MAIN
    text = load(own)
    has = parse(text)
    if has.conda or has.pip:
        return None
    if file.suffix == ".txt":
        taken = from_requirements(requirement_lines(load(file)))
    else:
        taken = take(load(file), where, file.parent)
    save(own, add_all(text, taken))
    return taken.notes


# --- between conda and pip ------------------------------------------------------------------------


def is_python(build: str) -> bool:
    """Whether a build is a Python package's: conda-forge names it so, as pyhd8ed1ab_0."""
    return build.startswith("py") or re.search(r"py3\d", build) is not None


def python_packages(lock: str) -> set[str]:
    """The names in the text of a conda.lock that are Python packages, as their builds say."""
    found = re.findall(
        r"(?m)^\S+/([^/\s]+)-[^-/\s]+-([^-/\s]+)\.(?:conda|tar\.bz2)(?:#\S*)?\s*$", lock
    )
    return {name for name, build in found if is_python(build)}


def _version(rest: str) -> str | None:
    """A conda version as pip writes it, "" of none, None where pip cannot say it."""
    rest = rest.strip()
    if not rest or rest in {"*", "=*"}:
        return ""
    clauses = []
    for clause in rest.split(","):
        match = re.fullmatch(
            r"\s*(==|=|!=|>=|<=|~=|<|>|)\s*(\d+(?:\.\d+)*[\w+!]*)(\.?\*)?\s*", clause
        )
        if match is None:
            return None
        sign, version, star = match.groups()
        if sign == "=" or (star and sign in {"", "=", "=="}):
            clauses.append(f"=={version}.*")
        elif star and sign == "!=":
            clauses.append(f"!={version}.*")
        else:
            clauses.append(f"{sign or '=='}{version}")
    return ",".join(clauses)


def to_requirements(
    environment: Environment, python: set[str], names: Mapping[str, str] = PYPI_NAMES
) -> tuple[list[str], list[str]]:
    """The user's lines as PEP 508 has them, and a note on what pip cannot have.

    Args:
        environment: what the environment file says.
        python: conda's names of Python packages, of `python_packages`.
        names: what PyPI calls those that it knows by another name.
    """
    lines = list(environment.pip)
    there = {pip_name(line) for line in lines}
    judged = []
    for spec in environment.conda:
        match = SPEC.fullmatch(without_build(spec))
        name = name_of(spec)
        known = names.get(name, name)
        if name in ANSWERS or pip_name(known) in there:
            continue
        if not match or name not in python:
            judged.append((spec, NO_PYTHON))
            continue
        version = _version(match[3] or "")
        if version is None:
            judged.append((spec, "taken without its version, which pip cannot say"))
        lines.append(f"{known}{version or ''}")
    return lines, _grouped(judged)
