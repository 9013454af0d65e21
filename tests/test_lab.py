"""The pose lab without a browser: every control from Python, every system's inside, uploads, and the metrics."""

import datetime
import io
import math
from dataclasses import replace

import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from course_lib import lab, models, show
from course_lib.errors import CourseError
from course_lib.lab import figure as figures
from course_lib.lab import insides, pictures, readings, systems
from course_lib.pose import Found, Person, Pose
from course_lib.skeletons import get

LSP = get("lsp")
SYSTEMS = systems.systems()


@pytest.fixture(autouse=True)
def _closed():
    yield
    assert not plt.get_fignums(), "a figure was left open"


@pytest.fixture(scope="module", autouse=True)
def _style():
    show.use_style()


@pytest.fixture(scope="module")
def one():
    return pictures.subject(pictures.ONE, 0)


@pytest.fixture(scope="module")
def crowd():
    return pictures.subject(pictures.CROWD, 0)


def content(picture: Image.Image, kind: str = "png", **options) -> bytes:
    raw = io.BytesIO()
    picture.save(raw, kind, **options)
    return raw.getvalue()


def upload(made: lab.PoseLab, name: str, data: bytes) -> None:
    """What the page does when a file is chosen."""
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    file = {"name": name, "type": "", "size": len(data), "content": memoryview(data), "last_modified": when}
    made.controls["upload"].value = (file,)


# --- the systems ------------------------------------------------------------------------------------------------------


def test_every_system_of_the_lessons_is_offered():
    from course_lib.lessons import crowd_line, line

    assert list(SYSTEMS) == sorted(SYSTEMS)
    assert set(SYSTEMS.values()) == {one.weights for one in (*line.SYSTEMS, *crowd_line.SYSTEMS)}


@pytest.mark.parametrize("weights", SYSTEMS.values())
def test_every_inside_draws(weights, one):
    answer = systems.ask(weights, one, one.asked[0])
    assert answer.poses and answer.looks and systems.loaded(weights) is answer.model
    views = insides.insides(answer.model)
    assert len(views) > 1 and insides.has_inside(answer.model)
    pose = answer.poses[0]
    look = answer.look_at(pose)
    glimpse = insides.Glimpse(answer, look, systems.in_crop(pose, look))
    for view in views:
        figure, axes = plt.subplots(1, len(view.stages(glimpse)), squeeze=False)
        for stage, ax in enumerate(axes[0]):
            view.draw(ax, glimpse, stage, LSP.index("left_knee"))
            assert ax.images and ax.get_title()
        plt.close(figure)


def test_a_model_without_an_inside_says_so(one):
    class Strange(models.base.PoseModel):
        pass

    assert insides.insides(Strange(LSP, (8, 8))) == (insides.SHOWN,)
    answer = systems.ask("hourglass_course", one, one.asked[0])
    answer.model = Strange(LSP, (96, 96))
    panel = figures.Panel("strange", answer, insides.SHOWN, 0, 0, 0)
    figure = figures.draw(one, [panel], pictures.WHOLE)
    labels = [ax.get_xlabel() for part in figure.subfigs for ax in part.axes]
    plt.close(figure)
    assert "this model has no inside to show" in labels


def test_the_answers_are_those_of_estimate(one, crowd, monkeypatch):
    for weights in ("hourglass_course", "deeppose_course"):
        model = models.load(weights)
        answer = systems.ask(weights, one, pictures.WHOLE)
        assert torch.equal(answer.poses[0].joints, model.estimate(one.scene.image)[0][0].joints)
        told = systems.ask(weights, crowd, pictures.TOLD)
        assert len(told.poses) == len(told.looks) == len(crowd.boxes)
        assert torch.equal(told.poses[1].joints, model.estimate(crowd.scene.image, crowd.boxes)[0][1].joints)
        assert torch.equal(told.look_at(told.poses[1]).crop, told.looks[1].crop)
    monkeypatch.setattr(pictures, "SURE", 0.0)
    for weights in ("grmi_course", "paf_course"):
        answer = systems.ask(weights, crowd, pictures.DETECTED)
        [own] = models.load(weights).estimate([crowd.scene.image])
        assert [pose.score for pose in answer.poses] == [pose.score for pose in own]


def test_scores_below_zero_are_drawn(crowd):
    answer = systems.ask("hourglass_course", crowd, pictures.TOLD)
    answer.poses = [replace(pose, score=number - 1.0) for number, pose in enumerate(answer.poses)]  # -1, 0, 1, ...
    panel = figures.Panel("", answer, insides.SHOWN, 0, 0, 0)
    for poses in (answer.poses, answer.poses[:2], []):
        answer.poses = poses
        figure = figures.draw(crowd, [panel], pictures.TOLD)
        sizes = [bar.get_width() for ax in figure.axes for bars in ax.containers for bar in bars]
        assert sizes and all(math.isfinite(size) for size in sizes)
        plt.close(figure)


