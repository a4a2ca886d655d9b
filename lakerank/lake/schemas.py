"""Every table of the lake, named once: columns, types, keys, units and meaning.

A `Relation` is checked where a frame enters a job and again before it is written; what is wrong is said by
column. `docs/tables.md` is generated from this file (`python -m lakerank.lake.schemas > docs/tables.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lakerank.cli.errors import UserError

# `id`: whole numbers stay numbers, anything else is kept as text; jobs map ids to dense indexes inside.
ID = "id"
_ID_TYPES = ("bigint", "string")
# Lossless on the way in: a frame may bring the type on the left where the contract says the right.
_WIDENS = {
    "bigint": ("int", "smallint", "tinyint"),
    "int": ("smallint", "tinyint"),
    "double": ("float", "int", "smallint", "tinyint"),
    "float": ("smallint", "tinyint"),
}


@dataclass(frozen=True)
class Column:
    """One column: Spark SQL type (or `id`), what it means, whether it may be null, and the label search shows it under.

    `shown` is empty for columns that are not shown with a search result.
    """

    name: str
    type: str
    meaning: str
    nullable: bool = False
    shown: str = ""


@dataclass(frozen=True)
class Relation:
    """A table's contract.

    Attributes:
        name: the table's name in the lake.
        meaning: one sentence.
        columns: in the order they are written.
        keys: columns that identify a row; empty if rows may repeat.
        producer: the job that writes it.
        grows_with: what the number of rows follows.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    producer: str
    grows_with: str

    def check(self, df: DataFrame, where: str) -> DataFrame:
        """Return `df` with exactly this relation's columns, or raise.

        Args:
            df: a frame that has at least these columns; narrower number types are widened.
            where: what the frame is, for the message, e.g. `./lake/ratings`.

        Raises:
            UserError: a column is missing or has a type that cannot be widened without loss.
        """
        have = {field.name: field.dataType.simpleString() for field in df.schema.fields}
        chosen: list[SparkColumn] = []
        for column in self.columns:
            if column.name not in have:
                raise UserError(
                    f"{where}: column `{column.name}` is missing; `{self.name}` needs "
                    f"{', '.join(c.name for c in self.columns)} and this has {', '.join(have)}"
                )
            chosen.append(self._conform(column, have[column.name], where))
        return df.select(*chosen)

    def _conform(self, column: Column, actual: str, where: str) -> SparkColumn:
        wanted = _ID_TYPES if column.type == ID else (column.type,)
        if actual in wanted:
            return F.col(column.name)
        for target in wanted:
            if actual in _WIDENS.get(target, ()):
                return F.col(column.name).cast(target).alias(column.name)
        raise UserError(f"{where}: column `{column.name}` is {actual}, but `{self.name}` needs {' or '.join(wanted)}")

    def enforce(self, df: DataFrame, where: str) -> DataFrame:
        """`check`, and make writing fail, naming the column, if a null stands where none may."""
        checked = self.check(df, where)
        nullable = {column.name: column.nullable for column in self.columns}
        guarded: list[SparkColumn] = []
        for field in checked.schema.fields:
            value = F.col(field.name)
            if not nullable[field.name]:
                missing = F.raise_error(F.lit(f"{where}: `{self.name}.{field.name}` is null"))
                value = F.coalesce(value, missing.cast(field.dataType))
            # By name: on Spark Connect strings out of Python functions carry a collation, which other readers
            # of Delta refuse, and only a type written out is without one.
            guarded.append(value.cast(field.dataType.simpleString()).alias(field.name))
        return checked.select(*guarded)

    def schema(self, id_type: str = "bigint") -> StructType:
        """The Spark schema, with `id` columns of the given type."""
        ddl = ", ".join(f"`{c.name}` {id_type if c.type == ID else c.type}" for c in self.columns)
        return cast(StructType, StructType.fromDDL(ddl))


def _rejected(name: str, producer: str, what: str) -> Relation:
    return Relation(
        name,
        f"{what} that were not used, each with its reason.",
        (
            Column("source", "string", "file the row came from"),
            Column("line", "bigint", "line (text, from 1) or row (Parquet, from 1) in that file", nullable=True),
            Column("raw", "string", "the row as it stood", nullable=True),
            Column("reason", "string", "why it was rejected"),
        ),
        (),
        producer,
        "bad input rows",
    )


