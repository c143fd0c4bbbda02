"""What the doctor finds around the project: ports, registries, a proxy that inspects TLS."""

from __future__ import annotations

import os
import ssl
from functools import partial
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Iterator
from urllib.parse import urlsplit

from .ask import command
from .compose import image_id
from .doctor_env import finding_of, needs_env
from .doctor_folders import services_of_user
from .engine_words import engine_command
from .failures import everywhere, explain, registry_of
from .findings import ERROR, WARNING, Finding
from .look import LIMIT, Case, port
from .mends import fill_env
from .ports import HERE, is_free
from .probe import first_bundle

if TYPE_CHECKING:
    from .findings import Check, Subject
    from .project import Project

PATIENCE = 1.0  # seconds for the one connection to a server
REGISTRY_LIMIT = 2.0  # seconds for what a registry says of an image
# Where an administrator puts certificates beside those of the distribution, which images have too:
# Debian, Fedora, Arch, SUSE.
ADDED = (
    *("/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors"),
    *("/etc/ca-certificates/trust-source/anchors", "/etc/pki/trust/anchors"),
)


# ------------------------------------------------------------------------------------- ports


def wanted_ports(project: Project) -> Iterator[tuple[str, int]]:
    """Address and number of the ports that dev publishes; `up` itself finds those for apps."""
    settings = project.settings
    if "ssh" in project.extras and settings.get("SSH_PORT").isdigit():
        yield settings.get("SSH_ADDRESS") or HERE, int(settings.get("SSH_PORT"))
    dev = services_of_user(project).get("dev") or {}
    for one in dev.get("ports") or ():
        if str(one.get("published")).isdigit():
            yield str(one.get("host_ip") or "0.0.0.0"), int(one["published"])  # noqa: S104


@needs_env
def ports(subject: Subject) -> Iterator[Finding]:
    """Whether another program has a port of the dev container."""
    project = subject.project
    own = f"label=com.docker.compose.project={project.settings.get('COMPOSE_PROJECT_NAME')}"
    for address, number in dict.fromkeys(wanted_ports(project)):
        if is_free(number, address):
            continue
        held = engine_command("ps", "--quiet", "--filter", f"publish={number}", "--filter", own)
        if command(held, LIMIT).out.strip():
            continue
        known = everywhere(project)
        text = f"listen tcp4 {address}:{number}: bind: address already in use"
        seen = port(Case(project, text, known)) or {}
        yield Finding("port-taken", ERROR, f"{address}:{number}", {**known, **seen})


# -------------------------------------------------------------------------------- registries


@needs_env
def registries(subject: Subject) -> Iterator[Finding]:
    """Whether a registry gives the images that .env names, if they are not here.

    Only what it says itself counts: whether an image wants a login is not known otherwise.
    """
    project = subject.project
    for key in project.base_images if subject.facts.engine.reachable else ():
        name = project.settings.get(key)
        if not name or image_id(name):
            continue
        said = command(engine_command("manifest", "inspect", name), REGISTRY_LIMIT)
        if said.timed_out:
            return
        stop = explain(project, said.err, image_name=name) if said.status else None
        if stop and stop.name == "registry-login":
            yield finding_of(stop, ERROR, f"{key}, asked at {registry_of(name)}")


# ------------------------------------------------------------------------------ certificates


@needs_env
def certificates(subject: Subject) -> Iterator[Finding]:
    """Whether builds trust what this machine trusts, such as a proxy that inspects TLS.

    The network is asked once, and only where certificates were added to this machine.
    """
    project = subject.project
    named, here = project.settings.path("CA_BUNDLE"), subject.facts.ca_bundle
    if named:
        if not first_bundle([str(named)]):
            yield Finding("certificates-missing", ERROR, str(named), {"path": str(named)})
        return
    if here:
        yield Finding("build-certificate", WARNING, f"this machine's programs use {here}")
        return
    added = added_certificates()
    host, number = server_of_packages(project) if added else ("", 0)
    if host and is_inspected(host, number, added):
        evidence = f"{host}:{number} shows a certificate of {added[0].parent}"
        mend = partial(fill_env, subject, "CA_BUNDLE", "COMPOSE_FILE")
        yield Finding("build-certificate", ERROR, evidence, mend=mend)


def added_certificates() -> list[Path]:
    """The files of certificates that an administrator has added to this machine."""
    files = (one for folder in ADDED for one in sorted(Path(folder).rglob("*")))
    return [one for one in files if first_bundle([str(one)])]


def server_of_packages(project: Project) -> tuple[str, int]:
    """A server that builds ask: the package index of .env, else the registry of an image."""
    index = urlsplit(project.settings.get("UV_DEFAULT_INDEX"))
    if index.scheme == "https" and index.hostname:
        return index.hostname, index.port or 443
    registries = map(registry_of, project.base_images.values())
    host = next((one for one in registries if one != "docker.io"), "")
    name, _, number = host.partition(":")
    return name, int(number or 443)


def is_inspected(host: str, number: int, authorities: list[Path]) -> bool:
    """Whether a server shows a certificate of these authorities, directly or by HTTPS_PROXY.

    False where it cannot be reached within PATIENCE seconds.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody else
    for file in authorities:
        context.load_verify_locations(str(file))
    proxy = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
    there = (proxy.hostname, proxy.port or 80) if proxy.hostname else (host, number)
    connection = HTTPSConnection(*there, timeout=PATIENCE, context=context)
    if proxy.hostname:
        connection.set_tunnel(host, number)
    try:
        connection.connect()
    except (OSError, HTTPException):  # also that somebody else has signed its certificate
        return False
    finally:
        connection.close()
    return True


CHECKS: tuple[Check, ...] = (ports, registries, certificates)
