"""On NVIDIA's and PyTorch's images: what the base has stays, and who wants another is named."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

import base_packages
import stand_ins
from tests.support.process import run
from tests.support.wheels import make_wheel

UV = Path(sys.executable).parent / "uv"
NVIDIA_TORCH = "2.14.0a0+4fdf77b.nv26.8"
# What a base image has: NVIDIA's torch, a library of CUDA, numpy, and something that torch needs.
BASE = {"torch": NVIDIA_TORCH, "numpy": "1.26.4", "nvidia-nccl": "2.28.9", "sympy": "1.13.3"}


class Image:
    """A base image on disk, its /opt/base and /opt/venv, a project and an index of packages."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "dist-packages"
        self.home = folder / "opt-base"
        self.venv = folder / "opt-venv"
        self.project = folder / "project"
        self.pypi = folder / "pypi"
        for path in (self.site, self.home, self.venv / "bin", self.project, self.pypi):
            path.mkdir(parents=True)
        self.in_venv = self.venv / "lib/python3.11/site-packages"

    def install(
        self,
        name: str,
        version: str,
        requires: Iterable[str] = (),
        files: Mapping[str, str] | None = None,
        into: Path | None = None,
    ) -> None:
        """Put a distribution into the base, or `into` another folder, as an installer does."""
        wheel = make_wheel(self.pypi.parent, name, version, requires, files)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into or self.site)  # noqa: S202  (our own wheel)

    def offer(self, name: str, version: str, requires: Iterable[str] = ()) -> None:
        """Put a wheel into the index."""
        folder = self.pypi / name
        folder.mkdir(exist_ok=True)
        make_wheel(folder, name, version, requires)
        wheels = [path.name for path in sorted(folder.glob("*.whl"))]
        (folder / "index.html").write_text("".join(f'<a href="{w}">{w}</a>\n' for w in wheels))

    def prepare(self, constraints: str | None = None, override: str = "") -> list[str]:
        """What the build does with the base image; gives the names that are kept."""
        file = self.home.parent / "constraint.txt"
        if constraints is not None:
            file.write_text(constraints)
        self.clear()
        (self.home / base_packages.OVERRIDE).write_text(override)
        base_packages.prepare([str(self.site)], self.home, self.venv, [file])
        return (self.home / "names.txt").read_text().split()

    def clear(self) -> None:
        """An empty /opt/base, as in a new build."""
        for path in sorted(self.home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def write_project(self, *dependencies: str, uv: str = "") -> None:
        """Write pyproject.toml; `uv` are further lines of its [tool.uv]."""
        listed = ", ".join(f'"{line}"' for line in dependencies)
        (self.project / "pyproject.toml").write_text(
            '[project]\nname = "my-dependencies"\nversion = "0"\nrequires-python = ">=3.10"\n'
            f"dependencies = [{listed}]\n[dependency-groups]\ndev = []\n"
            f"[tool.uv]\npackage = false\n{uv}"
        )

    def uv(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the real uv in the project, as the wrapper in the image does."""
        own = {
            "XDG_CONFIG_DIRS": str(self.home),
            "UV_DEFAULT_INDEX": self.pypi.as_uri(),
            "UV_CACHE_DIR": str(self.home.parent / "cache"),
            "UV_PYTHON": sys.executable,
            "UV_NO_PROGRESS": "1",
        }
        variables = {k: v for k, v in os.environ.items() if not k.startswith("UV_")}
        return run(UV, *arguments, cwd=self.project, env={**variables, **own, **environment})

    def lock(self, *dependencies: str, uv: str = "") -> dict[str, str]:
        """Lock a project with these dependencies; gives the versions that were chosen."""
        self.write_project(*dependencies, uv=uv)
        result = self.uv("lock")
        assert result.returncode == 0, result.stderr
        return self.locked()

    def locked(self) -> dict[str, str]:
        """The versions of uv.lock."""
        pairs = (self.project / "uv.lock").read_text().split("[[package]]\n")[1:]
        rows = [dict(line.split(" = ", 1) for line in pair.splitlines()[:2]) for pair in pairs]
        return {row["name"].strip('"'): row["version"].strip('"') for row in rows}

    def why(self, *dependencies: str) -> str:
        """Lock what cannot be locked; gives the sentence that follows uv's words."""
        self.write_project(*dependencies)
        result = self.uv("lock")
        assert result.returncode, "uv found a solution"
        return "\n".join(base_packages.why(result.stderr, self.home, self.venv))

    def stale(self) -> list[str]:
        """What the lock has from another base image."""
        return base_packages.stale(self.home, self.project / "uv.lock")

    def problems(self) -> list[str]:
        """What `check` says about the environment."""
        return base_packages.problems(self.home, self.venv, self.project / "uv.lock")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """NVIDIA's image, prepared, and an index with a newer torch and packages that want it."""
    new = Image(tmp_path)
    for name, version in BASE.items():
        new.install(name, version, ["sympy>=1.13"] if name == "torch" else [])
    new.offer("torch", "2.15.0", ["nvidia-nccl>=2.29"])
    new.offer("nvidia-nccl", "2.29.1")
    new.offer("numpy", "1.26.4")
    new.offer("numpy", "2.4.0")
    new.offer("lightning", "2.5.0", ["torch>=2.1"])
    new.offer("lightning", "2.6.0", ["torch>=2.15"])
    new.offer("only-new", "1.0", ["torch>=2.15"])
    new.offer("only-numpy-2", "3.1", ["numpy>=2"])
    new.offer("asks-for-one", "1.0", ["only-new"])
    new.prepare()
    return new


# --- what is kept --------------------------------------------------------------------------------


def test_without_a_constraint_file_torch_cuda_numpy_and_local_builds_are_kept(image: Image) -> None:
    image.install("apex", "0.1")
    image.install("transformer_engine", "2.16.0+1a2b3c4d")
    (image.site / "apex-0.1.dist-info/direct_url.json").write_text('{"url": "file:///tmp/apex"}')
    kept = ["apex", "numpy", "nvidia-nccl", "torch", "transformer-engine"]
    assert image.prepare() == kept
    assert image.prepare(constraints="# NVIDIA 25.10 and later have an empty file\n") == kept


def test_what_the_constraint_file_names_is_kept_too_as_far_as_it_is_there(image: Image) -> None:
    constraints = "Sym.Py==9\nsympy==1.13.3 # tested\n-c other.txt\nnot-there<3\npip==20.0\n"
    assert image.prepare(constraints) == ["numpy", "nvidia-nccl", "sympy", "torch"]
    for_pip = (image.home / "constraints.txt").read_text().splitlines()
    assert for_pip == [
        "numpy==1.26.4",
        "nvidia-nccl==2.28.9",
        "sympy==1.13.3",
        f"torch=={NVIDIA_TORCH}",
        "Sym.Py==9",
        "not-there<3",
    ]


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("# a comment\n\nNumPy # mine\n", ["nvidia-nccl", "torch"]),
        ("nvidia-*\n", ["numpy", "torch"]),
        ("torch\n", ["numpy"]),
        ("something-else\n", ["numpy", "nvidia-nccl", "torch"]),
    ],
)
def test_what_base_override_names_is_free_and_with_torch_its_libraries(
    image: Image, override: str, kept: list[str]
) -> None:
    assert image.prepare(override=override) == kept


