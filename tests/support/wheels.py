"""Tiny pure-Python wheels and source archives, made by the tests that need them."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

# A module torch of a few lines: a build for the CPU, of the version 0+fake.
FAKE_TORCH = """
__version__ = "0+fake"
class device(str):
    type = "cpu"
class cuda:
    is_available = staticmethod(lambda: False)
class Ones:
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return 512
def ones(*shape, device): return Ones()
"""


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    requires: Iterable[str] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write an installable wheel and return its path.

    Args:
        folder: where the file goes; it must exist.
        name: name of the distribution; its module has the same name with `-` as `_`.
        version: a PEP 440 version.
        requires: requirement lines, as in `Requires-Dist`.
        files: further files of the wheel, path to text; the default is a module with `__version__`.
    """
    module = name.replace("-", "_").lower()
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Requires-Dist: {line}\n" for line in requires]
    contents = {
        **(files or {f"{module}.py": f"__version__ = {version!r}\n"}),
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_record_hash(text)}\n" for path, text in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


def make_source(folder: Path, name: str, setup: str) -> Path:
    """Write a source archive of version 1.0, with this setup.py, and return its path."""
    stem = f"{name.replace('-', '_')}-1.0"
    archive = folder / f"{stem}.tar.gz"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "setup.py": setup,
    }
    with tarfile.open(archive, "w:gz") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{stem}/{path}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive


def read_metadata(wheel: Path) -> bytes:
    """The METADATA file of a wheel, as an index offers it beside the wheel (PEP 658)."""
    with zipfile.ZipFile(wheel) as archive:
        path = next(
            name
            for name in archive.namelist()
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        return archive.read(path)


def _record_hash(text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(data)}"
