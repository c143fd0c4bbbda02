"""Jobs on Kubernetes: manifests that a cluster takes, and what is refused before it sees one."""

from __future__ import annotations

import base64
import functools
import io
import itertools
import json
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from host.clusters import kubernetes
from host.clusters.claims import make_folders
from host.clusters.job import JUPYTER, SHELL, SSH, Code, Image, Job, Record, Request
from host.clusters.kubernetes_manifest import CODE, MAIN, SSH_FILE, UNPACK, files
from host.clusters.kubernetes_volumes import folders_here
from host.clusters.site import Site
from host.clusters.yaml_text import Inline, Lines, Note, Row, yaml_text
from host.project import Project, StopError
from tests.support.cluster_job import site_of, write
from tests.support.program import PROJECT

SCHEMAS = json.loads((Path(__file__).parent / "samples/kubernetes.json").read_text())
# What must be read back as it is, wherever it stands.
HOSTILE = (
    *("yes", "No", "null", "~", "1e3", "0x1f", "012", "1:30", "2026-11-29", "=", "<<", ".inf", "-"),
    *(
        "",
        " ",
        "a: b",
        "a #b",
        "#",
        "{",
        "[x]",
        "&a",
        "*a",
        "!t",
        "|",
        ">",
        "%",
        "@x",
        "`x`",
        "- x",
    ),
    *(
        "$(rm -rf /)",
        "$$(X)",
        "$HOME",
        '"',
        "'",
        "\\",
        'it\'s "x"',
        "a\nb",
        "a\r",
        "\t",
        "---",
        "...",
    ),
    *("\x00\x1b[31m", "\u2028", "\ufeff", "\u202egnp", "naïve ☃ 🚀", "x" * 200, "a\\", "? x", ","),
)
IMAGE = Image("registry.example:5000/team/demo:latest", f"sha256:{'ab' * 32}", "0123456789ab")
COMMIT = Code(Path("/mnt/scratch/code/demo-0123456789ab"), "0123456789ab" * 3)
ARCHIVE = Code(None, "0123456789ab", archive=b"\x1f\x8b not a real one")
CLAIMS = [
    {"claim": "scratch", "here": "/mnt/scratch", "sub_path": "team"},
    {"claim": "data.sets", "path": "/data", "read_only": "true"},
]
TRAIN = Request("kubernetes", "train", ("python", "train.py"), gpus=1, cpus=4, memory=2**35)


def make_site(**kubernetes_table: Any) -> Site:
    """A site whose table [kubernetes] has these values; `storage` is that table."""
    tables = {name: kubernetes_table.pop(name, {}) for name in ("storage", "environment")}
    given = {"context": "prod", "namespace": "team", "claims": CLAIMS, **kubernetes_table}
    user = {"name": "jane", "id": 5000, "group": 600}
    return site_of("kubernetes", **tables, kubernetes=given, user=user)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project."""
    folder = tmp_path / "docker-amd64"
    folder.mkdir()
    (tmp_path / "keys.pub").write_text("ssh-ed25519 AAAA jane\n")
    keys = f"SSH_KEYS={tmp_path}/keys.pub"
    (folder / ".env").write_text(f"{keys}\n")
    return Project(folder, PROJECT)


def make_job(project: Project, site: Site, request: Request, code: Code = COMMIT) -> Job:
    """A job, whose files are written."""
    job = Job(project, site, request, IMAGE, code, project.folder / "deploy/kubernetes/jobs/train")
    job.folder.mkdir(parents=True, exist_ok=True)
    write(job, files(job))
    return job


def documents(texts: dict[str, str]) -> Iterator[Any]:
    """The objects of manifests."""
    for text in texts.values():
        yield from yaml.safe_load_all(text)


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    """The pod of a Job or a JobSet; of a TrainJob, what it adds to its runtime's."""
    spec = document["spec"]
    if document["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    if document["kind"] == "TrainJob":
        replicated = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]
        spec = replicated["replicatedJobs"][0]["template"]["spec"]
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


@functools.lru_cache
def validator(kind: str) -> jsonschema.Draft7Validator:
    """What knows the schema of a kind."""
    return jsonschema.Draft7Validator({"$ref": f"#/definitions/{kind}", **SCHEMAS})


def container_of(job: Job) -> dict[str, Any]:
    """The container of a job's command."""
    found: dict[str, Any] = pod_of(next(documents(files(job))))["containers"][0]
    return found


def errors(document: Any) -> list[str]:
    """What the schema of its kind says against an object."""
    return [one.message for one in validator(document["kind"]).iter_errors(document)]


def expanded(text: str) -> str:
    """A text as Kubernetes hands it on: $$ is a dollar sign, $(NAME) an unknown variable here.

    https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container
    """
    return re.sub(r"\$(\$|\([^)]*\))", lambda one: "$" if one[1] == "$" else "REPLACED", text)


# ------------------------------------------------------------------------------------------- YAML


