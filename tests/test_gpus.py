"""GPUs for containers: which way fits a host, what .env and overlays say, what is the user's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from host import gpus, load
from host.env_file import ALL, read_env, set_keys
from host.facts import Engine
from host.fill import fill, report
from host.gpu_facts import Access, Gpu, GpuFacts, Mig, chosen_gpus
from host.plain import columns
from tests.fakes.machine import environment
from tests.support.program import put_program, run_program

FIRST = "GPU-00000001-1111-2222-3333-444444444444"
SECOND = "GPU-00000002-1111-2222-3333-444444444444"
PART = "MIG-00000051-1111-2222-3333-444444444444"
SPEC = (Path(__file__).parent / "fakes/gpu_host/nvidia.yaml").read_text()
EXAMPLE = """\
USRID=1000
COMPOSE_FILE=compose.yaml
COMPOSE_PATH_SEPARATOR=:
CPU_OR_GPU=cpu
GPU_IDS=
REQUIRE_GPU=0
"""


def host(env: dict[str, str], *args: str, folder: Path | None = None) -> str:
    """What a verb prints on such a machine."""
    result = run_program(*args, env=env, folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def access_on(tmp_path: Path, spec: str = "", **machine: Any) -> dict[str, Any]:
    """The fact `access` of a faked machine, whose engine looks for CDI files where `spec` is."""
    cdi = tmp_path / "cdi"
    cdi.mkdir()
    if spec:
        (cdi / "nvidia.yaml").write_text(spec)
    env = environment(tmp_path / "bin", cdi=str(cdi), **machine)
    found: dict[str, Any] = json.loads(host(env, "env", "--json"))["access"]
    return found


# ------------------------------------------------------------------------------ the way that fits


@pytest.mark.parametrize(
    ("engine", "spec", "kinds"),
    [
        ("nvidia", "", ["nvidia"]),
        ("cdi", SPEC, ["cdi"]),
        ("both", SPEC, ["cdi", "nvidia"]),
        ("both", SPEC.replace("550.54.15", "535.183.01"), ["nvidia"]),
        ("docker27", SPEC, ["cdi"]),
        ("docker25", SPEC, ["cdi"]),
        ("docker27", json.dumps(yaml.safe_load(SPEC)), ["cdi"]),
    ],
)
def test_a_host_with_gpus_gets_the_way_that_fits_it(
    tmp_path: Path, engine: str, spec: str, kinds: list[str]
) -> None:
    assert access_on(tmp_path, spec, engine=engine, nvml="mixed")["kinds"] == kinds


@pytest.mark.parametrize(
    ("machine", "spec", "note", "fix"),
    [
        ({}, "", "no NVIDIA driver found", ""),
        ({"engine": "both"}, SPEC, "no NVIDIA driver found", ""),
        ({"nvml": "mismatch", "engine": "nvidia"}, "", "reboot", "nvidia-smi"),
        ({"nvml": "mig-empty", "engine": "nvidia"}, "", "no GPU has an instance", "mig -lgip"),
        ({"nvml": "mixed"}, "", "Toolkit is not installed", "apt-get install nvidia-container"),
        ({"nvml": "mixed", "engine": "desktop"}, "", "on Windows only", "context use default"),
        ({"nvml": "mixed", "engine": "daemon-down"}, "", "engine is not running", "docker"),
        ({"nvml": "mixed", "engine": "podman"}, "", "needs a CDI file", "cdi generate"),
        (
            {"nvml": "mixed", "engine": "cdi"},
            SPEC.replace("550.54.15", "535.183.01"),
            "nvidia.yaml was made for driver 535.183.01, and 550.54.15 runs",
            "sudo nvidia-ctk cdi generate --output=/",
        ),
        (
            {"nvml": "mixed", "engine": "cdi-cannot-read"},
            SPEC.replace("0.5.0", "9.0.0"),
            'nvidia.yaml (CDI 9.0.0) cannot be read by this engine: invalid version "9.0.0"',
            "nvidia-ctk cdi generate",
        ),
        (
            {"nvml": "mixed", "engine": "docker25"},
            SPEC.replace("0.5.0", "0.7.0"),
            "(CDI 0.7.0) cannot be read by this engine",
            "nvidia-ctk cdi generate",
        ),
        ({"nvml": "mixed", "engine": "cdi-sees-none"}, SPEC, "cannot be read", "cdi generate"),
        (
            {"nvml": "mixed", "engine": "docker27"},
            SPEC.replace('name: "1"', "name: other"),
            f"nvidia.yaml does not know {SECOND}",
            "nvidia-ctk cdi generate",
        ),
    ],
)
def test_a_host_without_a_way_is_told_why_and_what_helps(
    tmp_path: Path, machine: dict[str, str], spec: str, note: str, fix: str
) -> None:
    found = access_on(tmp_path, spec, **machine)
    assert found["kinds"] == []
    assert note in found["note"]
    assert fix in found["fix"]
    assert not found["note"].endswith(".")


def test_what_keeps_the_better_way_from_being_used_is_told_too(tmp_path: Path) -> None:
    stale = SPEC.replace("550.54.15", "535.183.01")
    found = access_on(tmp_path, stale, engine="both", nvml="mixed")
    assert "was made for driver 535.183.01" in found["note"]


def test_cdi_files_of_other_devices_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC.replace("nvidia.com/gpu", "amd.com/gpu"))
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.yaml").mkdir()
    (tmp_path / "d.txt").write_text(SPEC)
    assert gpus.read_specs([str(tmp_path), "/nowhere"]) == []


def test_a_cdi_file_that_a_later_folder_replaces_does_not_count(tmp_path: Path) -> None:
    for name, driver in (("etc", "535.183.01"), ("run", "550.54.15")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nvidia.yaml").write_text(SPEC.replace("550.54.15", driver))
    used = gpus.read_specs([str(tmp_path / "etc"), str(tmp_path / "run")])
    assert [spec.drivers for spec in used] == [("550.54.15",)]


# ------------------------------------------------------------------------------------- the overlays

TWO = (Gpu("RTX 4090", FIRST, "8.9", index=0), Gpu("V100", SECOND, "7.0", index=1))
SLICED = (
    Gpu("H100", FIRST, "9.0", mig_enabled=True, mig=(Mig("a", "MIG-a"), Mig("b", PART)), index=0),
)


def reserved(texts: dict[str, str]) -> tuple[Any, Any]:
    """What both overlays ask for: the request to NVIDIA's runtime, and the devices of CDI."""
    nvidia = yaml.safe_load(texts["compose.nvidia.yaml"])["services"]
    cdi = yaml.safe_load(texts["compose.cdi.yaml"])["services"]
    assert nvidia["runtime"] == nvidia["dev"]
    assert cdi["runtime"] == cdi["dev"]
    (request,) = nvidia["dev"]["deploy"]["resources"]["reservations"]["devices"]
    assert "devices" not in nvidia["dev"]
    assert "deploy" not in cdi["dev"]
    return request, cdi["dev"]["devices"]


