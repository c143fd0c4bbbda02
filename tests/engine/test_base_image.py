"""Projects on NVIDIA's and PyTorch's images: what the base brings stays, whatever is added."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.conftest import MakeProject
from tests.engine.test_failures import advice
from tests.support.engine import is_stand_in, need
from tests.support.image_rights import SETUID_OF_DEV, check
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

DEPENDENCIES = "docker-amd64/dependencies"
OVERRIDE = f"{DEPENDENCIES}/base-override.txt"
NGC, OLD_NGC = "nvcr.io/nvidia/pytorch:26.08-py3", "nvcr.io/nvidia/pytorch:24.05-py3"
HUB = "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"
TORCH = {
    NGC: "2.14.0a0+4fdf77b.nv26.08",
    OLD_NGC: "2.4.0a0+07cecf4168.nv24.05",
    HUB: "2.13.0+cu130",
}
# What only the other services ask has no answer here.
NOT_ASKED: dict[str, Any] = {"python_version": None, "linux_distro": None, "accelerator": "cuda"}
ANSWERS: dict[str, dict[str, Any]] = {
    NGC: {**NOT_ASKED, "service": "ngc", "torch_version": None, "ngc_release": "26.08"},
    OLD_NGC: {**NOT_ASKED, "service": "ngc", "torch_version": None, "ngc_release": "24.05"},
    HUB: {
        **NOT_ASKED,
        "service": "hub",
        "torch_version": "2.13.0",
        "cuda_version": "13.0",
        "jit": False,
    },
}
WHERE = "import torch, numpy; print(torch.__version__, torch.__file__, numpy.__file__)"
VERSION = "import importlib.metadata as m; print(m.version('{}'))"


def build_on(image: str, project: MakeProject, own_index: PackageIndex) -> Project:
    """A project on this image, both images of it built."""
    need(None if is_stand_in(image) else f"{image} is no stand-in, and gigabytes")
    name = f"on-{ANSWERS[image]['service']}"
    new = project(name, packages=own_index, light=True, **ANSWERS[image])
    # The Python of the stand-ins is Debian's.
    package = (new.folder / "pyproject.toml").read_text()
    new.write("pyproject.toml", re.sub(r'">=3\.\d+"', '">=3.10"', package))
    new.build()
    return new


@pytest.fixture(scope="module")
def on_nvidia(project: MakeProject, own_index: PackageIndex) -> Project:
    """A project on NVIDIA's image with a constraint file; its dependencies are changed here."""
    return build_on(NGC, project, own_index)


@pytest.fixture(params=[NGC, OLD_NGC, HUB], scope="module")
def on_any(
    request: pytest.FixtureRequest,
    project: MakeProject,
    on_nvidia: Project,
    own_index: PackageIndex,
) -> tuple[str, Project]:
    """A base image and a project on it."""
    image = request.param
    return image, on_nvidia if image == NGC else build_on(image, project, own_index)


@pytest.fixture
def restored(on_nvidia: Project) -> Iterator[Project]:
    """The project on NVIDIA's image; its dependency files are put back at the end."""
    before = dependencies(on_nvidia)
    yield on_nvidia
    # The lock last: beside files that are newer it would be made again.
    for name, text in sorted(before.items(), key=lambda file: file[0] == "uv.lock"):
        on_nvidia.write(f"{DEPENDENCIES}/{name}", text)


def dependencies(project: Project) -> dict[str, str]:
    """What the files of the dependencies say."""
    folder = project.folder / DEPENDENCIES
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_both_images_have_the_torch_and_numpy_of_the_base(on_any: tuple[str, Project]) -> None:
    image, project = on_any
    project.ok("up")
    for said in (
        project.ok("run", "python", "-c", WHERE),
        project.ok("exec", "python", "-c", WHERE),
    ):
        version, torch, numpy = last_line(said).split()
        assert version == TORCH[image]
        assert torch.startswith("/usr/local/lib/python3")
        assert numpy.startswith("/usr/lib/python3")
    project.ok("lock", "--check")
    # Nor is what the base has, and the lock names, taken for something that was removed.
    nothing = "Nothing is installed in dev that the files do not list.\n"
    assert project.sh("freeze").stderr == nothing


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_an_image_on_nvidias_gives_nothing_away(on_nvidia: Project, service: str) -> None:
    check(on_nvidia.image(service), NGC, SETUID_OF_DEV if service == "dev" else frozenset())


