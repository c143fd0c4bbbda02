"""Puts tuning.env and secrets into the environment of a process, where a variable is not set yet.

Every Python of the environment runs this at its start (project.pth), whichever door it came in by:
the command of the container, `docker compose exec`, an editor, ssh, a pod. For programs that are
not Python, entrypoint.sh and login shells evaluate what

    python -IS container_tuning.py

prints. Standard library only, Python 3.8 or newer, and no import that Python has not made already:
so annotations are in quotes.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

FILE = "/opt/container/tuning.env"
SECRETS = "/run/secrets"
# Programs that read such a file in a folder, by the variable that names the folder.
FOLDERS = {"kaggle.json": "KAGGLE_CONFIG_DIR"}
LARGEST = 65536  # bytes of a variable; the kernel allows twice as much
CGROUPS = "/sys/fs/cgroup"
MEMBERSHIP = "/proc/self/cgroup"


def lines(path: str) -> "list[str]":
    """The lines of a file, or none where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123  (pathlib costs 5 ms)
            return file.read().splitlines()
    except OSError:
        return []


def settings(path: str) -> "dict[str, str]":
    """KEY=value lines as Compose reads them from the same file; a # starts a comment."""
    found = {}
    for line in lines(path):
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            found[key.strip()] = value.split(" #")[0].strip().strip("'\"")
    return found


def secrets(folder: str) -> "dict[str, str]":
    """The content of each file whose name is one of a variable, such as HF_TOKEN.

    A variable that Python sets for itself is in no list of processes and in no `docker inspect`.
    A file that a program looks for in a folder is one there: that variable is its folder.
    """
    found: dict[str, str] = {}
    try:
        names = os.listdir(folder)  # noqa: PTH208  (pathlib costs 5 ms)
    except OSError:
        return found
    for name in names:
        path = folder + "/" + name
        if name in FOLDERS:
            found[FOLDERS[name]] = folder
        if name.isidentifier() and name.isupper() and os.path.isfile(path):  # noqa: PTH113
            # With a larger variable, no program could be started: https://man7.org/linux/man-pages/man2/execve.2.html
            text = "\n".join(lines(path)) if os.stat(path).st_size <= LARGEST else ""  # noqa: PTH116
            if text and "\0" not in text:
                found[name] = text
    return found


def limits(cgroups: str, membership: str) -> "Iterator[float]":
    """CPUs that the group of this process, or one above it, may use; cgroup v2 and v1."""
    for line in lines(membership):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container's own group is at the top, or without a cgroup namespace below the machine's.
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            folder = "/".join([cgroups, *(["cpu"] if controllers else []), *parts[:depth]])
            if controllers:
                words = [
                    *lines(folder + "/cpu.cfs_quota_us"),
                    *lines(folder + "/cpu.cfs_period_us"),
                ]
            else:
                words = " ".join(lines(folder + "/cpu.max")).split()
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):  # noqa: PLR2004
                yield int(words[0]) / int(words[1])


def cpu_limit(cgroups: str = CGROUPS, membership: str = MEMBERSHIP) -> "float | None":
    """How many CPUs' time the container may use, such as 1.5, or None where nothing limits it."""
    return min(limits(cgroups, membership), default=None)


def threads(limit: "float | None", cpus: int, workers: str) -> "int | None":
    """How many threads make sense, or None where the libraries count rightly themselves.

    Args:
        limit: CPUs' time that may be used.
        cpus: CPUs that this process may run on.
        workers: LOCAL_WORLD_SIZE, which launchers of parallel jobs set: so many processes share.
    """
    if limit is None or limit >= cpus:
        return None
    return max(1, int(limit) // (int(workers) if workers.isdigit() and int(workers) else 1))


def apply(
    environ: "MutableMapping[str, str]",
    file: str = FILE,
    limit: "float | None" = None,
    folder: str = SECRETS,
) -> None:
    """Set what is not set.

    OMP_NUM_THREADS counts as set by the user unless it is what this function set in a parent
    process, which TUNED_OMP_NUM_THREADS tells.

    Args:
        environ: the variables, which are changed.
        file: tuning.env.
        limit: CPUs' time that may be used; by default it is looked up.
        folder: that of the secrets.
    """
    for key, value in [*settings(file).items(), *secrets(folder).items()]:
        environ.setdefault(key, value)
    if environ.get("OMP_THREADS_BY_QUOTA") != "yes":
        return
    if environ.get("OMP_NUM_THREADS") != environ.get("TUNED_OMP_NUM_THREADS"):
        return
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = threads(limit or cpu_limit(), cpus, environ.get("LOCAL_WORLD_SIZE", ""))
    if count:
        environ["OMP_NUM_THREADS"] = environ["TUNED_OMP_NUM_THREADS"] = str(count)


def main() -> None:
    """Print what `apply` changes, for the eval of a shell."""
    before = dict(os.environ)
    apply(os.environ)
    for key, value in os.environ.items():
        if before.get(key) != value:
            quoted = value.replace("'", "'\\''")
            print(f"export {key}='{quoted}'")


if __name__ == "__main__":
    main()
