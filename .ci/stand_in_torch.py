"""Installs a small torch, and what lies beside it in such images, into the Python that runs this.

    stand_in_torch.py VERSION CUDA [NAME==VERSION...]

The torch is pure Python: it has the few names that generated projects and verify.py touch,
computes on lists, and sees no GPU. Further distributions are one empty module each. All have the
metadata that an installer writes, entry points included: whoever reads a base image finds the same.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import sysconfig
from pathlib import Path

TORCH = '''\
"""A stand-in for PyTorch: the few names that tests touch."""

from __future__ import annotations

from types import SimpleNamespace

__version__ = "{version}"
version = SimpleNamespace(__version__=__version__, cuda="{cuda}")
cuda = SimpleNamespace(
    is_available=lambda: False,
    device_count=lambda: 0,
    get_arch_list=lambda: "{arches}".split(),
)


class device:
    def __init__(self, name: str) -> None:
        self.type = name

    def __str__(self) -> str:
        return self.type


class Tensor:
    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows

    def __matmul__(self, other: Tensor) -> Tensor:
        columns = list(zip(*other.rows))
        return Tensor([[sum(map(float.__mul__, r, c)) for c in columns] for r in self.rows])

    def sum(self) -> Tensor:
        return Tensor([[sum(map(sum, self.rows))]])

    def item(self) -> float:
        return self.rows[0][0]

    __float__ = item


def ones(rows: int, columns: int, device: object = "cpu") -> Tensor:
    if str(device) != "cpu":
        raise RuntimeError("Found no NVIDIA driver on your system")
    return Tensor([[1.0] * columns for _ in range(rows)])
'''
RUN = '''\
"""A stand-in for torchrun: runs a program with the Python that it is called by."""

import runpy
import sys


def main() -> None:
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
'''
SCRIPT = """\
#!/usr/bin/python3
import sys
from torch.run import main

sys.exit(main())
"""


def install(
    name: str, version: str, files: dict[str, str], requires: str = "", entry: str = ""
) -> None:
    """Write a distribution as an installer does; paths of `files` are relative to dist-packages."""
    site = Path(sysconfig.get_path("purelib"))
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires.splitlines())
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/INSTALLER": "pip\n",
    }
    if entry:
        content[f"{info}/entry_points.txt"] = entry
    record = ""
    for path, text in content.items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
    (site / info / "RECORD").write_text(f"{record}{info}/RECORD,,\n")


def main(version: str, cuda: str, others: list[str]) -> None:
    """Install torch and the others."""
    arches = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"
    if cuda.startswith("12."):
        arches = "sm_52 sm_60 sm_61 sm_70 sm_75 sm_80 sm_86 sm_90 compute_90"
    text = TORCH.replace("{version}", version).replace("{cuda}", cuda).replace("{arches}", arches)
    install(
        "torch",
        # Wheels carry the normal form of a version, nv26.8; the module says nv26.08.
        re.sub(r"\.0+(?=\d)", ".", version),
        {"torch/__init__.py": text, "torch/run.py": RUN},
        requires="typing-extensions>=4.4\nnumpy>=1.20; extra == 'numpy'",
        entry="[console_scripts]\ntorchrun = torch.run:main\n",
    )
    script = Path(sysconfig.get_path("scripts"), "torchrun")
    script.write_text(SCRIPT)
    script.chmod(0o755)
    for line in others:
        name, number = line.split("==")
        module = name.replace("-", "_")
        install(name, number, {f"{module}/__init__.py": f'__version__ = "{number}"\n'})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
