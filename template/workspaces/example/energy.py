"""The steps of the example: how much power a building takes, by temperature and hour.

Each step reads files and writes files, so it can run by itself, as in

    template.sh run -W example python -c 'import energy; energy.clean()'
"""

from __future__ import annotations

import csv
import json
import math
import os
from contextlib import suppress
from pathlib import Path

import model
import numpy as np

SOURCE = Path(__file__).parent / "measurements.csv"
GENERATED = Path(os.environ.get("DATA_DIR", "/data")) / "generated" / "example"
SPIKE = 5  # times the median, from which on a value is an error of the meter


def clean() -> list[str]:
    """Write a table of the usable rows of each building, and return the names of the buildings."""
    tables: dict[str, dict[str, tuple[float, float, float]]] = {}
    with SOURCE.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                values = float(row["temperature"]), float(row["power"])
            except ValueError:  # a gap
                continue
            hour = float(row["time"][11:13])
            # One row for each time: the meter sends some twice.
            tables.setdefault(row["building"], {})[row["time"]] = (hour, *values)
    for building, rows in tables.items():
        table = np.array(list(rows.values()))
        table = table[table[:, 2] < SPIKE * np.median(table[:, 2])]
        write(GENERATED / f"clean/{building}.csv", table)
    return sorted(tables)


def transform(building: str) -> str:
    """Write features and target of a building, and return the path of the file."""
    hour, temperature, power = np.loadtxt(GENERATED / f"clean/{building}.csv", delimiter=",").T
    angle = 2 * math.pi * hour / 24
    waves = [wave(n * angle) for n in (1, 2) for wave in (np.sin, np.cos)]
    # Relative to the building's own median, so that one model fits all of them.
    columns = [temperature / 10, *waves, power / np.median(power)]
    path = GENERATED / f"features/{building}.csv"
    write(path, np.stack(columns, axis=1))
    return str(path)


def train(parts: list[str], epochs: int, seed: int) -> str:
    """Fit a model to four of five rows, and return the path of its file."""
    features, target = rows_of(parts, held_out=False)
    path = GENERATED / model.FILE
    model.fit(features, target, path, epochs=epochs, seed=seed)
    return str(path)


def evaluate(path: str, parts: list[str]) -> dict[str, float]:
    """Write predictions for the other rows, with their errors, which are returned."""
    features, target = rows_of(parts, held_out=True)
    predicted = model.predict(Path(path), features)
    write(GENERATED / "predictions.csv", np.stack([target, predicted], axis=1))
    error = float(np.sqrt(np.mean((target - predicted) ** 2)))
    scores = {"rows": len(target), "error": error, "spread": float(target.std())}
    (GENERATED / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    return scores


def plot() -> str:
    """Draw the predictions over what was measured as an SVG, and return its path."""
    measured, predicted = np.loadtxt(GENERATED / "predictions.csv", delimiter=",").T
    low, high = np.floor(measured.min() * 10) / 10, np.ceil(measured.max() * 10) / 10
    scale = 300 / (high - low)
    dots = "".join(
        f'<circle cx="{50 + (x - low) * scale:.1f}" cy="{330 - (y - low) * scale:.1f}" r="3"/>\n'
        for x, y in zip(measured, predicted, strict=True)
    )
    text = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 380 380"
 font-family="sans-serif" font-size="12">
<rect width="380" height="380" fill="white"/>
<path d="M50 30V330H350M50 330L350 30" fill="none" stroke="gray"/>
<text x="200" y="365" text-anchor="middle">measured</text>
<text x="-180" y="16" text-anchor="middle" transform="rotate(-90)">predicted</text>
<text x="50" y="346">{low:.1f}</text><text x="335" y="346">{high:.1f}</text>
<g fill="steelblue" fill-opacity="0.6">
{dots}</g>
</svg>
"""
    path = GENERATED / "predictions.svg"
    path.write_text(text)
    return str(path)


def describe(path: str) -> dict[str, list[float]]:
    """Write and return the least, mean and greatest number of each column of a table."""
    columns: dict[str, list[float]] = {}
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                with suppress(TypeError, ValueError):
                    columns.setdefault(name, []).append(float(text))
    found = {name: [min(of), float(np.mean(of)), max(of)] for name, of in columns.items()}
    GENERATED.mkdir(parents=True, exist_ok=True)
    (GENERATED / f"{Path(path).name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def results() -> list[str]:
    """The files that others may want."""
    names = (model.FILE, "predictions.csv", "predictions.svg", "scores.json")
    return [str(GENERATED / name) for name in names]


def rows_of(parts: list[str], *, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features and target of all buildings: every fifth row, or the others."""
    table = np.concatenate([np.loadtxt(part, delimiter=",") for part in sorted(parts)])
    chosen = (np.arange(len(table)) % 5 == 0) == held_out
    return table[chosen, :-1], table[chosen, -1]


def write(path: Path, table: np.ndarray) -> None:
    """Write a table of numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, table, delimiter=",", fmt="%.6g")
