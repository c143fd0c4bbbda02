"""The table of failures: each row is recognised by real texts, and speaks in one way everywhere."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from hooks.generate import failure_tables
from hooks.generate.after_render import host_lines
from host import failure_rows, failures, look, pip_packages, probe
from host.ask import Output
from host.engine import broken
from host.failure_rows import FOLDER, Failure, matches, table
from host.failures import explain, remedy_for
from host.gpu_facts import GpuFacts as Facts
from host.project import Project, StopError, me
from tests.support.git import git

ENGINES = ("docker", "docker-rootless", "docker-desktop", "podman")
HOSTS = (
    *("remote", "mac", "wsl", "no-systemd", "docker-ce", "debian", "debian-12", "ubuntu"),
    *(
        "fedora",
        "rhel",
        "rhel-8",
        "rhel-9",
        "debian-13",
        "amzn",
        "arch",
        "suse",
        "opensuse",
        "alpine",
    ),
)
LINE = re.compile(
    r"#.*||[a-z-]+|= [a-z-]+  \S.*\S|  (says|cause|run|edit|look|status|before)  \S.*\S"
    rf"|  run ({'|'.join(ENGINES)})?( ?({'|'.join(HOSTS)})){{,2}}  \S.*\S"
    f"|  when  ({failure_rows.REGISTRY}|{failure_rows.ASKED})"
)
IMAGE = "registry.example:5000/team/work:1"


def real_texts() -> dict[str, list[str]]:
    """What programs say, by the row that it is about."""
    _, *rows = re.split(
        r"(?m)^=== (.*)\n", (Path(__file__).parent / "failure_texts.txt").read_text()
    )
    return {
        name: [text.strip("\n") for text in re.split(r"(?m)^---$", texts)]
        for name, texts in zip(rows[::2], rows[1::2], strict=True)
    }


TEXTS = real_texts()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of which only the files exist that a look reads."""
    folder = tmp_path / "docker-amd64"
    (folder / "dependencies").mkdir(parents=True)
    (folder / ".env").write_text("")
    data = {
        "name": "demo",
        "service": "simple",
        "package_manager": "pip",
        "accelerator": "cpu",
        "torch": "",
        "torch_family": {},
        "base_has_torch": False,
        "python": "3.12",
        "cuda": "",
        "offered": {},
        "compiles_torch": False,
        "package": "",
        "answers_file": ".copier-answers.yml",
        "shell": "bash",
        "extras": [],
        "services": {"code": ["runtime", "dev"]},
        "base_images": {"BASE_IMAGE": "debian:bookworm-slim", "UV_IMAGE": "ghcr.io/astral-sh/uv:1"},
        "builds": ["dev"],
    }
    return Project(folder, data)


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_the_rows_are_well_formed(file: Path) -> None:
    assert file.suffix == ".txt"
    row: list[str] = []
    for at, line in enumerate((*file.read_text().splitlines(), "end"), 1):
        assert LINE.fullmatch(line), f"{file.name}:{at}: {line}"
        field = "  ".join(line.split("  ")[:2]).strip()
        if line.startswith(" "):
            again = field.startswith(("says", "cause", "run"))
            assert again or field not in row, f"{file.name}:{at}: again"
            row.append(field)
        elif line and not line.startswith("#"):
            assert not row or "cause" in row, f"{file.name}:{at}: the row before"
            assert not row or ("run" in row) + ("edit" in row) == 1, f"{file.name}:{at}: same"
            row = []


def test_what_a_row_names_is_there() -> None:
    for_all = {failure.name for failure in table() if failure.only == "all"}
    for failure in table():
        if failure.before:
            assert failure.only != "all"
            assert failure.before in for_all
        if failure.look:
            module, _, function = failure.look.partition(".")
            assert callable(getattr(import_module(f"host.{module}"), function))
        assert failure.status.isdigit() or not failure.status


def test_nothing_is_read_before_something_has_failed() -> None:
    program = "from host import ci, failure_rows as rows, failures, probe; "
    program += "print(rows.table.cache_info().currsize)"
    command = [sys.executable, "-B", "-c", program]
    folder = FOLDER.parent.parent
    assert subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout == b"0\n"


