"""`airflow backup`, `restore` and `reset`, and the backup before an upgrade of Airflow.

A restore loads the archive into a database of another name while the old one still works, and then
exchanges the two names and the Fernet key. Whatever fails before its end leaves the old one.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Iterable, Iterator

from .airflow_archive import (
    TIME,
    Archive,
    ArchiveError,
    Manifest,
    NewerFormatError,
    open_archive,
    write_archive,
)
from .airflow_database import (
    FORMER,
    LOADED,
    PROFILE,
    SERVICE,
    Database,
    database,
    running,
    start_database,
    tables_of_image,
    volumes,
)
from .airflow_secrets import FOLDER, make_secrets
from .ask import read_text
from .compose import call, show, show_text, tidy_end
from .engine_words import compose, engine_command
from .env_file import ProbeError
from .failures import failed
from .files import PRIVATE, make_folder, new_file, write_file
from .place import keep_apart
from .project import USAGE, StopError, called_from, me
from .turn import turn

if TYPE_CHECKING:
    import argparse

    from .airflow_database import Tables
    from .project import Project

KEPT = 3  # backups of each kind that this program makes by itself
BEFORE_RESTORE, BEFORE_UPGRADE = "before-restore", "before-upgrade"
MARK = "api-server"  # the service by which Airflow runs or not
KEY_FILE = "fernet-key"
LOCK_SUFFIX = ".lock"  # of a file that says nothing, but who has it open counts
STAYED = "Nothing was restored. The database and its key are the former ones."


def secrets_folder(project: Project) -> Path:
    """Where Airflow's secrets are, and the backups that this program makes by itself."""
    return project.folder / FOLDER


def image(project: Project) -> str:
    """The image that the services of Airflow have."""
    return project.image("airflow")


# ------------------------------------------------------------------------------------- backup


def write_backup(project: Project, found: Database, path: Path, tables: Tables) -> None:
    """Write the archive of the database. Raises StopError; then there is no archive."""
    revisions = found.revisions()
    if not revisions:
        raise failed("airflow-database-missing", project)
    name = project.settings.get("COMPOSE_PROJECT_NAME")
    made = time.strftime(TIME, time.gmtime())
    about = Manifest(tables.version_of(revisions), made, found.postgres(), name, revisions)
    try:
        key = (secrets_folder(project) / KEY_FILE).read_bytes()
        with new_file(path, PRIVATE) as file:
            write_archive(file, about, key, found.dump())
    except FileExistsError as error:
        raise failed("airflow-archive-exists", project, path=str(path)) from error
    except OSError as error:
        parent = str(next(one for one in path.parents if one.exists()))
        known = {"path": str(path), "parent": parent, "reason": error.strerror or str(error)}
        raise failed("airflow-archive-not-written", project, **known) from error


def file_of(options: argparse.Namespace) -> str:
    """The archive that backup and restore need. Raises StopError."""
    if len(options.words) != 1:
        action = options.action
        sentence = f"airflow {action} needs the name of one archive."
        raise StopError(sentence, f"{me()} airflow {action} airflow.tar", name=USAGE)
    return str(options.words[0])


def backup(project: Project, options: argparse.Namespace) -> int:
    """Write the database and the Fernet key into one archive. Raises StopError."""
    file = file_of(options)
    keep_apart(project)
    path = called_from() / file
    if os.path.lexists(str(path)):  # before anything is started
        raise failed("airflow-archive-exists", project, path=str(path))
    if SERVICE not in volumes(project):
        raise failed("airflow-database-missing", project)
    tables = tables_of_image(project, image(project))
    with tidy_end(), database(project) as found:
        write_backup(project, found, path, tables)
    show(
        "The archive has the key to Airflow's connections: keep it outside of the project, and as "
        "secret as a password. "
        f"To go back to it, run: {me()} airflow restore {quote(file)}"
    )
    print(path)
    return 0


def own_backup(project: Project, found: Database, kind: str, tables: Tables) -> Path:
    """Make a backup that nobody has asked for. Raises StopError."""
    folder = secrets_folder(project) / "backups"
    make_folder(folder)
    now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = folder / f"{kind}-{now}-{os.urandom(2).hex()}.tar"
    write_backup(project, found, path, tables)
    return path


def own_backups(project: Project, kind: str) -> list[Path]:
    """Those of a kind, the newest first."""
    return sorted((secrets_folder(project) / "backups").glob(f"{kind}-*.tar"), reverse=True)


