"""CI of a generated project: the steps of its workflow, run as a hosting service would run them.

The engine is the second one, which keeps images in containerd's store as `ci engine` wants it.
Each run starts from a fresh clone without .env; the registry is on 127.0.0.1.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.engine.conftest import MakeProject
from tests.engine.test_daily_work import git
from tests.support.build_log import stages_built
from tests.support.engine import GPU_HOST, gpu_host_problem, need
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.registry import Registry
from tests.support.workflow import github_steps, read

REPOSITORY = "Some-Body/My.Work"
TAG = "v1.2.3"
PASSWORD = "netrc-canary"  # of an index, in a file of the machine that builds
TOKEN = "quiet-lamp-under-the-stairs"
ORIGIN = f"https://ci-token:{TOKEN}@git.example/team/work.git"  # as GitLab's runner clones
INDEXES = "application/vnd.oci.image.index.v1+json"
MANIFESTS = "application/vnd.oci.image.manifest.v1+json"
# What docker/buildkit-syft-scanner does, by the protocol of BuildKit: it lists what is installed.
SCANNER = """\
FROM debian:bookworm-slim
COPY <<'SCAN' /scan
#!/bin/sh
set -eu
packages=$(sed -n 's/^Package: //p' "$BUILDKIT_SCAN_SOURCE/var/lib/dpkg/status" |
    sed 's/.*/{"name": "&", "SPDXID": "SPDXRef-&"},/')
