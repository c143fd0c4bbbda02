"""Become one of Airflow's programs, with the secrets that this container has: start.py scheduler.

Secrets are files in /run/secrets, so that no list of variables of a container shows them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

SECRETS = Path("/run/secrets")
# The setting of Airflow that each secret is. Workers have no database: they get only the last one.
SETTINGS = {
    "airflow-fernet-key": "AIRFLOW__CORE__FERNET_KEY",
    "airflow-api-secret": "AIRFLOW__API__SECRET_KEY",
    "airflow-jwt-secret": "AIRFLOW__API_AUTH__JWT_SECRET",
}
DATABASE, PASSWORDS = "airflow-database-password", "airflow-passwords"
AIRFLOW = "/opt/airflow/bin/airflow"
PID = "/tmp/airflow-worker.pid"  # noqa: S108  /tmp of this container only


def read(name: str) -> str:
    """The content of a secret; "" if this container does not have it."""
    path = SECRETS / name
    return path.read_text().strip() if path.is_file() else ""


def take_secrets() -> None:
    """Set Airflow's variables of this process from the secrets of the container."""
    for name, variable in SETTINGS.items():
        if read(name):
            os.environ[variable] = read(name)
    password = read(DATABASE)
    if password:
        address = f"airflow:{quote(password, safe='')}@airflow-database/airflow"
        os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"postgresql+psycopg2://{address}"
    passwords = read(PASSWORDS)
    if passwords:
        # Airflow opens the file for writing, and the secret is read-only.
        copy = Path("/tmp/airflow-passwords.json")  # noqa: S108  /tmp of this container only
        copy.touch(mode=0o600)
        copy.write_text(passwords)
        users = ",".join(f"{user}:admin" for user in json.loads(passwords))
        os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = users
        os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(copy)


def arguments_of(words: list[str]) -> list[str]:
    """What Airflow is called with.

    A worker ends if its file of AIRFLOW_HOME has its process id. All containers share that folder,
    and each worker has the same id, also after a crash. For half a minute after a crash, Airflow
    refuses a worker of the same name, so each start has a name of its own.
    """
    if words[:2] != ["edge", "worker"]:
        return words
    Path(PID).unlink(missing_ok=True)
    return [*words, "--pid", PID, "--edge-hostname", f"{words[-1]}-{token_hex(4)}"]


if __name__ == "__main__":
    take_secrets()
    os.execv(AIRFLOW, [AIRFLOW, *arguments_of(sys.argv[1:])])  # noqa: S606  no shell is needed