def test_verify_holds_the_images_to_the_torch_of_the_base(on_any: tuple[str, Project]) -> None:
    image, project = on_any
    for report in json.loads(project.sh("verify", "--json").stdout).values():
        checks = {check["name"]: check for check in report["checks"]}
        assert checks["PyTorch of the base"]["status"] == "ok"
        assert TORCH[image] in checks["PyTorch of the base"]["says"]
        assert checks["CUDA build"]["status"] == "ok"


def test_the_project_and_its_tests_run_on_the_base(on_any: tuple[str, Project]) -> None:
    _, project = on_any
    package = project.folder.name.replace("-", "_")
    assert "torch" in project.ok("run", "python", "-m", package)
    project.ok("up")
    assert " passed" in project.ok("exec", "pytest", "-q")


def test_nvidias_entrypoint_goes_first_and_pytorchs_image_has_none(
    on_any: tuple[str, Project],
) -> None:
    image, project = on_any
    said = project.ok("run", "echo", "the command")
    assert ("== PyTorch ==" in said) == (image != HUB)
    assert last_line(said) == "the command"


def test_a_package_is_chosen_to_fit_the_base_and_sees_its_torch(
    on_any: tuple[str, Project], own_index: PackageIndex
) -> None:
    image, project = on_any
    own_index.add("fits-all", "1.0", requires=["torch>=2", "numpy"])
    own_index.add("fits-all", "2.0", requires=["torch>=2.90", "numpy"])
    project.ok("add", "--image", "fits-all")
    project.ok("lock", "--check")
    project.build("runtime")
    program = "import fits_all, torch; print(fits_all.__version__, torch.__version__)"
    assert last_line(project.ok("run", "python", "-c", program)) == f"1.0 {TORCH[image]}"
    # A program of the base, started with the Python that sees what was added.
    script = project.write("see.py", f"{program}\n")
    said = project.ok("run", "torchrun", f"/workspace/{script.name}")
    assert last_line(said) == f"1.0 {TORCH[image]}"
    names = project.ok("run", "sh", "-c", "ls /opt/venv/lib/python3*/site-packages")
    assert not re.search(r"(?m)^(torch|numpy|triton|nvidia)", names)


@pytest.mark.parametrize(
    ("name", "requires", "culprit"),
    [
        (
            "wants-torch",
            "torch>=2.90",
            "wants-torch needs torch>=2.90, but the base image has torch",
        ),
        (
            "wants-numpy",
            "numpy>=2",
            "wants-numpy needs numpy>=2, but the base image has numpy 1.24.2",
        ),
        (
            "wants-cudnn",
            "nvidia-cudnn-frontend<1",
            "wants-cudnn needs nvidia-cudnn-frontend<1, but",
        ),
    ],
)
def test_who_wants_another_version_than_the_base_is_named_and_nothing_is_changed(
    restored: Project, own_index: PackageIndex, name: str, requires: str, culprit: str
) -> None:
    own_index.add(name, "1.0", requires=[requires])
    before = dependencies(restored)
    result = restored.sh("add", "--image", name)
    assert result.returncode != 0
    sentence, _ = advice(result)
    assert sentence.startswith(culprit)
    assert sentence.endswith("in dependencies/base-override.txt.")
    assert dependencies(restored) == before


def write_dependency(project: Project, requirement: str) -> None:
    """As a person does in an editor."""
    text = dependencies(project)["pyproject.toml"]
    changed = text.replace("\ndependencies = [", f'\ndependencies = ["{requirement}", ')
    project.write(f"{DEPENDENCIES}/pyproject.toml", changed)


def test_a_build_fails_with_the_name_of_the_culprit(
    restored: Project, own_index: PackageIndex
) -> None:
    own_index.add("written-by-hand", "1.0", requires=["torch>=2.90"])
    write_dependency(restored, "written-by-hand")
    result = restored.sh("build", "runtime")
    assert result.returncode != 0
    assert advice(result)[0].startswith("written-by-hand needs torch>=2.90, but the base")
    # Without template.sh and without a lock, the build itself resolves.
    (restored.folder / DEPENDENCIES / "uv.lock").unlink()
    arguments = [f"--build-arg={key}={value}" for key, value in own_index.env().items()]
    plain = restored.owner.run(
        "docker", "build", "--target=runtime", *arguments, ".", cwd=restored.docker
    )
    assert plain.returncode != 0
    assert "written-by-hand needs torch>=2.90, but the base image has torch" in plain.stderr


