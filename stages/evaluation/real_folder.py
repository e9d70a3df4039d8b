"""A folder of real images, in whichever layout the settings or its contents say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from pipeline.errors import UsageError
from stages.coco import Truth
from stages.evaluation.bongard_logo import BongardLogo, is_bongard_logo
from stages.evaluation.coco_folder import CocoFolder, is_coco_folder
from stages.evaluation.config import RealData
from stages.evaluation.real_image import RealImage


class RealFolder(Protocol):
    """What every layout comes down to: class names, images, and the files whose contents count as inputs."""

    @property
    def classes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def images(self) -> tuple[RealImage, ...]: ...  # noqa: D102
    @property
    def files(self) -> tuple[Path, ...]: ...  # noqa: D102

    def truth(self, image: RealImage, picture: Image.Image) -> Truth:
        """Return what is really in `image`, whose pixels are `picture`; raises Unusable."""


def open_folder(real: RealData) -> RealFolder:
    """List what is in the folder of `real`; raises UsageError where it is missing, empty or of no known layout."""
    root = real.path.expanduser()
    setting = f"the real data set {real.name!r}"
    if not root.is_dir():
        raise UsageError(
            f"{setting} is not there: {root.absolute()} is no folder",
            code="E0260",
            hint="correct its path in evaluation.real_data (relative to the current folder), or leave it out",
        )
    layout = _layout_of(root) if real.layout == "auto" else real.layout
    hint = "a COCO folder holds annotations.json and images/; Bongard-LOGO: {ff,bd,hd}/images/<problem>/{0,1}/<n>.png"
    if not layout:
        raise UsageError(f"{setting} in {root} has neither of the known layouts", code="E0261", hint=hint)
    folder: RealFolder = CocoFolder(root) if layout == "coco" else BongardLogo(root)
    if not folder.images:
        raise UsageError(f"{setting} in {root} has no images", code="E0262", hint=hint)
    return folder


def _layout_of(root: Path) -> str:
    if is_coco_folder(root):
        return "coco"
    return "bongard_logo" if is_bongard_logo(root) else ""
