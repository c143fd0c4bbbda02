"""The locks of a conda environment: what was found once is installed again, or a reason is given.

micromamba is tests/fakes/conda/micromamba, which chooses from a few records; uv is the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import conda_env
import conda_file
import conda_lock
import conda_pip
import conda_solve
import intake
import stand_ins
import uv_project
import workspace_specs
from tests.support.process import run
from tests.support.wheels import make_wheel

FAKE = Path(__file__).parent / "fakes/conda"
FORGE = "https://conda.anaconda.org/conda-forge"
MAIN = """\
name: demo
channels:
  - conda-forge
  - nodefaults
dependencies:
  # Owned by the template:
  - python=3.12.*
  - pytorch=2.13.0
  - pip>=25.1
  # Yours:
"""
CUDA = "dependencies:\n  - pytorch-gpu=2.13.0\n  - cuda-version=12.9\n"
DEV = "dependencies:\n  - ruff\n"
ANSWERS = json.dumps({"package_manager": "conda", "python": "3.12", "torch": "2.13.0"})


def record(
    name: str, version: str = "1.0", build: str = "h0_0", depends: Iterable[str] = (), **more: Any
) -> dict[str, Any]:
    """What micromamba says of a package."""
    file = f"{name}-{version}-{build}.conda"
    return {
        "name": name,
        "version": version,
        "build_string": build,
        "url": f"{FORGE}/linux-64/{file}",
        "sha256": hashlib.sha256(file.encode()).hexdigest(),
        "depends": list(depends),
        **more,
    }


CHANNEL = [
    record("libzlib"),
    record("python", "3.12.4", "h1_0_cpython", ["libzlib >=1", "__glibc >=2.17", "pip"]),
    record("cuda-version", "12.9", "h4_3", ["__cuda"]),
    record("libtorch", "2.13.0", "cuda129_h0_0", ["cuda-version >=12.9,<13"]),
    record("pytorch", "2.13.0", "cuda129_py312_h1_0", ["python >=3.12,<3.13.0a0", "libtorch"]),
    record("pytorch-gpu", "2.13.0", "cuda129_h2_0", ["pytorch 2.13.0 cuda*"]),
    record("pip", "25.2", "pyh8b19718_0", ["python"]),
    record("numpy", "1.26.4", "py312h0_0", ["python", "libblas"]),
    record("libblas"),
    record("ruff", "0.12", "h3_0", ["libblas"]),
]


class Dependencies:
    """The folder dependencies/ of a project, in which the program runs with a micromamba."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.calls, self.channel = folder, folder / ".calls", folder / ".channel"
        self.set = monkeypatch.setenv
        self.unset = monkeypatch.delenv
        for name in [name for name in os.environ if name.startswith(("CONDA_", "CHOSEN_", "UV_"))]:
            self.unset(name)
        self.set(
            "PATH",
            f"{FAKE}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        )
        self.set("FAKE_CALLS", str(self.calls))
        self.set("FAKE_CHANNEL", str(self.channel))
        self.set("CONDA_OVERRIDE_CUDA", "12.9")
        self.set("CHOSEN_CUDA", "12.9")
        self.set("CONDA_OVERRIDE_GLIBC", "2.36")
        monkeypatch.chdir(folder)
        self.calls.touch()
        self.offer(CHANNEL)
        self.write("environment.yml", MAIN + "  - numpy\n")
        self.write("environment-cuda.yml", CUDA)
        self.write("environment-dev.yml", DEV)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def offer(self, records: list[dict[str, Any]] | None = None, **failure: list[str]) -> None:
        """What the channels have, or how they fail."""
        self.channel.write_text(json.dumps(failure or {"records": records}))

    def solved(self) -> list[dict[str, Any]]:
        """The calls of micromamba, as argv and env."""
        return [json.loads(line) for line in self.calls.read_text().splitlines()]

    def parts(self) -> dict[str, list[str]]:
        """Names and versions of conda.lock."""
        lock = conda_lock.load_lock(self.folder / "conda.lock")
        assert lock
        return {
            part: [f"{package.name} {package.version}" for package in packages]
            for part, packages in lock.parts.items()
        }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dependencies:
    return Dependencies(tmp_path, monkeypatch)


class Said:
    """The program and what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> str:
        """Run it where it must succeed."""
        status = conda_env.main(arguments)
        text = self.capsys.readouterr().err
        assert status == 0, text
        return text

    def refused(self, *arguments: str) -> str:
        """Run it where it must fail with one sentence; gives that."""
        assert conda_env.main(arguments) == 1
        lines = self.capsys.readouterr().err.splitlines()
        sentence = [line for line in lines if line.startswith("conda_env: ")]
        assert lines[-1:] == sentence, lines
        assert "Traceback" not in "\n".join(lines)
        return sentence[0].removeprefix("conda_env: ")


@pytest.fixture
def env(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


# --- lock -----------------------------------------------------------------------------------------


def test_pytorch_and_what_it_needs_are_a_part_of_their_own(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    assert project.parts() == {
        "python": [
            "cuda-version 12.9", "libzlib 1.0", "python 3.12.4", "libtorch 2.13.0",
            "pytorch 2.13.0", "pytorch-gpu 2.13.0",
        ],
        "heavy": [],
        "runtime": ["libblas 1.0", "numpy 1.26.4", "pip 25.2"],
        "dev": ["ruff 0.12"],
    }  # fmt: skip


def test_large_packages_with_what_they_need_are_a_part_that_a_light_one_leaves_as_it_is(
    project: Dependencies, env: Said
) -> None:
    sizes = {"numpy": 8_000_000, "libtorch": 900_000_000, "ruff": 9_000_000}
    channel = [one | {"size": sizes.get(one["name"], 1000)} for one in CHANNEL]
    project.offer([*channel, record("einops", "0.8", "pyh0_0", ["python"])])
    env("lock")
    assert project.parts()["heavy"] == ["libblas 1.0", "numpy 1.26.4"]
    env("split", "parts")
    before = (project.folder / "parts/heavy.txt").read_text()
    env("add", "einops")
    env("lock")
    assert project.parts()["runtime"] == ["einops 0.8", "pip 25.2"]
    env("split", "parts")
    assert (project.folder / "parts/heavy.txt").read_text() == before


def test_a_lock_is_what_micromamba_installs_and_says_what_it_was_made_for(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    text = project.read("conda.lock")
    head, _, packages = text.partition("@EXPLICIT\n")
    assert "# platform: linux-64\n" in head
    assert "__cuda=12.9 __glibc=2.36" in head
    lines = [line for line in packages.splitlines() if not line.startswith("#")]
    assert len(lines) == len(CHANNEL)
    assert all(line.startswith(f"{FORGE}/linux-64/") and "#sha256:" in line for line in lines)


def test_the_solver_knows_the_chosen_cuda_and_none_without_one(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    call = project.solved()[-1]
    assert call["env"]["CONDA_OVERRIDE_CUDA"] == "12.9"
    assert call["argv"][:4] == ["create", "--dry-run", "--json", "--yes"]
    assert "strict" in call["argv"]
    project.set("CONDA_OVERRIDE_CUDA", "")
    project.unset("CHOSEN_CUDA")
    env("lock")
    assert not project.solved()[-1]["env"]["CONDA_OVERRIDE_CUDA"]
    assert "__cuda" not in project.read("conda.lock").partition("@EXPLICIT")[0]


def test_without_pytorch_the_first_part_is_python_alone(project: Dependencies, env: Said) -> None:
    project.write("environment.yml", MAIN.replace("  - pytorch=2.13.0\n", "  - numpy\n"))
    (project.folder / "environment-cuda.yml").unlink()
    env("lock")
    assert project.parts()["python"] == ["libzlib 1.0", "python 3.12.4"]
    assert "# python\n" in project.read("conda.lock")


def test_a_lock_that_matches_is_not_solved_again(project: Dependencies, env: Said) -> None:
    env("lock")
    project.write("environment.yml", "# a comment more\n" + MAIN + "  - numpy # mine\n")
    assert "up to date" in env("lock")
    assert len(project.solved()) == 1


def test_locked_versions_stay_when_a_package_is_added(project: Dependencies, env: Said) -> None:
    env("lock")
    project.offer([*CHANNEL, record("numpy", "2.3.0", "py313h0_0"), record("rich", "14.0")])
    project.write("environment.yml", MAIN + "  - numpy\n  - rich\n")
    said = env("lock")
    assert "numpy 1.26.4" in project.parts()["runtime"]
    assert "+ rich 14.0" in said


def test_an_upgrade_moves_all_or_what_is_named(project: Dependencies, env: Said) -> None:
    env("lock")
    project.offer([*CHANNEL, record("numpy", "2.3.0", depends=["libblas"]), record("ruff", "0.13")])
    assert "numpy 1.26.4 -> 2.3.0" in env("lock", "--upgrade", "numpy")
    assert project.parts()["dev"] == ["ruff 0.12"]
    env("lock", "--upgrade")
    assert project.parts()["dev"] == ["ruff 0.13"]
    assert "no package nmpy" in env.refused("lock", "--upgrade", "nmpy")


def test_what_does_not_fit_any_more_is_solved_anew_and_said(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    project.offer([row for row in CHANNEL if row["name"] != "numpy"] + [record("numpy", "2.3.0")])
    project.write("environment.yml", MAIN + "  - numpy=2.3.0\n")
    assert "everything was solved anew" in env("lock")
    assert "numpy 2.3.0" in project.parts()["runtime"]


def test_a_mirror_and_its_password_are_not_in_the_lock(project: Dependencies, env: Said) -> None:
    mirror = "https://me:hunter2@mirror.example/conda"
    project.set("MAMBA_CHANNEL_ALIAS", mirror)
    url = f"{mirror}/conda-forge/linux-64/"
    project.offer(
        [{**row, "url": row["url"].replace(f"{FORGE}/linux-64/", url)} for row in CHANNEL]
    )
    env("lock")
    text = project.read("conda.lock")
    assert "hunter2" not in text
    assert "mirror.example" not in text
    assert f"{FORGE}/linux-64/numpy-1.26.4" in text


def test_a_channel_with_a_token_is_locked_without_it(project: Dependencies, env: Said) -> None:
    url = "https://conda.anaconda.org/t/ab-123/mine/noarch/numpy-1.26.4-py_0.conda"
    project.offer([row if row["name"] != "numpy" else {**row, "url": url} for row in CHANNEL])
    env("lock")
    assert "https://conda.anaconda.org/mine/noarch/numpy-1.26.4-py_0.conda#" in project.read(
        "conda.lock"
    )
    project.write(
        "environment.yml", MAIN.replace("nodefaults", "https://conda.anaconda.org/t/ab-123/mine")
    )
    sentence = env.refused("lock")
    assert "CONDA_AUTH_FILE" in sentence
    assert "ab-123" not in sentence


# --- what goes wrong is one sentence --------------------------------------------------------------


NO_PACKAGE = "There is no package {} in the channels (conda-forge): environment.yml, line 12"
NO_VERSION = "There is no version in the channels (conda-forge) that fits {}: environment.yml, line"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("numppy", f"{NO_PACKAGE.format('numppy')}; the nearest name is numpy."),
        ("forge::sklearn", f"{NO_PACKAGE.format('sklearn')}; the nearest name is scikit-learn."),
        ("of-nobody>=2", f"{NO_PACKAGE.format('of-nobody')}."),
        ("numpy=9.*", f"{NO_VERSION.format('numpy=9.*')} 12; the newest is 1.26.4."),
    ],
)
def test_what_no_channel_has_is_named_with_its_line(
    project: Dependencies, env: Said, line: str, said: str
) -> None:
    project.write("environment.yml", f"{MAIN}  - pip\n  - {line}\n")
    assert env.refused("lock") == said
    assert not (project.folder / "conda.lock").exists()


def test_what_add_was_told_has_no_line_in_the_file_as_it_is_restored(
    project: Dependencies, env: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("environment.yml", f"{MAIN}  - pip\n  - of-nobody>=2\n")
    monkeypatch.setenv("CONDA_ADDING", "numpy<2\nof-nobody>=2")
    assert env.refused("lock") == "There is no package of-nobody in the channels (conda-forge)."


def test_what_an_import_took_and_no_channel_has_stops_itself_only(
    project: Dependencies, env: Said
) -> None:
    project.write("environment.yml", MAIN)
    theirs = "dependencies: [numppy=1.*, numpy, libblas=9.9]\n"
    project.write("theirs.yml", theirs)
    env("take", ".", ANSWERS, "theirs.yml")
    said = env("lock")
    assert "theirs.yml: numppy=1.*: left out, as no channel has it (conda-forge)" in said
    assert "the nearest name is numpy." in said
    assert "theirs.yml: libblas=9.9: left out, as the channels" in said
    assert project.read("environment.yml") == f"{MAIN}  - numpy\n"
    assert "numpy 1.26.4" in project.parts()["runtime"]
    # Once there is a lock, a channel that lacks a package for a day takes none away.
    project.offer([row for row in CHANNEL if row["name"] != "numpy"])
    assert "There is no package numpy" in env.refused("lock", "--upgrade")
    assert project.read("environment.yml") == f"{MAIN}  - numpy\n"


# A numpy of the time before the project's Python.
OLD = record("numpy", "1.19.2", "py38h0_0", ["python_abi 3.8"])


def test_a_version_of_an_import_that_fits_nothing_stops_itself_only(
    project: Dependencies, env: Said
) -> None:
    project.offer([OLD, *CHANNEL, record("scipy")])
    project.write("environment.yml", MAIN)
    project.write("theirs.yml", "dependencies: [scipy=1.*, numpy=1.19.2]\n")
    env("take", ".", ANSWERS, "theirs.yml")
    said = env("lock")
    assert "theirs.yml: numpy=1.19.2: taken without its version, which does not fit" in said
    assert "scipy" not in said
    assert project.read("environment.yml") == f"{MAIN}  - scipy=1.*\n  - numpy\n"
    assert "numpy 1.26.4" in project.parts()["runtime"]


def test_a_version_of_the_user_that_fits_nothing_is_told(project: Dependencies, env: Said) -> None:
    project.offer([OLD, *CHANNEL])
    project.write("environment.yml", f"{MAIN}  - numpy=1.19.2\n")
    assert "numpy-1.19.2-py38h0_0 needs python_abi 3.8" in env.refused("lock")
    assert project.read("environment.yml") == f"{MAIN}  - numpy=1.19.2\n"


def test_a_line_that_the_user_has_edited_is_not_removed(project: Dependencies, env: Said) -> None:
    project.write("environment.yml", MAIN)
    project.write("theirs.yml", "dependencies: [numppy]\n")
    env("take", ".", ANSWERS, "theirs.yml")
    project.write("environment.yml", f"{MAIN}  - numppy=2.*  # mine\n")
    assert "numppy" in env.refused("lock")
    assert "# mine" in project.read("environment.yml")


def test_an_import_leaves_out_what_no_channel_has(
    project: Dependencies, env: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    project.offer([record("libblas", "0.1", depends=["python_abi 3.8"]), *CHANNEL])
    project.write("theirs.yml", "dependencies: [numppy, scipy, libblas=0.1, ruff=0.12]\n")
    project.write("environment.yml", f"{MAIN}  - numpy\n")
    env("lock")
    assert conda_env.main(["plan-import", ".", ANSWERS, "theirs.yml"]) == 0
    plan = json.loads(capsys.readouterr().out)
    left = {entry["text"]: entry["reason"] for entry in plan["left_out"]}
    assert left.keys() == {"numppy", "scipy"}
    assert left["numppy"].endswith("the nearest name is numpy")
    assert left["scipy"].endswith("if PyPI has it, run: ./template.sh add --pip scipy")
    lines = f"{MAIN}  - numpy\n  - libblas\n  - ruff=0.12\n"
    assert plan["files"]["environment.yml"] == lines
    assert [entry["text"] for entry in plan["changed"]] == ["libblas=0.1"]
    assert "numppy" not in plan["files"]["imported.json"]


def test_a_conflict_is_told_in_the_solvers_words(project: Dependencies, env: Said) -> None:
    project.offer(problems=["package seaborn-0.13 requires numpy <2, but none can be installed"])
    assert "seaborn-0.13 requires numpy <2" in env.refused("lock")
    project.offer(problems=["x" * 90 + " y"] * 2 + [f"number {i} " + "z" * 90 for i in range(20)])
    assert len(env.refused("lock")) < 500


PINNED = ("numpy=2.*", "seaborn=0.13")


def test_the_lines_of_a_conflict_are_named(project: Dependencies, env: Said) -> None:
    project.write("environment.yml", f"{MAIN}  - seaborn=0.13\n  - numpy=2.*\n")
    problem = "package seaborn-0.13.2-py_0 requires numpy <2, but none can be installed"
    project.offer(problems=[problem])
    lines = [*project.read("environment.yml").splitlines()]
    places = [f"environment.yml, line {lines.index(f'  - {one}') + 1}" for one in PINNED]
    named = ", ".join(f"{one} ({place})" for one, place in zip(PINNED, places, strict=True))
    assert f"These lines do not go together: {named}. Change one of them." in env.refused("lock")


def test_a_driver_that_is_missing_is_told_apart_from_a_package(
    project: Dependencies, env: Said
) -> None:
    project.offer(problems=["nothing provides __cuda >=13 needed by cuda-version-13.0-h1_0"])
    assert "cuda-version-13.0-h1_0 needs __cuda >=13, but the images have" in env.refused("lock")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "Download error (6) Could not resolve hostname [https://me:pw1@host.x/repodata.json]",
            "https://host.x/",
        ),
        (
            "Could not load repodata.json for linux-64 file:///mnt/channels/conda-forge",
            "file:///mnt",
        ),
        (
            "Transfer finalized, status: 401 [https://host.x/t/pw1/c/repodata.json] 0 bytes",
            "CONDA_AUTH_FILE",
        ),
        (
            "Transfer finalized, status: 404 [https://host.x/t/pw1/c/repodata.json] 0 bytes",
            "it is not there, or needs a login",
        ),
    ],
)
def test_a_channel_that_cannot_be_read_is_named_without_its_secret(
    project: Dependencies, env: Said, line: str, said: str
) -> None:
    project.offer(log=[line])
    sentence = env.refused("lock")
    assert said in sentence
    assert "cannot be read" in sentence
    assert "pw1" not in sentence


def test_a_cpu_build_is_refused_where_cuda_was_chosen(project: Dependencies, env: Said) -> None:
    cpu = record("pytorch", "2.13.0", "cpu_generic_py312_0", ["python"])
    project.offer([row for row in CHANNEL if row["name"] != "pytorch"] + [cpu])
    assert (
        "a CPU build of PyTorch (pytorch-2.13.0-cpu_generic_py312_0) although CUDA 12.9"
        in env.refused("lock")
    )
    assert not (project.folder / "conda.lock").exists()
    project.set("CONDA_OVERRIDE_CUDA", "")
    env("lock")
    project.set("CONDA_OVERRIDE_CUDA", "12.9")
    assert "CPU build" in env.refused("split", "parts")


def test_a_cpu_build_of_a_framework_of_ones_own_is_refused_unless_it_is_asked_for(
    project: Dependencies, env: Said
) -> None:
    project.unset("CHOSEN_CUDA")
    (project.folder / "environment-cuda.yml").unlink()
    project.offer([*CHANNEL, record("jaxlib", "0.7.2", "cpu_py312h1_0", ["python"])])
    without_torch = MAIN.replace("  - pytorch=2.13.0\n", "")
    project.write("environment.yml", without_torch + "  - jaxlib\n")
    refused = env.refused("lock")
    assert "a CPU build of JAX (jaxlib-0.7.2-cpu_py312h1_0) although CUDA 12.9" in refused
    assert "'jaxlib=*=*cuda*'" in refused
    project.write("environment.yml", without_torch + "  - jaxlib=0.7.2=cpu*\n")
    env("lock")
    assert "jaxlib 0.7.2" in project.parts()["runtime"]


@pytest.mark.parametrize(
    "part",
    [
        "  - pip:\n    - rich\n",
        "  - pip:  # of PyPI\n    - rich\n",
        "  - pip: [rich]\n",
        "  -   pip:\n      - rich\n",
        "  - pip:\r\n    - rich\r\n",
    ],
)
def test_a_pip_part_of_any_shape_keeps_its_lock(
    project: Dependencies, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    project.write("pip.lock", "rich==14.0\n")
    project.write("pip-dev.lock", "# of a pip part that is no more\n")
    project.write("environment.yml", MAIN + part)
    assert conda_env.main(["pip-parts"]) == 0
    assert capsys.readouterr().out.split() == ["pip.lock"]
    assert (project.folder / "pip.lock").exists()
    assert not (project.folder / "pip-dev.lock").exists()
    project.write("environment.yml", MAIN)
    assert conda_env.main(["pip-parts"]) == 0
    assert not capsys.readouterr().out.strip()
    assert not (project.folder / "pip.lock").exists()


def test_a_package_without_a_hash_is_refused(project: Dependencies, env: Said) -> None:
    project.offer([{**row, "sha256": ""} for row in CHANNEL])
    assert "SHA-256" in env.refused("lock")


def test_without_micromamba_there_is_a_sentence(project: Dependencies, env: Said) -> None:
    project.set("PATH", "/nowhere")
    assert "micromamba cannot be started" in env.refused("lock")


def test_a_damaged_lock_is_made_anew_and_never_installed(project: Dependencies, env: Said) -> None:
    env("lock")
    good = project.read("conda.lock")
    project.write("conda.lock", good.replace("#sha256:", "#md5:", 1))
    assert "no package with its SHA-256" in env.refused("check")
    assert "no package with its SHA-256" in env.refused("split", "parts")
    env("lock")
    assert project.read("conda.lock") == good


# --- check and split ------------------------------------------------------------------------------


def test_check_says_whether_the_lock_matches(project: Dependencies, env: Said) -> None:
    assert "no conda.lock yet" in env.refused("check")
    env("lock")
    assert not env("check")
    project.write("environment-dev.yml", DEV + "  - mypy\n")
    assert "does not match the environment files" in env.refused("check")


def test_check_sees_another_cuda_and_an_older_distribution(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    project.set("CONDA_OVERRIDE_CUDA", "13.0")
    assert "made for CUDA 12.9, but CUDA 13.0 is chosen" in env.refused("check")
    project.set("CONDA_OVERRIDE_CUDA", "12.9")
    project.set("CONDA_OVERRIDE_GLIBC", "2.41")
    assert not env("check")
    project.set("CONDA_OVERRIDE_GLIBC", "2.31")
    assert "glibc 2.36, but the images have 2.31" in env.refused("check")


def test_split_writes_a_file_for_each_layer_with_this_machines_mirror(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    project.set("MAMBA_CHANNEL_ALIAS", "file:///mnt/channels/")
    env("split", "parts")
    parts = {path.name: path.read_text() for path in (project.folder / "parts").iterdir()}
    assert set(parts) == {"python.txt", "heavy.txt", "runtime.txt", "dev.txt"}
    assert parts["dev.txt"].startswith(
        "@EXPLICIT\nfile:///mnt/channels/conda-forge/linux-64/ruff-0.12-"
    )
    before = parts["python.txt"]
    project.write("environment.yml", MAIN + "  - libblas\n")
    env("lock")
    env("split", "parts")
    assert (project.folder / "parts/python.txt").read_text() == before


def test_split_refuses_a_mirror_with_a_password(project: Dependencies, env: Said) -> None:
    env("lock")
    project.set("MAMBA_CHANNEL_ALIAS", "https://me:hunter2@host.x")
    sentence = env.refused("split", "parts")
    assert "MAMBA_CHANNEL_ALIAS holds a token or password" in sentence
    assert "hunter2" not in sentence


# --- add and take ---------------------------------------------------------------------------------


def test_add_edits_the_right_file_and_part(project: Dependencies, env: Said) -> None:
    env("add", "--", "scipy>=1", "numpy=2")
    env("add", "--dev", "mypy")
    env("add", "--pip", "rich")
    assert project.read("environment.yml") == MAIN + (
        "  - numpy=2\n  - scipy>=1\n  - pip:\n      - rich\n"
    )
    assert project.read("environment-dev.yml") == DEV + "  - mypy\n"
    env("add", "rich")  # conda's from now on
    assert project.read("environment.yml") == MAIN + "  - numpy=2\n  - scipy>=1\n  - rich\n"


def test_add_does_all_or_nothing(project: Dependencies, env: Said) -> None:
    before = project.read("environment.yml")
    assert "template.sh update" in env.refused("add", "scipy", "python=3.13")
    assert "needs the name" in env.refused("add", "--dev")
    assert "needs the name" in env.refused("add", "--frobnicate", "scipy")
    assert project.read("environment.yml") == before


def test_remove_takes_the_users_lines_out_of_both_files_and_parts(
    project: Dependencies, env: Said
) -> None:
    env("add", "--", "scipy>=1", "numpy=2")
    env("add", "--dev", "scipy")
    env("add", "--pip", "rich")
    before = project.read("environment.yml")
    assert "No environment file lists scipi. Did you mean scipy?" in env.refused(
        "remove", "--", "numpy", "scipi"
    )
    assert "update changes them after your answers" in env.refused("remove", "python")
    assert "needs the name" in env.refused("remove", "--dev")
    assert project.read("environment.yml") == before
    env("remove", "--", "scipy", "rich")
    assert project.read("environment.yml") == MAIN + "  - numpy=2\n"
    assert project.read("environment-dev.yml") == DEV


def test_take_tells_what_it_changed(project: Dependencies, env: Said) -> None:
    project.write("environment.yml", MAIN)
    project.write("theirs.yml", "channels: [defaults]\ndependencies: [numpy=1.26=py_0]\n")
    said = env("take", ".", ANSWERS, "theirs.yml")
    assert "Imported the packages of theirs.yml into dependencies/environment.yml." in said
    assert "  numpy=1.26=py_0: taken without its build" in said
    assert project.read("environment.yml") == MAIN + "  - numpy=1.26\n"
    assert "nothing was taken in" in env("take", ".", ANSWERS, "theirs.yml")
    project.write("environment.yml", MAIN)
    project.write("theirs.yml", "hello")
    refused = env.refused("take", ".", ANSWERS, "theirs.yml")
    assert refused.startswith("theirs.yml is no environment file")


def test_take_finds_the_files_of_the_code(project: Dependencies, env: Said) -> None:
    project.write("environment.yml", MAIN)
    code = project.folder / "code"
    code.mkdir()
    assert env("take", "code", ANSWERS) == ""
    (code / "requirements.txt").write_text("rich\n")
    (code / "requirements-dev.txt").write_text("-r requirements.txt\nmypy\nruff\n")
    said = env("take", "code", ANSWERS)
    assert said.startswith("Imported the packages of requirements.txt, requirements-dev.txt into")
    assert project.read("environment.yml") == MAIN + "  - pip:\n      - rich\n"
    assert project.read("environment-dev.yml") == DEV + "  - pip:\n      - mypy\n"
    record = json.loads(project.read("imported.json"))
    assert record["asked"] == ["requirements.txt", "requirements-dev.txt"]


def test_an_import_is_planned_and_nothing_is_written(
    project: Dependencies, env: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("environment.yml", f"{MAIN}  - libblas\n")
    project.write("theirs.yml", "channels: [defaults]\ndependencies: [numpy=1.26=py_0]\n")
    capsys.readouterr()
    assert conda_env.main(["plan-import", ".", ANSWERS, "theirs.yml"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["files"]["environment.yml"] == f"{MAIN}  - libblas\n  - numpy=1.26\n"
    assert [entry["text"] for entry in plan["changed"]] == ["numpy=1.26=py_0"]
    assert project.read("environment.yml") == f"{MAIN}  - libblas\n"
    assert env.refused("plan-import", ".").startswith("plan-import needs")


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["--help"]])
def test_an_unknown_verb_names_the_known_ones(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert conda_env.main(arguments) == 2
    assert "lock, check, split, pip-parts, pip-lock, add, remove, take" in capsys.readouterr().err


def test_it_runs_in_an_image_where_its_files_lie_in_one_folder(
    project: Dependencies, tmp_path: Path
) -> None:
    folder = tmp_path / "container"
    folder.mkdir()
    modules = (conda_env, conda_file, conda_lock, conda_pip, conda_solve, stand_ins, uv_project)
    for module in modules:
        shutil.copy(str(module.__file__), folder)
    shutil.copytree(Path(str(intake.__file__)).parent, folder / "intake")
    result = run(sys.executable, folder / "conda_env.py", "add", "scipy", cwd=project.folder)
    assert result.returncode == 0, result.stderr
    assert "  - scipy\n" in project.read("environment.yml")


# --- what the project itself requires -------------------------------------------------------------


def require(project: Dependencies, *lines: str, dev: Iterable[str] = (), uv: str = "") -> None:
    """Write what `conda_project.py` makes of a project's own metadata."""
    (project.folder / "project").mkdir(exist_ok=True)
    text = f"[project]\ndependencies = {[*lines]}\noptional-dependencies.dev = {[*dev]}\n{uv}"
    project.write("project/pyproject.toml", text)


def test_conda_brings_what_is_compiled_against_its_pytorch(
    project: Dependencies, env: Said
) -> None:
    env("lock")
    before = project.read("conda.lock")
    require(project)
    assert "up to date" in env("lock")
    assert project.read("conda.lock") == before
    vision = record("torchvision", "0.28.0", "cuda129_py312_h0_0", ["python", "pytorch"])
    project.offer([*CHANNEL, vision])
    require(project, "torchvision")
    assert "conda.lock does not match" in env.refused("check")
    env("lock")
    assert "torchvision 0.28.0" in project.parts()["runtime"]
    assert env("pip-parts") == ""


def test_condas_versions_suit_the_project_and_others_do_not_solve_again(
    project: Dependencies, env: Said
) -> None:
    project.offer([*CHANNEL, record("numpy", "2.3.0", "py312h0_0", ["python", "libblas"])])
    env("lock")
    assert "numpy 2.3.0" in project.parts()["runtime"]
    calls = len(project.solved())
    require(project, "einops>=0.8", "numpy>=2", dev=["mypy==1.*"])
    assert "up to date" in env("lock")
    require(project, "einops>=0.8", "numpy!=2.1,<2")
    assert "numpy 2.3.0 -> 1.26.4" in env("lock")
    assert "up to date" in env("lock")
    assert len(project.solved()) == calls + 1
    # What conda does not have at all is told when PyPI's packages are locked.
    require(project, "numpy>=99")
    env("lock")
    assert "numpy 2.3.0" in project.parts()["runtime"]


# --- the pip part ---------------------------------------------------------------------------------


class Venv:
    """What conda has installed in /opt/venv, and an index of packages."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.index = folder / "venv", folder / "index"
        venv.create(self.folder, with_pip=False, symlinks=True)
        self.site = next(self.folder.glob("lib/python*/site-packages"))
        self.index.mkdir()
        self.wheels = folder

    def install(
        self, name: str, version: str, requires: Iterable[str] = (), by: str = "conda"
    ) -> None:
        with zipfile.ZipFile(make_wheel(self.wheels, name, version, requires)) as archive:
            archive.extractall(self.site)
        (self.site / f"{name.replace('-', '_')}-{version}.dist-info/INSTALLER").write_text(by)

    def offer(self, name: str, version: str, requires: Iterable[str] = ()) -> None:
        folder = self.index / name
        folder.mkdir(exist_ok=True)
        make_wheel(folder, name, version, requires)
        wheels = [path.name for path in sorted(folder.glob("*.whl"))]
        (folder / "index.html").write_text("".join(f'<a href="{w}">{w}</a>\n' for w in wheels))


@pytest.fixture
def prefix(
    project: Dependencies,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    env: Said,
) -> Venv:
    """A project that is locked, with its conda part installed."""
    new = Venv(tmp_path_factory.mktemp("image"))
    monkeypatch.setattr(conda_pip, "VENV", new.folder)
    project.set("UV_DEFAULT_INDEX", new.index.as_uri())
    project.set("UV_CACHE_DIR", str(new.wheels / "cache"))
    new.install("numpy", "1.26.4")
    new.offer("numpy", "2.3.0")
    new.offer("plots", "1.0", ["numpy>=1", "colours"])
    new.offer("colours", "3.0")
    env("lock")
    return new


def test_what_conda_has_is_not_in_the_pip_lock_and_everything_else_is_hashed(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - plots\n")
    env("pip-lock")
    text = project.read("pip.lock")
    assert [line.split(" ")[0] for line in conda_pip.requirements(text)] == [
        "colours==3.0",
        "plots==1.0",
    ]
    assert text.count("--hash=sha256:") == 2
    assert "# input: sha256:" in text
    assert prefix.index.as_uri() not in text
    assert not (project.folder / "pip-dev.lock").exists()
    assert not env("check")


def test_who_wants_another_version_than_condas_is_named(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    prefix.offer("modern", "4.0", ["numpy>=2"])
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - modern\n")
    sentence = env.refused("pip-lock")
    assert "modern" in sentence
    assert "needs numpy>=2, but conda has numpy 1.26.4" in sentence
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - numpy>2\n")
    assert "A pip part asks for numpy>2, but conda has numpy 1.26.4" in env.refused("pip-lock")


@pytest.mark.usefixtures("prefix")
def test_a_package_that_pypi_does_not_have_is_a_sentence(project: Dependencies, env: Said) -> None:
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - nosuch\n")
    assert env.refused("pip-lock") == "No versions of PyPI's packages fit the pip part."


def test_what_the_project_requires_is_locked_beside_condas_packages(
    project: Dependencies, prefix: Venv, env: Said, tmp_path: Path
) -> None:
    team = tmp_path / "team"
    for name, version in (("plots", "1.5"), ("numpy", "9.0"), ("other", "1.0")):
        folder = team / name
        folder.mkdir(parents=True)
        wheel = make_wheel(folder, name, version)
        (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>\n')
    prefix.offer("other", "2.0")
    prefix.offer("tester", "1.0", ["plots"])
    index = f'[[tool.uv.index]]\nname = "team"\nurl = "{team.as_uri()}"\nexplicit = true\n'
    sources = '[tool.uv.sources]\nplots = { index = "team" }\nnumpy = { index = "team" }\n'
    require(project, "plots", "numpy", "other", dev=["tester"], uv=index + sources)
    assert env("pip-parts") == ""  # stdout has the names
    env("pip-lock")
    text = project.read("pip.lock")
    lines = [line.split(" ")[0] for line in conda_pip.requirements(text)]
    assert lines == ["other==2.0", "plots==1.5"]
    assert f"\n--extra-index-url {team.as_uri()}\n" in text
    dev = conda_pip.requirements(project.read("pip-dev.lock"))
    assert [line.split(" ")[0] for line in dev] == ["tester==1.0"]
    assert not env("check")
    require(project, "plots", "numpy", "other", uv=index)
    assert "what the project requires" in env.refused("check")
    require(project, "numpy>2")
    assert "The project asks for numpy>2, but conda has numpy 1.26.4" in env.refused("pip-lock")


def test_an_address_of_the_project_that_cannot_be_had_stops_itself_and_not_the_pip_lock(
    project: Dependencies, prefix: Venv, env: Said, tmp_path: Path
) -> None:
    gone = (tmp_path / "gone").as_uri()
    sources = f'[tool.uv.sources]\nlost = {{ git = "{gone}" }}\n'
    direct = f"away@git+{gone} ; python_version>'3'"  # as they may be written, too
    require(project, "plots", "lost", direct, uv=sources)
    said = env("pip-lock")
    for name, address in (("lost", gone), ("away", f"git+{gone}")):
        assert f"{name} is left out, as {address} cannot be had: " in said
    lines = [line.split(" ")[0] for line in conda_pip.requirements(project.read("pip.lock"))]
    assert lines == ["colours==3.0", "plots==1.0"]
    assert not env("check")
    assert "lost is left out" in env("pip-lock")  # it is tried again
    # What the lock has already is not robbed of it by a network that fails.
    commit = f"lost @ git+{gone}@{'a' * 40}"
    project.write("pip.lock", f"{project.read('pip.lock')}{commit}\n")
    assert "No versions" in env.refused("pip-lock", "--upgrade", "plots")
    assert commit in project.read("pip.lock")
    (project.folder / "pip.lock").unlink()
    # Another reason stays the reason.
    prefix.offer("modern", "4.0", ["numpy>=2"])
    require(project, "modern", "lost", uv=sources)
    assert "modern" in env.refused("pip-lock")


def test_pip_lock_versions_stay_until_they_are_freed(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - plots\n")
    env("pip-lock")
    prefix.offer("colours", "3.1")
    assert "up to date" in env("pip-lock")
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - plots\n      - colours\n")
    assert "pip.lock does not match" in env.refused("check")
    env("pip-lock")
    assert "colours==3.0" in project.read("pip.lock")
    env("pip-lock", "--upgrade", "colours")
    assert "colours==3.1" in project.read("pip.lock")


def test_the_dev_lock_goes_with_the_other_and_brings_only_what_is_new(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    prefix.offer("tester", "1.0", ["colours", "numpy"])
    prefix.offer("colours", "3.1")
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - colours<3.1\n")
    project.write("environment-dev.yml", DEV + "  - pip:\n      - tester\n")
    env("pip-lock")
    lines = conda_pip.requirements(project.read("pip-dev.lock"))
    assert [line.split(" ")[0] for line in lines] == ["tester==1.0"]
    project.write("environment-dev.yml", DEV)
    env("pip-lock")
    assert not (project.folder / "pip-dev.lock").exists()
    assert (project.folder / "pip.lock").exists()


def test_a_git_address_is_locked_at_its_commit(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    source = prefix.wheels / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[project]\nname = "gitted"\nversion = "7"\ndependencies = ["numpy"]\n'
        '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
    )
    (source / "b.py").write_text("")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        assert run(*git, *command, cwd=source).returncode == 0
    commit = run("git", "rev-parse", "HEAD", cwd=source).stdout.strip()
    line = f"gitted @ git+{source.as_uri()}"
    project.write("environment.yml", MAIN + f"  - numpy\n  - pip:\n      - {line}\n")
    env("pip-lock")
    assert conda_pip.requirements(project.read("pip.lock")) == [f"{line}@{commit}"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-e .", "names no pip requirement"),
        ("./local", "names no pip requirement"),
        ("torch==2.0", "template.sh update"),
        ("torchvision", "must match conda's PyTorch"),
        ("a @ https://me:hunter2@host/a-1.whl", "NETRC_FILE"),
    ],
)
@pytest.mark.usefixtures("prefix")
def test_a_pip_line_that_cannot_be_locked_says_why(
    project: Dependencies, env: Said, line: str, said: str
) -> None:
    project.write("environment.yml", MAIN + f"  - numpy\n  - pip:\n      - {line}\n")
    sentence = env.refused("pip-lock")
    assert said in sentence
    assert sentence.startswith("environment.yml, pip part: ")
    assert "hunter2" not in sentence


def test_an_extra_of_what_conda_has_brings_its_needs(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    prefix.install("dask", "1.0", ['plots; extra == "complete"'])
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - dask[complete]\n")
    env("pip-lock")
    assert set(conda_pip.pinned(project.folder / "pip.lock")[0]) == {"plots", "colours"}


def test_what_uv_installed_before_is_still_in_the_lock(
    project: Dependencies, prefix: Venv, env: Said
) -> None:
    prefix.install("colours", "3.0", by="uv")
    project.write("environment.yml", MAIN + "  - numpy\n  - pip:\n      - colours\n")
    env("pip-lock")
    assert "colours==3.0" in project.read("pip.lock")


def test_a_project_without_a_pip_part_needs_no_environment(
    project: Dependencies, env: Said
) -> None:
    project.write("pip.lock", "old")
    env("pip-lock")
    assert not (project.folder / "pip.lock").exists()


# --- packages of workspaces -----------------------------------------------------------------------


class Workspace:
    """A workspace of a project whose lock is made, with packages of its own in the channel."""

    def __init__(self, project: Dependencies, env: Said) -> None:
        project.offer([*CHANNEL, *OF_WORKSPACES])
        env("lock")
        self.project, self.folder = project, project.folder / "workspace"
        self.folder.mkdir()

    def lock(self, *specs: str) -> list[str]:
        """What is added for these lines, and kept as its lock."""
        text, self.for_uv = workspace_specs.solved(specs, [], self.folder)
        (self.folder / "conda.lock").write_text(text)
        return [conda_lock.Locked.parse(line).name for line in text.splitlines() if "://" in line]

    def refused(self, *specs: str) -> str:
        """Why these lines cannot be had."""
        with pytest.raises(conda_lock.CondaError) as stop:
            self.lock(*specs)
        return str(stop.value)


OF_WORKSPACES = [
    record("lake-base"),
    record("lake", "1.0", "h0_0", ["lake-base", "numpy", "python"]),
    record("dry-lake", "1.0", "h0_0", ["numpy"]),
    record("einops", "0.8.0", "pyh0_0", ["python"]),
    record("sea", "1.0", "h0_0", ["einops"]),
]


@pytest.fixture
def workspace(project: Dependencies, env: Said) -> Workspace:
    return Workspace(project, env)


def test_a_workspace_gets_what_the_project_lacks_in_the_order_of_needs(
    workspace: Workspace,
) -> None:
    before = workspace.project.read("conda.lock")
    workspace.project.offer([*CHANNEL, record("numpy", "2.0", "h9_0", []), *OF_WORKSPACES])
    assert workspace.lock("lake", "numpy>=1.26") == ["lake-base", "lake"]
    assert workspace.project.read("conda.lock") == before
    text = (workspace.folder / "conda.lock").read_text()
    assert re.search(rf"(?m)^{FORGE}/linux-64/lake-1.0-h0_0.conda#sha256:[0-9a-f]{{64}}$", text)
    # Its versions stay while they fit.
    workspace.project.offer([*CHANNEL, *OF_WORKSPACES, record("lake-base", "2.0")])
    assert workspace.lock("lake", "dry-lake") == ["dry-lake", "lake-base", "lake"]
    assert "lake-base-1.0" in (workspace.folder / "conda.lock").read_text()
    (workspace.folder / "conda.lock").write_text("of another program")
    workspace.lock("lake")
    assert "lake-base-2.0" in (workspace.folder / "conda.lock").read_text()
    assert workspace.lock("numpy") == []


def test_what_the_project_has_of_pypi_is_asked_of_uv(workspace: Workspace) -> None:
    workspace.project.write("pip.lock", "einops==0.8.0 \\\n    --hash=sha256:00\n")
    assert workspace.lock("lake", "einops=0.8") == ["lake-base", "lake"]
    assert workspace.for_uv == ["einops==0.8.*"]
    said = workspace.refused("sea")
    assert said.startswith("sea needs einops of conda, which the project has from PyPI.")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("numpy=2", "It needs numpy=2, but the project has numpy 1.26.4"),
        ("numpy<1.20", "It needs numpy<1.20, but the project has numpy 1.26.4"),
        ("numpy=1.26.4=h9_9", "It needs numpy=1.26.4=h9_9, but the project has numpy 1.26.4"),
        (
            "laek",
            "laek cannot be had, as no channel has it (conda-forge); the nearest name is lake",
        ),
    ],
)
def test_what_does_not_fit_the_project_is_named_in_one_sentence(
    workspace: Workspace, spec: str, said: str
) -> None:
    assert workspace.refused("lake-base", spec).startswith(said)
    assert workspace.lock("numpy=1.26.4=py312h0_0", "numpy=1.26.*") == []


@pytest.mark.parametrize(
    ("version", "asked", "other"),
    [
        *(("2026a", "=2026a", False), ("2026a", "=2025b", False), ("1.1.1w", "=1.1.1w", False)),
        *(("1.1.1w", ">=1.1", False), ("2.0", "=2", False), ("2.0", "==2.0", False)),
        *(("2.0", "!=2.0", True), ("2.1", ">=1|=3", False), ("20.1", "=2", True)),
    ],
)
def test_versions_that_only_conda_compares_are_left_to_it(
    version: str, asked: str, other: bool
) -> None:
    assert workspace_specs.is_other(version, asked) is other


def test_where_no_packages_fit_the_project_the_solver_says_which(workspace: Workspace) -> None:
    workspace.project.offer(problems=["package dry-lake-1.0-h0_0 requires numpy <1"])
    said = workspace.refused("dry-lake")
    assert said.startswith("No packages fit beside the project's, which keep their versions: ")
    assert said.endswith(" The project has numpy 1.26.4, and keeps that.")


def test_a_channel_of_a_workspace_with_a_token_is_refused(workspace: Workspace) -> None:
    with pytest.raises(conda_lock.CondaError) as stop:
        workspace_specs.solved(["lake"], ["https://x.example/t/s3cret/y"], workspace.folder)
    assert "s3cret" not in str(stop.value)
    assert "CONDA_AUTH_FILE" in str(stop.value)
