"""A stand-in for the Python that uv downloads, where Debian is reachable and GitHub is not.

uv takes its Pythons from python-build-standalone; UV_PYTHON_DOWNLOADS_JSON_URL names another list.
Here that list has one entry: Debian 12's CPython 3.11, unpacked from its packages and made
relocatable, in the layout of an "install only" archive (python/bin, python/lib/python3.11, ...).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.support.process import run

ARCHIVE_NAME = "cpython-3.11-stand-in.tar.gz"

_PYTHON_PACKAGES = (
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libpython3.11-dev",
)
# What extension modules of the standard library link to and a minimal Debian may lack.
_LIBRARY_PACKAGES = (
    "libbz2-1.0",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libncursesw6",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libtinfo6",
    "libuuid1",
    "zlib1g",
)
_TOOL_PACKAGES = ("patchelf",)
# These want more libraries than they are worth (NIS, Berkeley DB).
_LEFT_OUT = ("nis.", "_dbm.")


def cached_archive() -> Path:
    """The archive, made on the first call on a machine (some ten seconds) and kept under ~/.cache.

    Raises:
        RuntimeError: the packages could not be fetched; the message has apt's own words.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hearth-tests")
    archive = cache / ARCHIVE_NAME
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            archive = _build(Path(scratch)).rename(archive)
    return archive


def downloads_json(archive: Path, url: str) -> dict[str, Any]:
    """What UV_PYTHON_DOWNLOADS_JSON_URL names: the Python of the archive, to be had at `url`."""
    with tarfile.open(archive) as tar:
        marker = next(name for name in tar.getnames() if name.startswith("python/VERSION-"))
    major, minor, patch = (int(part) for part in marker.rpartition("-")[2].split("."))
    return {
        f"cpython-{major}.{minor}.{patch}-linux-x86_64-gnu": {
            "name": "cpython",
            "arch": {"family": "x86_64", "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": url,
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "variant": None,
            "build": "20260101",
        }
    }


def _build(scratch: Path) -> Path:
    root = _unpack(_fetch(scratch), scratch / "root")
    tree = scratch / "python"
    (tree / "bin").mkdir(parents=True)
    shutil.copy2(root / "usr/bin/python3.11", tree / "bin")
    for name in ("python3", "python"):
        (tree / "bin" / name).symlink_to("python3.11")
    shutil.copytree(root / "usr/lib/python3.11", tree / "lib/python3.11", symlinks=True)
    for module in (tree / "lib/python3.11/lib-dynload").iterdir():
        if module.name.startswith(_LEFT_OUT):
            module.unlink()
    # uv unpacks no link that leaves the archive (Debian's sitecustomize.py lies in /etc).
    for path in (tree / "lib").rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(tree.resolve()):
            path.unlink()
    (tree / "lib/python3.11/site-packages").mkdir()
    _copy_headers(root / "usr/include", tree / "include")
    _copy_libraries(root, tree / "lib")
    _make_relocatable(root / "usr/bin/patchelf", tree)
    version = subprocess.run(
        [tree / "bin/python3.11", "-c", "import platform; print(platform.python_version())"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (tree / f"VERSION-{version}").touch()
    archive = scratch / ARCHIVE_NAME
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(tree, "python", filter=_owned_by_root)
    return archive


def _fetch(folder: Path) -> list[Path]:
    result = run(
        # Without the last option apt complains that its own user cannot write here.
        *("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root"),
        *(*_PYTHON_PACKAGES, *_LIBRARY_PACKAGES, *_TOOL_PACKAGES),
        cwd=folder,
    )
    if result.returncode:
        raise RuntimeError(
            "cannot make the stand-in Python from Debian's packages; "
            f"is this Debian 12 after `apt-get update`? apt-get said:\n{result.stderr}"
        )
    return sorted(folder.glob("*.deb"))


def _unpack(packages: list[Path], root: Path) -> Path:
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    return root


def _copy_headers(source: Path, target: Path) -> None:
    shutil.copytree(source / "python3.11", target / "python3.11")
    # Debian's own file there only points at the one of the architecture.
    shutil.copy2(source / "x86_64-linux-gnu/python3.11/pyconfig.h", target / "python3.11")


def _copy_libraries(root: Path, target: Path) -> None:
    for folder in (root / "lib/x86_64-linux-gnu", root / "usr/lib/x86_64-linux-gnu"):
        for library in folder.glob("lib*.so.*"):
            if not library.name.startswith("libpython"):
                shutil.copy2(library, target, follow_symlinks=False)


def _make_relocatable(patchelf: Path, tree: Path) -> None:
    """Let interpreter, modules and libraries find each other wherever the tree lies."""
    for origin, files in (
        ("$ORIGIN/../lib", [tree / "bin/python3.11"]),
        ("$ORIGIN/../..", list((tree / "lib/python3.11/lib-dynload").glob("*.so"))),
        ("$ORIGIN", [path for path in (tree / "lib").glob("lib*.so.*") if not path.is_symlink()]),
    ):
        subprocess.run([patchelf, "--set-rpath", origin, *files], check=True)


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
