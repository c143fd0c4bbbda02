"""Releases a version, or makes the tags of released ones: `make release`, `make release-tags`.

    release.py release X.Y.Z         checks all that a release has to be, tests, records and tags it
    release.py release X.Y.Z COMMIT  the same, but CI has tested this last commit
    release.py tags                  makes the annotated tags of RELEASES that this clone lacks

Nothing is pushed. A tag that exists, here or at the remote, is never moved or replaced. First the
line of RELEASES is committed and then the tag is made: if something comes between the two, `tags`
makes what is missing. Exit status: 0 done, 1 something stands in the way, 2 wrong usage.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.generated import GENERATED, is_fresh
from tests.support.locks import LOCKS, pyproject, unlocked

ROOT = Path(__file__).resolve().parents[1]
RELEASES, CHANGELOG = ROOT / "RELEASES", ROOT / "CHANGELOG.md"
BRANCH = "main"
PYTHON = ".venv/bin/python"
EDIT = "${EDITOR:-vi} CHANGELOG.md"
VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
TESTS = ("make", "test")
SHORT = 12  # digits of a commit in a sentence
FEW = 3  # names of files in a sentence


class Problem(NamedTuple):
    """What stands in the way, in one sentence, and the one command that helps."""

    says: str
    run: str


class StopError(Exception):
    """What was asked for cannot be done; `problems` says why."""

    def __init__(self, *problems: Problem) -> None:
        """Take what stands in the way."""
        super().__init__(*(problem.says for problem in problems))
        self.problems = problems


class GitError(Exception):
    """Git failed; the text is the last line of what it said."""


def git(*arguments: str, given: str | None = None, **environment: str) -> str:
    """Run Git in the repository and give what it prints.

    Raises:
        GitError: it failed.
    """
    done = subprocess.run(
        ("git", *arguments),
        cwd=ROOT,
        env=os.environ | environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise GitError(said[-1] if said else f"git {arguments[0]} failed")
    return done.stdout.rstrip("\n")


def is_here(commit: str) -> bool:
    """Whether this clone has a commit."""
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, so that versions compare rightly."""
    return tuple(map(int, version.split(".")))


def after(version: str) -> str:
    """The next patch release."""
    major, minor, patch = numbers(version)
    return f"{major}.{minor}.{patch + 1}"


# --- what is released already --------------------------------------------------------------------


def released() -> dict[str, str]:
    """Versions and commits of RELEASES, in its order."""
    rows = [line.split() for line in RELEASES.read_text(encoding="utf-8").splitlines()]
    return {row[0]: row[1] for row in rows if row and not row[0].startswith("#")}


def _versions(lines: list[list[str]]) -> dict[str, str]:
    """Of pairs of a tag and a commit, those of versions; what comes later wins."""
    return {
        tag[1:]: commit
        for tag, commit in lines
        if tag.startswith("v") and VERSION.fullmatch(tag[1:])
    }


def tags_here() -> dict[str, str]:
    """Versions that have a tag in this clone, and the commits that the tags lead to."""
    form = "%(refname:strip=2) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
    return _versions([x.split() for x in git("tag", "--list", f"--format={form}").splitlines()])


def tags_at(remote: str) -> dict[str, str]:
    """Versions that have a tag at a remote, and the commits that the tags lead to.

    Raises:
        StopError: the remote does not answer.
    """
    try:
        lines = git("ls-remote", "--tags", remote).splitlines()
    except GitError as error:
        raise StopError(
            Problem(
                f"The remote {remote} does not say which tags it has: {error}",
                f"git ls-remote --tags {remote}",
            )
        ) from None
    # The commit of an annotated tag comes after the tag itself, as NAME^{}.
    names = [line.split() for line in lines]
    return _versions(
        [[ref.removeprefix("refs/tags/").removesuffix("^{}"), one] for one, ref in names]
    )


def remote_of_main() -> str | None:
    """The remote that main follows, else origin, else the only one; None without any."""
    remotes = git("remote").split()
    followed = git("config", "--default", "", f"branch.{BRANCH}.remote")
    for name in (followed, "origin"):
        if name in remotes:
            return name
    return remotes[0] if len(remotes) == 1 else None


