"""Podman: what it is given instead of what only BuildKit reads, and what it must not be given."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from host import (
    doctor_facts,
    engine,
    engine_words,
    guard,
    images,
    limits,
    look,
    podman_build,
    selinux,
)
from host.abilities import abilities
from host.facts import Engine, Facts, Person
from host.gpu_facts import Access, GpuFacts
from host.gpus import override_texts
from host.images import digest_in, full_name
from host.project import GUARD_FILE, SELINUX_FILE, Project, StopError
from tests.conftest import ROOT
from tests.support.program import PROJECT
from tests.support.sockets import unix_socket

DOCKERFILE = """\
ARG BASE_IMAGE=debian
FROM ${BASE_IMAGE} AS os
ARG APT_MIRROR
ARG ONE TWO=2 \\
    THREE
FROM os AS builder
COPY --chmod=0755 list*.txt gon[e].txt \\
    /lists/
COPY gon[e].txt /
COPY <<'EOF' /opt/x
COPY gon[e].txt is text
EOF
FROM builder
COPY --link --chown=0:0 --from=builder /a[b] /
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose .env names Podman."""
    folder = tmp_path / "docker-amd64"
    folder.mkdir()
    (folder / ".env").write_text(
        "CONTAINER_ENGINE=podman\nCOMPOSE_FILE=compose.yaml\nHTTP_PROXY=http://jane:secret@proxy\n"
    )
    (folder / "compose.yaml").touch()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    monkeypatch.setattr(engine_words, "FOLDER", folder)
    return Project(folder, PROJECT)


def says(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Let Podman have a version."""
    monkeypatch.setattr(podman_build, "ask_engine", lambda *_: Said(version))


def program(file: Path, script: str) -> Path:
    """Make a program."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


class Said:
    """What a command said."""

    def __init__(self, stdout: str) -> None:
        self.stdout, self.returncode = stdout, 0


def test_a_stage_names_the_arguments_of_the_one_it_starts_from() -> None:
    text = podman_build.with_arguments(DOCKERFILE, {"APT_MIRROR", "ONE", "THREE"})
    again = "ARG APT_MIRROR ONE TWO=2 THREE\n"
    assert f"FROM os AS builder\n{again}" in text
    assert f"FROM builder\n{again}" in text
    first = "ARG APT_MIRROR\nARG ONE\nARG TWO=2\nARG THREE\n"
    assert f"FROM ${{BASE_IMAGE}} AS os\n{first}" in text


def test_an_argument_whose_value_is_in_the_command_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, "5.4.2")
    file = project.folder / "workspace.Dockerfile"
    file.write_text("FROM os AS work\nARG WORKSPACE APT_MIRROR OTHER\n")
    seen: list[str] = []

    def call(_: Project, words: list[str], **__: Any) -> str:
        seen.append(Path(words[words.index("--file") + 1]).read_text())
        return ""

    monkeypatch.setattr(podman_build, "call", call)
    words = ["--build-arg", "WORKSPACE=demo/work", "--build-arg", "APT_MIRROR"]
    folders = {"": str(project.folder)}
    podman_build.run_build(project, file, words, {"APT_MIRROR": "x"}, folders=folders)
    assert seen == ["FROM os AS work\nARG WORKSPACE APT_MIRROR\n"]


def test_an_argument_with_neither_value_nor_default_costs_no_layer() -> None:
    given = 'ARG BASE=x\nFROM ${BASE} AS os\nARG BASE A\nARG B LIST="1 2" C=\n'
    text = podman_build.with_arguments(given, {"B"})
    assert text == 'ARG BASE=x\nFROM ${BASE} AS os\nARG BASE\nARG B LIST="1 2" C=\n'
    assert podman_build.with_arguments(given.replace("BASE A", "A"), ()).count("ARG") == 2


def test_only_files_that_are_there_are_copied(tmp_path: Path) -> None:
    (tmp_path / "list-1.txt").touch()
    text = podman_build.with_files(DOCKERFILE, tmp_path)
    assert "COPY --chmod=0755 list*.txt /lists/\n" in text
    assert "\nCOPY gon[e].txt /\n" not in text
    assert "COPY --link --chown=0:0 --from=builder /a[b] /\n" in text


MOUNTED = """\
FROM scratch AS pre-install
COPY --chmod=0755 pre-instal[l].sh pre-instal[l] /
FROM scratch AS lists
COPY --from=more . /
FROM scratch AS channels
FROM debian AS os
RUN --mount=type=bind,from=pre-install,target=/mnt/pre-install \\
    --mount=type=bind,source=image/apt.sh,target=/mnt/apt.sh \\
    --mount=type=bind,from=lists,target=/mnt/lists \\
    --mount=type=bind,from=channels,target=/mnt/channels \\
    bash pre-install
