"""Lists of ids in files: what is none is one sentence with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.lake.input_files import read_ids


@pytest.mark.parametrize("line", ["²", "--5", "9" * 19, "-9223372036854775809", "9" * 5000, "1.0", "\0", "x"])
def test_what_is_no_whole_number_of_64_bits_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "ids").write_text(f"1\n\n{line}\n")
    with pytest.raises(UserError, match=r"--users .*ids, line 3: .* is not a whole number as user ids are") as found:
        read_ids(None, "--users", str(tmp_path / "ids"), "user_id", "bigint")  # type: ignore[arg-type]
    assert len(str(found.value)) < 300
