"""What is asked of the reader, and what it finds: plain values that JSON can hold."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from .names import pip_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TAKEN, CHANGED, LEFT_OUT = "taken", "changed", "left_out"
MAIN, DEV = "main", "dev"
# What an entry becomes: a line for pip or for conda, a limit for what others need, an address.
PIP, CONDA, CONSTRAINT, INDEX, FIND_LINKS, CHANNEL, NOTHING = (
    *("pip", "conda", "constraint", "index", "find-links", "channel", ""),
)
MANY = 60  # packages with exact versions: what an export has, and nobody writes by hand


class Place(NamedTuple):
    """Where a line is; line 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        """The place as messages name it."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Wanted:
    """What the answers of a project say.

    Attributes:
        manager: pip or conda.
        python: such as 3.12, "" where a base image decides.
        torch: the version of PyTorch, "" for none.
        cuda: such as 12.9, "" for none.
        accelerator: cuda or cpu.
        base_has_torch: whether the base image brings Python and PyTorch.
        offered: the values that the template has for an answer; a question that is not in it may
            have any.
    """

    manager: str = "pip"
    python: str = ""
    torch: str = ""
    cuda: str = ""
    accelerator: str = "cpu"
    base_has_torch: bool = False
    offered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_project(cls, data: Mapping[str, Any]) -> Wanted:
        """The answers as a project's host/project.json has them."""
        offered = data.get("offered") or {}
        return cls(
            manager=data.get("package_manager", "pip"),
            python=data.get("python", ""),
            torch=data.get("torch", ""),
            cuda=data.get("cuda", ""),
            accelerator=data.get("accelerator", "cpu"),
            base_has_torch=bool(data.get("base_has_torch")),
            offered={question: tuple(values) for question, values in offered.items()},
        )

    @property
    def answers(self) -> dict[str, str]:
        """The values that decide versions."""
        return {
            "python_version": self.python,
            "torch_version": self.torch,
            "cuda_version": self.cuda,
            "accelerator": self.accelerator,
        }


@dataclass(frozen=True)
class Verdict:
    """What becomes of a line, before it has a place.

    Attributes:
        outcome: TAKEN, CHANGED or LEFT_OUT.
        reason: one clause; the same for all lines that have the same fate for the same reason.
        becomes: the requirement, spec or address; "" where nothing is to be added.
        kind: what `becomes` is.
        apt: packages of the distribution that may have it.
        compiled: whether it is compiled against PyTorch when it is installed.
    """

    outcome: str
    reason: str = ""
    becomes: str = ""
    kind: str = NOTHING
    apt: tuple[str, ...] = ()
    compiled: bool = False


@dataclass(frozen=True)
class Entry:
    """One line of one file, and what becomes of it."""

    place: Place
    text: str
    verdict: Verdict
    group: str = MAIN

    def as_dict(self) -> dict[str, Any]:
        """The entry for JSON."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "text": self.text,
            "group": self.group,
            **asdict(self.verdict),
        }


@dataclass(frozen=True)
class ListFile:
    """A file that lists dependencies.

    Attributes:
        path: seen from the root, with slashes.
        kind: requirements, environment, pixi, pipfile, lock or metadata.
        group: MAIN or DEV.
        taken: whether it is read unless somebody says otherwise.
        reason: why it is not.
    """

    path: str
    kind: str
    group: str = MAIN
    taken: bool = True
    reason: str = ""


@dataclass
class Intake:
    """Every line of every file that was read, each in one of three lists."""

    entries: list[Entry] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # files that cannot be read, and why

    def with_outcome(self, outcome: str) -> list[Entry]:
        """The entries of one of the three lists."""
        return [entry for entry in self.entries if entry.verdict.outcome == outcome]

    def lines(self, kind: str, group: str | None = MAIN) -> list[str]:
        """What is to be added of one kind, each once; all groups for None."""
        return list(
            dict.fromkeys(
                entry.verdict.becomes
                for entry in self.entries
                if entry.verdict.kind == kind
                and entry.verdict.becomes
                and group in {None, entry.group}
            )
        )

    @property
    def compiled(self) -> list[str]:
        """Lines that are compiled against PyTorch when they are installed."""
        found = (entry.verdict for entry in self.entries if entry.verdict.compiled)
        return list(dict.fromkeys(verdict.becomes for verdict in found if verdict.becomes))

    @property
    def apt(self) -> list[str]:
        """Packages of the distribution in place of what was left out."""
        return sorted({name for entry in self.entries for name in entry.verdict.apt})

    def notes(self) -> list[str]:
        """What a person should know: one sentence for all lines with the same reason."""
        return [*grouped(self.entries), *self._exported()]

    def _exported(self) -> Iterator[str]:
        """The hint on a list that somebody's program wrote."""
        exact = [
            e for e in self.entries if e.verdict.kind == CONDA and e.verdict.outcome == CHANGED
        ]
        if len(exact) > MANY:
            yield (
                "Every package has an exact version, as in an export: "
                "if they cannot be had together, keep the lines of what you import."
            )

    def as_dict(self) -> dict[str, Any]:
        """The whole for JSON."""
        return {
            **{
                outcome: [entry.as_dict() for entry in self.with_outcome(outcome)]
                for outcome in (TAKEN, CHANGED, LEFT_OUT)
            },
            "requirements": {group: self.lines(PIP, group) for group in (MAIN, DEV)},
            "specs": {group: self.lines(CONDA, group) for group in (MAIN, DEV)},
            "channels": self.lines(CHANNEL, None),
            "constraints": self.lines(CONSTRAINT, None),
            "indexes": self.lines(INDEX, None),
            "find_links": self.lines(FIND_LINKS, None),
            "compiled_against_torch": self.compiled,
            # As [tool.uv.extra-build-dependencies] has it: their setup.py imports torch.
            "extra_build_dependencies": {pip_name(line): ["torch"] for line in self.compiled},
            "apt": self.apt,
            "notes": self.notes(),
        }


