"""Draw a picture for the demo: edges, curves, fine lines, text and a gradient, nobody's photograph.

python examples/picture.py OUT.png [--width 384 --height 288]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def draw(width: int, height: int) -> Image.Image:
    """Draw the picture twice as large and reduce it, so that its edges are smooth."""
    w, h = 2 * width, 2 * height
    y = np.linspace(0, 1, h)[:, None]
    sky = np.stack([110 + 100 * y, 150 + 70 * y, 215 + 25 * y], axis=2) * np.ones((1, w, 1))
    picture = Image.fromarray(sky.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((w * 0.72, h * 0.08, w * 0.72 + h * 0.2, h * 0.28), fill=(250, 226, 130))
    hills = [(x, h * (0.62 + 0.07 * math.sin(x / w * 9) + 0.03 * math.sin(x / w * 31))) for x in range(w + 1)]
    pen.polygon([*hills, (w, h), (0, h)], fill=(70, 120, 80))
    left, top, right, bottom = w * 0.16, h * 0.42, w * 0.52, h * 0.84
    pen.rectangle((left, top, right, bottom), fill=(196, 92, 74))
    for row in range(14):  # bricks
        line = top + row * (bottom - top) / 14
        pen.line((left, line, right, line), fill=(150, 62, 52), width=2)
        for brick in range(13):
            x = left + (brick + row % 2 / 2) * (right - left) / 12.5
            pen.line((x, line, x, line + (bottom - top) / 14), fill=(150, 62, 52), width=2)
    pen.polygon([(left - 26, top), (right + 26, top), ((left + right) / 2, h * 0.2)], fill=(84, 70, 78))
    for i in range(3):
        x = left + 34 + i * (right - left - 40) / 3
        pen.rectangle((x, top + 44, x + 58, top + 112), fill=(232, 240, 250), outline=(60, 50, 55), width=5)
        pen.line((x + 29, top + 44, x + 29, top + 112), fill=(60, 50, 55), width=4)
        pen.line((x, top + 78, x + 58, top + 78), fill=(60, 50, 55), width=4)
    for i in range(17):  # a fence, and a wheel of spokes
        x = w * 0.56 + i * w * 0.025
        pen.line((x, h * 0.72, x, h * 0.86), fill=(244, 240, 230), width=5)
    pen.line((w * 0.56, h * 0.76, w * 0.96, h * 0.76), fill=(244, 240, 230), width=6)
    for i in range(24):
        angle = i * math.pi / 12
        tip = (w * 0.76 + 84 * math.cos(angle), h * 0.5 + 84 * math.sin(angle))
        pen.line((w * 0.76, h * 0.5, *tip), fill=(58, 40, 36), width=3)
    pen.ellipse((w * 0.76 - 86, h * 0.5 - 86, w * 0.76 + 86, h * 0.5 + 86), outline=(58, 40, 36), width=6)
    pen.text((w * 0.06, h * 0.9), "lakerank: four times larger", fill=(250, 250, 245), font=ImageFont.load_default(38))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--height", type=int, default=288)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(args.width, args.height).save(args.out)
    print(f"{args.out}: {args.width} × {args.height}")


if __name__ == "__main__":
    main()
