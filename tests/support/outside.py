"""Reading from the machine's own package index, over a network that may fail for a moment."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request

# Together less than the half minute that uv waits for an answer.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds
OF_A_MOMENT = (429, *range(500, 600))  # statuses of HTTP


def read_outside(request: str | urllib.request.Request, largest: int | None = None) -> bytes:
    """What is at an address; tried again where no name is resolved or a connection breaks.

    Args:
        request: the address, or a request for it.
        largest: how many bytes it may have.

    Raises:
        PermissionError: it has more.
        urllib.error.HTTPError: the server refuses.
        OSError: it cannot be read.
    """
    for wait in WAITS:
        try:
            return _read(request, largest)
        except PermissionError:
            raise
        except urllib.error.HTTPError as error:
            if error.code not in OF_A_MOMENT:
                raise
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(wait)
    return _read(request, largest)


def _read(request: str | urllib.request.Request, largest: int | None) -> bytes:
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 (the machine's own index)
        size = int(answer.headers["Content-Length"] or 0)
        if largest is not None and size > largest:
            raise PermissionError(f"It has {size} bytes; tests fetch nothing that large")
        content: bytes = answer.read()
    return content
