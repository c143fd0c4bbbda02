"""Results made again: airflow rerun, and what a worker has to know for their manifest.

A manifest is of somebody else, and says nothing about files of this machine.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Dict, Iterator
from urllib.parse import quote as in_address

from .airflow_secrets import user_and_password
from .ask import capture, read_json
from .compose import container_of, image_id, published, show
from .engine_words import engine_command
from .exchange import (
    FOLDERS,
    MANIFEST,
    RERUN,
    RERUNS,
    code_digest,
    read_manifest,
    sha256_of,
    sums_of,
)
from .failures import failed
from .metadata import digest as digest_of
from .metadata import lock_digests
from .plain import say
from .project import USAGE, StopError, called_from, code_folder, me
from .registry import is_pinned, origin, published_as
from .workspace_lists import LOCK
from .workspaces import FOLDER as WORKSPACES
from .workspaces import engine_name

if TYPE_CHECKING:
    import argparse

    from .project import Project

PROJECT = "project"  # the environment that is not a workspace's
DROPPED = "files"  # before the environment, in the path of a DAG that is made from a file
PAGE, INSIDE = "airflow-api-server", 8080
TELL = ("/opt/airflow/bin/python", "-I", "-m", "workflows.workers")  # reads stdin
API = "/api/v2"
LIMIT = 120.0  # seconds for one answer: its first task makes an api-server busy for a while
STEP = 2.0  # seconds between two questions
PATIENCE = 60.0  # seconds that the api-server may not answer, such as after a crash
UNAUTHORIZED, MISSING = 401, 404
BROKEN = 500  # and above: a fault of the server, not of the question
ENDS = ("success", "failed")  # states of a run
SHOWN = 2000  # characters of parameters
FAILED = 2  # the exit status where there is nothing to compare
Answer = Dict[str, Any]


# ---------------------------------------------------------------------- what a worker has to know


def code_of(project: Project, environment: str) -> Path:
    """The folder of code of an environment."""
    if environment == PROJECT:
        return code_folder(project)
    return project.root / WORKSPACES / environment


def image_of(project: Project, environment: str) -> str:
    """The id of the image in which tasks run; a workspace without its own uses the project's."""
    name = project.image("runtime")
    if environment != PROJECT:
        top, _, tag = name.partition(":")
        own = image_id(f"{engine_name(top, environment)}:{tag}")
        if own:
            return own
    return image_id(name)


def worker_of(project: Project, environment: str) -> dict[str, str]:
    """The code and the image of a worker, as publish writes them down."""
    folder = code_of(project, environment)
    git = ("git", "-C", str(folder))
    # A folder that git ignores is in a repository, and no commit has it.
    known = capture(*git, "ls-files", "--", ".").stdout
    commit = capture(*git, "rev-parse", "HEAD").stdout.strip() if known else ""
    changed = not commit or bool(capture(*git, "status", "--porcelain", "--", ".").stdout)
    image = image_of(project, environment)
    return {
        "commit": commit,
        "source": origin(folder) if commit else "",
        "changed": "true" if changed else "false",
        "files": code_digest(folder),
        "image": image,
        "published": published_as(project, image) if image else "",
        "packages": packages_of(project, environment),
    }


def packages_of(project: Project, environment: str) -> str:
    """One SHA-256 of the locks of an environment, "" without one.

    Images of the same packages have other ids for each user, whose ids are in them.
    """
    found = lock_digests(project, ())
    own = code_of(project, environment) / LOCK
    if environment != PROJECT and own.is_file():
        found[f"{WORKSPACES}/{LOCK}"] = digest_of(own)
    return sha256(json.dumps(found, sort_keys=True).encode()).hexdigest() if found else ""


def tell_worker(page: str, environment: str, about: dict[str, str] | None) -> None:
    """Tell a worker what publish writes down; None while another one takes its place.

    Args:
        page: the id of the container of the api-server, which has the file.
        environment: that of the worker.
        about: what `worker_of` says.
    """
    words = engine_command("exec", "--interactive", page, *TELL)
    if capture(*words, text=json.dumps({environment: about})).returncode:
        show(f"Results of {environment} may not name their image: the api-server does not answer.")


# ------------------------------------------------------------------------------------- the REST API