def moved(tags: dict[str, str], remote: str | None = None) -> Iterator[Problem]:
    """Tags of released versions, here or at a remote, that lead elsewhere than RELEASES says."""
    for version, commit in released().items():
        if tags.get(version, commit) != commit:
            where = f"at {remote}" if remote else "in this clone"
            yield Problem(
                f"The tag v{version} {where} leads to {tags[version][:SHORT]}, but RELEASES says "
                f"{commit[:SHORT]}: a released tag never moves.",
                f"git ls-remote --tags {remote} v{version}"
                if remote
                else f"git tag --delete v{version} && make release-tags",
            )


# --- what a release has to be --------------------------------------------------------------------


def wrong_version(version: str, remote: dict[str, str]) -> Iterator[Problem]:
    """The version is new, higher than all, and no tag has it."""
    recorded, here = released(), tags_here()
    if not VERSION.fullmatch(version):
        yield Problem(
            f'"{version}" is no plain semantic version: three numbers with dots between them.',
            f"make release VERSION={after(max(recorded, key=numbers))}",
        )
        return
    highest = max([*recorded, *here, *remote], key=numbers)
    another = f"make release VERSION={after(highest)}"
    if version in recorded:
        missing = version not in here and version not in remote
        yield Problem(
            f"{version} is released: RELEASES names its commit, {recorded[version][:SHORT]}"
            + (", and only its tag is missing." if missing else "; what is released never moves."),
            "make release-tags" if missing else another,
        )
        return
    for tags, where in ((here, "in this clone"), (remote, "at the remote")):
        if version in tags:
            yield Problem(
                f"There is a tag v{version} {where}, at {tags[version][:SHORT]}: no tag is moved.",
                another,
            )
            return
    if numbers(version) < numbers(highest):
        yield Problem(f"{version} is lower than {highest}, the highest version there is.", another)


def wrong_state() -> Iterator[Problem]:
    """The branch is main, with nothing uncommitted, and as new as the one that it follows."""
    try:
        branch = git("symbolic-ref", "--short", "HEAD")
    except GitError:
        branch = ""
    if branch != BRANCH:
        name = f"the branch {branch}" if branch else "no branch"
        yield Problem(f"This is {name}: releases are made from {BRANCH}.", f"git switch {BRANCH}")
    yield from uncommitted()
    if branch == BRANCH and git("config", "--default", "", f"branch.{BRANCH}.merge"):
        remote = git("config", f"branch.{BRANCH}.remote")
        try:
            git("fetch", "--quiet", "--no-tags", remote)
            behind = int(git("rev-list", "--count", f"HEAD..{BRANCH}@{{upstream}}"))
        except GitError as error:
            yield Problem(
                f"It is not known whether {BRANCH} is as new as at {remote}: {error}",
                f"git fetch {remote}",
            )
        else:
            if behind:
                commits = "a commit" if behind == 1 else f"{behind} commits"
                yield Problem(f"{BRANCH} lacks {commits} that {remote} has.", "git pull --rebase")


def uncommitted() -> Iterator[Problem]:
    """Nothing is changed, added or left over beside the last commit."""
    names = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if names:
        shown, more = names[:FEW], names[FEW:]
        yield Problem(
            f"What is released is a commit, and this is in none: {', '.join(shown)}"
            + (f" and {len(more)} more." if more else "."),
            "git stash --include-untracked, or commit it",
        )


def section(version: str) -> tuple[str, str] | None:
    """What the changelog has about a version: the rest of its heading, and the text; or None."""
    text = CHANGELOG.read_text(encoding="utf-8")
    found = re.search(
        rf"^## \[?{re.escape(version)}\]?((?:[ \t][^\n]*)?)\n(.*?)(?=^## |^\[[^\]\n]+\]: |\Z)",
        text,
        re.MULTILINE | re.DOTALL | re.IGNORECASE,
    )
    return (found[1].strip(), found[2].strip()) if found else None


def has_words(text: str) -> bool:
    """Whether there is more than headings in a section."""
    return any(line.strip() and not line.startswith("#") for line in text.splitlines())


def wrong_changelog(version: str) -> Iterator[Problem]:
    """The changelog has a dated section of this version with its link, and no unreleased one."""
    found = section(version)
    if found is None:
        yield Problem(f"CHANGELOG.md has no section `## [{version}] - DATE`.", EDIT)
    else:
        heading, text = found
        yield from wrong_date(version, heading)
        if not has_words(text):
            yield Problem(f"The section {version} of CHANGELOG.md says nothing.", EDIT)
    unreleased = section("Unreleased")
    if unreleased and has_words(unreleased[1]):
        yield Problem(
            f'CHANGELOG.md has something under "Unreleased": move it into the section {version}.',
            EDIT,
        )
    links = dict(re.findall(r"(?m)^\[([0-9.]+)\]: (\S+)$", CHANGELOG.read_text(encoding="utf-8")))
    others = (link.replace(old, version) for old, link in links.items() if old != version)
    pattern = next(others, links.get(version, ""))
    if links.get(version, "") != pattern:
        yield Problem(f"CHANGELOG.md lacks `[{version}]: {pattern}` among its last lines.", EDIT)


