"""The image of a job is one digest, which the registry says or a file was made of."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from host import registry_client
from host.clusters import image
from host.clusters.job import JUPYTER, SHELL, Image, Request, Scheduler
from host.clusters.site import Site
from host.project import Project, StopError
from host.registry import DEFAULT_USER, answers_digest, names_of, publish_file
from tests.support.certificates import make_authority
from tests.support.program import PROJECT
from tests.support.published import BASIC, PASSWORD, TOKEN, USER, StandIn, stand_in
from tests.support.serving import listening

REQUEST = Request("slurm", "train", ("python", "train.py"))
ANSWERS = "io.hearth.answers.digest"
LOCAL = f"sha256:{'1f' * 32}"
OLDER = f"sha256:{'0e' * 32}"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on a machine without an engine, whose user has no login anywhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(key, raising=False)
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "CA_BUNDLE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(image, "image_id", lambda _: "")
    folder = tmp_path / "work/docker-amd64"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    (folder.parent / ".copier-answers.yml").write_text("answers\n")
    return Project(folder, PROJECT)


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
def registry(server: StandIn) -> StandIn:
    """A registry that has nothing yet."""
    server.asks = server.elsewhere = ""
    server.realm = None
    server.status = 0
    server.content.clear()
    server.seen.clear()
    return server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of the site's files."""
    folder = tmp_path / "images of 'us'"
    folder.mkdir()
    return folder


def set_env(project: Project, **values: str) -> None:
    lines = {"COMPOSE_PROJECT_NAME": "demo", **values}
    text = "".join(f"{key}='{value}'\n" for key, value in lines.items())
    (project.folder / ".env").write_text(text)
    project.forget_settings()


def log_in(project: Project, registry: StandIn, **entry: str) -> None:
    """Give the user a login, as docker login keeps it."""
    file = project.root.parent / ".docker/config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"auths": {registry.address: entry}}))


def image_of(project: Project, kind: str = "registry", door: str = "", **keys: str) -> Image:
    site = Site(Path("site.toml"), {"image": {"name": "", "dev": "", "files": "", **keys}})
    none = cast("Any", None)
    kinds = lambda _: kind  # noqa: E731
    scheduler = Scheduler("sbatch", kinds, none, none, none, none, none, none, none, none)
    return image.image_of_job(project, site, REQUEST._replace(door=door), scheduler)


def refused(project: Project, kind: str = "registry", door: str = "", **keys: str) -> str:
    with pytest.raises(StopError) as caught:
        image_of(project, kind, door, **keys)
    assert PASSWORD not in str(caught.value)
    assert caught.value.command
    return caught.value.name


def name_in(registry: StandIn, tag: str = ":v1") -> str:
    return f"{registry.address}/team/demo{tag}"


# -------------------------------------------------------------------------------- a registry


def test_a_name_is_the_digest_that_the_registry_says(work: Project, registry: StandIn) -> None:
    digest = registry.push("v1", {ANSWERS: "sha256:abc"})
    found = image_of(work, name=name_in(registry))
    assert found == Image(name_in(registry), digest, "sha256:abc")
    assert found.pinned == f"{registry.address}/team/demo@{digest}"


def test_without_a_tag_it_is_latest(work: Project, registry: StandIn) -> None:
    digest = registry.push("latest", {})
    assert image_of(work, name=name_in(registry, "")).digest == digest


def test_of_several_architectures_the_digest_is_the_index(work: Project, registry: StandIn) -> None:
    digest = registry.push("v1", {ANSWERS: "sha256:abc"}, index="amd64")
    assert image_of(work, name=name_in(registry)) == Image(name_in(registry), digest, "sha256:abc")
    registry.push("v2", {}, index="arm64")
    assert refused(work, name=name_in(registry, ":v2")) == "cluster-image-platform"


def test_other_answers_and_another_project_are_said(
    work: Project, registry: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    title = "org.opencontainers.image.title"
    registry.push("v1", {ANSWERS: answers_digest(work), title: "demo"})
    image_of(work, name=name_in(registry))
    assert not capsys.readouterr().err
    registry.push("v1", {ANSWERS: "sha256:abc", title: "other"})
    image_of(work, name=name_in(registry))
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("asks", ["basic", "bearer"])
def test_the_login_of_the_user_is_used(work: Project, registry: StandIn, asks: str) -> None:
    registry.asks, digest = asks, registry.push("v1", {})
    assert refused(work, name=name_in(registry)) == "registry-login"
    log_in(work, registry, auth=BASIC.split()[1])
    assert image_of(work, name=name_in(registry)).digest == digest


def test_an_identity_token_is_a_login_too(work: Project, registry: StandIn) -> None:
    registry.asks, digest = "bearer", registry.push("v1", {})
    log_in(work, registry, identitytoken="an-identity")
    assert image_of(work, name=name_in(registry)).digest == digest


def test_a_credential_helper_is_asked(
    work: Project, registry: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.asks, digest = "basic", registry.push("v1", {})
    (work.root / "docker-credential-safe").write_text(
        f'#!/bin/sh\n[ "$1 $(cat)" = "get {registry.address}" ] || exit 1\n'
        f'echo \'{{"Username": "{USER}", "Secret": "{PASSWORD}"}}\'\n'
    )
    (work.root / "docker-credential-safe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{work.root}:/usr/bin:/bin")
    log_in(work, registry)
    file = work.root.parent / ".docker/config.json"
    file.write_text(json.dumps({"credsStore": "safe"}))
    assert image_of(work, name=name_in(registry)).digest == digest
    file.write_text(json.dumps({"credHelpers": {registry.address: "gone"}}))
    assert refused(work, name=name_in(registry)) == "registry-login"


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"auths": []}', '{"auths": {"ADDRESS": {"auth": "$"}}}', '{"credsStore": 1}'],
)
def test_a_strange_file_of_logins_has_none(work: Project, registry: StandIn, text: str) -> None:
    registry.asks = "basic"
    log_in(work, registry)
    file = work.root.parent / ".docker/config.json"
    file.write_text(text.replace("ADDRESS", registry.address))
    assert refused(work, name=name_in(registry)) == "registry-login"


