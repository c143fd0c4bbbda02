"""Bytecode for the modules that a stage has installed, of which nothing is imported.

    find FOLDER -name '*.py' -print0 | bytecode.py CACHE
    bytecode.py --no-cache FILE...

To compile all of PyTorch takes half a minute. So the bytecode of a package is kept in CACHE, by the
place and the content of its files: the next project that installs it compiles nothing. It names no
time of this installation, so that the same packages are the same layer.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Bytecode counts as long as its source has the time that it names. That of all is the first one
# that a wheel can have: 1980-01-01.
TIME = 315532800
COMPILE = (sys.executable, "-I", "-S", "-m", "compileall", "-qq", "-j", "0", "-i", "-")


def packages(files: list[Path]) -> dict[Path, list[Path]]:
    """The files by what they are in site-packages: a package, or a module alone."""
    found: dict[Path, list[Path]] = {}
    for file in sorted(files):
        inside = [one for one in (file, *file.parents) if one.parent.name == "site-packages"]
        found.setdefault(inside[0] if inside else file.parent, []).append(file)
    return found


def bytecode(file: Path) -> Path:
    """Where Python looks for the bytecode of a file."""
    return Path(importlib.util.cache_from_source(str(file)))


def digest(files: list[Path]) -> str:
    """What decides the bytecode of these files: the version of Python, their paths and contents."""
    made = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    for file in files:
        content = file.read_bytes()
        made.update(b"%s\0%d\0" % (os.fsencode(str(file)), len(content)))
        made.update(content)
    return made.hexdigest()


def restore(kept: Path, files: list[Path]) -> bool:
    """Write the bytecode of these files that the cache has; whether it has it."""
    try:
        with zipfile.ZipFile(str(kept)) as archive:
            names = set(archive.namelist())
            for file in files:
                made = bytecode(file)
                if str(made) in names:
                    made.parent.mkdir(exist_ok=True)
                    made.write_bytes(archive.read(str(made)))
                    made.chmod(file.stat().st_mode & 0o666)  # as Python does
    except (OSError, zipfile.BadZipFile):
        return False
    return True


def keep(kept: Path, files: list[Path]) -> None:
    """Put the bytecode of these files into the cache; what is no Python 3 has none."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=str(kept.parent))
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for made in map(bytecode, files):
                if made.exists():
                    archive.writestr(zipfile.ZipInfo(str(made)), made.read_bytes())
        Path(name).replace(kept)
    except OSError as error:  # a full disk: then it is compiled again
        print(f"Bytecode is not kept: {error}", file=sys.stderr)


def main(cache: str | None, files: list[Path]) -> None:
    """Restore what the cache has, if there is one, and compile and keep the rest.

    Bytecode that a package brings is removed: it need not be that of its source.
    """
    missing: list[tuple[Path | None, list[Path]]] = []
    for group in packages(files).values():
        for file in group:
            os.utime(str(file), (TIME, TIME))
            if bytecode(file).exists():
                bytecode(file).unlink()
        kept = Path(cache, f"{digest(group)}.zip") if cache else None
        if kept is None or not restore(kept, group):
            missing.append((kept, group))
    sources = b"".join(os.fsencode(f"{file}\n") for _, group in missing for file in group)
    if sources:
        # Some packages have files that are not Python 3: they are no error.
        subprocess.run(COMPILE, input=sources, check=False)
    for kept, group in missing:
        if kept is not None:
            keep(kept, group)


if __name__ == "__main__":
    if sys.argv[1] == "--no-cache":
        cache, names = None, sys.argv[2:]
    else:
        cache, names = sys.argv[1], os.fsdecode(sys.stdin.buffer.read()).split("\0")
    main(cache, [Path(name) for name in names if name and name.isprintable()])
