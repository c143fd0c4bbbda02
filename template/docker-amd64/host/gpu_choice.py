"""`--gpus` of up and run: GPUs for these containers alone, leased so that no one else takes them.

A lease ends with the container. `run` becomes Compose, which so has the lock of the lease; for a
container in the background, `docker wait` has it. A label of the container says the same, since
those processes can be killed and it then still computes.
"""

from __future__ import annotations

import os
import random
import re
import signal
import tempfile
import time
from typing import TYPE_CHECKING, Callable, NamedTuple

from .accelerator import OF_THIS_CALL, OVERRIDE_FILES, override_in
from .compose import container, end_by_signal, show
from .engine_words import ask_engine
from .failures import failed
from .gpu_facts import gpu_facts
from .gpus import access_kind, known_ids, override_texts, split_ids, unknown_ids
from .leases import (
    LABEL,
    LEASE,
    TICKET,
    claim,
    entries,
    leased_by_containers,
    leases,
    overlapping,
    put,
)
from .load import current_loads
from .place import KEY as NAME_KEY
from .place import LABEL as COMPOSE_LABEL
from .probe import probe
from .project import USAGE, StopError, me

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from .gpu_facts import GpuFacts
    from .leases import Entry, Held
    from .load import Load
    from .project import Project

DEV = "dev"
WAIT_OVER = 75  # exit status; EX_TEMPFAIL of sysexits.h
PATIENCE = 5.0  # seconds for others who do not wait, either
LOOK_EVERY, TURN_EVERY = 3.0, 0.5  # seconds between two looks at the load, and at the queue
SAY_EVERY = 60.0  # seconds
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Wish(NamedTuple):
    """What --gpus says: so many idle ones of `ids`, or all `ids`, which are UUIDs."""

    ids: tuple[str, ...]
    idle: int = 0

    @property
    def number(self) -> int:
        """How many GPUs."""
        return self.idle or len(self.ids)


class Dev(NamedTuple):
    """The dev container: its id, "" for none, whether it runs, and which GPUs it leases."""

    id: str
    runs: bool
    gpus: tuple[str, ...]


NO_DEV = Dev("", runs=False, gpus=())


# ------------------------------------------------------------------------------ what is asked for


def seconds(text: str) -> float:
    """A time such as 2h, 1h30m or 90s. Raises StopError."""
    if not re.fullmatch(r"(\d+[smhd])+", text):
        raise StopError(
            f'--wait needs a time such as 30m or 2h, not "{text}".',
            f"{me()} run --help",
            name=USAGE,
        )
    return float(sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text)))


def uuids(names: Sequence[str], facts: GpuFacts) -> tuple[str, ...]:
    """The UUIDs of GPUs that are named in any way; a GPU with MIG is its instances."""
    known = known_ids(facts.gpus)
    parts = {gpu.uuid: [part.uuid for part in gpu.mig] for gpu in facts.gpus if gpu.mig_enabled}
    found = [one for name in names for one in parts.get(name, [known.get(name, [name])[0]])]
    return tuple(dict.fromkeys(found))


def wish(text: str, facts: GpuFacts, limit: str) -> Wish:
    """What --gpus means on this machine; GPU_IDS, `limit`, says among which to choose idle ones.

    Raises:
        StopError: it means nothing, or a GPU that is not there.
    """
    count = re.fullmatch(r"idle(?::(\d+))?", text)
    named = split_ids(limit if count else text)
    known = [one for one in named if one not in unknown_ids(",".join(named), facts.gpus)]
    if not count and (not re.fullmatch(r"[\w:./=,-]+", text) or known != named):
        unknown = ", ".join(one for one in named if one not in known) or text
        raise failed("gpu-not-here", gpu=unknown)
    ids = uuids(known, facts) if named else facts.gpu_ids
    number = int(count[1] or 1) if count else 0
    if count and not 1 <= number <= len(ids):
        raise failed("gpu-too-many", wanted=str(number), number=str(len(ids)))
    return Wish(ids, number)


# ----------------------------------------------------------------------------- taking and waiting


