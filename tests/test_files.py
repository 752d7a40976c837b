"""Files that are whole or not there, also when the writing fails."""

from __future__ import annotations

import pytest

from robustcourse.files import replacing


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "deep" / "record.json"
    for text in ("first", "second"):
        with replacing(path) as file:
            file.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert names(path.parent) == ["record.json"]


def test_what_stood_there_stays_if_the_writing_fails(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("first")

    def fail():
        with replacing(path) as file:
            file.write_text("half of")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert path.read_text() == "first"
    assert names(tmp_path) == ["record.json"]
