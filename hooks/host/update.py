"""`template.sh update`: bring this project to a newer version of its template, or other answers.

    python -m host update [VERSION] [--data KEY=VALUE...] [--from FOLDER] [--check] [-y]
    python -m host update --undo

It finds Copier, shows what the versions in between bring, and runs `copier update --trust`. Before
that it writes a program into git's own folder that takes everything back; it is plain shell and
git, because an update that is killed may have left half of this folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .env_file import ProbeError
from .gpus import OVERLAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USAGE = (
    "update knows [VERSION], --data KEY=VALUE, --from FOLDER (a clone of the template), --check, "
    "--undo and -y"
)
COPIER = (9, 17, 2)  # the oldest that renders the template
NEEDED = f"copier>={'.'.join(map(str, COPIER))}"
WITH = "nvidia-ml-py"  # the probe asks the driver through it
ANSWERS = ".copier-answers.yml"  # where Copier looks unless it is told another
CURRENT = ":current:"  # Copier's name for the version that a project has
HOST_FILES = (".env", *OVERLAYS.values())  # what the probe writes and git does not see
RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
# As Copier expands them.
SHORT_URLS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}


class UpdateError(ProbeError):
    """Why there is no update, in one sentence, and the command that helps."""

    def __init__(self, sentence: str, command: str = "") -> None:
        """Take the sentence, and the command if there is one."""
        super().__init__(f"\n{sentence}" + (f"\n  Run: {command}" if command else ""))


@dataclass
class Arguments:
    """What the command line asks for."""

    version: str = ""
    data: tuple[str, ...] = ()
    source: str = ""
    check: bool = False
    undo: bool = False
    yes: bool = False


def read_arguments(words: Sequence[str]) -> Arguments:
    """Read the command line. Raises UpdateError."""
    rest, asked = list(words), Arguments()
    while rest:
        word = rest.pop(0)
        if word in ("-y", "--yes"):
            asked.yes = True
        elif word == "--check":
            asked.check = True
        elif word == "--undo":
            asked.undo = True
        elif word in ("--data", "-d") and rest and re.match(r"[a-z_]+=", rest[0]):
            asked.data += (rest.pop(0),)
        elif word == "--from" and rest:
            asked.source = rest.pop(0)
        elif RELEASE.fullmatch(word) and not asked.version:
            asked.version = f"v{word.lstrip('v')}"
        else:
            raise UpdateError(f"{USAGE}, not {word}.", f"{me()} help")
    return asked


def me() -> str:
    """This project's script, as the person called it."""
    return os.environ.get("TEMPLATE_SH") or "./docker-amd64/template.sh"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and keep what it says, with messages in English."""
    try:
        return subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


# -------------------------------------------------------------------------------- the project


class Project(NamedTuple):
    """A generated project: its folder and docker-amd64, the answers, and git's own folder."""

    root: Path
    docker: Path
    answers_file: str
    template: str
    version: str
    git: Path
    head: str

    @property
    def state(self) -> Path:
        """Where an update leaves what takes it back; each project of a repository has its own."""
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]
        return self.git / "hearth-update" / name

    @property
    def undo(self) -> str:
        """The command that takes the last update back, whatever is left of this folder."""
        return f"sh {shlex.quote(str(self.state / 'undo'))}"


def recorded(text: str, name: str) -> str:
    """What an answers file records under a name, of those that Copier itself writes there."""
    found = re.search(rf"(?m)^{name}: *(.*?) *$", text)
    return found.group(1).strip("'\"") if found else ""


def answers_file_of(docker: Path) -> str:
    """The name of the answers file, relative to the project, as compose.yaml records it."""
    try:
        compose = (docker / "compose.yaml").read_text("utf-8", "replace")
    except OSError:
        compose = ""
    named = re.search(r'(?m)^x-answers: "(.*)"$', compose)
    return named.group(1) if named else ANSWERS