def test_a_line_of_the_project_itself_is_named_too(restored: Project) -> None:
    write_dependency(restored, "torch==2.90.0")
    said = advice(restored.sh("build", "runtime"))[0]
    assert said.startswith("dependencies/pyproject.toml asks for torch==2.90.0, but the base image")


def test_the_constraint_file_of_the_base_is_respected(
    restored: Project, own_index: PackageIndex
) -> None:
    own_index.add("requests", "2.31.0")
    own_index.add("requests", "2.99.0")
    own_index.add("wants-einops", "1.0", requires=["einops>=0.9"])
    said = advice(restored.sh("add", "--image", "wants-einops"))[0]
    assert said.startswith("wants-einops needs einops>=0.9, but the base image has einops")
    # The base has no requests, but a line about it.
    restored.ok("add", "--image", "requests")
    result = restored.sh("build", "runtime")
    assert result.returncode != 0
    said, _ = advice(result)
    assert "requests 2.99.0 is installed, but the base image's constraint file says" in said
    restored.ok("add", "--image", "requests<2.32")
    restored.build("runtime")


def test_what_base_override_names_may_be_replaced(
    restored: Project, own_index: PackageIndex
) -> None:
    module = {"torch/__init__.py": "__version__ = '2.90.0'\nclass version:\n    cuda = '13.4'\n"}
    own_index.add("torch", "2.90.0", files=module)
    own_index.add("wants-new-torch", "1.0", requires=["torch>=2.90"])
    assert restored.sh("add", "--image", "wants-new-torch").returncode != 0
    restored.write(OVERRIDE, dependencies(restored)["base-override.txt"] + "torch\n")
    restored.ok("add", "--image", "wants-new-torch")
    restored.build("runtime")
    program = "import torch; print(torch.__version__, torch.__file__)"
    version, file = last_line(restored.ok("run", "python", "-c", program)).split()
    assert version == "2.90.0"
    assert file.startswith("/opt/venv/")
    assert "base-override.txt lets it be replaced" in restored.sh("verify", "runtime").stdout
    # Back again: the lock is noticed to be that of another base.
    restored.write(OVERRIDE, "# nothing\n")
    assert "Run: ./docker-amd64/template.sh lock" in restored.sh("lock", "--check").stderr.replace(
        str(restored.docker), "./docker-amd64"
    )


def test_another_base_image_needs_a_new_lock_and_says_so(
    restored: Project, own_index: PackageIndex
) -> None:
    own_index.add("needs-torch", "1.0", requires=["torch>=2"])
    restored.ok("add", "--image", "needs-torch")
    before = (restored.docker / ".env").read_text()
    restored.set_env(BASE_IMAGE=OLD_NGC)
    try:
        result = restored.sh("build", "runtime")
        assert result.returncode != 0
        assert "(failure: lock-of-another-base)" in result.stderr
        assert last_line(result.stderr).endswith("template.sh lock")
        restored.ok("lock")
        restored.build("runtime")
        assert last_line(restored.ok("run", "python", "-c", WHERE)).startswith(TORCH[OLD_NGC])
    finally:
        (restored.docker / ".env").write_text(before)


def test_by_hand_in_dev_too_nothing_replaces_what_the_base_has(
    restored: Project, own_index: PackageIndex
) -> None:
    own_index.add("by-hand-fits", "1.0", requires=["torch>=2"])
    own_index.add("by-hand-not", "1.0", requires=["torch>=2.90"])
    restored.build("dev")
    restored.ok("up")
    result = restored.sh("exec", "uv", "pip", "install", "by-hand-not")
    assert result.returncode != 0
    assert "by-hand-not needs torch>=2.90, but the base image has torch" in result.stderr
    simple = (
        "--index-url",
        f"{own_index.url}/simple/",
        "--trusted-host",
        own_index.url.split("/")[2],
    )
    refused = restored.sh("exec", "pip", "install", *simple, "by-hand-not")
    assert refused.returncode != 0
    assert "ResolutionImpossible" in refused.stderr or "No matching" in refused.stderr

    restored.ok("exec", "uv", "pip", "install", "by-hand-fits")
    said = last_line(restored.ok("exec", "python", "-c", WHERE))
    assert said.split()[0] == TORCH[NGC]
    assert said.split()[1].startswith("/usr/local/lib/")
    assert re.search(r'(?m)^\+ +"by-hand-fits==1.0",$', restored.ok("freeze"))
    restored.ok("freeze", "-y")
    restored.ok("lock", "--check")
    restored.build("dev")
    restored.ok("up")
    assert restored.ok("exec", "python", "-c", VERSION.format("by-hand-fits")) == "1.0\n"


