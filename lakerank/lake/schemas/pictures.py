"""Pictures that were cut into patches or enlarged."""

from __future__ import annotations

import dataclasses

from lakerank.lake.schemas.relation import Column, Relation, rejected_rows

PATCHES_REJECTED = rejected_rows("patches_rejected", "make_patches", "Pictures")
UPSCALED = Relation(
    "upscaled",
    "Pictures enlarged by a generator, four times as wide and as high by those of this project.",
    (
        Column("path", "string", "the picture: its path below the folder, or the table's `path`"),
        Column("width", "int", "of the result, in pixels"),
        Column("height", "int", "of the result, in pixels"),
        Column("format", "string", "png, jpeg, webp or tiff"),
        Column("content", "binary", "the result, a file of that format"),
        Column("model", "string", "name of the model, or of the checkpoint's file"),
        Column("notes", "array<string>", "sentences about what of the picture could not be kept"),
        Column("seconds", "double", "processor time that decoding, enlarging and encoding it took"),
        Column("content_hash", "string", "SHA-256 of the picture's file, in hexadecimal"),
        Column("recipe", "string", "SHA-256 of weights, tile, format and quality: with another it is made again"),
    ),
    ("path",),
    "upscale_images",
    "pictures; a row has sixteen times the pixels of its picture",
)
UPSCALED_REJECTED = rejected_rows("upscaled_rejected", "upscale_images", "Pictures")
UPSCALED_UNFINISHED = Relation(
    "upscaled_unfinished",
    "Rows of `upscaled` that a run has made so far; it is gone when the run has ended.",
    (
        *(dataclasses.replace(column, nullable=column.name not in ("path", "recipe")) for column in UPSCALED.columns),
        Column("reason", "string", "why the picture is rejected; the rest of the row is null then", nullable=True),
        Column("instalment", "string", "the rows that were added together"),
    ),
    (),
    "upscale_images",
    "pictures that a killed run has made",
)
