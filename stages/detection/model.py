"""The detector's network: a ResNet body, a feature pyramid and a lean head for each level."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from stages.detection.config import DetectionConfig

_BODIES = {"resnet18": (torchvision.models.resnet18, 1), "resnet50": (torchvision.models.resnet50, 4)}
# Qualities begin at 0.01, so that the many empty cells do not swamp the first steps: Lin et al., "Focal Loss for Dense
# Object Detection", 2017, section 4.1.
_FIRST_QUALITY = 0.01


class Output(NamedTuple):
    """What the network says of each of its A cells.

    Attributes:
        classes: [B, A, C] logits of the classes, of which one holds if there is an object.
        quality: [B, A] logit of the IoU that the box will have, 0 where there is no object.
        sides: [B, A, 4] logarithms of the distances to the box's sides, in strides.
    """

    classes: Tensor
    quality: Tensor
    sides: Tensor


class Body(nn.Module):
    """A ResNet for one channel, from scratch, which gives its maps of stride 4, 8, 16 and 32."""

    def __init__(self, name: str) -> None:
        super().__init__()
        make, expansion = _BODIES[name]
        resnet = make(weights=None)
        stem = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        self.stem = nn.Sequential(stem, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1)
        self.stages = nn.ModuleList([resnet.layer2, resnet.layer3, resnet.layer4])
        self.channels = [size * expansion for size in (64, 128, 256, 512)]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images [B, 1, H, W] to features, the finest first."""
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class Pyramid(nn.Module):
    """Adds what the coarse maps know to the finer ones (Lin et al., "Feature Pyramid Networks", 2017)."""

    def __init__(self, sources: list[int], *, channels: int, num_levels: int) -> None:
        super().__init__()
        # The map of stride 4 sees edges to the pixel. Folded into the finest level it gave 0.8 points of AP after 8,000
        # samples (one run each) for 5 % more time.
        self.detail = nn.Conv2d(sources[0], channels, 3, stride=2, padding=1)
        self.lateral = nn.ModuleList(nn.Conv2d(source, channels, 1) for source in sources[1:])
        self.smooth = nn.ModuleList(_convolution(channels, channels) for _ in range(num_levels))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the maps of the levels that predict, the finest first."""
        merged = [lateral(features) for lateral, features in zip(self.lateral, maps[1:], strict=True)]
        merged[0] = merged[0] + self.detail(maps[0])
        for level in reversed(range(len(merged) - 1)):
            # Nearest, for it has a deterministic backward on CUDA, and bilinear has none.
            coarse = functional.interpolate(merged[level + 1], size=merged[level].shape[-2:], mode="nearest")
            merged[level] = merged[level] + coarse
        return [smooth(features) for smooth, features in zip(self.smooth, merged, strict=False)]


class Head(nn.Module):
    """Two short towers over one map: which class, and how good a box with which sides."""

    def __init__(self, *, channels: int, num_convs: int, num_classes: int) -> None:
        super().__init__()
        first_logit = math.log(_FIRST_QUALITY / (1 - _FIRST_QUALITY))
        self.classes = _tower(channels, num_convs=num_convs, biases=[0.0] * num_classes)
        self.box = _tower(channels, num_convs=num_convs, biases=[first_logit, 0.0, 0.0, 0.0, 0.0])

    def forward(self, features: Tensor) -> Output:
        """Return the predictions for the cells of one map, row by row."""
        classes, box = (tower(features).permute(0, 2, 3, 1).flatten(1, 2) for tower in (self.classes, self.box))
        return Output(classes, box[..., 0], box[..., 1:])


class Detector(nn.Module):
    """The whole network; channels last in memory, which is faster for convolutions on CPU and GPU."""

    def __init__(self, config: DetectionConfig, *, num_classes: int) -> None:
        super().__init__()
        self.body = Body(config.backbone)
        self.pyramid = Pyramid(self.body.channels, channels=config.channels, num_levels=config.num_levels)
        self.heads = nn.ModuleList(
            Head(channels=config.channels, num_convs=config.num_convs, num_classes=num_classes)
            for _ in range(config.num_levels)
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Output:
        """Map images [B, 1, H, W], ink 1 on 0, to predictions for the cells of all levels."""
        maps = self.pyramid(self.body(image))
        levels = [head(features) for head, features in zip(self.heads, maps, strict=True)]
        return Output(*(torch.cat(parts, dim=1) for parts in zip(*levels, strict=True)))


def _convolution(sources: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(sources, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    )


def _tower(channels: int, *, num_convs: int, biases: list[float]) -> nn.Sequential:
    last = nn.Conv2d(channels, len(biases), 1)
    nn.init.normal_(last.weight, std=0.01)
    last.bias = nn.Parameter(torch.tensor(biases))
    return nn.Sequential(*(_convolution(channels, channels) for _ in range(num_convs)), last)
