"""Manifests of `submit`, as a real API server takes them; `.ci/api-server` starts these tests.

The server is Kubernetes 1.20.2, the newest that can be had from Debian. It refuses what it knows to
be wrong, and drops without a word what it does not know: so each test also compares what it keeps
with what it was given. `NEWER` is all that it may drop; test_clusters_kubernetes.py checks that by
the schema of 1.32. JobSet and TrainJob are custom resources with their published definitions, as
far as tests/samples/kubernetes.json has them.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.clusters import kubernetes
from host.clusters.job import SHELL, SSH, Code, Record, Request
from host.clusters.kubernetes_manifest import files
from host.project import Project, StopError
from tests.support.api_server import (
    ADMIN,
    LONGEST_START,
    MEMBER,
    NAMESPACE,
    RESTRICTED,
    ApiServer,
    api_server,
    path_of,
)
from tests.test_clusters_kubernetes import (
    ARCHIVE,
    CLAIMS,
    COMMIT,
    REQUESTS,
    SCHEMAS,
    SITES,
    TRAIN,
    documents,
    errors,
    make_job,
    make_site,
    pod_of,
    project,
)

PROGRAMS = os.environ.get("HEARTH_API_SERVER", "")
if not PROGRAMS:
    pytest.skip("HEARTH_API_SERVER names no kube-apiserver", allow_module_level=True)
__all__ = ["project"]  # the fixture

# Keys of a Job that came after 1.20, with the version that had each first.
NEWER = {
    "suspend": "1.21",
    "completionMode": "1.21",
    "podFailurePolicy": "1.25",
    "backoffLimitPerIndex": "1.28",
}
# Kinds of the cluster's admin that jobs name: group, version, scope, and the one that is there.
BARE = {
    "ClusterTrainingRuntime": ("trainer.kubeflow.org", "v1alpha1", "Cluster", "torch-distributed"),
    "LocalQueue": ("kueue.x-k8s.io", "v1beta1", "Namespaced", "gpu"),
}
GROUPS = {"JobSet": "jobset.x-k8s.io", "TrainJob": "trainer.kubeflow.org"}
EVERY = (*REQUESTS, TRAIN._replace(nodes=2, requeue=2))
ALL_SITES: dict[str, dict[str, Any]] = {
    **SITES,
    "all, jobset": {**SITES["all"], "kind": "jobset"},
    "all, trainjob": {**SITES["all"], "kind": "trainjob", "service_account": "jobs", "secret": ""},
}


# -------------------------------------------------------------------------------------- the cluster


def structural(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as definitions of resources have it: without references, each part with its type.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions
    """
    if "$ref" in schema:
        return structural(SCHEMAS["definitions"][schema["$ref"].rpartition("/")[2]])
    if "oneOf" in schema:  # a text or a number
        return {"x-kubernetes-int-or-string": True}
    found = {key: value for key, value in schema.items() if key != "additionalProperties"}
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        found["additionalProperties"] = structural(more)
    if "items" in schema:
        found["items"] = structural(schema["items"])
    if "properties" in schema:
        each = schema["properties"].items()
        found["properties"] = {name: structural(one) for name, one in each}
    return found


def definition(kind: str) -> dict[str, Any]:
    """The definition of a custom resource. What is not in its schema, the server drops."""
    schema = structural(SCHEMAS["definitions"][kind])
    version = SCHEMAS["definitions"][kind]["properties"]["apiVersion"]["enum"][0].partition("/")[2]
    schema["properties"].update(
        apiVersion={"type": "string"}, kind={"type": "string"}, metadata={"type": "object"}
    )
    plural, group = f"{kind.lower()}s", GROUPS[kind]
    one = {"name": version, "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # Groups of k8s.io want to know who has agreed.
            "annotations": {
                "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/jobset"
            },
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{**one, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def bare_definition(kind: str) -> dict[str, Any]:
    """The definition of a kind of which only names are asked for."""
    group, version, scope, _ = BARE[kind]
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    one = {"name": version, "served": True, "storage": True}
    about = {
        "name": f"{plural}.{group}",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs"},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": about,
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{**one, "schema": {"openAPIV3Schema": anything}}],
        },
    }