def find_project(docker: Path) -> Project:
    """The project around docker-amd64. Raises UpdateError where no update can start from it."""
    root, answers_file = docker.parent, answers_file_of(docker)
    try:
        answers = (root / answers_file).read_text("utf-8", "replace")
    except OSError as error:
        why = f"There is no {answers_file}, from which an update would start"
        raise UpdateError(
            f"{why}: the project has left its template, or git has the file."
        ) from error
    if not shutil.which("git"):
        raise UpdateError("An update needs git, which is not on this machine.")
    place = run(root, "git", "rev-parse", "--absolute-git-dir")
    if place.returncode and "dubious ownership" in place.stderr:
        raise UpdateError(
            "The repository belongs to another user, whom git does not trust.",
            f"git config --global --add safe.directory {shlex.quote(str(root))}",
        )
    in_root = f"git -C {shlex.quote(str(root))}"
    start = f'{in_root} init && {in_root} add --all && {in_root} commit -m "As it was generated"'
    if place.returncode:
        raise UpdateError("The project is not in git, which keeps your work in an update.", start)
    head = run(root, "git", "rev-parse", "--quiet", "--verify", "HEAD")
    if head.returncode:
        raise UpdateError(
            "Nothing is committed yet: an update compares with the last commit.", start
        )
    return Project(
        root,
        docker,
        answers_file,
        recorded(answers, "_src_path"),
        recorded(answers, "_commit"),
        Path(place.stdout.rstrip("\n")),
        head.stdout.strip(),
    )


def need_clean(project: Project) -> None:
    """Copier compares the project with its last commit. Raises UpdateError if there is more."""
    pending = running(project)
    if pending:
        raise UpdateError("An update runs already." if pending > 0 else interrupted(), project.undo)
    unmerged = conflicts(project.root)
    if unmerged:
        raise UpdateError(
            f"{listed(unmerged)} {'has' if len(unmerged) == 1 else 'have'} conflicts: first solve "
            "them (between <<<<<<< and >>>>>>>), and commit.",
            commit_command(project),
        )
    changes = run(project.root, "git", "status", "--porcelain").stdout.splitlines()
    if changes:
        names = [line[3:] for line in changes]
        raise UpdateError(
            f"There are changes that are not committed ({listed(names)}): an update could not tell "
            "them from its own.",
            commit_command(project, "Before the update"),
        )


def interrupted() -> str:
    """What to say of an update that somebody killed."""
    return "The last update was interrupted. Take it back first; then it can start again."


def conflicts(root: Path) -> list[str]:
    """The files of a project that git calls unmerged, relative to its folder."""
    names = run(root, "git", "diff", "--name-only", "--relative", "--diff-filter=U", "-z")
    return sorted(set(filter(None, names.stdout.split("\0"))))


def listed(names: Sequence[str], most: int = 3) -> str:
    """A few names in a row."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def commit_command(project: Project, message: str = "Update Hearth") -> str:
    """The command that commits everything."""
    where = f"git -C {shlex.quote(str(project.root))}"
    return f"{where} add --all && {where} commit -m {shlex.quote(message)}"


# -------------------------------------------------------------------------------- going back


def running(project: Project) -> int:
    """1 if an update of this project runs, -1 if one was killed, 0 otherwise."""
    try:
        pid = int((project.state / "running").read_text())
    except (OSError, ValueError):
        return 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except OSError:
        pass  # it is there, and another user's
    return 1


UNDO = r"""#!/bin/sh
# Takes back the update of @ROOT@ from @VERSION@. What the update had made of the
# files is not lost: it becomes an entry of `git stash list`.
set -eu
cd @ROOT@
if [ "$(git rev-parse HEAD)" != @HEAD@ ]; then
    echo "There are newer commits: 'git revert' takes back the one with the update." >&2
    exit 1
fi
# A git that was killed leaves its lock.
lock=$(git rev-parse --git-path index.lock)
for second in 1 2 3; do
    if [ -e "$lock" ]; then sleep 1; fi