def shortened(names: Iterable[str], most: int = 6) -> str:
    """A few names and how many more there are."""
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def grouped(entries: Iterable[Entry]) -> list[str]:
    """The notes on entries: what is left out is named to the last."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        verdict = entry.verdict
        if verdict.reason and verdict.outcome != TAKEN:
            text = entry.text if len(entry.text) < MANY * 2 else f"{entry.text[: MANY * 2]}..."
            if verdict.reason.startswith(UNREADABLE):
                text = f"{text} ({entry.place})"
            reasons.setdefault((verdict.outcome, verdict.reason), []).append(text)
    return [
        f"{shortened(texts, MANY if outcome == LEFT_OUT else 6)}: {reason}."
        for (outcome, reason), texts in reasons.items()
    ]


UNREADABLE = "left out, as it cannot be read"


def left_out(why: str, apt: tuple[str, ...] = ()) -> Verdict:
    """A line that is not taken; `why` completes "left out, ..."."""
    return Verdict(LEFT_OUT, f"left out, {why}", apt=apt)


def unreadable(what: str) -> Verdict:
    """A line that means nothing; the note names its place."""
    return Verdict(LEFT_OUT, f"{UNREADABLE}: {what}")


def settled() -> Verdict:
    """A line that asks for what is there anyway."""
    return Verdict(TAKEN)


# --- versions -------------------------------------------------------------------------------------


def specifiers(text: str) -> SpecifierSet | None:
    """A version clause as pip has it, None where it is none.

    A `packaging` before 22, as Ubuntu 22.04 has it, takes other texts for old specifiers.
    """
    try:
        found = SpecifierSet(text)
    except InvalidSpecifier:
        return None
    return found if all(type(one) is Specifier for one in found) else None


def fits(version: str, asked: str) -> bool:
    """Whether a version is among those asked for; what cannot be read fits nothing.

    A version of two numbers, such as an answer's 3.12, stands for all of its releases.
    """
    wanted = specifiers(asked)
    if wanted is None:
        return False
    try:
        found = Version(version)
    except InvalidVersion:
        return False
    if wanted.contains(found, prereleases=True):
        return True
    whole_series = version.count(".") == 1
    return whole_series and any(
        wanted.contains(Version(f"{version}.{patch}"), prereleases=True) for patch in range(40)
    )


def pinned(asked: str) -> str:
    """The version that a clause with == names, "" where it names none."""
    found = re.search(r"===?\s*v?([\w.!]+?)(?:\.\*)?(?:\+[\w.]+)?\s*(?:,|$)", asked)
    return found[1] if found else ""


def decided_by_answer(question: str, asked: str, wanted: Wanted) -> Verdict:
    """The verdict on a version that an answer decides.

    Args:
        question: the name of the answer.
        asked: the versions that are asked for, as pip writes them; "" for any.
        wanted: the answers; one that fits is what the line asks for.
    """
    now = wanted.answers[question]
    if now and (not asked or fits(now, asked)):
        return settled()
    command = f"template.sh update --data {question}="
    offered = wanted.offered.get(question)
    if offered is None:
        version = pinned(asked)
        if question == "python_version":
            version = ".".join(version.split(".")[:2])
        return left_out(f"an answer decides it ({command}{version or '...'})")
    for value in offered:
        if asked and fits(value, asked):
            return left_out(f"an answer decides it ({command}{value})")
    other = (pinned(asked) or asked) if asked and specifiers(asked) else "what it asks for"
    has = f"{question} is {now}, and {other}" if now else other
    return left_out(f"an answer decides it: {has} is not offered")
