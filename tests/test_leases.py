"""Leases of GPUs: nobody gets one that somebody has, whoever crashes; who came first is first."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from host import gpu_choice, leases, load, nvidia
from host.gpu_choice import Taking, Wish, seconds, wish
from host.gpu_facts import Gpu, GpuFacts, Mig
from host.leases import LEASE, TICKET, Held, claim, entries, put
from host.load import Load
from host.nvidia import NvmlChild
from host.project import StopError
from tests.fakes.machine import environment

GPUS = tuple(f"GPU-{number}" for number in range(3))
IDLE = Load(400, 24564, 0, 0)
BUSY = Load(12000, 24564, 97, 1)
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of leases that is this test's, on a machine without an engine, in quick time."""
    folder = tmp_path / "leases"
    folder.mkdir()
    folder.chmod(0o1777)
    nothing = tmp_path / "bin"
    nothing.mkdir()
    monkeypatch.setenv(leases.PLACE_KEY, str(folder))
    monkeypatch.setenv("PATH", str(nothing))
    monkeypatch.setattr(gpu_choice, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(gpu_choice, "TURN_EVERY", 0.01)
    monkeypatch.setattr(gpu_choice, "PATIENCE", 0.5)
    return folder


def taking(wished: Wish, what: str = "test", loads: dict[str, Load] | None = None) -> Taking:
    """Somebody who asks for GPUs on a machine with these loads; all are idle by default."""
    made = Taking(wished, what)
    made.loads = lambda: dict.fromkeys(GPUS, IDLE) if loads is None else loads
    return made


def idle(number: int, ids: tuple[str, ...] = GPUS) -> Wish:
    return Wish(ids, number)


def failure_of(call: Callable[[], Any]) -> StopError:
    with pytest.raises(StopError) as stop:
        call()
    return stop.value


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something is true."""
    until = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


# --------------------------------------------------------------------------------- a single lease


def test_idle_gpus_are_those_that_nobody_uses_or_has_leased() -> None:
    loads = {GPUS[0]: BUSY, GPUS[1]: IDLE, GPUS[2]: IDLE}
    first = taking(idle(1), loads=loads).take(None)
    second = taking(idle(1), loads=loads).take(None)
    assert (first.gpus, second.gpus) == ((GPUS[1],), (GPUS[2],))
    assert failure_of(lambda: taking(idle(1), loads=loads).take(None)).name == "gpu-none-idle"
    first.drop()
    third = taking(idle(1), loads=loads).take(None)
    assert third.gpus == (GPUS[1],)
    second.drop()
    third.drop()


@pytest.mark.parametrize(
    ("one", "is_idle"),
    [
        (IDLE, True),
        (BUSY, False),
        (Load(400, 24564, None, 1), False),  # between two steps
        (Load(9000, 24564, None, 0), False),  # in WSL, where no processes are listed
        (Load(3000, 143771, 0, 0), True),  # what the driver takes of a large GPU
        (Load(400, 24564, 60, 0), False),
        (Load(12, 9984, None, 0), True),  # an instance of MIG has no utilisation
    ],
)
def test_a_gpu_is_idle_if_nobody_computes_there(one: Load, is_idle: bool) -> None:
    assert one.idle == is_idle


def test_named_gpus_are_leased_whatever_their_load_and_refused_to_others() -> None:
    lease = taking(Wish(GPUS[:2]), "mine", loads={}).take(None)
    stop = failure_of(lambda: taking(Wish(GPUS[1:])).take(None))
    assert stop.name == "gpu-leased"
    assert "(mine)" in stop.sentence
    lease.drop()


def test_a_driver_that_tells_no_load_is_no_reason_to_guess() -> None:
    assert failure_of(lambda: taking(idle(1), loads={}).take(None)).name == "gpu-load-unknown"


def test_a_lease_ends_with_the_last_process_that_has_it_and_leaves_no_file(place: Path) -> None:
    lease = put(LEASE, GPUS[:1], "inherited")
    lease.hand_on()
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lease.descriptor,)
    )
    os.close(lease.descriptor)
    assert [one.gpus for one in entries(LEASE)] == [GPUS[:1]]
    child.kill()
    child.wait()
    assert entries(LEASE) == []
    assert list(place.iterdir()) == []


def test_the_lease_of_a_container_ends_with_the_process_that_waits_for_it(
    place: Path, tmp_path: Path
) -> None:
    docker = tmp_path / "bin" / "docker"
    ended = tmp_path / "ended"
    waits = f'while [ ! -e "{ended}" ]; do /bin/sleep 0.02; done'
    docker.write_text(f'#!/bin/sh\n[ "$1 $2" = "wait job-1" ] || exit 1\n{waits}\n')
    docker.chmod(0o755)
    lease = put(LEASE, GPUS, "a job")
    lease.end_with("job-1")
    os.close(lease.descriptor)
    assert len(entries(LEASE)) == 1
    ended.touch()
    eventually(lambda: entries(LEASE) == [])
    assert list(place.iterdir()) == []


def test_containers_keep_their_gpus_when_the_process_that_waits_was_killed(tmp_path: Path) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.write_text(f"#!/bin/sh\nprintf 'abc\\t{GPUS[0]},{GPUS[1]}\\tproject-job-1\\n'\n")
    docker.chmod(0o755)
    assert taking(idle(1)).free() == [GPUS[2]]
    assert failure_of(lambda: taking(Wish(GPUS[:1])).take(None)).name == "gpu-leased"
    again = Taking(Wish(GPUS[:1]), "dev", container="abc")
    assert again.take(None).gpus == GPUS[:1]


# -------------------------------------------------------------------------- what --gpus can say

FACTS = GpuFacts(
    gpus=(
        Gpu("RTX", GPUS[0], index=0),
        Gpu("H100", GPUS[1], mig_enabled=True, mig=(Mig("a", "MIG-a"), Mig("b", "MIG-b")), index=1),
    )
)


@pytest.mark.parametrize(
    ("text", "limit", "wished"),
    [
        ("idle", "", Wish((GPUS[0], "MIG-a", "MIG-b"), 1)),
        ("idle:2", "1:0,1:1", Wish(("MIG-a", "MIG-b"), 2)),
        ("idle:1", "0", Wish((GPUS[0],), 1)),
        ("0", "1:0", Wish((GPUS[0],))),
        (f"MIG-b,{GPUS[0]}", "", Wish(("MIG-b", GPUS[0]))),
        (GPUS[1], "", Wish(("MIG-a", "MIG-b"))),
        ("all", "0", Wish((GPUS[0], "MIG-a", "MIG-b"))),
    ],
)
def test_gpus_are_named_in_every_way_that_gpu_ids_knows(
    text: str, limit: str, wished: Wish
) -> None:
    assert wish(text, FACTS, limit) == wished


@pytest.mark.parametrize(
    ("text", "limit", "failure"),
    [
        ("7", "", "gpu-not-here"),
        ("", "", "gpu-not-here"),
        ("0;x", "", "gpu-not-here"),
        ("idle:4", "", "gpu-too-many"),
        ("idle:0", "", "gpu-too-many"),
        ("idle:1", "GPU-elsewhere", "gpu-too-many"),
    ],
)
def test_gpus_that_are_not_here_are_refused(text: str, limit: str, failure: str) -> None:
    assert failure_of(lambda: wish(text, FACTS, limit)).name == failure


def test_times_are_as_people_write_them() -> None:
    assert [seconds(text) for text in ("90s", "30m", "1h30m", "2d")] == [90, 1800, 5400, 172800]
    assert failure_of(lambda: seconds("soon")).name == "usage"


def test_loads_are_those_that_nvml_or_nvidia_smi_tells(tmp_path: Path) -> None:
    first, second = (f"GPU-0000000{n}-1111-2222-3333-444444444444" for n in (1, 2))
    busy = tmp_path / "busy"
    busy.write_text(f"{second} 2 9000\n")
    code = "import json; from host.load import *; "
    code += "print(json.dumps({u: l.idle for u, l in current_loads().items()}))"
    silent = {"nvml": "no-gpu", "smi": "mixed"}
    for number, machine in enumerate(({"nvml": "mixed"}, {"smi": "mixed"}, silent)):
        env = environment(tmp_path / f"bin-{number}", **machine)
        env.update(
            FAKE_BUSY=str(busy), PYTHONPATH=f"{env['PYTHONPATH']}:{Path(load.__file__).parents[1]}"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, check=True
        )
        assert json.loads(said.stdout) == {first: True, second: False}


# -------------------------------------------------------------------------------- somebody hostile


TEXTS = ("", "[]", '{"gpus": 5}', '{"gpus": [5]}', "\0" * 999999, "[" * 60000)


def test_files_that_count_for_nothing_neither_stop_nor_block_anybody(place: Path) -> None:
    every = json.dumps({"gpus": GPUS, "what": "mine, for ever"})
    (place / f"{LEASE}unlocked").write_text(every)
    os.mkfifo(place / f"{LEASE}pipe")
    (place / f"{LEASE}folder").mkdir()
    (place / f"{LEASE}link").symlink_to("/proc/self/mem")
    (place / f"{TICKET}link").symlink_to(place / "nowhere")
    locked = []
    for number, text in enumerate(TEXTS):
        file = place / f"{LEASE}odd-{number}"
        file.write_text(text)
        locked.append(file.open("a"))
        fcntl.flock(locked[-1], fcntl.LOCK_EX)
    lease = taking(Wish(GPUS)).take(None)
    assert lease.gpus == GPUS
    lease.drop()
    for one in locked:
        one.close()


def test_what_somebody_writes_into_a_lease_is_one_line_for_others() -> None:
    lease = put(LEASE, GPUS, "a\nGPU 1: leased by root" + 999 * "x")
    (found,) = leases.leases()
    lease.drop()
    assert "\n" not in found.who
    assert len(found.who) < 300


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_another_user_can_neither_end_a_lease_nor_fake_one(place: Path) -> None:
    lease = taking(Wish(GPUS[:1])).take(None)
    place.parents[0].chmod(0o755)

    def other() -> None:
        os.setgid(12345)
        os.setuid(12345)
        (place / f"{LEASE}theirs").write_text(json.dumps({"gpus": GPUS}))
        for file in place.iterdir():
            if file.stat().st_uid == 0:
                with pytest.raises(PermissionError):
                    file.unlink()
                with pytest.raises(PermissionError):
                    file.write_text("")
        # Who asks does so without the right to write, and sees whose it is.
        assert [(one.uid, one.gpus) for one in entries(LEASE)] == [(0, GPUS[:1])]

    open_parents(place)
    child = FORK.Process(target=other)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert taking(Wish(GPUS[1:])).take(None).gpus == GPUS[1:]
    lease.drop()


def open_parents(folder: Path) -> None:
    """Let every user reach a folder of pytest's."""
    for one in folder.parents:
        if one.name.startswith(("pytest-", "popen-")):
            one.chmod(0o755)


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_in_which_others_can_remove_files_is_refused(place: Path, mode: int) -> None:
    place.chmod(mode)
    assert failure_of(lambda: entries(LEASE)).name == "gpu-leases-nowhere"


def test_root_leases_where_everybody_does(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"  # as /run/lock is on Fedora, for root
    own.mkdir(mode=0o755)
    monkeypatch.setattr(leases, "PLACES", (str(own), str(place)))
    monkeypatch.delenv(leases.PLACE_KEY)
    assert leases.place() == place
    monkeypatch.setenv(leases.PLACE_KEY, str(own))
    assert leases.place() == own


# ------------------------------------------------------------------------------------- the queue


@pytest.fixture
def started() -> Iterator[list[Any]]:
    """Processes that a test starts, which end with it."""
    every: list[Any] = []
    yield every
    for one in every:
        one.kill()
        one.join()


def wait_and_tell(log: Path, name: str, wished: Wish) -> None:
    """Wait for GPUs, write the name into the log, hold them for a moment."""
    lease = taking(wished, name).take(240)
    with log.open("a") as file:
        file.write(f"{name}\n")
    time.sleep(0.02)
    lease.drop()


def queue(started: list[Any], log: Path, names: str, wished: Wish) -> None:
    """Let some wait, one after the other."""
    for name in names:
        before = len(entries(TICKET))
        started.append(FORK.Process(target=wait_and_tell, args=(log, name, wished)))
        started[-1].start()
        eventually(lambda before=before: len(entries(TICKET)) == before + 1)  # type: ignore[misc]


def test_who_waits_gets_gpus_in_turn_and_the_dead_hold_up_nobody(
    started: list[Any], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    holder = put(LEASE, GPUS, "all")
    queue(started, log, "abcdef", idle(2))
    os.kill(started[0].pid, signal.SIGKILL)
    os.kill(started[3].pid, signal.SIGKILL)
    eventually(lambda: len(entries(TICKET)) == 4)
    stop = failure_of(lambda: taking(idle(1)).take(None))  # does not jump the queue
    assert stop.name == "gpu-awaited"
    holder.drop()
    for one in started:
        one.join()
    assert log.read_text().split() == ["b", "c", "e", "f"]


def hang(_: object) -> dict[str, Any]:
    """A driver that never answers."""
    time.sleep(60)
    return {}


def ask_a_driver_that_hangs(told: int) -> None:
    """Wait in the queue, and ask the driver meanwhile."""
    ticket = put(TICKET, GPUS, "waits")
    child = NvmlChild(hang)
    os.write(told, f"{child._pid}\n".encode())
    with suppress(TimeoutError):
        child.answer(60)
    ticket.drop()


def test_a_question_that_hangs_in_the_driver_keeps_no_place_in_the_queue(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia, "open_nvml", lambda: None)
    reader, told = os.pipe()
    started.append(FORK.Process(target=ask_a_driver_that_hangs, args=(told,)))
    started[0].start()
    child = int(os.read(reader, 100))
    try:
        assert len(entries(TICKET)) == 1
        os.kill(started[0].pid, signal.SIGKILL)
        started[0].join()
        eventually(lambda: entries(TICKET) == [])
        os.kill(child, 0)  # it hangs still
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(reader)
        os.close(told)


def test_who_wants_other_gpus_is_not_held_up(started: list[Any], tmp_path: Path) -> None:
    holder = put(LEASE, GPUS[:1], "all")
    queue(started, tmp_path / "log", "a", idle(1, GPUS[:1]))
    assert taking(idle(2, GPUS[1:])).take(None).gpus == GPUS[1:]
    holder.drop()


def test_the_end_of_the_time_has_a_status_of_its_own_and_leaves_nothing(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stop = failure_of(lambda: taking(idle(1), loads=dict.fromkeys(GPUS, BUSY)).take(0.2))
    assert (stop.name, stop.status) == ("gpu-wait-over", 75)
    assert list(place.iterdir()) == []
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_gives_up_leaves_nothing(place: Path, started: list[Any], number: int) -> None:
    holder = put(LEASE, GPUS, "all")
    queue(started, place.parent / "log", "a", idle(1))
    os.kill(started[0].pid, number)
    started[0].join()
    assert len(list(place.iterdir())) == 1
    holder.drop()


# ---------------------------------------------------------------- many processes, some of which die


def take_or_claim(dice: random.Random, wished: Wish, name: str, *, in_turn: bool) -> Held | None:
    """A lease by the queue, or without: its order helps, but must not be what keeps GPUs safe."""
    if not in_turn:
        return claim(wished.ids, name, ignore=lambda _: False)
    try:
        return taking(wished, name).take(dice.choice([None, 20.0]))
    except StopError:
        return None


def work(log: int, seed: int, *, in_turn: bool) -> None:
    """Take GPUs again and again, in some way; die at any moment."""
    dice = random.Random(seed)
    name = str(os.getpid())
    for turn in range(6 if in_turn else 60):
        ids = tuple(dice.sample(GPUS, dice.randint(1, len(GPUS))))
        wished = Wish(ids, dice.randint(0, len(ids)))
        lease = take_or_claim(dice, wished, name, in_turn=in_turn)
        if not lease:
            continue
        for gpu in lease.gpus:
            os.write(log, f"{time.monotonic_ns()} {gpu} {name}-{turn} +\n".encode())
        time.sleep(dice.uniform(0, 0.01))
        for gpu in lease.gpus:
            os.write(log, f"{time.monotonic_ns()} {gpu} {name}-{turn} -\n".encode())
        if dice.random() < 0.1:
            os.kill(os.getpid(), signal.SIGKILL)
        lease.drop()


def holders(log: Path, deaths: dict[str, int]) -> dict[str, list[tuple[int, int]]]:
    """When each GPU was held, in nanoseconds: from, to. Who died holds nothing from then on."""
    starts: dict[tuple[str, str], int] = {}
    held: dict[str, list[tuple[int, int]]] = {gpu: [] for gpu in GPUS}
    for line in log.read_text().splitlines():
        at, gpu, who, sign = line.split()
        if sign == "+":
            starts[gpu, who] = int(at)
        else:
            held[gpu].append((starts.pop((gpu, who)), int(at)))
    for (gpu, who), start in starts.items():
        held[gpu].append((start, max(start, deaths[who.partition("-")[0]])))
    return held


@pytest.mark.parametrize("in_turn", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_no_gpu_has_two_holders_and_none_is_lost_whoever_crashes(
    place: Path, tmp_path: Path, started: list[Any], seed: int, in_turn: bool
) -> None:
    dice = random.Random(seed)
    log = tmp_path / "log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(10):
        started.append(
            FORK.Process(
                target=work, args=(descriptor, seed * 100 + number), kwargs={"in_turn": in_turn}
            )
        )
        started[-1].start()
    deaths: dict[str, int] = {}
    for victim in dice.sample(started, 4):
        time.sleep(dice.uniform(0, 0.2))
        deaths[str(victim.pid)] = time.monotonic_ns()
        victim.kill()
    for one in started:
        one.join(240)
        assert one.exitcode is not None
    os.close(descriptor)
    held = holders(log, deaths)
    assert sum(map(len, held.values())) > 5
    for spans in held.values():
        spans.sort()
        assert all(one[1] <= two[0] for one, two in pairwise(spans))
    assert taking(Wish(GPUS)).take(None).gpus == GPUS  # none is lost
    assert [file.name for file in place.iterdir() if file.name.startswith(TICKET)] == []
