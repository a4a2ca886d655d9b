"""One word, one meaning: names that were replaced do not come back in the library, the jobs or the models."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests_root import ROOT

PACKAGES = ("lakerank", "spark_jobs", "sr_model")
# Replaced name → what it is called now. A leading underscore makes no other name of it.
ANYWHERE = {
    "Asked": "QueryBatch",
    "asking": "predict_and_rank",
    "begun_at": "the name of the previous iteration",
    "best_rows": "top_k",
    "comparing": "compare",
    "contest": "evaluate_model",
    "Contest": "evaluate_model",
    "contract": "base",
    "cutting": "patching",
    "drop_in": "graphframes_api",
    "enlarging": "inference",
    "feed": "byte_reader",
    "follow": "update_ema",
    "GAME": "GAN_LOSSES",
    "GAMES": "GAN_LOSSES",
    "game": "the GAN loss",
    "guard": "enforce, html_limits",
    "http_answer": "http_response",
    "in_memory": "index_input_arrow",
    "judged": "deduplicate",
    "Kept": "memmap_arrays",
    "Kind": "ModelSpec",
    "letter": "message",
    "letters": "messages",
    "likeness": "item_similarity",
    "lineage": "checkpoint",
    "loaded": "local_graph",
    "look": "features_and_logits",
    "made_by": "producer",
    "mail": "messages",
    "mails": "messages",
    "most_segments": "max_segments",
    "noted": "read_json",
    "planted": "synthetic",
    "rating_rows": "cleaning",
    "resamples": "n_bootstrap",
    "row_kernels": "gibbs_kernels",
    "sampled": "sampled_candidates",
    "serves": "is_warm",
    "settle": "tables_arrow, tables_spark",
    "shipping": "serialization",
    "spread": "propagate",
    "telling": "format_recommendations",
    "tie": "tiebreak_rank",
    "unpacking": "gzip_members",
    "warm": "warm_start",
    "zones": "boilerplate",
}
# Words that are good names of a variable or a column, and say too little as the name of a file.
MODULES = {
    "building": "build_blocks",
    "centres": "implicit_feedback",
    "chunks": "encode_ids",
    "collection": "jsonl",
    "compiled": "jit",
    "contents": "index_input_spark",
    "contracts": "schemas",
    "facts": "params",
    "histories": "user_histories",
    "kept": "memmap_arrays",
    "packed": "arrow_ipc",
    "pieces": "batch_shuffle",
    "reading": "read_file",
    "rows": "row_layout",
    "setting": "test_set",
    "show": "report",
    "shown": "view_model",
    "tasks": "map_blocks",
    "training": "training_matrix",
}


def names(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every function, class and argument."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def replaced(source: str, words: Mapping[str, str] = ANYWHERE) -> list[str]:
    found = [(line, name, words.get(name.lstrip("_"))) for line, name in names(source)]
    return [f"{line}: `{name}` is called {now} here" for line, name, now in found if now]


@pytest.mark.parametrize("package", PACKAGES)
def test_replaced_names_do_not_come_back(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [f"{_short(file)}:{line}" for file in files for line in replaced(file.read_text(encoding="utf-8"))]
    words = ANYWHERE | MODULES
    wrong += [f"{_short(file)}: is called {words[file.stem]}" for file in files if file.stem in words]
    # sr_model/training is a folder of the trainer; the word was replaced where it meant a matrix of ratings.
    folders = {file.parent for file in files} - {ROOT / "sr_model" / "training"}
    wrong += [f"{_short(folder)}: is called {words[folder.name]}" for folder in sorted(folders) if folder.name in words]
    assert not wrong, "\n".join(wrong)


def test_a_replaced_name_is_found_wherever_it_is_given() -> None:
    source = "class Kind: ...\n\nasync def _settle(a, *, planted): ...\n\nkeep = lambda mail: mail\nlook = 1\n"
    assert [line.partition(" is")[0] for line in replaced(source)] == [
        "1: `Kind`",
        "3: `_settle`",
        "3: `planted`",
        "5: `mail`",
    ]


def _short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