PAGES = Relation(
    "pages",
    "Web pages as read: their main text and what they say of themselves.",
    (
        Column("page_id", "bigint", "xxHash64 of `url`, the same in every run"),
        Column("url", "string", "address by the WHATWG URL standard, without fragment"),
        Column("doc_id", "string", "its id in a collection of documents (JSON Lines), as given", nullable=True),
        Column("title", "string", "of the document; empty if it has none"),
        Column(
            "headings", "array<string>", "h1 to h6 and defined terms (dfn, dt with an id) of the main content, in order"
        ),
        Column("description", "string", "meta description", nullable=True),
        Column("text", "string", "main content without navigation and boilerplate; blocks separated by newlines"),
        Column("language", "string", "ISO 639-1 code, from the text or else the page's own word", nullable=True),
        Column("fetched_at", "timestamp", "when it was fetched, UTC; null for files in a folder", nullable=True),
        Column("content_hash", "string", "of title, headings, description and text, after white space is made one"),
        Column("canonical_url", "string", "what the page calls its preferred address", nullable=True),
        Column("noindex", "boolean", "meta robots or X-Robots-Tag asks not to be found"),
        Column("duplicate_of", "bigint", "page it copies exactly or nearly; null for originals", nullable=True),
        Column("similarity", "double", "Jaccard similarity with that page, 0 to 1", nullable=True),
        Column("source", "string", "file it was read from"),
        Column("source_offset", "bigint", "byte of its record in that file", nullable=True),
    ),
    ("page_id",),
    "ingest_pages",
    "pages",
)
LINKS = Relation(
    "links",
    "Hyperlinks between pages; the edges PageRank walks along. Targets need not be pages that were read.",
    (
        Column("src", ID, "page the link stands on"),
        Column("dst", ID, "page it leads to, after redirects and canonical addresses"),
        Column("src_url", "string", "address of `src`"),
        Column("dst_url", "string", "address of `dst`"),
        Column("anchor", "string", "text of the link, or of the picture in it; white space made one"),
        Column("nofollow", "boolean", "rel=nofollow, ugc or sponsored, or a page that says so of all its links"),
        Column("zone", "string", "main: in the main content; navigation: in menus, headers, footers, side bars"),
        Column("weight", "double", "share of the surfer's steps, by zone; 0 for nofollow"),
    ),
    (),
    "ingest_pages",
    "links on pages",
)
REDIRECTS = Relation(
    "redirects",
    "Addresses that lead to another: HTTP redirects, immediate meta refreshes, canonical addresses.",
    (
        Column("url", "string", "address that leads on"),
        Column("target_url", "string", "where it leads in the end"),
        Column("kind", "string", "http, refresh or canonical"),
    ),
    ("url",),
    "ingest_pages",
    "redirects",
)
PAGES_REJECTED = Relation(
    "pages_rejected",
    "Records and files that did not become pages, each with its reason.",
    (
        Column("source", "string", "file"),
        Column("offset", "bigint", "byte where the record begins (in the file as it lies, packed or not)"),
        Column("url", "string", "address, as far as it is known", nullable=True),
        Column("reason", "string", "why"),
    ),
    (),
    "ingest_pages",
    "bad records",
)
RANKS = Relation(
    "ranks",
    "PageRank of every node: the probability of finding the random surfer there; sums to 1.",
    (Column("id", ID, "node"), Column("pagerank", "double", "probability in (0, 1]")),
    ("id",),
    "pagerank",
    "nodes",
)
PAGERANK_METRICS = Relation(
    "pagerank_metrics",
    "How the last PageRank run converged.",
    (
        Column("iteration", "int", "from 1"),
        Column("l1_delta", "double", "sum of absolute changes of all ranks in this iteration"),
        Column("dangling", "double", "rank held by nodes without outgoing edges, before this iteration"),
    ),
    ("iteration",),
    "pagerank",
    "iterations",
)
HOST_LINKS = Relation(
    "host_links",
    "Links between hosts, added up from links between pages.",
    (
        Column("src", "string", "host, in lower case, without port"),
        Column("dst", "string", "another host (with --keep-own perhaps the same)"),
        Column("weight", "double", "pages of `src` that link to a page of `dst`, at least 1"),
    ),
    ("src", "dst"),
    "host_graph",
    "pairs of linked hosts",
)
HITS = Relation(
    "hits",
    "Hubs and authorities: good hubs link to good authorities, which good hubs link to.",
    (
        Column("id", ID, "node"),
        Column("hub", "double", "0 to 1; sums to 1 (0 everywhere without links)"),
        Column("authority", "double", "0 to 1; sums to 1 (0 everywhere without links)"),
    ),
    ("id",),
    "centrality",
    "nodes",
)
HARMONIC = Relation(
    "harmonic",
    "Harmonic centrality: how near a node is to all others that can reach it.",
    (Column("id", ID, "node"), Column("harmonic", "double", "sum of 1 / distance over these, 0 to nodes − 1")),
    ("id",),
    "centrality",
    "nodes",
)
PERSONAL_RANKS = Relation(
    "personal_ranks",
    "PageRank as each of several surfers sees it, who start afresh at places of their own.",
    (
        Column("source", ID, "surfer"),
        Column("rank", "int", "place, from 1"),
        Column("id", ID, "node"),
        Column("pagerank", "double", "probability of finding that surfer there; all nodes of one surfer sum to 1"),
    ),
    ("source", "id"),
    "centrality",
    "surfers × --top",
)
EDGES_REJECTED = _rejected("edges_rejected", "pagerank", "Edge-list lines")
TRUST_RANKS = Relation(
    "trust_ranks",
    "What the link-spam defence thinks of every page.",
    (
        Column("id", ID, "page"),
        Column("pagerank", "double", "without defence, sum 1"),
        Column("trusted_rank", "double", "with it, sum 1"),
        Column("support", "double", "of what it receives along links, how much began outside of farms, 0 to 1"),
        Column("spam_mass", "double", "part of its PageRank that began in farms, 0 to 1"),
        Column("spam_score", "double", "0 to 1; above 0.5 in farms (beyond --one-task-edges: 1 − support)"),
        Column("farm", "int", "number of its farm, from 1; null if it is in none", nullable=True),
    ),
    ("id",),
    "link_spam",
    "nodes",
)
TRUSTED_RANKS = Relation(
    "trusted_ranks",
    "PageRank in which link farms count for nothing; sums to 1. `build_index` takes it for `ranks`.",
    (Column("id", ID, "node"), Column("pagerank", "double", "probability in (0, 1]")),
    ("id",),
    "link_spam",
    "nodes",
)
SPAM_REPORT = Relation(
    "spam_report",
    "Pages whose rank comes mostly from a farm.",
    (
        Column("farm", "int", "number of the farm; null beyond --one-task-edges, where none is named", nullable=True),
        Column("id", ID, "page it lifts"),
        Column("pagerank", "double", "its rank without defence"),
        Column("trusted_rank", "double", "its rank with it"),
        Column("place", "bigint", "1 + pages with a higher PageRank", nullable=True),
        Column("trusted_place", "bigint", "1 + pages with a higher defended rank", nullable=True),
        Column("share", "double", "of what it receives along links, how much comes from the farm, 0 to 1"),
        Column("pages", "bigint", "pages of the farm", nullable=True),
        Column("links_in", "bigint", "links from other pages into the farm", nullable=True),
    ),
    ("id",),
    "link_spam",
    "targets of farms",
)