class Client:
    """The REST API of the Airflow of a project, as the user of its password file."""

    def __init__(self, project: Project):
        """Find its address and the password. Raises StopError if it does not run."""
        found = container_of(project, PAGE)
        where = published(found, INSIDE) if found else None
        if not where:
            raise failed("airflow-not-running", project)
        self.project, self.address = project, f"http://{':'.join(where)}"
        self._login = dict(zip(("username", "password"), user_and_password(project)))
        # It is on this machine, to which no proxy leads.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._token = ""

    def send(self, method: str, path: str, content: Answer | None) -> Answer:
        """Send one request. Raises OSError, and HTTPError for another answer than the wanted."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(  # noqa: S310  it is HTTP
            self.address + path, data=data, headers=headers, method=method
        )
        with self._open(request, timeout=LIMIT) as answer:
            return read_json(answer.read().decode("utf-8", "replace"))

    def ask(self, path: str, content: Answer | None = None, method: str = "") -> Answer:
        """Ask, with a new login where the last one is too old.

        Raises:
            StopError: it does not answer, or only that it is broken, such as without its database.
            HTTPError: it answers that it cannot do it.
        """
        method = method or ("GET" if content is None else "POST")
        try:
            if not self._token:
                self._login_again()
            try:
                return self.send(method, API + path, content)
            except urllib.error.HTTPError as error:
                if error.code != UNAUTHORIZED:
                    raise
            self._login_again()
            return self.send(method, API + path, content)
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < BROKEN:
                raise
            raise failed("airflow-no-answer", self.project, reason=str(error)) from error

    def ask_patiently(self, path: str, content: Answer | None = None, method: str = "") -> Answer:
        """Ask what does no harm twice, also while the api-server or its database starts again.

        Raises:
            StopError: it has not answered for some time.
            HTTPError: it answers that it cannot do it.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.ask(path, content, method)
            except StopError:
                if time.monotonic() > until:
                    raise
            time.sleep(STEP)

    def _login_again(self) -> None:
        """Get a token, which is valid for a day. Raises OSError, HTTPError."""
        self._token = ""
        self._token = self.send("POST", "/auth/token", self._login)["access_token"]


# --------------------------------------------------------------------------------------- the verb


