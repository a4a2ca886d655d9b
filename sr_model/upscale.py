"""Enlarge a picture, or a folder of pictures, by a trained generator.

`python -m sr_model.upscale photo.jpg photo-x4.png`. The guide is docs/upscaling.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.cli.settings import AT_LEAST_ONE, flag
from lakerank.cli.stores import at_hand
from sr_model.device import has_bfloat16, pick_device
from sr_model.images import SUFFIXES, BrokenImage, read_file, reason_of
from sr_model.inference import InferenceSettings
from sr_model.inference.pictures import FORMATS, Picture, format_of, size_of, write_picture
from sr_model.inference.tiles import Progress
from sr_model.inference.upscaler import Upscaler
from sr_model.weights import load_generator
from sr_model.zoo import DEFAULT


@dataclass(frozen=True)
class UpscaleArgs(InferenceSettings):
    """Settings of the enlargement."""

    AFTER_STOP = "the same command goes on: pictures that are done are kept"

    input: str = flag(
        None, "picture (PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC), or folder of them", positional=True, metavar="IN"
    )
    output: str = flag(None, "file to write, or folder; subfolders are kept", positional=True, metavar="OUT")
    batch: int = flag(1, "tiles computed together", within=AT_LEAST_ONE)
    device: str = flag("auto", "auto takes the GPU if there is one", choices=("auto", "cpu", "cuda"))
    half: bool = flag(False, "compute in float16 on a GPU, bfloat16 on a CPU: faster and less exact")
    format: str = flag(
        "",
        f"{', '.join(FORMATS)}, or same: as the input (default: what OUT's suffix says; png for a folder)",
        choices=("", *FORMATS, "same"),
    )
    force: bool = flag(False, "overwrite what is there")


@dataclass(frozen=True)
class Task:
    """Describe one picture to make.

    Attributes:
        source: the file to read.
        target: the file to write.
        kind: a key of `FORMATS`.
    """

    source: Path
    target: Path
    kind: str


@dataclass(frozen=True)
class Plan:
    """Hold what a command line asks for.

    Attributes:
        tasks: what is to be made, in the order of the names.
        done: how many results were there already.
        ignored: how many files of the folder are no pictures.
    """

    tasks: tuple[Task, ...]
    done: int = 0
    ignored: int = 0


def make_plan(source: Path, target: Path, kind: str = "", force: bool = False) -> Plan:
    """Decide what is read and written, before any work.

    A single file is never overwritten without `force`. In a folder, pictures whose result is there are left out, so
    that the same command goes on where it was stopped.

    Args:
        source: file or folder.
        target: file or folder, as `source`.
        kind: see `--format`.
        force: make again what is there.

    Raises:
        UserError: nothing to read, a target that is there or of the wrong kind, two pictures with one target.
    """
    if source.is_dir():
        return _folder_plan(source, target, kind, force)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if target.is_dir():
        raise UserError(f"{target}: is a folder, but {source} is a file; give the name of a file to write")
    if target.exists() and source.samefile(target):
        raise UserError(f"{target}: is the input itself; give another OUT")
    if target.exists() and not force:
        raise UserError(f"{target}: is there already; add --force to overwrite it, or give another OUT")
    _check_folder(target.parent)
    of_suffix = format_of(target)
    wanted = (format_of(source) or "png") if kind == "same" else kind or of_suffix
    if not wanted:
        known = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
        raise UserError(f"{target}: the suffix names no format that can be written; use one of {known}, or --format")
    if of_suffix and of_suffix != wanted:
        raise UserError(f"{target}: ends like {of_suffix}, but --format says {wanted}; make them agree")
    return Plan((Task(source, target, wanted),))


def _folder_plan(source: Path, target: Path, kind: str, force: bool) -> Plan:
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file, but {source} is a folder; give a folder for the results")
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: is the input folder itself; give another OUT")
    _check_folder(target)
    results, ignored = target.resolve(), 0
    tasks: dict[Path, Task] = {}
    for folder, subfolders, names in os.walk(source):
        here = Path(folder)
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and (here / name).resolve() != results
        )
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                ignored += not name.startswith(".")
                continue
            own = format_of(path) or "png"  # bmp
            wanted = own if kind == "same" else kind or "png"
            suffix = path.suffix if format_of(path) == wanted else FORMATS[wanted][0]
            task = Task(path, target / path.relative_to(source).with_suffix(suffix), wanted)
            other = tasks.setdefault(task.target, task)
            if other is not task:
                raise UserError(
                    f"{path} and {other.source.name}: both would become {task.target}; rename one, or use --format same"
                )
    if not tasks:
        raise UserError(f"{source}: holds no pictures ({', '.join(SUFFIXES)})")
    for task in tasks.values():
        if task.target.is_dir():
            raise UserError(f"{task.target}: is a folder, where a picture is to be written; give another OUT")
    left = tuple(task for task in tasks.values() if force or not task.target.exists())
    return Plan(left, len(tasks) - len(left), ignored)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is none or may not be written to."""
    there = next(path for path in (folder, *folder.parents, Path()) if path.exists())
    if not there.is_dir():
        raise UserError(f"{there}: is no folder, so nothing can be written below it; give another OUT")
    if not os.access(there, os.W_OK):
        raise UserError(f"{there}: may not be written to; give another OUT")