@pytest.mark.parametrize(
    ("version", "counts_as"),
    [
        ("2.14.0a0+4fdf77b.nv26.08", "2.14.0+4fdf77b.nv26.8"),
        ("2.13.0+cu130", "2.13.0+cu130"),
        ("0.19.0a0", "0.19.0"),
        ("2.9.0.dev0+7e45be73", "2.9.0+7e45be73"),
        ("1.0rc1.post2", "1.0.post2"),
        ("1.2-3", "1.2.post3"),
        ("1!2.0", "1!2.0"),
        ("3.2.0+git-b2684bf3b", "3.2.0+git.b2684bf3b"),
        ("2.0-unknown.1", "2.0"),
        ("unknown", "0"),
    ],
)
def test_a_version_counts_as_the_release_that_it_became(version: str, counts_as: str) -> None:
    assert stand_ins.stands_as(version) == counts_as


def test_packages_of_the_base_keep_their_commands_with_the_python_of_the_environment(
    image: Image,
) -> None:
    info = "launcher-1.0.dist-info"
    image.install(
        "launcher",
        "1.0",
        files={
            "launcher.py": "import sys\nclass App:\n    def run():\n        return sys.argv[1]\n",
            f"{info}/entry_points.txt": "[console_scripts]\nlaunch = launcher:App.run\n",
        },
    )
    (image.venv / "bin/python").symlink_to(sys.executable)
    image.prepare()
    result = run(image.venv / "bin/launch", "from here", env={"PYTHONPATH": str(image.site)})
    assert (result.returncode, result.stderr) == (1, "from here\n")


