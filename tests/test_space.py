"""Room on the disk is asked for before work begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import ResourceExhausted
from pipeline.space import require_space, sizes_under


def test_what_fits_to_the_byte_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Needed and free are compared where the folder will be, and told with what to do; nothing is made."""
    asked: list[Path] = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage._replace(free=1000))  # type: ignore[func-returns-value]
    folder = tmp_path / "not" / "yet"
    require_space(folder, num_bytes=1000, what="it", hint="")
    with pytest.raises(ResourceExhausted) as caught:
        require_space(folder, num_bytes=1001, what="the cake", hint="eat less")
    assert caught.value.message == f"the cake needs 1001 bytes more in {folder}, and 1000 bytes are free"
    assert all(remedy in caught.value.hint for remedy in ("free some space", "--workspace", "eat less"))
    assert asked == [tmp_path, tmp_path]
    assert not folder.parent.exists()


def test_files_have_the_size_of_what_lies_there_itself(tmp_path: Path) -> None:
    """Those in folders too; a link leads nowhere, and where nothing is there is no size."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"xyz")
    (tmp_path / "b").write_bytes(b"x")
    (tmp_path / "link").symlink_to("inner")
    assert sorted(sizes_under(tmp_path)) == [1, 3]
    assert sizes_under(tmp_path / "b") == [1]
    assert sizes_under(tmp_path / "link") == [len("inner")]
    assert sizes_under(tmp_path / "absent") == []