def forget_old(project: Project, kind: str, used: Path | None = None) -> None:
    """Remove all but the newest backups of a kind, and not the one that was just used."""
    for old in own_backups(project, kind)[KEPT:]:
        if not (used and used.exists() and old.samefile(used)):
            old.unlink()


# ------------------------------------------------------------------------------------ restore


@contextmanager
def usable(project: Project, path: Path) -> Iterator[Archive]:
    """An archive that is whole. Raises StopError."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_archive(path))
        except NewerFormatError as error:
            raise newer(project, path, "a newer template") from error
        except (ArchiveError, OSError) as error:
            known = {"path": str(path), "reason": getattr(error, "strerror", None) or str(error)}
            raise failed("airflow-archive-unusable", project, **known) from error
        yield archive


def newer(project: Project, path: Path, what: str, remedy: str = "") -> StopError:
    """The failure of an archive from something newer."""
    return failed("airflow-archive-newer", project, path=str(path), what=what, remedy=remedy)


def check_postgres(project: Project, path: Path, archive: Archive, found: Database) -> None:
    """Raises StopError where the archive's PostgreSQL is newer than that of the database."""
    has = found.postgres()
    if int(archive.about.postgres) > int(has):
        # A newer one does not read the files of this one: another database is needed.
        first = f"{me()} airflow backup former.tar && " if found.revisions() else ""
        remedy = (
            f"{first}{me()} update && {me()} airflow reset && "
            f"{me()} airflow restore {quote(str(path))}"
        )
        what = f"PostgreSQL {archive.about.postgres}, and the project has {has}"
        raise newer(project, path, what, remedy)


def check_versions(project: Project, path: Path, archive: Archive, tables: Tables) -> None:
    """Raises StopError where the archive's Airflow is newer than that of the image."""
    about = archive.about
    if not tables.knows(about.revisions):
        version = about.airflow if about.airflow != tables.version else ""
        what = f"Airflow {version}" if version else "a newer Airflow"
        raise newer(project, path, f"{what}, and the project has {tables.version}")


def agreed(project: Project, question: str, call_again: str) -> bool:
    """Whether the user wants what loses data. Raises StopError if there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        remedy = f"{me()} airflow {call_again} -y"
        raise failed("airflow-not-agreed", project, question=question, remedy=remedy)
    from .update import yes as ask  # noqa: PLC0415  few calls need it

    return ask(question, default=False)


def build(project: Project) -> None:
    """Bring Airflow's images in line with their sources, as `airflow up` does. Raises StopError."""
    from .airflow import build as build_images  # noqa: PLC0415  it needs this module

    build_images(project)


def verb(project: Project, action: str) -> None:
    """Do `airflow up` or `airflow down`. Raises StopError."""
    from .command import call_verb  # noqa: PLC0415  it knows every verb, and this is one

    call_verb("airflow", action, project=project)


def restore(project: Project, options: argparse.Namespace) -> int:
    """Replace the database and the Fernet key by those of an archive; 1 if that is not wanted.

    Raises:
        StopError: it cannot be done. The database is the old one.
    """
    file = file_of(options)
    keep_apart(project)
    path = called_from() / file
    with tidy_end(), usable(project, path) as archive, turn(project.folder, "airflow restore"):
        make_secrets(project)  # it may never have been started
        build(project)  # it is restored for what an update, or its undo, has left
        tables = tables_of_image(project, image(project))
        check_versions(project, path, archive, tables)
        has_run = bool(running(project, f"airflow-{MARK}"))
        with database(project) as found:
            check_postgres(project, path, archive, found)
            about = f"{archive.about.project}, {archive.about.made}"
            question = f"Replace Airflow's database by the backup of {about}?"
            again = f"restore {quote(file)}"
            if not options.yes and found.revisions() and not agreed(project, question, again):
                show("Nothing was changed.")
                return 1
            load(found, archive)
        verb(project, "down")
        try:
            with database(project) as found:
                saved = replace(project, found, archive, tables, migrate=has_run)
        except BaseException:
            if has_run:
                with suppress(ProbeError):  # what has failed first is said
                    verb(project, "up")
            raise
        forget_old(project, BEFORE_RESTORE, path)
    show(f"The database is that of {about}." + (f" The former one is in {saved}" if saved else ""))
    if has_run:
        verb(project, "up")
    return 0