def wrong_date(version: str, heading: str) -> Iterator[Problem]:
    """A heading has a date, and it is not in the future."""
    today = dt.datetime.now().astimezone().date()
    try:
        date = dt.date.fromisoformat(heading.removeprefix("- "))
    except ValueError:
        yield Problem(
            f"The section {version} of CHANGELOG.md has no date: make its heading "
            f"`## [{version}] - {today}`.",
            EDIT,
        )
    else:
        if date > today:
            yield Problem(
                f"The section {version} of CHANGELOG.md is of {date}, and today is {today}.", EDIT
            )


def wrong_project(version: str) -> Iterator[Problem]:
    """pyproject.toml has this version."""
    found = pyproject(ROOT)["project"]["version"]
    if found != version:
        yield Problem(
            f"pyproject.toml has version {found}, not {version}.",
            f".venv/bin/uv version --frozen {version}",
        )


def stale() -> Iterator[Problem]:
    """What is made from other files is what it would be now."""
    for file, (module, _) in GENERATED.items():
        if not is_fresh(file):
            yield Problem(
                f"{file.relative_to(ROOT)} is older than what it is made from.",
                f"{PYTHON} -m {module}",
            )
    for group, lock in LOCKS.items():
        missing = unlocked(ROOT, group)
        if missing:
            yield Problem(
                f"{lock} was not made again since pyproject.toml asks for {', '.join(missing)}.",
                "make lock",
            )


def problems(version: str) -> Iterator[Problem]:
    """All that stands in the way of a release and can be seen at once."""
    remote = remote_of_main()
    at_remote: dict[str, str] = {}
    if remote:
        try:
            at_remote = tags_at(remote)
        except StopError as error:
            yield from error.problems
    yield from wrong_version(version, at_remote)
    yield from moved(tags_here())
    yield from moved(at_remote, remote)
    yield from wrong_state()
    if VERSION.fullmatch(version):
        yield from wrong_changelog(version)
        yield from wrong_project(version)
    yield from stale()


# --- what a release does -------------------------------------------------------------------------


