"""The rules need nothing of the machine they run on: the same code judges in a browser."""

from __future__ import annotations

import json
import subprocess
import sys

from hooks.compat.table import PACKED
from tests.conftest import ROOT

# Python reports files, processes and connections to this hook, and the modules that it imports.
PROGRAM = """\
import json, sys
from hooks.compat.table import build
from hooks.matcher import advice
from hooks.matcher.choices import Choice
from hooks.matcher.hosts import Gpu, Host

table = build(json.load(sys.stdin))
seen = []
names = ("open", "os.", "subprocess.", "socket.", "import")
sys.addaudithook(lambda name, args: name.startswith(names) and seen.append((name, str(args))))
lovelace = Gpu("NVIDIA GeForce RTX 4090", "8.9", "geforce", frozenset({"geforce"}))
machine = Host("550.54.15", (lovelace,))
for service in ("simple", "train", "devel", "ngc", "hub"):
    ngc = list(table.ngc)[-1] if service == "ngc" else None
    release = table.torch[list(table.torch)[-1]]
    for package_manager in ("pip", "conda"):
        for cca in ("auto", "8.9+PTX"):
            advice(machine, Choice(
                service=service, torch=release.version, cuda=release.pypi_cuda, python="3.12",
                package_manager=package_manager, ngc_release=ngc, distro="ubuntu24.04", cca=cca,
            ), table)
print(json.dumps(seen))
"""


def test_a_verdict_opens_no_file_starts_no_process_and_imports_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=PACKED.read_text("utf-8"),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout) == []
