"""The health checks of Airflow's containers: healthy.py scheduler. The exit status is 0 if it is.

The api-server knows the last heartbeat of each of the others, and asking it is cheap: Airflow's
own command for it starts a second Airflow each time.
"""

from __future__ import annotations

import json
import socket
import sys

PORT = 8080
# Without http.client, which takes longer to load than all else here; HTTP/1.0 ends with the answer.
REQUEST = b"GET /api/v2/monitor/health HTTP/1.0\r\nHost: localhost\r\n\r\n"
TIMEOUT = 5  # seconds


def ask(host: str) -> dict[str, dict[str, str]]:
    """What the api-server knows of each part. Raises OSError or ValueError."""
    with socket.create_connection((host, PORT), TIMEOUT) as connection:
        connection.sendall(REQUEST)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    states: dict[str, dict[str, str]] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return states


def healthy(part: str) -> bool:
    """Whether a part of Airflow works, such as the scheduler."""
    try:
        states = ask("127.0.0.1" if part == "api-server" else "airflow-api-server")
    except (OSError, ValueError) as error:
        print(f"the api-server does not answer: {error}")
        return False
    # The api-server is healthy if it reaches the database, a worker if it reaches the api-server.
    state = states[part.replace("-", "_") if part.replace("-", "_") in states else "metadatabase"]
    print(state)
    return state["status"] == "healthy"


if __name__ == "__main__":
    sys.exit(not healthy(sys.argv[1]))
