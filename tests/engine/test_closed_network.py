"""Behind a proxy that inspects TLS, with an index that wants a password; no image knows either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject
from tests.support.canary import found_in
from tests.support.certificates import make_authority
from tests.support.index import PackageIndex, bridge_address, serving
from tests.support.process import run
from tests.support.project import Project

PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def authority_and_index(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, PackageIndex]]:
    folder, address = tmp_path_factory.mktemp("closed"), bridge_address()
    authority, tls = make_authority(folder, address)
    content = PackageIndex(folder, None, None)
    content.add("behind-the-wall")
    with serving(content, address, tls=tls, login=("jane", PASSWORD)) as index:
        yield authority, index


@pytest.fixture(scope="module")
def closed_project(project: MakeProject, authority_and_index: tuple[Path, PackageIndex]) -> Project:
    new = project("closed", light=True)
    # Another index is another environment, from Python on: with short lists it is soon built.
    for name, packages in (("build", "ca-certificates"), ("dev", "git")):
        new.write(f"docker-amd64/dependencies/apt-{name}.txt", packages)
    new.set_env(UV_DEFAULT_INDEX=f"{authority_and_index[1].url}/simple/")
    return new


def test_an_unknown_certificate_ends_in_one_sentence_and_a_known_one_builds_without_a_trace(
    closed_project: Project, authority_and_index: tuple[Path, PackageIndex]
) -> None:
    authority, index = authority_and_index
    result = closed_project.sh("lock")
    assert result.returncode != 0
    *raw, empty, sentence, command = result.stderr.rstrip().split("\n")
    assert "invalid peer certificate" in "\n".join(raw)
    assert empty == ""
    assert "inspects TLS" in sentence
    assert sentence.endswith("(failure: build-certificate)")
    assert command.endswith("template.sh env --refresh CA_BUNDLE COMPOSE_FILE")

    closed_project.write("docker-amd64/ca.pem", authority.read_text())
    address = bridge_address()
    netrc = f"machine {address} login jane password {PASSWORD}\n"
    closed_project.write("docker-amd64/netrc", netrc)
    closed_project.write("docker-amd64/dependencies/.netrc", netrc)  # which nothing reads
    closed_project.set_env(CA_BUNDLE="./ca.pem", NETRC_FILE="./netrc")
    added = closed_project.sh("add", "behind-the-wall")
    assert added.returncode == 0, added.stderr
    with index.recording() as traffic:
        log = closed_project.build()
    assert "behind_the_wall-1.0-py3-none-any.whl" in traffic.downloads
    assert index.url in (closed_project.docker / "dependencies/uv.lock").read_text()

    closed_project.compose("build", "publish")
    secrets = (PASSWORD, authority.read_text().splitlines()[1])
    assert found_in(closed_project, ("runtime", "dev", "publish", "tools"), *secrets) == []
    for secret in secrets:
        assert secret not in f"{added.stdout}{added.stderr}{log}"


def test_packages_are_installed_by_hand_without_a_password_in_sight(
    closed_project: Project, authority_and_index: tuple[Path, PackageIndex]
) -> None:
    authority_and_index[1].add("by-hand")
    closed_project.ok("env", "--refresh", "COMPOSE_FILE")  # programs trust the certificates, too
    closed_project.ok("up")
    closed_project.ok("exec", "uv", "pip", "install", "by-hand")
    container = closed_project.compose("ps", "--quiet", "dev").strip()
    seen = run("docker", "inspect", container).stdout + closed_project.compose("config")
    seen += closed_project.ok("exec", "env")
    assert PASSWORD not in seen
    assert "NETRC=/run/secrets/netrc" in seen
    assert closed_project.sh("run", "cat", "/run/secrets/netrc").returncode == 1


def test_a_password_in_the_url_of_an_index_is_refused(closed_project: Project) -> None:
    result = closed_project.sh(
        "build", env={"UV_DEFAULT_INDEX": f"https://jane:{PASSWORD}@index.example/simple"}
    )
    assert result.returncode != 0
    assert "NETRC_FILE" in result.stderr
    assert PASSWORD not in result.stderr