class Taking:
    """The way to a lease: a ticket, the turn, GPUs that are free.

    Attributes:
        wish: what is asked for.
        what: it is for, as others see it.
        container: the id of the one that is replaced or started again; what it has is free for it.
        loads: the load of GPUs by UUID.
    """

    def __init__(self, wished: Wish, what: str, *, container: str = ""):
        """Take what is asked for; nothing is looked at yet."""
        self.wish, self.what, self.container = wished, what, container
        self.loads: Callable[[], Mapping[str, Load]] = current_loads

    def is_own(self, entry: Entry) -> bool:
        """Whether a lease is that of the container which gets another one now."""
        return bool(self.container) and entry.uid == os.getuid() and entry.what == self.what

    def free(self) -> list[str]:
        """Those of the GPUs that nobody has leased and, for idle ones, nobody uses.

        Raises:
            StopError: GPUs that were named are leased, or the driver does not tell the load.
        """
        taken = {gpu for one in entries(LEASE) if not self.is_own(one) for gpu in one.gpus}
        taken |= {gpu for one in leased_by_containers(self.container) for gpu in one.gpus}
        free = [one for one in self.wish.ids if one not in taken]
        if not self.wish.idle or not free:
            return free
        loads = self.loads()
        if not set(loads) & set(self.wish.ids):
            raise failed("gpu-load-unknown")
        return [one for one in free if one in loads and loads[one].idle]

    def take(self, patience: float | None) -> Held:
        """Lease the GPUs, after all who came earlier for one of them; the lease.

        Args:
            patience: seconds to wait; None for those who do not want to wait.

        Raises:
            StopError: the GPUs are not free, or the time is over.
        """
        until = time.monotonic() + (PATIENCE if patience is None else patience)
        said = 0.0
        ticket = put(TICKET, self.wish.ids, self.what)
        before = signal.signal(signal.SIGTERM, end_by_signal)
        try:
            while True:
                earlier = [one for one in entries(TICKET) if one.order < ticket.order]
                ahead = overlapping(earlier, self.wish.ids)
                free = [] if ahead else self.free()
                if not ahead and len(free) >= self.wish.number:
                    lease = claim(free[: self.wish.number], self.what, ignore=self.is_own)
                    if lease:
                        return lease
                elif patience is None and not ahead:
                    raise self.refusal(free)
                if time.monotonic() > until:
                    if patience is not None:
                        raise self.over()
                    if not ahead:
                        raise self.refusal(free)
                    raise failed("gpu-awaited", number=str(len(ahead)), gpus=self.words)
                if patience and time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    show(f"Waiting for {self.words}; {len(ahead)} before you. To give up: Ctrl-C")
                pause = LOOK_EVERY if patience and not ahead else TURN_EVERY
                left = max(until - time.monotonic(), 0.01)
                time.sleep(min(pause * random.uniform(0.8, 1.2), left))  # noqa: S311  no secret
        finally:
            signal.signal(signal.SIGTERM, before)
            ticket.drop()

    @property
    def words(self) -> str:
        """What is asked for."""
        if not self.wish.idle:
            return ", ".join(self.wish.ids)
        return f"{self.wish.idle} idle GPU" + ("s" if self.wish.idle > 1 else "")

    def refusal(self, free: Sequence[str]) -> StopError:
        """Why somebody who does not wait gets nothing."""
        if not self.wish.idle:
            others = [one for one in leases(self.container) if set(one.gpus) & set(self.wish.ids)]
            who = others[0].who if others else "others, who wait for it"
            return failed("gpu-leased", gpu=self.words, who=who)
        number, idle = str(len(self.wish.ids)), str(len(free))
        return failed("gpu-none-idle", wanted=str(self.wish.idle), number=number, idle=idle)

    def over(self) -> StopError:
        """The time of --wait is over."""
        stop = failed("gpu-wait-over", wanted=self.words)
        stop.status = WAIT_OVER
        return stop


# --------------------------------------------------------------------------- containers with them


