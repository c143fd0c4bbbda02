"""The database of Airflow: asked, dumped and replaced by the programs in its own container."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator, NamedTuple

from .airflow_archive import CHUNK
from .airflow_secrets import FOLDER
from .ask import read_json, read_text
from .compose import call, containers, copy_lines, image_id, show_text
from .engine_words import ask_engine, compose, engine_command
from .failures import explain, failed
from .files import PRIVATE, write_file
from .project import StopError, me

if TYPE_CHECKING:
    from .project import Project

SERVICE = "airflow-database"
VOLUMES = (SERVICE, "airflow")
PROFILE = ("--profile", "airflow")
USER = NAME = "airflow"
# Of a restore: what it loads, and what was there before. Both are gone when it has ended.
LOADED, FORMER = "airflow_loaded", "airflow_former"
QUIET = "PGOPTIONS=--client-min-messages=warning"
RENAME = "ALTER DATABASE {} RENAME TO {}"
END_CLIENTS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
TAIL = "20"  # lines that are shown of the database if it has failed
PYTHON = "/opt/airflow/bin/python"
PROGRAM = Path(__file__).with_name("airflow_tables.py")


class Tables(NamedTuple):
    """Which database schemas the Airflow of an image knows; airflow_tables.py says what is what."""

    version: str
    revisions: frozenset[str]
    heads: frozenset[str]
    releases: dict[str, str]

    def knows(self, revisions: Iterable[str]) -> bool:
        """Whether it can use, or migrate, a database."""
        return self.revisions.issuperset(revisions)

    def has_to_migrate(self, revisions: Iterable[str]) -> bool:
        """Whether it can only use it after a migration."""
        return not self.heads.issuperset(revisions)

    def version_of(self, revisions: Iterable[str]) -> str:
        """The version of Airflow that a database is of, "" if that is not known."""
        if not self.has_to_migrate(revisions):
            return self.version
        return next((self.releases[one] for one in revisions if one in self.releases), "")


def tables_of_image(project: Project, image: str) -> Tables:
    """What the Airflow of an image knows: it is asked once, because that takes two seconds.

    Raises:
        StopError: there is no such image, or it has no Airflow.
    """
    file = project.folder / FOLDER / "tables.json"
    found, identity = read_json(read_text(file)), image_id(image)
    if not identity or found.get("image") != identity or not {*Tables._fields} <= {*found}:
        words = ("run", "--rm", "--network", "none", "--entrypoint", PYTHON, image, "-c")
        said = ask_engine(*words, PROGRAM.read_text("utf-8"))
        found = read_json(said.stdout)
        if said.returncode or not found:
            raise failed("airflow-image-silent", project, image=image, said=last_line(said.stderr))
        if file.parent.is_dir():
            write_file(file, json.dumps({"image": identity, **found}), PRIVATE)
    known, heads = (frozenset(found[name]) for name in ("revisions", "heads"))
    return Tables(found["version"], known, heads, found["releases"])


def last_line(text: str) -> str:
    """The last line of what a program said."""
    return (text.strip().splitlines() or ["it said nothing"])[-1].strip()


class Database:
    """The running database.

    Every method raises StopError where a program in the container fails.
    """

    def __init__(self, project: Project, container: str):
        """Take the id of its container."""
        self.project, self.container = project, container

    def words(self, program: str, *words: str) -> list[str]:
        """A command of PostgreSQL in the container, as the user of the database."""
        inside = (self.container, program, f"--username={USER}", *words)
        return engine_command("exec", "--interactive", "--env", QUIET, *inside)

    def sql(self, text: str, database: str = NAME) -> list[str]:
        """The rows that SQL answers. Several statements of one text are one transaction."""
        options = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1")
        words = self.words("psql", *options, f"--dbname={database}", f"--command={text}")
        return b"".join(self.stream(words)).decode().split("\n")[:-1]

    def postgres(self) -> str:
        """The major version of PostgreSQL."""
        return str(int(self.sql("SHOW server_version_num")[0]) // 10000)

    def revisions(self) -> tuple[str, ...]:
        """Which versions its tables have; nothing where there are none.

        Airflow has a table for it, and providers with tables of their own have others.
        """
        names = self.sql(
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' "
            r"AND tablename LIKE 'alembic\_version%'"
        )
        rows = [row for name in names for row in self.sql(f"TABLE {name}")]
        return tuple(sorted(rows))

    def dump(self) -> Iterator[bytes]:
        """A dump in PostgreSQL's custom format, as it comes."""
        return self.stream(self.words("pg_dump", "--format=custom", f"--dbname={NAME}"))

    def load(self, chunks: Iterable[bytes]) -> None:
        """Make the database LOADED from a dump."""
        self.drop(LOADED)
        self.sql(f"CREATE DATABASE {LOADED}", "postgres")
        # The roles of another database are not needed: everything belongs to the only user.
        options = ("--no-owner", "--no-privileges", "--exit-on-error", f"--dbname={LOADED}")
        for _ in self.stream(self.words("pg_restore", *options), chunks):
            pass

    def drop(self, name: str) -> None:
        """Remove a database if there is one."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "postgres")

    def exists(self, name: str) -> bool:
        """Whether there is a database of this name."""
        return name in self.sql("SELECT datname FROM pg_database", "postgres")

    def exchange(self, new: str, old: str) -> None:
        """Give the database `new` the name that Airflow uses, and the present one the name `old`.

        Both or none: it is one transaction.
        """
        self.sql(
            f"{END_CLIENTS}; {RENAME.format(NAME, old)}; {RENAME.format(new, NAME)}", "postgres"
        )

    def stream(self, words: list[str], chunks: Iterable[bytes] | None = None) -> Iterator[bytes]:
        """What a command prints, as it comes; it reads the chunks."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL if chunks is None else pipe, stdout=pipe, stderr=pipe
        )
        lines: deque[bytes] = deque(maxlen=20)
        spoken = threading.Thread(
            target=copy_lines, args=(process.stderr, lines, sys.stderr.buffer), daemon=True
        )
        spoken.start()
        try:
            if process.stdin:
                with suppress(BrokenPipeError):  # it has failed, and says why
                    for chunk in chunks or ():
                        process.stdin.write(chunk)
                with suppress(BrokenPipeError):
                    process.stdin.close()
            if process.stdout:
                yield from iter(lambda: process.stdout.read(CHUNK), b"")  # type: ignore[union-attr]
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        spoken.join()
        if status:
            reason = last_line(b"".join(lines).decode("utf-8", "replace"))
            program = words[words.index(self.container) + 1]
            raise failed("airflow-database-failed", self.project, program=program, reason=reason)


