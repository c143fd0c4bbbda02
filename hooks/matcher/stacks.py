"""What a choice amounts to: the CUDA it runs, the GPUs it has code for, the image it is in.

Here a choice fails that cannot work on any machine: no such image tag, no such wheel for the
solver, no wheel for this Python, a target this nvcc cannot compile for. What the tables do not
know is `unknown`, never a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..compat.rows import numbers
from .choices import (
    arch_reason,
    conda_arch_unknown,
    cuda_tag,
    hub_tag,
    nvcc_reason,
    python_reason,
    spoken,
    wheel_reason,
)
from .hosts import parse_cca
from .verdicts import Finding, Layer, Verdict

if TYPE_CHECKING:
    from ..compat.rows import CudaImage, CudaLine, NgcRelease, TorchRelease
    from ..compat.table import Table
    from .choices import Choice


PROJECT_ARCH = "x86_64"  # docker-amd64: the machines that the images of a project are for
OTHER_PROCESSOR = f"projects of Hearth are for {PROJECT_ARCH} machines"


class Stack(NamedTuple):
    """A choice on hosts of one architecture."""

    name: str
    cuda: str | None = None
    image_cuda: str | None = None  # of the image, where a wheel in it is of another line
    compiled: tuple[str, ...] | None = None  # None: not known
    unknown_code: str = ""
    cudnn: str | None = None  # version in the wheel; None: not known, or none of its own
    has_code: bool = True  # False: nothing in it runs on the GPU yet
    nvcc: CudaLine | None = None  # set where something is compiled for the host's own GPUs
    start_check: str = ""  # "", "nvidia/cuda", "pytorch/pytorch", or "family" of the image's CUDA
    has_compat: bool | None = False  # the folder of cuda-compat libraries; None: not known
    prefers_forward: bool = False
    ngc: NgcRelease | None = None
    platforms: tuple[str, ...] | None = ("x86_64", "aarch64")  # None: not known
    project: bool = False
    doubts: tuple[
        Finding, ...
    ] = ()  # what is not known of it, and only decides where nothing fails

    @property
    def image(self) -> str:
        """The CUDA line of the image: of its start check, and of its cuda-compat libraries."""
        return self.image_cuda or self.cuda or ""

    def without_compat(self) -> Stack:
        """The same image, built without the folder of cuda-compat libraries.

        Hearth then has it ask for a driver of the CUDA family of the base image.
        """
        check = "family" if self.start_check else ""
        return self._replace(has_compat=False, prefers_forward=False, start_check=check)


class Decided(Exception):  # noqa: N818  (no error: the choice itself decides)
    """Ends `resolve`: no host needs to be asked."""

    def __init__(self, verdict: Verdict, layer: Layer, why: str) -> None:
        """Say what decided, in which layer, and why."""
        super().__init__(why)
        self.finding = Finding(verdict, layer, why)


def _release(choice: Choice, table: Table, layer: Layer = Layer.SOLVER) -> TorchRelease:
    if choice.torch is None:
        raise Decided(Verdict.UNKNOWN, layer, "no PyTorch version was given")
    if choice.torch not in table.torch:
        raise Decided(
            Verdict.UNKNOWN,
            layer,
            f"PyTorch {choice.torch} is not in the table (it has {next(iter(table.torch))} to"
            f" {list(table.torch)[-1]})",
        )
    return table.torch[choice.torch]


def _check_released(cuda: str, table: Table, layer: Layer, what: str) -> None:
    if cuda in table.never_released:
        raise Decided(
            Verdict.FAILS,
            layer,
            f"there is no {what} of CUDA {cuda}: a toolkit {cuda} was never released,"
            " only drivers show the number",
        )


def _unknown_line(cuda: str, layer: Layer) -> Decided:
    return Decided(Verdict.UNKNOWN, layer, f"CUDA {cuda} is not in the table of CUDA toolkits")


def _line(cuda: str, table: Table) -> CudaLine:
    """The toolkit in an image of nvidia/cuda."""
    _check_released(cuda, table, Layer.IMAGE_TAG, "nvidia/cuda image")
    if cuda not in table.lines:
        raise _unknown_line(cuda, Layer.IMAGE_TAG)
    return table.lines[cuda]


def _check_cuda_exists(cuda: str, table: Table) -> None:
    """Is there such a CUDA? Of older toolkits the table knows only the drivers that bring them."""
    _check_released(cuda, table, Layer.SOLVER, "package")
    if cuda not in table.lines and cuda not in table.branches.values():
        raise _unknown_line(cuda, Layer.SOLVER)


def _check_python(release: TorchRelease, python: str | None) -> None:
    reason = python_reason(release, python) if python else ""
    if reason:
        experimental = python in release.python_experimental
        raise Decided(Verdict.UNKNOWN if experimental else Verdict.FAILS, Layer.PYTHON, reason)


def _of_pypi(release: TorchRelease, arch: str) -> str:
    """The CUDA line of the wheel that plain PyPI carries."""
    cuda = release.pypi_on(arch)
    if cuda is None:
        why = f"it is not known which wheel of PyTorch {release.version} PyPI has for {arch}"
        raise Decided(Verdict.UNKNOWN, Layer.SOLVER, why)
    if cuda == "cpu":
        why = f"PyPI's wheel of PyTorch {release.version} for {arch} has no CUDA"
        there = [line for line in release.published if release.has_wheel(line, arch)]
        why += f"; PyTorch's own index has CUDA {spoken(there)} for it" if there else ""
        raise Decided(Verdict.FAILS, Layer.SOLVER, why)
    return cuda


def _wheel(choice: Choice, table: Table, arch: str) -> Stack:
    """A PyTorch wheel of the PyTorch index, or of PyPI where no CUDA is named."""
    release = _release(choice, table)
    cuda = choice.cuda or _of_pypi(release, arch)
    if cuda in table.never_released:
        why = f"there is no CUDA {cuda} wheel: a toolkit {cuda} was never released"
        raise Decided(Verdict.FAILS, Layer.SOLVER, why)
    reason = wheel_reason(release, cuda, arch)
    if reason:
        unknown = release.has_wheel(cuda, arch) is None
        raise Decided(Verdict.UNKNOWN if unknown else Verdict.FAILS, Layer.SOLVER, reason)
    _check_python(release, choice.python)
    variant = release.by_cuda(cuda)
    compiled = variant.arch[arch] if variant else None
    return Stack(
        name=f"PyTorch {release.version} with CUDA {cuda}",
        cuda=cuda,
        compiled=tuple(compiled) if compiled else None,
        unknown_code=arch_reason(release, cuda, arch),
        cudnn=variant.cudnn if variant else None,
    )


def _conda(choice: Choice, table: Table, arch: str) -> Stack:
    """A conda-forge build of pytorch."""
    builds = table.conda.get(choice.torch or "")
    if builds is None:
        raise Decided(
            Verdict.UNKNOWN,
            Layer.SOLVER,
            f"no conda-forge build of PyTorch {choice.torch} is in the table (the newest is"
            f" {list(table.conda)[-1]})",
        )
    cuda = choice.cuda or builds[-1]
    if cuda not in builds:
        oldest = table.conda_oldest.get(choice.torch or "", "0")
        whole = choice.torch in table.conda_complete or numbers(cuda) < numbers(oldest)
        has = f"conda-forge has no CUDA {cuda} build of PyTorch {choice.torch}"
        raise Decided(
            Verdict.FAILS if whole else Verdict.UNKNOWN,
            Layer.SOLVER,
            f"{has}, only {spoken(builds)}"
            if whole
            else f"it is not known whether {has.replace(' no ', ' a ')}; it has {spoken(builds)}",
        )
    compiled = table.conda_compiled(choice.torch or "", cuda, arch)
    return Stack(
        name=f"conda-forge's PyTorch {choice.torch} with CUDA {cuda}",
        cuda=cuda,
        compiled=tuple(compiled) if compiled else None,
        unknown_code=conda_arch_unknown(cuda),
    )


def _check_distro(distro: str, line: CudaLine, image: CudaImage, table: Table) -> None:
    """Is there an nvidia/cuda image of a line for a distribution?

    Ubuntu images were listed in full; of the others only some were seen, but for a family that no
    line has (Debian) there is none.
    """
    if distro in image.distros:
        return
    families = {
        name.rstrip("0123456789.")
        for row in table.lines.values()
        if row.image
        for name in row.image.distros
    }
    family = distro.rstrip("0123456789.")
    why = f"nvidia/cuda has a CUDA {line.line} image for {distro}"
    if family not in families or (family == "ubuntu" and image.complete):
        raise Decided(
            Verdict.FAILS,
            Layer.IMAGE_TAG,
            f"{why.replace('has a', 'has no')}, only for {spoken(image.distros)}",
        )
    raise Decided(Verdict.UNKNOWN, Layer.IMAGE_TAG, f"it is not known whether {why}")


def _check_cuda_image(choice: Choice, line: CudaLine, table: Table) -> None:
    """Is there an nvidia/cuda image for the distribution, and is its tag spelt right?"""
    if line.image is None:
        raise Decided(
            Verdict.UNKNOWN,
            Layer.IMAGE_TAG,
            f"no nvidia/cuda image of CUDA {line.line} is in the table",
        )
    if choice.distro:
        _check_distro(choice.distro, line, line.image, table)
    if not choice.tag or not choice.distro:
        return
    patch, word = choice.tag.split("-")[:2]
    if patch not in line.patches:
        if line.image.complete and numbers(patch) < numbers(line.patches[-1]):
            raise Decided(
                Verdict.FAILS,
                Layer.IMAGE_TAG,
                f"nvidia/cuda has no image of CUDA {patch} today, only of {spoken(line.patches)}",
            )
        raise Decided(
            Verdict.UNKNOWN, Layer.IMAGE_TAG, f"CUDA {patch} is not in the table of CUDA toolkits"
        )
    if word.startswith("cudnn") and choice.flavour == "base":
        raise Decided(
            Verdict.FAILS,
            Layer.IMAGE_TAG,
            f"nvidia/cuda has no tag {choice.tag}: only its runtime and devel images have cuDNN",
        )
    if word.startswith("cudnn") and word != line.image.cudnn_word:
        right = cuda_tag(line, choice.flavour, choice.distro)
        raise Decided(
            Verdict.FAILS,
            Layer.IMAGE_TAG,
            f"nvidia/cuda has no tag {choice.tag}: images of CUDA {line.line} say"
            f" -{line.image.cudnn_word}-, as in {right}",
        )
    if word.startswith("cudnn") and numbers(patch) > numbers(line.image.patch):
        raise Decided(
            Verdict.UNKNOWN,
            Layer.IMAGE_TAG,
            f"it is not known whether there is an nvidia/cuda image of {patch} with cuDNN;"
            f" {line.image.patch} has one",
        )


def _check_patch_is_named(choice: Choice, cuda: str, table: Table) -> None:
    """Does the tag of an nvidia/cuda image have all three numbers? Those with two were deleted."""
    patch = (choice.tag or "").split("-")[0]
    if patch.count(".") != 1:
        return
    line = table.lines.get(cuda)
    right = ""
    if line and line.image and choice.distro in line.image.distros:
        right = cuda_tag(line, choice.flavour, choice.distro, cudnn="cudnn" in (choice.tag or ""))
    raise Decided(
        Verdict.FAILS,
        Layer.IMAGE_TAG,
        f"nvidia/cuda has no tag {choice.tag}: its tags have three numbers"
        + (f", as in {right}" if right else ""),
    )


def _doubts_of_cuda_image(choice: Choice, line: CudaLine, table: Table) -> tuple[Finding, ...]:
    """What is not known of an nvidia/cuda image: whether there is one at all."""
    try:
        _check_cuda_image(choice, line, table)
    except Decided as decided:
        if decided.finding.verdict is Verdict.FAILS:
            raise
        return (decided.finding,)
    return ()


def _on_cuda_image(stack: Stack, line: CudaLine) -> Stack:
    """The same in an image of nvidia/cuda."""
    known = line.image.platforms if line.image else None
    platforms = tuple(known) if known else None
    return stack._replace(start_check="nvidia/cuda", has_compat=True, platforms=platforms)


def _in_cuda_image(choice: Choice, table: Table, arch: str) -> Stack:
    """Services train and devel: something in an nvidia/cuda image."""
    release = _release(choice, table) if choice.torch else None
    cuda = choice.cuda or (release.pypi_cuda if release else None)
    if choice.cuda is None and choice.package_manager == "conda":  # conda-forge has its own lines
        cuda = table.conda.get(choice.torch or "", [cuda])[-1]
    if cuda is None:
        raise Decided(Verdict.UNKNOWN, Layer.IMAGE_TAG, "no CUDA version was given")
    _check_patch_is_named(choice, cuda, table)
    line = _line(cuda, table)
    doubts = _doubts_of_cuda_image(choice, line, table)
    if release and choice.pytorch_build == "wheel":
        make = _conda if choice.package_manager == "conda" else _wheel
        stack = make(choice._replace(cuda=choice.wheel_cuda or cuda), table, arch)
        other = cuda if stack.cuda != cuda else None
        return _on_cuda_image(stack, line)._replace(image_cuda=other, doubts=doubts)
    if release:
        _check_python(release, choice.python)
    stack = _on_cuda_image(Stack(name=f"CUDA {cuda}", cuda=cuda, doubts=doubts), line)
    if release is None and choice.flavour != "devel":
        return stack._replace(has_code=False)  # no compiler in it
    what = f"PyTorch {release.version} built from source" if release else "a program built"
    own = choice.cca == "auto"
    return stack._replace(
        name=f"{what} with CUDA {cuda}",
        compiled=() if own else tuple(str(target) for target in parse_cca(choice.cca, table)),
        nvcc=line if own else None,
    )


def _ngc_platforms(release: NgcRelease, table: Table) -> tuple[str, ...] | None:
    """The processors that an NGC image is made for; if it is not known, its neighbours are asked.

    What the nearest known release before it and the nearest after it both have, it has too.
    """
    if release.platforms:
        return tuple(release.platforms)
    known = [other for other in table.ngc.values() if other.platforms]
    before = [o for o in known if numbers(o.release) < numbers(release.release)][-1:]
    after = [o for o in known if numbers(o.release) > numbers(release.release)][:1]
    if not before or not after:
        return None
    both = [arch for arch in before[0].platforms or () if arch in (after[0].platforms or ())]
    return tuple(both) or None


def _ngc(choice: Choice, table: Table, arch: str) -> Stack:
    release = table.ngc.get(choice.ngc_release or "")
    if choice.tag:
        raise Decided(
            Verdict.UNKNOWN,
            Layer.IMAGE_TAG,
            f"nvcr.io/nvidia/pytorch:{choice.tag} is an image for Jetson, and the table has only"
            f" those for other GPUs, such as {choice.ngc_release}-py3",
        )
    if release is None or release.torch is None or release.line is None:
        raise Decided(
            Verdict.UNKNOWN,
            Layer.IMAGE_TAG,
            f"nvcr.io/nvidia/pytorch:{choice.ngc_release}-py3 is not in the table, or not what is"
            " in it",
        )
    if choice.python and release.python and choice.python != release.python:
        raise Decided(
            Verdict.FAILS,
            Layer.PYTHON,
            f"NGC {release.release} brings Python {release.python}, not {choice.python}",
        )
    compiled = release.arch.get(arch)
    return Stack(
        name=f"NGC {release.release} (PyTorch {release.torch}, CUDA {release.line})",
        cuda=release.line,
        compiled=tuple(compiled) if compiled else None,
        unknown_code=f"it is not known which GPUs NGC {release.release} has code for",
        has_compat=True,
        prefers_forward=True,
        ngc=release,
        platforms=_ngc_platforms(release, table),
    )


def _hub(choice: Choice, table: Table, arch: str) -> Stack:
    made = table.hub_platforms
    if made is not None and arch not in made:
        why = f"pytorch/pytorch has images for {spoken(made)} machines only, not for {arch}"
        raise Decided(Verdict.FAILS, Layer.PLATFORM, why)
    release = _release(choice, table, Layer.IMAGE_TAG)
    cuda = choice.cuda or release.pypi_cuda
    right = hub_tag(release, cuda, choice.flavour)
    seen = [f"{release.version}-{tag}" for tag in release.hub_tags]
    if release.by_cuda(cuda) is None or (choice.tag and choice.tag != right):
        near = [tag for tag in seen if tag.endswith(choice.flavour)] or seen
        raise Decided(
            Verdict.FAILS,
            Layer.IMAGE_TAG,
            f"pytorch/pytorch has no tag {choice.tag or right}"
            + (f", but {spoken(near)}" if near else ""),
        )
    why = f"it is not known whether pytorch/pytorch:{right} exists"
    doubt = Finding(Verdict.UNKNOWN, Layer.IMAGE_TAG, why)
    stack = _wheel(choice._replace(cuda=cuda, python=None), table, arch)
    # The runtime image stands on plain Ubuntu; what the devel image stands on changed over time.
    devel = choice.flavour == "devel"
    return stack._replace(
        start_check="pytorch/pytorch" if devel else "",
        has_compat=None if devel else False,
        platforms=tuple(table.hub_platforms) if table.hub_platforms else None,
        doubts=() if right in seen else (doubt,),
    )


def _check_cca(choice: Choice, cuda: str | None, table: Table) -> None:
    """Can the compiler of the choice's CUDA compile for each target that `cca` lists?"""
    line = table.lines.get(cuda or "")
    if line is None:
        return
    for target in parse_cca(choice.cca, table):
        reason = nvcc_reason(line, target)
        if reason:
            verdict = Verdict.FAILS if line.targets else Verdict.UNKNOWN
            raise Decided(verdict, Layer.NVCC_TARGET, reason)