def manifest_of(project: Project, name: str) -> Answer:
    """The manifest that a file, or a folder of results, has. Raises StopError."""
    file = called_from() / name
    file = file / MANIFEST if file.is_dir() else file
    try:
        return read_manifest(file.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise failed("manifest-refused", project, path=str(file), quoted=str(file), reason=reason)


def environment_of(dag: Answer) -> str:
    """The environment of a DAG: its file is in a folder of that name."""
    parts = str(dag.get("relative_fileloc") or "").split("/")
    parts = parts[1:] if parts[0] == DROPPED else parts
    return parts[0] if len(parts) > 1 else PROJECT


def data_folder(project: Project) -> Path:
    """The folder that containers have at /data."""
    return project.settings.path("LOCAL_DATA_DIR") or project.root / "data"


def differences(project: Project, manifest: Answer, environment: str) -> Iterator[str]:
    """What is not as it was when the results were made."""
    here, code = worker_of(project, environment), manifest["code"]
    commit = here["commit"] or "none"
    if code["commit"] != commit:
        same = "are the same" if code["files"] == here["files"] else "differ"
        yield f"The commit was {code['commit']}, and is {commit} here. The Python files {same}."
        if re.fullmatch("[0-9a-f]{40,64}", code["commit"]) and is_source(code.get("source")):
            folder = f"then-{code['commit'][:12]}"
            clone = f"git clone -- {quote(code['source'])} {folder}"
            yield f"The code of then: {clone} && git -C {folder} checkout {code['commit']}"
    elif code["files"] != here["files"]:
        yield "The commit is the same, but the Python files differ from those of then."
    if here["commit"] and here["changed"] == "true":
        yield "The code here is not all in a commit."
    yield from other_image(manifest, here)
    for name, digest in sums_of(manifest, "inputs").items():
        file = data_folder(project) / FOLDERS[0] / name
        if not file.is_file():
            yield f"The input {name} is missing in {file.parent}."
        elif sha256_of(file) != digest:
            yield f"The input {name} is another file here: {file}"


def other_image(manifest: Answer, here: dict[str, str]) -> Iterator[str]:
    """What is different about the image, if it is not the same one but for its user."""
    packages, then = manifest.get("packages"), manifest.get("published")
    is_same = manifest["image"] == here["image"] or (then and then == here["published"])
    if not is_same and packages and packages == here["packages"]:
        yield "The image is another one, with the same packages."
    elif not is_same:
        yield f"The image was {manifest['image']}, and is {here['image'] or 'none'} here."
        if is_pinned(then):
            yield f"The image of then: {' '.join(engine_command('pull', str(then)))}"


def is_source(text: object) -> bool:
    """Whether a text of somebody else's manifest is an address that git may be given.

    Others, such as ext::, are commands: https://git-scm.com/docs/gitremote-helpers
    """
    address = r"((https?|ssh|git)://|[\w.-]+@[\w.-]+:)[\w.~:@%+/\[\]-]{1,400}"
    return isinstance(text, str) and bool(re.fullmatch(address, text, re.ASCII))


def address_of(dag_id: str) -> str:
    """The path of a DAG in the REST API."""
    return f"/dags/{in_address(dag_id, safe='')}"


def refused(project: Project, dag_id: str, error: urllib.error.HTTPError) -> StopError:
    """The failure of a DAG that Airflow does not run."""
    try:
        detail = read_json(error.read().decode("utf-8", "replace")).get("detail")
    except OSError:
        detail = ""
    reason = " ".join(str(detail or error).split())[:300].rstrip(".")
    if error.code == MISSING:
        reason = "there is no such DAG here"
    return failed("rerun-refused", project, dag=dag_id, reason=reason)


@contextmanager
def unpaused(client: Client, dag: Answer) -> Iterator[None]:
    """Let a paused DAG run for the moment. Says what to do if it cannot be paused again."""
    path = f"{address_of(dag['dag_id'])}?update_mask=is_paused"
    if not dag["is_paused"]:
        yield
        return
    show("The DAG is paused. It can run until this run has ended.")
    client.ask(path, {"is_paused": False}, "PATCH")
    try:
        yield
    finally:
        paused = False
        try:
            # What has happened in between counts for more.
            with suppress(StopError, urllib.error.HTTPError):
                client.ask_patiently(path, {"is_paused": True}, "PATCH")
                paused = True
        finally:
            if not paused:
                page = f"{client.address}{address_of(dag['dag_id'])}"
                show(f"The DAG {dag['dag_id']} is still not paused. Pause it on its page: {page}")


def run_again(client: Client, manifest: Answer) -> str:
    """Start the DAG with the parameters of then, and wait for its end; the id of the run.

    Raises:
        StopError: Airflow does not answer any more, or the run has failed.
        HTTPError: Airflow does not start it.
    """
    dag_id = manifest["dag"]
    run = f"{RERUN}{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{os.urandom(3).hex()}"
    wanted = {"dag_run_id": run, "logical_date": None, "conf": manifest["parameters"]}
    parameters = json.dumps(manifest["parameters"])
    shown = parameters if len(parameters) <= SHOWN else f"{parameters[:SHOWN]}..."
    show(f"Running {dag_id} with the parameters {shown}")
    client.ask(f"{address_of(dag_id)}/dagRuns", wanted)
    show(f"It is at {client.address}{address_of(dag_id)}/runs/{run}")
    if wait_for(client, f"{address_of(dag_id)}/dagRuns/{run}") == "failed":
        raise failed("rerun-failed", client.project, dag=dag_id, run=run)
    return run


def wait_for(client: Client, path: str) -> str:
    """Wait for the end of a run; its state. Raises StopError if Airflow answers no more."""
    state = ""
    while True:
        now = str(client.ask_patiently(path).get("state"))
        if now != state:
            show(f"The run: {now}")
        if now in ENDS:
            return now
        state = now
        time.sleep(STEP)


def compare(manifest: Answer, folder: Path) -> bool:
    """Print for each output whether it is equal; whether all are. Raises ValueError, OSError."""
    then, now = sums_of(manifest, "outputs"), {}
    if (folder / MANIFEST).is_file():
        now = sums_of(read_manifest((folder / MANIFEST).read_bytes()), "outputs")
    for name in sorted({*then, *now}):
        if name not in now:
            state = "missing"
        elif name not in then:
            state = "new"
        else:
            state = "equal" if now[name] == then[name] else "different"
        say(f"{state:9}  {name}")
    return then == now


def warn(project: Project, manifest: Answer, dag: Answer) -> None:
    """Say what is not as it was when the results were made."""
    for one in differences(project, manifest, environment_of(dag)):
        show(f"Warning: {one}")
    if manifest["code"].get("changed"):
        show("Warning: the code of then was not all in a commit.")


def repeat(project: Project, name: str) -> bool:
    """Run the DAG of a manifest again; whether the results are equal. Raises StopError."""
    manifest, client = manifest_of(project, name), Client(project)
    try:
        dag = client.ask(address_of(manifest["dag"]))
        warn(project, manifest, dag)
        with unpaused(client, dag):
            run = run_again(client, manifest)
    except urllib.error.HTTPError as error:
        raise refused(project, manifest["dag"], error) from error
    folder = data_folder(project) / FOLDERS[1] / RERUNS / run / manifest["name"]
    try:
        equal = compare(manifest, folder)
    except (ValueError, OSError) as error:
        known = {"path": str(folder), "quoted": str(folder), "reason": str(error)}
        raise failed("manifest-refused", project, **known) from error
    show(f"The results are {'equal' if equal else 'not equal'}. The new ones: {folder}")
    return equal


def rerun(project: Project, options: argparse.Namespace) -> int:
    """Repeat a run; 0 if its results are equal, 1 if not. Raises StopError, whose status is 2."""
    if len(options.words) != 1:
        sentence = "rerun needs one manifest of results, or the folder that has it."
        raise StopError(sentence, f"{me()} airflow --help", name=USAGE, status=FAILED)
    try:
        return 0 if repeat(project, options.words[0]) else 1
    except StopError as stop:
        stop.status = FAILED
        raise
