"""Each loader on a small data set in the official format: places, flags, boxes, splits, and what goes into meta."""

import copy
import math

import numpy as np
import official_files as files
import pytest
import scipy.io
import torch
from PIL import Image
from pycocotools import mask as reference

from course_lib import datasets, geometry, metrics
from course_lib.datasets import jhmdb, masks
from course_lib.datasets.records import Record
from course_lib.errors import CourseError
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE, Pose


def only(records, place=0):
    """The person of a record that has one."""
    [person] = records.entries[place].people
    return person


def close(tensor, values):
    return torch.allclose(tensor, torch.tensor(values, dtype=tensor.dtype), atol=1e-4)


# --- LSP and LSP-extended ---------------------------------------------------------------------------------------------


def test_lsp_and_its_twin_give_the_same_places_from_other_axes(tmp_path):
    for name in ("lsp", "lspet"):
        (tmp_path / name).mkdir()
        getattr(files, name)(tmp_path / name)
        records = datasets.read(name, tmp_path / name, "all")
        for place, entry in enumerate(records.entries):
            person = only(records, place)
            for joint in range(1, 14):  # the file counts the first pixel's centre as 1, the course as 0.5
                assert close(person.joints[joint], [joint + 10 * (place + 1) - 0.5, joint - 0.5])
            assert entry.id == place + 1


def test_the_third_number_means_the_opposite_in_the_twins(tmp_path):
    files.lsp(tmp_path)
    assert only(datasets.read("lsp", tmp_path, "all")).visible.tolist() == [HIDDEN] + 13 * [VISIBLE]
    files.lspet(tmp_path)
    person = only(datasets.read("lspet", tmp_path, "all"))
    assert person.visible.tolist() == [UNLABELLED] + 13 * [VISIBLE]
    assert close(person.box, [10.5 - 1.2, 0.5 - 1.2, 22.5 + 1.2, 12.5 + 1.2])  # without the unlabelled joint