def test_the_same_base_gives_the_same_index_and_another_base_another(image: Image) -> None:
    def content() -> dict[str, bytes]:
        index = next((image.home / "index").iterdir())
        files = {str(p): p.read_bytes() for p in index.rglob("*") if p.is_file()}
        return {name.replace(str(index), index.name): text for name, text in files.items()}

    image.prepare()
    first = content()
    image.prepare()
    assert content() == first
    image.install("triton", "3.8.0")
    image.prepare()
    assert not content().keys() & first.keys()


# --- resolving, with the real uv -----------------------------------------------------------------


def test_the_newest_version_that_fits_the_base_is_chosen(image: Image) -> None:
    locked = image.lock("lightning", "numpy")
    assert locked["lightning"] == "2.5.0"
    assert locked["torch"] == "2.14.0+4fdf77b.nv26.8"
    assert locked["numpy"] == "1.26.4"
    assert image.uv("lock", "--check", "--offline").returncode == 0


@pytest.mark.parametrize(
    ("dependency", "sentence"),
    [
        ("only-new", "only-new needs torch>=2.15, but the base image has torch 2.14.0a0+4fdf77b"),
        ("asks-for-one", "only-new needs torch>=2.15, but the base image has torch 2.14.0a0+4fd"),
        (
            "lightning>=2.6",
            "lightning>=2.6.0 needs torch>=2.15, but the base image has torch 2.14.0a0",
        ),
        (
            "torch<2.14",
            "dependencies/pyproject.toml asks for torch<2.14, but the base image has torch",
        ),
        ("only-numpy-2", "only-numpy-2 needs numpy>=2, but the base image has numpy 1.26.4: "),
        (
            "torch==2.15.0",
            "dependencies/pyproject.toml asks for torch==2.15.0, but the base image has torch ",
        ),
    ],
)
def test_who_wants_another_version_is_named_with_the_ways_out(
    image: Image, dependency: str, sentence: str
) -> None:
    said = image.why(dependency)
    assert said.startswith(sentence)
    assert f"or name {'numpy' if 'numpy' in dependency else 'torch'} in dependencies/base-" in said
    assert "\n" not in said


def test_a_conflict_in_a_group_is_one_of_the_project(image: Image) -> None:
    image.write_project()
    pyproject = image.project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("dev = []", 'dev = ["torch>2.14.0"]'))
    (said,) = base_packages.why(image.uv("lock").stderr, image.home, image.venv)
    assert said.startswith("dependencies/pyproject.toml asks for torch>2.14.0, but the base image")


def test_a_conflict_between_other_packages_is_not_blamed_on_the_base(image: Image) -> None:
    image.offer("left", "1.0", ["shared<1", "torch"])
    image.offer("right", "1.0", ["shared>=1", "torch"])
    image.offer("shared", "1.0")
    assert image.why("left", "right", "torch") == ""


