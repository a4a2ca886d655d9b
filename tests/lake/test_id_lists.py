"""Lists of ids in files: what is none is one sentence with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.lake.input_files import read_ids


class Session:
    """Keeps the rows that a frame would be made of."""

    def createDataFrame(self, rows: list[tuple[object]], schema: str) -> Session:
        self.rows = rows
        return self

    def distinct(self) -> list[object]:
        return [one for (one,) in self.rows]


@pytest.mark.parametrize("line", ["²", "--5", "9" * 19, "-9223372036854775809", "9" * 5000, "1.0", "\0", "x"])
def test_what_is_no_whole_number_of_64_bits_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "ids").write_text(f"1\n\n{line}\n")
    with pytest.raises(UserError, match=r"--users .*ids, line 3: .* is not a whole number as user ids are") as found:
        read_ids(None, "--users", str(tmp_path / "ids"), "user_id", "bigint")  # type: ignore[arg-type]
    assert len(str(found.value)) < 300


def test_only_a_line_feed_ends_an_id_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    ids = ["first", "two words", "a\u2028b", "c\x85d", "e\x1cf", "\u00a0"]
    (tmp_path / "ids").write_bytes(("\ufeff" + "\r\n".join(ids)).encode() + b"\n\t last \n")
    found = read_ids(Session(), "--users", str(tmp_path / "ids"), "user_id", "string")  # type: ignore[arg-type]
    assert found == [*ids, "last"]


def test_a_name_that_no_file_can_have_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"--users .*cannot read it as text"):
        read_ids(None, "--users", "a\0b", "user_id", "string")  # type: ignore[arg-type]