"""


def test_the_name_of_a_mounted_stage_says_what_is_in_it(tmp_path: Path) -> None:
    def text() -> str:
        folders = {"": str(tmp_path), "more": str(tmp_path / "more")}
        return podman_build.with_named_contents(MOUNTED, tmp_path, folders)

    seen, script = [text()], tmp_path / "pre-install.sh"
    script.write_text("one")
    seen.append(text())
    (tmp_path / "pre-install").mkdir()
    (tmp_path / "pre-install/deep").mkdir()
    seen.append(text())
    (tmp_path / "pre-install/deep/x").write_text("x")
    seen.append(text())
    (tmp_path / "more").mkdir()
    (tmp_path / "more/list.txt").write_text("x")
    seen.append(text())
    script.write_text("two")
    seen.append(text())
    assert len(set(seen)) == len(seen)
    script.write_text("one")
    assert text() == seen[4]
    name = re.findall(r"(?m)^FROM scratch AS (pre-install-\w+)$", seen[-1])
    assert len(name) == 1
    assert f"--mount=type=bind,from={name[0]},target=/mnt/pre-install" in seen[-1]
    without = re.sub(r"\b(pre-install|lists)-\w{12}\b", r"\1", seen[-1])
    assert without == MOUNTED  # nothing else has changed, and channels has no files of its own


def test_no_mounted_stage_of_files_keeps_its_bare_name(tmp_path: Path) -> None:
    # What such a stage has from elsewhere is not in the words that Podman compares.
    folders = dict.fromkeys(("", "lists", "specs"), str(tmp_path))
    for name in ("Dockerfile.jinja", "workspace.Dockerfile.jinja"):
        text = (ROOT / "template/docker-amd64" / name).read_text()
        filled = re.findall(r"(?m)^FROM scratch AS (\S+)\nCOPY(?! --from=torch-build)", text)
        assert filled, name
        new = podman_build.with_named_contents(text, tmp_path, folders)
        for stage in filled:
            assert f"FROM scratch AS {stage}\n" not in new
            assert f"from={stage}," not in new


def test_without_link_the_copies_are_the_same() -> None:
    text = podman_build.without_link(DOCKERFILE)
    assert text == DOCKERFILE.replace("--link ", "")


def test_no_pattern_of_another_stage_is_left_to_a_chance() -> None:
    # Podman stops at one that matches nothing, and what is in a stage is not known before.
    for name in ("Dockerfile.jinja", "workspace.Dockerfile.jinja"):
        for line in (ROOT / "template/docker-amd64" / name).read_text().splitlines():
            if line.startswith("COPY") and "--from=" in line:
                assert not set("[*?") & set(line), line


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        ("nvidia/cuda:13", "docker.io/nvidia/cuda:13"),
        ("ghcr.io/astral-sh/uv:1", "ghcr.io/astral-sh/uv:1"),
        ("localhost/py", "localhost/py"),
        ("registry:5000/py", "registry:5000/py"),
    ],
)
def test_a_name_without_a_registry_is_that_of_docker_hub(name: str, full: str) -> None:
    assert full_name(name) == full


def test_the_digest_of_an_image_is_found_by_its_short_name() -> None:
    assert digest_in("docker.io/library/debian@sha256:1\n", "debian") == "sha256:1"


def test_podman_builds_with_what_compose_says_and_shows_no_value(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, "5.4.2")
    build = {
        "context": str(project.folder),
        "target": "dev",
        "args": {"HTTP_PROXY": "http://jane:secret@proxy", "APT_MIRROR": None},
        "secrets": [{"source": "ca"}],
        "additional_contexts": {"channels": "/a/$$b"},
    }
    config = {
        "name": "demo",
        "services": {"dev": {"image": "demo:dev", "build": build}},
        "secrets": {"ca": {"file": "/dev/null"}},
    }
    calls: list[tuple[list[str], dict[str, Any]]] = []
    text = ""

    def call(_: Project, words: list[str], **more: Any) -> str:
        nonlocal text
        calls.append((words, more))
        if "--file" in words:
            text = Path(words[words.index("--file") + 1]).read_text()
        return json.dumps(config)

    monkeypatch.setattr(podman_build, "call", call)
    podman_build.build(project, "dev")
    words, more = calls[-1]
    assert words[:4] == ["podman", "build", "--format", "docker"]
    assert "--link" not in text
    assert "jane:secret" not in " ".join(words)
    assert "APT_MIRROR" not in words
    assert more["env"]["HTTP_PROXY"] == "http://jane:secret@proxy"
    said = " ".join(words)
    assert "--target dev --tag demo:dev" in said
    assert "--secret id=ca,src=/dev/null" in said
    assert "--build-context channels=/a/$b" in said
    assert "com.docker.compose.project=demo" in said
    calls.clear()
    says(monkeypatch, "4.3.1")
    with pytest.raises(StopError) as stopped:
        podman_build.build(project, "dev")
    assert stopped.value.name == "podman-too-old"
    assert not any("build" in words for words, _ in calls)


@pytest.mark.parametrize("name", ["podman", "docker"])
@pytest.mark.parametrize(
    ("version", "compose", "failure"),
    [
        ("4.3.1", True, "podman-too-old"),
        ("5.4.2", False, "podman-needs-compose"),
        ("5.4.2", True, ""),
    ],
)
def test_what_a_machine_with_podman_lacks_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    version: str,
    failure: str,
    *,
    compose: bool,
) -> None:
    plugin = program(tmp_path / "bin/compose", "echo 2.26.1")
    info = {"host": {"hostname": "here"}, "store": {}, "version": {"Version": version}}
    program(tmp_path / "bin" / name, f"echo '{json.dumps(info)}'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(engine, "compose_plugin", lambda: str(plugin) if compose else "")
    found = engine.engine()
    assert (found.kind, found.failure) == ("podman", failure)
    assert found.compose == ("plugin" if compose else "none")


def test_the_doctor_knows_whether_podman_answers_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")  # of another engine
    program(tmp_path / "bin/podman", "echo '{}'")

    def known() -> object:
        return doctor_facts.of_podman(str(tmp_path / "bin/podman"))["podman_socket"]

    assert known() is False
    monkeypatch.setenv("DOCKER_HOST", "ssh://jane@server/run/user/1/podman/podman.sock")
    assert known() is True
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/podman.sock")
    assert known() is False
    monkeypatch.delenv("DOCKER_HOST")
    (tmp_path / "podman").mkdir()
    with unix_socket(tmp_path / "podman/podman.sock"):
        assert known() is True


def test_podman_is_asked_in_its_own_words(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """case "$*" in
"info --format {{.Host.Arch}}") echo arm64 ;;
"info --format {{.Store.GraphRoot}}") echo /storage ;;
*) exit 125 ;;
esac"""
    program(tmp_path / "bin/podman", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM", raising=False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "6", "1", "aarch64")))
    with pytest.raises(StopError) as stopped:
        images.refuse_architecture(project)
    assert stopped.value.name == "other-architecture"
    monkeypatch.setattr(look, "free_space", lambda folder: 0 if str(folder) == "/storage" else 1e12)
    assert look.disk(look.Case(project, "", {})) == {
        "cause": "The disk of the engine is full: /storage."
    }


def test_podman_fills_no_cover_with_what_it_hides(project: Project) -> None:
    text = guard.guard_text(project)
    assert '"type": "tmpfs"' not in text
    assert "  tmpfs:\n" in text
    assert "notmpcopyup" in text


def test_containers_have_no_label_where_selinux_is_on(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(selinux, "ENFORCE", tmp_path / "enforce")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    file = project.folder / SELINUX_FILE
    selinux.open_mounts(project)
    assert not file.exists()
    (tmp_path / "enforce").write_text("1\n")
    selinux.open_mounts(project)
    assert "label=disable" in file.read_text()
    assert SELINUX_FILE in project.settings.files()
    guard.guard(project)
    assert {SELINUX_FILE, GUARD_FILE} <= set(project.settings.files())
    (tmp_path / "enforce").write_text("0\n")
    selinux.open_mounts(project)
    assert not file.exists()
    (project.folder / ".env").write_text("COMPOSE_FILE=compose.yaml\n")  # Docker
    project.forget_settings()
    (tmp_path / "enforce").write_text("1\n")
    for options, is_open in (
        ('["name=seccomp,profile=builtin"]', False),
        ('["name=seccomp,profile=builtin","name=selinux","name=cgroupns"]', True),  # Fedora's
        ("", False),  # it does not answer
    ):
        program(tmp_path / "bin/docker", f"[ $1 = info ] && echo '{options}'")
        selinux.open_mounts(project)
        assert file.exists() == is_open


@pytest.mark.parametrize(("rootless", "uid"), [(True, 0), (False, 1000)])
def test_id_0_is_the_user_outside_unless_podman_is_roots(*, rootless: bool, uid: int) -> None:
    facts = Facts(
        user=Person(1000, 1000, "jane", "jane"), engine=Engine(kind="podman", rootless=rootless)
    )
    assert facts.container_user
    assert facts.container_user.uid == uid


@pytest.mark.parametrize(("kind", "form"), [("podman", "driver: cdi"), ("docker", "  devices:\n")])
def test_gpus_are_asked_for_in_the_form_that_the_engine_knows(kind: str, form: str) -> None:
    facts = GpuFacts(engine=Engine(kind=kind), access=Access(("cdi",), ("all",)))
    text = override_texts("", facts)["compose.cdi.yaml"]
    assert form in text
    assert ("driver: cdi" in text) == (kind == "podman")
    assert '- "nvidia.com/gpu=all"' in text


def test_limits_of_podman_are_those_of_its_control_groups() -> None:
    host = {"cpus": 4, "memTotal": 1024, "cgroupControllers": ["memory", "pids"]}
    known = limits.of_podman(host)
    kept = {"CpuCfsQuota": False, "MemoryLimit": True, "PidsLimit": True}
    assert known == {"NCPU": 4, "MemTotal": 1024, **kept}


def test_docker_can_do_everything() -> None:
    assert abilities("docker-rootless", "20.10") == abilities("docker")
