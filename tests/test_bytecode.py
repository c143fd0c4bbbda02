"""Bytecode of installed packages is compiled once, and never that which a package brings."""

from __future__ import annotations

import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "template/docker-amd64/image/bytecode.py"
TIME = 315532800  # 1980-01-01, as the script has it


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An environment with a package, a module, and a file that is not Python 3."""
    folder = tmp_path / "lib/python3/site-packages"
    (folder / "herd").mkdir(parents=True)
    (folder / "herd/__init__.py").write_text("size = 7\n")
    (folder / "herd/old.py").write_text("print 7\n")
    (folder / "alone.py").write_text("name = 'one'\n")
    (folder / "alone.py").chmod(0o664)
    return folder


def compiled(file: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(file)))


def compile_all(site: Path, *, compiler: str = sys.executable, cache: bool = True) -> None:
    """As install-wheels.sh calls it; without a cache, as the Dockerfile does."""
    files = "\0".join(map(str, [*site.rglob("*.py"), site / "a\nb.py"]))
    code = f"import sys; sys.executable = {compiler!r}; sys.argv = sys.argv[1:]; import runpy; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-I", "-S", "-c", code, str(SCRIPT)]
    words += [str(site.parents[2] / "cache")] if cache else ["--no-cache", *files.split("\0")]
    done = subprocess.run(
        words, input=files, text=True, capture_output=True, check=False, umask=0o002
    )
    assert (done.returncode, done.stderr) == (0, "")


def answer(site: Path) -> str:
    """What Python says that reads bytecode: without it, `size` would be another one."""
    code = "import sys, alone, herd; print(alone.name, herd.size, herd.__spec__.cached)"
    words = (sys.executable, "-S", "-B", "-c", code)
    return subprocess.run(
        words, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    ).stdout


def test_what_was_compiled_once_is_not_compiled_again(site: Path) -> None:
    compile_all(site)
    modules = [site / "herd/__init__.py", site / "alone.py"]
    first = [(compiled(file).read_bytes(), compiled(file).stat().st_mode) for file in modules]
    assert not compiled(site / "herd/old.py").exists()
    for folder in site.rglob("__pycache__"):
        shutil.rmtree(folder)
    for file in modules:
        file.touch()
    compile_all(site, compiler="/nowhere/python")
    again = [(compiled(file).read_bytes(), compiled(file).stat().st_mode) for file in modules]
    assert again == first
    # Python takes it: another content of the same size and time is not noticed.
    (site / "herd/__init__.py").write_text("size = 8\n")
    os.utime(site / "herd/__init__.py", (TIME, TIME))
    assert answer(site).startswith("one 7 ")


def test_without_a_cache_all_is_compiled_and_names_no_time_of_today(site: Path) -> None:
    compile_all(site, cache=False)
    first = compiled(site / "alone.py").read_bytes()
    (site / "alone.py").touch()
    compile_all(site, cache=False)
    assert compiled(site / "alone.py").read_bytes() == first
    assert answer(site).startswith("one 7 ")
    assert [one.name for one in site.parents[2].iterdir()] == ["lib"]


def test_another_content_or_a_damaged_cache_is_compiled(site: Path) -> None:
    compile_all(site)
    (site / "herd/__init__.py").write_text("size = 8\n")
    for kept in (site.parents[2] / "cache").iterdir():
        kept.write_bytes(b"damaged")
    compile_all(site)
    assert answer(site).startswith("one 8 ")


@pytest.mark.parametrize("victim", ["herd/__init__.py", "herd/old.py"])
def test_bytecode_that_a_package_brings_reaches_nobody(site: Path, victim: str) -> None:
    """Else it would be kept as that of the same source in another package."""
    numbers = (0, TIME, (site / victim).stat().st_size)
    header = importlib.util.MAGIC_NUMBER + b"".join(one.to_bytes(4, "little") for one in numbers)
    evil = compiled(site / victim)
    evil.parent.mkdir()
    evil.write_bytes(header + marshal.dumps(compile("size = 'evil'", "herd", "exec")))
    for _ in range(2):
        compile_all(site)
        assert answer(site).startswith("one 7 ")
        assert evil.exists() == (victim == "herd/__init__.py")