def test_doubtful_boxes_are_left_out_but_for_the_surest(one):
    class Unsure:
        def __init__(self, *scores):
            self.scores = torch.tensor(scores)

        def detect(self, images):
            boxes = torch.tensor([[10.0 * n, 0, 10.0 * n + 9, 50] for n in range(len(self.scores))]).reshape(-1, 4)
            return [Found(boxes, self.scores)]

    kept = [pictures.found_by(Unsure(*some), one).scores.tolist() for some in ((0.9, 0.5, 0.1), (0.125, 0.0625), ())]
    assert [len(scores) for scores in kept] == [2, 1, 0] and kept[1] == [0.125]


def test_who_was_found_by_hand(one):
    """Three people on a line, two estimates; the second person is nobody's."""
    joints = torch.rand(14, 2, generator=torch.Generator().manual_seed(0)) * 20
    people = [Person(joints + 100 * n, torch.full((14,), 2), LSP, area=400.0) for n in range(3)]
    scene = one.scene.__class__(one.scene.image, people)
    subject = pictures.Subject("three", scene, True, (pictures.WHOLE,))
    poses = [Pose(joints + 200, torch.ones(14), LSP), Pose(joints, torch.ones(14), LSP)]
    answer = systems.Answer(systems.loaded("hourglass_course"), poses, [])
    found = systems.judged(answer, subject)
    assert found.pairs == {0: 1, 2: 0} and found.oks == [1.0, 0.0, 1.0] and found.found == 2


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_uploads_of_every_kind_are_taken():
    colours = Image.new("RGB", (60, 40), (200, 10, 10))
    clear = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    made = {
        "grey": (content(Image.new("L", (60, 40), 90)), (40, 60)),
        "palette": (content(colours.convert("P")), (40, 60)),
        "clear": (content(clear), (40, 60)),
        "wide grey": (content(Image.new("I;16", (60, 40), 30000)), (40, 60)),
        "turned": (content(colours, "jpeg", exif=exif), (60, 40)),
        "huge": (content(Image.new("RGB", (4000, 1000), 0), "jpeg"), (160, 640)),
        "huge and turned": (content(Image.new("L", (4000, 1000), 0), "jpeg", exif=exif), (640, 160)),
        "huge palette": (content(Image.new("P", (1280, 640))), (320, 640)),
        "huge wide grey": (content(Image.new("I;16", (1280, 640), 9)), (320, 640)),
    }
    for name, (data, size) in made.items():
        subject = pictures.uploaded(name, data)
        assert tuple(subject.scene.image.shape) == (3, *size), name
        assert subject.asked == (pictures.DETECTED, pictures.WHOLE) and not subject.people
    assert bool((pictures.uploaded("clear", made["clear"][0]).scene.image == 1).all())


BROKEN = {
    "nothing": (b"", "'nothing' is empty"),
    "words": (b"this is no picture", "'words' is not a picture of a known format"),
    "cut": (content(Image.effect_noise((200, 200), 90))[:3000], "picture 'cut' cannot be read"),
    "speck": (content(Image.new("L", (9, 9))), "'speck' is only 9 x 9 pixels"),
}


def test_a_broken_upload_is_one_sentence_and_the_lab_goes_on():
    made = lab.pose_lab(system="04 Convolutional pose machine")
    for name, (data, says) in BROKEN.items():
        upload(made, name, data)
        assert says in made.message.value.replace("&#x27;", "'") and "Not drawn" in made.message.value
        assert made.values["picture"] == pictures.ONE
    made.controls["joint"].value = "head top"
    assert made.message.value == "" and made.picture.value


def test_too_large_an_upload_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    with pytest.raises(CourseError, match="MB are the most"):
        pictures.uploaded("much", b"x" * 11)
    monkeypatch.setattr(pictures, "MOST_BYTES", 10**9)
    with pytest.raises(CourseError, match=r"has 144 million pixels; 100 million are the most"):
        pictures.uploaded("vast", content(Image.new("1", (12000, 12000))))