def load(found: Database, archive: Archive) -> None:
    """Load an archive beside the present database. Raises StopError; then nothing is left of it."""
    try:
        found.load(archive.dump())
    except BaseException:
        with suppress(ProbeError):
            found.drop(LOADED)
        show(STAYED)
        raise


def replace(
    project: Project, found: Database, archive: Archive, tables: Tables, *, migrate: bool
) -> Path | None:
    """Exchange the present database for the loaded one; the backup of the former, if it had tables.

    `migrate`: also bring tables of an older Airflow up to date. Otherwise the next `up` does.

    Raises:
        StopError: it could not be done. Database and key are the former ones.
    """
    saved = None
    key_file = secrets_folder(project) / KEY_FILE
    key = read_text(key_file)
    found.drop(FORMER)
    try:
        if found.revisions():
            saved = own_backup(project, found, BEFORE_RESTORE, tables)
        write_file(key_file, archive.key, PRIVATE)
        found.exchange(LOADED, FORMER)
        if migrate and tables.has_to_migrate(archive.about.revisions):
            show(f"Migrating the tables to Airflow {tables.version}.")
            words = ("run", "--rm", "--no-deps", "-T", "airflow-init")
            call(project, compose("--progress", "quiet", *PROFILE, *words), to_stderr=True)
    except BaseException:
        write_file(key_file, key, PRIVATE)
        if found.exists(FORMER):
            found.exchange(FORMER, LOADED)
        found.drop(LOADED)
        show(STAYED)
        raise
    found.drop(FORMER)
    return saved


# -------------------------------------------------------------------------------------- reset


def reset(project: Project, options: argparse.Namespace) -> int:
    """Remove the database, Airflow's own files and its secrets; 1 if that is not wanted.

    Raises:
        StopError: something cannot be removed.
    """
    keep_apart(project)
    question = (
        "Remove Airflow's database with all runs, variables and connections, its logs and its "
        "passwords? Data, DAGs and backups are kept."
    )
    if not options.yes and not agreed(project, question, "reset"):
        show("Nothing was changed.")
        return 1
    with turn(project.folder, "airflow reset"):
        verb(project, "down")
        names = volumes(project).values()
        if names:
            call(project, engine_command("volume", "rm", *names), capture=True)
        folder = secrets_folder(project)
        for one in folder.iterdir() if folder.is_dir() else ():
            if one.is_dir() and one.name != "backups":
                shutil.rmtree(str(one))
            elif not one.is_dir() and one.suffix != LOCK_SUFFIX:
                one.unlink()
    show(f"Airflow is as if it had never been started. Run: {me()} airflow up")
    return 0


# ------------------------------------------------------------------------------------ upgrades


def before_migration(project: Project) -> None:
    """Start the database; if the image's Airflow will migrate its tables, make a backup first.

    `up` calls it before airflow-init.

    Raises:
        StopError: the database is of a newer Airflow than the image, or there is no backup.
    """
    found = start_database(project)
    revisions = found.revisions()
    if not revisions:
        return
    tables = tables_of_image(project, image(project))
    if not tables.knows(revisions):
        raise too_new(project, tables)
    if not tables.has_to_migrate(revisions):
        return
    saved = own_backup(project, found, BEFORE_UPGRADE, tables)
    forget_old(project, BEFORE_UPGRADE)
    former = tables.version_of(revisions) or "an older version"
    show_text(
        f"Airflow {tables.version} changes the tables of {former}. The backup before it: {saved}\n"
        f"To undo the upgrade, run: {me()} update --undo && {me()} build && "
        f"{me()} airflow restore {quote(str(saved))}"
    )


def too_new(project: Project, tables: Tables) -> StopError:
    """The failure of a database that this Airflow does not know; its remedy is a backup, if any."""
    fitting = next(fitting_backups(own_backups(project, BEFORE_UPGRADE), tables), None)
    remedy = f"{me()} airflow restore {quote(str(fitting))}" if fitting else ""
    return failed("airflow-database-newer", project, remedy=remedy)


def fitting_backups(paths: Iterable[Path], tables: Tables) -> Iterator[Path]:
    """Those that this Airflow can use."""
    for path in paths:
        with suppress(ArchiveError, OSError), open_archive(path) as archive:
            if tables.knows(archive.about.revisions):
                yield path