HERE = (
    ("ubuntu", "debian"),
    ("fedora",),
    ("rhel", "fedora"),
    ("no-systemd", "ubuntu", "debian"),
    ("no-systemd", "fedora"),
)


def command_for(name: str, kind: str, here: tuple[str, ...]) -> str:
    """The command of a row for an engine and a host."""
    return remedy_for(failure_rows.row(name), kind, here)


@pytest.mark.parametrize("here", [*HERE, ("mac",), ("wsl", "ubuntu")], ids=" ".join)
@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_is_restarted_in_one_way(kind: str, here: tuple[str, ...]) -> None:
    certificate = command_for("daemon-certificate", kind, here)
    assert certificate.endswith(command_for("engine-silent", kind, here))
    assert ("update-ca-certificates" in certificate) <= ("fedora" not in here)


@pytest.mark.parametrize("here", HERE, ids=" ".join)
@pytest.mark.parametrize("kind", ["docker", "docker-rootless", "podman"])
def test_nvidias_toolkit_is_installed_as_the_host_does_and_then_told_to_the_engine(
    kind: str, here: tuple[str, ...]
) -> None:
    install, _, then = command_for("gpu-toolkit-missing", kind, here).partition(" && ")
    if not {"debian", "fedora"} & {*here}:
        assert install.startswith("python3 -m webbrowser https://")
        return
    assert install.split()[1] == ("dnf" if "fedora" in here else "apt-get")
    name = "gpu-cdi-missing" if kind == "podman" else "gpu-runtime-missing"
    assert then == command_for(name, kind, here)
    if kind != "podman":
        assert then.endswith(command_for("engine-silent", kind, here))


# Rows whose command is right although it is Docker's, and why.
OF_DOCKER_ONLY = {
    "engine-permission": "Podman has no daemon with a group",
    "engine-context": "a context is Docker's",
    "gpu-desktop": "it is about Docker Desktop",
    "gpu-engine-not-restarted": "it is about the file of Docker's daemon",
    "engine-old-store": "pipelines publish by Docker",
    "compose-too-old": "pipelines publish by Docker",
    "registry-user-missing": "pipelines publish by Docker",
    "attestation-missing": "pipelines publish by Docker",
}
DOCKERS = re.compile(r"(^|&& |sudo )(docker |(systemctl( --user)?) \w+ docker|service docker)")


@pytest.mark.parametrize("failure", table(), ids=lambda failure: failure.name)
def test_no_command_is_of_an_engine_or_a_system_that_is_not_here(failure: Failure) -> None:
    for here in HERE:
        podman = remedy_for(failure, "podman", here)
        if failure.name not in OF_DOCKER_ONLY:
            assert not DOCKERS.search(podman), podman
        if "no-systemd" in here:
            for kind in ("docker", "podman"):
                assert "systemctl restart docker" not in remedy_for(failure, kind, here)


@pytest.mark.parametrize("failure", table(), ids=lambda failure: failure.name)
def test_a_row_has_an_id_sentences_and_a_command_for_every_engine(failure: Failure) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", failure.name)
    if failure.cause not in ("{line}", "{said}"):  # the sentences of another program
        assert failure.cause.endswith((".", "{line}"))
        for sentence in re.split(r"(?<=[.:]) ", failure.cause):
            assert len(sentence.split()) <= 25
    for kind in ENGINES:
        command = failures.speak(failure, {"me": "./template.sh", "folder": "."}, kind).command
        assert command
        if failure.run[""] != "{advice}":
            assert "..." not in command
            assert not re.search(r"[.,:]$| then | or |\(", command.replace("docker.io", ""))
            assert shlex.split(command)


def test_the_ids_are_unique_and_every_row_with_words_has_a_real_text() -> None:
    names = [failure.name for failure in table()]
    assert len(names) == len(set(names))
    assert {failure.name for failure in table() if failure.says} == {*TEXTS, "mount-missing"}


