"""Do an update: render both versions, merge them with the project, write, and tell what is left.

It runs in the Python of a Copier, as the last part of hooks/update. Nothing of the project is
touched before all is known: what changes, that it can be written, and what takes it back.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml

from hooks.update.__main__ import can_ask, project_of
from hooks.update.after_update import MERGED, called_lines, kept_lines, moved_lines
from hooks.update.after_update import Project as Updated
from hooks.update.beside import unused
from hooks.update.carried import CARRIED, DEPENDENCIES, LISTS, OLD
from hooks.update.changes import ChangedError, Plan, Project, plan_of
from hooks.update.merge import decoded, encoded
from hooks.update.renamed import renamed_from_older
from hooks.update.renderings import (
    File,
    RefusedError,
    Rendering,
    check_asked,
    check_taken,
    compile_once,
    described,
    in_parallel,
    own,
    questions,
    quick_worker,
    read_answers,
    read_tree,
    rendering,
    run_copier,
    sealed,
    settings_of,
    source_of,
)
from hooks.update.snapshot import (
    MADE,
    apply,
    check_possible,
    leave,
    note_made,
    overtaken,
    take,
)
from hooks.update.versions import base_version
from host.ask import capture, read_text
from host.checkout import HOST_FILES, UpdateError, conflicts, listed, undo
from host.env_file import ProbeError
from host.plain import write_plainly
from host.versions import number

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from host.checkout import Checkout

# In which versions are rendered, whatever name the project's has, in rendered-old and rendered-new,
# by which data.jinja knows it.
FOLDER = "project"


class Update:
    """One update of one project.

    Attributes:
        project: the project, as its last commit has it.
        request: what template.sh has handed over.
        scratch: a folder for what nobody needs later.
    """

    def __init__(self, request: dict[str, Any]):
        """Take what template.sh has handed over."""
        self.request, self.project = request, project_of(request)
        self.scratch = Path(request["scratch"])
        self.given = dict(pair.split("=", 1) for pair in request["data"])

    # ------------------------------------------------------------------------- rendering

    def sources(self) -> tuple[Path, Path]:
        """The files of the version that the project has, and those of the new one.

        Raises UpdateError.
        """
        self.source = self.new_source()
        # Beside git, Python reads Copier, which both renderings need.
        with ThreadPoolExecutor(1) as beside:
            old = beside.submit(self.old_source)
            quick_worker()
            return old.result(), self.source

    def old_source(self) -> Path:
        """The files of the version that the project has. Raises UpdateError."""
        version = self.project.version
        if self.request["wanted"] == version:
            return self.source
        return source_of(Path(self.request["repository"]), version, self.scratch / "old-version")

    def new_source(self) -> Path:
        """The files of the new version. Raises UpdateError."""
        if "source" in self.request:
            return Path(self.request["source"])
        repository, folder = Path(self.request["repository"]), self.scratch / "new-version"
        return source_of(repository, self.request["wanted"], folder)

    def recorded(self) -> dict[str, Any]:
        """The recorded answers, with Copier's own. Raises UpdateError."""
        project = self.project
        answers = read_answers(read_text(project.root / project.answers_file), project.answers_file)
        for key, known in (("_src_path", project.template), ("_commit", project.version)):
            if str(answers.get(key)) != known:
                raise UpdateError(
                    f"{project.answers_file} says {key} in a way that two programs read "
                    f"differently ({known}; {answers.get(key)}).",
                    f"git log -p -- {shlex.quote(project.answers_file)}",
                )
        return answers

    def render(self) -> tuple[dict[str, File], Rendering]:
        """What the old version makes of the old answers, and the new one of the new.

        Raises UpdateError.
        """
        project, answers = self.project, self.recorded()
        before, source = self.sources()
        self.questions = questions(source)
        check_asked(self.given, self.questions)
        # Nor does it delete what the new version leaves alone.
        excluded = tuple(str(one) for one in settings_of(source).get("_exclude", []))
        there = self.scratch / "rendered-old" / FOLDER

        def render_old() -> dict[str, File]:
            compile_once()
            try:
                run_copier(
                    before,
                    there,
                    own(answers),
                    answers_file=Path(project.answers_file),
                    exclude=excluded,
                )
            except RefusedError as error:
                raise UpdateError(
                    f"{project.answers_file} has an answer that {project.version} does not take: "
                    f"{error.sentence}",
                    f"git log -p -- {shlex.quote(project.answers_file)}",
                ) from error
            return read_tree(there)

        asks = can_ask() and not (self.request["yes"] or self.given)
        # Beside a person who answers, nothing has to be quick.
        old = render_old() if asks else None
        waiting: Callable[[], dict[str, File]] = in_parallel(render_old) if old is None else dict
        compile_once()
        try:
            new = self.render_new(answers, asks=asks)
        finally:
            old = waiting() if old is None else old
        check_taken(self.given, new.answers, self.questions)
        return old, new

    def render_new(self, answers: dict[str, Any], *, asks: bool) -> Rendering:
        """What the new version makes of the answers. Raises UpdateError."""
        project = self.project
        file, folder = project.answers_file, self.scratch / "rendered-new" / FOLDER
        text = read_text(project.root / file)
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_bytes(encoded(text))
        self.migrate("before", folder, self.texts_before)
        known = own(read_answers(read_text(folder / file), file))
        data: dict[str, Any] = dict(self.given)
        if not asks:
            made = self.copy(folder, data)
            if not set(made.answers) - set(known):
                return made
            shutil.rmtree(folder)
        # Where a question is new, its default may depend on the project's own files.
        worker = run_copier(
            self.source,
            project.root,
            data,
            answers_file=Path(file),
            exclude=("*",),
            pretend=True,
            defaults=not asks,
            skip_answered=asks,
        )
        hidden = worker.answers.hidden
        asked = {k: v for k, v in worker.answers.combined.items() if k in self.questions}
        data = {k: v for k, v in asked.items() if k not in hidden}
        # Under a name that a migration has given it, Copier does not see an answer there.
        data.update({k: v for k, v in known.items() if k in data and k not in own(answers)})
        return self.copy(folder, {**data, **self.given})

    def copy(self, folder: Path, data: dict[str, Any]) -> Rendering:
        """Let Copier render the new version. Raises UpdateError."""
        file = self.project.answers_file
        worker = run_copier(self.source, folder, data, answers_file=Path(file))
        self.worker = worker
        return rendering(folder, worker, file)

    # ------------------------------------------------------------------------ migrations

    def texts_before(self, text: str, **more: Any) -> str:
        """A text of copier.yml, before the new version is rendered."""
        from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415  seldom needed

        return SandboxedEnvironment().from_string(text).render(self.context({}), **more)

    def texts_after(self, text: str, **more: Any) -> str:
        """A text of copier.yml, with all answers."""
        template = self.worker.jinja_env.from_string(text)
        return str(template.render({**self.context(self.worker.answers.combined), **more}))

    def context(self, answers: Any) -> dict[str, Any]:
        """What the texts of copier.yml can name."""
        project = self.project
        conf = SimpleNamespace(
            src_path=self.source,
            dst_path=project.root,
            answers_file=project.answers_file,
            data=self.given,
            defaults=not can_ask() or self.request["yes"] or bool(self.given),
            skip_tasks=False,
            quiet=True,
            overwrite=True,
            sep=os.sep,
            os="macos" if sys.platform == "darwin" else "linux",
        )
        hidden = self.worker.answers.hidden if answers else ()
        shown = {k: v for k, v in answers.items() if k in self.questions and k not in hidden}
        return {
            **answers,
            "_copier_conf": conf,
            "_copier_answers": shown,
            "_copier_python": sys.executable,
            "_copier_operation": "update",
            "_copier_phase": "migrate",
            "_folder_name": project.root.name,
            "_version_from": project.version,
            "_version_to": self.request["wanted"],
        }

    def migrate(self, stage: str, folder: Path, render: Callable[..., str]) -> None:
        """Run the migrations of a stage in a folder, as Copier does.

        Those before see the answers file alone: nothing of the project changes before all is known.
        https://copier.readthedocs.io/en/stable/configuring/#migrations
        """
        settings = settings_of(self.source)
        env = {
            **os.environ,
            "STAGE": stage,
            "VERSION_FROM": self.project.version,
            "VERSION_TO": self.request["wanted"],
            MERGED: "1",
        }
        for row in settings.get("_migrations", []):
            when = row.get("when", "{{ _stage == 'after' }}")
            yes = yaml.safe_load(render(str(when), _stage=stage) or "false")
            if not (yes and self.is_due(row)):
                continue
            words = row["command"]
            shell = isinstance(words, str)
            command = (
                render(words, _stage=stage)
                if shell
                else [render(str(word), _stage=stage) for word in words]
            )
            place = folder / render(str(row.get("working_directory", ".")), _stage=stage)
            sys.stdout.flush()
            done = subprocess.run(command, shell=shell, cwd=place, env=env, check=False)
            if done.returncode:
                raise UpdateError(f"A migration of the template failed: {command}.")

    def is_due(self, row: Mapping[str, Any]) -> bool:
        """Whether a migration's version is one of those that this update goes through."""
        if "version" not in row:
            return True
        repository = Path(self.request["repository"])
        old, new = self.project.version, self.request["wanted"]
        reached = number(new) or ((inf,) if old != new else base_version(repository, old))
        return base_version(repository, old) < number(str(row["version"])) <= reached

    # --------------------------------------------------------------------------- merging

    def plan(self, old: dict[str, File], new: Rendering) -> Plan:
        """What changes in the project. Raises UpdateError."""
        project = self.project
        said = capture("git", "ls-files", "-t", "-z", "--", ".", cwd=project.root).stdout
        rows = [row for row in said.split("\0") if row]
        renamed = partial(
            renamed_from_older,
            project.root,
            answers_file=project.answers_file,
            template=(Path(self.request["repository"]), project.version),
        )
        self.here = here = Project(project.root, [row[2:] for row in rows], renamed)
        answers = new.files[project.answers_file]
        version = self.request["wanted"]
        if not number(version):
            version = described(Path(self.request["repository"]), version)
        text = sealed(decoded(answers.data), project.template, version)
        theirs = {**new.files, project.answers_file: answers._replace(data=encoded(text))}
        base = {name: file for name, file in old.items() if name != project.answers_file}
        need_on_disk(project, [row[2:] for row in rows if row[0] == "S"], {*base, *theirs})
        # Copier always writes it anew; it has nothing of the user's.
        record = theirs.pop(project.answers_file)
        plan = plan_of(here, base, theirs, new.kept, carried=CARRIED)
        if record != here.file(project.answers_file):
            plan.writes[project.answers_file] = record
        return plan

    # ----------------------------------------------------------------------------- work

    def run(self) -> int:
        """Do it; the exit status. Raises StopError."""
        old, new = self.render()
        plan = self.plan(old, new)
        check_possible(self.project, plan)
        project = self.project
        # The hook may keep a list so.
        lists = [project.root / DEPENDENCIES / name for name in LISTS]
        left = [unused(path, OLD).relative_to(project.root).as_posix() for path in lists]
        unmerged = [one.name for one in plan.conflicts]
        try:
            take(
                project,
                [*plan.touched, *CARRIED, *left],
                self.scratch,
                unmerged,
                self.contents(plan),
            )
            self.here.check_unchanged(plan.touched)
        except (OSError, UpdateError):  # nothing was changed that could be taken back
            shutil.rmtree(project.state, ignore_errors=True)
            raise
        print(f"To take the update back, also if it is interrupted:\n  {project.undo}", flush=True)
        try:
            apply(project, plan, self.here.check_unchanged)
            print("".join(f"{line}\n" for line in self.told(plan)), end="")
            self.migrate("after", project.root, self.texts_after)
        except KeyboardInterrupt:
            return self.give_up("It was interrupted", 130)
        except ChangedError as error:
            leave(project, error.names)
            status = self.give_up(error.sentence.rstrip("."), 1)
            shown = " ".join(shlex.quote(name) for name in error.names)
            here = shlex.quote(str(project.root))
            print(f"What was saved meanwhile is kept. To see it: git -C {here} diff -- {shown}")
            return status
        except (OSError, ProbeError, subprocess.CalledProcessError) as error:
            return self.give_up(" ".join(str(error).split()).rstrip("."), 1)
        return self.finish(plan)

    def contents(self, plan: Plan) -> Iterator[tuple[str, bytes]]:
        """What was at each path and what is written there, but for lists that the hook changes."""
        for name in plan.touched:
            for file in (self.here.seen.get(name), plan.writes.get(name)):
                if file and name not in CARRIED:
                    yield name, file.data

    def give_up(self, why: str, status: int) -> int:
        """Take back what was done; the exit status."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        (self.project.state / "running").unlink(missing_ok=True)
        sys.stdout.flush()
        print(f"\nThe update did not finish: {why}.", file=sys.stderr)
        undo(self.project)
        return status

    def told(self, plan: Plan) -> list[str]:
        """What became of files in which the user had changed something, or which others name."""
        project = self.project
        lines = kept_lines(plan.kept)
        lines += [
            f"{old} is {new} now; your changes went along." for old, new in plan.moved.items()
        ]
        lines += [
            f"{old} is {new} in your project: the template's changes of it are there."
            for old, new in plan.followed.items()
        ]
        lines += [
            f"{name} is yours, and git does not have it: the template's is {new}."
            for name, new in plan.beside.items()
        ]
        here = Updated(project.root, project.answers_file, self.source, project.version)
        lines += called_lines(here, plan.deletes)
        for name in [*plan.kept, *(one.name for one in plan.conflicts)]:
            lines += moved_lines(here, name)
        return lines

    def finish(self, plan: Plan) -> int:
        """Leave the project to the person; the exit status."""
        project = self.project
        if (project.docker / ".env").exists():
            shutil.copy2(project.docker / ".env", project.state / "updated.env")
        saved = overtaken(project, plan)
        for name in saved:
            both = (project.root / name, project.state / MADE / name)
            compare = " ".join(["diff -u", *(shlex.quote(str(path)) for path in both)])
            print(
                f"{name} was saved by another program while the update was at work: that is kept, "
                f"without the template's changes. To compare: {compare}"
            )
        note_made(project, saved)
        (project.state / "running").unlink()
        if not capture("git", "status", "--porcelain", "--", ".", cwd=project.root).stdout:
            if plan.touched or host_files_changed(project):
                print("No file has changed but those of this machine, such as .env.")
            else:
                shutil.rmtree(project.state, ignore_errors=True)
                print("No file has changed.")
        for one in plan.conflicts:
            print(self.reasons(one.name))
        return 1 if conflicts(project.root) else 0

    def reasons(self, name: str) -> str:
        """Why a file has conflicts: the user's last commit of it, and the template's news."""
        log = ("git", "log", "-1", "--format=%h %s", "--", name)
        mine = capture(*log, cwd=self.project.root).stdout.strip()
        base = name.rpartition("/")[2]
        news = [
            line.lstrip("-* ").strip()
            for line in self.request.get("news", "").splitlines()
            if base in line
        ]
        theirs = news[0] if news else f"changed in {self.request['wanted']}"
        return f"  {name}: yours is of {mine or 'no commit'}; the template's: {theirs}"


def need_on_disk(project: Checkout, skipped: Iterable[str], names: Container[str]) -> None:
    """See that no file of the template is missing only because git was told not to write it.

    Raises UpdateError.
    """
    absent = [
        name for name in skipped if name in names and not os.path.lexists(project.root / name)
    ]
    if absent:
        raise UpdateError(
            f"A sparse checkout leaves out {listed(absent)}: an update would take "
            f"{'it' if len(absent) == 1 else 'them'} for deleted.",
            f"git -C {shlex.quote(str(project.root))} sparse-checkout disable",
        )


def host_files_changed(project: Checkout) -> bool:
    """Whether a file that git does not see is another than before the update."""

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.exists() else None

    return any(content(project.docker / n) != content(project.state / n) for n in HOST_FILES)


def main(file: str) -> int:
    """The command line; the exit status."""
    write_plainly()
    try:
        update = Update(json.loads(Path(file).read_text("utf-8")))
        return update.run()
    except ProbeError as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nNothing was changed.", file=sys.stderr)
        return 130
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"\nAn update cannot use{where}: {error.strerror or error}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