python=$(cd "$BUILDKIT_SCAN_SOURCE/opt/venv/lib" && ls -d python3*/site-packages/*.dist-info |
    sed 's|.*/||; s/-.*//; s/.*/{"name": "&", "SPDXID": "SPDXRef-&"},/')
{
    printf '{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": '
    printf '"https://spdx.dev/Document", "predicate": {"spdxVersion": "SPDX-2.3", '
    printf '"SPDXID": "SPDXRef-DOCUMENT", "packages": [%s %s]}}' "$packages" "${python%,}"
} >"$BUILDKIT_SCAN_DESTINATION/scan.spdx.json"
SCAN
RUN chmod 755 /scan
ENTRYPOINT ["/scan"]
"""
INSIDE = """\
from pathlib import Path


def test_this_runs_in_the_container():
    assert Path("/opt/container/entrypoint.sh").exists()
    assert Path.cwd() == Path("/workspace")
"""

Results = dict[str, subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Service:
    """What stands for the hosting service: it runs the steps of a job in a fresh clone."""

    origin: Project
    registry: Registry
    more: Mapping[str, str]

    @property
    def image(self) -> str:
        """The name under which it publishes."""
        return f"{self.registry.address}/{REPOSITORY.lower()}"

    def clone(self, name: str) -> Project:
        """A fresh clone, as a checkout makes it."""
        folder = self.origin.folder.parent / name
        shutil.rmtree(folder, ignore_errors=True)
        source = str(self.origin.folder)
        done = self.origin.owner.run(
            *("git", "clone", "--quiet", source, str(folder)), cwd=folder.parent
        )
        assert done.returncode == 0, done.stderr
        checkout = Project(folder, self.origin.owner)
        git(checkout, "remote", "set-url", "origin", ORIGIN)
        return checkout

    def run(
        self, checkout: Project, job: str, ref: str = "main", only: Collection[str] = ()
    ) -> Results:
        """The steps of a job, up to the first that fails and those that always run; by verb.

        `only` names the verbs to run, if not all.
        """
        kind = "tag" if ref.startswith("v") else "branch"
        holds = {
            "": True,
            "always()": True,
            "github.ref_type == 'tag'": kind == "tag",
        }
        values = {"github.repository": REPOSITORY, "github.actor": "me", "github.token": TOKEN}
        results: Results = {}
        for step in github_steps(
            read(checkout.folder / ".github/workflows/image.yml"), job, values
        ):
            failed = any(result.returncode for result in results.values())
            left_out = only and step.verb not in only
            if left_out or not holds[step.condition] or (failed and step.condition != "always()"):
                continue
            env = {**self.more, **step.env, "GITHUB_REF_NAME": ref, "CI": "true"}
            env["IMAGE"] = env["IMAGE"].replace("ghcr.io", self.registry.address)
            results[step.verb] = checkout.owner.run(
                *("bash", "-e", "-c", step.run), cwd=checkout.folder, env=env
            )
        return results

    def fetch(self, path: str, accept: str = "*/*") -> Any:
        """What the registry has there, as JSON."""
        repository = self.image.partition("/")[2]
        url = f"http://{self.registry.address}/v2/{repository}/{path}"
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)

    def attestations(self, tag: str) -> dict[str, Any]:
        """What stands beside an image in the registry: kind of statement to the statement."""
        found = {}
        for row in self.fetch(f"manifests/{tag}", INDEXES)["manifests"]:
            if row.get("annotations", {}).get("vnd.docker.reference.type"):
                for layer in self.fetch(f"manifests/{row['digest']}", MANIFESTS)["layers"]:
                    kind = layer["annotations"]["in-toto.io/predicate-type"]
                    found[kind] = self.fetch(f"blobs/{layer['digest']}")["predicate"]
        return found


def engine(*arguments: str, text: str | None = None) -> str:
    result = run("docker", "--host", GPU_HOST, *arguments, input=text)
    assert result.returncode == 0, result.stderr
    return result.stdout


def steps_of(log: str) -> dict[str, int]:
    """How many RUN and COPY each image stands on; the log has a build for each of the two."""
    found = {}
    for part in re.split(r"(?m)^#1 ", log):
        steps = re.findall(r"(?m)^#\d+ \[([\w-]+) +(\d+)/\d+\] (?!FROM)", part)
        for target in ("runtime", "dev"):
            if target in (stage for stage, _ in steps):
                found[target] = len({*steps})
    return found


def said(results: Results) -> str:
    return "\n".join(f"{verb}: {r.returncode}\n{r.stdout}{r.stderr}" for verb, r in results.items())


@pytest.fixture(scope="module")
def service(
    project: MakeProject, jane: Person, registry: Registry, index: PackageIndex
) -> Iterator[Service]:
    """A repository with everything committed, and a registry that has a scanner and no cache."""
    need(gpu_host_problem())
    runner = replace(jane, more=(("DOCKER_HOST", GPU_HOST),))
    origin = project("my-work", owner=runner, extras=["ci"])
    for name, packages in {"build": "git", "dev": "", "runtime": ""}.items():
        origin.write(f"docker-amd64/dependencies/apt-{name}.txt", packages)
    origin.write("tests/test_inside.py", INSIDE)
    origin.ok("lock")
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "all there is")
    scanner = f"{registry.address}/scanner:1"
    engine("build", "--quiet", "--tag", scanner, "-", text=SCANNER)
    engine("push", "--quiet", scanner)
    engine("image", "rm", scanner)
    netrc = origin.folder.parent / "netrc"
    netrc.write_text(f"machine nowhere.example login jane password {PASSWORD}\n")
    netrc.chmod(0o644)
    more = {"SBOM_GENERATOR": scanner, "NETRC_FILE": str(netrc)}
    made = Service(origin, registry, index.env() | more)
    yield made
    for name in ("first", "second", "third"):
        folder = origin.folder.parent / name
        if (folder / "docker-amd64/.env").exists():
            Project(folder, runner).sh("clean", "--all")
    for tag in engine("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
        if tag.startswith(registry.address):
            engine("image", "rm", tag)


@pytest.fixture(scope="module")
def checked(service: Service) -> Results:
    """The first job of a push that is the first one: nothing is in the registry yet."""
    return service.run(service.clone("first"), "check")


@pytest.fixture(scope="module")
def published(service: Service, checked: Results) -> Results:
    """The second job, for a tag, on another machine."""
    assert not any(result.returncode for result in checked.values()), said(checked)
    return service.run(service.clone("second"), "publish", TAG)


def test_every_step_of_the_first_job_passes_from_a_clone_without_env(checked: Results) -> None:
    assert not any(result.returncode for result in checked.values()), said(checked)
    assert list(checked) == [
        *("markers", "engine", "login", "lint", "lock", "build", "style", "test", "logout")
    ]
    assert stages_built(checked["build"].stderr) >= {"deps", "dev", "runtime"}
    assert checked["style"].stdout == "All checks passed!\n"


def test_the_projects_own_tests_ran_inside(checked: Results) -> None:
    assert "tests/test_inside.py ." in checked["test"].stdout
    assert " 2 passed" in checked["test"].stdout


def test_the_second_job_publishes_the_tag(service: Service, published: Results) -> None:
    assert not any(result.returncode for result in published.values()), said(published)
    tags = service.registry.tags(REPOSITORY.lower())
    assert tags == {TAG, "cache-dev", "cache-runtime"}


def test_the_published_image_has_a_list_of_its_packages_and_says_how_it_was_made(
    service: Service, published: Results
) -> None:
    assert not published["publish"].returncode, said(published)
    found = service.attestations(TAG)
    (sbom,) = (text for kind, text in found.items() if "spdx" in kind)
    (provenance,) = (text for kind, text in found.items() if "slsa" in kind)
    names = {package["name"] for package in sbom["packages"]}
    assert {"base-files", "setuptools"} <= names
    assert "pytest" not in names  # it is in dev only
    text = json.dumps(provenance)
    assert service.more["UV_DEFAULT_INDEX"] in text  # all details, arguments among them
    commit = git(service.origin, "rev-parse", "HEAD").strip()
    assert commit in text
    assert "git.example/team/work" in text
    for argument in ('USRID": "1000"', 'GRPID": "1000"', 'USRNAME": "user"', 'GRPNAME": "user"'):
        assert f'"build-arg:{argument}' in text
    assert PASSWORD not in json.dumps(found)
    for personal in ("jane", TOKEN, str(service.origin.folder.parent)):
        assert personal not in text


def test_the_registry_has_every_layer_and_the_next_build_takes_them_from_there(
    service: Service, checked: Results, published: Results
) -> None:
    """Of the later stages BuildKit may miss some: https://github.com/moby/buildkit/issues/4674."""
    assert not published["build"].returncode, said(published)
    steps = steps_of(checked["build"].stderr)
    for target in ("runtime", "dev"):
        config = service.fetch(f"manifests/cache-{target}", MANIFESTS)["config"]["digest"]
        records = service.fetch(f"blobs/{config}")["records"]
        kept = sum(1 for record in records if record.get("layers"))
        assert kept >= steps[target], f"{target} has {steps[target]} steps, {kept} are kept"
    for name in ("first", "second"):
        Project(service.origin.folder.parent / name, service.origin.owner).ok("clean", "--all")
    engine("image", "rm", f"{service.image}:{TAG}")
    # Layers only: what packages were downloaded stays for other tests.
    engine("builder", "prune", "--all", "--force", "--filter", "type=regular")
    results = service.run(service.clone("third"), "check", only=("build",))
    assert not any(result.returncode for result in results.values()), said(results)
    build = results["build"].stderr
    assert f"importing cache manifest from {service.image}:cache-dev" in build
    assert f"importing cache manifest from {service.image}:cache-runtime" in build
    assert "builder" not in stages_built(build), build


def test_a_lock_that_does_not_fit_fails_before_anything_is_built(
    service: Service, published: Results
) -> None:
    assert not published["build"].returncode
    checkout = service.clone("first")
    path = "docker-amd64/dependencies/pyproject.toml"
    text = (checkout.folder / path).read_text()
    checkout.write(path, text.replace("dependencies = []", 'dependencies = ["iniconfig"]'))
    results = service.run(checkout, "check")
    assert list(results)[-2:] == ["lock", "logout"]
    assert results["lock"].returncode
    assert "(failure: lock-stale)\n" in results["lock"].stderr
    assert results["lock"].stderr.endswith("  Run: ./docker-amd64/template.sh lock\n")
    (checkout.docker / "dependencies/uv.lock").unlink()
    results = service.run(checkout, "check")
    assert (
        "\nThere is no dependencies/uv.lock yet. (failure: lock-missing)\n"
        in results["lock"].stderr
    )


def test_a_conflict_marker_is_met_before_anything_else(service: Service) -> None:
    checkout = service.clone("first")
    checkout.write("notes.txt", "<<<<<<< before updating\n=======\n>>>>>>> after updating\n")
    results = service.run(checkout, "check")
    assert list(results) == ["markers", "logout"]
    assert "notes.txt:1:<<<<<<< before updating\n" in results["markers"].stderr


def test_a_failing_test_and_code_that_ruff_dislikes_fail(
    service: Service, published: Results
) -> None:
    assert not published["build"].returncode
    checkout = service.clone("first")
    results = service.run(checkout, "check", only=("build",))
    assert not any(result.returncode for result in results.values()), said(results)
    checkout.write("tests/test_inside.py", "import os\n\n\ndef test_wrong():\n    assert False\n")
    env = {**service.more, "IMAGE": service.image}
    for verb, words in {"style": "`os` imported but unused", "test": "1 failed, 1 passed"}.items():
        command = ("docker-amd64/template.sh", "ci", verb)
        result = checkout.owner.run(*command, cwd=checkout.folder, env=env)
        assert result.returncode, verb
        assert words in result.stdout