def test_every_text_is_read_back_from_yaml() -> None:
    for text in HOSTILE:
        value = {
            "key": text,
            f"k{text}": [text, {"inside": text}],
            "inline": Inline({"a": text, f"b{text}": [text]}),
            "row": Row([Inline({"a": text}), Inline({"b": text, "long": "x" * 100})]),
            "lines": Lines(f"a{text}"),
            "note": Note(text, text),
        }
        read = yaml.safe_load(yaml_text(value))
        assert read == {**value, "note": text}


@settings(max_examples=50)
@given(
    st.recursive(
        st.text(max_size=12) | st.booleans() | st.integers(),
        lambda one: st.lists(one) | st.dictionaries(st.text(max_size=6), one),
        max_leaves=8,
    )
)
def test_any_value_is_read_back_from_yaml(value: Any) -> None:
    inline = Inline(a=value, b="x" * 110, c=value)
    shown = yaml_text({"value": value, "inline": inline, "note": Note("why", value)})
    assert yaml.safe_load(shown) == {"value": value, "inline": inline, "note": value}


@settings(max_examples=50)
@given(st.text(st.characters(codec="utf-8")))
def test_a_text_of_several_lines_is_read_back(text: str) -> None:
    assert yaml.safe_load(yaml_text({"run": Lines(text), "next": 1})) == {"run": text, "next": 1}


def test_readable_yaml_has_its_reasons() -> None:
    value = {"a": Note("why", [Note("this one", {"b": 1, "c": None})]), "run": Lines("x\n  y\n")}
    assert yaml_text(value) == "# why\na:\n  - b: 1  # this one\nrun: |\n  x\n    y\n"
    long = {
        "a": Note("w" * 120, 1),
        "b": Note("two\nlines", 2),
        "c": Inline(x="y" * 90, z="y" * 40),
    }
    above, a, two, lines, b, first, second = yaml_text(long).splitlines()
    assert (above, a, two, lines, b) == (f"# {'w' * 120}", "a: 1", "# two", "# lines", "b: 2")
    assert (first[:8], second[:5]) == ("c: { x: ", "  z: ")


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        yaml_text({"a": "\udcff"})


# -------------------------------------------------------------------------------------- manifests

REQUESTS = (
    TRAIN,
    TRAIN._replace(command=("torchrun", "-m", "demo"), gpus=8, seconds=3600),
    Request("kubernetes", "train", ("true",)),
    TRAIN._replace(command=HOSTILE, environment={"A_B": '$(X) "q" é'}),
    TRAIN._replace(array="0-9%2", requeue=1, seconds=60, verify=True),
    TRAIN._replace(requeue=3, verify=True, seconds=86400),
    TRAIN._replace(nodes=2, seconds=3600),
    TRAIN._replace(command=("torchrun", "x.py"), nodes=4, verify=True),
    TRAIN._replace(command=(), door=SHELL),
    TRAIN._replace(command=(), door=JUPYTER),
    TRAIN._replace(command=(), door=SSH),
)
SITES: dict[str, dict[str, Any]] = {
    "plain": {"claims": [CLAIMS[0]]},
    "jobset": {"kind": "jobset", "queue": "gpu"},
    "trainjob": {"kind": "trainjob", "service_account": "jobs"},
    "all": {
        "queue": "gpu",
        "priority_class": "high",
        "gpu": "nvidia.com/mig-1g.10gb",
        "shm": 2**34,
        "secret": "tokens",
        "image_pull_secrets": ["registry", "yes"],
        "node_selector": {"pool": "a100", "fast": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "environment": {"HF_HOME": "/outputs/hf", "DEBUG": "1"},
        "storage": {
            "outputs": "/mnt/scratch/out",
            "home": "/mnt/scratch/home",
            "mounts": ["/mnt/scratch/models:/models:ro"],
        },
    },
}


@pytest.mark.parametrize("site_name", SITES)
def test_a_manifest_is_what_its_schema_describes(project: Project, site_name: str) -> None:
    site = make_site(**SITES[site_name])
    for request, code in itertools.product(REQUESTS, (COMMIT, ARCHIVE)):
        if site_name == "trainjob" and request.nodes > 1 and code is ARCHIVE:
            continue  # refused, see below
        texts = files(make_job(project, site, request, code))
        main, *others = documents(texts)
        assert not [errors(one) for one in (main, *others) if errors(one)]
        pod = pod_of(main)
        container = pod["containers"][0]
        # Every mount has its volume, and every volume a mount.
        every = [*pod.get("initContainers", ()), *pod["containers"]]
        mounted = {mount["name"] for one in every for mount in one["volumeMounts"]}
        assert sorted(mounted) == sorted(volume["name"] for volume in pod["volumes"])
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(paths) == len(set(paths))
        assert {"/tmp", "/workspace", "/outputs", "/dev/shm"} <= {*paths}
        # The words arrive as they are.
        words = (main["spec"].get("trainer") or container)["args"]
        if request.command:
            assert [expanded(word) for word in words] == [*request.command]
        # No tag of a registry: what runs is what was looked at.
        assert f"image: {IMAGE.pinned}\n" in texts[MAIN]


@pytest.mark.parametrize("site_name", SITES)
@pytest.mark.parametrize("nodes", [1, 2])
def test_restricted_pod_security_lets_it_in(project: Project, site_name: str, nodes: int) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    code = COMMIT if site_name == "trainjob" else ARCHIVE
    job = make_job(project, make_site(**SITES[site_name]), TRAIN._replace(nodes=nodes), code)
    pod = pod_of(next(documents(files(job))))
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (5000, 600)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {"name", "configMap", "emptyDir", "persistentVolumeClaim", "secret"}
    assert not [volume for volume in pod["volumes"] if volume.keys() - allowed]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("backoffLimit:", "backofLimit:"),
        ("restartPolicy: Never", "restartPolicy: Always"),
        ("ttlSecondsAfterFinished: 604800", "ttlSecondsAfterFinished: a week"),
        ("mountPath: /tmp", "path: /tmp"),
        ("32Gi", "32Gb"),
        ("kind: Job\n", "kind: Job\nspce: {}\n"),
        ("  name: train\n", "  name: Train_1\n"),
    ],
)
def test_the_schemas_find_mistakes(project: Project, old: str, new: str) -> None:
    text = files(make_job(project, make_site(), TRAIN))[MAIN]
    assert old in text
    assert errors(yaml.safe_load(text.replace(old, new, 1)))