def recognise(text: str, only: str = "", *, registry: bool = False, asked: bool = False) -> str:
    """The row that a text is about, in a project that has the rows for all and of one kind."""
    rows = (row for row, _ in matches(text, registry=registry, asked=asked))
    return next((row.name for row in rows if not only or row.only in ("all", only)), "")


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts]
)
def test_a_real_text_is_recognised_as_its_row(name: str, text: str) -> None:
    for said in (text, f"#1 0.1 before\n{text}\nafter it\n"):
        row = failure_rows.row(name)
        registry, asked = row.when == failure_rows.REGISTRY, row.when == failure_rows.ASKED
        assert recognise(said, registry=registry, asked=asked) == name
        assert recognise(said, row.only, registry=registry, asked=asked) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Failed to fetch: `https://x/whl/cpu/` cause: UnknownIssuer", "build-certificate"),
        ("Failed to download `python-build-standalone` x509: certificate", "build-certificate"),
        ("error sending request for url (python-build-standalone/a): dns error", "python-blocked"),
        ("Failed to fetch: https://x/whl/cpu/torch/ cause: dns error", "pytorch-index-blocked"),
        ("Failed to build `a==1` cause: Failed to fetch: https://x/simple/b", "index-blocked"),
        ("Failed to build `a==1` cause: No space left on device", "disk-full"),
        ("Failed to build `a==1` exit code: 137", "memory-used-up"),
        ("Download error (6) Could not resolve host [https://x/a.json]", "conda-channel"),
        ('error mounting "libcuda.so" to rootfs at "/x": not a directory', "gpu-files-changed"),
    ],
)
def test_of_two_rows_the_likelier_is_asked_first(text: str, name: str) -> None:
    assert recognise(text) == name


@pytest.mark.parametrize("text", ["", "exit status 2", "something else went wrong", "error: oops"])
def test_an_unknown_text_is_nobodys(project: Project, text: str) -> None:
    assert recognise(text) == recognise(text, registry=True) == ""
    assert explain(project, text, status=1) is None


@pytest.mark.parametrize("name", ["engine-not-running", "engine-permission", "docker-missing"])
def test_env_the_hook_and_a_verb_say_the_same(project: Project, name: str) -> None:
    for text in TEXTS[name]:
        verb = explain(project, text)
        assert verb
        engine = broken("docker", Output(1, "", text))
        assert (engine.problem, engine.fix, engine.failure) == (verb.sentence, verb.command, name)
        facts = replace(Facts(), engine=engine)
        for shown in (probe.table(facts), "\n".join(host_lines(facts)), str(verb)):
            assert f"{verb.sentence} (failure: {name})" in shown
            assert verb.command in shown


def test_a_stopped_engine_is_started_as_its_kind_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    row = failure_rows.row("engine-not-running")

    def command(kind: str, *hosts: str) -> str:
        monkeypatch.setattr(failures, "hosts", lambda: iter(hosts))
        return remedy_for(row, kind)

    assert command("docker") == "sudo systemctl start docker"
    assert command("docker", "no-systemd") == "sudo service docker start"
    assert command("docker", "remote", "no-systemd") == "docker context ls"
    assert command("docker-rootless", "ubuntu") == "systemctl --user start docker"
    assert command("docker-desktop", "mac") == "open -a Docker"
    assert command("podman") == "systemctl --user enable --now podman.socket"


