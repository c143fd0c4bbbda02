"""What Airflow asks of every DAG that it reads: in which environment its tasks run, and its name.

https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/cluster-policies.html
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowClusterPolicyViolation
from workflows.stubs import is_text

__all__ = ["dag_policy", "get_airflow_context_vars", "task_policy"]

HOME = Path(os.environ.get("AIRFLOW_HOME", "/airflow"))
DAGS = HOME / "dags"
IDS = HOME / "dag-ids"  # a file for each id, with the path of the DAG's file and its time
DROPPED = "files"  # in DAGS: what is made from files that people drop, by environment
# Of a variable, in bytes: Linux starts no program with one of more than 128 KiB.
# https://man7.org/linux/man-pages/man2/execve.2.html
LONGEST = 100_000
KEPT = 30 * 86400  # seconds in which a task may need the file of its parameters
SHOWN = 60  # characters of a text that is refused
GRACE = 120  # seconds in which a changed file is read again


def relative(path: str) -> Path | None:
    """The path of a DAG's file below the folder of all DAGs; None for another file."""
    with suppress(ValueError):
        return Path(path).relative_to(DAGS)
    return None


def environment(path: str) -> str:
    """The environment of a DAG's file: project, or the name of a workspace; "" if it has none."""
    below = relative(path)
    parts = below.parts if below else ()
    if parts[:1] == (DROPPED,):
        parts = parts[1:]
    return parts[0] if len(parts) > 1 else ""


def task_policy(task: Any) -> None:
    """Give a task to the worker of the environment that its file belongs to."""
    queue = environment(task.dag.fileloc)
    if queue:
        task.queue = queue


def get_airflow_context_vars(context: Any) -> dict[str, str]:
    """What workflows.results writes down of a run, as variables of the task: AIRFLOW_CTX_PARAMS.

    Parameters that are too long for a variable are in a file, AIRFLOW_CTX_PARAMS_FILE.

    A task in the environment of its worker has no other way to know it.
    """
    params = json.dumps({**context["params"]}, default=str)
    found = {"params": params} if len(params) <= LONGEST else {"params_file": written(params)}
    return {**found, "environment": environment(context["dag"].fileloc)}


def written(text: str) -> str:
    """A file with a text, beside those of other texts, which are kept for a while."""
    folder = Path(tempfile.gettempdir(), "parameters")
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{sha256(text.encode()).hexdigest()}.json"
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_text(text, "utf-8")
    new.replace(file)
    for one in folder.iterdir():
        with suppress(OSError):
            if time.time() - one.stat().st_mtime > KEPT:
                one.unlink()
    return str(file)


def dag_policy(dag: Any) -> None:
    """Let a name mean one DAG only: the file that had it first keeps it.

    Raises:
        AirflowClusterPolicyViolation: another file has a DAG of this id, or PostgreSQL cannot store
            the DAG, which would end the reading of all DAGs.
    """
    text = unstorable(serialized(dag))
    if text is not None:
        raise AirflowClusterPolicyViolation(
            f"The DAG {dag.dag_id!a} has the text {text[:SHOWN]!a}. The database stores no text "
            r"with NUL, or with what is not UTF-8. In a command of bash, write '\\0' for '\0'."
        )
    below = relative(dag.fileloc)
    if not below:
        return
    other = claim(dag.dag_id, str(below))
    if other:
        raise AirflowClusterPolicyViolation(
            f"The file {other} already has a DAG with the id {dag.dag_id}: give one of the two "
            "another dag_id."
        )


def serialized(dag: Any) -> Any:
    """A DAG as it is stored; None if it cannot be: Airflow itself then says why."""
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415

    try:
        return DagSerialization.serialize_dag(dag)
    except Exception:  # noqa: BLE001  whatever is in a DAG
        return None


def unstorable(value: Any) -> str | None:
    """The first text of a value that PostgreSQL refuses in JSON; None if there is none.

    https://www.postgresql.org/docs/current/datatype-json.html
    """
    if isinstance(value, str):
        return value if "\0" in value or not is_text(value) else None
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    for one in parts if isinstance(parts, (list, tuple, set)) else ():
        found = unstorable(one)
        if found is not None:
            return found
    return None


def claim(dag_id: str, path: str) -> str:
    """Take an id for a file below DAGS; the path of the other file that has it, "" if none does."""
    file = IDS / sha256(dag_id.encode()).hexdigest()
    owner = {"path": path, "changed": changed(path)}
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    if known == owner:
        return ""
    if known and known["path"] != path and holds(known):
        return str(known["path"])
    IDS.mkdir(exist_ok=True)
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    mine.write_text(json.dumps(owner))
    try:
        if known:
            mine.replace(file)
        else:
            os.link(mine, file)  # of two processes, one takes the id
    except FileExistsError:
        return claim(dag_id, path)
    finally:
        mine.unlink(missing_ok=True)
    return ""


def changed(path: str) -> float:
    """When a file below DAGS was written, in seconds; 0 if there is none."""
    with suppress(OSError):
        return (DAGS / path).stat().st_mtime
    return 0


def holds(owner: dict[str, Any]) -> bool:
    """Whether a file still has the id that it took.

    A file that was changed takes its ids again when it is read, and loses those that it does not
    take.
    """
    now = changed(owner["path"])
    return bool(now) and (now == owner["changed"] or time.time() - now < GRACE)
