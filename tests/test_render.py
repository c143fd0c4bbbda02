"""What the template renders, over every valid combination of answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.gpu_facts import GpuFacts
from host.gpus import override_texts
from host.project import EDITOR_FILE
from tests import smoke
from tests.conftest import ROOT, Generate
from tests.support.pairs import cover_items
from tests.support.program import AIRFLOW
from tests.support.questionnaire import Answers, Questionnaire, Row
from tests.support.wheels import FAKE_TORCH

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BIN = Path(sys.executable).parent
LONGEST_PROJECT = "p" * 40
LONGEST_PACKAGE = "package_" + "x" * 42
# Stage -> the stage or image that it continues: docs, compose.yaml and template.sh rely on them.
STAGES = {
    "uv": "${UV_IMAGE}",
    "pre-install": "scratch",
    "post-install": "scratch",
    "os": "${BASE_IMAGE}",
    "builder": "os",
    "tools": "builder",
    "lock": "builder",
    "deps-heavy": "builder",
    "wheels": "deps-heavy",
    "wheels-dev": "wheels",
    "deps": "wheels",
    "deps-dev": "wheels-dev",
    "post": "deps",
    "post-dev": "deps-dev",
    "base": "os",
    "publish": "base",
    "runtime": "publish",
    "dev": "base",
}
STAGES_WITH_TORCH = STAGES | {"deps-torch": "builder", "deps-heavy": "deps-torch"}
STAGES_THAT_COMPILE = STAGES_WITH_TORCH | {
    "sources": "scratch",
    "torch-tools": "${BUILD_IMAGE}",
    "pytorch-source": "torch-tools",
    "torchvision-source": "torch-tools",
    "torch-build": "torch-tools",
    "torch-wheels": "scratch",
}
# With and without the folder cuda-compat of NVIDIA's images.
COMPAT_STAGES = {"keep": "os", "remove": "os", "base": "${CUDA_COMPAT}"}
OF_PIP = {"wheels", "wheels-dev"}
CONDA_STAGES = {name: base for name, base in STAGES.items() if name not in OF_PIP} | {
    "micromamba": "${MICROMAMBA_IMAGE}",
    "channels": "scratch",
    "downloads": "builder",
    "deps-conda": "deps-heavy",
    "deps": "deps-conda",
    "deps-dev": "deps",
}
CONDA_STAGES_WITH_TORCH = CONDA_STAGES | {"deps-torch": "builder", "deps-heavy": "deps-torch"}
MOST_LINES = 445  # of a Dockerfile
LEAST_WORDS = 0.25  # the share of comments in the files that a reader of a new project opens first
READ_BY_COMPOSE = ("docker-amd64/.env.example", "docker-amd64/tuning.env")

# What is answered in the combinations, beside everything that a service asks: not every Python
# with every distribution, and not every kind of project with every service. The pairs that are
# missing so are those of the matrix of `make smoke`.
NAMES = smoke.GIVEN | {"code_dir": [".", "my code"]}
NEW: dict[str, list[Any]] = {"project_kind": ["new"]}
FEW: dict[str, list[Any]] = NEW | {
    "torch_version": ["2.15.0", "2.6.0", "none"],
    "python_version": ["3.12"],
}
PIP: dict[str, list[Any]] = {"package_manager": ["pip"]}
CONDA: dict[str, list[Any]] = {"package_manager": ["conda"], "python_version": ["3.12"]} | {
    "language": ["ko"]
}
# Every kind of project with everything that is extra, on either host.
EXTRA: dict[str, list[Any]] = {
    "extras": [["ci", "data", "devcontainer", "jupyter", "ssh", "sudo", "tensorboard", "airflow"]],
    "clusters": [["slurm", "kubernetes", "runai", "skypilot"]],
    "shell": ["zsh"],
    "torch_version": ["2.13.0", "none"],
    "python_version": ["3.12"],
    "language": ["de"],
}
PLAIN: dict[str, list[Any]] = {"extras": [[]], "clusters": [[]], "shell": ["bash"]}
COMBINATIONS: list[dict[str, list[Any]]] = [
    {"service": ["simple"], "python_version": ["3.12"], **PIP, **PLAIN},
    {"service": ["simple"], "linux_distro": ["debian-13"], "jit": [True], **NEW, **PIP, **PLAIN},
    {"service": ["train", "devel"], **FEW, **PIP, **PLAIN},
    {"service": ["ngc", "hub"], **NEW, **PLAIN, "language": ["zh"]},
    {"service": ["simple"], "linux_distro": ["ubuntu-24.04"], **NEW, **CONDA, **PLAIN},
    {"service": ["train", "devel"], "torch_version": ["2.13.0", "none"], **NEW, **CONDA, **PLAIN},
    {
        "service": ["simple"],
        "python_version": ["3.12"],
        "torch_version": ["2.13.0"],
        **CONDA,
        **PLAIN,
    },
    {"service": ["simple"], "accelerator": ["cpu"], "linux_distro": ["debian-13"], **EXTRA},
    {
        "service": ["train"],
        "linux_distro": ["ubuntu-24.04"],
        "torch_version": ["2.13.0"],
        **NEW,
        **PIP,
    }
    | {"extras": [["ci", "data"]], "shell": ["zsh"], "python_version": ["3.12"]}
    | {"clusters": [["slurm"], ["kubernetes"]], "language": ["fr"]},
    {"service": ["ngc"], "ngc_release": ["26.08"], **NEW}
    | {"extras": [["ci", "data", "devcontainer", "ssh"]], "shell": ["zsh"]}
    | {"clusters": [["runai"], ["skypilot"]], "language": ["ja"]},
]
GIVEN = ("ngc", "hub")  # their images bring Python and PyTorch

# Not ${#array[@]} of the shell, ${{ github.ref }} of a workflow, nor {{.Name}}, {{json .}} and the
# like of Docker.
JINJA_MARK = re.compile(
    r"\{%|(?<!\$)\{#|(?<!\$)\{\{(?!\.|(?:json|index|println|range|with) |end\}\})"
)

Texts = dict[tuple[str, str], Answers]


@pytest.fixture(scope="module")
def questionnaire(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Questionnaire:
    """The questions of the working tree, for a project in an empty folder."""
    folder = tmp_path_factory.mktemp("render")
    shutil.copytree(template, folder / "hearth", ignore=shutil.ignore_patterns(".git"))
    return Questionnaire(folder / "hearth", folder / "project")


@pytest.fixture(scope="module")
def rows(questionnaire: Questionnaire) -> list[Row]:
    """Valid combinations: the answers, and those together with the computed values."""
    many = [row for given in COMBINATIONS for row in questionnaire.combinations(NAMES | given)]
    return many + smoke.matrix(smoke.choices(questionnaire))


@pytest.fixture(scope="module")
def texts(questionnaire: Questionnaire, rows: list[Row]) -> Texts:
    """Every different file that comes out, path and text, with the answers that first make it."""
    found: Texts = {}
    for answers, known in rows:
        for file in questionnaire.render(known).items():
            found.setdefault(file, answers)
    return found


@pytest.fixture(scope="module")
def few(rows: list[Row]) -> list[Row]:
    """A few combinations in which every single choice stands at least once."""
    return cover_items(rows)


@pytest.fixture(scope="module")
def projects(few: list[Row], generate: Generate, tmp_path_factory: Any) -> list[Path]:
    """The projects of these few combinations, written by Copier."""
    folder = tmp_path_factory.mktemp("projects")
    return [generate(folder / str(at), **answers) for at, (answers, _) in enumerate(few)]


def named(texts: Texts, pattern: str) -> list[tuple[str, Answers]]:
    """Text and answers of the different files with such a path."""
    found = [(text, answers) for (path, text), answers in texts.items() if fnmatch(path, pattern)]
    assert found, f"the template renders no {pattern}"
    return found


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of the environment but PATH, HOME and what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        command,
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def files_of(project: Path) -> dict[str, bytes]:
    """All files below a folder, path to content."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file()
    }


