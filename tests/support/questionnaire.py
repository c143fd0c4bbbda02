"""The questions of copier.yml as Copier sees them: what can be answered, and what comes of it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Copier has no public way to evaluate a questionnaire without asking it. Its version is locked, so
# a change of these names is met when the lock moves, not in somebody's clone.
from copier._main import Worker
from copier._types import MISSING
from copier._user_data import AnswersMap, Question
from jinja2 import Environment, meta
from pathspec import PathSpec

Answers = dict[str, Any]
# The answers to what is asked; and all that is known then, computed values too.
Row = tuple[Answers, Answers]
# The fields of a question on which it depends whether it is asked, and what can be answered.
DECIDING = ("when", "default", "choices")


class Questionnaire:
    """The questions of a template, in their order, asked for a project in `folder`."""

    def __init__(self, template: Path, folder: Path) -> None:
        self._worker = Worker(
            src_path=str(template), dst_path=folder, defaults=True, quiet=True, skip_tasks=True
        )
        # Thousands of evaluations of the same few templates: Copier compiles them anew each time.
        environment = self._worker.jinja_env
        vars(environment)["from_string"] = functools.cache(environment.from_string)
        self.details: dict[str, Mapping[str, Any]] = dict(self._worker.template.questions_data)
        self._offers: dict[tuple[str, ...], tuple[bool, list[Any]]] = {}

    def names(self) -> list[str]:
        """The questions that a person may be asked; not the computed values."""
        return [name for name, details in self.details.items() if details.get("when") is not False]

    def question(self, name: str, known: Answers) -> Question:
        """One question as it stands when these answers and computed values are known."""
        self._worker.answers = AnswersMap(user=known)
        return Question(
            var_name=name,
            answers=self._worker.answers,
            context=self._worker._render_context(),
            jinja_env=self._worker.jinja_env,
            **self.details[name],
        )

    def values(self, name: str, known: Answers) -> list[Any]:
        """What can be answered: all choices not greyed, yes and no, or a text's default.

        Where several can be ticked: nothing, and everything.
        """
        question = self.question(name, known)
        if question.get_type_name() == "bool":
            return [True, False]
        if not question.choices:
            return [question.get_default()]
        choices = [choice for choice in question._formatted_choices if not choice.disabled]
        if question.multiselect:
            return [[], [choice.value for choice in choices]]
        return [question.cast_answer(choice.value) for choice in choices]

    @functools.cached_property
    def reads(self) -> dict[str, frozenset[str]]:
        """What each question looks at: earlier questions, computed values, facts."""
        parse = self._worker.jinja_env.parse
        return {
            name: frozenset(
                other
                for text in _texts([details.get(part) for part in DECIDING])
                for other in meta.find_undeclared_variables(parse(text))
                if other in self.details
            )
            for name, details in self.details.items()
        }

    @functools.cached_property
    def varying(self) -> frozenset[str]:
        """What is not the same in every project: the questions, and what looks at them."""
        found = set(self.names())
        for name in self.details:
            if self.reads[name] & found:
                found.add(name)
        return frozenset(found)

    def outlook(self, names: Iterable[str], known: Answers) -> tuple[str, ...]:
        """What these answers and values are: equal where they make no difference."""
        return tuple(repr(known.get(name)) for name in sorted(names) if name in self.varying)

    def offer(
        self, name: str, known: Answers, given: Mapping[str, Sequence[Any]]
    ) -> tuple[bool, list[Answers]]:
        """Whether a question is asked, and what can be known of it then: answers, or a default."""
        # Of the thousands of times that a question comes up, few are different for it.
        key = (name, *self.outlook(self.reads[name], known))
        if key not in self._offers:
            question = self.question(name, known)
            asked = bool(question.get_when())
            values = self.values(name, known) if asked else [question.get_default()]
            self._offers[key] = asked, values
        asked, values = self._offers[key]
        if asked and name in given:
            values = [*given[name]]
        return asked, [{} if value is MISSING else {name: value} for value in values]

    def combinations(self, given: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
        """Every valid combination.

        `given` names values for questions, in place of all that can be answered.
        """
        yield from self._walk(tuple(self.details), {}, {}, given)

    def _walk(
        self,
        left: Sequence[str],
        answers: Answers,
        known: Answers,
        given: Mapping[str, Sequence[Any]],
    ) -> Iterator[Row]:
        if not left:
            yield answers, known
            return
        name, *rest = left
        asked, offered = self.offer(name, known, given)
        for said in offered:
            more = said if asked else {}
            yield from self._walk(rest, answers | more, known | said, given)

    def render(self, known: Answers) -> dict[str, str]:
        """The files of a project, path to text, without writing them; not the answers file."""
        self._worker.answers = AnswersMap(user=known)
        context = self._worker._render_context()
        values = {name: repr(context.get(name)) for name in self._named}
        texts: dict[str, str] = {}
        for path, text in self._sources:
            into = path.render(context, values)
            if not _matches(known["left_out"], into):
                texts[into] = text.render(context, values)
        return texts

    @functools.cached_property
    def _sources(self) -> list[tuple[_Source, _Source]]:
        """The path and the text of each file of the template."""
        root = self._worker.template_copy_root
        environment = self._worker.jinja_env
        return [
            (
                _Source(str(path.relative_to(root)).removesuffix(".jinja"), environment),
                _Source(path.read_text(), environment if path.suffix == ".jinja" else None),
            )
            for path in sorted(root.rglob("*"))
            if path.is_file() and "answers_file" not in path.name
        ]

    @functools.cached_property
    def _named(self) -> frozenset[str]:
        """What paths and texts look at."""
        return frozenset(name for pair in self._sources for one in pair for name in one.names)


class _Source:
    """A path or a text of the template; rendered once for all rows that it does not tell apart.

    Attributes:
        names: what it looks at.
    """

    def __init__(self, text: str, environment: Environment | None) -> None:
        """Args: environment: what renders the text; without one it is taken as it is."""
        self._text = text
        self._template = None
        self.names: list[str] = []
        self._known: dict[tuple[str, ...], str] = {}
        if environment is not None and "{" in text:
            tree = environment.parse(text)
            assert not [*meta.find_referenced_templates(tree)], "another file would look at more"
            self.names = sorted(meta.find_undeclared_variables(tree))
            self._template = environment.from_string(text)

    def render(self, context: Mapping[str, Any], values: Mapping[str, str]) -> str:
        """The text for a context, whose values as texts tell rows apart."""
        if self._template is None:
            return self._text
        key = tuple(values[name] for name in self.names)
        if key not in self._known:
            self._known[key] = self._template.render(context)
        return self._known[key]


@functools.cache
def _patterns(lines: str) -> PathSpec[Any]:
    return PathSpec.from_lines("gitignore", lines.splitlines())


@functools.cache
def _matches(lines: str, path: str) -> bool:
    """Whether one of the lines, in the form of .gitignore, has the path or a folder of it."""
    return bool(_patterns(lines).match_file(path))


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value of YAML; of a mapping, the keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
