"""What two versions of the template make of a project's answers, side by side in scratch folders.

Copier renders both, at the same time, from the files of each version without their history. The
project itself is only read.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import yaml

from host.checkout import UpdateError
from host.versions import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")


class RefusedError(UpdateError):
    """An answer that the questions do not take."""


class File(NamedTuple):
    """A file of a rendering or of a project; of a symbolic link, `data` is where it leads."""

    data: bytes
    executable: bool = False
    link: bool = False


class Rendering(NamedTuple):
    """What a version makes of the answers.

    Attributes:
        files: by their paths, relative to the project, with / between folders.
        answers: those that it recorded, without Copier's own.
        kept: whether a file of this path stays as it is, if the project has it.
    """

    files: dict[str, File]
    answers: dict[str, Any]
    kept: Callable[[str], bool]


def source_of(repository: Path, version: str, folder: Path) -> Path:
    """The files of a version of the template. Raises UpdateError."""
    if not unpack(repository, version, folder):
        raise UpdateError(f"The files of the template's {version} cannot be read.")
    return folder


def described(repository: Path, version: str) -> str:
    """A version as Copier records it."""
    command = ["git", "describe", "--tags", "--always", version]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    return done.stdout.strip() or version


# ------------------------------------------------------------------------------------- answers


def read_answers(text: str, name: str) -> dict[str, Any]:
    """The answers of an answers file, with Copier's own. Raises UpdateError."""
    try:
        answers = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UpdateError(
            f"{name} is no YAML{where}: it has the answers, from which an update starts. Git has "
            "it as it was.",
            f"git log -p -- {name}",
        ) from error
    if not isinstance(answers, dict):
        raise UpdateError(f"{name} has no answers, from which an update would start.")
    return {str(key): value for key, value in answers.items()}


