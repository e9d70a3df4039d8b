"""The settings of data generation, each within bounds in which a data set can be made."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config import StageConfig

ShapeClass = Literal[
    "triangle", "quadrangle", "pentagon", "star", "bowtie", "circle", "arc", "spiral", "zigzag", "freeform"
]
CLASSES: tuple[ShapeClass, ...] = (
    "triangle", "quadrangle", "pentagon", "star", "bowtie", "circle", "arc", "spiral", "zigzag", "freeform"
)  # fmt: skip
MAX_SHAPES = 6  # rows for boxes and labels of each sample
MAX_CHUNK_PIXELS = 1 << 29  # a chunk is held in memory twice while it is written: 1 GiB
MIN_EXTENT_PIXELS = 8  # below, the classes cannot be told apart by eye

NumSamples = Annotated[int, Field(ge=1, le=10_000_000)]
NumShapes = Annotated[int, Field(ge=1, le=MAX_SHAPES)]
Weight = Annotated[float, Field(ge=0, le=1000)]


class StyleWeights(BaseModel):
    """How often a stroke is drawn in each style, relative to each other; the styles are those of Bongard-LOGO."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    outline: Weight = Field(4.0, description="one plain line")
    circles: Weight = Field(1.0, description="a row of small circles")
    squares: Weight = Field(1.0, description="a row of small squares")
    triangles: Weight = Field(1.0, description="a row of small triangles")
    zigzag: Weight = Field(1.0, description="a fine zigzag along the line")

    @model_validator(mode="after")
    def _one_is_positive(self) -> Self:
        if not sum(self.as_tuple()):
            raise ValueError("at least one style must have a weight above 0")
        return self

    def as_tuple(self) -> tuple[float, ...]:
        """Return the weights in the order of the styles: outline, circles, squares, triangles, zigzag."""
        return (self.outline, self.circles, self.squares, self.triangles, self.zigzag)


class DataGenerationConfig(StageConfig):
    """Settings of data generation; lengths are fractions of the image's side unless they say otherwise."""

    name: str = Field("bongard", pattern=r"^[a-z][a-z0-9_-]{0,39}$", description="begins the name of the data folder")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="another seed gives other scenes")
    dataset_size: NumSamples = Field(4000, description="scenes for training")
    validation_size: NumSamples = Field(200, description="scenes for validation during training")
    test_size: NumSamples = Field(500, description="scenes held out for evaluation")
    chunk_size: int = Field(100, ge=1, le=10_000, description="scenes in one file")
    image_size: int = Field(
        128, ge=32, le=1024, multiple_of=32, description="side in pixels; detectors halve it five times"
    )
    classes: tuple[ShapeClass, ...] = Field(CLASSES, min_length=1, description="what is drawn; labels count from 0")
    min_shapes: NumShapes = Field(1, description="fewest shapes in a scene")
    max_shapes: NumShapes = Field(6, description="most shapes in a scene; fewer where they find no room")
    max_iou: float = Field(0.05, ge=0, le=0.5, description="greatest overlap (intersection over union) of two boxes")
    min_extent: float = Field(0.10, ge=0.05, le=0.9, description="longer side of the box of the smallest shapes")
    max_extent: float = Field(0.50, ge=0.05, le=0.9, description="longer side of the box of the largest shapes")
    min_stroke: float = Field(0.007, ge=0.002, le=0.05, description="width of the thinnest lines")
    max_stroke: float = Field(0.016, ge=0.002, le=0.05, description="width of the thickest lines")
    min_motif: float = Field(0.017, ge=0.01, le=0.1, description="size of the smallest motifs")
    max_motif: float = Field(0.032, ge=0.01, le=0.1, description="size of the largest motifs")
    styles: StyleWeights = Field(StyleWeights(), description="how often each style of stroke occurs")
    style_change: float = Field(0.2, ge=0, le=1, description="chance that the style changes along a shape")
    jitter: float = Field(0.03, ge=0, le=0.2, description="how far a shape is bent, as a fraction of its size")
    noise: int = Field(12, ge=0, le=64, description="grey levels (of 255) by which noise may move a pixel")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for low, high in ("shapes",) * 2, ("extent",) * 2, ("stroke",) * 2, ("motif",) * 2:
            least, most = getattr(self, f"min_{low}"), getattr(self, f"max_{high}")
            if least > most:
                raise ValueError(f"min_{low} = {least} is above max_{high} = {most}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names a class twice")
        if self.min_extent * self.image_size < MIN_EXTENT_PIXELS:
            raise ValueError(
                f"min_extent = {self.min_extent} of image_size = {self.image_size} is less than {MIN_EXTENT_PIXELS} "
                f"pixels: raise one of them"
            )
        if self.chunk_size * self.image_size**2 > MAX_CHUNK_PIXELS:
            raise ValueError(
                f"chunk_size = {self.chunk_size} images of {self.image_size} x {self.image_size} pixels are more than "
                f"{MAX_CHUNK_PIXELS >> 20} MiB: lower chunk_size to {MAX_CHUNK_PIXELS // self.image_size**2} or less"
            )
        return self
