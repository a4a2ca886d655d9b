"""What can be measured, by name."""

from __future__ import annotations

from dataclasses import dataclass

from lakerank.cli.errors import UserError

# Kinds that need a number of recommendations, as `ndcg@10`, and what they say.
RANKED = {
    "ndcg": "normalised discounted cumulative gain, binary; the ideal has min(N, relevant) hits",
    "recall": "hits ÷ relevant items (trec_eval)",
    "recall-capped": "hits ÷ min(N, relevant items), which can reach 1 (Liang et al. 2018)",
    "precision": "hits ÷ N",
    "map": "average precision: Σ precision at each hit ÷ relevant items (trec_eval's map_cut)",
    "mrr": "1 ÷ place of the first hit",
    "hr": "hit rate: 1 if there is any hit",
    "novelty": "mean of −log2 p(item), p the share of training users who rated it, 1 added above and below",
    "popularity": "mean share of training users who rated the recommended items",
    "popularity-lift": "by how much more popular they are than what the same users have rated, as a share of that",
    "coverage": "share of the catalogue that is recommended to somebody",
    "gini": "how unequally recommendations fall on the items of the catalogue, 0 equally, 1 all on one",
}
RATED = {"rmse": "root of the mean squared error, rating units", "mae": "mean absolute error, rating units"}
WHOLE = ("coverage", "gini")  # of all users at once: no value of one user, so no interval
USUAL = (
    "rmse,mae,ndcg@10,recall@10,recall-capped@10,map@10,mrr@10,hr@10,coverage@10,novelty@10,popularity@10,"
    "popularity-lift@10"
)


@dataclass(frozen=True)
class Measure:
    """A kind of measure and, unless it is of ratings, how many recommendations it looks at."""

    kind: str
    cutoff: int = 0

    @property
    def name(self) -> str:
        """As it is asked for: `ndcg@10`."""
        return f"{self.kind}@{self.cutoff}" if self.cutoff else self.kind

    @property
    def ranked(self) -> bool:
        """Whether it is computed from recommendations (else from predicted ratings)."""
        return self.kind in RANKED

    @property
    def finds(self) -> bool:
        """Whether it says how well relevant items are found; only these go with sampled candidates."""
        return self.ranked and self.kind not in (*WHOLE, "novelty", "popularity", "popularity-lift")


def read_measures(text: str) -> list[Measure]:
    """Measures from `rmse,ndcg@10`, each once.

    Raises:
        UserError: a name is unknown, or its number is missing, not one, or not wanted.
    """
    found: dict[str, Measure] = {}
    for name in filter(None, (part.strip().lower() for part in text.split(","))):
        kind, at, cutoff = name.partition("@")
        if kind in RATED and not at:
            found[name] = Measure(kind)
        elif kind in RATED:
            raise UserError(f"--metrics: `{name}`: {kind} is of predicted ratings and takes no number")
        elif kind not in RANKED:
            raise UserError(f"--metrics: `{name}` is not one of {', '.join((*RATED, *RANKED))}")
        elif not (cutoff.isdecimal() and int(cutoff)):
            raise UserError(f"--metrics: `{name}` needs a number of recommendations, as {kind}@10")
        else:
            found[name] = Measure(kind, int(cutoff))
    if not found:
        raise UserError(f"--metrics: name at least one, as {USUAL}")
    return list(found.values())
