"""What users of an image can change, and which of its programs have more rights than theirs."""

from __future__ import annotations

from collections.abc import Set

from tests.support.process import run

# Directories that each Linux opens to everybody, with the sticky bit.
OPEN = {"/tmp", "/var/tmp", "/run/lock"}
KERNEL = ["/proc/*", "/sys/*", "/dev/*"]
# Of openssh-client and tmux in apt-dev.txt; no-new-privileges in compose.yaml disarms them.
SETUID_OF_DEV = {
    "/usr/bin/ssh-agent",
    "/usr/lib/openssh/ssh-keysign",
    "/usr/lib/x86_64-linux-gnu/utempter/utempter",
}


def find(image: str, *conditions: str) -> set[str]:
    """The paths of all files of an image that fulfil conditions of `find`, with their modes.

    It runs as root and without the entrypoint, so that nothing is hidden and nothing is changed.
    """
    options = ("--rm", "--user", "0", "--network", "none", "--entrypoint", "find")
    without = [word for path in KERNEL for word in ("!", "-path", path)]
    words = ("/", "-xdev", *without, *conditions, "-printf", "%m %p\\n")
    result = run("docker", "run", *options, image, *words)
    assert result.returncode == 0, result.stderr
    return {*result.stdout.splitlines()}


def ids(image: str, option: str) -> set[str]:
    """What `id` says of the user of an image: with -u the user, with -G all groups."""
    result = run("docker", "run", "--rm", "--network", "none", "--entrypoint", "id", image, option)
    assert result.returncode == 0, result.stderr
    return {*result.stdout.split()}


def writable(image: str) -> set[str]:
    """The paths outside of the home that the user, one of the groups, group 0 or others can change.

    A file of the user counts whatever its mode is: its owner can change that, too.
    """
    (uid,) = ids(image, "-u")
    some = ["(", "-perm", "-0002"]
    for group in ids(image, "-G") | {"0"}:
        some += ["-o", "-group", group, "-perm", "-0020"]
    if uid != "0":
        some += ["-o", "-uid", uid]
    found = {line.partition(" ")[::2] for line in find(image, "!", "-type", "l", *some, ")")}
    return {
        path
        for mode, path in found
        if not (path in OPEN and mode == "1777") and not f"{path}/".startswith("/home/user/")
    }


def open_to_group_0_and_others(image: str) -> set[str]:
    """The paths, also of the home, that group 0 or others can change."""
    some = ("(", "-group", "0", "-perm", "-0020", "-o", "-perm", "-0002", ")")
    found = {line.partition(" ")[::2] for line in find(image, "!", "-type", "l", *some)}
    return {path for mode, path in found if not (path in OPEN and mode == "1777")}


def setuid(image: str, base: str) -> set[str]:
    """Programs of an image that run as their owner or group, beyond those of its base image."""
    words = ("-type", "f", "(", "-perm", "-4000", "-o", "-perm", "-2000", ")")
    ours, known = ({line.partition(" ")[2] for line in find(one, *words)} for one in (image, base))
    return ours - known


def check(
    image: str, base: str, programs: Set[str] = frozenset(), mounted: Set[str] = frozenset()
) -> None:
    """Assert that an image gives nothing away but, in dev, the environment to its user.

    Args:
        image: its name; dev is told from others by its end.
        base: its base image.
        programs: those with setuid or setgid that are expected; a distribution may have fewer.
        mounted: folders of the user over which volumes are mounted.
    """
    found = writable(image)
    assert mounted <= found
    found -= mounted
    if image.endswith("-dev"):
        assert "/opt/venv" in found
        found = {path for path in found if not f"{path}/".startswith("/opt/venv/")}
    assert not found, sorted(found)
    assert open_to_group_0_and_others(image) == set()
    assert setuid(image, base) <= programs