def test_no_other_host_gets_the_login(work: Project, registry: StandIn) -> None:
    registry.asks = "bearer"
    digest = registry.push("v1", {ANSWERS: "sha256:abc"})
    log_in(work, registry, auth=BASIC.split()[1])
    with stand_in() as other:
        other.content = registry.content
        registry.elsewhere = other.address
        assert image_of(work, name=name_in(registry)) == Image(
            name_in(registry), digest, "sha256:abc"
        )
        assert [login for _, _, login in other.seen] == [""]
    assert f"Bearer {TOKEN}" in {login for _, _, login in registry.seen}


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, "registry-login"),
        (403, "registry-login"),
        (404, "registry-image-missing"),
        (429, "registry-limit"),
        (500, "cluster-registry-silent"),
    ],
)
def test_each_refusal_of_a_registry_has_its_words(
    work: Project, registry: StandIn, status: int, failure: str
) -> None:
    registry.status = status
    assert refused(work, name=name_in(registry)) == failure


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b"[" * 200_000, b"{" + b" " * (4 * 2**20) + b"}"]
)
def test_what_is_no_manifest_is_refused(work: Project, registry: StandIn, body: bytes) -> None:
    registry.content["v1"] = ("application/vnd.oci.image.manifest.v1+json", body)
    assert refused(work, name=name_in(registry)) == "cluster-registry-silent"


@pytest.mark.parametrize("realm", ["", "http://[", "http://registry.invalid/token", "file:///etc"])
def test_a_strange_address_for_tokens_is_not_asked(
    work: Project, registry: StandIn, realm: str
) -> None:
    registry.asks, registry.realm = "bearer", realm
    assert refused(work, name=name_in(registry)) == "cluster-registry-silent"
    assert len(registry.seen) == 1