def run(args: UpscaleArgs) -> dict[str, Any]:
    """Plan, upscale, write; return the summary."""
    with at_hand(args, ("input", "checkpoint"), ("output",)) as here:
        return upscale_files(here)


def upscale_files(args: UpscaleArgs) -> dict[str, Any]:
    """Do what `run` does, with all files on this machine."""
    if not args.checkpoint:
        raise UserError(f"--checkpoint: is empty; leave it out to take `{DEFAULT}`, or give the generator's file")
    device = pick_device(args.device)
    if args.half and device == "cpu" and not has_bfloat16():
        raise UserError("--half: this processor does not compute in bfloat16 (AVX-512 BF16 or AMX); leave it out")
    source, target = Path(args.input), Path(args.output)
    plan = make_plan(source, target, args.format, args.force)
    upscaler = Upscaler(load_generator(args.checkpoint, device), args.tile, args.batch, args.half, args.self_ensemble)
    for note in upscaler.notes:
        print(f"upscale: {note}")
    if plan.ignored:
        print(f"upscale: {plan.ignored} files in {source} are no pictures and are left out")
    if plan.done:
        print(f"upscale: {plan.done} results are in {target} already and are kept; --force makes them again")
    begun = time.perf_counter()
    failed, made = _work(upscaler, plan.tasks, args.quality)
    seconds = time.perf_counter() - begun
    megapixels = sum(height * width for height, width in made) / 1e6
    if made:
        print(f"upscale: {len(made)} pictures, {megapixels:.2f} megapixels, {seconds:.1f} s on {device} → {target}")
    if failed and source.is_dir():
        for path, reason in failed.items():
            print(f"upscale: {path}: {reason}", file=sys.stderr)
        raise UserError(
            f"{len(failed)} of {len(plan.tasks)} pictures could not be enlarged (listed above); "
            "mend or remove them and run the same command again"
        )
    for path, reason in failed.items():
        raise UserError(f"{path}: {reason}")
    return {
        "images": len(made),
        "skipped": plan.done,
        "megapixels": round(megapixels, 4),
        "seconds": round(seconds, 3),
        "device": device,
        "tile": upscaler.tile,
        "scale": upscaler.scale,
    }


def make(upscaler: Upscaler, task: Task, quality: int = 95, advance: Progress | None = None) -> Picture:
    """Read, upscale, write; return what was written.

    Raises:
        BrokenImage: a picture that cannot be read or written, or for which memory does not suffice.
        OSError: the disk's complaint.
        UserError: GPU memory does not suffice for the smallest tile either.
    """
    picture = upscaler.enlarge(read_file(task.source), task.kind, advance)
    return write_picture(picture, task.target, task.kind, quality)


def _work(upscaler: Upscaler, tasks: Sequence[Task], quality: int) -> tuple[dict[Path, str], list[tuple[int, int]]]:
    """Make all; return what went wrong, and the sizes of what was written.

    A picture is encoded and written while the next one is computed: packing a PNG takes half as long as `tiny` does.
    """
    failed: dict[Path, str] = {}
    made: list[tuple[int, int]] = []
    sizes = [height * width for height, width in (size_of(task.source) for task in tasks)]
    with ThreadPoolExecutor(1, "write") as writer, progress(sum(sizes), "upscale", "px", scale=True) as meter:
        waiting: tuple[Task, Future[Picture]] | None = None

        def finish() -> None:
            if waiting is not None:
                task, writing = waiting
                with _told(task, failed):
                    picture = writing.result()
                    for note in picture.notes:
                        meter.write(f"upscale: {task.source}: {note}", file=sys.stderr)
                    made.append((picture.pixels.shape[0], picture.pixels.shape[1]))

        for task, size in zip(tasks, sizes, strict=True):
            done_before = meter.n
            with _told(task, failed):
                picture = upscaler.enlarge(read_file(task.source), task.kind, meter.update)
                finish()  # so that no more than two results are held
                waiting = task, writer.submit(write_picture, picture, task.target, task.kind, quality)
                del picture
            meter.update(done_before + size - meter.n)
        finish()
    return {task.source: failed[task.source] for task in tasks if task.source in failed}, made


@contextmanager
def _told(task: Task, failed: dict[Path, str]) -> Iterator[None]:
    """Note why a picture cannot be made, instead of ending the others."""
    try:
        yield
    except BrokenImage as error:
        failed[task.source] = str(error)
    except OSError as error:
        failed[task.source] = f"{error.strerror or error} ({error.filename or task.target})"
    except (MemoryError, RuntimeError, ValueError) as error:  # of PyTorch, and of Pillow when it writes
        failed[task.source] = reason_of(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, UpscaleArgs, "upscale", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