def test_lsp_splits_in_the_middle_and_its_twin_keeps_a_block_back(tmp_path):
    joints = np.ones((3, 14, 2000))
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints}, do_compression=True)
    train, test = (datasets.read("lsp", tmp_path, split) for split in ("train", "test"))
    assert [train.entries[0].id, train.entries[-1].id, test.entries[0].id, test.entries[-1].id] == [1, 1000, 1001, 2000]
    assert test.entries[-1].file.name == "im2000.jpg"
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": np.ones((14, 3, 10_000))}, do_compression=True)
    train, val = (datasets.read("lspet", tmp_path, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (9_500, 500)
    assert [entry.id for entry in val.entries] == list(range(8001, 8501))
    assert not {entry.id for entry in train.entries} & {entry.id for entry in val.entries}
    assert val.entries[0].file.name == "im08001.jpg"


def test_one_person_is_a_data_set_too(tmp_path):
    files.lspet(tmp_path, people=1)
    records = datasets.read("lspet", tmp_path, "all")
    assert len(records) == 1 and records[0].meta["file"].endswith("im00001.jpg")


# --- FLIC -------------------------------------------------------------------------------------------------------------


def test_flic_picks_eleven_of_29_columns(tmp_path):
    files.flic(tmp_path)
    records = datasets.read("flic", tmp_path, "train")
    person = only(records)
    assert [entry.id for entry in records.entries] == [1, 2]
    for joint, column in (("left_shoulder", 0), ("left_hip", 6), ("right_hip", 9), ("right_eye", 13), ("nose", 16)):
        assert close(person.joints[person.skeleton.index(joint)], [column + 0.5, 2 * column + 0.5])
    wrist = person.skeleton.index("right_wrist")
    assert person.visible.tolist() == [UNLABELLED if joint == wrist else VISIBLE for joint in range(11)]
    assert torch.isfinite(person.joints).all()  # NaN stays in the file
    meta = records.entries[1].meta
    assert meta["torsobox"] == (4.5, 5.5, 14.5, 19.5) and (meta["movie"], meta["frame"]) == ("a-film", 20.0)
    assert len(datasets.read("flic", tmp_path, "test")) == 1 and len(datasets.read("flic", tmp_path, "all")) == 3


def test_flic_full_can_leave_out_what_its_authors_flagged(tmp_path):
    flags = [{"isbad": 1.0, "isunchecked": 0.0}, {"isbad": 0.0, "isunchecked": np.array(True)}, {}]
    files.flic(tmp_path, [files.flic_example(place, True, **flag) for place, flag in enumerate(flags, 1)])
    records = datasets.read("flic", tmp_path, "train")
    assert [entry.meta["isbad"] for entry in records.entries] == [True, False, False]
    assert [entry.id for entry in datasets.read("flic", tmp_path, "train", clean=True).entries] == [3]


def test_flic_of_one_picture(tmp_path):
    files.flic(tmp_path, [files.flic_example(1, True)])
    assert len(datasets.read("flic", tmp_path, "train")) == 1


# --- MPII -------------------------------------------------------------------------------------------------------------


def test_the_release_gives_people_heads_boxes_and_meta(tmp_path):
    files.mpii(tmp_path)
    records = datasets.read("mpii", tmp_path)
    assert [len(entry.people) for entry in records.entries] == [2, 1, 0]  # the fourth picture is for testing
    first, second = records.entries[0].people
    assert {name: int(v) for name, v in zip(first.skeleton.joints, first.visible.tolist(), strict=True) if v} == {
        "right_ankle": HIDDEN,
        "neck": VISIBLE,  # is_visible is empty
        "head_top": VISIBLE,  # is_visible is a letter
    }
    assert close(first.joints[0], [3.5, 19.5]) and close(first.head_box, [4.5, 0.5, 7.5, 4.5])
    assert close(first.box, [9.5 - 12.5, 11.5 - 12.5, 9.5 + 12.5, 11.5 + 12.5])  # 200 x 0.125 around objpos
    assert second.ignore and not first.ignore and not second.visible.any()
    meta = records.entries[0].meta
    assert meta["scale"] == [0.125, 0.125] and meta["objpos"] == [(9.5, 11.5)] * 2
    assert meta["single_person"] == [True, False] and meta["activity"] == "skiing" and meta["vidx"] == 1


def test_what_the_release_leaves_out_is_none(tmp_path):
    nothing = np.zeros((0, 0))
    points = [files.mpii_point(0, 4.0, 20.0, nothing), files.mpii_point(9, 6.0, 2.0, "0")]
    bare = files.mpii_person(points, scale=nothing, objpos=nothing, **dict.fromkeys(("x1", "y1", "x2", "y2"), nothing))
    files.mpii(tmp_path, [[bare], []], act=nothing, single_person=nothing)
    records = datasets.read("mpii", tmp_path)
    person = only(records)
    assert person.head_box is None and person.visible.tolist() == [VISIBLE, *8 * [0], HIDDEN, *6 * [0]]
    assert close(person.box, [3.5 - 0.2, 1.5 - 1.8, 5.5 + 0.2, 19.5 + 1.8])  # of the joints
    assert records.entries[0].meta["scale"] == [None] and records.entries[0].meta["activity"] is None


def test_a_release_of_one_picture(tmp_path):
    files.mpii(tmp_path, [[files.mpii_person()]], img_train=1.0)
    records = datasets.read("mpii", tmp_path)
    assert only(records).visible.sum() == 5 and records.entries[0].meta["single_person"] == [True]


def test_a_head_drawn_from_below_is_the_same_head(tmp_path):
    files.mpii(tmp_path, [[files.mpii_person(x1=8.0, y1=5.0, x2=5.0, y2=1.0)], []])
    assert close(only(datasets.read("mpii", tmp_path)).head_box, [4.5, 0.5, 7.5, 4.5])


def test_the_release_is_also_found_where_its_archive_puts_it(tmp_path):
    files.mpii(tmp_path)
    (tmp_path / "mpii_human_pose_v1_u12_2").mkdir()
    (tmp_path / files.MPII_FILE).rename(tmp_path / "mpii_human_pose_v1_u12_2" / files.MPII_FILE)
    assert len(datasets.read("mpii", tmp_path)) == 3


def test_the_json_is_gathered_by_picture_or_kept_by_person(tmp_path):
    files.mpii_json(tmp_path)
    records = datasets.read("mpii", tmp_path, "valid", source="json")
    assert [(entry.id, len(entry.people)) for entry in records.entries] == [("000000001.jpg", 2), ("000000002.jpg", 1)]
    person = records.entries[0].people[0]
    assert person.visible.tolist() == [VISIBLE if joint != 6 else UNLABELLED for joint in range(16)]
    assert close(person.joints[3], [3.5, 6.5]) and close(person.box, [-3, -1, 22, 24])
    alone = datasets.read("mpii", tmp_path, "valid", source="json", single=True)
    assert [entry.id for entry in alone.entries] == ["000000001.jpg/1", "000000001.jpg/2", "000000002.jpg/1"]
    assert all(len(entry.people) == len(entry.meta["scale"]) == 1 for entry in alone.entries)


def test_the_customary_split_is_not_the_release_s(tmp_path):
    files.mpii(tmp_path)
    with pytest.raises(CourseError, match="customary split is in the json: source='json'"):
        datasets.read("mpii", tmp_path, "valid")
    with pytest.raises(CourseError, match="no json of the split 'valid'"):
        datasets.read("mpii", tmp_path, "valid", source="json")
    with pytest.raises(CourseError, match="no source of MPII called 'h5'"):
        datasets.read("mpii", tmp_path, source="h5")


# --- COCO -------------------------------------------------------------------------------------------------------------


def test_coco_keeps_crowds_people_without_keypoints_and_pictures_of_nobody(tmp_path):
    files.coco(tmp_path)
    records = datasets.read("coco", tmp_path, "val")
    assert [(entry.id, len(entry.people)) for entry in records.entries] == [(7, 3), (9, 0)]
    person, crowd, small = records.entries[0].people
    assert (person.crowd, person.ignore) == (False, False) and person.area == 30.5
    assert (crowd.crowd, crowd.ignore) == (True, True) and (small.crowd, small.ignore) == (False, True)
    assert close(person.joints[0], [10.5, 5.5]) and person.visible.tolist() == [VISIBLE, HIDDEN, *15 * [UNLABELLED]]
    assert close(person.box, [8, 2, 14, 12])  # boxes are edges already
    assert close(small.box, [3, 3, 3, 7]) and not geometry.box_area(small.box)
    assert records.entries[0].meta == {"file_name": "000000000007.jpg", "licence": "Attribution-ShareAlike License"}
    assert all(person.mask is None for person in records[0].people)


def test_coco_decodes_masks_only_when_they_are_asked_for(tmp_path):
    files.coco(tmp_path)
    scene = datasets.read("coco", tmp_path, "val2017", masks=True)[0]
    polygon, crowd, _ = (person.mask for person in scene.people)
    expected = torch.zeros(files.HEIGHT, files.WIDTH, dtype=torch.bool)
    expected[2:12, 8:14] = True
    assert torch.equal(polygon, expected)
    assert crowd[:, 1].all() and int(crowd.sum()) == files.HEIGHT


def test_scenes_of_coco_score_like_its_own_dictionaries(tmp_path):
    content = files.coco_content()
    random = np.random.default_rng(0)
    for number in range(10, 30):
        keypoints = np.column_stack([random.uniform(0, 24, (17, 2)), random.integers(0, 3, 17)])
        keypoints[keypoints[:, 2] == 0] = 0
        count = int((keypoints[:, 2] > 0).sum())
        picture = int(random.choice([7, 9]))
        box, area = [0.0, 0.0, 24.0, 24.0], float(random.uniform(1200, 20_000))
        more = {"keypoints": keypoints.ravel().tolist(), "num_keypoints": count, "bbox": box, "area": area}
        content["annotations"].append(files.coco_person(number, picture, **more))
    files.coco(tmp_path, content)
    records = datasets.read("coco", tmp_path, "val2017")
    poses, results = [], []
    for scene in records:
        poses.append([])
        for person in scene.people:
            places = person.joints + torch.from_numpy(random.normal(0, 2, (17, 2))).float()
            score = float(random.uniform())
            poses[-1].append(Pose(places, torch.ones(17), person.skeleton, score))
            flat = torch.cat([places - 0.5, torch.ones(17, 1)], -1).flatten().tolist()
            results.append({"image_id": scene.id, "category_id": 1, "keypoints": flat, "score": score})
    ours = metrics.keypoint_ap(poses, list(records))
    theirs = metrics.coco_keypoint_ap(content["annotations"], results, image_ids=[7, 9]).numbers
    assert ours == pytest.approx(theirs, abs=1e-6) and 0 < ours["AP"] < 1


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 3), (120, 90)])
def test_run_lengths_in_both_spellings_equal_the_reference(size):
    random = np.random.default_rng(sum(size))
    for share in (0.0, 0.1, 0.5, 0.97, 1.0):
        wanted = random.uniform(size=size) < share
        if share == 0.1:
            wanted = np.repeat(np.repeat(wanted, 9, 0), 9, 1)[: size[0], : size[1]]  # runs of many lengths
        spelt = reference.encode(np.asfortranarray(wanted.astype(np.uint8)))
        assert (masks.decode_runs(spelt, size) == wanted).all()
        text = {"size": list(size), "counts": spelt["counts"].decode()}
        assert (masks.decode_runs(text, size) == wanted).all()
        plain = {"size": list(size), "counts": masks.read_counts(spelt["counts"])}
        assert (masks.decode_runs(plain, size) == wanted).all()
        assert reference.frPyObjects(plain, *size)["counts"] == spelt["counts"]


