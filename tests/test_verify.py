"""`verify` tells, inside a container, whether what was asked for is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import torch_on_gpus
import verify
from hooks.compat.table import load
from hooks.matcher.hosts import targets
from hooks.matcher.rules import Coverage, coverage

SCRIPT = Path(verify.__file__)
CU132 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


def torch(
    version: str = "2.15.0+cu132",
    cuda: str | None = "13.2",
    arches: list[str] | None = None,
    gpus: int = 1,
    broken: str = "",
) -> Any:
    """A stand-in with the few names that `verify` touches."""

    class Square:
        def __matmul__(self, other: Square) -> Square:
            return self

        def sum(self) -> float:
            return 4.0

    def ones(*_: int, device: str) -> Square:
        if broken:
            raise RuntimeError(broken)
        assert device.startswith("cuda:")
        return Square()

    return SimpleNamespace(
        __version__=version,
        version=SimpleNamespace(cuda=cuda),
        ones=ones,
        cuda=SimpleNamespace(
            get_arch_list=lambda: CU132 if arches is None else arches,
            device_count=lambda: gpus,
            is_available=lambda: gpus > 0,
        ),
    )


def run(
    monkeypatch: pytest.MonkeyPatch, found: Any, driver: str = "595.58.03", **environ: str
) -> dict[str, tuple[str, str]]:
    monkeypatch.setattr(verify, "import_torch", lambda: (found, "" if found else "ImportError: no"))
    monkeypatch.setattr(torch_on_gpus, "host_driver", lambda: driver)
    monkeypatch.setattr(
        torch_on_gpus, "loaded_libcuda", lambda: (f"/usr/lib/libcuda.so.{driver}", 0)
    )
    asked = {
        "CHOSEN_ACCELERATOR": "cuda",
        "CHOSEN_TORCH": "2.15.0",
        "CHOSEN_CUDA": "13.2",
        **environ,
    }
    return {check.name: check[1:] for check in verify.verify(asked)}


def test_a_good_container_passes_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = run(monkeypatch, torch(), TORCH_CUDA_ARCH_LIST="8.9 9.0")
    assert {status for status, _ in checks.values()} == {"ok"}
    assert len(checks) == 7


def test_a_cpu_build_in_place_of_cuda_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = run(monkeypatch, torch("2.15.0+cpu", None), driver="")
    assert checks["CUDA build"] == ("fails", "CUDA was asked, but PyTorch is a CPU build")


def test_cpu_says_that_cpu_is_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = run(
        monkeypatch, torch("2.15.0+cpu", None), CHOSEN_ACCELERATOR="cpu", CHOSEN_CUDA="none"
    )
    assert checks["CUDA build"] == ("ok", "CPU is what was asked: PyTorch has no CUDA")
    assert set(checks) == {"PyTorch", "PyTorch version", "CUDA build"}


def test_cuda_in_place_of_cpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, torch(), CHOSEN_ACCELERATOR="cpu")["CUDA build"][0] == "fails"


@pytest.mark.parametrize(
    ("name", "found", "environ", "says"),
    [
        ("PyTorch version", torch("2.14.1+cu130", "13.0"), {}, "2.15.0 was asked"),
        ("CUDA build", torch(cuda="13.0"), {}, "CUDA 13.2 was asked, it is 13.0"),
        ("code for the GPUs", torch(), {"TORCH_CUDA_ARCH_LIST": "7.0 9.0"}, "no code for 7.0:"),
        ("code for the GPUs", torch(arches=[]), {"TORCH_CUDA_ARCH_LIST": "9.0"}, "does not say"),
        ("GPU", torch(broken="CUDA error: no kernel image"), {}, "no kernel image"),
        ("GPU", torch(gpus=0), {}, "PyTorch sees no GPU"),
    ],
)
def test_what_is_wrong_is_said_in_its_own_line(
    monkeypatch: pytest.MonkeyPatch, name: str, found: Any, environ: dict[str, str], says: str
) -> None:
    checks = run(monkeypatch, found, **environ)
    assert checks[name][0] == "fails"
    assert says in checks[name][1]


@pytest.mark.parametrize(
    ("driver", "cuda", "status"),
    [
        ("580.65.06", "13.2", "ok"),
        ("575.57.08", "13.0", "fails"),
        ("525.60.13", "12.6", "ok"),
        ("525.60.11", "12.6", "fails"),
        ("", "13.2", "skipped"),
        ("615.71.09", "14.0", "skipped"),
    ],
)
def test_driver_and_cuda_are_compared(
    monkeypatch: pytest.MonkeyPatch, driver: str, cuda: str, status: str
) -> None:
    found = torch(cuda=cuda)
    assert run(monkeypatch, found, driver, CHOSEN_CUDA=cuda)["driver"][0] == status


IN_IMAGE = "/usr/local/cuda-13.0/compat/libcuda.so.580.95.05"
MOUNTED = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"  # by an old toolkit
OF_HOST = "/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15"
REFUSED = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
    "NumCudaDevices() that might have already set an error? Error 804: forward compatibility was "
    "attempted on non supported HW"
)
BUILD = "./docker-amd64/template.sh env --set CUDA_COMPAT={} && ./docker-amd64/template.sh build"


@pytest.mark.parametrize(
    ("library", "driver", "trouble", "status", "says"),
    [
        (OF_HOST, "550.54.15", "", "ok", "the driver's own libcuda 550.54.15"),
        (IN_IMAGE, "550.54.15", "", "ok", "the image's cuda-compat libcuda 580.95.05 on driver"),
        (IN_IMAGE, "550.54.15", REFUSED, "fails", f"Run: {BUILD.format('remove')}"),
        (IN_IMAGE, "550.54.15", "cudaErrorCompatNotSupportedOnDevice", "fails", "CUDA_COMPAT=rem"),
        (IN_IMAGE, "550.54.15", 804, "fails", "CUDA_COMPAT=remove"),
        (IN_IMAGE, "550.54.15", "CUDA out of memory", "ok", "580.95.05"),
        (MOUNTED, "550.54.15", REFUSED, "fails", f"Run: {BUILD.format('remove')}"),
        ("/opt/venv/lib/libcuda.so.570.1.2", "550.54.15", REFUSED, "fails", "Remove the package"),
        ("/usr/lib/wsl/drivers/nv/libcuda.so.1.1", "", "", "ok", "/usr/lib/wsl/drivers"),
        ("", "550.54.15", "", "skipped", "no libcuda"),
    ],
)
def test_verify_says_which_libcuda_is_loaded_and_what_helps_on_error_804(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    library: str,
    driver: str,
    trouble: str | int,
    status: str,
    says: str,
) -> None:
    # PyTorch does not always repeat what CUDA says.
    number, words = (trouble, "") if isinstance(trouble, int) else (0, trouble)
    monkeypatch.setattr(torch_on_gpus, "loaded_libcuda", lambda: (library, number))
    (tmp_path / IN_IMAGE[1:]).parent.mkdir(parents=True)
    (tmp_path / IN_IMAGE[1:]).touch()
    monkeypatch.setattr(torch_on_gpus, "ROOT", str(tmp_path))
    rows = torch_on_gpus.checks(torch(broken=words, gpus=0 if number else 1), "", driver)
    (row,) = (one for one in rows if one[0] == "libcuda")
    assert row[1] == status
    assert says in row[2]


def test_on_a_data_center_gpu_the_libcuda_of_the_image_makes_an_old_driver_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = "535.104.05"
    assert torch_on_gpus.check_driver(torch(), old, "580.95.05")[1] == "ok"
    assert torch_on_gpus.check_driver(torch(), old, old)[1] == "fails"
    (tmp_path / "removed").touch()
    monkeypatch.setattr(torch_on_gpus, "REMOVED_FILE", str(tmp_path / "removed"))
    assert BUILD.format("keep") in torch_on_gpus.check_driver(torch(), old, old)[2]


def test_the_libcuda_that_a_program_gets_is_seen_in_its_own_memory(tmp_path: Path) -> None:
    stub = Path("/lib/x86_64-linux-gnu/libutil.so.1")  # as empty as the libcuda that it plays
    if not stub.exists():
        pytest.skip("no glibc of Debian's kind")
    own = tmp_path / "compat/libcuda.so.580.95.05"
    own.parent.mkdir()
    own.write_bytes(stub.read_bytes().replace(b"libutil.so.1", b"libcuda.so.1"))
    (own.parent / "libcuda.so.1").symlink_to(own.name)
    ask = "import torch_on_gpus; print(*torch_on_gpus.loaded_libcuda())"
    for folder, found in (("compat", f"{own} 0"), ("no-such-folder", "0")):
        environ = {"LD_LIBRARY_PATH": str(tmp_path / folder), "PYTHONPATH": str(SCRIPT.parent)}
        command = [sys.executable, "-B", "-c", ask]
        said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == found


def test_a_container_without_a_gpu_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = run(monkeypatch, torch(gpus=0), driver="", TORCH_CUDA_ARCH_LIST="9.0")
    assert "fails" not in {status for status, _ in checks.values()}


def test_pytorch_that_does_not_import_is_a_failure_only_where_it_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, None)["PyTorch"] == ("fails", "it does not import: ImportError: no")
    assert run(monkeypatch, None, CHOSEN_TORCH="none")["PyTorch"][0] == "skipped"


def torch_in(folder: str, version: str) -> Any:
    found = torch(version)
    found.__file__ = f"{folder}/torch/__init__.py"
    return found


@pytest.mark.parametrize(
    ("base", "found", "status", "says"),
    [
        ("2.14.0a0+4f.nv26.8", torch_in("/base", "2.14.0a0+4f.nv26.08"), "ok", "in /base/torch"),
        ("2.14.0a0+4f.nv26.8", torch_in("/base", "2.15.0"), "fails", "the base image has 2.14.0a0"),
        ("2.13.0", torch_in(f"{sys.prefix}/lib", "2.13.0"), "fails", "it is a copy in "),
        ("", torch_in(f"{sys.prefix}/lib", "2.15.0"), "skipped", "lets it be replaced"),
    ],
)
def test_on_a_base_that_brings_it_pytorch_must_be_the_one_of_the_base(
    monkeypatch: pytest.MonkeyPatch, base: str, found: Any, status: str, says: str
) -> None:
    monkeypatch.setattr(verify, "import_torch", lambda: (found, ""))
    checks = {check.name: check for check in verify.verify({}, base)}
    assert checks["PyTorch of the base"].status == status
    assert says in checks["PyTorch of the base"].says
    assert "PyTorch version" not in checks


def test_what_the_base_brings_is_read_from_its_record(tmp_path: Path) -> None:
    record = tmp_path / "packages.json"
    assert verify.base_torch(str(record)) is None
    record.write_text('{"packages": {"torch": {"version": "2.13.0+cu130"}}}')
    assert verify.base_torch(str(record)) == "2.13.0+cu130"
    record.write_text('{"packages": {}}')
    assert verify.base_torch(str(record)) == ""


def test_a_torch_of_the_base_that_does_not_import_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "import_torch", lambda: (None, "OSError: no libcudart"))
    (check,) = verify.verify({}, "2.13.0+cu130")
    assert check == ("PyTorch", "fails", "it does not import: OSError: no libcudart")


def test_the_compiled_list_is_found_without_a_gpu() -> None:
    def refuse() -> list[str]:
        raise RuntimeError("Found no NVIDIA driver on your system")

    found = torch()
    found.cuda.get_arch_list = refuse
    found._C = SimpleNamespace(_cuda_getArchFlags=lambda: "sm_80 compute_120")
    assert torch_on_gpus.compiled_list(found) == ["sm_80", "compute_120"]


def test_verify_and_the_matcher_agree_about_every_wheel_and_gpu() -> None:
    table = load()
    ccs = sorted({product.cc for product in table.products.values()})
    for release in table.torch.values():
        for variant in release.variants.values():
            for code in filter(None, variant.arch.values()):
                arches = [
                    f"{kind}_{entry.removesuffix('+PTX').replace('.', '')}"
                    for entry in code
                    for kind in (["sm", "compute"] if entry.endswith("+PTX") else ["sm"])
                ]
                for cc in ccs:
                    major, minor = map(int, cc.split("."))
                    has = coverage(targets(tuple(code)), cc, table) is not Coverage.NONE
                    assert torch_on_gpus.covers(arches, (major, minor)) == has, f"{variant} {cc}"


def test_the_jetson_modules_are_those_of_the_table() -> None:
    table = load()
    names = table.jetson_cc | {old for old, new in table.renamed.items() if new in table.jetson_cc}
    assert {f"{major}.{minor}" for major, minor in torch_on_gpus.JETSON} == names


def test_the_oldest_drivers_are_those_of_the_table() -> None:
    families = {str(major): driver for major, driver in torch_on_gpus.FAMILIES.items()}
    assert families == load().families


def test_the_driver_is_read_from_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
        "GCC version:  gcc version 12.2.0\n"
    )
    assert torch_on_gpus.host_driver(str(file)) == "580.95.05"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n")
    assert torch_on_gpus.host_driver(str(file)) == "550.54.15"
    assert torch_on_gpus.host_driver(str(tmp_path / "none")) == ""


def command(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", SCRIPT, *options],
        env={"PYTHONPATH": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_one_json_document_and_fails_when_a_check_fails(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "__version__ = '2.13.0+cpu'\nclass version:\n    cuda = None\n"
    )
    good = command(tmp_path, "--json", CHOSEN_ACCELERATOR="cpu", CHOSEN_TORCH="2.13.0")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["ok"] is True
    bad = command(tmp_path, CHOSEN_ACCELERATOR="cpu", CHOSEN_TORCH="2.14.1")
    assert bad.returncode == 1
    assert re.search(r"PyTorch version +fails +2\.13\.0\+cpu is installed", bad.stdout)


def test_a_wrong_option_gets_one_sentence(tmp_path: Path) -> None:
    wrong = command(tmp_path, "--yaml")
    assert (wrong.returncode, wrong.stderr) == (2, "verify: the only option is --json\n")


def test_the_script_can_be_included_by_the_template_as_it_is() -> None:
    assert not re.search(r"\{[{%#]", SCRIPT.read_text(encoding="utf-8"))
