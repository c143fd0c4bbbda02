"""The package index that all test processes share."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.support import index
from tests.support.index import PackageIndex, SharedIndex, serving


def test_a_name_that_a_build_may_have_from_outside_gets_no_other_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "upstream_index", lambda: "http://outside.invalid/simple")
    monkeypatch.setattr(index, "read_outside", lambda _: json.dumps({"files": []}).encode())
    with serving(PackageIndex(tmp_path, None, None), "127.0.0.1") as served:
        shared = SharedIndex(served.url)
        shared.add("quiet-lamp")
        with urllib.request.urlopen(f"{served.url}/simple/of-all/"):  # noqa: S310 (this machine's)
            pass
        for name in ("of-all", "Of_All"):
            with pytest.raises(ValueError, match="was passed on"):
                shared.add(name)
        shared.add("quiet-lamp", "2.0")
        assert served.passed_on == {"of-all"}