def test_polygons_agree_with_the_reference_up_to_their_outline():
    random = np.random.default_rng(1)
    for _ in range(20):
        angles = np.sort(random.uniform(0, 2 * math.pi, 9))
        radius = random.uniform(20, 45, 9)
        polygon = np.column_stack([50 + radius * np.cos(angles), 60 + radius * np.sin(angles)]).ravel().tolist()
        theirs = reference.decode(reference.frPyObjects([polygon], 120, 100))[..., 0].astype(bool)
        ours = masks.fill_polygons([polygon], (120, 100))
        assert (ours ^ theirs).sum() <= 0.02 * max(theirs.sum(), 500)
        shift = np.argwhere(ours).mean(0) - np.argwhere(theirs).mean(0)
        assert np.abs(shift).max() < 0.25  # not half a pixel aside


# --- J-HMDB -----------------------------------------------------------------------------------------------------------


def test_jhmdb_gives_a_scene_a_frame_and_keeps_clips_together(tmp_path):
    files.jhmdb(tmp_path)
    train = datasets.read("jhmdb", tmp_path, "train")
    assert [entry.id for entry in train.entries[:2]] == ["catch/a_ball/00001", "catch/a_ball/00002"]
    person = only(train, 1)
    assert close(person.joints[7], [7 + 2 - 0.5, 2 * 7 - 0.5]) and bool((person.visible == VISIBLE).all())
    meta = train[1].meta
    assert (meta["action"], meta["clip"], meta["frame"], meta["scale"]) == ("catch", "a_ball", 2, 1.0)
    groups = jhmdb.clips(train)
    assert [(group.split, len(group)) for group in groups] == [("train: a_ball", 3), ("train: hello", 3)]
    test = datasets.read("jhmdb", tmp_path, "test", fold=3)
    assert {entry.meta["clip"] for entry in test.entries} == {"b_ball"}
    assert len(datasets.read("jhmdb", tmp_path, "all")) == 9