INDEX_POSTINGS = Relation(
    "index_postings",
    "The inverted index: for each segment and term, the pages that have it, where and how often. Segments never "
    "change; the row without a term lists a segment's pages (ids and lengths of the fields as bytes).",
    (
        Column("segment", "bigint", "segment: pages that were indexed together"),
        Column("term", "string", "stem, or two words and the sign between them; empty: the list of pages"),
        Column("word", "string", "the written form of the term that is most frequent"),
        Column("pages", "int", "pages of the segment with the term, those replaced since included"),
        Column("occurrences", "bigint", "how often it occurs in them"),
        Column("postings", "binary", "steps between pages and frequencies by field; see docs/search-engine.md"),
        Column("positions", "binary", "steps between positions, by page and field"),
    ),
    ("segment", "term"),
    "build_index",
    "distinct terms × segments; bytes with words on pages",
)
INDEX_DOCUMENTS = Relation(
    "index_documents",
    "The pages of the index and where they stand in it. One commit here is one version of the index.",
    (
        Column("page_id", "bigint", "page"),
        Column("segment", "bigint", "segment that has its postings"),
        Column("ordinal", "int", "its number there, from 0"),
        Column("lengths", "array<int>", "words in title, headings, anchors, body, stop words not counted"),
        Column("key", "bigint", "hash of all that is indexed of the page; another one means index it anew"),
        Column("pagerank", "double", "from `ranks`", nullable=True),
        Column("duplicate_of", "bigint", "page it copies", nullable=True),
    ),
    ("page_id",),
    "build_index",
    "pages",
)