def objects_of_the_team() -> Iterator[dict[str, Any]]:
    """What an admin makes for a team: a namespace, its rights, and what site.toml names."""
    core, rights = "v1", "rbac.authorization.k8s.io/v1"
    here = {"namespace": NAMESPACE}
    yield {"apiVersion": core, "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    yield RESTRICTED
    rules = [
        {"apiGroups": ["policy"], "resources": ["podsecuritypolicies"], "verbs": ["use"]},
        {"apiGroups": [*GROUPS.values(), "kueue.x-k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["", "scheduling.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]},
    ]
    about = {"name": "team"}
    yield {"apiVersion": rights, "kind": "ClusterRole", "metadata": about, "rules": rules}
    subjects = [{"kind": "User", "name": MEMBER, "apiGroup": "rbac.authorization.k8s.io"}]
    # No controller runs that makes these two the roles `edit` and `view`.
    for name in ("team", "system:aggregate-to-edit", "system:aggregate-to-view"):
        role = {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": name}, "roleRef": role, "subjects": subjects}
        yield {"apiVersion": rights, "kind": "ClusterRoleBinding", **binding}
    for name in ("default", "jobs"):
        yield {"apiVersion": core, "kind": "ServiceAccount", "metadata": {"name": name, **here}}
    for name in ("tokens", "registry", "yes"):
        yield {"apiVersion": core, "kind": "Secret", "metadata": {"name": name, **here}}
    for claim in CLAIMS:
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        about = {"name": claim["claim"], **here}
        yield {"apiVersion": core, "kind": "PersistentVolumeClaim", "metadata": about, "spec": spec}
    yield {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 1000,
    }
    yield from map(definition, GROUPS)
    yield from map(bare_definition, BARE)


def named_things() -> Iterator[dict[str, Any]]:
    """What an admin makes of those kinds."""
    for kind, (group, version, scope, name) in BARE.items():
        about = {"name": name, **({"namespace": NAMESPACE} if scope == "Namespaced" else {})}
        yield {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": about}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster of which only the API server runs, with a team in it."""
    with api_server(Path(PROGRAMS), tmp_path_factory.mktemp("api-server")) as one:
        for document in objects_of_the_team():
            said = one.make(document, ADMIN)
            assert said.status == 201 or said.body.get("reason") == "AlreadyExists", said
        end = time.monotonic() + LONGEST_START
        for document in named_things():  # a new kind is served a moment after it is defined
            while one.make(document, ADMIN).status == 404:
                assert time.monotonic() < end, document
                time.sleep(0.2)
        for path in ("jobset.x-k8s.io/v1alpha2/jobsets", "trainer.kubeflow.org/v1alpha1/trainjobs"):
            while one.ask("GET", f"/apis/{path}", user=ADMIN).status == 404:
                assert time.monotonic() < end, path
                time.sleep(0.2)
        yield one


# ------------------------------------------------------------------------------------ what it keeps


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """The keys that the server did not keep, or changed; an empty value is none to it."""
    if isinstance(given, dict):
        for key, value in given.items():
            inner = kept.get(key) if isinstance(kept, dict) else None
            if not (key not in (kept or {}) and value in ("", {}, [], None)):
                yield from lost(value, inner, f"{path}.{key}")
    elif isinstance(given, list):
        # The server may add to a list, such as its own tolerations.
        many = kept if isinstance(kept, list) else []
        for number, (one, other) in enumerate(itertools.zip_longest(given, many[: len(given)])):
            yield from lost(one, other, f"{path}[{number}]")
    elif given != kept and str(given) != kept:  # a quantity is kept as a text
        yield path


def newer(document: dict[str, Any]) -> set[str]:
    """The keys of a Job that this server is too old for."""
    keys = {f".spec.{key}" for key in document.get("spec", {}) if key in NEWER}
    return keys if document["kind"] == "Job" else set()


def cases(project: Project) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The manifests of all jobs, with the sites that they are for."""
    for (name, values), request, code in itertools.product(
        ALL_SITES.items(), EVERY, (COMMIT, ARCHIVE)
    ):
        try:
            job = make_job(project, make_site(**copy.deepcopy(values)), request, code)
        except StopError:  # what cannot be asked of this kind, which other tests look at
            continue
        yield f"{name}: {request}", list(documents(files(job)))


def test_the_server_takes_every_manifest(server: ApiServer, project: Project) -> None:
    """As a dry run and for good, and keeps all that it knows of it."""
    counts: dict[str, int] = {}
    for number, (what, every) in enumerate(cases(project)):
        for document in every:
            document["metadata"]["name"] += f"-{number}"
            dry = server.make(document, dry=True)
            assert dry.status == 201, (what, dry.body["message"])
            made = server.make(document)
            assert made.status == 201, (what, made.body["message"])
            kept = server.ask("GET", path_of_object(document)).body
            assert {one.split("[")[0] for one in drop(document, kept)} == newer(document), what
            assert not errors(document)  # by the newer schema
            counts[document["kind"]] = counts.get(document["kind"], 0) + 1
    print("taken and kept:", json.dumps(counts))
    assert counts.keys() == {"Job", "JobSet", "TrainJob", "Service", "ConfigMap"}


def drop(document: dict[str, Any], kept: dict[str, Any]) -> set[str]:
    """The keys of a manifest that the server did not keep, down to those that it does not know."""
    found = lost(document, kept)
    return {".".join(one.split(".")[:3]) if is_newer(one) else one for one in found}


def is_newer(path: str) -> bool:
    """Whether a key, or the one that it is in, came after this server."""
    parts = path.split(".")
    return len(parts) > 2 and parts[1] == "spec" and parts[2].split("[")[0] in NEWER


def path_of_object(document: dict[str, Any]) -> str:
    """Where an object is asked for."""
    return f"{path_of(document)}/{document['metadata']['name']}"


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("job", "restartPolicy: Never", "restartPolicy: Always"),
        ("job", "mountPath: /tmp", "path: /tmp"),
        ("job", "memory: 32Gi", "memory: 32Gb"),
        ("job", "  name: train\n", "  name: Train_1\n"),
        ("job", "name: shm, mountPath", "name: shn, mountPath"),
        ("jobset", "backoffLimit: 0", "backoffLimit: none"),
        ("jobset", "name: node\n", "nam: node\n"),
        ("trainjob", "numNodes: 2", "numNodes: two"),
    ],
)
def test_the_server_refuses_mistakes(
    server: ApiServer, project: Project, kind: str, old: str, new: str
) -> None:
    job = make_job(project, make_site(kind=kind), TRAIN._replace(nodes=1 + (kind != "job")))
    (text,) = files(job).values()
    assert old in text
    said = server.make(yaml.safe_load(text.replace(old, new, 1)), dry=True)
    assert said.status in (400, 422), said


def test_the_server_names_what_it_does_not_keep(server: ApiServer, project: Project) -> None:
    (text,) = files(make_job(project, make_site(), TRAIN)).values()
    document = yaml.safe_load(text.replace("backoffLimit:", "backofLimit:"))
    kept = server.make(document, dry=True)
    assert kept.status == 201
    assert [*lost(document, kept.body)] == [".spec.backofLimit"]


# ----------------------------------------------------------------------------------------- the pods


@pytest.mark.parametrize("site_name", ["plain", "jobset", "all", "all, jobset"])
def test_the_restricted_policy_lets_pods_in(
    server: ApiServer, project: Project, site_name: str
) -> None:
    """Nobody makes the pods of these jobs here: the test does, as a user with that policy alone."""
    site = make_site(**copy.deepcopy(ALL_SITES[site_name]))
    for number, nodes in enumerate((1, 2)):
        request = TRAIN._replace(nodes=nodes, seconds=600)
        spec = pod_of(next(documents(files(make_job(project, site, request, ARCHIVE)))))
        name = f"{site_name.replace(', ', '-')}-{number}"
        about = {"name": name, "namespace": NAMESPACE}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
        said = server.make(pod)
        assert said.status == 201, said.body["message"]
        policy = said.body["metadata"]["annotations"]["kubernetes.io/psp"]
        assert policy == "restricted"
        assert not [*lost(spec, said.body["spec"])]


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("pod", "hostNetwork", True),
        ("pod", "securityContext", {"runAsUser": 0}),
        ("container", "securityContext", {"privileged": True}),
        ("container", "securityContext", {}),  # not a read-only root, and may gain rights
    ],
)
def test_the_restricted_policy_refuses_others(
    server: ApiServer, project: Project, where: str, key: str, value: Any
) -> None:
    spec = pod_of(next(documents(files(make_job(project, make_site(), TRAIN)))))
    (spec if where == "pod" else spec["containers"][0])[key] = value
    about = {"name": "other", "namespace": NAMESPACE}
    said = server.make(
        {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}, dry=True
    )
    if value == {}:  # the policy sets what is not set
        assert said.body["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        return
    assert said.status == 403
    assert "PodSecurityPolicy" in said.body["message"]


# --------------------------------------------------------------------------------------- the client


@pytest.fixture
def client(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """The same cluster, and Debian's kubectl for it, with a home for what it remembers."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
    return server


def record_of(name: str, number: str) -> Record:
    """A job that was handed over."""
    empty = ("kubernetes", name, number, "", ("true",), "", "", "", "", 1, 1, "")
    return Record(*empty, folder=Path(name))


# All that a site can say, but for its folders, which `submit` would make on this machine.
KNOWN = {key: value for key, value in SITES["all"].items() if key != "storage"}
OF_CLIENT: dict[str, dict[str, Any]] = {
    "job": {**KNOWN, "queue": ""},  # this kubectl refuses `suspend`, which is newer
    "jobset": {**KNOWN, "kind": "jobset"},
    "trainjob": {**KNOWN, "kind": "trainjob", "service_account": "jobs", "secret": ""},
}


@pytest.mark.parametrize(
    ("kind", "request_", "code"),
    [
        ("job", TRAIN._replace(name="one"), COMMIT),
        ("job", TRAIN._replace(name="archive", verify=True), ARCHIVE),
        ("job", TRAIN._replace(name="door", command=(), door=SSH), COMMIT),
        ("job", TRAIN._replace(name="shell", command=(), door=SHELL), COMMIT),
        ("jobset", TRAIN._replace(name="set", nodes=2, requeue=1), ARCHIVE),
        ("trainjob", TRAIN._replace(name="trainer", nodes=2), COMMIT),
    ],
)
def test_kubectl_hands_over_looks_and_cancels(
    client: ApiServer, project: Project, kind: str, request_: Request, code: Code
) -> None:
    """Submit, jobs and cancel, with the real client; the name is taken until it is cancelled."""
    site, scheduler = make_site(**copy.deepcopy(OF_CLIENT[kind])), kubernetes.SCHEDULER
    scheduler.check(project, site, request_)
    job = make_job(project, site, request_, code)
    number = scheduler.submit(job)
    assert number.endswith(f"/{request_.name}")
    record = record_of(request_.name, number)
    assert scheduler.states(project, site, (record,)) == {request_.name: "Pending"}
    with pytest.raises(StopError) as stopped:
        scheduler.check(project, site, request_)
    assert stopped.value.name == "kubernetes-name-taken"
    brought = [name for name in ("code", "ssh") if (job.folder / f"{name}.yaml").exists()]
    assert len(brought) == (code is ARCHIVE) + (request_.door == SSH)
    for name in brought:
        where = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{request_.name}-{name}"
        (owner,) = client.ask("GET", where).body["metadata"]["ownerReferences"]
        assert owner["name"] == request_.name
    scheduler.cancel(project, site, record)
    gone = client.ask("GET", path_of_object(next(documents(files(job)))))
    assert gone.status == 404 or gone.body["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize(
    ("values", "failure"),
    [
        ({"queue": "gpus"}, "kubernetes-missing"),
        ({"priority_class": "low"}, "kubernetes-missing"),
        ({"image_pull_secrets": ["other"]}, "kubernetes-missing"),
        ({"secret": "other"}, "kubernetes-no-secret"),
        ({"context": "other"}, "kubernetes-context"),
    ],
)
@pytest.mark.usefixtures("client")
def test_what_the_cluster_lacks_is_said_before(
    project: Project, values: dict[str, Any], failure: str
) -> None:
    site = make_site(**{**copy.deepcopy(KNOWN), **values})
    with pytest.raises(StopError) as stopped:
        kubernetes.SCHEDULER.check(project, site, TRAIN)
    assert stopped.value.name == failure


@pytest.mark.usefixtures("client")
def test_what_the_cluster_says_no_to_is_one_sentence(project: Project) -> None:
    job = make_job(project, make_site(), TRAIN._replace(name="refused"))
    main = job.folder / "job.yaml"
    main.write_text(main.read_text().replace("memory: 32Gi", "memory: 32Gb"))
    with pytest.raises(StopError) as stopped:
        kubernetes.SCHEDULER.submit(job)
    assert stopped.value.name == "kubernetes-refused"
    assert "quantit" in str(stopped.value)