done
rm -f "$lock"
git add --all -- .
if ! git diff --cached --quiet HEAD -- .; then
    git stash push --quiet --message "An update of Hearth that was taken back" -- .
    echo "The update is taken back. What it had made: git stash show --include-untracked -p"
else
    echo "Nothing had changed; the project is as it was."
fi
for file in @FILES@; do
    if [ -e @STATE@/"$file" ]; then
        cp -p @STATE@/"$file" @DOCKER@/"$file.old.tmp"
        mv @DOCKER@/"$file.old.tmp" @DOCKER@/"$file"
    else
        rm -f @DOCKER@/"$file"
    fi
done
rm -rf @STATE@
"""


def prepare_undo(project: Project) -> None:
    """Keep what git does not see, and write the program that takes the update back."""
    state = project.state
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)  # .env may hold secrets
    for name in HOST_FILES:
        if (project.docker / name).exists():
            shutil.copy2(project.docker / name, state / name)
    text = UNDO
    for mark, value in {
        "ROOT": shlex.quote(str(project.root)),
        "DOCKER": shlex.quote(str(project.docker)),
        "STATE": shlex.quote(str(state)),
        "VERSION": project.version,
        "HEAD": project.head,
        "FILES": " ".join(HOST_FILES),
    }.items():
        text = text.replace(f"@{mark}@", value)
    (state / "undo").write_text(text, "utf-8", "surrogateescape")
    (state / "running").write_text(str(os.getpid()))


def undo(project: Project) -> int:
    """Take the last update back; the exit status. Raises UpdateError if there is none."""
    program = project.state / "undo"
    if not program.is_file():
        raise UpdateError(
            "There is no update that could be taken back here.", "git log --oneline -3"
        )
    return subprocess.run(["sh", str(program)], check=False).returncode


# -------------------------------------------------------------------------------- the template


def address(template: str) -> str:
    """The template's address for git, as Copier reads `_src_path`."""
    for short, full in SHORT_URLS.items():
        if template.startswith(short):
            path = template[len(short) :].lstrip("/")
            return full + (path if path.endswith(".git") else f"{path}.git")
    if template.startswith("git+"):
        return template[4:]
    return str(Path(template).expanduser()) if template.startswith("~") else template


def is_remote(url: str) -> bool:
    """Whether an address needs a network, as opposed to a folder of this machine."""
    return not Path(url).exists() and bool(re.match(r"[a-z+]+://|[\w.-]+@[\w.-]+:", url))


@contextmanager
def history(project: Project, source: str) -> Iterator[Path]:
    """A git folder with the template's versions; fetched without its files from an address.

    Raises UpdateError: it cannot be reached, or is no repository.
    """
    url = source or address(project.template)
    if not is_remote(url):
        if run(Path.cwd(), "git", "-C", url, "rev-parse", "--git-dir").returncode:
            raise UpdateError(
                f"{url} is no repository of the template here."
                + (
                    ""
                    if source
                    else f" The project was made from it: where it is now belongs into "
                    f"{project.answers_file}, as _src_path."
                )
            )
        yield Path(url)
        return
    with tempfile.TemporaryDirectory(prefix="hearth-update-") as folder:
        clone = ("git", "clone", "--quiet", "--bare", "--filter=blob:none", "--", url, "template")
        done = run(Path(folder), *clone)
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["git says nothing"]
            raise UpdateError(
                f"The template cannot be reached at {url} ({words[-1]}). A clone of it on this "
                "machine serves without a network.",
                f"{me()} update --from FOLDER",
            )
        yield Path(folder) / "template"


def number(version: str) -> tuple[int, ...]:
    """The numbers of a released version, to compare them; empty for anything else."""
    found = RELEASE.fullmatch(version)
    return tuple(map(int, found.groups())) if found else ()


