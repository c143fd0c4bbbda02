"""Explains an error that a package of the distribution ends, when a Python of an image exits.

project.pth calls `watch` at every start of Python. Nothing is looked at before the exit: the
traceback was printed by then, by whoever prints it, so no hook of a program is in the way. What is
wanted, by whom, and which package has it is in system_packages.json. Standard library only, Python
3.8 or newer, and no import before an error: so annotations are in quotes.
"""

import atexit
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

TABLE = "/opt/container/system_packages.json"
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib", "/usr/local/lib")
SAYS = (
    r"([\w.+-]+\.so[.\d]*): cannot open shared object",
    r"No such file or directory: '([\w.-]+)'",
)


def watch() -> None:
    """Explain the error that ends this Python, at its exit; once, as .pth files may run twice."""
    atexit.unregister(explain_last_error)
    atexit.register(explain_last_error)


def explain_last_error() -> None:
    """Print what is missing and the command that adds it; nothing for any other end."""
    error = getattr(sys, "last_value", None)  # as Python sets it for an error that nobody caught
    if error is None:
        return
    try:
        import json  # noqa: PLC0415

        with open(TABLE, encoding="utf-8") as file:  # noqa: PTH123
            table = json.load(file)
        script = os.environ.get("TEMPLATE_SH") or "./template.sh"
        text = "\n".join(texts(error))
        lines = explanation(text, table, script, is_installed=is_installed, is_there=is_there)
        if lines:
            print(lines, file=sys.stderr, flush=True)
    except Exception:  # noqa: BLE001, S110  the program has ended; its own traceback is what counts
        pass


def texts(error: "BaseException") -> "Iterator[str]":
    """What an error says, and those that it came from."""
    seen: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in seen:
        seen.append(now)
        yield str(now)
        now = now.__cause__ or now.__context__


def is_installed(name: str) -> bool:
    """Whether a Python package is installed."""
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415

    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def is_there(name: str) -> bool:
    """Whether the image has a shared library or a command."""
    from shutil import which  # noqa: PLC0415

    return which(name) is not None or any(os.path.exists(f"{one}/{name}") for one in FOLDERS)  # noqa: PTH110


def explanation(
    text: str,
    table: "dict[str, Any]",
    script: str,
    *,
    is_installed: "Callable[[str], bool]",
    is_there: "Callable[[str], bool]",
) -> str:
    """The sentence and the command for an error; "" if the table knows nothing of it.

    Args:
        text: what the error says.
        table: system_packages.json.
        script: what the user calls template.sh.
        is_installed: whether a Python package is.
        is_there: whether the image has a library or a command.
    """
    import re  # noqa: PLC0415

    found = [name for one in SAYS for name in re.findall(one, text) if name in table["packages"]]
    needs = {
        name: [one for one in entry["needs"] if not is_there(one)]
        for name, entry in ((key.partition("<")[0], one) for key, one in table["wheels"].items())
        if (set(found) & set(entry["needs"]) or any(one in text for one in entry.get("says", ())))
        and is_installed(name)
    }
    needs = {name: missing for name, missing in needs.items() if missing}
    if needs:
        wheel, missing = next(iter(needs.items()))
        what = next((one for one in found if one in missing), missing[0])
    elif found and not is_there(found[0]):
        wheel, what, missing = "This program", found[0], found[:1]
    else:
        return ""
    packages = dict.fromkeys(table["packages"][one] for one in missing)
    return (
        f"\n{wheel} needs {what}, which the image does not have."
        " (failure: system-library-missing)\n"
        f"  Run: {script} add --apt {' '.join(packages)} && {script} build"
    )