def test_what_site_toml_says_is_in_the_manifest(project: Project) -> None:
    site = make_site(**SITES["all"])
    request = TRAIN._replace(command=(), door=SHELL, seconds=3600)
    main = next(documents(files(make_job(project, site, request))))
    pod, spec = pod_of(main), main["spec"]
    assert main["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert spec["suspend"] is True
    assert (pod["activeDeadlineSeconds"], pod["terminationGracePeriodSeconds"]) == (3480, 120)
    assert pod["nodeSelector"] == {"pool": "a100", "fast": "true"}
    assert pod["tolerations"] == SITES["all"]["tolerations"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "yes"}]
    assert pod["automountServiceAccountToken"] is False
    container = pod["containers"][0]
    assert container["resources"] == {
        "limits": {"cpu": 4, "memory": "32Gi", "nvidia.com/mig-1g.10gb": 1}
    }
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables["CONTAINER_HOME"] == "/home/job"
    assert variables["HF_HOME"] == "/outputs/hf"
    mounts = {one.pop("mountPath"): one for one in container["volumeMounts"]}
    name = "claim-scratch"
    assert mounts["/workspace"] == {
        "name": name,
        "subPath": "team/code/demo-0123456789ab",
        "readOnly": True,
    }
    assert mounts["/outputs"] == {"name": name, "subPath": "team/out"}
    assert mounts["/home/job"] == {"name": name, "subPath": "team/home"}
    assert mounts["/models"] == {"name": name, "subPath": "team/models", "readOnly": True}
    assert mounts["/data"] == {"name": "claim-1", "readOnly": True}
    volumes = {one.pop("name"): one for one in pod["volumes"]}
    assert volumes["shm"] == {"emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}
    assert volumes["claim-1"] == {"persistentVolumeClaim": {"claimName": "data.sets"}}
    assert volumes["tokens"] == {"secret": {"secretName": "tokens", "defaultMode": 0o440}}


def test_nothing_that_was_not_chosen_is_in_the_manifest(project: Project) -> None:
    request = Request("kubernetes", "train", ("true",))
    text = files(make_job(project, make_site(claims=[CLAIMS[0]]), request))[MAIN]
    for word in ("kueue", "suspend", "nodeSelector", "tolerations", "requests:", "nvidia.com"):
        assert word not in text
    for word in ("activeDeadline", "initContainers", "secret", "MASTER", "PET_", "VERIFY", "[]"):
        assert word not in text


@pytest.mark.parametrize("site_name", ["plain", "jobset", "trainjob"])
def test_a_job_is_a_page_with_its_reasons(project: Project, site_name: str) -> None:
    several = TRAIN._replace(command=("torchrun", "x.py"), seconds=3600, verify=True)
    nodes = (TRAIN._replace(nodes=2, seconds=3600), several._replace(nodes=4, gpus=8, verify=False))
    others = (several, TRAIN._replace(array="0-9%2"), TRAIN._replace(requeue=3))
    for request in (TRAIN, *others, *nodes):
        text = files(make_job(project, make_site(**SITES[site_name]), request))[MAIN]
        lines = text.splitlines()
        assert len(lines) < 60
        assert max(map(len, lines)) <= 150
        assert text.count("# ") > 10


@pytest.mark.parametrize(
    ("kind", "first"), [("job", "train-0.train"), ("jobset", "train-node-0-0.train")]
)
def test_several_nodes_find_the_first(project: Project, kind: str, first: str) -> None:
    command = ("torchrun", "-m", "demo")
    request = TRAIN._replace(nodes=3, gpus=4, command=command)
    main, *others = documents(files(make_job(project, make_site(kind=kind), request)))
    pod = pod_of(main)
    variables = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    wanted = {"MASTER_ADDR": first, "PET_NNODES": "3", "PET_NPROC_PER_NODE": "4"}
    assert wanted.items() <= variables.items()
    if kind == "job":
        assert main["spec"]["completionMode"] == "Indexed"
        assert (main["spec"]["completions"], main["spec"]["parallelism"]) == (3, 3)
        (service,) = others
        assert service["metadata"]["name"] == pod["subdomain"] == "train"
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": "train"}
    else:
        job = main["spec"]["replicatedJobs"][0]["template"]["spec"]
        assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (3, 3, 0)


def test_a_train_job_leaves_ranks_to_its_runtime(project: Project) -> None:
    request = TRAIN._replace(nodes=2, gpus=4, command=("torchrun", "x.py"), seconds=600)
    main = next(documents(files(make_job(project, make_site(kind="trainjob"), request))))
    trainer = main["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert main["spec"]["runtimeRef"] == {"name": "torch-distributed"}
    assert main["spec"]["activeDeadlineSeconds"] == 480
    # Trainer refuses these.
    assert not [one for one in trainer["env"] if one["name"].startswith(("PET_", "MASTER_"))]


@pytest.mark.parametrize(
    ("array", "count", "at_once"), [("0", 1, 1), ("0-9", 10, 10), ("0-9%2", 10, 2), ("0-1%9", 2, 2)]
)
def test_an_array_is_one_job_of_independent_pods(
    project: Project, array: str, count: int, at_once: int
) -> None:
    request = TRAIN._replace(array=array, seconds=60)
    main, *others = documents(files(make_job(project, make_site(kind="jobset"), request)))
    spec = main["spec"]
    assert main["kind"] == "Job"
    assert not others
    assert (spec["completions"], spec["parallelism"]) == (count, at_once)
    assert spec["backoffLimitPerIndex"] == 0
    assert "activeDeadlineSeconds" not in spec  # the time is that of each pod
    assert "subdomain" not in pod_of(main)


def test_what_starts_again_and_what_does_not(project: Project) -> None:
    request = TRAIN._replace(requeue=2, verify=True, seconds=3600)
    spec = next(documents(files(make_job(project, make_site(), request))))["spec"]
    assert spec["backoffLimit"] == 2
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [78])
    several = make_job(project, make_site(kind="jobset"), request._replace(nodes=2))
    spec = next(documents(files(several)))["spec"]
    assert spec["failurePolicy"] == {"maxRestarts": 2}
    spec = next(documents(files(make_job(project, make_site(), TRAIN))))["spec"]
    assert spec["backoffLimit"] == 0


def test_a_pod_without_gpus_sees_none(project: Project) -> None:
    pod = pod_of(next(documents(files(make_job(project, make_site(), TRAIN._replace(gpus=0))))))
    variables = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_a_folder_of_your_own_may_be_changed(project: Project) -> None:
    code = Code(Path("/mnt/scratch/demo"))
    pod = pod_of(next(documents(files(make_job(project, make_site(), TRAIN, code)))))
    mounts = {one["mountPath"]: one for one in pod["containers"][0]["volumeMounts"]}
    assert "readOnly" not in mounts["/workspace"]


def test_folders_are_made_by_the_user_of_the_job(project: Project) -> None:
    """Those that this machine does not see: the kubelet would make them as root."""
    claims = [{"claim": "lab", "path": "/lab"}]
    storage = {"data": "/lab/data", "outputs": "/lab/outputs/jane"}
    site = make_site(claims=claims, storage=storage)
    pod = pod_of(next(documents(files(make_job(project, site, TRAIN, ARCHIVE)))))
    (prepare,) = pod["initContainers"]
    make = "mkdir -p /mnt/claim-lab/outputs/jane"
    assert prepare["command"] == ["sh", "-c", f"{make} && {shlex.join(UNPACK)}"]
    assert prepare["volumeMounts"][0] == {"name": "claim-lab", "mountPath": "/mnt/claim-lab"}
    mounts = {one.pop("mountPath"): one for one in pod["containers"][0]["volumeMounts"]}
    assert mounts["/lab"] == {"name": "claim-lab"}
    assert mounts["/data"] == {"name": "claim-lab", "subPath": "data", "readOnly": True}
    assert mounts["/outputs"] == {"name": "claim-lab", "subPath": "outputs/jane"}


def test_the_folders_of_a_trainjob_are_made_on_this_machine(
    project: Project, tmp_path: Path
) -> None:
    claims = [{"claim": "lab", "path": "/lab", "here": str(tmp_path)}]
    site = make_site(claims=claims, storage={"outputs": "/lab/outputs/jane"}, kind="trainjob")
    code = COMMIT._replace(folder=tmp_path / "code")
    job = make_job(project, site, TRAIN._replace(nodes=2), code)
    make_folders(project, folders_here(site, job.request))
    assert (tmp_path / "outputs/jane").is_dir()


def test_an_archive_is_in_a_file_of_its_own(project: Project) -> None:
    job = make_job(project, make_site(), TRAIN, ARCHIVE)
    assert [*files(job)] == [MAIN, CODE]
    (config,) = documents({CODE: files(job)[CODE]})
    assert base64.b64decode(config["binaryData"]["code.tar.gz"]) == ARCHIVE.archive
    assert config["immutable"] is True
    main = next(documents(files(job)))
    (prepare,) = pod_of(main)["initContainers"]
    assert prepare["image"] == IMAGE.pinned
    assert prepare["command"] == ["sh", "-c", shlex.join(UNPACK)]
    assert config["metadata"]["name"] in files(job)[MAIN]


@pytest.mark.parametrize(
    ("path", "claim", "is_shared"),
    [
        ("HERE/code", {"here": "HERE"}, True),
        ("/lab/code", {"path": "/lab", "here": "HERE"}, True),
        (
            "HERE/gone/code",
            {"here": "HERE/gone"},
            False,
        ),  # the claim is not mounted on this machine
        ("/lab/code", {"path": "/lab", "here": "HERE/gone"}, False),
        ("/shared/slurm/code", {"path": "/lab", "here": "HERE"}, False),  # Slurm's
        ("/lab/code", {"path": "/lab"}, False),  # of pods only
        ("/", {"path": "/"}, True),
    ],
)
def test_code_on_no_claim_that_is_here_comes_as_an_archive(
    project: Project, tmp_path: Path, path: str, claim: dict[str, str], is_shared: bool
) -> None:
    path = path.replace("HERE", str(tmp_path))
    claim = {key: value.replace("HERE", str(tmp_path)) for key, value in claim.items()}
    site = make_site(claims=[{"claim": "lab", **claim}], storage={"code": path}, kind="trainjob")
    shared_code = kubernetes.SCHEDULER.shared_code
    assert shared_code(project, site, TRAIN) == (path if is_shared else "")
    if not is_shared:
        with pytest.raises(StopError) as caught:
            shared_code(project, site, TRAIN._replace(nodes=2))
        assert caught.value.name == "kubernetes-archive"


def unpack(folder: Path, *members: tarfile.TarInfo) -> int:
    """Let the init container's program unpack an archive; its exit status."""
    (folder / "workspace").mkdir()
    with tarfile.open(folder / "code.tar.gz", "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    folders = {"/workspace": f"{folder}/workspace", "/code/": f"{folder}/"}
    words = [re.sub("/workspace|/code/", lambda one: folders[one[0]], word) for word in UNPACK]
    return subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode


def test_an_archive_is_unpacked_into_its_folder_only(tmp_path: Path) -> None:
    good, bad = tarfile.TarInfo("src/a.py"), tarfile.TarInfo("../outside")
    link, behind = tarfile.TarInfo("link"), tarfile.TarInfo("link/outside")
    good.size = bad.size = behind.size = 1
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    assert unpack(tmp_path / "good", good) == 0
    assert (tmp_path / "good/workspace/src/a.py").read_text() == "x"
    assert unpack(tmp_path / "bad", good, bad, link, behind)
    assert not (tmp_path / "bad/outside").exists()


def test_an_interactive_job_gets_the_keys_of_env(project: Project) -> None:
    job = make_job(project, make_site(), TRAIN._replace(command=(), door=SSH))
    (config,) = documents({SSH_FILE: files(job)[SSH_FILE]})
    assert config["data"]["ssh_keys"] == "ssh-ed25519 AAAA jane\n"
    # sshd lets in whom /etc/passwd has, and nobody's image has this user.
    assert config["data"]["passwd"].startswith("jane:*:5000:600::/tmp/home:/bin/bash\n")
    mounts = {one["mountPath"] for one in container_of(job)["volumeMounts"]}
    assert {"/run/ssh_keys", "/etc/passwd"} <= mounts
    (project.folder / ".env").write_text("")
    project.forget_settings()
    with pytest.raises(StopError) as stopped:
        files(job)
    assert stopped.value.name == "ssh-no-keys"


def test_an_empty_variable_takes_that_of_the_image_away(project: Project) -> None:
    asked = TRAIN._replace(environment={"HTTP_PROXY": ""})
    container = container_of(make_job(project, make_site(), asked))
    assert {"name": "HTTP_PROXY", "value": ""} in container["env"]


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("failure", "site", "request_"),
    [
        ("site-value", {"context": ""}, {}),
        ("site-value", {"namespace": ""}, {}),
        ("site-value", {"namespace": "Team_1"}, {}),
        ("site-value", {"gpu": "gpu"}, {}),
        ("site-value", {"queue": "a b"}, {}),
        ("site-value", {"kind": "trainjob", "secret": "tokens"}, {"nodes": 2}),
        ("site-value", {"claims": [{"claim": "x"}]}, {}),
        ("site-value", {"claims": [{"claim": "x", "path": "x"}]}, {}),
        ("site-value", {"claims": [{"claim": "x", "path": "/tmp"}]}, {}),
        ("site-value", {"claims": [*CLAIMS, CLAIMS[1]]}, {}),
        ("site-value", {"claims": [{"claim": "x", "here": "/x", "sub_path": "a/../.."}]}, {}),
        ("kubernetes-request", {}, {"tasks": 4}),
        ("kubernetes-request", {}, {"array": "1-9"}),
        ("kubernetes-request", {}, {"array": "0,2"}),
        ("kubernetes-request", {}, {"array": "0-9", "nodes": 2}),
        ("kubernetes-request", {"kind": "trainjob"}, {"nodes": 2, "requeue": 1}),
        ("kubernetes-request", {}, {"nodes": 2, "requeue": 1}),
        ("site-value", {"storage": {"data": "/nfs"}, "claims": [CLAIMS[0]]}, {}),
        ("site-value", {"storage": {"mounts": ["/nfs:/x"]}}, {}),
        ("site-value", {"claims": [CLAIMS[1]]}, {}),  # of the code
    ],
)
def test_what_cannot_be_is_refused(
    project: Project, failure: str, site: dict[str, Any], request_: dict[str, Any]
) -> None:
    with pytest.raises(StopError) as stopped:
        make_job(project, make_site(**site), TRAIN._replace(**request_))
    assert stopped.value.name == failure
    assert shlex.split(stopped.value.command)


def test_a_train_job_cannot_bring_an_archive(project: Project) -> None:
    with pytest.raises(StopError) as stopped:
        make_job(project, make_site(kind="trainjob"), TRAIN._replace(nodes=2), ARCHIVE)
    assert stopped.value.name == "kubernetes-archive"


def test_root_is_refused(project: Project) -> None:
    site = make_site()
    site["user"]["id"] = 0
    with pytest.raises(StopError) as stopped:
        make_job(project, site, TRAIN)
    assert stopped.value.name == "kubernetes-root"


# ------------------------------------------------------------------------------------- the client


class Kubectl:
    """A stand-in for kubectl: it notes its words, and answers by the first pattern that fits."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        """Be the first in PATH."""
        self.folder, self.answers = folder, [("config get-contexts prod*", 0, "prod", "")]
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        self.write()

    def say(self, pattern: str, status: int, out: str = "", err: str = "") -> None:
        """Answer calls of a pattern of the shell; the latest pattern is asked first."""
        self.answers.insert(0, (pattern, status, out, err))
        self.write()

    def write(self) -> None:
        """Write the program."""
        lines = ["#!/bin/sh", f'printf "%s\\n" "$*" >>{self.folder}/calls', 'case "$*" in']
        for pattern, status, out, err in self.answers:
            glob = pattern.replace(" ", '" "')
            says = f"printf '%s' {shlex.quote(out)}; printf '%s' {shlex.quote(err)} >&2"
            lines.append(f"*{glob}) {says}; exit {status};;")
        (self.folder / "kubectl").write_text("\n".join([*lines, "esac", "echo some/thing"]))
        (self.folder / "kubectl").chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The words of its calls."""
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """A cluster in which all is there but the job."""
    found = Kubectl(tmp_path / "bin", monkeypatch)
    for kind in ("jobs.batch", "jobsets.jobset.x-k8s.io", "trainjobs.trainer.kubeflow.org"):
        found.say(f"get {kind} train *", 0)
    return found


SCHEDULER = kubernetes.SCHEDULER
ID = "job.batch/train"
RECORD = Record(
    *("kubernetes", "train", ID, "", ("true",), "", "", "", "", 1, 1, ""), folder=Path("train")
)


def test_a_request_that_the_cluster_can_fulfil_passes(project: Project, kubectl: Kubectl) -> None:
    SCHEDULER.check(project, make_site(**SITES["all"]), TRAIN)
    asked = [call for call in kubectl.calls if "config get-contexts" not in call]
    assert asked
    for call in asked:
        assert call.startswith("--context prod --namespace team --request-timeout=")
    for name in ("localqueues.kueue.x-k8s.io gpu", "secrets tokens", "secrets registry"):
        assert [call for call in asked if f"get {name} " in call]
    assert [call for call in asked if "get persistentvolumeclaims data.sets " in call]


@pytest.mark.parametrize(
    ("pattern", "answer", "failure"),
    [
        ("config get-contexts *", (1, "error: context prod not found"), "kubernetes-context"),
        ("get persistentvolumeclaims *", (0, ""), "kubernetes-missing"),
        ("get secrets tokens *", (0, ""), "kubernetes-no-secret"),
        (
            "get localqueues*",
            (1, 'error: the server doesn\'t have a resource type "localqueues"'),
            "kubernetes-no-kind",
        ),
        (
            "get namespaces *",
            (1, "Unable to connect to the server: dial tcp: i/o timeout"),
            "kubernetes-silent",
        ),
        (
            "get namespaces *",
            (1, "The connection to the server 127.0.0.1:18098 was refused - did you specify it?"),
            "kubernetes-silent",
        ),
        (
            "get namespaces *",
            (1, "error: You must be logged in to the server (Unauthorized)"),
            "kubernetes-silent",
        ),
        ("get namespaces *", (1, "Error from server (Forbidden): namespaces is forbidden"), ""),
    ],
)
def test_what_the_cluster_lacks_is_known_before(
    project: Project, kubectl: Kubectl, pattern: str, answer: tuple[int, str], failure: str
) -> None:
    kubectl.say(pattern, answer[0], "", answer[1])
    site = make_site(**SITES["all"])
    if not failure:
        SCHEDULER.check(project, site, TRAIN)
        return
    with pytest.raises(StopError) as stopped:
        SCHEDULER.check(project, site, TRAIN)
    assert stopped.value.name == failure
    if failure == "kubernetes-no-secret":  # a value would be seen by every user of this machine
        assert "--from-file=" in stopped.value.command
        assert "--from-literal" not in stopped.value.command


@pytest.mark.parametrize(
    ("status", "allocatable", "limit", "refused"),
    [
        (0, "4 8", 0, False),
        (0, "4 4 2", 0, True),
        (0, "4", 8, False),  # the site says that larger nodes are added
        (0, "", 0, False),  # of nodes that an autoscaler has removed
        (1, "", 0, False),  # not everybody may list nodes
    ],
)
def test_more_gpus_than_a_node_has_are_refused(
    project: Project, kubectl: Kubectl, *, status: int, allocatable: str, limit: int, refused: bool
) -> None:
    kubectl.say("get nodes *", status, allocatable, "Error from server (Forbidden)" * status)
    site = make_site(node_selector={"pool": "a100"})
    site["limits"]["gpus"] = limit
    if not refused:
        SCHEDULER.check(project, site, TRAIN._replace(gpus=8))
        return
    with pytest.raises(StopError) as stopped:
        SCHEDULER.check(project, site, TRAIN._replace(gpus=8))
    assert stopped.value.name == "kubernetes-gpus"
    (asked,) = [shlex.split(call) for call in kubectl.calls if " nodes " in call]
    assert "--selector=pool=a100" in asked


def test_a_name_that_is_in_use_is_refused(project: Project, kubectl: Kubectl) -> None:
    kubectl.say("get jobs.batch train *", 0, ID)
    with pytest.raises(StopError) as stopped:
        SCHEDULER.check(project, make_site(), TRAIN)
    assert stopped.value.name == "kubernetes-name-taken"


def test_a_dry_run_needs_no_client(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    SCHEDULER.check(project, make_site(), TRAIN)
    with pytest.raises(StopError):
        SCHEDULER.check(project, make_site(), TRAIN._replace(tasks=2))


def test_what_a_job_brings_is_deleted_with_it(project: Project, kubectl: Kubectl) -> None:
    job = make_job(project, make_site(), TRAIN, ARCHIVE)
    kubectl.say("create *code.yaml", 0, "configmap/train-code")
    kubectl.say("create *job.yaml", 0, ID)
    about = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "train", "uid": "u-1"}}
    kubectl.say("get job.batch/train *", 0, json.dumps(about))
    assert SCHEDULER.submit(job) == ID
    made = [call for call in kubectl.calls if " create " in call]
    assert [call.rpartition("/")[2] for call in made] == [CODE, MAIN]
    (patch,) = (call for call in kubectl.calls if " patch " in call)
    assert "patch configmap/train-code" in patch
    owner = json.loads(patch.partition("--patch=")[2])["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Job", "u-1")


