"""How runs of the lfm job are named, and which version of the ratings they read; no Spark."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakerank.lake.delta_table import TableRef
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.store import RatingsSource, RunPlan, open_scratch, plan_run
from lakerank.spark.array_cache import named, own_store, remove_unheld
from lakerank.spark.array_store import BlockStore, hidden_name


@dataclass(frozen=True)
class FixedSource(RatingsSource):
    """Ratings of which the newest version is 4."""

    def newest(self, spark: Any) -> int:
        return 4

    def params(self, spark: Any) -> dict[str, Any]:
        return {"split": self.split, "seed": self.seed, "valid": self.valid, "table": "t"}


def plan(folder: Path, config: LfmConfig, **more: Any) -> RunPlan:
    source = FixedSource(TableRef("ratings"), TableRef("items"), "random:0.1", 0, 0.1)
    return plan_run(None, config, source, BlockStore.open(str(folder), ""), **more)  # type: ignore[arg-type]


def test_the_same_settings_have_the_same_name_however_long_they_train(tmp_path: Path) -> None:
    first = plan(tmp_path, LfmConfig(epochs=3))
    assert first.run_id == plan(tmp_path, LfmConfig(epochs=9)).run_id
    assert first.run_id != plan(tmp_path, LfmConfig(epochs=3, factors=9)).run_id
    assert first.data_id == plan(tmp_path, LfmConfig(factors=9)).data_id
    bayesian = [plan(tmp_path, LfmConfig("bayesian", epochs=n)).run_id for n in (50, 60)]
    assert bayesian[0] == bayesian[1]  # the mean of samples goes on, too
    assert first.run_id != plan(tmp_path, LfmConfig(epochs=3, reg=0.05)).run_id  # one is chosen, the other given


def test_a_resumed_run_stays_on_its_version(tmp_path: Path) -> None:
    first = plan(tmp_path, LfmConfig(), version=2)
    assert (first.version, first.newest) == (2, 4)
    assert not first.is_begun
    first.store.write_json("progress.json", {"history": []})
    again = plan(tmp_path, LfmConfig(), resume=True)
    assert (again.run_id, again.version, again.is_begun) == (first.run_id, 2, True)
    assert plan(tmp_path, LfmConfig()).version == 4
    assert plan(tmp_path, LfmConfig(factors=3), resume=True).version == 4


def test_blocks_with_validation_ratings_never_have_the_name_of_blocks_without(tmp_path: Path) -> None:
    plain, stopping = plan(tmp_path, LfmConfig()), plan(tmp_path, LfmConfig(early_stop=2))
    assert (plain.source.valid, stopping.source.valid) == (0.0, 0.1)
    assert plain.data_id != stopping.data_id
    base = SimpleNamespace(run_id="r", row={"ratings_version": 3})
    update = plan(tmp_path, LfmConfig(early_stop=2, epochs=3), base=base)
    assert update.data_id == stopping.data_id
    assert not update.is_up_to_date


def test_two_trainings_at_once_have_folders_of_their_own(tmp_path: Path) -> None:
    first, second = plan(tmp_path, LfmConfig()), plan(tmp_path, LfmConfig())
    assert first.run_id == second.run_id
    assert first.folder != second.folder
    scratch = first.scratch
    lock = own_store(scratch, first.folder)
    first.store.write_json("progress.json", {"history": []})
    assert lock is not None
    own = own_store(scratch, second.folder)
    remove_unheld(scratch, [name for name in named(scratch, second.run_id) if name != second.folder])
    assert set(scratch.keys()) == {first.folder, second.folder}  # the other one is at work
    assert not plan(tmp_path, LfmConfig(), resume=True).is_begun
    lock.release()
    resumed = plan(tmp_path, LfmConfig(), resume=True)
    assert resumed.folder == first.folder
    assert not plan(tmp_path, LfmConfig(), resume=True).is_begun  # the resumed one is at work
    resumed.close()
    assert plan(tmp_path, LfmConfig(), resume=True).folder == first.folder
    assert own is not None


def test_the_newest_begun_folder_is_gone_on_with(tmp_path: Path) -> None:
    for n, version in ((0, 2), (1, 3), (2, 3), (3, 1)):
        begun = plan(tmp_path, LfmConfig(), version=version)
        begun.store.write_json("progress.json", {"history": []})
        os.utime(begun.store.path("progress.json"), (n, n))
        if n == 2:
            newest = begun.folder
    plan(tmp_path, LfmConfig(factors=2)).store.write_json("progress.json", {"history": []})
    again = plan(tmp_path, LfmConfig(), resume=True)
    assert (again.folder, again.version) == (newest, 3)


def test_opening_the_scratch_folder_removes_what_was_killed_long_ago(tmp_path: Path) -> None:
    left = tmp_path / "_lfm" / hidden_name("raw")
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    open_scratch(str(tmp_path), "")
    assert not left.exists()


@pytest.mark.parametrize(("version", "read"), [(None, None), (0, None), (2, 2)])
def test_the_rows_of_a_version_are_read_from_the_newest_files_that_have_them(
    version: int | None, read: int | None
) -> None:
    """After OPTIMIZE and VACUUM the files of the version itself, which names the run, are gone."""

    class Asked(Exception):
        pass

    @dataclass(frozen=True)
    class Optimized(TableRef):
        def read(self, spark: Any, relation: Any, version: int | None = None) -> Any:
            raise Asked(version)

    source = RatingsSource(Optimized("ratings", pinned=3, rows_version=0), TableRef("items"), "none", 0)
    with pytest.raises(Asked) as asked:
        source.read(None, "", version)  # type: ignore[arg-type]
    assert asked.value.args == (read,)