def test_requirements_of_existing_code_leave_to_the_base_what_it_brings(
    project: MakeProject,
) -> None:
    need(None if is_stand_in(HUB) else f"{HUB} is no stand-in, and gigabytes")
    existing = {"requirements.txt": "torch==2.1.0\ntorchvision\niniconfig\n"}
    answers = ANSWERS[HUB] | {"project_kind": "existing"}
    new = project("theirs", existing=existing, **answers)
    result = new.sh("lock")
    assert result.returncode == 0, result.stderr
    assert "torch==2.1.0, torchvision: left out, the base image has its own." in result.stderr
    listed = dependencies(new)["pyproject.toml"]
    assert re.search(r'(?ms)^dependencies = \[\n    "iniconfig",\n\]$', listed)


def test_the_runtime_image_holds_no_index_and_no_uv(on_nvidia: Project) -> None:
    command = ("docker", "run", "--rm", "--entrypoint", "sh", on_nvidia.image("runtime"), "-c")
    assert run(*command, "ls /opt/base; command -v uv").stdout == "packages.json\n"


def test_hooks_may_change_the_base_and_the_environment_on_it(restored: Project) -> None:
    pre = "# as: root\necho patched >/usr/local/of-base\n"
    post = "python -c 'import torch; print(torch.__file__)' >/opt/venv/torch\n"
    restored.write(f"{DEPENDENCIES}/pre-install.sh", pre)
    restored.write(f"{DEPENDENCIES}/post-install.sh", post)
    try:
        restored.build()
        for door in ("runtime", "dev"):
            command = ("docker", "run", "--rm", "--entrypoint=", restored.image(door))
            shown = run(*command, "cat", "/usr/local/of-base", "/opt/venv/torch")
            assert re.fullmatch("patched\n/usr/.*/torch/__init__.py\n", shown.stdout), shown
    finally:
        for name in ("pre", "post"):
            (restored.folder / f"{DEPENDENCIES}/{name}-install.sh").unlink()


def test_a_workspace_keeps_the_pytorch_of_the_base(
    restored: Project, own_index: PackageIndex
) -> None:
    own_index.add("beside-torch", requires=["torch"])
    restored.write("workspaces/jane/requirements.txt", "beside-torch\n")
    for path in (restored.folder / "workspaces", restored.folder / "workspaces/jane"):
        os.chown(path, restored.owner.uid, restored.owner.gid)
    restored.ok("build", "-W", "jane")
    try:
        shown = restored.ok("run", "-W", "jane", "python", "-c", f"{WHERE}; import beside_torch")
        assert f"\n{TORCH[NGC]} /usr/" in shown
        lock = (restored.folder / "workspaces/jane/requirements.lock").read_text()
        assert re.findall("(?m)^[a-z].*==", lock) == ["beside-torch=="]
    finally:
        restored.ok("clean", "--all", "-y", "-W", "jane")


def test_nvidias_image_keeps_its_libcuda_which_it_tries_itself_unless_told_otherwise(
    on_nvidia: Project,
) -> None:
    look = "ls /usr/local/cuda/compat/lib.real 2>&-; ldconfig -p | grep libcuda.so.1; echo $?"
    words = ("run", "bash", "-c", look)
    assert "libcuda.so.580.95.05" in on_nvidia.ok(*words)
    try:
        on_nvidia.set_env(CUDA_COMPAT="remove")
        on_nvidia.build("runtime")
        assert last_line(on_nvidia.ok(*words)) == "1"
        assert "libcuda" not in on_nvidia.ok(*words)
        assert on_nvidia.ok("run", "python", "-c", WHERE).strip()
    finally:
        on_nvidia.set_env(CUDA_COMPAT="keep")