def test_a_refused_job_leaves_nothing(project: Project, kubectl: Kubectl) -> None:
    job = make_job(project, make_site(), TRAIN, ARCHIVE)
    kubectl.say("create *code.yaml", 0, "configmap/train-code")
    kubectl.say("create *job.yaml", 1, "", "Error from server (Forbidden): exceeded quota: gpus")
    with pytest.raises(StopError) as stopped:
        SCHEDULER.submit(job)
    assert stopped.value.name == "kubernetes-refused"
    assert "exceeded quota: gpus" in stopped.value.sentence
    assert [call for call in kubectl.calls if "delete configmap/train-code" in call]


def test_of_two_objects_both_are_there_or_none(project: Project, kubectl: Kubectl) -> None:
    job = make_job(project, make_site(), TRAIN._replace(nodes=2))
    kubectl.say("create *job.yaml", 1, ID, 'Error from server (AlreadyExists): services "train"')
    with pytest.raises(StopError) as stopped:
        SCHEDULER.submit(job)
    assert stopped.value.name == "kubernetes-name-taken"
    assert [call for call in kubectl.calls if f"delete {ID}" in call]


def test_a_folder_for_results_is_yours_not_roots(
    project: Project, kubectl: Kubectl, tmp_path: Path
) -> None:
    claims = [{"claim": "scratch", "here": str(tmp_path)}]
    site = make_site(claims=claims, storage={"outputs": f"{tmp_path}/new/out"})
    job = make_job(project, site, TRAIN, Code(tmp_path / "code", "01"))
    kubectl.say("create *job.yaml", 0, ID)
    SCHEDULER.submit(job)
    assert (tmp_path / "new/out").is_dir()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, "Pending"),
        ({"active": 1, "ready": 1}, "Running"),
        ({"conditions": [{"type": "Suspended", "status": "True"}]}, "Suspended"),
        ({"conditions": [{"type": "Suspended", "status": "False"}], "ready": 1}, "Running"),
        (
            {
                "conditions": [
                    {"type": "SuccessCriteriaMet", "status": "True"},
                    {"type": "Complete", "status": "True"},
                ]
            },
            "Complete",
        ),
        (
            {
                "conditions": [
                    {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
                ]
            },
            "Failed (BackoffLimitExceeded), exit status 3",
        ),
    ],
)
def test_states_are_those_of_the_cluster(
    project: Project, kubectl: Kubectl, status: dict[str, Any], state: str
) -> None:
    item = {"kind": "Job", "metadata": {"name": "train"}, "status": status}
    ended = {"name": "node", "state": {"terminated": {"exitCode": 3}}}
    pods = {"items": [{"status": {"containerStatuses": [ended]}}]}
    kubectl.say("get job.batch/train *", 0, json.dumps(item))
    kubectl.say("get pods *", 0, json.dumps(pods))
    other = RECORD._replace(name="gone", id="job.batch/gone")
    assert SCHEDULER.states(project, make_site(), (RECORD,)) == {"train": state}
    both = {"kind": "List", "items": [item]}
    kubectl.say("get job.batch/train job.batch/gone *", 0, json.dumps(both))
    assert SCHEDULER.states(project, make_site(), (RECORD, other)) == {"train": state}


