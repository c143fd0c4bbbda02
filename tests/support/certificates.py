"""A certificate authority of one's own, as behind a proxy that inspects TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from tests.support.process import run


def make_authority(folder: Path, address: str) -> tuple[Path, ssl.SSLContext]:
    """Make an authority that no system knows, and a server certificate from it for an IP address.

    Returns:
        The authority's certificate (PEM), and the context of a server that shows the other one.
    """
    authority, key, request = folder / "authority.pem", folder / "key.pem", folder / "request.pem"
    new_key = ("-newkey", "rsa:2048", "-nodes")
    _openssl(
        *("req", "-x509", *new_key, "-keyout", folder / "authority-key.pem", "-out", authority),
        *("-days", "2", "-subj", "/CN=The proxy's authority"),
    )
    _openssl("req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=index")
    extensions = folder / "extensions.cnf"
    extensions.write_text(f"basicConstraints = CA:FALSE\nsubjectAltName = IP:{address}\n")
    certificate = folder / "certificate.pem"
    _openssl(
        *("x509", "-req", "-in", request, "-out", certificate, "-days", "2"),
        *("-CA", authority, "-CAkey", folder / "authority-key.pem", "-CAcreateserial"),
        *("-extfile", extensions),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return authority, context


def _openssl(*arguments: str | Path) -> None:
    result = run("openssl", *arguments)
    if result.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {result.stderr}")