@pytest.mark.parametrize(
    ("address", "remote"),
    [("tcp://127.0.0.1:1", True), ("ssh://jane@there", True), ("unix:///run/x.sock", False)],
)
def test_an_engine_of_another_machine_is_not_started_here(
    monkeypatch: pytest.MonkeyPatch, address: str, remote: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    assert ("remote" in failures.hosts()) == remote


@pytest.mark.parametrize(
    ("here", "package"),
    [
        (("debian-12", "debian"), "install docker-ce"),  # Debian 12's own Docker is too old, too
        (("nixos",), "https://docs.docker.com/engine/install"),
        (("ubuntu", "debian"), "docker.io docker-compose-v2"),
        (("fedora",), "dnf upgrade podman"),
        (("rhel", "fedora"), "dnf upgrade podman"),
    ],
)
def test_where_no_newer_podman_is_there_is_docker(here: tuple[str, ...], package: str) -> None:
    command = remedy_for(failure_rows.row("podman-too-old"), "podman", here)
    assert package in command
    by_hand = package.startswith("https:") or "podman" in package
    assert ("env --refresh CONTAINER_ENGINE" in command) != by_hand


def test_a_hostile_name_cannot_look_like_a_command_of_ours(project: Project) -> None:
    name = "a\n  Run: 'evil'\\\x1b[2J"
    stop = failures.failed("file-not-regular", project, path=name)
    assert "\n" not in stop.sentence
    assert stop.command.count("\n") == 0
    script = f'mv() {{ printf %s "$1"; }}; {stop.command}'
    pasted = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert pasted.stdout == name


def test_an_exit_status_alone_can_tell(project: Project) -> None:
    stop = explain(project, "Killed\n", status=137)
    assert stop
    assert stop.name == "memory-used-up"


def sentence(project: Project, text: str) -> tuple[str, str]:
    """The cause and the command of a text in a project."""
    stop = explain(project, text)
    assert stop
    return stop.sentence, stop.command


def test_a_broken_dependency_file_is_named_with_its_line(project: Project) -> None:
    file = project.folder / "dependencies" / "pyproject.toml"
    file.write_text('[project]\ndependencies = [\n    "numpy >> 3",\n]\n')
    said = "configuration error: `project.dependencies[0]` must be pep508\n"
    said += 'GIVEN VALUE:\n    "numpy >> 3"\n'
    cause, command = sentence(project, said)
    assert cause.startswith("Line 3 of dependencies/pyproject.toml")
    assert "numpy >> 3" in cause
    assert "+3 " in command
    toml = (
        "  cause: TOML parse error at line 9, column 1\n    |\n  9 | [dependency-groups]\n    | ^\n"
    )
    cause, _ = sentence(project, f"{toml}  missing comma between array elements, expected `,`\n")
    assert cause.startswith("Line 9 of dependencies/pyproject.toml cannot be read: missing comma")


@pytest.mark.parametrize(
    ("text", "says", "command"),
    [
        ('# such as a:b\nUSR="a:b"\n', "USR in line 2 of .env", " env --refresh USR"),
        ("GRP=xa:b\nUSR=a:b # mine\n", "USR in line 2 of .env", " env --refresh USR"),
        ("A='1\n2'\nMINE=a\nUSR=${MINE}:b\n", "USR in line 4 of .env", " env --refresh USR"),
        ("OWN=a:b\n", "OWN in line 1 of .env", "docker-amd64/.env"),
        ("# USR=a:b\n", "A key of .env has the value", "env | grep -F -- =a:b"),
        ("USR='a:b\n", "A key of .env cannot have the value", "docker-amd64/.env"),
    ],
)
def test_the_line_of_env_with_a_refused_value_is_named(
    project: Project, text: str, says: str, command: str
) -> None:
    (project.folder / ".env").write_text(text)
    (project.folder / ".env.example").write_text("USR=jane\nGRP=jane\n")
    cause, remedy = sentence(project, "unable to find user a:b: no matching entries in passwd")
    assert cause.startswith(says)
    assert remedy.endswith(command), remedy
    assert ("+" in remedy) == says.startswith("OWN")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML with the standard library")
@pytest.mark.parametrize(
    ("entries", "line", "reason"),
    [
        ('["numpy"', 2, "Unclosed array"),
        ('[\n    "numpy",\n    "torch >> 3",\n]', 4, "torch >> 3 is not a package with a version"),
        (
            '["numpy==2.1.0, <3; python_version > \'3.8\'", "x[a,b] ~= 1.0", "y @ https://y/y.whl"]',
            0,
            "",
        ),
        ('["a_b.c", "d (>=1,<2)", "e==1.*", "f===1!2+cpu"]', 0, ""),
        ('["numpy=3"]', 2, "numpy=3 is not"),
        ('["my package"]', 2, "my package is not"),
    ],
)
def test_a_dependency_file_that_uv_cannot_read_is_found_before(
    entries: str, line: int, reason: str
) -> None:
    found = pip_packages.invalid_line(f"[project]\ndependencies = {entries}\n")
    assert (found or (0, ""))[0] == line
    assert reason in (found or (0, ""))[1]


OF_THE_PROJECT = """\
error: No solution found when resolving dependencies
  cause: Because only my-early>=1.0 is available and project-requirements[dev]==0 depends on \
my-early<1, we can conclude that project-requirements[dev]==0 cannot be used.
"""


TOGETHER = """\
error: No solution found when resolving dependencies
  cause: Because {}, we can conclude that project-requirements[dev] depends on my-x.
         And because environment:project depends on project-requirements[dev] and your project
         depends on {}, we can conclude that your project and environment:project are incompatible.
"""


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        (
            "project-requirements==0 depends on my-x>3",
            "my-x<3",
            [("own", "my-x>3"), ("x", "my-x<3")],
        ),
        (
            "project-requirements[dev]==0 depends on my-x>3 and only 1 is available",
            "my-y and only my-y<2 is available",
            [("own", "my-x>3"), ("y", "my-y")],
        ),
        ("my-z depends on my-x>3", "my-x<3 and my_y", [("x", "my-x<3"), ("y", "my_y")]),
    ],
)
def test_lines_that_contradict_each_other_are_named_with_their_places(
    project: Project, first: str, second: str, lines: list[tuple[str, str]]
) -> None:
    (project.root / "pyproject.toml").write_text(
        '[project]\nname = "my-x"\ndependencies = [\n    "My_X>3",\n]\n'
    )
    file = project.folder / "dependencies/pyproject.toml"
    file.write_text('[project]\ndependencies = [\n    "my-x<3",\n    "my-x-more", "my-y",\n]\n')
    stop = explain(project, TOGETHER.format(first, second))
    assert stop
    assert stop.name == "no-versions-fit"
    relative = file.relative_to(project.root).as_posix()
    places = {"own": "pyproject.toml:4", "x": f"{relative}:3", "y": f"{relative}:4"}
    named = " and ".join(f"{text} ({places[place]})" for place, text in lines)
    assert f"No versions fit these lines together: {named}. " in str(stop)
    path, _, number = str(project.root / places[lines[0][0]]).rpartition(":")
    assert f"+{number} " in stop.command
    assert path in stop.command


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (OF_THE_PROJECT, "no-versions-fit"),
        (
            (
                "Because my-early was not found in the package registry and "
                "project-requirements==0 depends on my-early, we can conclude"
            ),
            "package-missing",
        ),
    ],
)
def test_what_the_project_itself_asks_for_is_opened_where_it_asks(
    project: Project, text: str, name: str
) -> None:
    for file, content in (
        ("pyproject.toml", '[project]\nname = "my-early"\ndynamic = ["dependencies"]\n'),
        ("setup.py", 'setup(\n    install_requires=["My_Early<1", "my-early-bird"],\n)\n'),
    ):
        (project.root / file).write_text(content)
    stop = explain(project, text)
    assert stop
    assert (stop.name, "+2 " in stop.command) == (name, True)
    assert stop.command.endswith(f"{project.root}/setup.py")
    (project.root / "setup.py").write_text("setup()\n")
    # What add was told is in no file.
    told = "Because there is no version of my-early==9 and project-requirements==0 depends on\n"
    cause, command = sentence(project, f"No solution found when resolving\n{told}    my-early==9, ")
    assert cause == "The package index has no version of my-early that fits my-early==9."
    assert command == f"{me()} add my-early"
    _, command = sentence(project, OF_THE_PROJECT)
    assert command.endswith("dependencies/pyproject.toml")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML with the standard library")
