"""What .ci/ installs survives a network that is away for a moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.process import run

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci/engine.sh"
# Programs of the machine: nothing is installed yet, and apt-get only tells its settings.
NOTHING_INSTALLED = "#!/bin/sh\n"
TELLS = """\
#!/bin/sh
{ echo "$PIP_RETRIES"; apt-config shell tries Acquire::Retries; } >"$TOLD"
"""
# A command that fails, as without DNS, until it was called this often.
FAILS = """\
#!/bin/sh
echo >>"$CALLS"
[ "$(wc -l <"$CALLS")" -ge 4 ]
"""


def program(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)


@pytest.mark.skipif(not shutil.which("apt-config"), reason="this machine has no apt")
def test_apt_and_pip_try_for_a_minute(tmp_path: Path) -> None:
    program(tmp_path, "dpkg-query", NOTHING_INSTALLED)
    program(tmp_path, "apt-get", TELLS)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TOLD": str(tmp_path / "told")}
    done = run("bash", str(SCRIPT), "rootless", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "told").read_text() == "8\ntries='6'\n"


def test_what_does_not_try_again_by_itself_is_called_again(tmp_path: Path) -> None:
    program(tmp_path, "fails", FAILS)
    program(tmp_path, "sleep", "#!/bin/sh\n")
    calls = tmp_path / "calls"
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    # `stop` finds no engine of this run, and the functions are defined.
    call = f"set -- stop; source {SCRIPT} >&2; persist fails"
    done = run("bash", "-c", call, env=env | {"HEARTH_ENGINE_DIR": str(tmp_path / "none")})
    assert done.returncode == 0, done.stderr
    assert len(calls.read_text().splitlines()) == 4