def test_an_answer_without_an_end_is_not_waited_for(
    work: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(registry_client, "LONGEST", 0.2)
    with listening(Slow, "127.0.0.1", None) as url:
        name = f"{url.partition('://')[2]}/team/demo:v1"
        assert refused(work, name=name) == "cluster-registry-silent"


def test_a_registry_that_does_not_answer(work: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "LIMIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}/team/demo"
        assert refused(work, name=name) == "cluster-registry-silent"
    assert refused(work, name=name) == "cluster-registry-silent"


def test_without_tls_only_this_machine_is_spoken_to(work: Project) -> None:
    with stand_in("127.0.0.2") as registry:
        registry.push("v1", {})
        assert refused(work, name=name_in(registry)) == "registry-without-tls"
        assert not registry.seen


def test_a_certificate_counts_if_ca_bundle_has_its_authority(work: Project, tmp_path: Path) -> None:
    authority, context = make_authority(tmp_path, "127.0.0.2")
    with stand_in("127.0.0.2", context) as registry:
        digest = registry.push("v1", {})
        assert refused(work, name=name_in(registry)) == "cluster-registry-certificate"
        set_env(work, CA_BUNDLE=str(authority))
        assert image_of(work, name=name_in(registry)).digest == digest


def test_the_proxy_of_env_is_asked_but_not_for_this_machine(
    work: Project, registry: StandIn
) -> None:
    with stand_in() as proxy:
        set_env(work, HTTPS_PROXY=f"http://{proxy.address}", HTTP_PROXY="http://127.0.0.1:1")
        assert refused(work, name="registry.invalid/team/demo:1") == "cluster-registry-silent"
        registry.push("v1", {})
        image_of(work, name=name_in(registry))
        assert not proxy.seen  # it knows no CONNECT


@pytest.mark.parametrize(
    "name", ["", "demo", "Registry/Team", "reg.example/a b", "reg.example/a;x"]
)
def test_a_name_that_cannot_be_is_refused(work: Project, name: str) -> None:
    assert refused(work, name=name) == ("image-name" if name else "cluster-image-unnamed")


# ------------------------------------------------------------------------------------- files


def put_file(folder: Path, of: Image, *, dev: bool = False) -> Path:
    """What sif leaves."""
    file = folder / f"demo-{'dev-' if dev else ''}{of.digest[7:19]}.sif"
    file.write_bytes(b"whole")
    image.description_of(file).write_text(image.about_text(of, 5))
    return file


def test_a_file_is_the_one_of_the_digest_that_the_registry_says(
    work: Project, registry: StandIn, files: Path
) -> None:
    digest = registry.push("v1", {ANSWERS: "sha256:abc"})
    keys = {"name": name_in(registry), "files": str(files)}
    put_file(files, Image(name_in(registry), OLDER))
    assert refused(work, "sif", **keys) == "cluster-image-file"
    file = put_file(files, Image(name_in(registry), digest))
    assert image_of(work, "sif", **keys) == Image(name_in(registry), digest, "sha256:abc", file)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
def test_a_file_of_another_user_is_said(
    work: Project, registry: StandIn, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"name": name_in(registry), "files": str(files)}
    file = put_file(files, Image(name_in(registry), registry.push("v1", {})))
    image_of(work, "sif", **keys)
    assert str(file) not in capsys.readouterr().err
    os.chown(file, 54321, 54321)
    assert image_of(work, "sif", **keys).file == file
    err = capsys.readouterr().err
    assert str(file) in err
    assert "54321" in err


def test_without_a_name_it_is_the_image_of_this_machine(
    work: Project, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(work, "sif", files=str(files)) == "cluster-image-nowhere"
    monkeypatch.setattr(image, "image_id", {"demo:simple-runtime": LOCAL}.get)
    monkeypatch.setattr(image, "label", lambda *_: "")
    with pytest.raises(StopError) as caught:
        image_of(work, "sqsh", files=str(files))
    assert caught.value.command.endswith("template.sh sqsh")
    file = put_file(files, Image("", LOCAL))
    assert image_of(work, "sif", files=str(files)) == Image("", LOCAL, "", file)


def test_where_nothing_can_be_asked_it_is_the_newest_file(
    work: Project, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = StandIn("127.0.0.1:1")
    keys = {"name": name_in(closed), "files": str(files)}
    put_file(files, Image("elsewhere.example/team/demo", LOCAL))
    assert refused(work, "sif", **keys) == "cluster-registry-silent"
    put_file(files, Image(name_in(closed), OLDER), dev=True)
    file = put_file(files, Image(name_in(closed), OLDER, "sha256:abc"))
    assert image_of(work, "sif", **keys) == Image(name_in(closed), OLDER, "sha256:abc", file)
    assert str(file) in capsys.readouterr().err


def test_a_file_that_was_copied_in_part_is_refused(
    work: Project, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "image_id", {"demo:simple-runtime": LOCAL}.get)
    monkeypatch.setattr(image, "label", lambda *_: "")
    file = put_file(files, Image("", LOCAL))
    file.write_bytes(b"who")
    assert refused(work, "sif", files=str(files)) == "cluster-image-file"
    assert image.of_file(file) is None


@pytest.mark.parametrize("folder", ["", "images", "/no/such folder"])
def test_a_folder_of_files_that_is_not_there(work: Project, folder: str) -> None:
    assert refused(work, "sif", files=folder) == (
        "cluster-storage-missing" if folder.startswith("/") else "cluster-files-unnamed"
    )


# --------------------------------------------------------------------------- interactive jobs


def test_an_interactive_job_has_the_dev_image(
    work: Project, registry: StandIn, files: Path
) -> None:
    registry.push("v1", {})
    keys = {"name": name_in(registry), "dev": name_in(registry, ":dev")}
    with pytest.raises(StopError) as caught:
        image_of(work, door=JUPYTER, **keys)
    assert caught.value.command.endswith(f"template.sh publish --dev {keys['dev']}")
    digest = registry.push("dev", {})
    assert image_of(work, door=JUPYTER, **keys).digest == digest
    file = put_file(files, Image("", digest), dev=True)
    assert image_of(work, "sif", SHELL, files=str(files), **keys).file == file


def test_without_a_dev_image_there_is_a_shell_only(work: Project, registry: StandIn) -> None:
    digest = registry.push("v1", {"n": "1"})
    assert image_of(work, door=SHELL, name=name_in(registry)).digest == digest
    assert refused(work, door=JUPYTER, name=name_in(registry)) == "cluster-image-dev"


# ------------------------------------------------------------------------------ publish --dev


def test_the_dev_image_for_others_has_no_person_and_names_of_its_own(
    work: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USRID", "4711")
    name, *more = names_of("reg.example/team/demo", "0123456789abcdef", dev=True)
    assert [name, *more] == ["reg.example/team/demo:dev", "reg.example/team/demo:dev-0123456789ab"]
    assert names_of("reg.example/team/demo:v1", "", dev=True) == ["reg.example/team/demo:v1"]
    ((service, known),) = yaml.safe_load(publish_file(work, name, "", dev=True))["services"].items()
    assert (service, known["image"]) == ("dev", name)
    assert known["build"]["args"] == DEFAULT_USER
    assert known["build"]["labels"][ANSWERS] == answers_digest(work)