def resolve(choice: Choice, table: Table, arch: str) -> Stack:
    """What a choice amounts to on a host of an architecture.

    A project of Hearth is for x86_64, whatever the host is.

    Raises:
        Decided: the choice is impossible, or unknown, on any such host.
    """
    stack = _stack(choice, table, PROJECT_ARCH if choice.project else arch)
    _check_cca(choice, stack.cuda, table)
    if choice.compat == "remove":
        stack = stack.without_compat()
    if choice.project:
        return stack._replace(platforms=(PROJECT_ARCH,), project=True)
    return stack


def _without_torch(choice: Choice, table: Table) -> Stack:
    """A framework of somebody's own: no table says for which GPUs its builds have code."""
    if choice.cuda:
        _check_cuda_exists(choice.cuda, table)
        name = f"CUDA {choice.cuda}" + (
            " from conda-forge" if choice.package_manager == "conda" else ""
        )
        return Stack(name=name, cuda=choice.cuda, has_code=False)
    return Stack(name="a project without PyTorch and CUDA")


def _stack(choice: Choice, table: Table, arch: str) -> Stack:
    if choice.accelerator == "cpu":
        if choice.torch and choice.service == "simple" and choice.package_manager == "pip":
            _check_python(_release(choice, table), choice.python)
        return Stack(
            name=f"PyTorch {choice.torch} for the CPU" if choice.torch else "a CPU project"
        )
    if choice.service in {"train", "devel"}:
        return _in_cuda_image(choice, table, arch)
    if choice.service == "ngc":
        return _ngc(choice, table, arch)
    if choice.service == "hub":
        return _hub(choice, table, arch)
    if choice.torch is None:
        return _without_torch(choice, table)
    make = _conda if choice.package_manager == "conda" else _wheel
    return make(choice, table, arch)
