"""paths: a file that another stage reads is whole or not there."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from ipa_lib import files
from ipa_lib.workflow import paths


def test_places_are_in_the_repository():
    assert (files.ROOT / "ipa_lib" / "files.py").is_file()
    assert paths.data_dir("smoke") == files.ROOT / "data" / "smoke"
    assert paths.results_dir("smoke") == files.ROOT / "results" / "smoke"


def test_the_root_is_the_repository_around_a_folder(tmp_path):
    checkout = tmp_path / "checkout"
    for part in files.PARTS:
        (checkout / part).mkdir(parents=True)
    assert files.repository(checkout / "notebooks") == files.repository(checkout) == checkout
    assert files.repository(tmp_path) is None and files.repository(Path(files.__file__).parent) == files.ROOT
    (checkout / "configs").rmdir()
    assert files.repository(checkout / "notebooks") is None


def test_paths_are_whole_outside_a_repository(monkeypatch):
    """An installed package serves any folder, so what it writes may not depend on the one that it was called from."""
    inside = files.ROOT / "data" / "mini"
    assert files.short(inside) == "data/mini" and files.short("/elsewhere/mini") == "/elsewhere/mini"
    monkeypatch.setattr(files, "REPOSITORY", None)
    assert files.short(inside) == str(inside)


def test_atomic_replaces_only_at_the_end(tmp_path):
    target = tmp_path / "new" / "table.csv"
    with files.atomic(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent and temporary.suffix == ".csv"
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path, error):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(error), files.atomic(target) as temporary:
        temporary.write_text("hal")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_atomic_takes_a_writer_that_replaces_its_file(tmp_path):
    """Some writers rename onto the name they are given: what lies there at the end counts."""
    target = tmp_path / "figure.pdf"
    with files.atomic(str(target)) as temporary:
        (tmp_path / "other").write_text("from a rename")
        os.replace(tmp_path / "other", temporary)
    assert target.read_text() == "from a rename"


def test_atomic_gives_the_usual_rights(tmp_path):
    with files.atomic(tmp_path / "a") as temporary:
        temporary.write_text("x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
