"""Whether a running container can execute a program, and why not: asked before the engine is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .engine_words import ask_engine
from .failures import failed, hosts
from .processor import ARCHITECTURES

if TYPE_CHECKING:
    from .project import Project

# Asked before, since the engine says it on stdout, where nothing can tell it from what a program
# says. A shell would find its own commands, too, such as cd.
NO_PROGRAM_STATUS, NOT_EXECUTABLE_STATUS = 7, 8
# The image keeps the locks that it was built from; Compose mounts those of the project.
LOCKS_DIFFER_STATUS = 9
NO_INTERPRETER_STATUS, OTHER_PROCESSOR_STATUS = 10, 11
# Bytes 18 and 19 of an ELF file are its e_machine; a kernel for x86_64 (62) runs i386 (3), too:
# https://gabi.xinuos.com/elf/a-emachine.html
LOOK = """
starts() {
    [ ! -r "$1" ] ||
        case $(head -c 4 "$1" | tr -d '\\0') in
        '' | '#!'*) ;;
        ?ELF)
            case $(od -An -tu2 -j18 -N2 "$1" 2>/dev/null | tr -d ' ') in
            '' | 3 | 62) ;;
            *) exit 11 ;;
            esac
            ;;
        *) exit 10 ;;
        esac
}
found() {
    case $1 in
    */*)
        if [ ! -e "$1" ]; then exit 7; elif [ -d "$1" ] || [ ! -x "$1" ]; then exit 8; fi
        starts "$1"
        ;;
    *)
        IFS=:
        for folder in $PATH; do
            if [ -f "$folder/$1" ] && [ -x "$folder/$1" ]; then
                starts "$folder/$1"
                return
            fi
        done
        exit 7
        ;;
    esac
}
if [ $# -gt 0 ]; then (found "$1") || exit $?; fi
cd /opt/container || exit 0
for lock in *.lock; do
    if [ -e "$lock" ] && ! cmp -s "$lock" "/opt/dependencies/$lock"; then exit 9; fi
done
"""


def look_inside(found: str, *program: str, root: bool = False) -> int:
    """The status of `LOOK` in a running container; another one if it has no shell."""
    user = ("--user", "0") if root else ()
    return ask_engine("exec", *user, found, "sh", "-c", LOOK, "sh", *program).returncode


def runs_others(root: Path = Path("/")) -> bool:
    """Whether the kernel may run programs of other processors, as one with QEMU registered does."""
    here = os.uname().machine if hasattr(os, "uname") else ""
    if here not in ARCHITECTURES or {"remote", "mac", "wsl"} & {*hosts(root)}:
        return True  # it is another kernel's matter, or unknown
    folder = root / "proc/sys/fs/binfmt_misc"
    return any(one.name.startswith(("qemu", "rosetta")) for one in folder.glob("*"))


def refuse_program(project: Project, found: str, program: str, *, root: bool) -> int:
    """The status of `look_inside`.

    Raises:
        StopError: the container cannot execute the program; with the exit status of a shell.
    """
    status = look_inside(found, *([program] if program else []), root=root)
    if status == NO_PROGRAM_STATUS:
        stop = failed("program-missing", project, program=program)
        stop.status = 127
        raise stop
    if status == NOT_EXECUTABLE_STATUS:
        stop = failed("program-not-executable", project, program=program)
    elif status == NO_INTERPRETER_STATUS:
        stop = failed("script-without-interpreter", project, program=program)
    elif status == OTHER_PROCESSOR_STATUS and not runs_others():
        stop = failed("program-of-another-processor", project, program=program)
    else:
        return status
    stop.status = 126
    raise stop
