"""The choice as it is typed, with what a project's answers say in addition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compat.table import load
from .choices import SERVICES, Choice, choice, from_image
from .hosts import BadInputError
from .rules import judge

if TYPE_CHECKING:
    import argparse

    from .hosts import Host


def wanted_choice(options: argparse.Namespace, machine: Host | None) -> tuple[Choice, str]:
    """The choice, and what to say of it: which line was taken for a CUDA major."""
    major = _major(options.cuda)
    if major is None:
        return _chosen(options, options.cuda), ""
    table = load()
    lines = [line for line in reversed(table.lines) if line.partition(".")[0] == major]
    found = [_chosen(options, line) for line in lines]
    release = table.torch.get(found[0].torch or "")
    if release and found[0].package_manager == "pip" and found[0].pytorch_build == "wheel":
        built = [made for made in found if (made.wheel_cuda or made.cuda) in release.published]
        found = built or found
    works = [made for made in found if machine and judge(machine, made).verdict.works]
    taken = (works or found)[0]
    how = "the newest that works here" if works else "its newest"
    return taken, f"CUDA {major} is taken as {taken.wheel_cuda or taken.cuda}, {how}."


def _major(text: str | None) -> str | None:
    """The major of "13" or "cu13", None for a CUDA line."""
    number = (text or "").strip().lower().removeprefix("cu")
    return number if number in load().families else None


def _chosen(options: argparse.Namespace, cuda: str | None) -> Choice:
    """The choice as it was typed.

    A service is one of Hearth's, whose images are built so that they run; without one, and outside
    a project, an image is what its maker made and a wheel is for the machine's own processor. So
    are the rows of the table.
    """
    made = _typed(options, cuda)
    if options.in_project:
        return made._replace(compat="auto", project=True)
    if options.service and (options.list or not asks_what_works(options)):
        return made
    return made._replace(compat="image", project=False)


def _typed(options: argparse.Namespace, cuda: str | None) -> Choice:
    service = options.service or ("ngc" if options.ngc else "simple")
    if options.image:
        try:
            return from_image(
                options.image,
                service if service in {"train", "devel"} else None,
                options.cca,
                torch=options.torch,
                wheel_cuda=options.wheel_cuda or cuda,
                python=options.python,
            )
        except BadInputError as error:
            if options.torch or cuda or options.wheel_cuda:
                raise
            raise BadInputError(f"{error}; add --inspect to judge a local image") from error
    return choice(
        service=service,
        accelerator="cpu" if options.cpu else "cuda",
        torch=options.torch,
        cuda=cuda,
        python=options.python,
        cca=options.cca,
        package_manager=options.package_manager or "pip",
        pytorch_build=options.build or "wheel",
        distro=options.distro,
        flavour=options.flavour,
        ngc_release=options.ngc,
        wheel_cuda=options.wheel_cuda,
    )


def asks_what_works(options: argparse.Namespace) -> bool:
    """Whether no choice was given, or a service alone: the question is what works."""
    said = (options.torch, options.cuda, options.wheel_cuda, options.image, options.ngc)
    return not any(said) and not options.cpu and options.build is None


def fill_from_answers(
    options: argparse.Namespace, answers: dict[str, str], *, is_open: bool
) -> None:
    """Inside a project, what was not typed is as in its answers: a choice is a change of them.

    The question what works keeps to the project's service, Python and distribution.
    """
    options.row = ""
    options.project_torch = answers.get("torch_version", "none") != "none"
    of_an_image = bool(options.image or options.ngc)
    if answers.get("service") not in SERVICES or of_an_image:
        return
    named = bool(options.torch or options.cuda or options.cpu)
    if answers["service"] == "ngc" and named:  # its image has its own PyTorch
        return
    options.service = options.service or answers["service"]
    options.row = options.service
    if options.service in {"ngc", "hub"}:
        return
    manager = answers.get("package_manager")
    options.package_manager = options.package_manager or manager
    if options.service == "simple" and options.package_manager == "conda":
        options.row = "conda"
    options.python = options.python or answers.get("python_version")
    options.distro = options.distro or answers.get("linux_distro")
    if is_open:
        return
    options.torch = options.torch or answers.get("torch_version")
    if options.service == answers["service"] == "train":
        options.build = options.build or answers.get("pytorch_build")