# --- every combination ---------------------------------------------------------------------------


def test_every_choice_that_is_not_greyed_belongs_to_a_combination(
    questionnaire: Questionnaire, rows: list[Row]
) -> None:
    asked = set(questionnaire.names())
    assert asked == {name for answers, _ in rows for name in answers}
    for name in ("service", "accelerator", "torch_version", "linux_distro", "project_kind"):
        offered = set(questionnaire.values(name, rows[0][1]))
        assert len(offered) > 1
        assert offered <= {answers[name] for answers, _ in rows if name in answers}


def test_files_checked_here_are_those_that_copier_writes(
    questionnaire: Questionnaire, few: list[Row], projects: list[Path]
) -> None:
    for (_, known), project in zip(few, projects, strict=True):
        written = files_of(project)
        del written[".copier-answers.yml"]
        assert written == {
            path: text.encode() for path, text in questionnaire.render(known).items()
        }


def blemishes(path: str, text: str) -> Iterator[str]:
    """What a careful person would not have written, or what the template forgot to fill in."""
    most_blank_lines = 2 if path.endswith(".py") else 1
    if "\r" in text:
        yield "a carriage return"
    if text and not text.endswith("\n"):
        yield "no newline at the end"
    if text.startswith("\n") or text.endswith("\n\n"):
        yield "a blank line at the start or the end"
    if "\n" * (most_blank_lines + 2) in text:
        yield "too many blank lines"
    # Programs are copied as they are, and ask Docker with templates of Go.
    for mark in [] if path.endswith(".py") else JINJA_MARK.findall(text):
        yield f"a Jinja mark {mark}"
    for line in text.split("\n"):
        if line != line.rstrip():
            yield f"a trailing blank: {line!r}"
        # A command of the table of failures is one line.
        if len(line) > (180 if "/known_failures/" in path else 140) and not path.endswith(".md"):
            yield f"a line of {len(line)} characters: {line[:60]}..."


