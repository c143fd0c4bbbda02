"""Prints which database schemas the Airflow of an image knows, as one line of JSON.

It runs in a container of the image, by the text of this file: `python -c TEXT`. It imports nothing
of Airflow, which would take seconds: Alembic's migrations say it in their text.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path


def tables() -> dict[str, object]:
    """Airflow's version, all revisions, those that nothing follows, and releases by revision."""
    airflow = Path(str(metadata.distribution("apache-airflow-core").locate_file("airflow")))
    revisions, followed = set(), set()
    for file in airflow.glob("**/migrations/versions/*.py"):
        text = file.read_text("utf-8")
        revisions.update(re.findall(r'(?m)^revision\b.*= *["\'](\w+)["\']', text))
        for line in re.findall(r"(?m)^down_revision\b.*=(.*)", text):
            followed.update(re.findall(r'["\'](\w+)["\']', line))
    # _REVISION_HEADS_MAP: "3.1.0": "cc92b33c6709",
    releases = re.findall(r'"([\d.]+)": "(\w{12})"', (airflow / "utils/db.py").read_text("utf-8"))
    return {
        "version": metadata.version("apache-airflow-core"),
        "revisions": sorted(revisions),
        "heads": sorted(revisions - followed),
        "releases": {revision: version for version, revision in releases},
    }


if __name__ == "__main__":
    print(json.dumps(tables()))
