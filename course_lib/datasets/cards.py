"""What there is to know about each public data set before it is opened. Lesson 00's tables are made of these cards.

Only figures found on the sets' pages, in their files or in their authors' code. What could not be confirmed says so,
and an address that nobody opened for this course is marked `opened=False`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """An archive that can be downloaded without asking."""

    name: str
    url: str
    opened: bool  # whether the address was seen on the set's own page; else it is as other people's code has it


@dataclass(frozen=True)
class Check:
    """A split that `data check` reads, and what should be in it."""

    split: str
    file: str  # pattern of the annotations; a split whose file is not there is left out
    options: tuple[tuple[str, object], ...] = ()
    published: tuple[tuple[str, int], ...] = ()  # pictures, clips, people, "labelled people": how many


@dataclass(frozen=True)
class Card:
    """A public data set in a few words."""

    name: str
    year: int
    pictures: str
    people: str
    joints: str
    company: str  # how many people are in a picture
    flag: str  # what its visibility flag says
    counts_from: str  # what its files call the middle of the first pixel
    score: str
    home: str
    key: str = ""  # its name in `datasets.read`; empty where the course has no loader
    sides: str = ""  # whose left and right
    box: str = ""  # what the loader takes for a person's box
    terms: str = ""
    splits: str = ""
    needs: tuple[str, ...] = ()  # files and folders below the set's folder, as the archives unpack
    marks: tuple[str, ...] = ()  # patterns one of which is there where the set is
    checks: tuple[Check, ...] = ()
    parts: tuple[Part, ...] = ()


OWN = "the person's own"

LSP = Card(
    key="lsp",
    name="LSP",
    year=2010,
    pictures="2,000",
    people="2,000",
    joints="14",
    company="one",
    flag="1 = hidden",
    counts_from="1, 1",
    score="PCP, PCK@0.2 (torso)",
    home="sam.johnson.io/research/lsp.html",
    sides=f"{OWN} (another annotation of the same pictures has the observer's)",
    box="of the joints",
    terms="research use; no formal licence found",
    splits="train (the first 1,000), test (the last 1,000), all",
    needs=("joints.mat", "images/im0001.jpg ..."),
    marks=("joints.mat",),
    checks=(
        Check("train", "joints.mat", published=(("pictures", 1000), ("people", 1000))),
        Check("test", "joints.mat", published=(("pictures", 1000), ("people", 1000))),
    ),
    parts=(Part("all", "http://sam.johnson.io/research/lsp_dataset.zip", opened=True),),
)
LSPET = Card(
    key="lspet",
    name="LSP-extended",
    year=2011,
    pictures="10,000",
    people="10,000",
    joints="14",
    company="one",
    flag="1 = visible",
    counts_from="1, 1",
    score="for training only",
    home="beside LSP",
    sides=f"{OWN}; labelled by crowd workers, with errors",
    box="of the joints",
    terms="research use; no formal licence found",
    splits="for training only; the course keeps im08001 to im08500 back: train, val, all",
    needs=("joints.mat", "images/im00001.jpg ... (or .tar files that hold them)"),
    marks=("joints.mat",),
    checks=(Check("all", "joints.mat", published=(("pictures", 10_000), ("people", 10_000))),),
    parts=(Part("all", "http://sam.johnson.io/research/lspet_dataset.zip", opened=False),),
)
FLIC = Card(
    key="flic",
    name="FLIC",
    year=2013,
    pictures="5,003",
    people="5,003",
    joints="10, upper body",
    company="one labelled",
    flag="none; NaN = unlabelled",
    counts_from="not stated",
    score="PCK, PDJ (torso)",
    home="bensapp.github.io/flic-dataset.html",
    sides=f"taken as {OWN} (a later annotation has the observer's)",
    box="of the joints; the torso's is in the scene's meta",
    terms="MIT-style",
    splits="train (3,987), test (1,016), all; FLIC-full too, but never to train on for FLIC's test",
    needs=("examples.mat", "images/..."),
    marks=("examples.mat",),
    checks=(
        Check("train", "examples.mat", published=(("pictures", 3987), ("people", 3987))),
        Check("test", "examples.mat", published=(("pictures", 1016), ("people", 1016))),
    ),
)
JHMDB = Card(
    key="jhmdb",
    name="J-HMDB",
    year=2013,
    pictures="928 clips",
    people="one a clip",
    joints="15",
    company="one",
    flag="none: all are given",
    counts_from="1, 1",
    score="PCK@0.2 (box or torso)",
    home="jhmdb.is.tue.mpg.de",
    sides=OWN,
    box="of the puppet's mask, or of the joints",
    terms="research licence",
    splits="three folds of train and test, all; sub-JHMDB's folds with sub=True",
    needs=(
        "joint_positions/ACTION/CLIP/joint_positions.mat",
        "Rename_Images/ACTION/CLIP/00001.png ...",
        "splits/ACTION_test_split1.txt ...",
        "puppet_mask/ACTION/CLIP/puppet_mask.mat (optional)",
    ),
    marks=("joint_positions",),
    checks=(
        Check("all", "joint_positions", published=(("clips", 928),)),
        *(Check("test", f"splits/*_test_split{fold}.txt", (("fold", fold),)) for fold in (1, 2, 3)),
    ),
)
MPII = Card(
    key="mpii",
    name="MPII",
    year=2014,
    pictures="24,984",
    people="over 40,000",
    joints="16",
    company="one to many",
    flag="1 = visible; unlabelled are absent",
    counts_from="1, 1",
    score="PCKh@0.5; AP for groups",
    home="human-pose.mpi-inf.mpg.de",
    sides=OWN,
    box="200 x scale around objpos, or of the joints",
    terms="annotations BSD; pictures for research only",
    splits="of the release: train; customary (source='json'): train, valid; test has no labels",
    needs=("mpii_human_pose_v1_u12_1.mat, or annot/train.json and annot/valid.json", "images/..."),
    marks=("mpii_human_pose_v1*.mat", "*/mpii_human_pose_v1*.mat", "annot/*.json", "train.json", "valid.json"),
    checks=(
        Check("train", "**/mpii_human_pose_v1*.mat", (("source", "mat"),)),
        Check("train", "**/train.json", (("source", "json"),), (("pictures", 14_679), ("people", 22_246))),
        Check("valid", "**/valid.json", (("source", "json"),), (("pictures", 2_729), ("people", 2_958))),
    ),
)
COCO = Card(
    key="coco",
    name="COCO keypoints",
    year=2016,
    pictures="over 200,000",
    people="250,000",
    joints="17",
    company="one to a dozen",
    flag="0 unlabelled, 1 hidden, 2 visible",
    counts_from="0, 0",
    score="OKS AP",
    home="cocodataset.org",
    sides=OWN,
    box="as given",
    terms="annotations CC BY 4.0 (not confirmed); each picture its own, in the file",
    splits="train2017, val2017, train2014, val2014",
    needs=("annotations/person_keypoints_val2017.json ...", "val2017/000000000139.jpg ..."),
    marks=("annotations/person_keypoints_*.json",),
    checks=(
        Check(
            "train2017",
            "annotations/person_keypoints_train2017.json",
            (("masks", True),),
            (("labelled people", 149_813),),
        ),
        Check(
            "val2017",
            "annotations/person_keypoints_val2017.json",
            (("masks", True),),
            (("pictures", 5000), ("labelled people", 6352)),
        ),
        Check("train2014", "annotations/person_keypoints_train2014.json", (("masks", True),)),
        Check("val2014", "annotations/person_keypoints_val2014.json", (("masks", True),)),
    ),
    parts=(
        Part("annotations", "http://images.cocodataset.org/annotations/annotations_trainval2017.zip", opened=False),
        Part("val2017", "http://images.cocodataset.org/zips/val2017.zip", opened=False),
        Part("train2017", "http://images.cocodataset.org/zips/train2017.zip", opened=False),
    ),
)
POSETRACK = Card(
    name="PoseTrack",
    year=2017,
    pictures="550 videos, 66,374 frames",
    people="153,615",
    joints="15",
    company="many",
    flag="by joint",
    counts_from="not stated",
    score="mAP, MOTA",
    home="posetrack.net",
)
CROWDPOSE = Card(
    name="CrowdPose",
    year=2019,
    pictures="20,000",
    people="not confirmed",
    joints="14",
    company="crowds",
    flag="0 unlabelled, 1 hidden, 2 visible",
    counts_from="0, 0",
    score="OKS AP, by crowding",
    home="github.com/Jeff-sjtu/CrowdPose",
)

ALL = (LSP, LSPET, FLIC, JHMDB, MPII, COCO, POSETRACK, CROWDPOSE)