def test_another_base_image_is_noticed_and_lock_adopts_it(image: Image) -> None:
    image.lock("lightning")
    (image.site / "torch-2.14.0a0+4fdf77b.nv26.8.dist-info").rename(image.site / "removed")
    image.install("torch", "2.15.0a0+1234567.nv26.10")
    image.prepare()
    stale = image.stale()
    assert stale == ["torch"]
    assert image.uv("lock", *(f"--upgrade-package={name}" for name in stale)).returncode == 0
    assert image.locked()["torch"] == "2.15.0+1234567.nv26.10"
    assert image.stale() == []


def test_a_lock_from_before_or_after_an_override_is_noticed(image: Image) -> None:
    image.lock("lightning", "numpy")
    image.prepare(override="numpy\n")
    assert image.stale() == ["numpy", "torch"]
    image.lock("numpy==2.4.0")
    assert image.stale() == []
    image.prepare()
    assert image.stale() == ["numpy"]


def test_a_free_torch_comes_from_the_index_with_its_libraries(image: Image) -> None:
    image.prepare(override="torch\n")
    locked = image.lock("only-new", "numpy")
    assert (locked["torch"], locked["nvidia-nccl"]) == ("2.15.0", "2.29.1")
    assert locked["numpy"] == "1.26.4"


def test_settings_of_the_project_stay_in_force(image: Image) -> None:
    for version in ("1.0", "2.0"):
        image.offer("some-lib", version, ["numpy"])
    uv = 'constraint-dependencies = ["some-lib<2"]\noverride-dependencies = ["torch"]\n'
    locked = image.lock("some-lib", "only-new", uv=uv)
    assert locked["some-lib"] == "1.0"
    assert locked["only-new"] == "1.0"
    assert locked["torch"] == "2.14.0+4fdf77b.nv26.8"


def test_nothing_of_the_base_is_written_into_pyproject_by_add(image: Image) -> None:
    image.write_project()
    assert image.uv("add", "--no-sync", "lightning").returncode == 0
    text = (image.project / "pyproject.toml").read_text()
    assert '"lightning>=2.5.0"' in text
    assert "opt-base" not in text