@pytest.mark.parametrize(
    ("text", "line"),
    [('[project]\ndependencies = [\n"numpy=3"]\n', 3), ('[project]\nname = "demo\n', 2)],
    ids=["requirement", "TOML"],
)
@pytest.mark.parametrize("verb", ["add", "lock", "build"])
def test_what_is_wrong_in_the_projects_own_file_stops_with_its_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, verb: str, text: str, line: int
) -> None:
    class BuiltError(Exception):
        """All was checked."""

    def built(_: Project) -> None:
        raise BuiltError

    own = project.root / "pyproject.toml"
    (project.folder / "dependencies/pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(pip_packages, "build_tools", built)
    monkeypatch.setattr(pip_packages, "add_to_list", lambda *_: False)
    options = argparse.Namespace(name=["six"], dev=False, image=False, check=False, upgrade=None)
    verbs: dict[str, Callable[[], object]] = {
        "add": lambda: pip_packages.do_add(project, options),
        "lock": lambda: pip_packages.do_lock(project, options),
        "build": lambda: pip_packages.lock_if_stale(project),
    }
    own.write_text(text)
    if verb != "add":  # in existing code, another tool may read the file
        with pytest.raises(BuiltError):
            verbs[verb]()
    project.package = "demo"
    with pytest.raises(StopError) as stop:
        verbs[verb]()
    assert stop.value.name == "dependency-file-invalid"
    assert stop.value.sentence.startswith(f"Line {line} of pyproject.toml cannot be read: ")
    assert stop.value.command == f'"${{EDITOR:-vi}}" +{line} {shlex.quote(str(own))}'
    own.write_text('[project]\ndependencies = ["numpy"]\n')
    with pytest.raises(BuiltError):
        verbs[verb]()


def test_what_is_imported_under_another_name_is_named(project: Project) -> None:
    text = "Because sklearn was not found in the package registry and your project"
    cause, command = sentence(project, text)
    assert "scikit-learn" in cause
    assert command.endswith("template.sh add scikit-learn")


def test_the_certificates_of_this_machine_are_offered_in_one_command(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "error: https://index.example:8443/simple/: invalid peer certificate: UnknownIssuer"
    bundle = tmp_path / "ca.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    cause, command = sentence(project, text)
    assert str(bundle) in cause
    assert command.endswith("template.sh env --refresh CA_BUNDLE COMPOSE_FILE")
    name_it = named_in_env()
    (project.folder / ".env").write_text("CA_BUNDLE=./mine.pem\n")
    project.forget_settings()
    cause, command = sentence(project, text)
    assert cause.startswith("CA_BUNDLE in .env names ./mine.pem")
    folder = project.folder
    made = f"cat {folder}/mine.pem proxy.pem >{folder}/ca.pem && "
    assert command == made + name_it
    (folder / ".env").write_text("CA_BUNDLE=ca.pem\n")
    project.forget_settings()
    assert sentence(project, text)[1] == f"cat proxy.pem >>{folder}/ca.pem"


def test_where_no_certificates_are_a_command_names_the_file_for_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in probe.CA_VARIABLES:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(probe, "SYSTEM_BUNDLES", ("/nowhere/ca.crt",))
    cause, command = sentence(project, "invalid peer certificate: UnknownIssuer")
    assert "/nowhere/ca.crt" in cause
    assert f"{project.folder}/ca.pem" in cause
    assert command == named_in_env()


def named_in_env() -> str:
    """The command that names ca.pem in .env, for builds and for containers."""
    return f"{me()} env --set CA_BUNDLE=ca.pem && {me()} env --refresh COMPOSE_FILE"


def test_the_holder_of_a_port_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "command", lambda *_: Output(1, "", ""))  # no container has it
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cause, command = sentence(
            project, f"listen tcp4 127.0.0.1:{port}: bind: address already in use"
        )
        assert f"Port {port} of this machine is taken by " in cause
        assert f"(process {os.getpid()})" in cause
        assert command.endswith("template.sh config")
    assert look.process_on(port) == ""
    monkeypatch.setattr(look, "command", lambda *_: Output(0, "other-dev-1\n", ""))
    (project.folder / ".env").write_text(f"SSH_PORT={port}\n")
    project.forget_settings()
    cause, command = sentence(project, f"Bind for 0.0.0.0:{port} failed: port is already allocated")
    assert "the container other-dev-1" in cause
    assert "env --refresh SSH_PORT" in command


@pytest.mark.parametrize(
    ("full", "said", "remedy"),
    [
        ("engine", "The disk of the engine is full: /engine.", "docker system df"),
        ("project", "The disk of the project's folder is full", "du -xhd1 "),
        ("", "A container's own file system is full", "exec df -h"),
    ],
)
def test_the_disk_that_is_full_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, full: str, said: str, remedy: str
) -> None:
    folders = {"engine": Path("/engine"), "project": project.folder}
    monkeypatch.setattr(look, "command", lambda *_: Output(0, "/engine\n", ""))
    monkeypatch.setattr(failures, "engine_kind", lambda _: "docker")
    monkeypatch.setattr(
        look, "free_space", lambda folder: 0 if folder == folders.get(full) else look.SMALL
    )
    cause, command = sentence(project, "write /x: no space left on device")
    assert cause.startswith(said)
    assert remedy in command


