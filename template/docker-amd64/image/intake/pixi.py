"""pixi's manifest: pixi.toml, or [tool.pixi] of pyproject.toml.

https://pixi.sh/latest/reference/pixi_manifest/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import conda_specs
from .found import DEV, MAIN, Place, Verdict, left_out, settled, unreadable
from .pip_files import Reading, index_verdict, read_line
from .pipfile import requirement_of
from .text import load
from .toml_files import key_lines, line_of, table_of, texts_in, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = {"linux-64", "linux", "unix"}  # the targets that an image is
DEV_FEATURES = {"dev", "develop", "development", "test", "tests", "testing"}
CONDA_TABLES = ("dependencies", "host-dependencies", "build-dependencies")
SETTINGS = ("system-requirements", "activation")


class _Manifest:
    """A manifest with the places of its keys; `prefix` is where it is in its file."""

    def __init__(self, reading: Reading, name: str) -> None:
        self.reading, self.name = reading, name
        text = load(reading.root / name, name)
        values = values_of(text, name)
        self.lines = key_lines(text)
        in_pyproject = name.endswith("pyproject.toml")
        self.prefix = "tool.pixi." if in_pyproject else ""
        self.values = table_of(values, "tool", "pixi") if in_pyproject else values

    def place(self, table: str, key: str) -> Place:
        """Where a key is."""
        return Place(self.name, line_of(self.lines, f"{self.prefix}{table}", key))

    def tables(
        self, base: str, values: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any], str]]:
        """The tables of packages: where each is, what it has, and for which platform."""
        for name in (*CONDA_TABLES, "pypi-dependencies"):
            yield f"{base}{name}", table_of(values, name), ""
        for platform, target in table_of(values, "target").items():
            for name in (*CONDA_TABLES, "pypi-dependencies"):
                yield f"{base}target.{platform}.{name}", table_of(target, name), platform


def read_file(reading: Reading, name: str) -> None:
    """Read a manifest of pixi.

    Raises:
        FileError: it cannot be read.
    """
    manifest = _Manifest(reading, name)
    title = "workspace" if "workspace" in manifest.values else "project"
    channels = table_of(manifest.values, title).get("channels", [])
    for channel in channels if isinstance(channels, list) else []:
        text = channel.get("channel", "") if isinstance(channel, dict) else str(channel)
        place = manifest.place(title, "channels")
        reading.add(place, text, conda_specs.channel_verdict(text, reading.wanted))
    group = reading.group
    read_indexes(manifest)
    read_tables(manifest, "", manifest.values)
    features = table_of(manifest.values, "feature")
    default = default_features(manifest.values)
    for feature, values in features.items():
        is_main = feature in default
        reading.group = group if is_main else DEV if feature in DEV_FEATURES else ""
        read_tables(manifest, f"feature.{feature}.", values if isinstance(values, dict) else {})
    reading.group = group
    for setting in SETTINGS:
        for key in table_of(manifest.values, setting):
            place = manifest.place(setting, key)
            reading.add(place, f"{setting}: {key}", left_out("it is a setting of pixi"))


def default_features(values: dict[str, Any]) -> set[str]:
    """The features of the environment that pixi takes where none is named."""
    default = table_of(values, "environments").get("default", [])
    listed = default.get("features", []) if isinstance(default, dict) else default
    return set(texts_in(listed))


def read_indexes(manifest: _Manifest) -> None:
    """Note the indexes of [pypi-options]."""
    reading, options = manifest.reading, table_of(manifest.values, "pypi-options")
    for key in ("index-url", "extra-index-urls", "find-links"):
        for address in texts_in(options.get(key, [])):
            kind = "find-links" if key == "find-links" else "index"
            verdict = index_verdict(address, reading.wanted, kind, extra=key != "index-url")
            reading.add(manifest.place("pypi-options", key), address, verdict)


def read_tables(manifest: _Manifest, base: str, values: dict[str, Any]) -> None:
    """Note the packages of a feature, or of the manifest itself (base "")."""
    reading = manifest.reading
    for table, packages, platform in manifest.tables(base, values):
        for key, value in packages.items():
            place, text = manifest.place(table, key), shown_value(key, value)
            if platform and platform not in HERE:
                add(reading, place, text, left_out("as it is for another platform"))
            elif not reading.group:
                feature = base.split(".")[1]
                why = f"as the feature {feature} is not in pixi's default environment"
                add(reading, place, text, left_out(why))
            elif table.endswith("pypi-dependencies"):
                line = requirement_of(key, value)
                if line:
                    read_line(reading, place, line)
                else:
                    add(reading, place, text, unreadable("it names no version and no address"))
            else:
                spec = spec_of(key, value)
                add(reading, place, spec or text, verdict_of(spec, reading))


def add(reading: Reading, place: Place, text: str, verdict: Verdict) -> None:
    """Note an entry; what belongs to no group is shown with the main one."""
    group, reading.group = reading.group, reading.group or MAIN
    reading.add(place, text, verdict)
    reading.group = group


def verdict_of(spec: str, reading: Reading) -> Verdict:
    """The verdict on a spec, "" for one that conda cannot have."""
    if not spec:
        return left_out("as it is a path or a repository, which conda's files cannot name")
    return conda_specs.judge(spec, reading.wanted) if spec != "*" else settled()


def shown_value(key: str, value: Any) -> str:
    """A package as it is written, in one line."""
    return f"{key} = {value}" if isinstance(value, str) else key


def spec_of(name: str, value: Any) -> str:
    """A package of conda's as a spec, "" where it has no version but a path."""
    if isinstance(value, str):
        version = value.strip()
        channel = build = ""
    elif isinstance(value, dict) and not {"path", "git", "url"} & value.keys():
        version = str(value.get("version", "*")).strip()
        channel, build = str(value.get("channel", "")), str(value.get("build", ""))
    else:
        return ""
    version = "" if version == "*" else version
    # A bare version means this one, as = does.
    bare = version and not version.startswith(("=", "<", ">", "!", "~"))
    spec = f"{name}{'=' if bare else ''}{version.replace(' ', '')}"
    if build:
        spec = f"{spec if version else f'{name}=*'}={build}"
    return f"{channel}::{spec}" if channel else spec