RATINGS = Relation(
    "ratings",
    "What users think of items, one row for each user and item.",
    (
        Column("user_id", ID, "who rated"),
        Column("item_id", ID, "what was rated"),
        Column("rating", "float", "on the data set's scale, e.g. 0.5 to 5 stars"),
        Column("rated_at", "timestamp", "when, UTC; null if the source has no times", nullable=True),
    ),
    ("user_id", "item_id"),
    "ingest_ratings",
    "ratings given",
)
ITEMS = Relation(
    "items",
    "The catalogue.",
    (
        Column("item_id", ID, "item"),
        Column("title", "string", "as shown to people, without the year"),
        Column("year", "int", "year of release, from the title", nullable=True),
        Column("genres", "array<string>", "empty if none are listed"),
    ),
    ("item_id",),
    "ingest_ratings",
    "items",
)
TAGS = Relation(
    "tags",
    "Words users put on items.",
    (
        Column("user_id", ID, "who tagged"),
        Column("item_id", ID, "what was tagged"),
        Column("tag", "string", "free text"),
        Column("tagged_at", "timestamp", "when, UTC", nullable=True),
    ),
    (),
    "ingest_ratings",
    "tags given",
)
RATINGS_REJECTED = _rejected("ratings_rejected", "ingest_ratings", "Rating, item and tag lines")

