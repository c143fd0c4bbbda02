"""Whoever a container runs as has a name and a home, and nothing of the base image is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.engine.conftest import MakeProject
from tests.support.build_log import stages_built
from tests.support.process import run
from tests.support.project import Project

WHO_AM_I = """
import getpass, json, os, pathlib, tempfile
home = pathlib.Path.home()
with tempfile.TemporaryFile(dir=home):
    pass
print(json.dumps({
    "ids": f"{os.getuid()}:{os.getgid()}",
    "names": sorted({getpass.getuser(), os.environ["USER"], os.environ["LOGNAME"]}),
    "home": str(home),
}))
"""
TORCH_WORKS = """
import my_project, torch
assert int((torch.ones(3, 3) @ torch.ones(3, 3)).sum()) == 27
"""
READ_ONLY = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
TEN_DIGITS = "1885580785"


def whoami(image: str, *options: str, code: str = WHO_AM_I) -> dict[str, object]:
    result = run("docker", "run", "--rm", *options, image, "python", "-c", code)
    assert result.returncode == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("options", "ids", "name", "home"),
    [
        pytest.param([], None, None, "/home/user", id="the person of .env"),
        pytest.param(READ_ONLY, None, None, None, id="the person, read-only root"),
        pytest.param(
            ["--user", "12345:0", *READ_ONLY], "12345:0", "user12345", None, id="as OpenShift does"
        ),
        pytest.param(["--user", "955:955"], "955:955", "user955", None, id="955:955"),
        pytest.param(
            ["--user", "955:955", *READ_ONLY], "955:955", "user955", None, id="955, read-only root"
        ),
        pytest.param(
            ["--user", f"{TEN_DIGITS}:{TEN_DIGITS}"],
            f"{TEN_DIGITS}:{TEN_DIGITS}",
            f"user{TEN_DIGITS}",
            None,
            id="an id of ten digits",
        ),
    ],
)
def test_any_id_has_a_name_a_home_the_project_and_torch(
    torch_project: Project, options: list[str], ids: str | None, name: str | None, home: str | None
) -> None:
    person = torch_project.owner
    found = whoami(
        torch_project.image("runtime"),
        *("--volume", f"{torch_project.folder}:/workspace:ro", *options),
        code=TORCH_WORKS + WHO_AM_I,
    )
    ids = ids or f"{person.uid}:{person.gid}"
    assert found == {
        "ids": ids,
        "names": [name or person.name],
        "home": home or f"/tmp/home-{ids.partition(':')[0]}",
    }


@pytest.fixture(scope="module")
def on_ubuntu(project: MakeProject) -> Project:
    """A project on Ubuntu 24.04, whose image has a user `ubuntu` with the id 1000."""
    new = project("on-ubuntu", light=True, linux_distro="ubuntu-24.04")
    # While the files are still those of the person in .env.
    new.ok("lock")
    new.set_env(USRID="1000", GRPID="1000", USR="ada", GRP="lovelace")
    new.build("runtime")
    return new


@pytest.fixture
def person_of(on_ubuntu: Project) -> Iterator[Project]:
    """The same project; its person is another one during the test."""
    before = (on_ubuntu.docker / ".env").read_text()
    yield on_ubuntu
    on_ubuntu.write("docker-amd64/.env", before)


def lines(image: str, path: str) -> set[str]:
    command = ["docker", "run", "--rm", "--user", "0", "--entrypoint", "cat", image, path]
    return set(run(*command).stdout.splitlines())


def test_id_1000_of_ubuntu_becomes_the_person_and_the_bases_own_users_stay(
    on_ubuntu: Project,
) -> None:
    image = on_ubuntu.image("runtime")
    assert whoami(image) == {"ids": "1000:1000", "names": ["ada"], "home": "/home/user"}
    for file in ("/etc/passwd", "/etc/group", "/etc/shadow"):
        assert lines("ubuntu:24.04", file) <= lines(image, file) != set()
    ubuntu = run("docker", "run", "--rm", image, "id", "ubuntu")
    assert ubuntu.stdout.startswith("uid=1000")


def test_an_id_of_ten_digits_costs_one_small_layer(person_of: Project) -> None:
    person_of.set_env(USRID=TEN_DIGITS, GRPID=TEN_DIGITS)
    log = person_of.build("runtime")
    assert stages_built(log) == {"runtime"}
    image = person_of.image("runtime")
    assert whoami(image)["ids"] == f"{TEN_DIGITS}:{TEN_DIGITS}"
    layer = ("--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}")
    layers = run("docker", "history", *layer, image).stdout.splitlines()
    sizes = [line.split()[0] for line in layers if "add-user" in line]
    assert len(sizes) == 1
    assert int(sizes[0]) < 100_000


@pytest.mark.parametrize(
    ("user", "group"),
    [
        ("Jane.Doe", "Team"),
        (r"CORP\jane.doe", r"CORP\domain users"),
        ("jane.doe@corp.example", "domain users@corp.example"),
        ("jane doe", "jane doe"),
    ],
)
def test_names_with_capitals_dots_domains_and_blanks_are_kept(
    person_of: Project, user: str, group: str
) -> None:
    person_of.set_env(USRID="4321", GRPID="4322", USR=f"'{user}'", GRP=f"'{group}'")
    person_of.build("runtime")
    image = person_of.image("runtime")
    assert whoami(image) == {"ids": "4321:4322", "names": [user], "home": "/home/user"}
    names = run("docker", "run", "--rm", image, "sh", "-c", "id -un; id -gn").stdout
    assert names == f"{user}\n{group}\n"


def test_a_group_id_that_the_base_uses_is_shared_and_keeps_its_name(person_of: Project) -> None:
    person_of.set_env(USRID="4321", GRPID="100", USR="jane", GRP="staff-of-the-lab")
    person_of.build("runtime")
    image = person_of.image("runtime")
    assert whoami(image)["ids"] == "4321:100"
    assert run("docker", "run", "--rm", image, "id", "-gn").stdout == "users\n"


def test_a_person_may_be_called_like_a_user_of_the_base(person_of: Project) -> None:
    person_of.set_env(USRID="4321", GRPID="4321", USR="games", GRP="games")
    person_of.build("runtime")
    image = person_of.image("runtime")
    assert whoami(image)["ids"] == "4321:4321"
    in_base = run("docker", "run", "--rm", "--entrypoint", "id", "ubuntu:24.04", "games").stdout
    assert run("docker", "run", "--rm", image, "id", "games").stdout == in_base


@pytest.mark.parametrize(("key", "value"), [("USRID", "one"), ("USR", "a:b"), ("GRP", "'a,b'")])
def test_an_impossible_person_is_refused_with_the_name_of_the_key(
    person_of: Project, key: str, value: str
) -> None:
    person_of.set_env(**{key: value})
    result = person_of.sh("build", "runtime")
    assert result.returncode != 0
    assert f"{key[:3]}" in result.stderr
    assert "must be" in result.stderr
