"""The questions of copier.yml without Copier: what is asked, offered and refused.

Copier itself needs a disk, Git and a terminal, which a browser has not. Its questions are templates
of Jinja in one YAML file; here the same templates are rendered from the same file. A test holds
that Copier comes to the same answers.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from jinja2 import FileSystemLoader, StrictUndefined, meta, pass_context
from jinja2.sandbox import SandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from jinja2.runtime import Context

ROOT = Path(__file__).resolve().parents[2]
# What Copier looks for to know whether an NVIDIA driver is loaded; nothing else is on this "disk".
DRIVER = "/proc/driver/nvidia/version"
# Computed values that are wanted besides those that the questions themselves read.
COMPUTED = ("data", "unasked_data", "flavour")
TRUE = {"yes", "true", "on", "y", "t", "1"}


class Offer(NamedTuple):
    """One choice of a question; `reason` says why it cannot be chosen, "" if it can."""

    value: str
    label: str
    reason: str


class Answered(NamedTuple):
    """A question with its answer.

    Attributes:
        name: of the question.
        help: what it asks.
        kind: choice, several, switch or text.
        asked: whether Copier asks it after the answers before it.
        value: the answer: text, bool, or a list of texts.
        usual: what Copier takes if nobody answers.
        offers: what can be chosen; () for texts and switches.
        refused: why the given answer is refused, "" if it is not; `value` is `usual` then.
    """

    name: str
    help: str
    kind: str
    asked: bool
    value: Any
    usual: Any
    offers: tuple[Offer, ...]
    refused: str


def _regex_search(value: str, pattern: str, *groups: str) -> Any:
    """As jinja2_ansible_filters has it: the match, or the wanted groups of it."""
    found = re.search(pattern, value)
    if not found or not groups:
        return found and found.group()
    return [found.group(int(group.lstrip("\\"))) for group in groups]


def _regex_replace(value: str, pattern: str, by: str) -> str:
    return re.sub(pattern, by, value)


@functools.lru_cache(maxsize=512)
def _parsed(text: str) -> Any:
    """The choices of a question: the same text comes again with each change of another one."""
    return yaml.safe_load(text)


class Questionnaire:
    """The questions of a copier.yml, in their order."""

    def __init__(self, root: Path = ROOT, computed: Collection[str] = COMPUTED) -> None:
        """Read the questions of a template, in whose folder copier.yml is.

        Args:
            root: that folder.
            computed: computed values that are wanted besides those that the questions read.
        """
        text = (root / "copier.yml").read_text("utf-8")
        rows: dict[str, Any] = yaml.safe_load(text)
        options = {**rows["_envops"], "undefined": StrictUndefined}
        # The same settings as Copier's. Files are read once: in a browser there are none later.
        self._env = SandboxedEnvironment(
            loader=FileSystemLoader(root),
            autoescape=False,
            auto_reload=False,
            **options,
        )
        self._files: set[str] = set()
        self._env.filters |= {
            "regex_search": _regex_search,
            "regex_replace": _regex_replace,
            "fileglob": self._fileglob,
            "realpath": str,
            "basename": lambda path: PurePosixPath(path).name,
            "dirname": lambda path: str(PurePosixPath(path).parent),
        }
        self._compiled = functools.cache(self._env.from_string)
        self._rows = {name: row for name, row in rows.items() if name[0] != "_"}
        needed = self._needed({*COMPUTED, *computed})
        self._rows = {name: row for name, row in self._rows.items() if name in needed}
        self._facts = functools.cache(self._facts_of)

    # With the context, Jinja does not take it for a constant, which it would work out only once.
    @pass_context
    def _fileglob(self, _: Context, pattern: str) -> list[str]:
        return [pattern] if pattern in self._files else []

    def names(self) -> list[str]:
        """The questions that somebody may be asked."""
        return [name for name, row in self._rows.items() if row.get("when") is not False]

    def _needed(self, computed: Collection[str]) -> set[str]:
        """The questions, and the computed values that they read."""
        found = {name for name, row in self._rows.items() if row.get("when") is not False}
        ahead = [*found, *computed]
        while ahead:
            name = ahead.pop()
            found.add(name)
            ahead += [other for other in self._reads(name) if other not in found]
        return found

    def _reads(self, name: str) -> set[str]:
        """The questions and computed values that a row reads, itself or by a macro it calls."""
        row = self._rows[name]
        texts = [row.get(part) for part in ("help", "when", "default", "choices", "validator")]
        found: set[str] = set()
        for text in texts:
            for one in _strings(text):
                found |= meta.find_undeclared_variables(self._env.parse(one))
        return found & set(self._rows)

    def render(self, file: Path, known: Mapping[str, Any]) -> str:
        """A file of the template as a project with these values has it."""
        return self._env.from_string(file.read_text("utf-8")).render(known)

    def _render(self, text: Any, known: Mapping[str, Any]) -> Any:
        if not isinstance(text, str) or "{" not in text:
            return text
        return self._compiled(text).render(known)

    def _facts_of(self, *, driver: bool) -> dict[str, Any]:
        """The values that no answer changes, on a machine with or without an NVIDIA driver."""
        self._files = {DRIVER} if driver else set()
        known = dict(self._base("project", {}))
        constant: dict[str, Any] = {}
        for name, row in self._rows.items():
            if row.get("when") is False and self._reads(name) <= constant.keys():
                constant[name] = self._computed(row, known | constant)
        return constant

    @staticmethod
    def _base(folder: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """What Copier knows before the first question, for an empty folder."""
        settings = SimpleNamespace(
            answers_file=".copier-answers.yml",
            data=dict(data),
            defaults=True,
            dst_path=PurePosixPath(folder),
            overwrite=False,
            skip_tasks=False,
        )
        return {
            "_copier_answers": {},
            "_copier_conf": settings,
            "_external_data": {},
            "_folder_name": PurePosixPath("/", folder).name,
        }

    def _computed(self, row: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
        value = self._render(row["default"], known)
        if row["type"] in {"json", "yaml"}:
            return _parsed(value)
        return _switch(value) if row["type"] == "bool" else str(value)

    def answer(
        self, given: Mapping[str, Any], *, folder: str = "myproj", driver: bool = True
    ) -> tuple[dict[str, Answered], dict[str, Any]]:
        """Answer all questions as `copier copy --defaults --data ...` does in an empty folder.

        Args:
            given: answers by the names of questions. Those to what is not asked take no part.
            folder: the path of the new folder.
            driver: whether the machine that runs Copier has an NVIDIA driver.

        Returns:
            the questions in their order, and all answers and computed values by name.
        """
        known = self._base(folder, given) | self._facts(driver=driver)
        self._files = {DRIVER} if driver else set()
        found: dict[str, Answered] = {}
        for name, row in self._rows.items():
            if row.get("when") is False:
                if name not in known and name not in {"data", "unasked_data"}:
                    known[name] = self._computed(row, known)
                continue
            found[name] = self._answered(name, row, given, known)
            known[name] = found[name].value
        return found, known

    def refused(self, given: Mapping[str, Any]) -> str:
        """Why Copier refuses the names or the form of answers before it asks anything."""
        known = self._base("myproj", given) | self._facts(driver=True)
        return _offers(_parsed_choices(self._rows["data"]["choices"]), self, known)[0].reason

    def folder_refused(self, folder: str) -> str:
        """Why the first question takes no name of a project in a folder, "" if it takes one."""
        name = "project_name"
        known = self._base(folder, {}) | self._facts(driver=True)
        usual = self._answered(name, self._rows[name], {}, known).value
        return self._answered(name, self._rows[name], {name: usual}, known).refused

    def _answered(
        self, name: str, row: Mapping[str, Any], given: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Answered:
        asked = _switch(self._render(row.get("when", True), known))
        choices = row.get("choices")
        offers: tuple[Offer, ...] = ()
        if choices:
            text = self._render(choices, known) if isinstance(choices, str) else choices
            offers = _offers(_parsed_choices(text), self, known)
        kind = _kind(row)
        usual = _read(kind, self._render(row["default"], known))
        value, refused = usual, ""
        if asked and name in given:
            value = _read(kind, given[name])
            if kind == "several":  # as Copier does: in the order of the choices, others left out
                value = [offer.value for offer in offers if offer.value in value]
            refused = _refused_choice(kind, value, offers)
            if not refused:
                text = self._render(row.get("validator", ""), {**known, name: value})
                refused = " ".join(text.split())
            value = usual if refused else value
        words = self._render(row.get("help", ""), known)
        return Answered(name, words, kind, asked, value, usual, offers, refused)


def _strings(value: Any) -> list[str]:
    """All texts of a value of YAML."""
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in _strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    return [value] if isinstance(value, str) else []


def _kind(row: Mapping[str, Any]) -> str:
    if row["type"] == "bool":
        return "switch"
    if row.get("multiselect"):
        return "several"
    return "choice" if row.get("choices") else "text"


def _switch(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in TRUE


def _read(kind: str, value: Any) -> Any:
    """An answer in the form of its question."""
    if kind == "switch":
        return _switch(value)
    if kind == "several":
        return [str(one) for one in (_parsed(value) if isinstance(value, str) else value) or []]
    return str(value)


def _parsed_choices(choices: Any) -> list[tuple[str, Any]]:
    rows = _parsed(choices) if isinstance(choices, str) else choices
    return [*rows.items()]


def _offers(
    rows: Sequence[tuple[str, Any]], questions: Questionnaire, known: Mapping[str, Any]
) -> tuple[Offer, ...]:
    found = []
    for label, row in rows:
        value, reason = (row, "") if not isinstance(row, dict) else (row["value"], row["validator"])
        why = " ".join(questions._render(reason, known).split())
        found.append(Offer(str(value), str(label), why))
    return tuple(found)


def _refused_choice(kind: str, value: Any, offers: Sequence[Offer]) -> str:
    """Why an answer is none of the choices, "" if it is one; Copier's words."""
    if kind not in ("choice", "several"):
        return ""
    reasons = {offer.value: offer.reason for offer in offers}
    if kind == "several":
        return next((reasons[one] for one in value if reasons[one]), "")
    possible = [offer.value for offer in offers if not offer.reason]
    return reasons.get(value, f"{value!r} is not in {possible}")


@functools.cache
def questionnaire() -> Questionnaire:
    """The questions of this template."""
    return Questionnaire()