LFM_MODELS = Relation(
    "lfm_models",
    "One row per training run of the latent-factor model: what is needed to predict and to repeat it.",
    (
        Column("run_id", "string", "hash of settings and table, and the table's version"),
        Column("mean", "float", "μ, the mean training rating; 0 without biases"),
        Column("rating_min", "float", "lowest training rating; predictions are clipped to the scale"),
        Column("rating_max", "float", "highest training rating"),
        Column("epoch", "int", "epoch whose factors were kept; those of an updated model are counted on"),
        Column("settings", "string", "JSON of the resolved settings"),
        Column("model", "string", "mf, svdpp, timesvdpp or bayesian"),
        Column("train_rmse", "double", "of the kept factors, in rating units"),
        Column("test_rmse", "double", "of the kept factors on the test ratings", nullable=True),
        Column("ratings", "string", "the table it was trained on"),
        Column("ratings_version", "bigint", "version of that table; `lfm --time-travel` repeats the run"),
    ),
    ("run_id",),
    "lfm",
    "training runs",
)
USER_FACTORS = Relation(
    "user_factors",
    "Users in the latent space: rating ≈ μ + b_u + b_i + p_u·q_i.",
    (
        Column("user_id", ID, "user"),
        Column("bias", "float", "b_u, in rating units"),
        Column("factors", "array<float>", "p_u, one value per latent factor"),
    ),
    ("user_id",),
    "lfm",
    "users × factors",
)
ITEM_FACTORS = Relation(
    "item_factors",
    "Items in the latent space: rating ≈ μ + b_u + b_i + p_u·q_i.",
    (
        Column("item_id", ID, "item"),
        Column("bias", "float", "b_i, in rating units"),
        Column("factors", "array<float>", "q_i, one value per latent factor"),
    ),
    ("item_id",),
    "lfm",
    "items × factors",
)
LFM_METRICS = Relation(
    "lfm_metrics",
    "Learning curve of every training run.",
    (
        Column("run_id", "string", "training run"),
        Column("epoch", "int", "passes over the training ratings, from 1"),
        Column("lr", "double", "learning rate of this epoch"),
        Column("train_rmse", "double", "while training (each rating before its update), in rating units"),
        Column("valid_rmse", "double", "on the validation ratings after the epoch", nullable=True),
        Column("test_rmse", "double", "on the test ratings after the epoch", nullable=True),
        Column("seconds", "double", "wall-clock time of the epoch's updates"),
        Column("updates_per_second", "double", "ratings visited per second of the epoch"),
    ),
    ("run_id", "epoch"),
    "lfm",
    "training runs × epochs",
)
LFM_TRIALS = Relation(
    "lfm_trials",
    "Settings of the latent-factor model that were tried, and what each reached on validation ratings.",
    (
        Column("study", "string", "hash of what is searched, how, and on which ratings"),
        Column("trial", "int", "from 1, in the order they ran"),
        Column("state", "string", "complete; pruned: stopped early, worse than the others; failed: it diverged"),
        Column("params", "string", "JSON of the point searched, exact: a study goes on from these"),
        Column("settings", "string", "JSON of the resolved settings it was trained with"),
        Column(
            "valid_rmse", "double", "of the model kept; of a pruned trial, the lowest; null if it failed", nullable=True
        ),
        Column("epoch", "int", "epoch of `valid_rmse`", nullable=True),
        Column("curve", "array<double>", "validation RMSE after each epoch, in rating units"),
        Column("seconds", "double", "wall-clock time of the trial"),
        Column("reason", "string", "why it failed", nullable=True),
    ),
    ("study", "trial"),
    "tune",
    "trials",
)
SIMILAR_ITEMS = Relation(
    "similar_items",
    "For each item the most similar others, the most similar first.",
    (
        Column("item_id", ID, "item"),
        Column("rank", "int", "from 1"),
        Column("other_id", ID, "item that is like it"),
        Column("similarity", "double", "above 0, by the measure that was asked for, shrunken"),
        Column("support", "bigint", "users who rated both; null where they were not counted", nullable=True),
    ),
    ("item_id", "rank"),
    "neighbors",
    "items × neighbours kept",
)
SIMILAR_USERS = Relation(
    "similar_users",
    "For each user the most similar others, the most similar first.",
    (
        Column("user_id", ID, "user"),
        Column("rank", "int", "from 1"),
        Column("other_id", ID, "user whose ratings are like theirs"),
        Column("similarity", "double", "above 0, by the measure that was asked for, shrunken"),
        Column("support", "bigint", "items that both rated"),
    ),
    ("user_id", "rank"),
    "neighbors",
    "users × neighbours kept",
)
LINEAR_WEIGHTS = Relation(
    "linear_weights",
    "The linear item model: what having rated one item says for another.",
    (
        Column("item_id", ID, "item that is scored"),
        Column("other_id", ID, "item that was rated"),
        Column("weight", "float", "added to the score of `item_id`, before the rating's recency; may be negative"),
    ),
    ("item_id", "other_id"),
    "linear",
    "items × weights kept",
)
RECOMMENDERS = Relation(
    "recommenders",
    "What else is needed to use the recommenders that were trained; one row for each.",
    (
        Column("model", "string", "its name, as `recommend --model` takes it"),
        Column("run_id", "string", "which run; its tables carry the same in their history"),
        Column("facts", "string", "JSON of its settings and numbers"),
        Column("ratings", "string", "the table it was trained on"),
        Column("ratings_version", "bigint", "version of that table"),
    ),
    ("model",),
    "neighbors, linear, content, recommend",
    "kinds of models",
)
ITEM_PROFILES = Relation(
    "item_profiles",
    "What items are about, and what ratings have taught about that.",
    (
        Column("item_id", ID, "item; also items that nobody has rated"),
        Column("features", "array<string>", "such as genre:Comedy, year:1990, tag:pixar, word:toy"),
        Column("weights", "array<double>", "of each: 1 for a genre, shares of two decades, TF-IDF of tags and words"),
        Column("quality", "double", "by its features, how much better than the mean it is rated, in rating units"),
        Column("directions", "array<double>", "K directions of who rates what; 0 if unrated, empty for heuristic"),
        Column("factors", "array<double>", "where it stands in them by its features; empty for heuristic"),
    ),
    ("item_id",),
    "content",
    "items × features and factors",
)
USER_PROFILES = Relation(
    "user_profiles",
    "What users like, by what they have rated: the features of largest weight, the largest first.",
    (
        Column("user_id", ID, "user"),
        Column("ratings", "bigint", "ratings it was made from"),
        Column("features", "array<string>", "as in `item_profiles`; `constant`: how much higher they rate anything"),
        Column("weights", "array<double>", "rating units for model; share of the profile's length for heuristic"),
    ),
    ("user_id",),
    "content",
    "users",
)
RECOMMENDER_METRICS = Relation(
    "recommender_metrics",
    "How good recommenders are on ratings that they were not trained on, by group of users.",
    (
        Column("run_id", "string", "hash of models, split, settings and the table's version"),
        Column("model", "string", "its name, as `recommend --model` takes it"),
        Column("split", "string", "which ratings were kept back"),
        Column("candidates", "string", "full: all items but those seen; N: the test item and N unrated ones"),
        Column("metric", "string", "as `evaluate --metrics` takes it"),
        Column("user_group", "string", "all; new; light, medium, heavy; niche, mixed, blockbuster"),
        Column("value", "double", "mean over the group's users; of its test ratings for rmse and mae"),
        Column("low", "double", "lower end of the 95 % interval; null where there is none", nullable=True),
        Column("high", "double", "upper end", nullable=True),
        Column("users", "bigint", "users of the group that count"),
        Column("reference", "string", "model it is compared with; null for that model itself", nullable=True),
        Column("difference", "double", "value minus the reference's, same users", nullable=True),
        Column("difference_low", "double", "lower end of its 95 % interval, same draws", nullable=True),
        Column("difference_high", "double", "upper end", nullable=True),
        Column("seconds", "double", "to train the model and to ask it"),
    ),
    ("run_id", "model", "metric", "user_group"),
    "evaluate",
    "runs × models × metrics × groups",
)
RECOMMENDATIONS = Relation(
    "recommendations",
    "The best unseen items for each user, best first.",
    (
        Column("user_id", ID, "user"),
        Column("rank", "int", "from 1"),
        Column("item_id", ID, "item"),
        Column("score", "double", "what the model ranks by: a predicted rating for lfm, else without unit"),
        Column("reason", "string", "which model gave the score, and which fallback if any"),
    ),
    ("user_id", "rank"),
    "recommend",
    "users × N",
)
EXPLANATIONS = Relation(
    "explanations",
    "Why each recommendation: the summands of its score, the largest first; they add up to it.",
    (
        Column("user_id", ID, "user"),
        Column("rank", "int", "of the recommendation"),
        Column("place", "int", "of the summand, from 1"),
        Column("source", "string", "the part of the model it comes from; `all else`: the sum of the smaller ones"),
        Column("because_id", ID, "the rated item it comes from, if from one", nullable=True),
        Column("contribution", "double", "in units of the score"),
    ),
    ("user_id", "rank", "place"),
    "recommend",
    "recommendations × summands shown",
)
PATCHES_REJECTED = _rejected("patches_rejected", "make_patches", "Pictures")
UPSCALED = Relation(
    "upscaled",
    "Pictures made four times as wide and as high.",
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
UPSCALED_REJECTED = _rejected("upscaled_rejected", "upscale_images", "Pictures")

RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for relation in (
        PAGES,
        LINKS,
        REDIRECTS,
        PAGES_REJECTED,
        EDGES_REJECTED,
        RANKS,
        PAGERANK_METRICS,
        HOST_LINKS,
        HITS,
        HARMONIC,
        PERSONAL_RANKS,
        TRUST_RANKS,
        TRUSTED_RANKS,
        SPAM_REPORT,
        INDEX_POSTINGS,
        INDEX_DOCUMENTS,
        RATINGS,
        ITEMS,
        TAGS,
        RATINGS_REJECTED,
        LFM_MODELS,
        USER_FACTORS,
        ITEM_FACTORS,
        LFM_METRICS,
        LFM_TRIALS,
        SIMILAR_ITEMS,
        SIMILAR_USERS,
        LINEAR_WEIGHTS,
        RECOMMENDERS,
        ITEM_PROFILES,
        USER_PROFILES,
        RECOMMENDER_METRICS,
        RECOMMENDATIONS,
        EXPLANATIONS,
        PATCHES_REJECTED,
        UPSCALED,
        UPSCALED_REJECTED,
    )
}


def as_markdown() -> str:
    """The table reference, `docs/tables.md`."""
    lines = [
        "# Tables",
        "",
        "Generated from `lakerank/lake/schemas.py` by `make docs`; a test fails when it is stale.",
        "Type `id` means `bigint` where all ids of the source are whole numbers, else `string`: you always",
        "see the ids you put in.",
    ]
    for relation in RELATIONS.values():
        lines += ["", f"## {relation.name}", "", relation.meaning, ""]
        lines += [f"Written by `{relation.producer}`. Grows with: {relation.grows_with}."]
        lines += [f"Key: {', '.join(f'`{key}`' for key in relation.keys) or 'none, rows may repeat'}.", ""]
        lines += ["| column | type | null | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{c.name}` | {c.type} | {'yes' if c.nullable else 'no'} | {c.meaning} |" for c in relation.columns
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