def running(project: Project, service: str) -> str:
    """The id of the running container of a service, "" if there is none."""
    return "".join(containers(project, service, "oneoff=False")[:1])


def start_database(project: Project) -> Database:
    """The database, which is started if it does not run. Raises StopError."""
    if not running(project, SERVICE):
        words = compose(
            "--progress", "quiet", *PROFILE, "up", "--detach", "--no-build", "--wait", SERVICE
        )
        call(project, words, env={"COMPOSE_IGNORE_ORPHANS": "true"})
    return Database(project, running(project, SERVICE))


@contextmanager
def database(project: Project) -> Iterator[Database]:
    """The database, which only runs for the time if it did not before. Raises StopError."""
    if running(project, SERVICE):
        yield start_database(project)
        return
    try:
        yield start_database(project)
    except StopError as error:
        if error.name not in ("", "airflow-database-failed"):
            raise
        # `airflow logs` has nothing to show when the container is gone.
        said = show_last_lines(project)
        if not error.name:
            raise explain(project, said) or error from error
        raise failed(
            "airflow-database-failed", project, cause=error.sentence, remedy=f"{me()} doctor"
        ) from error
    finally:
        ids = containers(project, SERVICE, "oneoff=False", running=False)
        if ids:
            ask_engine("stop", *ids)
            ask_engine("rm", *ids)


def show_last_lines(project: Project) -> str:
    """Show the last lines of the database's log, and return them."""
    text = ""
    for one in containers(project, SERVICE, "oneoff=False", running=False):
        said = ask_engine("logs", "--tail", TAIL, one)
        text += said.stdout + said.stderr
    show_text(f"The last lines of {SERVICE}:\n{text.rstrip()}")
    return text


def volumes(project: Project) -> dict[str, str]:
    """The volumes of Airflow that there are: their names by those in compose.yaml."""
    label = "--filter=label=com.docker.compose"
    project_name = project.settings.get("COMPOSE_PROJECT_NAME")
    found = {}
    for key in VOLUMES:
        labels = (f"{label}.project={project_name}", f"{label}.volume={key}")
        name = ask_engine("volume", "ls", "--quiet", *labels).stdout.strip()
        found.update({key: name} if name else {})
    return found