def test_a_folder_that_the_engine_may_not_enter_is_told_from_a_missing_one(
    project: Project, tmp_path: Path
) -> None:
    closed = tmp_path / "closed" / "data"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    text = 'invalid mount config for type "bind": bind source path does not exist: '
    stop = explain(project, f"{text}{closed}")
    assert stop
    assert stop.name == "folder-refused-to-engine"
    assert stop.command.startswith("chmod o+x ")
    assert str(closed.parent) in stop.command.split()
    stop = explain(project, f"{text}{tmp_path}/nowhere")
    assert stop
    assert (stop.name, stop.command) == ("mount-missing", f"mkdir -p {tmp_path}/nowhere")


def test_the_image_of_a_registry_is_named(project: Project) -> None:
    stop = explain(project, "denied: no", image_name=IMAGE)
    assert stop
    assert stop.command == "docker login registry.example:5000"


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("ubuntu:24.04", "docker.io"),
        ("team/work:1", "docker.io"),
        ("localhost/work", "localhost"),
        ("registry.example:5000/work", "registry.example:5000"),
        ("registry.example/team/work@sha256:0", "registry.example"),
    ],
)
def test_the_registry_of_an_image_is_known(name: str, registry: str) -> None:
    assert failures.registry_of(name) == registry


def test_the_tables_of_the_documentation_are_fresh() -> None:
    assert failure_tables.main(["--check"]) == 0, "run python -m hooks.generate.failure_tables"


