"""What a notebook finds in a kernel of the JupyterLab that runs, for `doors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .apps import find_app, in_container

if TYPE_CHECKING:
    from .project import Project

# In the container, with the port of JupyterLab and the code for the kernel: JupyterLab starts a
# kernel, which is asked by its connection file, as a notebook asks it. stdout has what it prints.
ASK_KERNEL = """
import json, os, sys, urllib.request

from jupyter_client import BlockingKernelClient, find_connection_file

port, code = sys.argv[1:]
with open(os.path.expanduser("~/.apps/jupyter/token")) as file:
    token = {"Authorization": "token " + file.read().strip()}
kernels = f"http://127.0.0.1:{port}/api/kernels"
open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
ask = urllib.request.Request(kernels, b"{}", token)
with open_url(ask, timeout=20) as answer:
    kernel = json.load(answer)["id"]
try:
    client = BlockingKernelClient(connection_file=find_connection_file(kernel))
    client.load_connection_file()
    # Without the heartbeat, which takes a kernel that is silent for a second for a dead one.
    client.start_channels(hb=False)
    client.wait_for_ready(timeout=30)
    client.execute_interactive(code, timeout=30)
    client.stop_channels()
finally:
    end = urllib.request.Request(f"{kernels}/{kernel}", headers=token, method="DELETE")
    open_url(end, timeout=20)
"""
# What JupyterLab and its kernels set for themselves.
OWN = {
    *("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "GIT_PAGER", "JPY_PARENT_PID"),
    *("JPY_SESSION_NAME", "JUPYTER_TOKEN_FILE", "MPLBACKEND", "PAGER", "PYDEVD_USE_FRAME_EVAL"),
}


def words_for_kernel(project: Project, code: str) -> list[str]:
    """The words for template.sh that run code in a new kernel; none if JupyterLab does not run.

    Raises:
        StopError: apps.ini has no JupyterLab.
    """
    app = find_app(project, "jupyter")
    if not in_container(project, "look", {"names": [app.name]})[app.name]:
        return []
    return ["exec", "python", "-c", ASK_KERNEL, str(app.port), code]
