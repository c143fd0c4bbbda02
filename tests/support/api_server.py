"""A real API server of Kubernetes, with its store, on this machine's loopback alone.

`.ci/api-server` makes the programs. No controller runs: objects are checked, kept and given back,
and no pod starts.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.process import run
from tests.support.sockets import free_ports

LONGEST_START = 120.0  # seconds, on a machine that does other work
ADMIN, MEMBER = "admin", "member"  # users, and their tokens
CONTEXT, NAMESPACE = "prod", "team"
# https://kubernetes.io/docs/concepts/security/pod-security-standards: what the policy of that name
# was before Pod Security itself, as that page had it for 1.20; the read-only root is ours.
RESTRICTED = {
    "apiVersion": "policy/v1beta1",
    "kind": "PodSecurityPolicy",
    "metadata": {
        "name": "restricted",
        "annotations": {
            "seccomp.security.alpha.kubernetes.io/allowedProfileNames": "runtime/default"
        },
    },
    "spec": {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "requiredDropCapabilities": ["ALL"],
        "volumes": ["configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"],
        "hostNetwork": False,
        "hostIPC": False,
        "hostPID": False,
        "runAsUser": {"rule": "MustRunAsNonRoot"},
        "seLinux": {"rule": "RunAsAny"},
        "supplementalGroups": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 65535}]},
        "fsGroup": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 65535}]},
        "readOnlyRootFilesystem": True,
    },
}


class Answer(NamedTuple):
    """What the server says.

    Attributes:
        status: of HTTP.
        body: the object, or the Status that says why there is none.
    """

    status: int
    body: dict[str, Any]


class ApiServer:
    """A server that runs."""

    def __init__(self, folder: Path, port: int):
        """The address, and a configuration of kubectl that has it as the context `prod`."""
        self.url = f"https://127.0.0.1:{port}"
        self.trust = ssl.create_default_context(cafile=folder / "certificates/apiserver.crt")
        self.kubeconfig = folder / "kubeconfig"
        cluster = {
            "server": self.url,
            "certificate-authority": f"{folder}/certificates/apiserver.crt",
        }
        context = {"cluster": "here", "user": MEMBER, "namespace": NAMESPACE}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": MEMBER, "user": {"token": MEMBER}}],
            "contexts": [{"name": CONTEXT, "context": context}],
        }
        self.kubeconfig.write_text(json.dumps(config))

    def ask(self, method: str, path: str, body: object = None, user: str = MEMBER) -> Answer:
        """Ask the server as a user. Raises OSError: it does not answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {user}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310  its own address
            self.url + path, data, headers, method=method
        )
        try:
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=240, context=self.trust
            ) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return Answer(status, json.loads(text) if text[:1] == b"{" else {"message": text.decode()})

    def make(self, document: dict[str, Any], user: str = MEMBER, *, dry: bool = False) -> Answer:
        """Create an object; `dry`: only say whether that could be done."""
        path = f"{path_of(document)}{'?dryRun=All' * dry}"
        return self.ask("POST", path, document, user)


def path_of(document: dict[str, Any]) -> str:
    """Where objects of this kind are made."""
    version, kind = document["apiVersion"], document["kind"]
    start = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = document["metadata"].get("namespace")
    plural = kind.lower()[:-1] + "ies" if kind.endswith("y") else f"{kind.lower()}s"
    plural = "priorityclasses" if kind == "PriorityClass" else plural
    return f"{start}{f'/namespaces/{namespace}' if namespace else ''}/{plural}"


@contextmanager
def api_server(programs: Path, folder: Path) -> Iterator[ApiServer]:
    """Start the store and the server, and end both.

    Args:
        programs: the folder with kube-apiserver and etcd.
        folder: for all that they write; it exists.
    """
    store, peer, port = free_ports(3)
    key = folder / "accounts.key"
    assert run("openssl", "genrsa", "-out", key, "2048").returncode == 0
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{ADMIN},{ADMIN},1,"system:masters"\n{MEMBER},{MEMBER},2\n')
    at = f"http://127.0.0.1:{store}"
    of_peers = f"http://127.0.0.1:{peer}"
    etcd = [programs / "etcd", f"--data-dir={folder}/store"]
    etcd += [f"--listen-client-urls={at}", f"--advertise-client-urls={at}"]
    etcd += [f"--listen-peer-urls={of_peers}", f"--initial-advertise-peer-urls={of_peers}"]
    etcd += [f"--initial-cluster=default={of_peers}"]
    server = [programs / "kube-apiserver", f"--etcd-servers={at}", f"--secure-port={port}"]
    server += ["--bind-address=127.0.0.1", f"--cert-dir={folder}/certificates"]
    server += [f"--token-auth-file={tokens}", "--authorization-mode=RBAC"]
    server += [f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"]
    server += [
        "--service-account-issuer=https://127.0.0.1",
        "--service-cluster-ip-range=10.9.0.0/24",
    ]
    # Every cluster has that since 1.21.
    server += [
        "--enable-admission-plugins=PodSecurityPolicy",
        "--feature-gates=TTLAfterFinished=true",
    ]
    started: list[subprocess.Popen[bytes]] = []
    log = folder / "log"
    try:
        for words in (etcd, server):
            with log.open("ab") as out:
                # They end with the tests, even if these are killed.
                all_words = ["setpriv", "--pdeathsig=KILL", "--", *map(str, words)]
                one = subprocess.Popen(
                    all_words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=clean()
                )
            started.append(one)
        yield ready(folder, port, started, log)
    finally:
        for one in reversed(started):
            end(one)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, the hard way if it takes too long."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def clean() -> dict[str, str]:
    """This process' variables without those that would be settings of etcd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}


def ready(folder: Path, port: int, started: list[subprocess.Popen[bytes]], log: Path) -> ApiServer:
    """The server, once it answers."""
    until = time.monotonic() + LONGEST_START
    while True:
        assert all(one.poll() is None for one in started), log.read_text()[-3000:]
        assert time.monotonic() < until, log.read_text()[-3000:]
        try:
            server = ApiServer(folder, port)
            if server.ask("GET", "/readyz", user=ADMIN).status == 200:
                return server
        except OSError:  # no certificate yet, or nobody listens
            pass
        time.sleep(0.2)
