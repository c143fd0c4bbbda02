"""The page Data of Airflow: what tasks have written to data/generated and data/uploadable.

Only for users who are logged in, and only for looking. Files come from programs of anybody, so
none of them may do anything in the browser: https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP
"""

from __future__ import annotations

import os
import sys
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(os.environ.get("DATA_DIR", "/data"))
FOLDERS = ("generated", "uploadable")
ADDRESS = "/data"
MOST = 1000  # entries that a page shows
PICTURES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}
OF_PAGE = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"
OF_FILE = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
STYLE = "body{font:14px sans-serif;margin:1em}img{max-width:30em;display:block}"


def find(path: str) -> Path | None:
    """What a path below the data folder names; None outside of the two folders, also by a link."""
    try:
        found = (DATA / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    tops = [(DATA / one).resolve() for one in FOLDERS]
    inside = any(top == found or top in found.parents for top in tops)
    return found if inside and (found.is_dir() or found.is_file()) else None


def links(path: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What a page of a folder leads to: names, and paths below the data folder."""
    yield "..", str(Path(path).parent) if "/" in path else ""
    entries = islice(os.scandir(folder), MOST)
    for entry in sorted(entries, key=lambda one: one.name):
        yield entry.name + "/" * entry.is_dir(), f"{path}/{entry.name}"


def page(path: str, folder: Path) -> str:
    """The list of a folder, with its pictures; without a path, of the two folders."""
    rows = [f"<h3>data/{escape(path)}</h3>"]
    for name, below in links(path, folder) if path else zip(FOLDERS, FOLDERS, strict=True):
        address = quote(f"{ADDRESS}/{below}", errors="surrogateescape")
        shown = Path(name).suffix.lower() in PICTURES
        picture = f'<img src="{address}" alt="">' if shown else ""
        rows.append(f'<p><a href="{address}">{escape(readable(name))}{picture}</a></p>')
    if len(rows) > MOST + 1:
        rows.append(f"<p>Only {MOST} entries are shown.</p>")
    return f"<!doctype html><title>Data</title><style>{STYLE}</style>{''.join(rows)}"


def readable(name: str) -> str:
    """A name of a file that need not be UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def application() -> Any:
    """The program that answers the browser."""
    from airflow.api_fastapi.core_api.security import get_user  # noqa: PLC0415
    from fastapi import Depends, FastAPI, HTTPException  # noqa: PLC0415
    from fastapi.responses import FileResponse, HTMLResponse, Response  # noqa: PLC0415

    app = FastAPI(dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/{path:path}")
    def show(path: str) -> Response:
        path = path.strip("/")
        found = find(path) if path else DATA
        if found is None:
            raise HTTPException(404, "There is no such file.")
        if found.is_dir():
            return HTMLResponse(page(path, found), headers={"Content-Security-Policy": OF_PAGE})
        kind = PICTURES.get(found.suffix.lower(), "text/plain; charset=utf-8")
        headers = {"Content-Security-Policy": OF_FILE, "X-Content-Type-Options": "nosniff"}
        return FileResponse(found, media_type=kind, headers=headers)

    return app


class DataPlugin(AirflowPlugin):
    """What Airflow finds in this file: the api-server alone needs it."""

    name = "data"
    if "api-server" in sys.argv:
        fastapi_apps = [{"app": application(), "url_prefix": ADDRESS, "name": "Data"}]
        external_views = [
            {"name": "Data", "href": f"{ADDRESS}/", "destination": "nav", "url_route": "data"}
        ]