def own(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Answers without what Copier records of itself."""
    return {name: value for name, value in answers.items() if not name.startswith("_")}


@lru_cache
def settings_of(source: Path) -> dict[str, Any]:
    """What copier.yml of a version says."""
    # Where PyYAML has libyaml, it reads this file in a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    settings: dict[str, Any] = yaml.load((source / "copier.yml").read_text("utf-8"), loader)  # noqa: S506  both are safe loaders
    return settings


def questions(source: Path) -> dict[str, dict[str, Any]]:
    """The questions of a version, by their names, also those that only compute a value."""
    return {
        str(name): row if isinstance(row, dict) else {"default": row}
        for name, row in settings_of(source).items()
        if not str(name).startswith("_")
    }


def check_asked(given: Mapping[str, str], known: Mapping[str, dict[str, Any]]) -> None:
    """See that answers are to questions. Raises RefusedError for the first that is not."""
    asked = [name for name, row in known.items() if row.get("when") is not False]
    for name in given:
        if name in asked:
            continue
        if name in known:
            raise RefusedError(f"{name} is computed from the answers: nobody can give it.")
        near = get_close_matches(name, asked, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(asked)}."
        raise RefusedError(f"{name} is no question: {hint}")


def check_taken(
    given: Mapping[str, str], answers: Mapping[str, Any], known: Mapping[str, dict[str, Any]]
) -> None:
    """See that answers were asked for, beside the others. Raises RefusedError."""
    for name in given:
        if name not in answers:
            deciding = {
                other: answers[other]
                for other in answers
                if re.search(rf"\b{other}\b", str(known[name].get("when", "")))
            }
            beside = ", ".join(f"{key}={shown(value)}" for key, value in deciding.items())
            text = " ".join(str(known[name].get("help", "")).split())
            said = f' ("{text}")' if text and "{" not in text else ""
            raise RefusedError(f"{name}{said} is not asked with {beside or 'the other answers'}.")


def shown(value: object) -> str:
    """An answer as --data takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# -------------------------------------------------------------------------------------- Copier


@contextmanager
def without_git() -> Iterator[None]:
    """Let Copier find no git.

    It would ask it about each file that it writes, and these folders are in no repository.
    """
    from plumbum import local  # noqa: PLC0415  part of Copier

    with local.env(PATH=os.devnull):
        yield


def compile_once() -> None:
    """Let Jinja keep what it has compiled.

    Copier compiles the parts of each path anew, and that is most of its time.
    """
    from jinja2 import Environment  # noqa: PLC0415  part of Copier

    compile_text = Environment.compile

    def compile_new(self: Environment, source: Any, *more: Any, **named: Any) -> Any:
        if not isinstance(source, str) or named:
            return compile_text(self, source, *more, **named)
        kept = self.__dict__.setdefault("compiled_once", {})
        key = (source, *more)
        if key not in kept:
            kept[key] = compile_text(self, *key)
        return kept[key]

    Environment.compile = compile_new  # type: ignore[method-assign]


@lru_cache
def quick_worker() -> type[Any]:
    """Copier's worker, which takes names without marks of Jinja as they are.

    Copier compares each part of each path with the answers file's name, and renders both with all
    answers. Those are thousands of texts that are the same afterwards.
    """
    from copier._main import Worker  # noqa: PLC0415  takes a third of a second; run_copy skips nothing

    class Quick(Worker):
        def _render_string(self, string: str, extra_context: Any = None) -> str:
            return string if "{" not in string else super()._render_string(string, extra_context)

        @property
        def answers_relpath(self) -> Path:
            given = self.answers_file
            return given if given and "{" not in str(given) else super().answers_relpath

    return Quick


def run_copier(source: Path, folder: Path, data: Mapping[str, Any], **more: Any) -> Any:
    """Let Copier render a version; its worker.

    Raises:
        RefusedError: Copier refuses an answer; it names the question and what is valid.
        UpdateError: the template cannot be rendered.
    """
    from copier.errors import CopierError  # noqa: PLC0415

    options = {"defaults": True, "quiet": True, "overwrite": True, "skip_tasks": True, **more}
    try:
        with without_git():
            worker = quick_worker()(
                src_path=str(source), dst_path=folder, data=dict(data), **options
            )
            with worker:
                worker.run_copy()
            return worker
    except KeyboardInterrupt:
        raise
    except (ValueError, TypeError) as error:
        found = re.search(
            r"(?:[Vv]alidation error for question|Invalid choice for) '(\w+)'", str(error)
        )
        if found is None and not isinstance(error, ValueError):
            raise UpdateError(f"The template cannot be rendered ({one_line(error)}).") from error
        raise RefusedError(f"{one_line(error)}.") from error
    except CopierError as error:
        raise UpdateError(f"The template cannot be rendered ({one_line(error)}).") from error
    except Exception as error:
        kind = type(error).__name__
        raise UpdateError(
            f"The template cannot be rendered ({kind}: {one_line(error)})."
        ) from error


def one_line(error: BaseException) -> str:
    """What an exception says, in one line without a final stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def rendering(folder: Path, worker: Any, answers_file: str) -> Rendering:
    """What a worker of Copier has made."""
    recorded_answers = own(read_answers((folder / answers_file).read_text("utf-8"), answers_file))
    return Rendering(
        read_tree(folder),
        recorded_answers,
        lambda name: bool(worker.match_skip(Path(name))),
    )


def read_tree(folder: Path) -> dict[str, File]:
    """All files below a folder."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = File(os.fsencode(os.readlink(path)), link=True)  # noqa: PTH115  may be no path
        elif path.is_file():
            found[name] = File(path.read_bytes(), executable=bool(path.stat().st_mode & 0o100))
    return found


def in_parallel(work: Callable[[], T]) -> Callable[[], T]:
    """Do some work in a copy of this process; call the result to wait for it.

    What it raises is raised there.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            try:
                answer: tuple[bool, Any] = (True, work())
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                answer = (False, error)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(writing)

    def wait() -> T:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
        if not said:
            raise UpdateError("The template's older version could not be rendered: it was ended.")
        worked, value = pickle.loads(said)  # noqa: S301  of this very program
        if not worked:
            raise value
        return value  # type: ignore[no-any-return]

    return wait


def sealed(text: str, template: str, version: str) -> str:
    """An answers file with the template's address and version in place of a scratch folder."""
    line = yaml.safe_dump({"_src_path": template}, width=10**6, allow_unicode=True)
    kept = re.sub(r"(?m)^_(commit|src_path):.*\n", "", text)
    names = f"{yaml.safe_dump({'_commit': version}, width=10**6)}{line}"
    comments = re.match(r"(?:#.*\n|\s*\n)*", kept)
    at = comments.end() if comments else 0
    return kept[:at] + names + kept[at:]
