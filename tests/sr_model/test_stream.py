"""The stream of batches: every row once, one order for everybody, resumable anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_root import ROOT

from lakerank.cli.errors import UserError
from sr_model.data.augment import turned
from sr_model.data.format import PatchRow
from sr_model.data.open_stream import open_stream
from sr_model.data.order import Share, draw, row_groups, windows
from sr_model.data.petastorm_compat import ThreadPool
from sr_model.data.petastorm_reader import Handout
from sr_model.data.readers import READERS
from sr_model.data.row_groups import ReadError
from sr_model.data.stream import Batch, PatchStream
from sr_model.data.writer import finish, write_part

PATCH = 8
ROWS = 103  # a prime: nothing divides it


def patch(i: int) -> np.ndarray:
    """Whose pixels say which row it is, and where in it they are."""
    made = np.zeros((PATCH, PATCH, 3), np.uint8)
    made[..., 0] = i
    made[..., 1] = np.arange(PATCH)[:, None]
    made[..., 2] = np.arange(PATCH)
    return made


def rows(store_lr: bool = False) -> Iterator[PatchRow]:
    for i in range(ROWS):
        yield PatchRow(patch(i), patch(i)[::4, ::4] if store_lr else None, f"picture-{i // 10}", i, 0)


def write(folder: Path, store_lr: bool = False) -> Path:
    made = list(rows(store_lr))
    parts = [
        write_part(folder / f"part-{n}.parquet", made[n::4], patch=PATCH, store_lr=store_lr, row_group_rows=7)
        for n in range(4)
    ]
    finish(folder, [part for part in parts if part], patch=PATCH, store_lr=store_lr)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("patches"))


def stream(data: Path, **settings: object) -> PatchStream:
    base = {"batch": 5, "epochs": 1, "window_rows": 20, "reader": "arrow"}
    return open_stream(data, **{**base, **settings})  # type: ignore[arg-type]


def ids(batches: list[Batch]) -> list[int]:
    return [int(i) for batch in batches for i in batch.hr[:, 0, 0, 0]]


def test_both_readers_give_the_same_bytes_for_any_number_of_workers(data: Path) -> None:
    def bytes_of(reader: str, workers: int) -> list[bytes]:
        with stream(data, reader=reader, workers=workers, epochs=2, crop=4) as batches:
            return [batch.hr.tobytes() for batch in batches]

    wanted = bytes_of("arrow", 1)
    for reader in READERS:
        for workers in (1, 3):
            assert bytes_of(reader, workers) == wanted, (reader, workers)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_every_epoch_gives_every_row_once(data: Path, reader: str, shuffle: bool) -> None:
    with stream(data, reader=reader, shuffle=shuffle, epochs=3) as batches:
        found = ids(list(batches))
    assert len(found) == 3 * ROWS
    for epoch in range(3):
        assert sorted(found[epoch * ROWS : (epoch + 1) * ROWS]) == list(range(ROWS))


def test_epochs_and_seeds_have_orders_of_their_own(data: Path) -> None:
    def order(seed: int) -> list[int]:
        with stream(data, seed=seed, epochs=2) as batches:
            return ids(list(batches))

    first = order(1)
    assert order(1) == first
    assert order(2) != first
    assert first[:ROWS] != first[ROWS:]
    with stream(data, shuffle=False) as batches:
        plain = ids(list(batches))
    assert plain == [i for n in range(4) for i in range(ROWS)[n::4]]  # as the files have them


def test_rows_travel_across_row_groups(data: Path) -> None:
    with stream(data, window_rows=ROWS) as batches:
        found = ids(list(batches))
    # 103 rows in a random order: neighbours in a row group (difference 4) stay neighbours by chance only.
    assert sum(abs(a - b) == 4 for a, b in pairwise(found)) < 15


def test_shards_are_equal_and_together_everything(data: Path) -> None:
    shards = []
    for rank in range(3):
        with stream(data, rank=rank, world=3, epochs=None) as batches:
            shards.append(list(islice(batches, 14)))
    assert [[len(batch.hr) for batch in shard] for shard in shards] == [[5] * 14] * 3
    by_step = [ids([shard[step] for shard in shards]) for step in range(14)]
    together = [i for step in by_step for i in step]
    assert sorted(together[:ROWS]) == list(range(ROWS))  # the first epoch, and then the second one begins
    assert sorted(together[ROWS : 2 * ROWS]) == list(range(ROWS))


def test_the_last_step_of_a_finite_stream_is_shared_evenly(data: Path) -> None:
    sizes, found = [], []
    for rank in range(3):
        with stream(data, rank=rank, world=3) as batches:
            made = list(batches)
        sizes.append(sum(len(batch.hr) for batch in made))
        found += ids(made)
    assert sorted(found) == list(range(ROWS))
    assert max(sizes) - min(sizes) <= 1


def everything(data: Path, world: int, state: dict[str, object] | None, steps: int | None) -> tuple[list[int], dict]:
    """What all processes get in so many steps (to the end if None), and the state after them."""
    found, after = [], {}
    for rank in range(world):
        with stream(data, rank=rank, world=world, epochs=2) as batches:
            if state:
                batches.load_state_dict(state)
            for step, batch in enumerate(batches):
                found += [int(i) for i in batch.rows]
                if steps is not None and step + 1 == steps:
                    break
            after = batches.state_dict()
    return found, after


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 1)])
def test_others_in_another_number_go_on_with_exactly_the_rest(data: Path, before: int, after: int) -> None:
    done, state = everything(data, before, None, 4)
    rest, _ = everything(data, after, state, None)
    assert sorted(done + rest) == list(range(2 * ROWS))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("stop", [1, 7, 21, 30])
def test_a_resumed_stream_gives_the_same_bytes(data: Path, reader: str, stop: int) -> None:
    with stream(data, epochs=2, crop=4) as batches:
        whole = [batch.hr.tobytes() for batch in batches]
    with stream(data, epochs=2, crop=4, reader=reader) as batches:
        first = [batch.hr.tobytes() for batch in islice(batches, stop)]
        state = batches.state_dict()
    with stream(data, epochs=2, crop=4, reader=reader, workers=1) as batches:
        batches.load_state_dict(state)
        rest = [batch.hr.tobytes() for batch in batches]
    assert first + rest == whole


KILLED = """
import json, os, signal, sys
from sr_model.data.open_stream import open_stream
stream = open_stream(sys.argv[1], batch=5, crop=4, epochs=2, window_rows=20)
for step, batch in enumerate(stream):
    print(json.dumps({"bytes": batch.hr.tobytes().hex(), "state": stream.state_dict()}), flush=True)
    if step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_the_rest_is_the_same_to_the_byte(data: Path) -> None:
    import json

    done = subprocess.run([sys.executable, "-c", KILLED, str(data)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    with stream(data, epochs=2, crop=4) as batches:
        whole = [batch.hr.tobytes().hex() for batch in batches]
    with stream(data, epochs=2, crop=4) as batches:
        batches.load_state_dict(lines[-1]["state"])
        rest = [batch.hr.tobytes().hex() for batch in batches]
    assert [line["bytes"] for line in lines] + rest == whole


def test_crops_lie_on_lr_pixels_and_everywhere(data: Path) -> None:
    with stream(data, crop=4, epochs=8) as batches:
        corners = {(int(hr[..., 1].min()), int(hr[..., 2].min())) for batch in batches for hr in batch.hr}
    assert corners == {(y, x) for y in (0, 4) for x in (0, 4)}


def test_all_eight_turns_come_up_evenly(data: Path) -> None:
    seen = np.zeros(8, int)
    turns = [turned(patch(0), turn)[..., 1:] for turn in range(8)]
    with stream(data, epochs=8) as batches:
        for batch in batches:
            for hr in batch.hr:
                seen[[np.array_equal(hr[..., 1:], turn) for turn in turns].index(True)] += 1
    assert seen.sum() == 8 * ROWS
    assert seen.min() > 60  # 103 expected of each


def test_without_augmentation_the_middle_comes_as_it_is(data: Path) -> None:
    with stream(data, crop=4, augment=False) as batches:
        for batch in batches:
            for hr in batch.hr:
                assert np.array_equal(hr, patch(int(hr[0, 0, 0]))[4:, 4:])


def test_stored_lr_is_cropped_and_turned_alike(tmp_path: Path) -> None:
    with stream(write(tmp_path, store_lr=True), crop=4) as batches:
        for batch in batches:
            assert batch.lr is not None
            assert batch.lr.shape == (len(batch.hr), 1, 1, 3)
            # Every fourth HR pixel was stored as LR: it is one of the crop's corners, whichever way it was turned.
            assert (batch.lr[:, 0, 0, 0] == batch.hr[:, 0, 0, 0]).all()
            low = batch.hr[..., 1:].reshape(len(batch.hr), -1, 2).min(1)
            assert (batch.lr[:, 0, 0, 1:] == low).all()


def test_the_seed_and_epoch_alone_decide_the_numbers(data: Path) -> None:
    with stream(data) as batches:
        groups = row_groups(batches.manifest)
    plan = windows(groups, 3, 5, True, 20)
    assert sum(window.rows for window in plan) == ROWS
    assert [window.start for window in plan] == list(np.cumsum([0] + [w.rows for w in plan])[:-1])
    a, b = draw(plan[2], 3, 5, True, True), draw(plan[2], 3, 5, True, True)
    assert np.array_equal(a.order, b.order)
    assert np.array_equal(a.crop, b.crop)
    assert not np.array_equal(a.crop, draw(plan[2], 3, 6, True, True).crop)
    # Fixed for ever: a run of one version is resumed by the next.
    assert [group.file[5] + str(group.index) for group in plan[0].groups] == PINNED


PINNED = ["20", "31", "33", "02"]


def test_a_damaged_file_is_named_by_the_consumer_s_error(tmp_path: Path) -> None:
    folder = write(tmp_path)
    file = folder / "part-2.parquet"
    good = file.read_bytes()
    file.write_bytes(good[:4] + bytes(len(good) - 8) + good[-4:])
    for reader in READERS:
        with stream(folder, reader=reader) as batches, pytest.raises(ReadError, match=r"part-2\.parquet"):
            list(batches)


def test_a_reader_that_ends_early_is_found_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = READERS["arrow"]

    def loses_the_last(settings, tasks):  # type: ignore[no-untyped-def]
        yield from list(complete(settings, tasks))[:-1]

    monkeypatch.setitem(READERS, "arrow", loses_the_last)
    with stream(data) as batches, pytest.raises(ReadError, match="ended in the middle of epoch 0"):
        list(batches)


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epoch_that_gave_too_few_rows_is_found_out(data: Path, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = Share.steps

    def skips_one(self):  # type: ignore[no-untyped-def]
        steps = list(complete(self))
        return iter(steps[:7] + steps[8:])

    monkeypatch.setattr(Share, "steps", skips_one)
    with stream(data, epochs=epochs) as batches, pytest.raises(ReadError, match="epoch 0 gave 98 of 103 rows"):
        list(batches)


def test_a_pool_that_ends_early_is_found_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handout, "completed", lambda self: self.sent > 12)
    monkeypatch.setattr(ThreadPool, "all_workers_done", lambda self: True)
    with stream(data, reader="petastorm") as batches, pytest.raises(ReadError, match=r"the pool ended after \d+ row"):
        list(batches)


@pytest.mark.parametrize("seed", range(40))
def test_shares_agree_with_a_slow_count(seed: int) -> None:
    random = np.random.default_rng(seed)
    position, batch, world, length = (
        int(random.integers(low, high)) for low, high in ((0, 9), (1, 5), (1, 5), (0, 40))
    )
    end = position + length if seed % 2 else None
    taken: dict[int, int] = {}
    for rank in range(world):
        share = Share(position, batch, rank, world, end)
        steps = list(islice(share.steps(), 12))
        positions = [position for first, last, _ in steps for position in range(first, last)]
        assert not set(positions) & set(taken)
        taken |= dict.fromkeys(positions, rank)
        stop = steps[-1][2] if steps else position
        assert np.array_equal(np.flatnonzero(share.mine(0, stop)), positions)
        for a in range(0, stop + 1, 3):
            assert share.rows_between(a, stop) == sum(position >= a for position in positions)
    assert sorted(taken) == list(range(position, position + len(taken)))
    assert end is None or len(taken) == min(length, 12 * batch * world)


def test_row_groups_that_are_others_are_not_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    complete = READERS["arrow"]

    def counts(settings, tasks):  # type: ignore[no-untyped-def]
        def recorded():  # type: ignore[no-untyped-def]
            for task in tasks:
                asked.append(task.group.rows if task.wanted is None else len(task.wanted))
                yield task

        return complete(settings, recorded())

    monkeypatch.setitem(READERS, "arrow", counts)
    with stream(data, batch=2, rank=1, world=9) as batches:
        given = sum(len(batch.hr) for batch in batches)
    assert sum(asked) == given < ROWS / 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 6}, "crop 6: must be a multiple of 4"),
        ({"crop": 12}, "up to the patches' 8"),
        ({"reader": "tf"}, "reader tf: must be one of petastorm, arrow"),
        ({"cache": "disk"}, "cache disk: must be one of none, device"),
        ({"batch": 0}, "batch 0: must be at least 1"),
        ({"workers": 0}, "workers 0: must be at least 1"),
        ({"window_rows": 0}, "window_rows 0: must be at least 1"),
        ({"epochs": 0}, "epochs 0: must be at least 1, or None"),
        ({"rank": 2, "world": 2}, "rank 2: must be 0 to 1"),
        ({"seed": -1}, "seed -1: must be 0 to below"),
    ],
)
def test_wrong_settings_are_said(data: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stream(data, **settings)


def test_a_position_in_another_order_is_refused(data: Path) -> None:
    with stream(data, seed=1) as batches:
        state = batches.state_dict()
    with pytest.raises(UserError, match="made with seed 1, not 2"):
        stream(data, seed=2).load_state_dict(state)
    with pytest.raises(UserError, match="made with other patches"):
        stream(data, seed=1).load_state_dict({**state, "data": "0"})
    with pytest.raises(UserError, match="no state of a patch stream"):
        stream(data).load_state_dict({"step": 3})


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("stop", [0, 4])
def test_its_length_is_the_number_of_batches_still_to_come(data: Path, world: int, stop: int) -> None:
    for rank in range(world):
        with stream(data, rank=rank, world=world, epochs=2) as batches:
            for _ in islice(batches, stop):
                pass
            expected = len(batches)
            assert expected == sum(1 for _ in batches) > 0
            assert len(batches) == 0


def test_a_stream_without_end_has_no_length_but_steps_in_an_epoch(data: Path) -> None:
    with stream(data, epochs=None, world=2) as batches:
        assert batches.steps_per_epoch == ROWS / 10
        with pytest.raises(TypeError, match="no length"):
            len(batches)


def test_the_guide_s_example_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Python of docs/streaming.md, at most ten lines, on a folder of the name it has."""
    (example, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "streaming.md").read_text("utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 10
    (tmp_path / "lake" / "patches").mkdir(parents=True)
    (tmp_path / "lake" / "patches" / "train").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example.replace("crop=96", "crop=8"), names)
    assert names["batch"].hr.shape[1:] == (PATCH, PATCH, 3)
    assert names["position"]["position"] == ROWS


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder of patches"):
        open_stream(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no finished patches here"):
        open_stream(tmp_path)
    write(tmp_path / "train")
    with pytest.raises(UserError, match="holds train and valid patches; give"):
        open_stream(tmp_path)
    (tmp_path / "train" / "part-1.parquet").unlink()
    with pytest.raises(UserError, match=r"part-1\.parquet: is missing"):
        open_stream(tmp_path / "train")


def test_closing_ends_the_threads(data: Path) -> None:
    import threading

    before = threading.active_count()
    for reader in READERS:
        with stream(data, reader=reader, epochs=None, workers=3) as batches:
            next(iter(batches))
    assert threading.active_count() == before
