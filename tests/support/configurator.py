"""What somebody does with the configurator: answers, and what a machine prints."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.support.serving import serving_folder
from website.python import bundle
from website.python.answers import given
from website.python.project_command import OF_CODE
from website.python.questions import questionnaire

SMI_LIST = """\
GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-b3a2c4d6-0000-0000-0000-000000000000)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-b3a2c4d6-0000-0000-0000-000000000001)
  MIG 1g.10gb     Device  0: (UUID: MIG-b3a2c4d6-0000-0000-0000-000000000002)
"""
# In Windows and WSL, processes have N/A for their memory.
SMI_WSL = """\
PS C:\\> nvidia-smi
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 570.86.09              Driver Version: 571.96         CUDA Version: 12.8     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
|=========================================+========================+======================|
|   0  NVIDIA GeForce RTX 4090        On  |   00000000:01:00.0  On |                  Off |
|  0%   38C    P8             16W /  450W |    1283MiB /  24564MiB |      4%      Default |
+-----------------------------------------+------------------------+----------------------+
|   1  NVIDIA RTX A2000             WDDM  |   0000000A:0f:00.0 Off |                  N/A |
+-----------------------------------------------------------------------------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|=========================================================================================|
|    0   N/A  N/A              33      G   /Xwayland                             N/A      |
|    0   N/A  N/A            1234    C+G   ...5n1h2txyewy\\TextInputHost.exe      N/A      |
+-----------------------------------------------------------------------------------------+
"""


HERE = Path(__file__).parents[2] / "website"


@contextmanager
def serving_page(folder: Path) -> Iterator[str]:
    """Serve the configurator with Python in it, from a new folder; give the page's address.

    Raises:
        BundleError: Node.js is missing.
    """
    shutil.copytree(HERE / "configurator", folder / "configurator")
    bundle.make_bundle(folder / "python")
    with serving_folder(folder) as url:
        yield f"{url}/configurator/index.html"


def seconds_of_page(page: Page, url: str) -> dict[str, list[float]]:
    """What somebody waits for, in a browser that has not loaded the page before.

    Returns:
        seconds from the call of the address to the first answer, of a link and of the page alone,
        and from each change to its answer.
    """
    page.goto(f"{url}#gpu=5090&driver=570")
    page.wait_for_function("hearthTimes.settled")
    link = page.evaluate("hearthTimes.first")
    for version in ("2.9.1", "2.15.0", "2.8.0", "2.14.1", "2.13.0"):
        page.select_option("#q-torch_version", version)
        page.wait_for_function("hearthTimes.settled")
    changes = page.evaluate("hearthTimes.answers")
    page.goto("about:blank")
    page.goto(url)
    page.wait_for_function("hearthTimes.settled")
    alone = page.evaluate("hearthTimes.first")
    found = {"link": [link], "page": [alone], "change": changes}
    return {name: [one / 1000 for one in times] for name, times in found.items()}


def take_scene(page: Page, url: str) -> None:
    """The scene of the picture: a GPU and a driver are typed, and answered."""
    page.goto(url)
    page.get_by_label("GPU", exact=True).fill("5090")
    page.get_by_label("Driver", exact=True).fill("570")
    page.wait_for_function("hearthTimes.settled")
    page.get_by_text("copier copy").first.wait_for()


def asked(told: dict[str, Any]) -> dict[str, Any]:
    """The answers to what Copier asks, of an answer of the page."""
    return {one["name"]: one["value"] for one in told["questions"] if one["asked"]}


def some_answers(randomly: random.Random) -> dict[str, str]:
    """Answers that somebody may choose, of what is on offer and of what is not."""
    found: dict[str, str] = {}
    for _ in range(randomly.randrange(5)):
        questions, _ = questionnaire().answer(given(found))
        name = randomly.choice([one for one in questions if one not in OF_CODE])
        one = questions[name]
        if one.kind == "switch":
            found[name] = randomly.choice(["yes", "no"])
        elif one.kind == "several":
            picked = randomly.sample(one.offers, randomly.randrange(3))
            found[name] = ",".join(offer.value for offer in picked)
        elif one.kind == "choice":
            found[name] = randomly.choice(one.offers).value
        else:
            found[name] = randomly.choice(["auto", "8.6", "H100"])
    return found