ABSENT = "There is no package {} in the channels (conda-forge){}.\n"


@pytest.mark.parametrize(
    ("said", "cause", "command"),
    [  # what add has been told, and what files list
        (ABSENT.format("einopz", ""), "No channel has einopz", f"{me()} add --pip einopz"),
        (ABSENT.format("numppy", "; the nearest name is numpy"), "numpy", f"{me()} add numpy"),
        (
            ABSENT.format("a", ": environment-dev.yml, line 8")
            + ABSENT.format("c", ": environment.yml, line 12")
            + "conda_env: "
            + ABSENT.format("b", ": environment-dev.yml, line 6"),
            "No channel has a and b",
            f"{me()} add --pip --dev a b",
        ),
        (
            ABSENT.format("numppy", ": environment.yml, line 12; the nearest name is numpy"),
            "the nearest name is numpy",
            '"${EDITOR:-vi}" +12 docker-amd64/dependencies/environment.yml',
        ),
    ],
)
def test_a_package_that_no_channel_has_is_mended_where_it_is_listed(
    project: Project, said: str, cause: str, command: str
) -> None:
    """The command adds to the file that lists it: to any other, it would fail for ever."""
    text = said if "conda_env: " in said else f"conda_env: {said}"
    found = sentence(project, text)
    assert cause in found[0]
    assert found[1].replace(str(project.folder), "docker-amd64") == command


CONFLICT = """\
#15 0.970 error: No solution found when resolving dependencies
#15 0.970   cause: Because {}, we can
#15 0.970       conclude that your requirements are unsatisfiable.
#15 1.065 workspaces/of-jane ended with status 1
"""


