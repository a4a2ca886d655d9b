"""Settings: who wins, what is refused, what is printed."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.cli.settings import (
    AT_LEAST_ONE,
    FRACTION_BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    PROPER_FRACTION,
    JobArgs,
    Range,
    flag,
    parse_args,
)


@dataclass(frozen=True)
class Args(JobArgs):
    factors: int = flag(64, "how many", within=POSITIVE)
    lr: float = flag(0.1, "rate")
    kind: str = flag("a", "which", choices=["a", "b"])
    bias: bool = flag(True, "learn it")
    learning_note: str = flag("", "free text")

    @classmethod
    def presets(cls):
        return {"big": {"factors": 1000, "lr": 2e-4}}


def parse(*argv: str) -> Args:
    return parse_args(Args, "job", "A job.", argv)


def test_code_then_preset_then_file_then_flag(tmp_path: Path) -> None:
    conf = tmp_path / "job.yaml"
    conf.write_text("preset: big\nlr: 1e-3\nlearning-note: from file\n")
    assert parse().factors == 64
    assert parse("--preset", "big").factors == 1000
    args = parse("--conf", str(conf), "--learning-note", "from flag", "--no-bias")
    assert (args.factors, args.lr, args.learning_note, args.bias) == (1000, 1e-3, "from flag", False)


@dataclass(frozen=True)
class Open(JobArgs):
    reg: float = flag(None, "weight", within=POSITIVE, auto=True)
    kind: str = flag(None, "which", choices=["a", "b", "auto"], auto=True)

    @classmethod
    def presets(cls):
        return {"fixed": {"reg": 0.5}}


def test_the_word_auto_stands_for_what_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("reg: 0.3\n", encoding="utf-8")
    assert parse_args(Open, "job", "", ["--preset", "fixed", "--conf", str(file)]).reg == 0.3
    over = parse_args(Open, "job", "", ["--preset", "fixed", "--conf", str(file), "--reg", "auto", "--kind", "auto"])
    assert (over.reg, over.kind) == (None, None)
    file.write_text("reg: auto\n", encoding="utf-8")
    assert parse_args(Open, "job", "", ["--preset", "fixed", "--conf", str(file)]).reg is None
    assert Open.from_values({"reg": "auto"}, "Open").reg is None
    with pytest.raises(UserError, match=r"argument --reg: invalid float value: 'much'"):
        parse_args(Open, "job", "", ["--reg", "much"])
    with pytest.raises(UserError, match="must be above 0"):
        parse_args(Open, "job", "", ["--reg", "-1"])
    with pytest.raises(UserError, match="`lr` must be float"):
        Args.from_values({"lr": "auto"}, "Args")


def test_a_token_is_neither_printed_nor_stored(capsys: pytest.CaptureFixture[str]) -> None:
    args = parse("--remote", "sc://host:443/;token=secret;use_ssl=true")
    assert args.remote.count("secret") == 1
    assert args.shown()["remote"] == "sc://host:443/;token=***;use_ssl=true"
    assert "secret" not in capsys.readouterr().out


def test_no_setting_is_printed_or_stored_with_its_secrets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    conf = tmp_path / "job.yaml"
    conf.write_text("learning-note: https://x/?sig=hidden\n")
    args = parse("--lake", "s3://AKIA:hidden@b/lake", "--conf", str(conf))
    assert args.lake == "s3://AKIA:hidden@b/lake"
    assert (args.shown()["lake"], args.shown()["learning_note"]) == ("s3://***@b/lake", "https://x/?sig=***")
    assert "hidden" not in capsys.readouterr().out


@pytest.mark.parametrize("value", ["\udcff", "a\0b"])
@pytest.mark.parametrize("name", ["lake", "learning-note"])
def test_bytes_that_are_no_text_are_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match=r"must be text without NUL and in Unicode, not '.*'$") as found:
        parse(f"--{name}", value)
    str(found.value).encode("ascii")


def test_a_console_that_knows_few_letters_shows_the_others_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    parse("--lake", "Šaty")
    assert written.getvalue() == b"job: settings\n  lake: \\u0160aty   (flag)\n"


def test_a_long_file_of_settings_takes_no_time(tmp_path: Path) -> None:
    """Python's own parser takes many seconds."""
    (tmp_path / "c.yaml").write_text("factors: [" + "1," * 32_000 + "1]")
    begun = time.process_time()
    with pytest.raises(UserError, match="must be int"):
        parse("--conf", str(tmp_path / "c.yaml"))
    assert time.process_time() - begun < 2


