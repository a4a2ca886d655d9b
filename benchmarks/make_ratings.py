"""Generate ratings of MovieLens-20M's size and shape whose truth is known.

Writes OUT/ratings.parquet (userId, movieId, rating, timestamp: `ingest_ratings --source OUT` reads it) and
OUT/truth.json with the RMSE of the synthetic model itself: no recommender can do better than that but by chance.

    python benchmarks/make_ratings.py OUT [--like 20m | 1m] [--users N --items N --ratings N] [--rank K] [--seed S]

Exactly so many ratings, users and items as MovieLens-20M (or 1M) has; skewed alike (`data/synthetic.py`); rank-20
factors, user and item biases and noise, rounded to half stars. 20 million take a minute and 2 GB.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakerank.recommend.data.synthetic import generate_ratings

LIKE = {"20m": (138_493, 27_278, 20_000_263), "1m": (6_040, 3_706, 1_000_209)}
# In stars. They give MovieLens's standard deviation of all ratings, 1.05, and an oracle RMSE of 0.68.
TASTE, NOISE = 0.7, 0.71
ROWS_PER_GROUP = 1 << 20


def write_ratings(out: Path, users: int, items: int, ratings: int, rank: int = 20, seed: int = 0) -> float:
    """Generate and write; returns the synthetic model's RMSE.

    Raises:
        ValueError: sizes that `plant` cannot give exactly.
    """
    made = generate_ratings(users, items, ratings, rank, NOISE, seed, TASTE, exact=True)
    out.mkdir(parents=True, exist_ok=True)
    order = np.argsort(made.users, kind="stable")  # user by user as in MovieLens's files, each in order of time
    table = pa.table(
        {
            "userId": made.users[order] + 1,
            "movieId": made.items[order] + 1,
            "rating": made.ratings[order],
            "timestamp": made.seconds[order],
        }
    )
    pq.write_table(table, out / "ratings.parquet", row_group_size=ROWS_PER_GROUP)
    truth = {
        "oracle_rmse": made.oracle_rmse,
        "users": users,
        "items": items,
        "ratings": len(made.ratings),
        "rank": rank,
        "seed": seed,
        "noise": NOISE,
        "taste": TASTE,
        "producer": "benchmarks/make_ratings.py; no real users, films or ratings",
    }
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return made.oracle_rmse


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--like", choices=LIKE, default="20m", help="MovieLens edition whose counts are taken")
    parser.add_argument("--users", type=int, help="instead of the edition's")
    parser.add_argument("--items", type=int, help="instead of the edition's")
    parser.add_argument("--ratings", type=int, help="instead of the edition's")
    parser.add_argument("--rank", type=int, default=20, help="of the synthetic factors")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    given = (args.users, args.items, args.ratings)
    users, items, ratings = (n if n is not None else usual for n, usual in zip(given, LIKE[args.like], strict=True))
    try:
        oracle = write_ratings(args.out, users, items, ratings, args.rank, args.seed)
    except ValueError as error:
        parser.error(str(error))
    print(f"{args.out}: {ratings:,} ratings of {items:,} items by {users:,} users; synthetic model's RMSE {oracle:.4f}")


if __name__ == "__main__":
    main()