def run_tests() -> None:
    """Run all tests, engine tests too.

    Raises:
        StopError: they failed.
    """
    # Of this make, nothing is for the one that tests.
    own = ("VERSION", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(
        TESTS, cwd=ROOT, env=environment | {"HEARTH_ENGINE": "required"}, check=False
    )
    if done.returncode:
        raise StopError(
            Problem(
                "The tests failed: nothing was recorded or tagged.",
                f"HEARTH_ENGINE=required {' '.join(TESTS)}",
            )
        )


def record(version: str, commit: str) -> None:
    """Commit the line of RELEASES, and nothing else; a failure leaves everything as it was.

    Raises:
        GitError: Git, or a hook of this clone, refuses the commit.
    """
    text = RELEASES.read_text(encoding="utf-8")
    try:
        RELEASES.write_text(f"{text.rstrip()}\n{version} {commit}\n", encoding="utf-8")
        git("commit", "--quiet", "--only", "--message", f"Record release {version}", "RELEASES")
    except BaseException:
        if git("rev-parse", "HEAD") == commit:
            git("checkout", "--quiet", commit, "--", "RELEASES")
        raise


def tag(version: str, commit: str, **environment: str) -> None:
    """Make the annotated tag of a version; its message is the section of the changelog.

    Raises:
        GitError: Git refuses.
        StopError: the changelog has no such section.
    """
    found = section(version)
    if found is None:
        raise StopError(Problem(f"CHANGELOG.md has no section `## [{version}] - DATE`.", EDIT))
    heading, text = found
    # Lines that start with # are headings here, not comments of Git.
    options = ("--annotate", "--cleanup=whitespace", "--file=-")
    message = f"Hearth {version} {heading}\n\n{text}\n"
    git("tag", *options, f"v{version}", commit, given=message, **environment)


def wrong_tested(tested: str) -> Iterator[Problem]:
    """What CI has tested is the last commit, and no other."""
    commit = git("rev-parse", "HEAD")
    if len(tested) < SHORT or not commit.startswith(tested):
        yield Problem(
            f"TESTED has to be the last commit, {commit[:SHORT]}, and CI has to have passed it.",
            "git log -3",
        )


def release(version: str, tested: str = "") -> None:
    """Check, test, record and tag a version.

    Args:
        version: three numbers.
        tested: the commit that CI has tested whole, at least twelve digits; its tests are not run
            again. Without one they are run here.

    Raises:
        StopError: something stands in the way; nothing was changed, or the way on is said.
    """
    found = [*problems(version), *(wrong_tested(tested) if tested else ())]
    if found:
        raise StopError(*found)
    commit = git("rev-parse", "HEAD")
    if tested:
        print(f"{version} is released from {commit[:SHORT]}, which CI has tested.", flush=True)
    else:
        print(f"{version} can be released from {commit[:SHORT]}. Now the tests.", flush=True)
        run_tests()
    if git("rev-parse", "HEAD") != commit:
        raise StopError(
            Problem(
                f"{commit[:SHORT]} was tested, but it is no longer the last commit.",
                f"make release VERSION={version}",
            )
        )
    left = [*uncommitted()]
    if left:
        raise StopError(*left)
    try:
        record(version, commit)
    except GitError as error:
        raise StopError(
            Problem(
                f"Git does not commit the line of RELEASES: {error}",
                f"make release VERSION={version}",
            )
        ) from None
    try:
        tag(version, commit)
    except GitError as error:
        raise StopError(
            Problem(
                f"{version} is recorded in RELEASES, but Git does not make its tag: {error}",
                "make release-tags",
            )
        ) from None
    remote = remote_of_main() or "REMOTE"
    print(
        f"Released {version}: the tag v{version} at {commit[:SHORT]}, and its line in RELEASES.\n"
        f"Nothing was pushed. Run: git push --atomic {remote} {BRANCH} v{version}"
    )


# --- tags of what is released --------------------------------------------------------------------


def make_tags() -> None:
    """Take or make the tags of RELEASES that this clone lacks.

    Raises:
        StopError: a tag leads elsewhere than RELEASES says, or a commit is not here.
    """
    remote = remote_of_main()
    at_remote = tags_at(remote) if remote else {}
    found = [*moved(tags_here()), *moved(at_remote, remote)]
    missing = {v: commit for v, commit in released().items() if v not in tags_here()}
    found += [
        Problem(
            f"This clone does not have {commit[:SHORT]}, the commit of {version}.",
            "git fetch --unshallow",
        )
        for version, commit in missing.items()
        if not is_here(commit)
    ]
    if found:
        raise StopError(*found)
    made = []
    for version, commit in missing.items():
        name = f"refs/tags/v{version}"
        if remote and version in at_remote:
            git("fetch", "--quiet", "--no-tags", remote, f"{name}:{name}")
            print(f"v{version}: taken from {remote}")
        else:
            # As old as what it names, so that lists by date are in order.
            tag(version, commit, GIT_COMMITTER_DATE=git("show", "-s", "--format=%cI", commit))
            print(f"v{version}: made, at {commit[:SHORT]}")
            made.append(f"v{version}")
    if not missing:
        print("This clone has all tags of RELEASES.")
    if made:
        print(f"Nothing was pushed. Run: git push --atomic {remote or 'REMOTE'} {' '.join(made)}")


def main(arguments: list[str]) -> int:
    """The command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match arguments:
            case ["release", "", *_]:
                version = pyproject(ROOT)["project"]["version"]
                print(
                    f"Say which version is released: make release VERSION={version}",
                    file=sys.stderr,
                )
                return 2
            case ["release", version, *tested] if len(tested) < 2:  # noqa: PLR2004  one commit at most
                release(version, *tested)
            case ["tags"]:
                make_tags()
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except StopError as error:
        for problem in error.problems:
            print(f"\n{problem.says}\n  Run: {problem.run}", file=sys.stderr)
        return 1
    except GitError as error:
        print(f"\nGit stopped: {error}\n  Run: git status", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if arguments[1:2] and arguments[1] in {*released()} - {*tags_here()}:
            said = (
                "the line of RELEASES is committed, the tag is missing.\n  Run: make release-tags"
            )
        else:
            said = "nothing was recorded."
        print(f"\nStopped: {said}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