def releases(repository: Path) -> list[str]:
    """The tags of released versions, oldest first; pre-releases are none."""
    return sorted(filter(number, run(repository, "git", "tag").stdout.split()), key=number)


def target(project: Project, asked: Arguments, repository: Path) -> str:
    """The version to go to; `CURRENT` where only answers change. Raises UpdateError."""
    known = run(repository, "git", "cat-file", "-e", project.version + "^0")
    if not project.version or known.returncode:
        raise UpdateError(
            f"The template does not know the version that this project was made from "
            f"({project.version or 'none is recorded'}): it was generated from changes that nobody "
            f"committed, or --from names another repository."
        )
    tags = releases(repository)
    if asked.version:
        wanted = next((tag for tag in tags if number(tag) == number(asked.version)), "")
        if not wanted:
            raise UpdateError(
                f"The template has no version {asked.version}; there are {listed(tags[::-1], 5)}."
            )
    else:
        wanted = CURRENT if asked.data else tags[-1] if tags else "HEAD"
    now = base_version(repository, project.version)
    if number(wanted) and number(wanted) < now:
        raise UpdateError(
            f"The project has {project.version}, which is newer than {wanted}: an update cannot go "
            "back to it, but git can."
        )
    return wanted


def base_version(repository: Path, version: str) -> tuple[int, ...]:
    """The numbers of the release that a version is, or was made after."""
    found = run(repository, "git", "describe", "--tags", "--abbrev=0", "--match", "v*.*.*", version)
    return number(version) or number(found.stdout.strip())


def news(repository: Path, old: tuple[int, ...], new: str) -> str:
    """The sections of the changelog behind version `old` up to `new`, newest first."""
    text = run(repository, "git", "show", f"{new}:CHANGELOG.md").stdout
    chosen = []
    for section in re.split(r"(?m)^(?=## |\[[\d.]+\]: )", text):
        heading = re.match(r"## \[?(v?[\d.]+)", section)
        if heading and old < number(heading.group(1)) <= number(new):
            chosen.append(section.rstrip())
    return "\n\n".join(chosen)


# -------------------------------------------------------------------------------- Copier


def copier_command() -> list[str]:
    """The words that start a Copier that is new enough; some fetch it first. Raises UpdateError."""
    installed = shutil.which("copier")
    if installed and copier_version(installed) >= COPIER:
        return [installed]
    if shutil.which("uv"):
        return ["uv", "tool", "run", "--quiet", "--with", WITH, "--from", NEEDED, "copier"]
    if shutil.which("pipx"):
        return ["pipx", "run", "--spec", NEEDED, "copier"]
    for name in ("python3", *(f"python3.{minor}" for minor in range(20, 9, -1)), "python"):
        able = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
        if shutil.which(name) and not run(Path.cwd(), name, "-c", able).returncode:
            return [str(own_copier(name))]
    old = f" ({installed} is older than {'.'.join(map(str, COPIER))})" if installed else ""
    raise UpdateError(
        f"An update needs Copier{old}, and neither uv nor pipx nor a Python 3.10 with venv is here "
        "to get it.",
        f"{shlex.quote(sys.executable)} -m pip install --user uv",
    )


