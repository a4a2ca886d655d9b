"""Weights in a file: whole, of the right net, and never code."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lakerank.cli.errors import UserError
from sr_model.nets import GENERATORS, make_generator
from sr_model.weights import (
    as_bytes,
    fingerprint,
    generator_of,
    load_generator,
    load_pt,
    read_pt,
    read_weights,
    save_generator,
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    for name in GENERATORS:
        generator = make_generator(name).eval()
        save_generator(generator, name, tmp_path / f"{name}.safetensors", {"note": "a test"})
        again = load_generator(tmp_path / f"{name}.safetensors")
        assert not again.training
        for key, value in generator.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), (name, key)
        assert [file.name for file in tmp_path.iterdir() if file.suffix == ".part"] == []


def test_a_training_checkpoint_gives_its_averaged_weights(tmp_path: Path) -> None:
    plain, averaged = make_generator("tiny").state_dict(), make_generator("tiny").state_dict()
    state = {"config": {"net": "tiny"}, "generator": plain, "ema": averaged}
    torch.save(state, tmp_path / "both.pt")
    torch.save({**state, "ema": None}, tmp_path / "plain.pt")
    for file, wanted in (("both.pt", averaged), ("plain.pt", plain)):
        found = load_generator(tmp_path / file).state_dict()
        assert torch.equal(found["tail.weight"], wanted["tail.weight"])


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    save_generator(make_generator("tiny"), "tiny", tmp_path / "tiny.safetensors")
    save_generator(make_generator("tiny"), "srresnet5", tmp_path / "mixed.safetensors")
    save_generator(make_generator("tiny"), "unheard-of", tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "text.pt").write_text("no tensors")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    torch.save([1], tmp_path / "list.pt")
    cases = {
        "nowhere.pt": "no such checkpoint",
        "mixed.safetensors": "do not fit `srresnet5`",
        "other.safetensors": "`unheard-of`, which this version does not know",
        "text.safetensors": "not a sound safetensors file",
        "text.pt": r"not a sound checkpoint \(it is neither a \.safetensors file nor",
        "foreign.pt": "no generator of ours",
        "list.pt": "it holds a list",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            load_generator(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(UserError, match="holds the net `tiny`, not `msrresnet`"):
        load_generator(tmp_path / "tiny.safetensors", net="msrresnet")


class Mischief:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path("mischief-was-here").touch, ())


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pt").write_bytes(pickle.dumps({"generator": Mischief()}))
    torch.save({"generator": Mischief()}, "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(UserError, match="not a sound checkpoint"):
            load_generator(name)
    assert not Path("mischief-was-here").exists()


def test_a_file_called_like_a_model_is_given_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_bytes(b"mine")
    load_generator("tiny")
    with pytest.raises(UserError, match="not a sound checkpoint"):
        load_generator("./tiny")


def test_equal_weights_have_one_fingerprint(tmp_path: Path) -> None:
    generator = make_generator("srresnet5")  # its batch normalisation counts in whole numbers without a dimension
    save_generator(generator, "srresnet5", tmp_path / "a.safetensors", {"note": "here"})
    torch.save({"config": {"net": "srresnet5"}, "ema": generator.state_dict()}, tmp_path / "a.pt")
    one, other = (fingerprint(read_weights(tmp_path / name)[1]) for name in ("a.safetensors", "a.pt"))
    assert one == other
    changed = generator.state_dict()
    next(iter(changed.values())).view(-1)[0] += 1e-6
    assert fingerprint(changed) != one


def test_bytes_give_the_generator_that_their_file_gives(tmp_path: Path) -> None:
    generator = make_generator("tiny").eval()
    again = generator_of(as_bytes(generator, "tiny"), "bytes")
    assert not again.training
    assert fingerprint(again.state_dict()) == fingerprint(generator.state_dict())
    with pytest.raises(UserError, match="bytes: not a sound safetensors file"):
        generator_of(as_bytes(generator, "tiny")[:-1], "bytes")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"format": "pt"}, {"format": "lakerank-generator-1"}, {"format": "lakerank-generator-1", "net": "x"}],
)
def test_a_foreign_safetensors_file_is_one_sentence(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    file = tmp_path / "foreign.safetensors"
    file.write_bytes(safetensors.torch.save({"w": torch.zeros(3)}, metadata))
    with pytest.raises(UserError, match=r"foreign\.safetensors"):
        load_generator(file)


@pytest.mark.parametrize(
    "saved",
    [
        {"config": [], "ema": None, "generator": {}},
        {"config": {"net": "tiny"}, "ema": torch.zeros(3), "generator": {}},
        {"config": {"net": "tiny"}, "ema": None, "generator": [1]},
        {"config": {"net": "tiny"}, "ema": {"body": "text"}, "generator": {}},
        {"config": {"net": ["tiny"]}, "ema": {"x": torch.zeros(1)}, "generator": {}},
        {"config": {"net": "tiny"}, "ema": {3: torch.zeros(1)}, "generator": {}},
        [1],
    ],
)
def test_a_foreign_checkpoint_is_one_sentence(tmp_path: Path, saved: object) -> None:
    file = tmp_path / "foreign.pt"
    torch.save(saved, file)
    with pytest.raises(UserError, match=r"foreign\.pt"):
        load_generator(file)


def test_a_flipped_bit_is_never_used(tmp_path: Path) -> None:
    values = {"format": "x", "step": 3, "w": torch.arange(40.0)}
    torch.save(values, tmp_path / "whole.pt")
    whole, refused = (tmp_path / "whole.pt").read_bytes(), 0
    for at in range(0, len(whole), 5):
        altered = bytearray(whole)
        altered[at] ^= 1 << at % 8
        (tmp_path / "altered.pt").write_bytes(altered)
        try:
            found = read_pt(tmp_path / "altered.pt")
        except UserError:
            refused += 1
            continue
        assert (found["format"], found["step"]) == ("x", 3)  # it was between the parts, where nothing is read
        assert torch.equal(found["w"], values["w"])  # type: ignore[arg-type]
    assert refused > 50
    middle = whole.index(values["w"].numpy().tobytes())  # type: ignore[attr-defined]
    (tmp_path / "altered.pt").write_bytes(whole[:middle] + b"\x01" + whole[middle + 1 :])
    with pytest.raises(UserError, match=r"it is damaged: the checksum of .*/data/0 is another"):
        read_pt(tmp_path / "altered.pt")


def test_a_checkpoint_that_is_packed_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "packed.pt", "w") as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="its parts are packed"):
        read_pt(tmp_path / "packed.pt")


def test_a_flipped_bit_in_a_file_of_weights_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_generator(make_generator("tiny"), "tiny", path)
    altered = bytearray(path.read_bytes())
    altered[-5] ^= 1
    path.write_bytes(altered)
    with pytest.raises(UserError, match=r"tiny\.safetensors: damaged, the checksum of its tensors is another"):
        load_generator(path)
    saved = safetensors.torch.load(bytes(altered))
    safetensors.torch.save_file(saved, path, {"format": "lakerank-generator-1", "net": "tiny"})  # an earlier version's
    load_generator(path)


def test_weights_of_before_zip_are_held_against_their_name(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(9)}, tmp_path / "w", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w").read_bytes()
    named = tmp_path / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    named.write_bytes(content)
    assert torch.equal(load_pt(named)["w"], torch.ones(9))
    named.write_bytes(content[:-1] + b"\x01")
    with pytest.raises(ValueError, match="its SHA-256 is not the one in its name"):
        load_pt(named)
    assert torch.equal(load_pt(tmp_path / "w")["w"], torch.ones(9)), "as old ESRGANs are kept, without any checksum"
