"""Trained recommenders, how good they are, and what they recommend."""

from __future__ import annotations

from lakerank.lake.schemas.relation import ID, Column, Relation

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
        Column("model", "string", "mf, svdpp, timesvdpp, bayesian, als, ials or bpr"),
        Column("train_rmse", "double", "of the kept factors, in rating units; null if they only rank", nullable=True),
        Column("test_rmse", "double", "of the kept factors on the test ratings", nullable=True),
        Column("ratings", "string", "the table it was trained on; ./ stands for the lake"),
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
        Column(
            "train_rmse",
            "double",
            "while training (each rating before its update), in rating units; null of a model that only ranks",
            nullable=True,
        ),
        Column("valid_rmse", "double", "on the validation ratings after the epoch", nullable=True),
        Column("test_rmse", "double", "on the test ratings after the epoch", nullable=True),
        Column("seconds", "double", "wall-clock time of the epoch's updates"),
        Column("updates_per_second", "double", "ratings visited per second of the epoch"),
        Column(
            "objective",
            "double",
            "als, ials: loss per training rating, with regularisation; bpr: mean −ln σ",
            nullable=True,
        ),
        Column("valid_ndcg", "double", "ials, bpr: nDCG@10 of the validation ratings among all items", nullable=True),
        Column("test_ndcg", "double", "ials, bpr: nDCG@10 of the test ratings among all items", nullable=True),
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
PREDICTIONS = Relation(
    "predictions",
    "The ratings that a model predicts for pairs of users and items that were asked about.",
    (
        Column("user_id", ID, "user"),
        Column("item_id", ID, "item"),
        Column("prediction", "double", "rating, on the data set's scale"),
        Column("source", "string", "what it comes from: the model, or a fallback such as `item bias`"),
    ),
    (),
    "predict",
    "pairs asked about",
)
EXPLANATIONS = Relation(
    "explanations",
    "Why each recommendation: the summands of its score, the largest first; they add up to it.",
    (
        Column("user_id", ID, "user"),
        Column("rank", "int", "of the recommendation"),
        Column("position", "int", "of the summand, from 1"),
        Column("source", "string", "the part of the model it comes from; `all else`: the sum of the smaller ones"),
        Column("because_id", ID, "the rated item it comes from, if from one", nullable=True),
        Column("contribution", "double", "in units of the score"),
    ),
    ("user_id", "rank", "position"),
    "recommend",
    "recommendations × summands shown",
)
