"""The health checks of Airflow's containers: healthy.py scheduler. The exit status is 0 if it is.

The api-server knows the last heartbeat of each of the others, and asking it is cheap: Airflow's
own command for it starts a second Airflow each time.

Until a container is healthy, one check asks again and again, so that a start is seen at once, and
costs no process for each question. Afterwards a check waits before it asks. (The setting
start_interval is for this, but engines before 25 refuse a file that has it.)
"""

# ruff: noqa: PTH108, PTH110, PTH123  pathlib takes longer to load than all else here

from __future__ import annotations

import json
import os
import socket
import sys
import time

PORT = 8080
# Without http.client, which takes longer to load than all else here; HTTP/1.0 ends with the answer.
REQUEST = b"GET /api/v2/monitor/health HTTP/1.0\r\nHost: localhost\r\n\r\n"
TIMEOUT = 10  # seconds; a busy machine takes longer than 5
PAUSE = 25  # seconds; with it, the limit of a check in compose.yaml
STEP = 0.5  # seconds between two questions at a start
# As in start.py. A worker writes it when it has registered.
PID = "/tmp/airflow-worker.pid"  # noqa: S108  /tmp of this container only
SEEN = "/tmp/healthy"  # noqa: S108  of the container alone: which of its starts was healthy


def ask(host: str) -> dict[str, dict[str, str]]:
    """What the api-server knows of each part. Raises OSError or ValueError."""
    with socket.create_connection((host, PORT), TIMEOUT) as connection:
        connection.sendall(REQUEST)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    states: dict[str, dict[str, str]] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return states


def registered() -> bool:
    """Whether the worker of this container runs, and the api-server has told it to go on."""
    try:
        with open(PID, encoding="utf-8") as file:
            number = file.read().strip()
        # The file of a worker that was killed is there until start.py removes it.
        with open(f"/proc/{number}/cmdline", "rb") as file:
            return b"edge worker" in file.read().replace(b"\0", b" ")
    except OSError:
        return False


def healthy(part: str) -> tuple[bool, str]:
    """Whether a part of Airflow works, such as the scheduler, and what was answered."""
    if part == "worker" and not registered():
        return False, "the worker has not registered yet"
    try:
        states = ask("127.0.0.1" if part == "api-server" else "airflow-api-server")
    except (OSError, ValueError) as error:
        return False, f"the api-server does not answer: {error}"
    # The api-server is healthy if it reaches the database, and a worker if it answers at all.
    state = states[part.replace("-", "_") if part.replace("-", "_") in states else "metadatabase"]
    return state["status"] == "healthy", str(state)


def this_start() -> str:
    """When the first process of the container was started, in ticks since the machine was."""
    with open("/proc/1/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def seen(start: str) -> bool:
    """Whether this start of the container has been healthy."""
    try:
        with open(SEEN, encoding="utf-8") as file:
            return file.read() == start
    except FileNotFoundError:
        return False


def check(part: str) -> bool:
    """Whether a part works: as soon as it does for the first time, then after a pause."""
    start = this_start()
    end = time.monotonic() + PAUSE
    if seen(start):
        time.sleep(PAUSE)
    works, said = healthy(part)
    while not works and time.monotonic() < end:
        time.sleep(STEP)
        works, said = healthy(part)
    print(said)
    if works:
        with open(SEEN, "w", encoding="utf-8") as file:
            file.write(start)
    elif os.path.exists(SEEN):
        os.unlink(SEEN)  # that it works again is seen soon, too
    return works


if __name__ == "__main__":
    sys.exit(not check(sys.argv[1]))