def test_damage_moves_the_truth_along(one):
    assert pictures.damaged(one, {}).scene is one.scene
    turned = pictures.damaged(one, {"rotation": 5})  # by 180 degrees
    middle = torch.tensor([64.0, 64.0])
    known = turned.people[0].visible > 0
    assert torch.allclose(turned.people[0].joints[known], (2 * middle - one.people[0].joints)[known], atol=1e-3)
    covered = pictures.damaged(one, {"occluder": 5, "blur": 2, "noise": 1})
    assert (covered.people[0].visible == 2).sum() <= (one.people[0].visible == 2).sum()
    assert not torch.equal(covered.scene.image, one.scene.image)
    alone = pictures.uploaded("grey", content(Image.new("L", (60, 40), 90)))
    assert torch.equal(pictures.damaged(alone, {"occluder": 3}).scene.image, alone.scene.image)


def test_unknown_names_are_told():
    with pytest.raises(CourseError, match="06 Stacked hourglass"):
        lab.pose_lab(system="06 Stacked hourglas")
    with pytest.raises(CourseError, match="a drawn crowd"):
        lab.pose_lab(picture="a drawn crow")
    with pytest.raises(CourseError, match="from 0 to 49; got 50"):
        lab.pose_lab(number=50)


# --- the widget -------------------------------------------------------------------------------------------------------


def test_every_control_changes_the_picture():
    made = lab.pose_lab(damage=True)
    assert lab.pose_lab(damage=True).first == made.first and len(made.first) < 110_000
    assert made.picture.layout.display == "none"
    changes = {"stage": 1, "joint": "left knee", "number": 1, "inside": "what it was shown", "blur": 3}
    changes |= {"where": pictures.DETECTED, "second": "02 DeepPose", "picture": pictures.CROWD, "person": 2}
    seen = [made.first]
    for name, value in changes.items():
        made.controls[name].value = value
        assert made.message.value == "" and made.picture.value not in seen, name
        seen.append(made.picture.value)
    assert made.picture.layout.display is None
    assert made.values["where"] == pictures.TOLD, "a new picture begins with its usual boxes"


def test_controls_offer_what_there_is():
    made = lab.pose_lab(system="05 Iterative error feedback")
    assert made.controls["stage"].max == 5 and made.values["stage"] == 5
    assert made.controls["inside"].options == ("steps of all joints", "what it was shown")
    assert made.controls["person"].disabled and not made.controls["where"].disabled
    made.controls["system"].value = "07 Part affinity fields"
    assert made.values["stage"] == 3 and made.controls["where"].disabled
    assert made.controls["second_inside"].layout.display == "none"
    made.controls["second"].value = "02 DeepPose"
    assert made.controls["second_inside"].options[0] == "boxes of the cascade"
    assert made.controls["second_inside"].layout.display is None and not made.controls["where"].disabled
    made.controls["picture"].value = pictures.ASTRONAUT
    assert made.controls["number"].disabled and made.controls["where"].options[0] == pictures.TOLD


def test_a_system_is_asked_once_about_a_picture(monkeypatch):
    asked = []
    own = systems.ask
    monkeypatch.setattr(systems, "ask", lambda *one: asked.append(one[0]) or own(*one))
    made = lab.pose_lab()
    made.controls["stage"].value = 1
    made.controls["joint"].value = "neck"
    made.controls["second"].value = "02 DeepPose"
    assert asked == ["hourglass_course", "deeppose_course"]
    made.controls["number"].value = 1
    made.controls["number"].value = 0
    assert asked == ["hourglass_course", "deeppose_course"] * 2


def test_ones_own_picture_and_nobody_on_it():
    made = lab.pose_lab()
    upload(made, "grey.png", content(Image.new("L", (300, 200), 90)))
    assert made.values["picture"] == pictures.OWN and made.values["where"] == pictures.DETECTED
    assert made.message.value == "" and made.controls["upload"].value == ()
    empty = made.picture.value
    made.controls["where"].value = pictures.WHOLE
    assert made.picture.value != empty
    made.controls["system"].value = "07 Part affinity fields"  # who finds nobody without any box
    assert made.message.value == ""


def test_an_error_is_told_and_then_forgotten(monkeypatch):
    made = lab.pose_lab()
    made.controls["stage"].value = 1
    good = made.picture.value

    def fail(*one):
        raise RuntimeError("out of <memory>")

    with monkeypatch.context() as broken:
        broken.setattr(systems, "ask", fail)
        made.controls["number"].value = 7
    assert "RuntimeError: out of &lt;memory&gt;" in made.message.value and made.picture.value == good
    made.controls["number"].value = 8
    assert made.message.value == "" and made.picture.value != good


# --- joints that can be dragged ---------------------------------------------------------------------------------------


