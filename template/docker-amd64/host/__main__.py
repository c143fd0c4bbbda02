"""`template.sh VERB`: the program of this project; command.py lists the verbs."""

from __future__ import annotations

import os
import sys

from .ask import GIT_SETTINGS, set_git_up
from .command import FOLDER, start
from .env_file import ProbeError
from .failures import explain
from .plain import write_plainly
from .project import StopError, read_project


def main() -> int:
    """Run a verb; what the user can put right is one sentence on stderr."""
    write_plainly()
    set_git_up(GIT_SETTINGS, os.environ)
    try:
        return start(sys.argv[1:])
    except ProbeError as error:
        return print_failure(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `template.sh ls | head`
        sys.stderr.close()
        return 141
    except OSError as error:  # of a file that no verb expected to be so
        where = f" {error.filename}" if error.filename else ""
        return print_failure(ProbeError(f"Cannot use{where}: {error.strerror or error}."))


def print_failure(error: ProbeError) -> int:
    """Print a failure, and what helps; the exit status."""
    sys.stdout.flush()
    if str(error):
        print(error, file=sys.stderr)
    if isinstance(error, StopError):
        return error.status
    stop = explain(read_project(FOLDER), str(error))
    if stop:
        print(stop, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