def test_resolved_settings_are_printed_with_their_origin(capsys: pytest.CaptureFixture[str]) -> None:
    parse("--preset", "big", "--lr", "0.5", "--verbose")
    printed = capsys.readouterr().out
    assert "factors: 1000   (preset big)" in printed
    assert "lr: 0.5   (flag)" in printed
    assert "kind: a\n" in printed


def test_without_verbose_only_what_is_no_default_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    parse("--preset", "big", "--lr", "0.1", "--kind", "b")
    assert capsys.readouterr().out == ("job: settings\n  factors: 1000   (preset big)\n  kind: b   (flag)\n")
    parse()
    assert capsys.readouterr().out == "job: default settings (--verbose lists them)\n"


def test_importing_the_settings_takes_no_time() -> None:
    """A command's help waits for it: under a tenth of a second of processor time on any machine, yaml comes later."""
    script = (
        "import time, sys; begun = time.process_time(); import lakerank.cli.command;"
        "print(time.process_time() - begun, 'yaml' in sys.modules, 'numpy' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    seconds, *loaded = said.split()
    assert float(seconds) < 0.1
    assert loaded == ["False", "False"]


@pytest.mark.parametrize(
    ("argv", "yaml", "message"),
    [
        (["--factor", "3"], "", "unrecognized arguments: --factor"),
        (["--factors", "x"], "", "invalid int value: 'x'"),
        (["--factors", "0"], "", r"`factors` must be above 0, not 0"),
        (["--kind", "c"], "", "invalid choice: 'c'"),
        ([], "factros: 3", "unknown key `factros`; did you mean `factors`"),
        ([], "kind: c", "`kind` must be one of a, b"),
        ([], "kind: null", "`kind` must be one of a, b, not None"),
        ([], "factors: 3.5", "`factors` must be int, not 3.5"),
        ([], "bias: 1", "`bias` must be bool"),
        ([], "- a\n- b", "must be `key: value` lines"),
        ([], "a: [", "not valid YAML"),
        (["--preset", "nope"], "", "invalid choice: 'nope'"),
        ([], "preset: nope", "unknown preset `nope`; known: big"),
    ],
)
def test_mistakes_are_named(argv: list[str], yaml: str, message: str, tmp_path: Path) -> None:
    if yaml:
        (tmp_path / "c.yaml").write_text(yaml)
        argv = [*argv, "--conf", str(tmp_path / "c.yaml")]
    with pytest.raises(UserError, match=message):
        parse(*argv)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"factors": 0}, "^`factors` must be above 0, not 0"), ({"kind": "c"}, "^`kind` must be one of a, b, not 'c'")],
)
def test_settings_made_in_code_are_checked_too(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Args(**given)


CASES = SHARED.parent / "cases" / "settings"


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is missing")
@pytest.mark.parametrize("name", ["yaml0.yaml", "yaml1.yaml", "yaml3.yaml", "yaml4.yaml"])
def test_sample_files_that_are_no_settings(name: str) -> None:
    with pytest.raises(UserError, match=name) as found:
        parse("--conf", str(CASES / name))
    assert len(str(found.value)) < 600


LAUGHS = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (b"factors: 2020-13-45", "not valid YAML: month must be in 1..12"),
        (b"factors: 2020-01-01", "`factors` must be int, not datetime.date"),
        (b"a: " + b"[" * 3000, "nested too deeply"),
        (b"factors: 3\nfactors: 4", "the key `factors` comes twice"),
        (b"factors: 3\nkind: a\n'kind': b", "the key `kind` comes twice"),
        (b"1: 2", "1 is no name of a setting"),
        (b"on: 2", "True is no name of a setting"),
        (b"? [a]\n: 1", "not valid YAML"),
        (b"- factors: 3", "not a list"),
        (b"just words", "not a single value"),
        (b"3", "not a single value"),
        (b"lr: .nan", "`lr` must be a finite number, not nan"),
        (b"lr: .inf", "`lr` must be a finite number, not inf"),
        (b"lr: 1" + b"0" * 400, "`lr` must be float, not 1000"),
        (b"factors: 1" + b"0" * 30, "at most 64 bits"),
        (b"factors: 1" + b"0" * 5000, "not valid YAML"),
        (b"factors: null", "`factors` must have a value"),
        (b"factors: [" + b"1, " * 9999 + b"]", r"must be int, not \[1, 1.*\.\.\.\]"),
        (b"preset: [big]", "unknown preset"),
        (b"<<: {factors: 3}", "aliases"),
        (b"a: &a [*a]", "aliases"),
        (LAUGHS.encode(), "aliases"),
        (b"kind: \xff", "not valid YAML"),
        (b"kind: \0", "not valid YAML"),
        (b"kind: '" + b"x" * (64 << 10) + b"'", "more than 64 KiB"),
        (b"factors: 0x" + b"f" * 10_000, "at most 64 bits, not a number of 40000 bits"),
        (b"lr: 0x" + b"f" * 10_000, "`lr` must be float, not a number of 40000 bits"),
        (b"learning-note: 0x" + b"f" * 10_000, "must be str, not a number of 40000 bits"),
        (b"learning-note: {a: 0x" + b"f" * 10_000 + b"}", "must be str, not"),
        (b"preset: 0x" + b"f" * 10_000, "unknown preset `a number of 40000 bits`"),
        (b"factors: 1" + b":59" * 3000, "at most 64 bits, not a number of"),
        (b"? " + b"k" * 60_000 + b"\n: 1", r"unknown key `kkk.*\.\.\..*kkk`"),
        (b'learning-note: "a\\0b"', "`learning_note` must be text without NUL"),
        (b"a: " + b"[" * 60_000, "nested too deeply"),
        (b"? " * 30_000, "nested too deeply"),
        (b"- " * 30_000, "nested too deeply"),
        (b"kind: *nobody", "not valid YAML"),
        (b"%YAML 9.9\n--- {}", "not valid YAML"),
        (b"kind: a\n---\nkind: b", "not valid YAML"),
        (b"kind: !!python/object/apply:os.system [id]", "not valid YAML"),
    ],
)
def test_yaml_that_is_not_what_was_meant_is_one_sentence(yaml: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(yaml)
    with pytest.raises(UserError, match=message) as found:
        parse("--conf", str(tmp_path / "c.yaml"))
    assert len(str(found.value)) < 600


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_no_flag_takes_infinity_or_nan(value: str) -> None:
    with pytest.raises(UserError, match="`lr` must be a finite number"):
        parse(f"--lr={value}")


def test_numbers_within_texts_are_finite_too() -> None:
    from lakerank.recommend.data.cleaning import read_scale

    for text in ("0,inf", "-inf,5", "nan,5", "1e999,2"):
        with pytest.raises(UserError, match="--scale"):
            read_scale(text)


@pytest.mark.parametrize("grade", ["--5", "9" * 5000, "9" * 20, "x", "1.5", "²"])
def test_judgements_have_grades_that_fit(grade: str) -> None:
    from lakerank.search.evaluation import read_qrels

    assert read_qrels("q 0 d -1", "f") == {"q": {"d": -1}}
    with pytest.raises(UserError, match="f: line 2: not `query 0 document grade`"):
        read_qrels(f"q 0 d 1\nq 0 e {grade}", "f")


def test_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot read it"):
        parse("--conf", "nowhere.yaml")


@pytest.mark.parametrize(
    ("allowed", "must", "inside", "outside"),
    [
        (POSITIVE, "be above 0", [1e-9, 5], [0, -1, float("nan")]),
        (NOT_NEGATIVE, "be at least 0", [0, 7], [-0.1, float("nan")]),
        (AT_LEAST_ONE, "be at least 1", [1], [0]),
        (PROBABILITY, "be 0 to 1", [0, 0.5, 1], [-0.1, 1.1, float("nan")]),
        (FRACTION_BELOW_ONE, "be 0 to below 1", [0, 0.9], [1, -0.1]),
        (PROPER_FRACTION, "be between 0 and 1", [0.5], [0, 1]),
        (Range(high=3), "be at most 3", [-9, 3], [4]),
        (Range(high=3, open_high=True), "be below 3", [2], [3]),
        (Range(0, 1, open_low=True), "be above 0 to 1", [1], [0]),
    ],
)
def test_ranges_say_what_they_hold(allowed: Range, must: str, inside: list[float], outside: list[float]) -> None:
    assert allowed.must == must
    assert [value in allowed for value in inside] == [True] * len(inside)
    assert [value in allowed for value in outside] == [False] * len(outside)