@pytest.mark.parametrize(
    ("said", "cause", "line"),
    [
        (
            "you require Packaging==1.0 and packaging==26.4",
            "requirements.txt:2 needs packaging==1.0, but docker-amd64/dependencies/uv.lock has",
            "requirements.txt",
        ),
        (
            "deep==2 depends on packaging<2 and you require\n#15 0.970   packaging==26.4 and deep",
            "requirements.txt:2 needs packaging<2, but",
            "requirements.txt",
        ),
        (
            "lake==2 depends on numpy<2 and numpy==2.4.6",
            "pyproject.toml:3 needs numpy<2 for lake, but docker-amd64/dependencies/uv.lock has",
            "pyproject.toml",
        ),
    ],
)
def test_a_pin_of_a_workspace_is_named_with_that_of_the_project(
    project: Project, said: str, cause: str, line: str
) -> None:
    folder = project.root / "workspaces/of-jane"
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text("# packaging, which is old\nPackaging==1.0\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["lake"]\n')
    dependencies = project.folder / "dependencies"
    locked = 'name = "packaging"\nversion = "26.4"\n\nname = "numpy"\nversion = "2.4.6"\n'
    (dependencies / "uv.lock").write_text(locked)
    stop = explain(project, CONFLICT.format(said))
    assert stop
    assert stop.name == "workspace-packages"
    assert cause in stop.sentence
    assert f"{me()} add " in stop.sentence
    assert stop.command.startswith('"${EDITOR:-vi}" +')
    assert stop.command.endswith(f"workspaces/of-jane/{line}")


@pytest.mark.parametrize(
    ("lock", "text"),
    [
        ("pip.lock", "packaging==26.4 \\\n    --hash=sha256:00\n"),
        ("conda.lock", "https://c.example/forge/noarch/packaging-26.4-pyh0_0.conda#sha256:00\n"),
    ],
)
def test_a_pin_of_a_workspace_is_found_in_the_locks_of_conda(
    project: Project, lock: str, text: str
) -> None:
    project.package_manager = "conda"
    folder = project.root / "workspaces/of-jane"
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text("packaging==1.0\n")
    (project.folder / "dependencies" / lock).write_text(text)
    cause, _ = sentence(project, CONFLICT.format("you require packaging==1.0 and packaging==26.4"))
    assert f"docker-amd64/dependencies/{lock} has packaging 26.4" in cause


def test_a_workspace_whose_list_is_wrong_otherwise_is_listed(project: Project) -> None:
    stop = explain(project, CONFLICT.format("no-such was not found in the package registry"))
    assert stop
    assert stop.command.endswith("workspaces/of-jane")


def test_a_pin_of_conda_of_a_workspace_is_named_with_its_line(project: Project) -> None:
    folder = project.root / "workspaces/of-jane"
    folder.mkdir(parents=True)
    (folder / "environment.yml").write_text("dependencies:\n  - numpy<1.20\n")
    said = "It needs numpy<1.20, but the project has numpy 1.26.4, and packages of the project keep"
    stop = explain(project, f"conda for workspaces/of-jane: {said} their versions. Change it.")
    assert stop
    has = "docker-amd64/dependencies/conda.lock has numpy 1.26.4"
    assert f"workspaces/of-jane/environment.yml:2 needs numpy<1.20, but {has}" in stop.sentence
    assert f"{me()} add 'numpy<1.20'" in stop.sentence
    assert stop.command.endswith("+2 " + str(folder / "environment.yml"))


BROKEN_LOCK = """\
error: Failed to parse `uv.lock`
  cause: TOML parse error at line 1, column 9
           |
         1 | <<<<<<< HEAD
           |         ^
         key with no value, expected `=`
"""


@pytest.mark.parametrize("said", [BROKEN_LOCK, "uv.lock cannot be read: Unterminated string"])
def test_a_lock_that_cannot_be_read_is_taken_from_git_or_made_anew(
    project: Project, said: str
) -> None:
    file = project.folder / "dependencies/uv.lock"
    shown = f"{project.folder}/dependencies/uv.lock"
    file.write_text("version = 1\n")
    stop = explain(project, said)
    assert stop
    assert (stop.name, stop.command) == ("lock-unreadable", f"rm {shown} && {me()} lock")
    git(project.root, "init", "--quiet", "--initial-branch", "main")
    git(project.root, "add", "--all")
    git(project.root, "commit", "--quiet", "--message", "first")
    file.write_text("versi")
    _, command = sentence(project, said)
    assert command == f"git checkout HEAD -- {shown} && {me()} lock"
    git(project.root, "checkout", "--quiet", "-b", "other", "HEAD")
    for branch in ("other", "main"):
        git(project.root, "checkout", "--quiet", "--force", branch)
        file.write_text(f"version = '{branch}'\n")
        git(project.root, "commit", "--quiet", "--all", "--message", branch)
    subprocess.run(["git", "merge", "other"], cwd=project.root, capture_output=True, check=False)
    assert "<<<<<<<" in file.read_text()
    cause, command = sentence(project, said)
    assert cause == "dependencies/uv.lock has the marks of a merge conflict."
    assert command == f"git checkout --ours -- {shown} && {me()} lock"
    subprocess.run(command.split(" && ")[0], shell=True, cwd=project.root, check=True)  # noqa: S602
    assert file.read_text() == "version = 'main'\n"
