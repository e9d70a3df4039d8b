"""Files of `torch.save` from anywhere: only whole ones with plain values are read, and nothing in them is ever run."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import IntegrityError, UsageError
from stages.training.importing import read_checkpoint

_DOCUMENT = {"model": {"weight": torch.arange(300.0)}, "step": 3}


def _saved(document: object, path: Path, **options: Any) -> Path:
    torch.save(document, path, **options)
    return path


def test_plain_values_are_read(tmp_path: Path) -> None:
    """What torch.save wrote of tensors and numbers comes back."""
    found = read_checkpoint(_saved(_DOCUMENT, tmp_path / "old.pt"))
    assert torch.equal(found["model"]["weight"], torch.arange(300.0))
    assert found["step"] == 3


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._path), "w"))


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    """A file that would call a function is refused, saying so, and the function was not called."""
    canary = tmp_path / "canary"
    file = _saved({**_DOCUMENT, "args": Bomb(canary)}, tmp_path / "old.pt")
    with pytest.raises(IntegrityError, match=r"wants to run code.*open"):
        read_checkpoint(file)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["legacy", "pickle", "text", "empty", "tar", "half"])
def test_what_is_no_zip_of_torch_is_refused_unread(kind: str, tmp_path: Path) -> None:
    """Old pickles, with code in them or not, are refused before anything is unpickled, with the way to convert them."""
    canary = tmp_path / "canary"
    document = {"model": _DOCUMENT["model"], "bomb": Bomb(canary)}
    file = _saved(document, tmp_path / "old.pt", _use_new_zipfile_serialization=kind != "legacy")
    whole = file.read_bytes()
    contents = {"pickle": pickle.dumps(Bomb(canary)), "text": b"no checkpoint", "empty": b"", "tar": bytes(10_240)}
    file.write_bytes({**contents, "half": whole[: len(whole) // 2], "legacy": whole}[kind])
    with pytest.raises(IntegrityError, match=r"is no zip file as torch\.save writes it") as raised:
        read_checkpoint(file)
    assert "save it again" in raised.value.hint
    assert not canary.exists()


@pytest.mark.parametrize("file", ["absent.pt", "."])
def test_an_absent_file_is_a_matter_of_the_command_line(file: str, tmp_path: Path) -> None:
    """A path that leads to no file ends with 2, not with 4."""
    with pytest.raises(UsageError, match="is not there, or is no file"):
        read_checkpoint(tmp_path / file)


def _rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], **options: Any) -> Path:
    """Write the zip `source` once more with right checksums, each entry changed by `change`."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", **options) as copy:
        for entry in archive.infolist():
            copy.writestr(entry.filename, change(entry.filename, archive.read(entry)))
    return target


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    """A file that would grow when unpacked is refused before anything is unpacked: torch never compresses."""
    zeros = bytes(100_000_000)
    bomb = _rewritten(
        _saved(_DOCUMENT, tmp_path / "old.pt"),
        tmp_path / "bomb.pt",
        lambda name, data: zeros if name.endswith("data/0") else data,
        compression=zipfile.ZIP_DEFLATED,
    )
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(IntegrityError, match="would unpack to 1000"):
        read_checkpoint(bomb)


def test_a_compressed_file_is_refused_even_where_it_does_not_grow(tmp_path: Path) -> None:
    """Tensors are read where they lie in the file: of a compressed one these would be other numbers."""
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, 40_000, dtype=np.uint8))
    source = _saved({"model": {"weight": noise}}, tmp_path / "old.pt")
    packed = _rewritten(source, tmp_path / "packed.pt", lambda _, data: data, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(IntegrityError, match="torch packs nothing"):
        read_checkpoint(packed)


def test_a_pickle_that_lies_about_sizes_reads_nothing_outside_the_file(tmp_path: Path) -> None:
    """A storage that is stated to be larger than the file is an error, not a read of foreign memory."""
    source = _saved({"model": {"weight": torch.zeros(200)}}, tmp_path / "old.pt")
    huge = (10**9).to_bytes(4, "little")

    def enlarge(name: str, data: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return data
        assert data.count(b"K\xc8") == 2  # the number 200: of the storage, and of the tensor
        return data.replace(b"K\xc8", b"J" + huge)

    with pytest.raises(IntegrityError, match="is not readable as a checkpoint of torch"):
        read_checkpoint(_rewritten(source, tmp_path / "lie.pt", enlarge))


def test_every_flipped_bit_of_the_contents_is_found(tmp_path: Path) -> None:
    """A bit that flips in the pickle or in a tensor is found by the checksums of the zip."""
    file = _saved({"model": {"weight": torch.arange(50.0)}}, tmp_path / "old.pt")
    data = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        spans = [(data.index(archive.read(entry)), entry.file_size) for entry in archive.infolist()]
    bits = np.random.default_rng(0)
    for start, size in spans:
        for place in bits.integers(start, start + size, 20).tolist():
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(bits.integers(8))
            file.write_bytes(flipped)
            with pytest.raises(IntegrityError):
                read_checkpoint(file)