def square_person() -> Person:
    """The torso's diagonals are 50 pixels, the head's size 0.6 x 50 = 30, the area 2500 = 50 x 50."""
    places = {
        "head_top": (20, 0),
        "neck": (20, 20),
        "right_shoulder": (0, 20),
        "left_shoulder": (40, 20),
        "right_elbow": (0, 40),
        "left_elbow": (40, 40),
        "right_wrist": (0, 60),
        "left_wrist": (40, 60),
        "right_hip": (10, 60),
        "left_hip": (30, 60),
        "right_knee": (10, 80),
        "left_knee": (30, 80),
        "right_ankle": (10, 100),
        "left_ankle": (30, 100),
    }
    joints = torch.tensor([places[name] for name in LSP.joints], dtype=torch.float32)
    head = torch.tensor([0.0, 0.0, 30.0, 40.0])
    return Person(joints, torch.full((14,), 2), LSP, area=2500.0, head_box=head)


def test_the_metrics_of_a_dragged_joint_by_hand():
    person = square_person()
    wrist = LSP.index("right_wrist")
    joints = person.joints.clone()
    joints[wrist] += torch.tensor([6.0, 8.0])  # 10 pixels
    told = readings.read(person, joints, wrist)
    rows = {row.name: row for row in told.joint}
    assert rows["distance"].value == "10.0 px"
    assert rows["PCK@0.2"] == ("PCK@0.2", "0.20 torsos", True)  # 10 / 50 exactly: a tie is right
    assert rows["PCKh@0.5"] == ("PCKh@0.5", "0.33 heads", True)
    ks = math.exp(-(10**2) / (2 * 2500 * (2 * 0.062) ** 2))  # 0.272
    assert rows["ks, its part of OKS"].value == f"{ks:.2f}" == "0.27"
    assert rows["PCP, right forearm"] == ("PCP, right forearm", "0.00 and 0.50 lengths", True)  # 10 of 20
    assert rows["kind of error"].value == "miss"
    whole = {row.name: row.value for row in told.person}
    assert whole["PCK@0.2"] == "14 of 14" and whole["PCP, strict"] == "10 of 10"
    assert whole["OKS"] == f"{(13 + ks) / 14:.3f}"

    joints[wrist] += torch.tensor([0.6, 0.8])  # a pixel more is too much
    rows = {row.name: row for row in readings.read(person, joints, wrist).joint}
    assert rows["PCK@0.2"].right is False and rows["PCP, right forearm"].right is False
    joints[wrist] = person.joints[LSP.index("left_wrist")]
    assert readings.read(person, joints, wrist).joint[-1].value == "inversion"
    person.visible[wrist] = 0
    assert readings.read(person, joints, wrist).joint == (("not labelled", "no metric looks at it", None),)
    person.head_box = None
    assert not [row for row in readings.read(person, joints, 0).joint if "PCKh" in row.name]


def test_the_circles_are_the_tolerances():
    person = square_person()
    circles = {words.split(":")[0]: radius for words, _, radius in readings.circles(person, LSP.index("right_wrist"))}
    assert circles["PCK@0.2"] == 10.0 and circles["PCKh@0.5"] == 15.0
    assert circles["ks = 0.5"] == pytest.approx(50 * 2 * 0.062 * math.sqrt(2 * math.log(2)), abs=0.01)


def test_dragging_changes_the_report():
    made = lab.drag_lab()
    figure = made.figure
    assert lab.drag_lab().first == made.first and len(figure.picture) < 100_000
    before = figure.report
    told = made.move("right_wrist", 10, 10)
    assert figure.report != before and "right wrist" in figure.report and figure.answered == figure.asked == 1
    assert float(told.joint[0].value.split()[0]) > 30
    figure.joints, figure.asked = figure.truth, 2
    assert 'OKS</td><td class="number">1.000' in figure.report
    figure.joints, figure.asked = [[0.0]], 3
    assert "Not measured. CourseError: the joints to drag" in figure.report and figure.answered == 3
    figure.joints, figure.asked = figure.truth, 4
    assert "Not measured" not in figure.report


def test_without_anywidget_there_is_a_still_figure(monkeypatch):
    def missing():
        raise ImportError("No module named 'anywidget'")

    monkeypatch.setattr("course_lib.lab.dragging.drag_figure", missing)
    made = lab.drag_lab()
    assert made.figure is None and made.first == made.first and made.reading.joint[0].name == "distance"
    with pytest.raises(CourseError, match="install it by"):
        made.move("neck", 0, 0)


def test_bad_starts_are_refused():
    with pytest.raises(CourseError, match=r"finite and of shape \(14, 2\)"):
        lab.drag_lab(pose=Pose(torch.full((14, 2), torch.nan), torch.ones(14), LSP))
    with pytest.raises(CourseError, match="right_wrist"):
        lab.drag_lab(joint="right_wrst")