@pytest.mark.parametrize(
    ("gpu_ids", "found", "names", "ids", "devices"),
    [
        ("", TWO, ("0", "1", "all"), None, ["all"]),
        ("all", TWO, ("0", "1", "all"), None, ["all"]),
        ("", TWO, ("0", "1"), None, ["0", "1"]),
        (SECOND, TWO, ("0", "1", "all"), [SECOND], ["1"]),
        (SECOND, TWO, (FIRST, SECOND), [SECOND], [SECOND]),
        (f"{SECOND}, {FIRST}", TWO, ("0", "1"), [SECOND, FIRST], ["1", "0"]),
        ("1", TWO, (FIRST, SECOND), ["1"], [SECOND]),
        ("1", TWO, ("gpu0", "gpu1"), ["1"], ["gpu1"]),
        (PART, SLICED, ("0:0", "0:1", "all"), [PART], ["0:1"]),
        ("0:1", SLICED, ("MIG-a", PART), ["0:1"], [PART]),
        (PART, SLICED, ("mig0:0", "mig0:1"), [PART], ["mig0:1"]),
        ("GPU-elsewhere", TWO, ("0", "1"), ["GPU-elsewhere"], ["GPU-elsewhere"]),
        ('x"$(y)\n', TWO, ("0",), ["xy"], ["xy"]),
        ("0,0, 0", TWO, ("0", "1"), ["0"], ["0"]),
    ],
)
def test_overlays_name_the_gpus_of_gpu_ids_and_nothing_is_left_open(
    gpu_ids: str,
    found: tuple[Gpu, ...],
    names: tuple[str, ...],
    ids: list[str] | None,
    devices: list[str],
) -> None:
    facts = GpuFacts(gpus=found, access=Access(("cdi",), names))
    request, cdi = reserved(gpus.override_texts(gpu_ids, facts))
    assert request["driver"] == "nvidia"
    assert request["capabilities"] == ["gpu", "compute", "utility"]
    assert (request.get("device_ids"), request.get("count")) == (ids, None if ids else "all")
    assert cdi == [f"nvidia.com/gpu={name}" for name in devices]