def test_a_package_that_is_built_sees_the_numpy_of_the_base(image: Image) -> None:
    image.install("numpy", "1.26.4", files={"numpy.py": "here = 'the base'\n"})
    backend = (
        "import numpy, zipfile\n"
        "assert numpy.here == 'the base'\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    name = 'compiled-1.0-py3-none-any.whl'\n"
        "    info = 'compiled-1.0.dist-info/'\n"
        "    with zipfile.ZipFile(folder + '/' + name, 'w') as wheel:\n"
        "        wheel.writestr('compiled.py', 'works = True\\n')\n"
        "        wheel.writestr(info + 'METADATA',\n"
        "            'Metadata-Version: 2.1\\nName: compiled\\nVersion: 1.0\\n')\n"
        "        wheel.writestr(info + 'WHEEL',\n"
        "            'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(info + 'RECORD', '')\n"
        "    return name\n"
    )
    pyproject = (
        '[build-system]\nrequires = ["numpy"]\nbuild-backend = "own"\nbackend-path = ["."]\n'
    )
    folder = image.pypi / "compiled"
    folder.mkdir()
    with tarfile.open(folder / "compiled-1.0.tar.gz", "w:gz") as archive:
        for name, text in (("pyproject.toml", pyproject), ("own.py", backend)):
            member = tarfile.TarInfo(f"compiled-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    (folder / "index.html").write_text('<a href="compiled-1.0.tar.gz">compiled-1.0.tar.gz</a>\n')
    image.prepare()
    image.lock("compiled")
    environment = str(image.project / ".venv")
    result = image.uv("sync", "--frozen", UV_PROJECT_ENVIRONMENT=environment)
    assert result.returncode == 0, result.stderr
    program = "import compiled; print(compiled.works)"
    assert run(f"{environment}/bin/python", "-c", program).stdout == "True\n"


def test_what_the_base_has_is_not_installed_again(image: Image) -> None:
    image.lock("lightning", "numpy")
    venv.create(image.project / ".venv", with_pip=False)
    names = (image.home / "names.txt").read_text().split()
    skip = [f"--no-install-package={name}" for name in names]
    assert image.uv("sync", "--frozen", *skip).returncode == 0
    folders = [str(path) for path in (image.project / ".venv").glob("lib/*/site-packages")]
    assert stand_ins.find(folders).keys() == {"lightning"}


# --- checking what is installed ------------------------------------------------------------------


def test_an_environment_that_goes_with_the_base_has_no_problem(image: Image) -> None:
    image.install("lightning", "2.5.0", ["torch>=2.14.0", "numpy<2"], into=image.in_venv)
    image.install("sympy", "1.14.0", into=image.in_venv)
    image.install("extra", "1.0", ["torch>=3; extra == 'new'"], into=image.in_venv)
    image.install("windows", "1.0", ["torch>=3; sys_platform == 'win32'"], into=image.in_venv)
    assert image.problems() == []


def test_an_installed_package_that_wants_another_torch_is_named(image: Image) -> None:
    image.install("lightning", "2.6.0", ["torch>=2.15"], into=image.in_venv)
    (said,) = image.problems()
    assert said == (
        f"lightning 2.6.0 needs torch>=2.15, but the base image has torch {NVIDIA_TORCH}: choose "
        "another version of lightning, another release of the base image, or name torch in "
        "dependencies/base-override.txt."
    )


def test_a_requirement_that_the_project_overrides_is_no_problem(image: Image) -> None:
    image.lock("only-new", uv='override-dependencies = ["torch"]\n')
    image.install("only-new", "1.0", ["torch>=2.15"], into=image.in_venv)
    assert image.problems() == []


def test_a_second_numpy_in_the_environment_is_found(image: Image) -> None:
    image.install("numpy", "2.4.0", into=image.in_venv)
    (said,) = image.problems()
    assert said.startswith("numpy 2.4.0 in ")
    assert "hides the base image's 1.26.4" in said


def test_a_package_that_the_torch_of_the_base_cannot_use_is_found(image: Image) -> None:
    image.install("sympy", "1.5", into=image.in_venv)
    (said,) = image.problems()
    assert said == (
        "sympy 1.5 hides the base image's 1.13.3, but torch of the base image needs sympy>=1.13: "
        "./template.sh add 'sympy>=1.13'"
    )


def test_what_was_built_for_a_torch_that_is_replaced_is_to_be_named_too(image: Image) -> None:
    image.install("torchvision", "0.29.0", ["torch==2.14.0a0"])
    image.prepare(override="torch\n")
    image.install("torch", "2.15.0", into=image.in_venv)
    (said,) = image.problems()
    assert said.endswith(
        "but torchvision of the base image needs torch==2.14.0a0: "
        "name torchvision in dependencies/base-override.txt too."
    )
    image.prepare(override="torch\ntorchvision\n")
    assert image.problems() == []


def test_what_the_base_itself_does_not_meet_is_not_blamed_on_the_environment(image: Image) -> None:
    image.install("torch", NVIDIA_TORCH, ["sympy==2.0"])
    image.prepare()
    image.install("sympy", "1.14.0", into=image.in_venv)
    assert image.problems() == []


def test_the_constraint_file_holds_for_packages_that_the_base_lacks(image: Image) -> None:
    image.prepare(constraints="requests<2.32\n")
    image.install("requests", "2.33.0", into=image.in_venv)
    (said,) = image.problems()
    assert said == (
        "requests 2.33.0 is installed, but the base image's constraint file says requests<2.32: "
        "./template.sh add 'requests<2.32', or name requests in dependencies/base-override.txt."
    )
    image.prepare(constraints="requests<2.32\n", override="requests\n")
    assert image.problems() == []


def test_without_any_packaging_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise ImportError(name)

    monkeypatch.setattr(stand_ins, "import_module", missing)
    with pytest.raises(ImportError, match="neither packaging nor pip"):
        stand_ins.import_packaging(Path("/nowhere"))


def test_an_unknown_word_is_answered_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert base_packages.main(["repair"]) == 2
    assert "prepare, stale, check, why" in capsys.readouterr().err
