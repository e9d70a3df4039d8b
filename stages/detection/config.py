"""The settings of the built-in detector."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.task_config import TaskConfig


class DetectionConfig(TaskConfig):
    """How the detector is built, what it is trained to do and how its answers are read."""

    builder: str = Field("stages.detection.task:build", description='who makes the task, "module:function"')
    backbone: Literal["resnet18", "resnet50"] = Field("resnet18", description="body of the network, from scratch")
    num_levels: int = Field(1, ge=1, le=3, description="feature maps that predict: stride 8, then 16, then 32 pixels")
    channels: int = Field(96, ge=8, le=1024, description="channels of the feature maps that predict")
    num_convs: int = Field(2, ge=0, le=8, description="3x3 convolutions before each prediction")
    centre_radius: float = Field(1.5, gt=0, le=8, description="cells this near a box's centre learn it, in strides")
    class_weight: float = Field(0.7, gt=0, le=100, description="weight of the class term of the loss")
    quality_weight: float = Field(0.5, gt=0, le=100, description="weight of the quality term: how good is the box?")
    box_weight: float = Field(4.0, gt=0, le=100, description="weight of the box term of the loss")
    focus: float = Field(2.0, ge=0, le=10, description="how much less an easy empty cell counts (gamma)")
    augment_orientation: bool = Field(True, description="flip and transpose training scenes at random")
    score_threshold: float = Field(0.01, ge=0, lt=1, description="detections with a lower score are dropped")
    nms_iou: float = Field(0.6, gt=0, le=1, description="of two boxes of a class that overlap more, the lower goes")
    max_detections: int = Field(100, ge=1, le=1000, description="detections kept for an image")