def copier_version(program: str) -> tuple[int, ...]:
    """The version of an installed Copier; empty if it does not say."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", run(Path.cwd(), program, "--version").stdout)
    return tuple(map(int, found.groups())) if found else ()


def own_copier(python: str) -> Path:
    """Copier in an environment of its own under ~/.cache, made by the first update that needs it.

    Raises UpdateError: it cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hearth" / "copier"
    program = folder / "bin" / "copier"
    if program.is_file() and copier_version(str(program)) >= COPIER:
        return program
    print(f"Installing Copier into {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    made = run(Path.cwd(), python, "-m", "venv", str(folder))
    if not made.returncode:
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--upgrade")
        made = run(Path.cwd(), *pip, NEEDED, WITH)
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        words = (made.stderr.strip() or made.stdout.strip() or "no reason given").splitlines()
        raise UpdateError(
            f"Copier could not be installed ({words[-1]}).", f"{python} -m pip download copier"
        )
    return program


def update_command(project: Project, asked: Arguments, wanted: str) -> list[str]:
    """The call of Copier, all but the words that start it."""
    words = ["update", "--trust", "--vcs-ref", wanted]
    # What is new is asked where somebody can answer; known answers stay.
    asks = sys.stdin.isatty() and not (asked.yes or asked.data)
    words += ["--skip-answered"] if asks else ["--defaults", "--quiet"]
    if project.answers_file != ANSWERS:
        words += ["--answers-file", project.answers_file]
    for pair in asked.data:
        words += ["--data", pair]
    return words


def surroundings(project: Project, source: str) -> dict[str, str]:
    """The environment of Copier: with --from, git takes a folder for the template's address."""
    env = dict(os.environ)
    env["PWD"] = env.get("CALLED_FROM", str(project.root))  # where the person's shell is
    if source:
        count = int(env.get("GIT_CONFIG_COUNT", "0"))
        folder = Path(source).resolve().as_uri()
        env["GIT_CONFIG_COUNT"] = str(count + 1)
        env[f"GIT_CONFIG_KEY_{count}"] = f"url.{folder}.insteadOf"
        env[f"GIT_CONFIG_VALUE_{count}"] = address(project.template)
    return env


# -------------------------------------------------------------------------------- the verb


def yes(question: str, *, default: bool) -> bool:
    """What a person at the terminal answers."""
    try:
        answer = input(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
    except (EOFError, KeyboardInterrupt):
        return False
    return answer in ("y", "yes") or (default and not answer)


def agreed(asked: Arguments) -> bool:
    """Whether the person wants the update; who cannot be asked does."""
    return (
        asked.yes
        or not (sys.stdin.isatty() and sys.stdout.isatty())
        or yes("Update the project?", default=True)
    )


def update(docker: Path, words: Sequence[str]) -> int:
    """Do what the command line asks for; the exit status. Raises UpdateError."""
    asked = read_arguments(words)
    project = find_project(docker)
    if asked.undo:
        return undo(project)
    if asked.source:
        # The script that calls this has left the person's folder.
        asked.source = str(Path(os.environ.get("CALLED_FROM") or ".") / asked.source)
    if not asked.check:
        need_clean(project)
    with history(project, asked.source) as repository:
        wanted = target(project, asked, repository)
        now = base_version(repository, project.version)
        told = "" if wanted == CURRENT else news(repository, now, wanted)
    if number(wanted) == now and number(wanted) and not asked.data:
        print(f"The project has the newest version already: {project.version}.")
        return 0
    if told:
        print(f"{told}\n")
    if wanted != CURRENT:
        print(f"From {project.version} to {wanted}.")
    if asked.check:
        return 0
    copier = copier_command()
    if not agreed(asked):
        print("Nothing was changed.")
        return 1
    return perform(project, asked, [*copier, *update_command(project, asked, wanted)])


def perform(project: Project, asked: Arguments, command: list[str]) -> int:
    """Run Copier; take back what it left if it fails; the exit status."""
    prepare_undo(project)
    print(f"To take the update back, also if it is interrupted:\n  {project.undo}", flush=True)
    try:
        status = subprocess.run(
            command, cwd=project.root, env=surroundings(project, asked.source), check=False
        ).returncode
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        print(error, file=sys.stderr)
        status = 127
    (project.state / "running").unlink()
    if status:
        print("\nCopier did not finish; its own words are above.", file=sys.stderr)
        undo(project)
        return status
    if not run(project.root, "git", "status", "--porcelain", "--", ".").stdout:
        shutil.rmtree(project.state, ignore_errors=True)
        print("No file has changed.")
    return 1 if conflicts(project.root) else 0
