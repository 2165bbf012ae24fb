"""A folder that is replaced is the old one or the new one, whatever goes wrong on the way."""

import shutil

import pytest

from mist_jax.disk import whole_folder
from mist_jax.errors import UserError


def make(folder, text="old"):
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{text}{number}").write_text(text)
    return folder


def holds(folder):
    return {path.read_text() for path in folder.iterdir()}


def write(folder, text="new"):
    with whole_folder(folder) as beside:
        (beside / text).write_text(text)


def names(path):
    return sorted(one.name for one in path.iterdir())


def test_the_new_folder_takes_the_place_of_the_old_and_nothing_is_left_beside(tmp_path):
    write(make(tmp_path / "bank"))
    assert names(tmp_path / "bank") == ["new"]
    write(tmp_path / "deep" / "er")
    assert names(tmp_path) == ["bank", "deep"]
    assert names(tmp_path / "deep") == ["er"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_folder_and_nothing_beside(tmp_path, error):
    folder = make(tmp_path / "bank")

    def fails():
        with whole_folder(folder) as beside:
            (beside / "half").write_text("new")
            raise error

    with pytest.raises(error):
        fails()
    assert holds(folder) == {"old"}
    assert names(tmp_path) == ["bank"]


def test_a_key_that_interrupts_the_deletion_of_the_old_leaves_the_new(tmp_path, monkeypatch):
    folder, remove = make(tmp_path / "bank"), shutil.rmtree

    def interrupted(path, **options):
        if path.exists() and not path.name.endswith(".writing"):
            (path / "old0").unlink()
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder)
    monkeypatch.undo()
    assert holds(folder) == {"new"}
    write(folder, "newer")
    assert holds(folder) == {"newer"}
    assert names(tmp_path) == ["bank"]


@pytest.mark.parametrize("fault", ["old cannot go aside", "new cannot be put there"])
def test_a_swap_that_fails_keeps_the_old_and_says_where_the_new_is(tmp_path, fault):
    folder = tmp_path / "bank"

    def meets_a_fault():
        with whole_folder(folder) as beside:
            (beside / "new").write_text("new")
            if fault == "old cannot go aside":
                make(folder)
                make(tmp_path / ".bank.old", "other")
            else:
                folder.write_text("a file of somebody else")

    with pytest.raises(UserError, match=r"cannot be replaced.*\.bank\.writing"):
        meets_a_fault()
    assert holds(tmp_path / ".bank.writing") == {"new"}
    if folder.is_dir():
        assert holds(folder) == {"old"}
    else:
        assert folder.read_text() == "a file of somebody else"


def test_the_old_folder_is_back_where_the_new_one_cannot_follow(tmp_path):
    folder = make(tmp_path / "bank")
    with pytest.raises(UserError, match="it is as it was"), whole_folder(folder) as beside:
        beside.rename(tmp_path / "elsewhere")
    assert holds(folder) == {"old"}
    assert names(tmp_path) == ["bank", "elsewhere"]


def test_a_process_killed_between_the_two_renames_has_lost_nothing(tmp_path):
    make(tmp_path / ".bank.old")
    make(tmp_path / ".bank.writing", "new")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "bank"):
        raise RuntimeError
    assert holds(tmp_path / "bank") == {"old"}
    assert names(tmp_path) == ["bank"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    place = make(tmp_path / "large disk" / "bank")
    link = tmp_path / "bank"
    link.symlink_to(place)
    write(link)
    assert link.readlink() == place
    assert holds(place) == {"new"}
    assert names(place.parent) == ["bank"]
