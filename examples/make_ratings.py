"""Write generated ratings in MovieLens's csv layout: `python examples/make_ratings.py OUT [--users N …]`.

No user, film or rating is real. Every rating comes from synthetic factors (`lakerank/recommend/data/synthetic.py`), so
the demo can say how close the trained model comes to the truth. Each factor is an axis of taste between two genres; a
film has the genres towards which its factors point most, and a title made of their words. So one can see without any
measure whether a recommendation makes sense: who likes space operas is to be recommended starships.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.data.synthetic import generate_ratings

# Genre: words a title begins with, and words it goes on with. Those of a pair are the two ends of one factor.
WORDS = {
    "Space Opera": (("Starship", "Nebula", "Android", "Comet"), ("beyond Saturn", "of the Ninth Moon", "in Zero G")),
    "Costume Drama": (("Duchess", "Governess", "Dowry", "Corset"), ("at Hartwell Hall", "of the Old Court", "in Silk")),
    "Slapstick": (("Banana Peel", "Pie Fight", "Nitwit", "Clown"), ("in Odd Shoes", "on a Ladder", "Gone Bananas")),
    "Tragedy": (("Farewell", "Ashes", "Last Letter", "Widow"), ("without Mercy", "of a Lost Son", "in the Rain")),
    "Western": (("Sheriff", "Stagecoach", "Rustler", "Saloon"), ("of Dry Gulch", "at Sundown", "west of Laredo")),
    "Film Noir": (("Alibi", "Gumshoe", "Blonde", "Shadow"), ("after Midnight", "on Wharf Street", "in a Cheap Hotel")),
    "Documentary": (("Archive", "Census", "Glacier", "Atlas"), ("in Facts and Figures", "Year by Year", "Explained")),
    "Fantasy": (("Dragon", "Wizard", "Elf", "Enchanted Sword"), ("of the Crystal Cave", "under a Spell", "in Elfland")),
    "Musical": (("Chorus", "Tap Dancer", "Ballad", "Encore"), ("in Three-Four Time", "Sings", "on Broadway East")),
    "War": (("Battalion", "Trench", "Sergeant", "Convoy"), ("behind the Lines", "under Fire", "at the Front")),
    "Romance": (("Honeymoon", "Sweetheart", "Kiss", "Valentine"), ("in Love", "for Two", "by the Seine")),
    "Horror": (("Crypt", "Vampire", "Scream", "Ghoul"), ("of the Undead", "in the Cellar", "at the Morgue")),
    "Animation": (("Talking Teapot", "Squirrel", "Toy Robot", "Duckling"), ("and Friends", "in Toonville", "Junior")),
    "Courtroom": (("Verdict", "Juror", "Cross-Examination", "Affidavit"), ("on Trial", "under Oath", "Overruled")),
    "Heist": (("Safecracker", "Getaway", "Vault", "Diamond"), ("for a Million", "in Ninety Seconds", "Inside Job")),
    "Pastoral": (("Shepherd", "Orchard", "Meadow", "Haystack"), ("in the Valley", "at Harvest Time", "by the Brook")),
}
GENRES = tuple(WORDS)
# Lines that ingest_ratings refuses, each for another reason.
BAD_LINES = (
    ("601", "1", "seven", "1500000000"),
    ("602", "", "4.0", "1500000001"),
    ("603", "2", "11.0", "1500000002"),
)


def genres_of(factors_IK: NDArray[np.float32]) -> list[tuple[str, str]]:
    """Return the two genres of each film: the ends towards which its two largest factors point, strongest first."""
    strongest_I2 = np.argsort(-np.abs(factors_IK), axis=1)[:, :2]
    return [
        (GENRES[2 * one + int(q_K[one] < 0)], GENRES[2 * two + int(q_K[two] < 0)])
        for q_K, (one, two) in zip(factors_IK, strongest_I2.tolist(), strict=True)
    ]


def titles_of(genres: list[tuple[str, str]]) -> list[str]:
    """Make a distinct title for each film: it begins with a word of its first genre and ends with one of its second."""
    seen: Counter[tuple[str, str]] = Counter()
    titles = []
    for first, second in genres:
        n = seen[first, second]
        seen[first, second] += 1
        heads, tails = WORDS[first][0], WORDS[second][1]
        part, n = divmod(n, len(heads) * len(tails))
        # 4 beginnings and 3 ends have no factor in common: each n is another pair of them.
        title = f"{heads[n % len(heads)]} {tails[n % len(tails)]}"
        titles.append(f"{title}, Part {part + 1}" if part else title)
    return titles


def clearest_tastes(user_factors: NDArray[np.float32], users: NDArray[np.int32], n: int) -> list[int]:
    """Return the users, among the busier half, whose taste leans most towards one genre; each towards another one."""
    ratings_U = np.bincount(users, minlength=len(user_factors))
    strength_UK = np.abs(user_factors)
    lean_U = strength_UK.max(axis=1) / np.linalg.norm(user_factors, axis=1)
    lean_U[ratings_U < np.median(ratings_U)] = 0
    chosen: dict[int, int] = {}
    for user in np.argsort(-lean_U).tolist():
        axis = int(strength_UK[user].argmax())
        chosen.setdefault(2 * axis + int(user_factors[user, axis] < 0), user)
    return list(chosen.values())[:n]


def main() -> None:
    """Generate and write `ratings.csv`, `movies.csv`, `users.txt` and a README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--ratings", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bad-lines", action="store_true", help="three lines that ingest_ratings refuses")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    made = generate_ratings(args.users, args.items, args.ratings, rank=len(GENRES) // 2, seed=args.seed)
    with (args.out / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["userId", "movieId", "rating", "timestamp"])
        columns = (made.users + 1, made.items + 1, made.ratings, made.seconds)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
        writer.writerows(BAD_LINES if args.bad_lines else ())
    genres = genres_of(made.item_factors)
    with (args.out / "movies.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["movieId", "title", "genres"])
        for item, (pair, title) in enumerate(zip(genres, titles_of(genres), strict=True)):
            writer.writerow([item + 1, f"{title} ({1960 + item % 60})", "|".join(pair)])
    clearest = clearest_tastes(made.user_factors, made.users, 3)
    (args.out / "users.txt").write_text(",".join(str(user + 1) for user in clearest), encoding="utf-8")
    (args.out / "README.txt").write_text(
        f"Generated by examples/make_ratings.py (seed {args.seed}); no real users, films or ratings.\n"
        f"RMSE of the synthetic model on these ratings: {made.oracle_rmse:.4f}\n"
        "users.txt: those whose taste leans most towards one genre.\n",
        encoding="utf-8",
    )
    print(
        f"generated {len(made.ratings):,} ratings in {args.out}; the synthetic model's RMSE is {made.oracle_rmse:.4f}"
    )


if __name__ == "__main__":
    main()
