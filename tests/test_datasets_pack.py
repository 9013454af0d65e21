"""A packed copy reads like the original: same people, same numbers, same splits, only smaller."""

from __future__ import annotations

import pytest
import torch

from course_lib import cli, datasets
from course_lib.datasets import pack, pool
from course_lib.errors import CourseError
from course_lib.skeletons import LSP

SIZE = (48, 48)


def test_a_packed_copy_shows_training_the_same_people(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", str(photographs))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "pack", "lspet", "--to", "small/lspet", "--side", "96"]) == 0
    assert "joints.mat and images.tar" in capsys.readouterr().out
    before = datasets.read("lspet", datasets.find("lspet"), "train")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "small"))
    after = datasets.read("lspet", datasets.find("lspet"), "train")
    assert [entry.id for entry in before.entries] == [entry.id for entry in after.entries]
    one, other = pool.Pool.of(before, LSP, SIZE), pool.Pool.of(after, LSP, SIZE)
    labelled = one.visible > 0
    # a joint outside the kept margin is lost, and there is none here: the box is made of the labelled joints
    assert torch.equal(labelled, other.visible > 0)
    assert (one.joints - other.joints)[labelled].abs().max() < 0.01
    assert (one.images.float() - other.images.float()).abs().mean() < 8


def test_only_single_people_in_lsp_s_joints_can_be_packed(photographs, tmp_path):
    records = datasets.read("lspet", photographs / "lspet", "train")
    records.entries[0].people.append(records.entries[1].people[0])
    with pytest.raises(CourseError, match="only a data set of one person a picture"):
        pack.pack(records, tmp_path, 96, 80)
    with pytest.raises(CourseError, match="the side should lie in"):
        pack.pack(records[1:], tmp_path, 4, 80)