def test_no_file_has_leftovers_of_the_template_or_untidy_blanks(texts: Texts) -> None:
    found = [
        f"{path}: {what} with {answers}"
        for (path, text), answers in texts.items()
        for what in blemishes(path, text)
    ]
    assert not found, "\n".join(found[:20])


def test_dependencies_say_exactly_the_versions_that_were_chosen(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/dependencies/pyproject.toml"):
        data = tomllib.loads(text)
        version, python = answers.get("torch_version"), answers.get("python_version")
        own = answers["service"] not in GIVEN and version != "none"
        assert data["project"]["requires-python"] == (f"=={python}.*" if python else ">=3.10")
        torch = [name for name in data["dependency-groups"].get("torch", []) if "torch==" in name]
        wheel = own and answers.get("pytorch_build") != "source"
        assert torch == ([f"torch=={version}"] if wheel else [])


def test_a_dev_container_is_json_once_its_comments_are_left_out(texts: Texts) -> None:
    for text, answers in named(texts, ".devcontainer/devcontainer.json"):
        data = json.loads(re.sub(r"(?m)^ *//.*$", "", text))
        assert data["dockerComposeFile"] == f"../docker-amd64/{EDITOR_FILE}"
        assert data["service"] == data["runServices"][0] == "dev"
        extensions = data["customizations"]["vscode"]["extensions"]
        in_cpp = answers["service"] == "devel"
        assert ("ms-vscode.cpptools" in extensions) == in_cpp
        on_gpus = in_cpp and answers.get("accelerator") == "cuda"
        assert ("nvidia.nsight-vscode-edition" in extensions) == on_gpus
        assert ("portsAttributes" in data) == ("ssh" in answers["extras"])


def conda_lines(text: str) -> list[str]:
    """What an environment file asks for."""
    return list(yaml.safe_load(text)["dependencies"])


def test_an_environment_file_asks_conda_forge_for_what_was_chosen(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/dependencies/environment*.yml"):
        assert yaml.safe_load(text)["channels"] == ["conda-forge", "nodefaults"]
        assert answers["package_manager"] == "conda"
    for text, answers in named(texts, "docker-amd64/dependencies/environment.yml"):
        version = answers["torch_version"]
        torch = [] if version == "none" else [f"pytorch={version}"]
        python = f"python={answers['python_version']}.*"
        assert conda_lines(text) == [python, *torch, "pip>=25.1", "setuptools>=77"]
        # Whoever has a Mac can use this file: no CUDA is asked for in it.
        assert not re.search("cuda|gpu", "\n".join(conda_lines(text)))


def test_a_cuda_build_is_asked_for_in_words_that_fail_where_there_is_none(texts: Texts) -> None:
    found = named(texts, "docker-amd64/dependencies/environment-cuda.yml")
    assert found
    for text, answers in found:
        version, line = answers["torch_version"], answers["cuda_version"]
        assert conda_lines(text) == [f"pytorch-gpu={version}", f"cuda-version={line}"]
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        if answers["package_manager"] == "conda":
            line = answers.get("cuda_version", "")
            assert set(re.findall(r"CONDA_OVERRIDE_CUDA=(\S*)", text)) == {line}


def test_torch_comes_from_the_index_of_the_chosen_build(texts: Texts, rows: list[Row]) -> None:
    compat = rows[0][1]["compat"]
    for text, answers in named(texts, "docker-amd64/dependencies/pyproject.toml"):
        indexes = [index["url"] for index in tomllib.loads(text)["tool"]["uv"].get("index", [])]
        if (
            answers["service"] in GIVEN
            or answers["torch_version"] == "none"
            or answers.get("pytorch_build") == "source"
        ):
            expected = []
        elif answers["accelerator"] == "cpu":
            expected = [compat["cpu"]["index"]]
        elif answers["cuda_version"] == compat["torch"][answers["torch_version"]]["pypi_cuda"]:
            expected = []
        else:
            expected = [compat["cuda"][answers["cuda_version"]]["index"]]
        assert indexes == expected, answers


def test_the_package_asks_for_the_chosen_python(texts: Texts) -> None:
    for text, answers in named(texts, "pyproject.toml"):
        wanted = tomllib.loads(text)["project"]["requires-python"]
        if "python_version" in answers:
            assert wanted == f">={answers['python_version']}"
        else:
            assert re.fullmatch(r">=3\.\d+", wanted)


def test_yaml_files_can_be_read(texts: Texts) -> None:
    for text, _ in named(texts, "*.yaml"):
        assert yaml.safe_load(text)["services"]


def stages(dockerfile: str) -> dict[str, str]:
    """Stage to what it continues."""
    return {
        name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)
    }


def has_compat_folder(answers: Answers) -> bool:
    """Whether the base image is one with NVIDIA's folder cuda-compat."""
    service = answers["service"]
    if service in ("train", "devel"):
        return bool(answers["accelerator"] == "cuda")
    return service == "ngc" or bool(service == "hub" and answers["hub_image"] == "devel")


def test_only_images_with_a_cuda_compat_folder_ask_what_becomes_of_it(texts: Texts) -> None:
    for name in ("Dockerfile", "compose.yaml", ".env.example"):
        for text, answers in named(texts, f"docker-amd64/{name}"):
            assert ("CUDA_COMPAT" in text) == has_compat_folder(answers), (name, answers)


def test_every_dockerfile_has_the_stages_that_docs_and_scripts_name(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        own = answers["service"] not in GIVEN and answers["torch_version"] != "none"
        expected = STAGES_WITH_TORCH if own else STAGES
        if answers.get("pytorch_build") == "source":
            magma = {"magma-source": "torch-tools"} if answers.get("magma") else {}
            expected = STAGES_THAT_COMPILE | magma
        if answers["package_manager"] == "conda":
            expected = CONDA_STAGES_WITH_TORCH if own else CONDA_STAGES
        if has_compat_folder(answers):
            expected = expected | COMPAT_STAGES
        assert stages(text) == expected, answers
        assert set(re.findall(r"--from=(\S+)", text)) <= expected.keys()


# Where a cache that all projects of an engine share may be written: none of these runs code of a
# package, be it of PyPI, of conda, or PyTorch's sources.
RUNS_NO_PACKAGE = re.compile(
    r"bash /mnt/apt-install\.sh .*|"
    r"(bash /mnt/apt-install\.sh \S+ && uv venv --no-project /opt/build && )?"
    r"(/opt/container/)?uv pip (install|sync) .*--no-build .*|"
    r"(/opt/container/install-wheels\.sh [\w-]+ uv pip [^&]*( && )?)+|"
    r"/opt/container/install-wheels\.sh [\w-]+ uv sync .*|"
    r"/opt/container/install\.sh download|"
    r"/opt/container/torch-build\.sh (git|archive) .*"
)


def test_no_code_of_a_package_runs_while_a_shared_cache_can_be_written(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        name = re.escape(str(answers["project_name"]))
        for step in re.findall(r"(?m)^RUN ((?:.*\\\n)*.*)$", text):
            mounts = re.findall(r"--mount=type=cache,id=(\S+)", step)
            command = re.sub(r"--mount=\S+|\\\n", " ", step)
            shared = [
                one for one in mounts if not re.match(rf"{name}-", one) and ",readonly" not in one
            ]
            # A cache knows compiled wheels by a path that is the same in every project.
            assert all(
                "--no-cache" in line for line in command.split("&&") if "/mnt/wheels/" in line
            )
            # conda's solver reads lists of packages; no code of this project is in the image.
            if shared and " ".join(command.split()) != "/opt/container/lock.sh":
                assert RUNS_NO_PACKAGE.fullmatch(" ".join(command.split())), step


def steps_with_path(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Each RUN of a Dockerfile, with what its stage has put before PATH until then."""
    ends: dict[str, str] = {}
    stage = path = ""
    for line in re.sub(r"\\\n\s*", " ", dockerfile).splitlines():
        if found := re.match(r"FROM (\S+) AS (\S+)$", line):
            stage, path = found[2], ends.get(found[1], "")
        elif found := re.match(r"ENV .*\bPATH=(\S*)\$PATH", line):
            path = found[1] + path
        elif line.startswith("RUN "):
            yield line, path
        ends[stage] = path


def test_no_program_of_a_package_is_on_path_where_projects_share_a_cache(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        name = re.escape(str(answers["project_name"]))
        paths = set()
        for step, path in steps_with_path(text):
            paths.add(path)
            if re.search(rf"type=cache,id=(?!{name}-)[^, ]+(?!\S*,readonly)", step):
                assert "/opt/venv" not in path, step
        assert "/home/user/.project/bin:/opt/venv/bin:" in paths  # of the last steps of dev


def test_a_dockerfile_has_no_leftover_of_what_was_not_chosen(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        assert len(text.splitlines()) <= MOST_LINES
        assert not re.search(r"hadolint\s+ignore|# *syntax=|chown -R|chmod.*777", text)
        conda = answers["package_manager"] == "conda"
        python = "/opt/venv/bin/python" if conda else answers.get("python_version")
        assert re.search(rf"UV_PYTHON={python or '/opt/venv/bin/python'}[ \n]", text)
        assert bool(re.search("conda|mamba", text)) == conda
        assert (
            bool(
                re.search(r"uv\.loc\[|dependencies/pyproject|VIRTUAL_ENV|/opt/container/sync", text)
            )
            != conda
        )


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml"])
def test_a_quarter_of_what_describes_the_default_project_is_reasons(
    questionnaire: Questionnaire, name: str
) -> None:
    _, known = next(questionnaire.combinations({}))
    lines = questionnaire.render(known)[f"docker-amd64/{name}"].split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    reasons = [line for line in lines if line.startswith("#") and not line.startswith("#!")]
    assert len(reasons) / len(lines) >= LEAST_WORDS


def test_without_torch_no_file_speaks_of_it(questionnaire: Questionnaire, rows: list[Row]) -> None:
    without = [known for answers, known in rows if answers.get("torch_version") == "none"]
    assert {known["service"] for known in without} == {"simple", "train", "devel"}
    for known in without:
        for path, text in questionnaire.render(known).items():
            # Programs are one text for every project, and project.json answers all their questions.
            script = path.endswith((".sh", ".py", ".json")) and path.startswith("docker-amd64/")
            words = text.replace("TORCH_CUDA_ARCH_LIST", "")  # not only PyTorch reads it
            assert script or not re.search(r"torch|triton", words, re.IGNORECASE), path


def test_what_keeps_the_packages_of_a_base_is_there_where_the_base_has_some(
    questionnaire: Questionnaire, rows: list[Row]
) -> None:
    program = (ROOT / "template/docker-amd64/image/base_packages.py").read_text()
    for _, known in {(k["service"], k["conda"]): (0, k) for _, k in rows}.values():
        files = questionnaire.render(known)
        own = {"image/uv.sh", "dependencies/base-override.txt"}
        found = {name for name in own if f"docker-amd64/{name}" in files}
        assert found == (own if known["service"] in GIVEN else set())
        if found:
            assert files["docker-amd64/image/base_packages.py"] == program
        assert ("/opt/base" in files["docker-amd64/Dockerfile"]) == bool(found)
        uses = "base_packages" in files["docker-amd64/Dockerfile"]
        assert uses == bool(found)
        assert uses == ("docker-amd64/image/base_packages.py" in files)


def test_what_compiles_pytorch_is_rendered_only_where_it_is_compiled(
    questionnaire: Questionnaire, few: list[Row]
) -> None:
    for answers, known in few:
        files = questionnaire.render(known)
        compiles = answers.get("pytorch_build") == "source"
        assert any("torch-build" in path or "/sources/" in path for path in files) == compiles
        for name in (".env.example", "compose.yaml"):
            assert ("PYTORCH_REPO" in files[f"docker-amd64/{name}"]) == compiles


def test_every_key_that_compose_reads_stands_in_the_example_with_its_value(
    questionnaire: Questionnaire, few: list[Row]
) -> None:
    of_conda = {"MAMBA_CHANNEL_ALIAS", "LOCAL_CHANNELS_DIR", "CONDA_AUTH_FILE", "MICROMAMBA_IMAGE"}
    for answers, known in few:
        files = questionnaire.render(known)
        compose_file = files["docker-amd64/compose.yaml"]
        read = set(re.findall(r"\$\{(\w+)", compose_file))
        read |= set(re.findall(r"(?m)^ +([A-Z_]+):$", compose_file))  # handed on as they are
        example = files["docker-amd64/.env.example"]
        keys = dict(re.findall(r"(?m)^(?:# )?([A-Z_]+)=(.*)$", example))
        assert read - keys.keys() == set()
        conda = answers.get("package_manager") == "conda"
        assert of_conda & read == of_conda & keys.keys() == (of_conda if conda else set())
        # What an image is without a key is what the example shows.
        images = dict(re.findall(r"(?m)^ARG (\w+_IMAGE)=(\S+)$", files["docker-amd64/Dockerfile"]))
        assert images.items() <= keys.items()
        assert ("MICROMAMBA_IMAGE" in images) == conda


def test_compiled_pytorch_has_what_was_answered(texts: Texts, rows: list[Row]) -> None:
    versions = rows[0][1]["compat"]["torch"]
    found = 0
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        if answers.get("pytorch_build") != "source":
            continue
        found += 1
        cuda, torch = answers["accelerator"] == "cuda", answers["torch_version"]
        arguments = dict(re.findall(r"(?m)^ARG .*?\b(\w+)=(\S+)", text))
        assert f"PYTORCH_REF=v{torch}\n" in text
        assert arguments["TORCHVISION_REF"] == f"v{versions[torch]['torchvision']}"
        assert f"USE_CUDA={int(cuda)} " in text
        assert ("TORCH_CUDA_ARCH_LIST=" in text) == cuda
        assert ("USE_CUDNN=1" in text) == answers.get("cudnn", False)
        assert ("USE_MAGMA=1" in text) == answers.get("magma", False)
        assert f"BLAS={'MKL' if answers['blas'] == 'mkl' else 'OpenBLAS'}" in text
        assert "RUN python -c 'import torch, torchvision'\n" in text.partition(" AS publish\n")[2]
        # Whoever compiles and whoever runs have the same CUDA, cuDNN and distribution.
        assert arguments["BUILD_IMAGE"].replace("-devel-", "-runtime-") == arguments["BASE_IMAGE"]
    assert found > 3


def test_compilers_are_in_runtime_exactly_when_jit_says_so(texts: Texts) -> None:
    for text, answers in named(texts, "docker-amd64/dependencies/apt-runtime.txt"):
        packages = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert ({"g++", "gcc", "libc6-dev"} <= {*packages}) == answers.get("jit", False)


# --- what other programs say about it ------------------------------------------------------------


def test_hadolint_has_nothing_to_say(texts: Texts, few: list[Row], tmp_path: Path) -> None:
    # A tenth of a second a file: so each kind of project once, and each version once.
    kinds = ("service", "accelerator", "pytorch_build", "package_manager", "jit")
    versions = ("linux_distro", "torch_version", "python_version", "cuda_version", "ngc_release")
    chosen: dict[tuple[Any, ...], str] = {}
    for text, answers in named(texts, "docker-amd64/Dockerfile"):
        bare = answers.get("torch_version") == "none"
        chosen.setdefault((bare, *(answers.get(name) for name in kinds)), text)
        for name in versions:
            chosen.setdefault((name, answers.get(name)), text)
    assert len(chosen) > len(few)
    names = []
    for at, text in enumerate(dict.fromkeys(chosen.values())):
        (tmp_path / f"{at}.Dockerfile").write_text(text)
        names.append(f"{at}.Dockerfile")
    result = run(BIN / "hadolint", "--failure-threshold", "style", *names, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stdout


def test_shellcheck_and_shfmt_have_nothing_to_say(texts: Texts, tmp_path: Path) -> None:
    found = {(Path(path).name, text) for path, text in texts if path.endswith(".sh")}
    here_documents = re.compile(r"(?ms)^COPY [^\n]*<<('?)EOF'? \S*/(\S+\.sh)\n(.*?^)EOF$")
    inside = {
        (name, document if quoted else document.replace("\\$", "$"))
        for text, _ in named(texts, "docker-amd64/Dockerfile")
        for quoted, name, document in here_documents.findall(text)
    }
    names = {name for name, _ in inside}
    assert names == {"build-env.sh", "lock.sh", "project.sh", "tools.sh"}
    scripts = []
    for at, (name, text) in enumerate(sorted(found | inside)):
        scripts.append(tmp_path / f"{at}-{name}")
        scripts[-1].write_text(text)
    assert len(scripts) > 5
    checks = (["shellcheck", "--norc"], ["shfmt", "-d", "-i", "4", "-ci"])
    for linter, *options in checks:
        result = run(BIN / linter, *options, *scripts, cwd=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr


def compose() -> list[str]:
    """A Compose client; `config` needs no daemon."""
    if (BIN / "docker-compose").exists():
        return [str(BIN / "docker-compose")]
    if (
        shutil.which("docker")
        and run("docker", "compose", "version", cwd=Path.cwd()).returncode == 0
    ):
        return ["docker", "compose"]
    pytest.skip(
        "no Compose: the package of the dev requirements needs Python 3.11, and there is no plugin"
    )


def effective(folder: Path, *options: str, **environment: str) -> dict[str, Any]:
    """What Compose makes of the files in a folder."""
    result = run(
        *compose(),
        "--profile",
        "*",
        *options,
        "config",
        "--format",
        "json",
        cwd=folder,
        **environment,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "Compose warns"
    config: dict[str, Any] = json.loads(result.stdout)
    return config


@pytest.fixture(scope="module")
def compose_folders(
    texts: Texts, rows: list[Row], questionnaire: Questionnaire, tmp_path_factory: Any
) -> list[Path]:
    """A docker-amd64 with its example as .env for each compose.yaml that there is."""
    parent = tmp_path_factory.mktemp("compose")
    known = {id(answers): known for answers, known in rows}
    folders = []
    for at, (_, answers) in enumerate(named(texts, "docker-amd64/compose.yaml")):
        folder = parent / str(at) / "docker-amd64"
        folder.mkdir(parents=True)
        for path, text in questionnaire.render(known[id(answers)]).items():
            if fnmatch(path, "docker-amd64/compose*.yaml") or path.endswith(READ_BY_COMPOSE):
                (folder / Path(path).name).write_text(text)
        shutil.copy(folder / ".env.example", folder / ".env")
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def few_compose_folders(texts: Texts, rows: list[Row], compose_folders: list[Path]) -> list[Path]:
    """Those folders in which each answer stands at least once; Compose takes 0.1 s for each."""
    known = {id(answers): known for answers, known in rows}
    folders: dict[int, Path] = {}
    made = []
    for (_, answers), folder in zip(
        named(texts, "docker-amd64/compose.yaml"), compose_folders, strict=True
    ):
        folders[id(answers)] = folder
        made.append((answers, known[id(answers)]))
    return [folders[id(answers)] for answers, _ in cover_items(made)]


@pytest.fixture(scope="module")
def configs(compose_folders: list[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Those folders, and what Compose makes of each; the tests only read it."""
    return [(folder, effective(folder)) for folder in compose_folders]


def test_compose_accepts_every_project_as_the_example_describes_it(
    configs: list[tuple[Path, dict[str, Any]]],
) -> None:
    for folder, config in configs:
        services = config["services"]
        compiles = "BUILD_IMAGE=" in (folder / ".env").read_text()
        conda = "MICROMAMBA_IMAGE=" in (folder / ".env").read_text()
        more = {name for name, there in {"wheels": compiles, "pip-tools": conda}.items() if there}
        if "AIRFLOW_PORT=" in (folder / ".env").read_text():
            more |= {*AIRFLOW}
        assert services.keys() - {"runtime", "dev", "publish", "tools"} == more
        for name in ("runtime", "dev"):
            assert services[name]["init"] is True
            assert services[name]["build"]["target"] == name
            assert {mount["target"] for mount in services[name]["volumes"]} >= {
                "/workspace",
                "/data",
                "/outputs",
            }


def test_every_service_that_runs_code_of_others_gains_no_privileges(
    configs: list[tuple[Path, dict[str, Any]]],
) -> None:
    for folder, config in configs:
        may_sudo = "sudo" if "security_opt: []" in (folder / "compose.yaml").read_text() else ""
        for name, service in config["services"].items():
            if name in ("publish", "wheels"):  # are built, never run
                continue
            options = service.get("security_opt", [])
            assert options == ([] if may_sudo and name == "dev" else ["no-new-privileges:true"])
            assert service["cap_drop"], name
            if any(mount["target"] == "/workspace" for mount in service.get("volumes", [])):
                assert service["pids_limit"] > 0, name


def test_no_service_opens_the_host_or_names_a_gpu(
    configs: list[tuple[Path, dict[str, Any]]],
) -> None:
    for _, config in configs:
        for service in config["services"].values():
            assert not service.get("privileged")
            namespaces = ("network_mode", "ipc", "pid", "uts", "userns_mode")
            assert "host" not in {service.get(key) for key in namespaces}
            assert service.get("build", {}).get("network") != "host"
            assert not service.keys() & {"gpus", "devices", "deploy", "runtime"}
            assert not service.keys() & {"cap_add", "container_name"}
            for port in service.get("ports", []):
                assert port["host_ip"] == "127.0.0.1"


def test_compose_accepts_the_overlay_for_inspected_tls(few_compose_folders: list[Path]) -> None:
    for folder in few_compose_folders:
        config = effective(folder, COMPOSE_FILE="compose.yaml:compose.ca.yaml")
        assert config["services"]["dev"]["environment"]["SSL_CERT_FILE"] == "/run/secrets/ca"


def test_compose_accepts_either_overlay_for_gpus_and_there_is_one_mechanism(
    few_compose_folders: list[Path],
) -> None:
    """Each project with both mechanisms, and half of them with chosen GPUs."""
    some_gpus = "0,MIG-00000051-1111-2222-3333-444444444444"
    mechanisms = {"cdi": {"devices"}, "nvidia": {"deploy"}}
    with_gpus = 0
    for folder in few_compose_folders:
        if "\nGPU_IDS=" not in (folder / ".env.example").read_text():
            assert not (folder / "compose.cdi.yaml").exists()
            continue
        for name, text in override_texts(some_gpus if with_gpus % 2 else "", GpuFacts()).items():
            (folder / name).write_text(text)
        with_gpus += 1
        for way, expected in mechanisms.items():
            files = f"compose.yaml:compose.{way}.yaml"
            for name, service in effective(folder, COMPOSE_FILE=files)["services"].items():
                asked = {"devices", "deploy", "gpus", "runtime"} & service.keys()
                assert asked == (expected if name in ("runtime", "dev") else set())
                if name in ("runtime", "dev"):
                    assert service["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert with_gpus > 1


def test_only_a_project_for_gpus_speaks_of_them(texts: Texts) -> None:
    for name in (".env.example", "compose.yaml", "Dockerfile"):
        for text, answers in named(texts, f"docker-amd64/{name}"):
            assert bool(re.search("GPU|NVIDIA", text)) == (answers["accelerator"] == "cuda"), name


def test_without_an_env_file_compose_says_which_command_makes_one(
    compose_folders: list[Path], tmp_path: Path
) -> None:
    shutil.copy(compose_folders[0] / "compose.yaml", tmp_path)
    result = run(*compose(), "config", cwd=tmp_path)
    assert result.returncode
    assert "there is no .env yet. Run ./template.sh env" in result.stderr


def test_a_code_folder_with_a_blank_is_mounted_as_it_is_named(
    configs: list[tuple[Path, dict[str, Any]]],
) -> None:
    sources = set()
    for folder, config in configs:
        mounts = config["services"]["dev"]["volumes"]
        (code,) = (mount["source"] for mount in mounts if mount["target"] == "/workspace")
        sources.add(os.path.relpath(code, folder))
    assert sources == {"..", "../my code"}


# --- the written project -------------------------------------------------------------------------


def test_existing_code_gets_no_file_beside_docker_amd64_but_the_answers(
    few: list[Row], projects: list[Path]
) -> None:
    for (answers, _), project in zip(few, projects, strict=True):
        if answers["project_kind"] == "existing":
            names = {path.name for path in project.iterdir()}
            of_ci = {"github": {".github"}, "gitlab": {".gitlab", ".gitlab-ci.yml"}}
            more = of_ci.get(answers.get("ci_host", ""), set())
            more |= {".devcontainer"} if "devcontainer" in answers["extras"] else set()
            more |= {"workspaces"} if "airflow" in answers["extras"] else set()
            assert names == {"docker-amd64", ".copier-answers.yml"} | more


def test_scripts_can_be_started_and_nothing_else_can(projects: list[Path]) -> None:
    for project in projects:
        for path in filter(Path.is_file, project.rglob("*")):
            script = path.suffix == ".sh" and path.read_bytes().startswith(b"#!")
            assert bool(path.stat().st_mode & 0o111) == script, path
        assert os.access(project / "docker-amd64/template.sh", os.X_OK)


def test_what_stays_on_this_machine_is_ignored_by_git(projects: list[Path]) -> None:
    for project in projects:
        run("git", "init", "--quiet", cwd=project)
        of_this_host = ("compose.override.yaml", "compose.cdi.yaml", "compose.nvidia.yaml")
        for name in (".env", ".env.bak", *of_this_host):
            assert run("git", "check-ignore", f"docker-amd64/{name}", cwd=project).returncode == 0
        for name in (".env.example", "compose.yaml", "compose.pins.yaml", "dependencies/uv.lock"):
            assert run("git", "check-ignore", f"docker-amd64/{name}", cwd=project).returncode == 1


@pytest.fixture(params=["torch", "none"])
def package(request: pytest.FixtureRequest, generate: Generate, tmp_path: Path) -> Path:
    """A new project with the longest names, with and without torch."""
    (tmp_path / "fake").mkdir()
    if request.param == "torch":
        (tmp_path / "fake/torch.py").write_text(FAKE_TORCH)
    answers: Answers = {} if request.param == "torch" else {"torch_version": "none"}
    return generate(
        tmp_path / "project",
        project_kind="new",
        project_name=LONGEST_PROJECT,
        package_name=LONGEST_PACKAGE,
        **answers,
    )


def test_the_new_package_runs_and_says_what_it_sees(package: Path) -> None:
    path = os.pathsep.join([str(package / "src"), str(package.parent / "fake")])
    command = [sys.executable, "-m", LONGEST_PACKAGE]
    result = run(*command, cwd=package, PYTHONPATH=path, OUTPUTS_DIR="src")
    assert result.returncode == 0, result.stderr
    seen = dict(re.findall(r"^(\w+) +(.*)$", result.stdout, re.MULTILINE))
    with_torch = (package.parent / "fake/torch.py").exists()
    about_torch = {"torch", "device"} if with_torch else set()
    assert seen.keys() == {"python", "user", "code", "data", "outputs"} | about_torch
    assert seen["data"] == "data (missing)"
    assert seen["outputs"] == "src (writable)"


def test_the_new_package_passes_its_own_test(package: Path) -> None:
    path = os.pathsep.join([str(package / "src"), str(package.parent / "fake")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = run(*command, cwd=package, PYTHONPATH=path)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_the_new_package_is_clean_for_ruff(package: Path) -> None:
    for arguments in (["check", "--extend-select", "B,I,N,PTH,SIM,UP"], ["format", "--check"]):
        result = run(
            BIN / "ruff", *arguments, "--no-cache", "--exclude", "docker-amd64", ".", cwd=package
        )
        assert result.returncode == 0, result.stdout


def test_no_line_grows_too_long_with_the_longest_names(package: Path) -> None:
    for path, content in files_of(package).items():
        if path != ".copier-answers.yml":
            assert not list(blemishes(path, content.decode()))


def test_answers_are_kept_for_the_next_update(few: list[Row], projects: list[Path]) -> None:
    for (answers, _), project in zip(few, projects, strict=True):
        kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
        assert {name: value for name, value in kept.items() if not name.startswith("_")} == answers