def test_jhmdb_takes_box_and_area_from_the_puppet(tmp_path):
    files.jhmdb(tmp_path)
    records = datasets.read("jhmdb", tmp_path, "all", masks=True)
    person = only(records)
    assert close(person.box, [6, 4, 9, 10]) and person.area == 18 and person.mask is None
    [decoded] = records[0].people
    assert int(decoded.mask.sum()) == 18 and bool(decoded.mask[4:10, 6:9].all())
    without = only(records, 3)  # a clip without masks
    assert without.area is None and close(without.box, [0.5 - 1.4, -0.5 - 2.8, 14.5 + 1.4, 27.5 + 2.8])


def test_jhmdb_of_single_frames_and_empty_masks(tmp_path):
    files.jhmdb(tmp_path, frames=1)
    files.jhmdb_masks(tmp_path, np.zeros((files.HEIGHT, files.WIDTH, 1), dtype=np.uint8))
    records = datasets.read("jhmdb", tmp_path, "all", masks=True)
    assert len(records) == 3 and only(records).area is None
    assert not records[0].people[0].mask.any()


def test_sub_jhmdb_has_lists_of_its_own(tmp_path):
    files.jhmdb(tmp_path)
    with pytest.raises(CourseError, match="sub_splits has no ACTION_test_split2"):
        datasets.read("jhmdb", tmp_path, "train", fold=2, sub=True)
    (tmp_path / "sub_splits").mkdir()
    (tmp_path / "sub_splits" / "wave_test_split_2.txt").write_text("hello.avi 1\n")
    assert len(datasets.read("jhmdb", tmp_path, "train", fold=2, sub=True)) == 3
    with pytest.raises(CourseError, match="folds 1, 2 and 3; got 4"):
        datasets.read("jhmdb", tmp_path, fold=4)


# --- all --------------------------------------------------------------------------------------------------------------