def test_logs_and_cancel_are_about_this_job(project: Project, kubectl: Kubectl) -> None:
    kubectl.say("get pods *", 0, json.dumps({"items": [{"status": {"phase": "Running"}}]}))
    several = RECORD._replace(id="jobset.jobset.x-k8s.io/train", nodes=2)
    assert SCHEDULER.logs(project, make_site(), RECORD, True) == 0
    assert SCHEDULER.logs(project, make_site(), several, False) == 0
    SCHEDULER.cancel(project, make_site(), RECORD)
    one, two, ended = (call for call in kubectl.calls if " get pods " not in call)
    assert "--selector=job-name=train" in one
    assert "--follow" in one
    assert "--prefix" not in one
    assert "--selector=jobset.sigs.k8s.io/jobset-name=train" in two
    assert "--prefix" in two
    assert "delete job.batch/train --cascade=foreground" in ended
    assert all(call.startswith("--context prod --namespace team ") for call in kubectl.calls)


def test_following_a_job_waits_for_its_start(
    project: Project,
    kubectl: Kubectl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The image is pulled for minutes, and why nothing starts is what a user wants to know."""
    full = {"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}
    wrong = {"state": {"waiting": {"reason": "ErrImagePull", "message": "unauthorized"}}}
    later: list[dict[str, Any]] = [
        {"phase": "Pending", "conditions": [full]},
        {"phase": "Pending", "containerStatuses": [wrong]},
        {"phase": "Running"},
    ]
    item = {"kind": "Job", "metadata": {"name": "train"}, "status": {"active": 1}}
    kubectl.say("get job.batch/train *", 0, json.dumps(item))
    kubectl.say("get pods *", 0, '{"items": []}')

    def next_state() -> None:
        kubectl.say("get pods *", 0, json.dumps({"items": [{"status": later.pop(0)}]}))

    monkeypatch.setattr(kubernetes, "pause", next_state)
    assert SCHEDULER.logs(project, make_site(), RECORD, True) == 0
    assert not later
    shown = capsys.readouterr().err
    assert "Insufficient nvidia.com/gpu" in shown
    assert "ErrImagePull: unauthorized" in shown
    assert " logs " in kubectl.calls[-1]


@pytest.mark.parametrize(
    ("door", "words"),
    [
        (SHELL, ("exec -it job/train",)),
        (SSH, ("port-forward job/train 2222:2222", "ssh -p 2222")),
        (JUPYTER, ("exec job/train", "port-forward job/train 8888:8888")),
    ],
)
def test_the_way_in_can_be_pasted(project: Project, door: str, words: tuple[str, ...]) -> None:
    job = make_job(project, make_site(), TRAIN._replace(command=(), door=door))
    lines = SCHEDULER.enter(job, ID)
    assert lines[0].startswith("kubectl --context prod --namespace team wait pod ")
    for line in lines:
        assert shlex.split(line)
    for word in words:
        assert [line for line in lines if word in line]