@pytest.mark.parametrize(
    ("gpu_ids", "found", "kept"),
    [("1", TWO, 1), (PART, SLICED, 1), ("0:1", SLICED, 1), ("0", SLICED, 1), ("", TWO, 2)],
)
def test_compute_capabilities_are_those_of_gpus_named_in_any_way(
    gpu_ids: str, found: tuple[Gpu, ...], kept: int
) -> None:
    assert len(chosen_gpus(GpuFacts(gpus=found), gpu_ids).gpus) == kept


# -------------------------------------------------------------------------- .env: machine and user


def facts_with(*kinds: str, gpus_found: tuple[Gpu, ...] = TWO, reachable: bool = True) -> GpuFacts:
    """A machine with GPUs, whose engine hands them over in these kinds."""
    note = "" if kinds else "the NVIDIA Container Toolkit is not installed"
    return GpuFacts(
        gpus=gpus_found,
        gpu_status="found" if gpus_found else "none",
        engine=Engine(kind="docker", reachable=reachable),
        access=Access(kinds, ("0", "1", "all"), note, "" if kinds else "sudo apt-get install it"),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The docker-amd64 of a project with `accelerator: cuda`."""
    monkeypatch.delenv("GPU_IDS", raising=False)
    path = tmp_path / "docker-amd64"
    path.mkdir()
    (path / ".env.example").write_text(EXAMPLE)
    return path


def said(folder: Path) -> tuple[str, str]:
    env = read_env((folder / ".env").read_text())
    return env["CPU_OR_GPU"], env["COMPOSE_FILE"].replace("compose.", "").replace("yaml:", "")


def test_the_machine_decides_where_the_user_does_not(folder: Path) -> None:
    for kinds, mode, files in [
        (("cdi", "nvidia"), "gpu", "cdi.yaml"),
        (("nvidia",), "gpu", "nvidia.yaml"),
        ((), "cpu", "yaml"),
        (("cdi",), "gpu", "cdi.yaml"),
    ]:
        fill(folder, facts=facts_with(*kinds))
        assert said(folder) == (mode, files)
    before = (folder / ".env").read_text()
    fill(folder, facts=facts_with("cdi"))
    assert (folder / ".env").read_text() == before


def test_a_user_who_wants_the_cpu_keeps_it_and_can_go_back(folder: Path) -> None:
    fill(folder, facts=facts_with("cdi"))
    set_keys(folder, ["CPU_OR_GPU=cpu"])
    for _ in range(2):
        fill(folder, facts=facts_with("cdi"))
        assert said(folder) == ("cpu", "yaml")
    set_keys(folder, ["CPU_OR_GPU=gpu"])
    fill(folder, facts=facts_with("cdi"))
    assert said(folder) == ("gpu", "cdi.yaml")


def test_cpu_that_was_there_before_the_first_fill_stays(folder: Path) -> None:
    (folder / ".env").write_text("CPU_OR_GPU=cpu\n")
    fill(folder, facts=facts_with("cdi"))
    assert said(folder) == ("cpu", "yaml")


def test_a_user_who_swapped_the_overlay_keeps_his(folder: Path) -> None:
    fill(folder, facts=facts_with("cdi", "nvidia"))
    set_keys(folder, ["COMPOSE_FILE=compose.yaml:compose.nvidia.yaml"])
    for facts in (facts_with("cdi", "nvidia"), facts_with("cdi"), facts_with()):
        fill(folder, facts=facts)
        assert said(folder)[1] == "nvidia.yaml"
    fill(folder, ["COMPOSE_FILE"], facts=facts_with("cdi", "nvidia"))
    assert said(folder) == ("gpu", "cdi.yaml")


def test_a_user_who_took_the_overlay_out_or_put_one_in_keeps_that(folder: Path) -> None:
    fill(folder, facts=facts_with("cdi"))
    set_keys(folder, ["COMPOSE_FILE=compose.yaml"])
    fill(folder, facts=facts_with("cdi"))
    assert said(folder) == ("gpu", "yaml")
    fill(folder, ALL, facts=facts_with(gpus_found=()))
    set_keys(folder, ["COMPOSE_FILE=compose.yaml:compose.cdi.yaml"])
    fill(folder, facts=facts_with(gpus_found=()))
    assert said(folder) == ("cpu", "cdi.yaml")


def test_there_is_never_more_than_one_overlay_and_the_users_files_stay(folder: Path) -> None:
    (folder / "mine.yaml").touch()
    files = "compose.yaml:compose.cdi.yaml:compose.nvidia.yaml:mine.yaml"
    (folder / ".env").write_text(f"COMPOSE_FILE={files}\n")
    fill(folder, ["COMPOSE_FILE"], facts=facts_with("nvidia"))
    assert said(folder)[1] == "nvidia.yaml:mine.yaml".replace("yaml:", "")


def test_a_machine_that_gives_no_answer_changes_nothing(folder: Path) -> None:
    fill(folder, facts=facts_with("cdi"))
    before = (folder / ".env").read_text()
    for facts in (GpuFacts(gpu_status="unknown"), facts_with(reachable=False)):
        fill(folder, facts=facts)
        assert (folder / ".env").read_text() == before


def test_an_engine_that_was_down_at_the_first_fill_is_asked_again(folder: Path) -> None:
    fill(folder, facts=facts_with(reachable=False))
    assert said(folder) == ("cpu", "yaml")
    fill(folder, facts=facts_with("nvidia"))
    assert said(folder) == ("gpu", "nvidia.yaml")


def test_a_project_of_an_older_template_gets_its_overlay(folder: Path) -> None:
    (folder / ".env").write_text("COMPOSE_FILE=compose.yaml\nCPU_OR_GPU=gpu\nGPU_IDS=1\n")
    fill(folder, facts=facts_with("cdi"))
    assert said(folder) == ("gpu", "cdi.yaml")


def test_both_overlays_are_written_for_gpu_ids_and_follow_it(folder: Path) -> None:
    fill(folder, facts=facts_with("cdi"), chosen={"GPU_IDS": SECOND})
    for gpu_ids, devices in [(SECOND, ["1"]), ("0", ["0"]), ("", ["all"])]:
        set_keys(folder, [f"GPU_IDS={gpu_ids}"])
        fill(folder, facts=facts_with("cdi"))
        texts = {path.name: path.read_text() for path in folder.glob("compose.*.yaml")}
        assert reserved(texts)[1] == [f"nvidia.com/gpu={name}" for name in devices]
    set_keys(folder, ["GPU_IDS=0,1,0"])
    notes = fill(folder, facts=facts_with("cdi")).notes
    assert "GPU_IDS names 0 more than once; containers get it once." in notes


def test_an_overlay_that_did_not_change_is_not_written_again(folder: Path) -> None:
    fill(folder, facts=facts_with("cdi"))
    before = (folder / "compose.cdi.yaml").stat().st_mtime_ns
    fill(folder, facts=facts_with("cdi"))
    assert (folder / "compose.cdi.yaml").stat().st_mtime_ns == before


def test_gpus_of_the_shell_go_before_those_of_env(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_IDS", "1")
    fill(folder, facts=facts_with("cdi"))
    assert '"nvidia.com/gpu=1"' in (folder / "compose.cdi.yaml").read_text()


def test_a_project_for_the_cpu_has_no_overlay_and_no_word_of_gpus(folder: Path) -> None:
    (folder / ".env.example").write_text("COMPOSE_FILE=compose.yaml\n")
    filled = fill(folder, facts=facts_with("cdi"))
    assert read_env((folder / ".env").read_text()) == {"COMPOSE_FILE": "compose.yaml"}
    assert not list(folder.glob("compose.*"))
    assert not [line for line in report(filled) if "GPU" in line]


def test_the_report_says_how_containers_get_gpus_or_why_not(folder: Path) -> None:
    lines = report(fill(folder, facts=facts_with()))
    assert lines[-1] == (
        "The containers get no GPU: the NVIDIA Container Toolkit is not installed. "
        "To mend it: sudo apt-get install it"
    )
    lines = report(fill(folder, facts=facts_with("cdi")))
    assert lines[-1] == "The containers get GPUs by CDI (compose.cdi.yaml)."
    set_keys(folder, ["GPU_IDS=7"])
    assert any("GPU_IDS names 7" in line for line in report(fill(folder, facts=facts_with("cdi"))))


# ------------------------------------------------------------------------------ template.sh gpus


def listing(tmp_path: Path, folder: Path, env: str, **machine: str) -> list[list[str]]:
    (folder / ".env").write_text(env)
    for name in ("compose.yaml", "compose.nvidia.yaml"):
        (folder / name).touch()
    said = host(environment(tmp_path / "bin", **machine), "gpus", folder=put_program(folder))
    return [line.split("  ") for line in said.splitlines()]


def cells(rows: list[list[str]], at: int) -> list[str]:
    return [cell.strip() for cell in rows[at] if cell.strip()]


def test_gpus_are_listed_with_load_owners_and_a_mark(tmp_path: Path, folder: Path) -> None:
    env = f"CPU_OR_GPU=gpu\nCOMPOSE_FILE=compose.yaml:compose.nvidia.yaml\nGPU_IDS={SECOND}\n"
    rows = listing(tmp_path, folder, env, smi="mixed", engine="nvidia")
    name, owner = "NVIDIA GeForce RTX 4090", Path("/proc/1").owner()
    assert cells(rows, 1) == ["0", name, "12.5 of 24 GiB", "98 %", owner, FIRST]
    assert cells(rows, 2)[0] == "*"
    assert cells(rows, 2)[-2:] == ["process 999999", SECOND]
    assert len(rows) == 4


def test_mig_instances_are_listed_under_their_gpu(tmp_path: Path, folder: Path) -> None:
    rows = listing(tmp_path, folder, f"CPU_OR_GPU=cpu\nGPU_IDS={PART}\n", smi="mig")
    assert [cells(rows, at)[0] for at in (1, 2, 3, 4)] == ["0", "0:0", "*", "1"]
    assert cells(rows, 3)[1:3] == ["0:1", "MIG 3g.40gb"]


def test_gpus_that_containers_do_not_get_are_told_why(tmp_path: Path, folder: Path) -> None:
    rows = listing(tmp_path, folder, "CPU_OR_GPU=gpu\nCOMPOSE_FILE=compose.yaml\n", smi="mixed")
    assert "Toolkit is not installed" in rows[-2][0]
    assert rows[-1][1].startswith("Run: sudo apt-get install")


def test_a_machine_without_gpus_gets_one_sentence(tmp_path: Path, folder: Path) -> None:
    (row,) = listing(tmp_path, folder, "CPU_OR_GPU=cpu\n")
    assert row == ["No GPU: no NVIDIA driver found (neither libnvidia-ml.so.1 nor nvidia-smi)."]


def test_a_driver_that_tells_no_load_still_gives_a_list() -> None:
    assert load.share("[N/A]", "24564") == ""
    assert columns([["a", "bb"], ["ccc", "d"]]) == ["a    bb", "ccc  d"]
    assert columns([["a\n  Run: evil", "b\tc"]]) == [r"a\n  Run: evil  b\tc"]