def choose_gpus(
    project: Project, options: argparse.Namespace, what: str, current: Dev = NO_DEV
) -> Held | None:
    """Lease what --gpus asks for, and let Compose give it to the containers that it starts now.

    Args:
        project: the project.
        options: with `gpus` and `wait`.
        what: the container is for, in a word: DEV, or the name of a job.
        current: the running dev container that is to be replaced.

    Returns:
        The lease; None without --gpus, and with none.

    Raises:
        StopError: see `wish` and `Taking.take`; or containers cannot get GPUs here.
    """
    asked, wait = options.gpus, options.wait
    if wait is not None and asked in (None, "none"):
        raise StopError("--wait needs --gpus, such as --gpus idle:1.", f"{me()} gpus", name=USAGE)
    patience = None if wait is None else seconds(wait)
    if asked is None:
        return None
    if asked == "none":
        os.environ["REQUIRE_GPU"] = "0"
        give(project, "")
        return None
    facts = gpu_facts(probe(project.folder))
    kind = kind_of_access(project, facts)
    wished = wish(asked, facts, project.settings.get("GPU_IDS"))
    if wished.idle == len(current.gpus) > 0 and set(current.gpus) <= set(wished.ids):
        wished = Wish(current.gpus)  # they are not idle, because the container itself uses them
    lease = Taking(wished, purpose(project, what), container=current.id).take(patience)
    os.environ["GPU_IDS"] = ",".join(lease.gpus)  # of which the container finds it has got them
    label = f'  labels:\n    {LABEL}: "{os.environ["GPU_IDS"]}"\n'
    texts = override_texts(os.environ["GPU_IDS"], facts, label, project.services["code"])
    give(project, texts[OVERRIDE_FILES[kind]])
    return lease


def dev_container(project: Project) -> Dev:
    """The dev container."""
    start = COMPOSE_LABEL.rpartition(".")[0]
    name = project.settings.get(NAME_KEY)
    labels = (f"{COMPOSE_LABEL}={name}", f"{start}.service={DEV}", f"{start}.oneoff=False")
    filters = [f"--filter=label={one}" for one in labels]
    form = f'{{{{.ID}}}}\t{{{{.State}}}}\t{{{{.Label "{LABEL}"}}}}'
    said = ask_engine("ps", "--all", "--no-trunc", *filters, "--format", form).stdout
    number, state, gpus = (*said.partition("\n")[0].split("\t"), "", "", "")[:3]
    return Dev(number, state == "running", tuple(split_ids(gpus)))


def start_with_lease(
    project: Project, options: argparse.Namespace, start: Callable[[], None]
) -> None:
    """Start the dev container with a lease; without --gpus it keeps the GPUs of the one it has."""
    before = dev_container(project)
    if before.gpus and options.gpus is None:
        options.gpus = ",".join(before.gpus)
        again = f"{me()} down && {me()} up"
        show(f"The dev container keeps the GPUs {options.gpus}. To give them back: {again}")
    lease = choose_gpus(project, options, DEV, before if before.runs else NO_DEV)
    start()
    if not lease:
        return
    now = container(project)
    others = (one for one in entries(LEASE) if one.order != lease.order)
    if before.runs and now == before.id and any(one.gpus == lease.gpus for one in others):
        lease.drop()  # nothing was replaced, so it has its lease already
        return
    lease.end_with(now)


def lease_again(project: Project, start: Callable[[], object]) -> None:
    """Start the stopped dev container, with a lease of the GPUs that it has by one.

    Raises:
        StopError: somebody else has them now.
    """
    dev = dev_container(project)
    if dev.runs or not dev.gpus:
        start()
        return
    lease = Taking(Wish(dev.gpus), purpose(project, DEV), container=dev.id).take(None)
    start()
    lease.end_with(dev.id)


def purpose(project: Project, what: str) -> str:
    """What others are told of a lease."""
    return f"{project.settings.get(NAME_KEY)}: {what}"


def kind_of_access(project: Project, facts: GpuFacts) -> str:
    """How containers get GPUs: as COMPOSE_FILE says, or else the best way of this machine.

    Raises:
        StopError: there is none.
    """
    kind = access_kind(project.settings.files())
    if kind in facts.access.kinds:
        return kind
    if not facts.access.kinds:
        reason, fix = facts.access.note, facts.access.fix
        raise failed("gpu-required", project, reason=reason, remedy=fix or f"{me()} gpus")
    return facts.access.kinds[0]


def give(project: Project, text: str) -> None:
    """Let Compose, which this process starts or becomes, read this override file for GPUs.

    It has no name that another command could see or would have to remove. Compose opens it by the
    descriptor of this process, also where Compose is a child of the docker command.
    """
    files = [name for name in project.settings.files() if not override_in([name])]
    if text:
        with tempfile.TemporaryFile("w") as file:
            file.write(text)
            file.flush()
            descriptor = os.dup(file.fileno())
        os.set_inheritable(descriptor, True)
        at = files.index("compose.yaml") + 1 if "compose.yaml" in files else len(files)
        files.insert(at, f"{OF_THIS_CALL}{os.getpid()}/fd/{descriptor}")
    separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    os.environ["COMPOSE_FILE"] = separator.join(files)
    project.forget_settings()
