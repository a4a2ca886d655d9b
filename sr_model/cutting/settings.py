"""Settings of cutting pictures, for the command and for the Spark job."""

from __future__ import annotations

from dataclasses import dataclass

from lakerank.cli.errors import UserError
from lakerank.cli.settings import Settings, flag
from sr_model.cutting.cut import PatchPlan
from sr_model.cutting.parts import Build


@dataclass(frozen=True)
class CutSettings(Settings):
    """How pictures are cut, and which."""

    scale: int = flag(4, "HR pixels per LR pixel", check=lambda v: v >= 2, must="be at least 2")
    patch: int = flag(96, "side of the HR patches in pixels")
    stride: int = flag(0, "from one patch to the next; 0: the patch's side")
    filter: float = flag(3.0, "leave out patches whose luma changes less per pixel; 0: keep all")
    multiscale: str = flag(
        "1",
        "sizes at which each picture is cut, separated by commas: 1,0.7,0.5,0.35 teaches more",
        metavar="SIZE[,SIZE]",
    )
    store_lr: bool = flag(False, "store LR patches too, cut from the LR of the whole picture")
    valid_fraction: float = flag(
        0.02, "share of the pictures set apart", check=lambda v: 0 <= v < 1, must="be 0 to below 1"
    )
    seed: int = flag(0, "of that draw", check=lambda v: 0 <= v < 1 << 63, must="be 0 to below 2^63")
    row_group_rows: int = flag(
        0, "patches read and shuffled at once; 0: some megabytes", check=lambda v: v >= 0, must="be at least 0"
    )
    limit: int = flag(
        0, "take so many pictures only, for a trial; 0: all", check=lambda v: v >= 0, must="be at least 0"
    )
    overwrite: bool = flag(False, "replace patches of other pictures or settings in --out")

    def build(self) -> Build:
        """What of it decides the data set."""
        sizes = parse_sizes(self.multiscale)
        plan = PatchPlan(self.patch, self.stride or self.patch, self.scale, self.filter, self.store_lr, sizes)
        return Build(plan, self.valid_fraction, self.seed, self.row_group_rows)


def parse_sizes(text: str) -> tuple[float, ...]:
    """The numbers of `--multiscale`.

    Raises:
        UserError: one is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--multiscale {text}: give numbers separated by commas, as 1,0.5") from error
