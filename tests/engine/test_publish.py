"""An image for others: no person and no secret in it, pushed to and used from a real registry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SNAPSHOT_TAG
from tests.engine.conftest import MakeProject
from tests.engine.test_daily_work import git
from tests.engine.test_failures import advice
from tests.support.build_log import nothing_built, stages_built
from tests.support.image_rights import open_to_group_0_and_others, writable
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.registry import Registry

REPOSITORY = "team/shared-work"
PASSWORD = "quiet-lamp-under-the-stairs"
ORIGIN = f"https://jane:{PASSWORD}@git.example/team/shared-work.git"


@pytest.fixture(scope="module")
def author(project: MakeProject, jane: Person) -> Project:
    """A project in git, all of it committed; its .env names a file of passwords."""
    netrc = jane.home / "netrc"
    netrc.write_text(f"machine pypi.example login jane password {PASSWORD}\n")
    new = project("shared-work", env={"NETRC_FILE": str(netrc)})
    for name in ("apt-build", "apt-runtime"):  # what runtime has and has not is tested elsewhere
        new.write(f"docker-amd64/dependencies/{name}.txt", "")
    new.ok("lock")
    git(new, "init", "--quiet")
    git(new, "add", "--all")
    git(new, "commit", "--quiet", "--message", "all there is")
    git(new, "remote", "add", "origin", ORIGIN)
    return new


@pytest.fixture(scope="module")
def name(author: Project, registry: Registry) -> str:
    """What the author published, as it comes back from the registry."""
    published = f"{registry.address}/{REPOSITORY}"
    author.ok("publish", published)
    registry.forget()
    assert run("docker", "image", "inspect", f"{published}:latest").returncode != 0
    assert run("docker", "pull", "--quiet", f"{published}:latest").returncode == 0
    return f"{published}:latest"


@pytest.fixture
def colleague(project: MakeProject) -> Project:
    """Another clone, where nothing is built and nothing could be: there is no such base image."""
    return project("shared-work", env={"BASE_IMAGE": "no-such-registry.invalid/base:1"})


def test_the_image_lets_nobody_change_it(name: str) -> None:
    assert writable(name) == open_to_group_0_and_others(name) == set()


def inspect(image: str) -> dict[str, Any]:
    (found,) = json.loads(run("docker", "image", "inspect", image).stdout)
    return dict(found)


def labels(image: str) -> dict[str, str]:
    return dict(inspect(image)["Config"]["Labels"])


def in_image(image: str, *command: str) -> str:
    program, *arguments = command
    result = run("docker", "run", "--rm", "--entrypoint", program, image, *arguments)
    return result.stdout


def test_its_labels_say_from_which_template_answers_and_commit_it_is(
    author: Project, name: str
) -> None:
    answers = (author.folder / ".copier-answers.yml").read_bytes()
    expected = {
        "org.opencontainers.image.title": "shared-work",
        "org.opencontainers.image.revision": git(author, "rev-parse", "HEAD").strip(),
        "org.opencontainers.image.source": "https://git.example/team/shared-work.git",
        "io.hearth.template.version": SNAPSHOT_TAG,
        "io.hearth.answers.digest": f"sha256:{hashlib.sha256(answers).hexdigest()}",
    }
    assert labels(name).items() >= expected.items()


def test_without_a_tag_it_is_latest_and_the_commit(
    author: Project, registry: Registry, name: str
) -> None:
    commit = git(author, "rev-parse", "HEAD")[:12]
    assert {"latest", commit} <= registry.tags(REPOSITORY)
    assert registry.digest(REPOSITORY, commit) == registry.digest(REPOSITORY, "latest")
    assert run("docker", "image", "inspect", name).returncode == 0


def test_no_person_is_in_it(author: Project, name: str) -> None:
    found = inspect(name)
    assert found["Config"].get("User", "") == ""
    history = run("docker", "history", "--no-trunc", "--format", "{{json .}}", name).stdout
    about = json.dumps(found["Config"]) + history
    project_of_the_person = author.config()["name"]
    assert "jane" in project_of_the_person
    for personal in (project_of_the_person, "jane", str(author.owner.uid), str(author.folder)):
        assert personal not in about
    for file in ("/etc/passwd", "/etc/group"):
        assert in_image(name, "cat", file) == in_image("debian:bookworm-slim", "cat", file)
    assert in_image(name, "ls", "/home") == ""


def test_no_secret_is_in_it(author: Project, name: str, tmp_path: Path) -> None:
    assert PASSWORD in Path(str(author.config()["secrets"]["netrc"]["file"])).read_text()
    assert run("docker", "save", "--output", str(tmp_path / "tar"), name).returncode == 0
    content = (tmp_path / "tar").read_bytes()
    assert b"/opt/container/entrypoint.sh" in content  # layers are not compressed in there
    assert PASSWORD.encode() not in content


def test_python_is_in_it_and_uv_is_not(name: str) -> None:
    assert in_image(name, "bash", "-c", "command -v uv") == ""
    assert in_image(name, "bash", "-c", "command -v python") == "/opt/venv/bin/python\n"


def test_publishing_again_builds_nothing(author: Project, registry: Registry) -> None:
    def publish() -> str:
        result = author.sh("publish", f"{registry.address}/{REPOSITORY}")
        assert result.returncode == 0, result.stderr
        return result.stderr

    assert nothing_built(*[publish] * 2)


def test_a_tree_with_changes_is_published_without_a_commit_and_says_so(
    author: Project, registry: Registry
) -> None:
    note = author.write("note.txt", "not committed\n")
    image = f"{registry.address}/team/in-progress"
    try:
        result = author.sh("publish", image)
    finally:
        note.unlink()
    assert result.returncode == 0, result.stderr
    assert "there are changes that are not committed" in result.stderr
    assert "org.opencontainers.image.revision" not in labels(f"{image}:latest")
    assert registry.tags("team/in-progress") == {"latest"}


def test_a_tag_of_ones_own_is_the_only_one(author: Project, registry: Registry) -> None:
    author.ok("publish", f"{registry.address}/team/tagged:v1")
    assert registry.tags("team/tagged") == {"v1"}
    assert "org.opencontainers.image.revision" in labels(f"{registry.address}/team/tagged:v1")


def test_a_colleague_pulls_it_and_runs_it_as_himself_without_a_build(
    author: Project, registry: Registry, name: str, colleague: Project
) -> None:
    author.ok("clean")
    registry.forget()
    result = colleague.sh("pull", name)
    assert result.returncode == 0, result.stderr
    assert stages_built(result.stderr) == {"runtime"}
    assert "There is no dev image yet: up and shell use this one." in result.stderr
    assert "made from other answers" not in result.stderr

    person = f"{colleague.owner.uid}:{colleague.owner.gid} jane\n"
    who = ("sh", "-c", 'echo "$(id -u):$(id -g) $(id -un)"')
    with registry.stopped():
        assert colleague.ok("run", *who) == person
        colleague.ok("up")
        assert colleague.ok("exec", *who) == person
        assert colleague.ok("exec", "python", "-m", "shared_work")
    colleague.ok("run", "touch", "/outputs/mine")
    assert (colleague.folder / "outputs/mine").stat().st_uid == colleague.owner.uid
    colleague.ok("down")


def test_a_newer_pull_replaces_its_stand_in_for_dev_but_no_dev_image_that_was_built(
    author: Project, registry: Registry, name: str, colleague: Project
) -> None:
    colleague.ok("pull", name)
    author.ok("publish", f"{registry.address}/{REPOSITORY}:other")
    colleague.set_env(USR="someone")
    colleague.ok("pull", f"{registry.address}/{REPOSITORY}:other")
    images = {service: colleague.image(service) for service in ("runtime", "dev")}
    assert inspect(images["runtime"])["Id"] == inspect(images["dev"])["Id"]

    assert run("docker", "tag", "debian:bookworm-slim", images["dev"]).returncode == 0
    built = inspect(images["dev"])["Id"]
    result = colleague.sh("pull", name)
    assert result.returncode == 0, result.stderr
    assert "no dev image" not in result.stderr
    assert inspect(images["dev"])["Id"] == built


def test_other_answers_are_told_at_the_pull(name: str, colleague: Project) -> None:
    path = ".copier-answers.yml"
    colleague.write(path, (colleague.folder / path).read_text() + "# edited\n")
    result = colleague.sh("pull", name)
    assert result.returncode == 0, result.stderr
    assert "made from other answers than those of this clone" in result.stderr


def test_the_image_of_another_project_is_not_taken(plain_project: Project, name: str) -> None:
    before = inspect(plain_project.image("runtime"))["Id"]
    sentence, command = advice(plain_project.sh("pull", name))
    assert sentence == f"{name} is not an image of a-plain-project: its label says shared-work."
    assert command == f"docker image inspect {name}"
    assert inspect(plain_project.image("runtime"))["Id"] == before


def test_an_image_with_a_person_in_it_is_not_taken(author: Project, registry: Registry) -> None:
    author.ok("build", "runtime")
    registry.push(author.image("runtime"), "team/personal", "1")
    sentence, _ = advice(author.sh("pull", f"{registry.address}/team/personal:1"))
    assert sentence.endswith(
        "has a user in it already; a user-agnostic image is made by publish, where the project is "
        "built."
    )


def test_publish_needs_a_name_without_which_pull_offers_what_is_here(author: Project) -> None:
    assert advice(author.sh("publish"))[0] == "publish needs NAME[:TAG]."
    assert "is on this machine." in author.ok("pull")


@pytest.mark.parametrize("verb", ["publish", "pull"])
def test_a_registry_that_wants_a_login(author: Project, tmp_path: Path, verb: str) -> None:
    closed = Registry(tmp_path, password=True)
    closed.start()
    try:
        result = author.sh(verb, f"{closed.address}/team/work")
    finally:
        closed.stop()
        closed.forget()
    sentence, command = advice(result, "no basic auth credentials")
    assert sentence.startswith(f"The registry {closed.address} refuses {closed.address}/team/work")
    assert command == f"docker login {closed.address}"


@pytest.mark.parametrize("verb", ["publish", "pull"])
def test_a_registry_that_does_not_answer(author: Project, tmp_path: Path, verb: str) -> None:
    gone = Registry(tmp_path)
    gone.start()
    gone.stop()
    sentence, command = advice(author.sh(verb, f"{gone.address}/team/work"), "connection refused")
    gone.forget()
    assert sentence == f"The registry {gone.address} cannot be reached from the Docker daemon."
    assert command == f"curl -I https://{gone.address}/v2/"


def test_a_tag_that_the_registry_does_not_have(author: Project, registry: Registry) -> None:
    image = f"{registry.address}/{REPOSITORY}:no-such-tag"
    sentence, command = advice(author.sh("pull", image), "manifest unknown")
    assert sentence.startswith(f"The registry {registry.address} has no image {image}:")
    assert "template.sh publish" in command


@pytest.mark.parametrize("verb", ["publish", "pull"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one/two", "three/four"], "{} does not know three/four."),
        (["shared-work"], '"shared-work" does not name an image in a registry'),
        (["Registry/Team/Work"], '"Registry/Team/Work" does not name an image in a registry'),
        (["reg.example/work:a:b"], '"reg.example/work:a:b" does not name'),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_built(
    author: Project, verb: str, words: list[str], sentence: str
) -> None:
    assert advice(author.sh(verb, *words))[0].startswith(sentence.format(verb, verb))
