"""Conda channels for tests, made of real, relocatable packages, in a folder and over HTTP.

    FOLDER/CHANNEL/linux-64/NAME-VERSION-BUILD.conda, .../repodata.json
    http://ADDRESS/conda/CHANNEL/linux-64/..., with a token http://ADDRESS/t/TOKEN/conda/CHANNEL/...

`standard_channel` has what conda-forge would have for a small project: Debian's Python 3.11 made
relocatable, wheels of PyPI repacked, and pytorch as on conda-forge (one build for the CPU, which is
this machine's torch wheel, and stand-ins for CUDA). It is made once on a machine and kept under
~/.cache. `CondaChannels` is a copy of it that a test may change and that logs what is asked for.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import csv
import fcntl
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin

from tests.support import managed_python
from tests.support.index import JSON_PAGE, Answer, Traffic, find_torch_wheel, upstream_index
from tests.support.outside import read_outside
from tests.support.serving import listening

HERE = Path(__file__).parent
SUBDIRS = ("linux-64", "noarch")
# What stands in files for the place of the environment; it is replaced when they are linked.
PLACEHOLDER = "/opt/placeholder" + "_placehold" * 20
PYTHON_DEPENDS = ("python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311")
SITE = "lib/python3.11/site-packages"
TORCH = "2.13.0"
OLD = 24 * 3600  # seconds after which what another checkout made is not in use
TORCH_DEPENDS = (
    *PYTHON_DEPENDS,
    "__glibc >=2.17,<3.0.a0",
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "numpy >=1.23,<3",
    "setuptools",
    "sympy >=1.13.3",
    "typing_extensions >=4.10.0",
)
# Noarch on conda-forge; here they come compiled, since each environment would compile them anew.
COMPILED = ("networkx", "sympy")
CONDA_NAMES = {"typing-extensions": "typing_extensions"}
# What the wheels of conda_wheels.txt need.
WHEEL_DEPENDS = {
    "jinja2": ("markupsafe >=2.0",),
    "numpy": ("__glibc >=2.17,<3.0.a0",),
    "pip": ("setuptools", "wheel"),
    "pytest": ("iniconfig", "packaging", "pluggy >=1.5", "pygments"),
    "sympy": ("mpmath >=0.19",),
    "wheel": ("packaging",),
}


@dataclass(frozen=True)
class CondaPackage:
    """A package of a channel.

    Attributes:
        files: path in the environment (`site-packages/...` in a noarch Python package) to its text,
            bytes, or a file to copy; text with `PLACEHOLDER` is adapted when it is linked.
        links: symbolic links, path to target.
        entry_points: lines such as `tool = module:function`.
    """

    name: str
    version: str
    build: str = "0"
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: str | None = None
    files: Mapping[str, str | bytes | Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    entry_points: tuple[str, ...] = ()

    @property
    def subdir(self) -> str:
        """The folder of the channel that it belongs to."""
        return "noarch" if self.noarch else "linux-64"

    @property
    def label(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"

    def index(self) -> dict[str, Any]:
        """The content of info/index.json."""
        number = re.search(r"(\d+)$", self.build)
        content: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": int(number[1]) if number else 0,
            "depends": list(self.depends),
            "constrains": list(self.constrains),
            "license": "LicenseRef-test",
            "subdir": self.subdir,
            "timestamp": 1785000000000,
        }
        if self.noarch:
            return content | {"noarch": self.noarch}
        return content | {"arch": "x86_64", "platform": "linux"}


def python_module(
    name: str,
    version: str,
    depends: tuple[str, ...] = ("python >=3.9",),
    code: str = "",
    command: str = "",
) -> CondaPackage:
    """A small pure Python package: a module with `__version__` and `main`, which prints both.

    Args:
        name: of the package; the module has `_` for `-`.
        version: its version.
        depends: what it needs.
        code: further lines of the module.
        command: the program that runs `main`; the default is the package's name.
    """
    module = name.replace("-", "_")
    text = f'__version__ = "{version}"\n\n\ndef main() -> None:\n    print("{name} {version}")\n'
    files = {f"site-packages/{module}.py": text + code}
    files |= _dist_info("site-packages", name, version, files)
    entry = f"{command or name} = {module}:main"
    return CondaPackage(
        name, version, "pyhd8ed1ab_0", depends, (), "python", files, entry_points=(entry,)
    )


def python_stub(version: str = "3.11.2") -> CondaPackage:
    """A package python that is none: enough to solve with, and to link what needs Python."""
    minor = ".".join(version.split(".")[:2])
    return CondaPackage(
        "python",
        version,
        "h0_0_cpython",
        ("tzdata",),
        (f"python_abi {minor}.* *_cp{minor.replace('.', '')}",),
        files={"bin/python": "#!/bin/sh\n", f"lib/python{minor}/site-packages/README.txt": ""},
    )


# --- archives ------------------------------------------------------------------------------------


def write_package(package: CondaPackage, folder: Path) -> Path:
    """Write the .conda archive into a folder and return its path."""
    paths: list[dict[str, Any]] = []
    target = folder / f"{package.label}.conda"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        content = Path(scratch, "content.tar")
        with tarfile.open(content, "w") as tar:
            for path, source in sorted(package.files.items()):
                paths.append(_add_file(tar, path, source))
            for path, link in sorted(package.links.items()):
                entry = tarfile.TarInfo(path)
                entry.type, entry.linkname = tarfile.SYMTYPE, link
                tar.addfile(entry)
                paths.append({"_path": path, "path_type": "softlink", "size_in_bytes": 0})
        info = io.BytesIO()
        with tarfile.open(fileobj=info, mode="w") as tar:
            for name, text in _info(package, paths).items():
                _add_file(tar, f"info/{name}", text)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            with archive.open(f"pkg-{package.label}.tar.zst", "w", force_zip64=True) as out:
                _compress(content, out)
            archive.writestr(f"info-{package.label}.tar.zst", _stored(info.getvalue()))
    return target


def _info(package: CondaPackage, paths: list[dict[str, Any]]) -> dict[str, str]:
    content = {
        "index.json": json.dumps(package.index(), indent=2),
        "paths.json": json.dumps({"paths": paths, "paths_version": 1}, indent=2),
        "about.json": json.dumps({"summary": f"{package.name}, for tests", "license": "test"}),
        "files": "".join(f"{path['_path']}\n" for path in paths),
    }
    if package.noarch == "python":
        link = {"type": "python", "entry_points": list(package.entry_points)}
        content["link.json"] = json.dumps({"noarch": link, "package_metadata_version": 1})
    return content


def _add_file(tar: tarfile.TarFile, path: str, source: str | bytes | Path) -> dict[str, Any]:
    """Add a file and give its entry of paths.json."""
    entry = tarfile.TarInfo(path)
    entry.mode = 0o755 if path.startswith("bin/") else 0o644
    described: dict[str, Any] = {"_path": path, "path_type": "hardlink"}
    if isinstance(source, Path):
        entry.size = source.stat().st_size
        if source.stat().st_mode & 0o111:
            entry.mode = 0o755
        described["sha256"] = _digest(source)
        with source.open("rb") as content:
            tar.addfile(entry, content)
    else:
        data = source.encode() if isinstance(source, str) else source
        entry.size = len(data)
        described["sha256"] = hashlib.sha256(data).hexdigest()
        tar.addfile(entry, io.BytesIO(data))
        if PLACEHOLDER.encode() in data:
            described |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return described | {"size_in_bytes": entry.size}


def _compress(file: Path, out: IO[bytes]) -> None:
    """Write a file as zstd: by the program of that name if there is one, else only framed."""
    if shutil.which("zstd") and file.stat().st_size > 1024**2:
        with subprocess.Popen(
            ["zstd", "-q", "-1", "-T0", "-c", file], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            shutil.copyfileobj(process.stdout, out)
        if process.returncode:
            raise RuntimeError(f"zstd failed on {file}")
        return
    with file.open("rb") as content:
        for block in _frame(content):
            out.write(block)


def _stored(data: bytes) -> bytes:
    return b"".join(_frame(io.BytesIO(data)))


def _frame(content: IO[bytes]) -> Iterator[bytes]:
    """A zstd frame of uncompressed blocks: magic number, window of 128 KiB, blocks."""
    size = 128 * 1024
    yield (0xFD2FB528).to_bytes(4, "little") + b"\x00\x38"
    block = content.read(size)
    while True:
        following = content.read(size)
        yield (len(block) << 3 | (not following)).to_bytes(3, "little") + block
        if not following:
            return
        block = following


def read_index(archive: Path) -> dict[str, Any]:
    """The entry of repodata.json for an archive that `write_package` made."""
    with zipfile.ZipFile(archive) as content:
        frame = content.read(f"info-{archive.stem}.tar.zst")
    data, at = b"", 6
    while True:
        head = int.from_bytes(frame[at : at + 3], "little")
        data += frame[at + 3 : at + 3 + (head >> 3)]
        at += 3 + (head >> 3)
        if head & 1:
            break
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.extractfile("info/index.json")
        assert member
        index: dict[str, Any] = json.load(member)
    index |= {"sha256": _digest(archive), "md5": _digest(archive, "md5")}
    return index | {"size": archive.stat().st_size}


def _digest(file: Path, kind: str = "sha256") -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    with file.open("rb") as content:
        while block := content.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def write_repodata(channel: Path) -> None:
    """Write repodata.json of both folders of a channel; known archives are not read again."""
    for subdir in SUBDIRS:
        folder = channel / subdir
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "repodata.json"
        known = json.loads(file.read_text())["packages.conda"] if file.exists() else {}
        archives = sorted(folder.glob("*.conda"))
        content = {
            "info": {"subdir": subdir},
            "packages": {},
            "packages.conda": {a.name: known.get(a.name) or read_index(a) for a in archives},
            "repodata_version": 1,
        }
        partial = folder / "repodata.json.new"
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(file)


# --- what the standard channel has ---------------------------------------------------------------


def _dist_info(
    site: str, name: str, version: str, files: Iterable[str], entry_points: Iterable[str] = ()
) -> dict[str, str]:
    """The metadata that conda packages of Python projects carry."""
    info = f"{site}/{name.replace('-', '_')}-{version}.dist-info"
    content = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/INSTALLER": "conda\n",
        f"{info}/REQUESTED": "",
    }
    if entry_points:
        lines = "".join(f"{line}\n" for line in entry_points)
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    listed = sorted(path.removeprefix(f"{site}/") for path in [*files, *content])
    record = f"{info.removeprefix(f'{site}/')}/RECORD"
    content[f"{site}/{record}"] = "".join(f"{path},,\n" for path in [*listed, record])
    return content


def python_package(scratch: Path) -> CondaPackage:
    """Debian's Python 3.11 as conda-forge lays its own out.

    Raises:
        RuntimeError: Debian's packages could not be fetched; see `managed_python`.
    """
    archive = managed_python.cached_archive()
    subprocess.run(["tar", "-xf", archive, "-C", scratch], check=True)
    tree = scratch / "python"
    version = next(tree.glob("VERSION-*")).name.removeprefix("VERSION-")
    library = tree / "lib/python3.11"
    # Debian keeps site-packages for virtual environments; its site.py is frozen into the program.
    _replace(
        library / "sysconfig.py",
        "prefix_scheme = 'posix_local'",
        "prefix_scheme = 'posix_prefix'",
    )
    (library / "dist-packages").mkdir(exist_ok=True)
    (library / "dist-packages/site-packages.pth").write_text(
        "import site, sys; folder = f'{sys.prefix}/lib/python3.11/site-packages'; "
        "site.getsitepackages = lambda prefixes=None, own=folder: [own]; site.addsitedir(folder)\n"
    )
    for name in ("EXTERNALLY-MANAGED", "_distutils_system_mod.py"):
        (library / name).unlink(missing_ok=True)
    _compile(tree / "bin/python", library)
    files: dict[str, str | bytes | Path] = {f"{SITE}/README.txt": "Packages go here.\n"}
    links = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_symlink():
            links[name] = str(path.readlink())
        elif path.is_file() and not name.startswith("VERSION"):
            files[name] = path
    return CondaPackage(
        "python",
        version,
        "h41a2a0b_0_cpython",
        ("__glibc >=2.17,<3.0.a0", "tzdata"),
        ("python_abi 3.11.* *_cp311",),
        files=files,
        links=links,
    )


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if old not in text:
        raise RuntimeError(f"{file.name} of Debian's Python has no {old!r} any more")
    file.write_text(text.replace(old, new))


def _compile(python: Path, folder: Path) -> None:
    """Put compiled files beside the sources, as packages that are not noarch have them.

    Their sources are not looked at when they are used, since nobody keeps their times.
    """
    subprocess.run(
        [python, "-m", "compileall", "-qj0", "--invalidation-mode", "unchecked-hash", folder],
        check=False,  # a few files of a standard library or a torch are wrong on purpose
        stdout=subprocess.DEVNULL,
    )


def fetch_wheels(folder: Path) -> dict[str, Path]:
    """The wheels of conda_wheels.txt by name, from the machine's own index.

    Raises:
        RuntimeError: the index has no file with the hash that is listed.
    """
    found = {}
    for line in (HERE / "conda_wheels.txt").read_text().splitlines():
        match = re.fullmatch(r"([\w.-]+)==\S+ --hash=sha256:(\w+)", line)
        if not match:
            continue
        name, digest = match.groups()
        address = f"{upstream_index()}/{name}/"
        request = urllib.request.Request(address, headers={"Accept": JSON_PAGE})  # noqa: S310
        files = json.loads(read_outside(request))["files"]
        file = next((f for f in files if f["hashes"].get("sha256") == digest), None)
        if file is None:
            raise RuntimeError(f"{address} has no file with the hash of conda_wheels.txt")
        found[name] = folder / file["filename"]
        content = read_outside(urljoin(address, file["url"]))
        if hashlib.sha256(content).hexdigest() != digest:
            raise RuntimeError(f"{file['filename']} has another hash than conda_wheels.txt says")
        found[name].write_bytes(content)
    return found


def wheel_package(name: str, wheel: Path, scratch: Path) -> CondaPackage:
    """A wheel repacked: noarch if it is pure Python, else for Python 3.11 on linux-64.

    `scratch` has the tree of `python_package`.
    """
    version = wheel.name.split("-")[1]
    pure = wheel.name.endswith("-none-any.whl") and name not in COMPILED
    tree = scratch / name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree)  # noqa: S202 (its hash is known)
    info = next(tree.glob("*.dist-info"))
    scripts = _entry_points(info / "entry_points.txt")
    (info / "INSTALLER").write_text("conda\n")
    with (info / "RECORD").open(newline="") as lines:
        names = [row[0] for row in csv.reader(lines) if row and ".data/" not in row[0]]
    names.append(f"{info.name}/INSTALLER")
    if wheel.name.endswith("-none-any.whl"):
        # The tests of sympy alone would take seconds to link and compile.
        names = [path for path in names if "/tests/" not in path]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in names))
    site = "site-packages" if pure else SITE
    files: dict[str, str | bytes | Path] = {f"{site}/{path}": tree / path for path in names}
    depends = WHEEL_DEPENDS.get(name, ())
    conda_name = CONDA_NAMES.get(name, name)
    if pure:
        return CondaPackage(
            conda_name,
            version,
            "pyhd8ed1ab_0",
            ("python >=3.9", *depends),
            noarch="python",
            files=files,
            entry_points=tuple(scripts),
        )
    _compile(scratch / "python/bin/python", tree)
    for path in tree.rglob("*.pyc"):
        if f"{path.parents[1].relative_to(tree)}/{path.name.split('.')[0]}.py" in names:
            files[f"{site}/{path.relative_to(tree)}"] = path
    files |= _programs(scripts)
    return CondaPackage(
        conda_name, version, "py311h9ecbd09_0", (*PYTHON_DEPENDS, *depends), files=files
    )


def _entry_points(file: Path) -> list[str]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    if file.exists():
        parser.read_string(file.read_text())
    if not parser.has_section("console_scripts"):
        return []
    return [f"{name} = {target}" for name, target in parser["console_scripts"].items()]


def _programs(entry_points: Iterable[str]) -> dict[str, str]:
    files = {}
    for line in entry_points:
        name, module, function = re.split(r"\s*[=:]\s*", line)
        files[f"bin/{name}"] = (
            f"#!{PLACEHOLDER}/bin/python\nimport sys\n\nfrom {module} import {function}\n\n"
            f"sys.exit({function}())\n"
        )
    return files


def torch_stand_in(cuda: str | None, version: str = TORCH, number: int = 200) -> CondaPackage:
    """The small torch of the other stand-in images, as conda-forge's build for this CUDA line."""
    spec = importlib.util.spec_from_file_location(
        "stand_in_torch", HERE.parents[1] / ".ci/stand_in_torch.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arches = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_110 sm_120 compute_120"
    if cuda and cuda.startswith("12."):
        arches = "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"
    text = module.TORCH.replace("{version}", version).replace("{arches}", arches if cuda else "")
    text = text.replace('cuda="{cuda}"', f"cuda={cuda!r}")
    files: dict[str, str | bytes | Path] = {
        f"{SITE}/torch/__init__.py": text,
        f"{SITE}/torch/run.py": module.RUN,
    }
    entry = ("torchrun = torch.run:main",)
    files |= _dist_info(SITE, "torch", version, files, entry) | _programs(entry)
    return CondaPackage("pytorch", version, files=files, **_torch_variant(cuda, version, number))


def _torch_variant(cuda: str | None, version: str, number: int) -> dict[str, Any]:
    """Build string, dependencies and constraints of a build of pytorch."""
    if cuda is None:
        return {
            "build": "cpu_generic_py311_0",
            "depends": TORCH_DEPENDS,
            "constrains": (f"pytorch-cpu {version}", "pytorch-gpu <0.0a0"),
        }
    following = int(cuda.split(".")[0]) + 1
    return {
        "build": f"cuda{cuda.replace('.', '')}_generic_py311_{number}",
        "depends": (*TORCH_DEPENDS, "__cuda", f"cuda-version >={cuda},<{following}"),
        "constrains": (f"pytorch-gpu {version}", "pytorch-cpu <0.0a0"),
    }


def torch_of_wheel(wheel: Path, scratch: Path) -> CondaPackage:
    """The real torch for the CPU, without its headers and test programs."""
    tree = scratch / "torch-of-wheel"
    with zipfile.ZipFile(wheel) as archive:
        wanted = [
            name
            for name in archive.namelist()
            if not name.startswith(("torch/include/", "torch/share/", "torch/bin/test_"))
            and ".dist-info/" not in name
        ]
        archive.extractall(tree, wanted)  # noqa: S202 (the machine's own)
    _replace(tree / "torch/version.py", f"{TORCH}+cpu", TORCH)
    _compile(scratch / "python/bin/python", tree)
    files: dict[str, str | bytes | Path] = {
        f"{SITE}/{path.relative_to(tree)}": path for path in tree.rglob("*") if path.is_file()
    }
    entry = ("torchrun = torch.distributed.run:main",)
    files |= _dist_info(SITE, "torch", TORCH, files, entry) | _programs(entry)
    return CondaPackage("pytorch", TORCH, files=files, **_torch_variant(None, TORCH, 0))


def small_packages() -> Iterator[CondaPackage]:
    """What is made of a few lines here."""
    yield CondaPackage("python_abi", "3.11", "8_cp311", (), ("python 3.11.* *_cpython",), "generic")
    yield CondaPackage(
        "tzdata", "2026a", noarch="generic", files={"share/zoneinfo/README": "No zones here.\n"}
    )
    for version in ("12.8", "12.9", "13.0"):
        yield CondaPackage(
            "cuda-version",
            version,
            "h1d6eff3_3",
            constrains=(f"__cuda >={version.split('.')[0]}", "cudatoolkit <0.0a0"),
            noarch="generic",
        )
    for cuda in ("12.9", "13.0"):
        yield torch_stand_in(cuda)
        line = cuda.replace(".", "")
        yield CondaPackage(
            "pytorch-gpu",
            TORCH,
            f"cuda{line}_generic_h0_200",
            (f"pytorch {TORCH} cuda{line}_generic*",),
        )
    yield CondaPackage("pytorch-cpu", TORCH, "cpu_generic_h0_0", (f"pytorch {TORCH} cpu_generic*",))
    yield CondaPackage(
        "typing-extensions", "4.16.0", depends=("typing_extensions 4.16.0",), noarch="generic"
    )
    for version in ("1.0", "1.1", "2.0"):
        yield python_module("tinylib", version)
    yield python_module("tinyapp", "1.0", ("python >=3.9", "tinylib"))
    yield python_module("oldtiny", "1.0", ("python >=3.9", "tinylib <2"))
    yield python_module("newtiny", "1.0", ("python >=3.9", "tinylib >=2"))
    yield python_module("ipython", "9.5.0")
    yield python_module("ruff", "0.14.0")
    yield CondaPackage(
        "hello-conda",
        "1.0",
        "h5eee18b_0",
        files={"bin/hello-conda": f'#!/bin/sh\necho "hello from {PLACEHOLDER}"\n'},
    )


def standard_channel() -> Path:
    """The folder with the channel conda-forge, made on the first call on a machine.

    It is not to be changed. pytorch for the CPU is this machine's wheel, or a stand-in without one.

    Raises:
        RuntimeError: a package could not be fetched.
    """
    torch = find_torch_wheel()
    inputs = [Path(__file__), HERE / "conda_wheels.txt", HERE / "managed_python.py"]
    inputs.append(HERE.parents[1] / ".ci/stand_in_torch.py")
    key = hashlib.sha256(b"".join(file.read_bytes() for file in inputs))
    key.update(torch.name.encode() if torch else b"no torch")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hearth-tests")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"conda-{key.hexdigest()[:12]}"
    with (cache / "conda.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob("conda-*"):
                if old.stat().st_mtime < time.time() - OLD:
                    shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=cache, prefix="making-conda-") as scratch:
                _make_standard(Path(scratch), torch).rename(folder)
    return folder


def _make_standard(scratch: Path, torch: Path | None) -> Path:
    folder = scratch / "channels"
    channel = folder / "conda-forge"
    for subdir in SUBDIRS:
        (channel / subdir).mkdir(parents=True)
    wheels = fetch_wheels(scratch)
    packages = [
        python_package(scratch),
        *small_packages(),
        *(wheel_package(name, wheel, scratch) for name, wheel in wheels.items()),
        torch_of_wheel(torch, scratch) if torch else torch_stand_in(None),
    ]
    for package in packages:
        write_package(package, channel / package.subdir)
    write_repodata(channel)
    return folder


# --- serving -------------------------------------------------------------------------------------


class CondaChannels:
    """Channels that a test may change, and the log of what was asked for.

    Attributes:
        folder: the channels, each a folder; `file://` works too.
        url: their address while they are served; names of channels go behind it.
        log: the answers so far.
        refused: paths of requests that were answered with an error.
        broken: how many of the next answers break off in the middle.
    """

    def __init__(self, folder: Path, base: Path | None = None) -> None:
        """Take the channels of `base`, such as `standard_channel()`, into an empty folder."""
        self.folder = folder
        self.url = ""
        self.log = Traffic()
        self.refused: list[str] = []
        self.broken = 0
        self._logins: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        if base:
            # Links: what is changed here is written anew, never in place.
            shutil.copytree(base, folder, copy_function=_link_or_copy, dirs_exist_ok=True)
            for file in folder.rglob("repodata.json"):
                text = file.read_text()
                file.unlink()
                file.write_text(text)

    def publish(self, package: CondaPackage, channel: str = "conda-forge") -> Path:
        """Add a package, or replace the same build of it; returns the archive."""
        for subdir in SUBDIRS:
            (self.folder / channel / subdir).mkdir(parents=True, exist_ok=True)
        self._forget(package, channel)
        archive = write_package(package, self.folder / channel / package.subdir)
        write_repodata(self.folder / channel)
        return archive

    def withdraw(self, package: CondaPackage, channel: str = "conda-forge") -> None:
        """Take a package away again, out of repodata too."""
        self._forget(package, channel)
        write_repodata(self.folder / channel)

    def _forget(self, package: CondaPackage, channel: str) -> None:
        (self.folder / channel / package.subdir / f"{package.label}.conda").unlink(missing_ok=True)
        write_repodata(self.folder / channel)

    def archive(self, name: str, channel: str = "conda-forge") -> Path:
        """The one archive whose file name begins so.

        Raises:
            ValueError: there is none, or more than one.
        """
        (found,) = (self.folder / channel).glob(f"*/{name}*.conda")
        return found

    def damage(self, name: str, channel: str = "conda-forge") -> Path:
        """Change bytes of the archive that begins so, while repodata keeps the old hash."""
        archive = self.archive(name, channel)
        data = bytearray(archive.read_bytes())
        data[-1] ^= 0xFF
        archive.unlink()
        archive.write_bytes(data)
        return archive

    def require_login(self, channel: str, user: str, password: str) -> None:
        """Let only those read a channel who give this user name and password."""
        self._logins[channel] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def require_token(self, channel: str, token: str) -> None:
        """Let a channel be found only below /t/TOKEN/."""
        self._tokens[channel] = token

    @contextlib.contextmanager
    def recording(self) -> Iterator[Traffic]:
        """Give what is sent inside the `with` block; complete when the block is left."""
        traffic, start = Traffic(), len(self.log)
        yield traffic
        traffic.extend(self.log[start:])

    def find(self, path: str, authorization: str | None) -> Path | HTTPStatus:
        """The file that a request asks for, or why it does not get it."""
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        token = ""
        if parts[:1] == ["t"] and len(parts) > 1:
            token, parts = parts[1], parts[2:]
        match parts:
            case ["conda", channel, subdir, name] if name not in {".", ".."} and subdir in SUBDIRS:
                if token != self._tokens.get(channel, token):
                    return HTTPStatus.NOT_FOUND
                if authorization != self._logins.get(channel, authorization):
                    return HTTPStatus.UNAUTHORIZED
                file = self.folder / channel / subdir / name
                return file if file.is_file() else HTTPStatus.NOT_FOUND
            case _:
                return HTTPStatus.NOT_FOUND


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def serving_conda(
    channels: CondaChannels, address: str, *, tls: ssl.SSLContext | None = None
) -> Iterator[CondaChannels]:
    """Serve the channels on a free port of this address; their `url` is set."""

    class Handler(_Handler):
        content = channels

    with listening(Handler, address, tls) as url:
        channels.url = f"{url}/conda"
        yield channels


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: CondaChannels

    def do_GET(self) -> None:
        found = self.content.find(self.path, self.headers["Authorization"])
        if isinstance(found, HTTPStatus):
            self.content.refused.append(self.path)
            self.send_response(found)
            if found == HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", 'Basic realm="conda"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = found.stat().st_size
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.content.broken:
            self.content.broken -= 1
            self.close_connection = True
        elif self.command == "GET":
            with found.open("rb") as content:
                shutil.copyfileobj(content, self.wfile)
            self.content.log.append(Answer(found.name, size))

    do_HEAD = do_GET  # noqa: N815 (names of http.server)

    def log_message(self, *_: object) -> None:
        """Say nothing: a test prints what it needs of the log."""