def test_a_picture_stored_sideways_is_shown_as_its_annotations_see_it(tmp_path):
    picture = Image.new("RGB", (files.WIDTH, files.HEIGHT), (200, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert Record(tmp_path / "a.jpg", [], 1).scene().size == (files.WIDTH, files.HEIGHT)
    labelled = Record(tmp_path / "a.jpg", [], 1, size=(files.HEIGHT, files.WIDTH))
    assert labelled.scene().size == (files.HEIGHT, files.WIDTH)


def test_records_are_a_sequence_that_reads_when_asked(tmp_path):
    files.lsp(tmp_path)
    records = datasets.read("lsp", tmp_path)
    assert repr(records) == "Records('lsp', 'train', 3 pictures, 3 people)"
    assert records.people() == [(0, 0), (1, 0), (2, 0)] and len(records[1:]) == 2
    assert [scene.id for scene in records] == [1, 2, 3]


ODD = (None, "x", "", -1, 0.5, float("nan"), float("inf"), [], {}, [[1]], True, 10**400)


def damaged(content, path=()):
    """Where in a JSON content an odd value is put, and which; of a list only the first places."""
    for key in list(content) if isinstance(content, dict) else range(min(len(content), 4)):
        for odd in ODD:
            yield (*path, key), odd
        if isinstance(content[key], dict | list):
            yield from damaged(content[key], (*path, key))


@pytest.mark.parametrize("name", ["coco", "mpii"])
def test_no_odd_value_in_a_json_gets_past_or_breaks_anything(name, tmp_path):
    """It is refused in a sentence or was in a field that nobody reads: never a traceback, never a NaN in the people."""
    whole = files.coco_content() if name == "coco" else [files.mpii_entry(), files.mpii_entry("000000002.jpg")]
    write = {"coco": files.coco, "mpii": files.mpii_json}[name]
    options = {"split": "val2017", "masks": True} if name == "coco" else {"split": "valid", "source": "json"}
    write(tmp_path, whole)
    file = next(tmp_path.glob("ann*/*.json"))
    file = file if name == "coco" else file.with_name("valid.json")
    refused = 0
    for path, odd in damaged(whole):
        content = copy.deepcopy(whole)
        target = content
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = odd
        files.write(file, content)
        try:
            for scene in datasets.read(name, tmp_path, **options):
                assert all(torch.isfinite(person.joints).all() for person in scene.people), (path, odd)
                assert all(torch.isfinite(person.box).all() for person in scene.people), (path, odd)
        except CourseError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


ODD_IN_MATLAB = (
    np.zeros((0, 0)),
    "x",
    -1.0,
    math.nan,
    math.inf,
    1e300,
    1 + 1j,
    np.ones((2, 2)),
    np.ones((2, 29), dtype=complex),
    {"a": 1.0},
    np.array([["a", 2.0]], dtype=object),
)


def odd_matlab_files(folder):
    """Writes data sets of MATLAB files, each with one field replaced by an odd value; yields which."""
    for odd in ODD_IN_MATLAB:
        for name, write, variable in (("lsp", files.lsp, "joints"), ("jhmdb", files.jhmdb, "part_mask")):
            write(folder)
            puppet = folder / "puppet_mask" / "catch" / "a_ball" / "puppet_mask.mat"
            scipy.io.savemat(folder / "joints.mat" if name == "lsp" else puppet, {variable: odd})
            yield name, variable, odd
        for variable in ("pos_img", "scale", "viewpoint"):
            files.jhmdb(folder)
            files.jhmdb_clip(folder, "catch", "a_ball", 3, **{variable: odd})
            yield "jhmdb", variable, odd
        for variable in files.flic_example(1, True):
            files.flic(folder, [files.flic_example(1, True, **{variable: odd}), files.flic_example(2, True)])
            yield "flic", variable, odd
        for variable in files.mpii_person():
            files.mpii(folder, [[files.mpii_person(**{variable: odd})], []])
            yield "mpii", variable, odd
        for variable in ("x", "y", "id", "is_visible"):
            files.mpii(folder, [[files.mpii_person([{**files.mpii_point(3, 1.0, 1.0, 1.0), variable: odd}])], []])
            yield "mpii", f"point.{variable}", odd
        for variable in ("annolist", "img_train", "single_person", "act"):
            files.mpii(folder, **{variable: odd})
            yield "mpii", variable, odd


def test_no_odd_value_in_a_matlab_file_gets_past_or_breaks_anything(tmp_path):
    refused = read = 0
    for name, variable, odd in odd_matlab_files(tmp_path):
        try:
            records = datasets.read(name, tmp_path, "train")
        except CourseError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        except Exception as error:
            pytest.fail(f"{name}, {variable} = {odd!r}: {error!r}")
        read += 1
        for entry in records.entries:
            for person in entry.people:
                assert torch.isfinite(person.joints).all() and torch.isfinite(person.box).all(), (name, variable, odd)
    assert refused > 100 and read > 30
