"""`python -m sr_model.train`: whole runs, small enough for a test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.cli.files import alone_in, part_name
from sr_model import train
from sr_model.config import TrainConfig
from sr_model.data.format import PatchRow
from sr_model.data.writer import finish, write_part
from sr_model.nets import make_generator
from sr_model.training.checkpoint import MAY_CHANGE, Checkpoints, best_or_last, read_newest
from sr_model.training.samples import read_history, running_mean
from sr_model.weights import load_generator, read_pt, save_generator

PATCH = 32
SMALL = ["net=tiny", "batch=4", "crop=16", "lr=1e-3", "workers=1", "tensorboard=false", "log_every=5", "threads=1"]
SMALL += ["n_epoch_init=0", "n_epoch=0", "valid_every=0", "sample_every=0", "checkpoint_every=5", "leak_check=false"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 patches of waves."""
    folder = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:PATCH, :PATCH] / PATCH

    def rows() -> object:
        for i in range(50):
            a, b, c = rng.uniform(-3, 3, 3)
            wave = np.sin(2 * np.pi * (a * x + b * y + c))
            yield PatchRow(np.repeat((wave * 100 + 128).astype(np.uint8)[..., None], 3, 2), None, f"{i}", 0, 0)

    part = write_part(folder / "part-0.parquet", rows(), patch=PATCH, row_group_rows=10)  # type: ignore[arg-type]
    assert part is not None
    finish(folder, [part], patch=PATCH)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two HR pictures to validate on."""
    folder = tmp_path_factory.mktemp("valid")
    y, x = np.mgrid[:48, :64] / 48
    for name, frequency in (("a", 3), ("b", 5)):
        wave = np.sin(2 * np.pi * frequency * (x + y))
        Image.fromarray((wave * 100 + 128).astype(np.uint8)).convert("RGB").save(folder / f"{name}.png")
    return folder


def run(data: Path, out: Path, *words: str) -> int:
    return train.main([f"data={data}", f"out={out}", *SMALL, *words])


def weights(out: Path, phase: str = "init") -> dict[str, torch.Tensor]:
    return load_generator(out / f"{phase}.safetensors").state_dict()


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    for name in a:
        assert torch.equal(a[name], b[name]), name


def history(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def test_the_running_mean_of_a_line_is_the_line_and_of_noise_is_calm() -> None:
    x = np.arange(60.0)
    at, line = running_mean(x, 3 * x + 1)
    assert len(at) == 60 - 4 + 1
    np.testing.assert_allclose(line, 3 * at + 1)
    _, calm = running_mean(x, np.where(np.arange(60) % 2, 1.0, -1.0))
    np.testing.assert_allclose(calm, 0, atol=1e-12)
    assert running_mean(x[:1], x[:1])[1].tolist() == [0.0]


def test_both_phases_end_with_weights_pictures_and_curves(data: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["steps_init=20", "steps=6", f"valid={pictures}", "valid_every=10", "tensorboard=true", "--json"]
    assert run(data, tmp_path / "run", *words) == 0
    out = tmp_path / "run"
    for name in ("init.safetensors", "gan.safetensors", "curve.png", "history.jsonl", "checkpoints/best.pt"):
        assert (out / name).stat().st_size > 0, name
    lines = history(out)
    content = [line["mse"] for line in lines if "mse" in line]
    assert content[3] < content[0]
    assert any("adversarial" in line and "d" in line for line in lines)
    assert [line["step"] for line in lines if "psnr_y" in line] == [10, 20, 26]
    with Image.open(out / "samples" / "000000020.png") as grid:  # of 2 pictures LR, bicubic, SR, HR
        assert grid.size == (4 * 48 + 3 * 4, 2 * 48 + 4)
    assert list((out / "tensorboard").iterdir())


def test_the_arrow_reader_trains_without_petastorm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Samples too, which come from the patches where there are no validation pictures."""
    for name in [name for name in sys.modules if name.startswith(("petastorm", "sr_model.data.petastorm"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "petastorm", None)
    monkeypatch.setitem(sys.modules, "sr_model.data.petastorm_compat", None)
    words = ["steps_init=4", "mode=srresnet", "sample_every=2"]
    assert run(data, tmp_path / "run", *words, "reader=arrow") == 0
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 2
    assert run(data, tmp_path / "other", *words) != 0  # what the test takes away is what the other reader needs


def test_the_summary_says_how_it_ended(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, tmp_path / "run", "steps_init=6", "mode=srresnet", "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["finished"] is True
    assert summary["steps"] == 6
    assert 0 < summary["waiting_seconds"] < summary["training_seconds"]
    assert summary["peak_gpu_mib"] is None
    assert summary["weights"].endswith("init.safetensors")


def test_a_run_stopped_and_resumed_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    words = ["steps_init=4", "steps=3", "adversarial=wgan-gp"]
    assert run(data, tmp_path / "whole", *words) == 0
    # Stops after every step: each goes on from the checkpoint of the one before, in either phase.
    for _ in range(40):
        assert run(data, tmp_path / "pieces", *words, "stop_after=1e-9", "resume=auto") == 0
        if (tmp_path / "pieces" / "gan.safetensors").exists():
            break
    for phase in ("init", "gan"):
        assert_same(weights(tmp_path / "whole", phase), weights(tmp_path / "pieces", phase))

    def losses(name: str) -> list[float]:
        return [line["total"] for line in history(tmp_path / name) if "total" in line]

    assert losses("whole") == losses("pieces")


def test_patches_kept_on_the_device_train_the_same(data: Path, tmp_path: Path) -> None:
    for cache in ("none", "device"):
        assert run(data, tmp_path / cache, "mode=srresnet", "steps_init=10", f"cache={cache}") == 0
    assert_same(weights(tmp_path / "none"), weights(tmp_path / "device"))


def start(data: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sr_model.train", f"data={data}", f"out={out}", *SMALL, *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(folder: Path, n: int) -> None:
    """Until a run has written `n` checkpoints."""
    for _ in range(3600):
        if len(list(folder.glob("step-*.pt"))) >= n:
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint within three minutes")


@pytest.mark.slow
def test_after_a_kill_it_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    words = ["mode=srresnet", "steps_init=400", "checkpoint_every=20"]
    process = start(data, tmp_path / "killed", *words)
    wait_for(tmp_path / "killed" / "checkpoints", 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(Checkpoints(tmp_path / "killed" / "checkpoints", 3).all())
    assert done >= 1
    assert not (tmp_path / "killed" / "init.safetensors").exists(), "it was killed too late to show anything"
    assert run(data, tmp_path / "killed", *words, "resume=auto") == 0
    assert run(data, tmp_path / "whole", *words) == 0
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_polite_stop_leaves_a_checkpoint(data: Path, tmp_path: Path, asked: signal.Signals) -> None:
    process = start(data, tmp_path / "run", "mode=srresnet", "steps_init=100000", "checkpoint_every=20")
    wait_for(tmp_path / "run" / "checkpoints", 1)
    process.send_signal(asked)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"stopped, go on with --resume auto" in out
    last = Checkpoints(tmp_path / "run" / "checkpoints", 3).last()
    assert last is not None
    assert f"{last}".encode() in out


def test_a_checkpoint_that_was_cut_is_passed_over(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mode=srresnet", "checkpoint_every=2", "log_every=1"]
    assert run(data, tmp_path / "whole", *words, "steps_init=6") == 0
    assert run(data, tmp_path / "cut", *words, "steps_init=4") == 0
    newest = Checkpoints(tmp_path / "cut" / "checkpoints", 3).last()
    assert newest is not None
    newest.write_bytes(newest.read_bytes()[:-100])
    lines = tmp_path / "cut" / "history.jsonl"
    lines.write_text(lines.read_text()[:-10])  # killed while it wrote its last line
    capsys.readouterr()
    assert run(data, tmp_path / "cut", *words, "steps_init=6", "resume=auto") == 0
    said = capsys.readouterr().out
    assert "the one before it is taken" in said
    assert "the last line was cut short and is dropped" in said
    assert "goes on after step 2" in said
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert [line["step"] for line in read_history(lines) if "total" in line] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_with_a_flipped_bit_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Checkpoints(tmp_path, 3)
    for step in (10, 20):
        kept.save(step, {"config": {}, "w": torch.full((5000,), float(step))})
    kept.save_best({"config": {}, "w": torch.ones(5000)})
    for path in (kept.folder / "step-000000020.pt", kept.folder / "best.pt"):
        altered = bytearray(path.read_bytes())
        altered[len(altered) // 2] ^= 0x40
        path.write_bytes(altered)
    saved = read_newest(kept, {})
    assert saved is not None
    assert float(saved["w"].min()) == float(saved["w"].max()) == 10
    assert best_or_last(kept) == kept.folder / "step-000000010.pt"
    said = capsys.readouterr().out
    assert re.search(r"step-000000020\.pt: not a sound checkpoint .* is another\); the one before it is taken", said)
    assert re.search(r"best\.pt: not a sound checkpoint .* is another\); step-000000020\.pt is taken", said)


@pytest.mark.parametrize("moment", ["_validate", "_write_samples", "_save_checkpoint"])
def test_a_stop_between_two_phases_is_not_forgotten(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    words = ["mode=srgan", "steps_init=1", "steps=1", "losses_init=mse", "losses=mse", "checkpoint_every=0"]
    plain, handlers = getattr(train.Run, moment), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(self: train.Run, *args: object) -> None:
        plain(self, *args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(train.Run, moment, interrupted)
    assert run(data, tmp_path / "run", *words, "json=true") == 0
    out = capsys.readouterr().out
    assert "stopped, go on with --resume auto: " in out
    assert json.loads(out.splitlines()[-1])["steps"] == 1
    assert not (tmp_path / "run" / "gan.safetensors").exists()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    if moment == "_validate":
        monkeypatch.setattr(train.Run, moment, plain)
        assert run(data, tmp_path / "run", *words, "resume=auto") == 0
        assert (tmp_path / "run" / "gan.safetensors").is_file()


def test_a_run_has_its_folder_alone_and_removes_what_a_killed_one_left(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mode=srresnet", "steps_init=1"]
    left = tmp_path / "checkpoints" / part_name("step-000000005.pt")
    left.parent.mkdir()
    left.write_bytes(b"x" * 1000)
    with alone_in(tmp_path, ""):
        assert run(data, tmp_path, *words) == 2
    assert "another training is at work there" in capsys.readouterr().err
    assert run(data, tmp_path, *words) == 0
    hidden = [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert hidden == []


def test_a_full_disk_costs_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path, 2)
    first = kept.save(1, {"step": 1})

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=f"make room and go on with --resume auto, from {first}"):
        kept.save(2, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_batch_of_both(data: Path, tmp_path: Path) -> None:
    # Without batch normalisation the mean of two gradients is the gradient of the whole batch.
    words = ["mode=srresnet", "steps_init=10", "losses_init=l1=1"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "sr_model.train", f"data={data}", f"out={tmp_path / 'two'}", *SMALL, *words, "batch=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert run(data, tmp_path / "one", *words) == 0
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in a:
        assert torch.allclose(a[name], b[name], atol=1e-5), name


@pytest.mark.slow
def test_two_processes_play_the_adversarial_game(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "sr_model.train", f"data={data}", f"out={tmp_path / 'run'}", *SMALL, "steps_init=2", "steps=3"]
    command += ["net=srresnet5", "batch=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert (tmp_path / "run" / "gan.safetensors").exists()
    assert done.stdout.count(b"train: done") == 1


def test_the_last_checkpoints_and_the_best_are_kept(data: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["mode=srresnet", "steps_init=30", "keep_last=2", f"valid={pictures}", "valid_every=5"]
    assert run(data, tmp_path / "run", *words) == 0
    kept = Checkpoints(tmp_path / "run" / "checkpoints", 2)
    names = {path.name for path in kept.folder.iterdir()}
    assert names == {"step-000000025.pt", "step-000000030.pt", "best.pt"}  # and nothing half-written
    scores = {line["step"]: line["psnr_y"] for line in history(tmp_path / "run") if "psnr_y" in line}
    best = read_pt(kept.folder / "best.pt")
    assert best["psnr"] == pytest.approx(max(scores.values()))
    assert scores[best["step"]] == pytest.approx(best["psnr"])


def test_the_score_at_the_end_counts_for_the_best(data: Path, pictures: Path, tmp_path: Path) -> None:
    # The last step is due for a checkpoint; the validation comes at the end only.
    assert run(data, tmp_path / "run", "mode=srresnet", "steps_init=10", f"valid={pictures}") == 0
    (line,) = [line for line in history(tmp_path / "run") if "psnr_y" in line]
    assert read_pt(tmp_path / "run" / "checkpoints" / "best.pt")["psnr"] == pytest.approx(line["psnr_y"])


def test_a_resumed_run_remembers_its_best(
    data: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["mode=srresnet", f"valid={pictures}", "valid_every=5"]
    assert run(data, tmp_path / "run", *words, "steps_init=10") == 0
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    before = best.read_bytes()
    monkeypatch.setattr(train, "validate", lambda generator, pairs: {"psnr_y": 1.0, "ssim_y": 0.0})
    assert run(data, tmp_path / "run", *words, "steps_init=20", "resume=auto") == 0
    assert best.read_bytes() == before


def test_the_best_are_the_weights_that_were_scored(data: Path, pictures: Path, tmp_path: Path) -> None:
    """Whenever validation runs: here never at a step that a checkpoint is due at, but for the last."""
    words = ["mode=srresnet", "steps_init=20", f"valid={pictures}", "valid_every=3", "checkpoint_every=10", "lr=0.03"]
    assert run(data, tmp_path / "run", *words) == 0
    scores = {line["step"]: line["psnr_y"] for line in history(tmp_path / "run") if "psnr_y" in line}
    saved = read_pt(tmp_path / "run" / "checkpoints" / "best.pt")
    assert saved["step"] == max(scores, key=lambda step: scores[step])
    net = load_generator(tmp_path / "run" / "checkpoints" / "best.pt")
    found = train.validate(net, train.load_pairs(pictures))["psnr_y"]
    assert found == pytest.approx(max(scores.values()), abs=1e-3)  # in another layout of memory
    assert saved["psnr"] == max(scores.values())


def test_samples_show_the_middles_of_validation_pictures(data: Path, pictures: Path, tmp_path: Path) -> None:
    assert run(data, tmp_path / "run", "mode=srresnet", "steps_init=1", f"valid={pictures}") == 0
    (grid,) = (tmp_path / "run" / "samples").glob("*.png")
    pixels = np.asarray(Image.open(grid))
    truth = np.asarray(Image.open(pictures / "a.png"))[:, 8:56]
    assert np.array_equal(pixels[:48, -48:], truth)


def test_a_resumed_run_s_curves_have_each_step_once(data: Path, tmp_path: Path) -> None:
    """Logged up to step 15, resumed from the checkpoint of step 10."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["mode=srresnet", "tensorboard=true", "log_every=1", "checkpoint_every=10"]
    assert run(data, tmp_path / "run", *words, "steps_init=15") == 0
    (tmp_path / "run" / "checkpoints" / "step-000000015.pt").unlink()
    assert run(data, tmp_path / "run", *words, "steps_init=20", "resume=auto") == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("init/total")] == list(range(1, 21))


def test_a_checkpoint_holds_everything(data: Path, tmp_path: Path) -> None:
    assert run(data, tmp_path / "run", "steps_init=5", "steps=5") == 0
    last = Checkpoints(tmp_path / "run" / "checkpoints", 3).last()
    assert last is not None
    saved = read_pt(last)
    for key in ("generator", "discriminator", "ema", "optimizer_g", "optimizer_d", "rng", "stream", "config", "commit"):
        assert saved[key] is not None, key
        assert len(saved[key]) > 0, key
    assert saved["ema"].keys() == saved["generator"].keys()  # the net's own names, which `load_generator` reads
    assert saved["stream"]["position"] == 10 * 4
    assert set(saved["config"]) == {one.name for one in fields(TrainConfig)}


def test_weights_to_begin_with(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = make_generator("tiny")
    save_generator(given, "tiny", tmp_path / "given.safetensors")
    words = ["mode=srresnet", "steps_init=1", "lr=1e-12", f"init_from={tmp_path / 'given.safetensors'}"]
    assert run(data, tmp_path / "run", *words) == 0
    for name, value in weights(tmp_path / "run").items():
        assert torch.allclose(value, given.state_dict()[name], atol=1e-6), name


def test_training_time_ends_a_phase(data: Path, tmp_path: Path) -> None:
    assert run(data, tmp_path / "run", "mode=srresnet", "n_epoch_init=1", "seconds=0.5", "schedule=linear") == 0
    assert 0.5 <= history(tmp_path / "run")[-1]["seconds"] < 5


def test_evaluate_mode_scores_the_best_checkpoint(data: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["mode=srresnet", "steps_init=5", f"valid={pictures}"]
    assert run(data, tmp_path / "run", *words) == 0
    assert run(data, tmp_path / "run", "mode=evaluate", f"valid={pictures}") == 0
    scores = json.loads((tmp_path / "run" / "evaluation" / "scores.json").read_text())
    assert scores["model"]["psnr_y"] == pytest.approx(history(tmp_path / "run")[-1]["psnr_y"], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mode=srresnet"], "nothing to train"),
        (["mode=srresnet", "steps_init=5", "crop=15"], "crop 15: must be a multiple of 4"),
        (["mode=srresnet", "steps_init=5", "device=cuda"], "PyTorch sees no GPU"),
        (["mode=srresnet", "steps_init=5", "init_from=nowhere.pt"], "nowhere.pt: no such checkpoint"),
        (["mode=srresnet", "steps_init=5", "resume=nowhere.pt"], "nowhere.pt: no such checkpoint"),
        (["mode=srresnet", "steps_init=5", "losses_init=mae=1"], "no loss is called `mae`"),
        (["mode=srresnet", "steps_init=5", "losses_init=vgg=1", "vgg_weights=no.pth"], "no.pth: no such file"),
        (
            ["mode=srresnet", "steps_init=5", "losses_init=vgg-random=1", "crop=8"],
            "patches of at least 16 pixels, not 8",
        ),
        (["steps_init=5", "steps=5", "discriminator=seed"], "must be a multiple of 32 wide, not 16"),
        (["steps_init=5", "steps=5", "losses=vgg=1", "vgg_weights=no.pth"], "no.pth: no such file"),
        (["mode=evaluate"], "holds no checkpoint to evaluate"),
    ],
)
def test_what_is_wrong_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    if "device=cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert run(data, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "history.jsonl").exists(), "it is said before anything is trained"


def test_a_machine_without_tensorboard_is_told_what_to_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert run(data, tmp_path / "run", "mode=srresnet", "steps_init=5", "tensorboard=true") == 2
    error = capsys.readouterr().err
    assert "tensorboard is not installed" in error
    assert "pip install 'lakerank[sr]', or give tensorboard=false" in error


def test_patches_that_are_not_there_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere", tmp_path / "run", "steps_init=5") == 2
    assert "no such folder of patches" in capsys.readouterr().err


def test_a_second_run_does_not_fall_into_the_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mode=srresnet", "steps_init=5"]
    assert run(data, tmp_path / "run", *words) == 0
    assert run(data, tmp_path / "run", *words) == 2
    assert "holds a run already; --resume auto" in capsys.readouterr().err
    assert run(data, tmp_path / "run", *words, "resume=auto", "batch=8") == 2
    assert "that run has batch=4, this one batch=8" in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, tmp_path / "run", "mode=srresnet", "steps_init=200", "lr=1e30", "checkpoint_every=1") == 2
    error = capsys.readouterr().err
    assert "training has diverged" in error
    assert "Lower lr" in error
    for path in Checkpoints(tmp_path / "run" / "checkpoints", 3).all():
        assert all(torch.isfinite(value).all() for value in read_pt(path)["generator"].values())


def test_settings_that_may_change_exist() -> None:
    assert set(TrainConfig.__dataclass_fields__) >= MAY_CHANGE
