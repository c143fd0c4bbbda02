"""`template.sh` leads to the program from anywhere, and its verbs say what they take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from host import images
from host.command import GROUPS, Verb, load, parser_of
from host.project import StopError, read_project
from tests.conftest import ROOT, Generate

VERBS = [verb for _, verbs in GROUPS for verb in verbs]


@pytest.fixture(scope="module")
def project(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door") / "my project"
    return generate(
        folder,
        hook=True,
        accelerator="cpu",
        torch_version="none",
        project_kind="new",
        extras=["data"],
    )


def run(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def verb(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("./docker-amd64/template.sh", *words, cwd=project)


def path_without_python(folder: Path, *names: str) -> str:
    """A PATH with the few programs that the door calls, and these."""
    folder.mkdir()
    for name in ("sh", "dirname", "readlink", "cat", "id", "sed", "sort", "tr", *names):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


def test_it_is_called_from_anywhere(project: Path, tmp_path: Path) -> None:
    script = project / "docker-amd64/template.sh"
    link = tmp_path / "a link"
    link.symlink_to(script)
    (tmp_path / "relative").symlink_to("a link")
    for words, folder in (
        (["./docker-amd64/template.sh"], project),
        (["sh", "template.sh"], script.parent),
        (["bash", "template.sh"], script.parent),
        (["../../docker-amd64/template.sh"], project / "src/my_project"),
        ([str(script)], Path("/")),
        (["./relative"], tmp_path),
    ):
        done = run(*words, "help", "--names", cwd=folder)
        assert done.stdout.split()[:2] == ["build", "up"], done.stderr
    # Nor does what Python's users set keep it from its own package.
    unsafe = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "host.py").write_text("raise SystemExit('somebody else')")
    assert run(script, "help", cwd=tmp_path, env=unsafe).returncode == 0
    assert not list(project.rglob("__pycache__"))


def test_nothing_that_containers_can_write_becomes_a_part_of_the_program(
    project: Path, tmp_path: Path
) -> None:
    script, code = project / "docker-amd64/template.sh", project / "src"
    link = tmp_path / "link"
    link.symlink_to(code)
    other = tmp_path / "other folder"
    other.mkdir()
    names = ["argparse.py", "json.py", "sitecustomize.py"]
    for folder in (project, code):
        for name in names:
            (folder / name).write_text("raise SystemExit('code of a container')")
    try:
        for path in (project, code, link, f"{other}:{link}:", f"{project}/docker-amd64/..", "."):
            unsafe = {"PYTHONPATH": str(path), "PYTHONHOME": "/nowhere", "PYTHONINSPECT": "1"}
            done = run(script, "help", "--names", cwd=project, env=unsafe)
            assert done.stdout.split()[:2] == ["build", "up"], done.stderr
            assert not done.returncode
        # Such as an environment in the project, which is active.
        for name in ("python3", "git", "docker"):
            (code / name).write_text("#!/bin/sh\nexit 3\n")
            (code / name).chmod(0o755)
        path = f"{code}:{link}:.:{os.environ['PATH']}"
        done = run(script, "help", "--names", cwd=code, env={"PATH": path})
        assert done.stdout.split()[:2] == ["build", "up"], done.stderr
    finally:
        for folder in (project, code):
            for name in (*names, "python3", "git", "docker"):
                (folder / name).unlink(missing_ok=True)


def test_without_python_it_says_what_does_the_same(project: Path, tmp_path: Path) -> None:
    path = path_without_python(tmp_path / "bin")
    done = run(project / "docker-amd64/template.sh", "up", cwd=tmp_path, env={"PATH": path})
    assert done.returncode == 1
    assert "needs Python 3.8 or newer" in done.stderr
    for line in ("apt-get install python3", ">.env", "compose build dev", "exec dev bash"):
        assert line in done.stderr
    # What Compose mounts and no clone has is made by hand then.
    docker = project / "docker-amd64"
    shutil.rmtree(project / "data")
    (project / "outputs").rmdir()
    (folders,) = re.findall(r"(?m)^  (mkdir -p .*)$", done.stderr)
    assert run("sh", "-c", folders, cwd=docker).returncode == 0
    services = yaml.safe_load((docker / "compose.yaml").read_text())["services"]
    binds = [one for service in services.values() for one in service.get("volumes", ())]
    sources = [one["source"] for one in binds if isinstance(one, dict) and one["type"] == "bind"]
    places = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", source) for source in sources]
    assert {"../data/downloaded", "../outputs"} <= set(places)
    assert all((docker / place).is_dir() for place in places), places


def test_where_packages_are_rpms_the_installer_is_dnf(project: Path, tmp_path: Path) -> None:
    path = path_without_python(tmp_path / "bin")
    Path(path, "dnf").write_text("#!/bin/sh\n")
    Path(path, "dnf").chmod(0o755)
    done = run(project / "docker-amd64/template.sh", "up", cwd=tmp_path, env={"PATH": path})
    assert "  Run: sudo dnf install python3.11\n" in done.stderr


def test_a_python_that_is_too_old_is_passed_over(project: Path, tmp_path: Path) -> None:
    path = path_without_python(tmp_path / "bin")
    for name, does in (("python3", "exit 1"), ("python3.11", f'exec "{sys.executable}" "$@"')):
        Path(path, name).write_text(f"#!/bin/sh\n{does}\n")
        Path(path, name).chmod(0o755)
    script = project / "docker-amd64/template.sh"
    assert run(script, "help", cwd=tmp_path, env={"PATH": path}).returncode == 0


def test_the_shim_of_a_version_manager_is_started_once(project: Path, tmp_path: Path) -> None:
    path, log = path_without_python(tmp_path / "bin"), tmp_path / "log"
    Path(path, "python3").write_text(f'#!/bin/sh\necho >>"{log}"\nexec "{sys.executable}" "$@"\n')
    Path(path, "python3").chmod(0o755)
    script = project / "docker-amd64/template.sh"
    done = run(script, "help", "--names", cwd=tmp_path, env={"PATH": path})
    assert done.stdout.split()[:2] == ["build", "up"], done.stderr
    assert log.read_text() == "\n"


def test_a_python_that_needs_its_wrapper_is_started_by_it(project: Path, tmp_path: Path) -> None:
    path, own = path_without_python(tmp_path / "bin"), tmp_path / "own"
    own.write_text("#!/bin/sh\nexit 127\n")  # such as one that misses a library
    own.chmod(0o755)
    asked = f'[ "$1" != -ISc ] || {{ echo "{own}"; exit; }}'
    Path(path, "python3").write_text(f'#!/bin/sh\n{asked}\nexec "{sys.executable}" "$@"\n')
    Path(path, "python3").chmod(0o755)
    script = project / "docker-amd64/template.sh"
    done = run(script, "help", "--names", cwd=tmp_path, env={"PATH": path})
    assert done.stdout.split()[:2] == ["build", "up"], done.stderr


def test_the_manual_has_the_days_work_first_and_only_what_the_project_has(project: Path) -> None:
    text = verb(project).stdout
    assert text.index("  build ") < text.index("  up ") < text.index("  update ")
    names = verb(project, "help", "--names").stdout.split()
    assert names == re.findall(r"(?m)^  ([a-z-]+) ", text)
    assert not {"verify", "bench", "wheels", "ci"} & set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("one", VERBS, ids=lambda one: f"{one.module}.{one.name}")
def test_every_verb_says_what_it_takes(one: Verb) -> None:
    text = parser_of(one).format_help()
    assert text.startswith(f"usage: ./docker-amd64/template.sh {one.name} ")
    assert callable(getattr(load(one), f"do_{one.function}"))


@pytest.mark.parametrize(
    ("words", "sentence", "command"),
    [
        (["fly"], 'There is no verb "fly".', "help"),
        (["help", "build", "dev"], "help explains one verb, not 2.", "help"),
        (["buidl"], 'There is no verb "buidl". Did you mean "build"?', "build"),
        (["bench"], 'This project has no verb "bench"', "help"),
        (["jupyter"], 'This project has no verb "jupyter"', "--data 'extras=[data, jupyter]'"),
        (["install", "x"], 'There is no verb "install". Did you mean "add"?', "add x"),
        (["rm", "-y", "x"], 'There is no verb "rm". Did you mean "remove"?', "remove x"),
        (["ps"], 'There is no verb "ps". Did you mean "ls"?', "ls"),
        (["down", "-v"], "down does not know -v.", "down --help"),
        (["down", "now"], "down does not know now.", "down --help"),
        (["ls", "--every"], "ls does not know --every.", "ls --help"),
        (["run"], "run needs a command, such as: run python -V.", "run --help"),
        (["run", "-e"], "run: -e/--env needs a value.", "run --help"),
        (["run", "--gpus", "all", "true"], "run does not know --gpus.", "run --help"),
        (["exec"], "exec needs a command, such as: exec python -V.", "exec --help"),
        (["add"], "add needs NAME.", "add --help"),
        (["remove"], "remove needs NAME.", "remove --help"),
        (["lock", "--force"], "lock does not know --force.", "lock --help"),
        (["build", "publish"], 'There is no image "publish"', "build dev"),
        (["env", "--refresh", "NONE"], "Neither machine nor answers decide", ""),
        (["completion", "fish"], "completion knows", "completion --help"),
        (["update", "newest"], "update: argument version: newest is not a version", "--help"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(
    project: Path, words: list[str], sentence: str, command: str
) -> None:
    done = verb(project, *words)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith(sentence), done.stderr
    assert not command or lines[1].startswith("  Run: ./docker-amd64/template.sh ")
    assert lines[-1].endswith(command)


def test_completion_works_below_the_project(project: Path) -> None:
    script = """
        eval "$(../docker-amd64/template.sh completion bash)"
        template help --names
        COMP_WORDS=(template pu) COMP_CWORD=1
        _template && printf '%s\\n' "${COMPREPLY[@]}"
        cd / && template help
    """
    done = run("bash", "-c", script, cwd=project / "src")
    names = verb(project, "help", "--names").stdout
    assert done.stdout == f"{names}publish\npull\n"
    assert done.returncode == 1
    assert "No project" in done.stderr


def test_env_sets_keys_and_keeps_the_rest(project: Path) -> None:
    file = project / "docker-amd64/.env"
    before = file.read_text()
    assert verb(project, "env", "--set", "SHM_SIZE=3gb", "APT_MIRROR=http://a b").returncode == 0
    assert "\nSHM_SIZE=3gb\n" in file.read_text()
    assert "\nAPT_MIRROR='http://a b'\n" in file.read_text()
    told = verb(project, "env", "--set", "SHM_SIZ=3gb", "NODE_OF_MINE=1", "TZ=UTC")
    assert told.stderr == "Nothing reads SHM_SIZ in .env. Did you mean SHM_SIZE?\n"
    refused = verb(project, "env", "--set", "SHM_SIZE")
    assert refused.returncode == 1
    assert "KEY=VALUE" in refused.stderr
    file.write_text(before)


@pytest.mark.parametrize(
    ("machine", "engine", "environ", "is_refused"),
    [
        ("aarch64", "arm64", {}, True),
        ("aarch64", "amd64", {}, False),
        ("aarch64", "", {}, False),
        ("aarch64", "arm64", {"DOCKER_DEFAULT_PLATFORM": "linux/amd64"}, False),
        ("x86_64", "arm64", {}, False),
    ],
)
def test_another_processor_is_refused_before_anything_is_downloaded(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    engine: str,
    environ: dict[str, str],
    *,
    is_refused: bool,
) -> None:
    asked: list[tuple[str, ...]] = []

    def answer(*words: str, **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, f"{engine}\n", "")

    monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    named = os.uname_result(("Linux", "node", "6.1", "#1", machine))
    monkeypatch.setattr(os, "uname", lambda: named)
    monkeypatch.setattr(images, "capture", answer)
    described = read_project(project / "docker-amd64")
    if is_refused:
        with pytest.raises(StopError) as stopped:
            images.before_build(described)
        assert stopped.value.name == "other-architecture"
        assert [words[1] for words in asked] == ["version"]
    else:
        images.refuse_architecture(described)


def test_what_comes_from_elsewhere_is_written_without_what_nobody_sees() -> None:
    verb = "\x1b[2J\x9b31m\u202egnp.exe\u2066\r\x07 gr\u00fcn\tx"
    done = subprocess.run(
        [sys.executable, "-B", "-m", "host", verb],
        cwd=ROOT / "template/docker-amd64",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=False,
    )
    text = r'"\x1b[2J\x9b31m\u202egnp.exe\u2066\r\x07 gr' + '\u00fcn\tx"'
    assert f"There is no verb {text}." in done.stderr.decode()
    assert done.stdout == b""
