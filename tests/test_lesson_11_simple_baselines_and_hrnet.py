"""What lesson 11 counts, measures and stores: operations, enlarging, mirrored peaks, streams, slides, the study."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from course_lib import models, skeletons
from course_lib.datasets import synthetic
from course_lib.lessons import lesson_11_ablation as study
from course_lib.lessons import lesson_11_figures as figures
from course_lib.lessons import lesson_11_pictures as pictures
from course_lib.lessons import lesson_11_published as published
from course_lib.lessons import lesson_11_simple_baselines_and_hrnet as tools
from course_lib.lessons import studies
from course_lib.lessons.lesson_06_stacked_hourglass import Answers
from course_lib.models.base import HeatmapModel
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.pose import Person, Pose
from course_lib.show.cards import standing
from course_lib.targets import heatmaps

LSP = skeletons.get("lsp")
TINY = {"width": 4, "stem": 4, "blocks": 1, "modules": (1, 1, 2), "input_size": (64, 64)}


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = models.create("hrnet_course", **TINY)
    for layer in model.modules():  # so that streams and norms say something
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    nn.init.normal_(model.final_layer.weight, std=0.5)
    return model.eval()


@pytest.fixture
def scenes():
    return synthetic.single_scenes(3, "lesson 11 tests", (64, 64))


# --- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options, size, giga, printed",
    [
        ("pose_resnet", {}, (256, 192), 5.426, 8.991),
        ("pose_resnet", {"depth": 101}, (256, 192), 9.063, 12.378),
        ("pose_resnet", {"depth": 152}, (256, 192), 12.699, 15.765),
        ("pose_resnet", {}, (384, 288), 12.209, 20.230),
        ("pose_resnet", {"depth": 152}, (384, 288), 28.573, 35.470),
        ("hrnet", {}, (256, 192), 7.645, 7.120),
        ("hrnet", {"width": 48}, (384, 288), 35.307, 32.882),
    ],
)
def test_both_counters_find_the_sheets_numbers(name, options, size, giga, printed):
    true, binary, theirs = tools.counts(tools.on_paper(name, **options), size)
    assert round(true, 3) == giga and round(theirs, 3) == printed
    assert binary == pytest.approx(true * 1e9 / 2**30)


def test_the_true_count_is_torchs_and_differs_from_theirs_by_transposed_convolutions_alone():
    model = models.create("pose_resnet_course", depth=18, width=8, deconv_width=8)
    layers = tools.convolutions(model.eval())
    assert sum(one.true for one in layers) / 1e9 == pytest.approx(giga_multiply_adds(model))
    for one in layers:
        assert one.as_published == one.true * (4 if one.transposed else 1)
    assert sum(one.transposed for one in layers) == 3
    assert not list(model.conv1._forward_hooks)


# --- enlarging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel, inside", [(2, {1}), (3, {1, 2, 4}), (4, {4})])
def test_overlaps_are_even_but_for_kernels_of_three(kernel, inside):
    counted = tools.overlaps(kernel, 6)
    assert counted.shape == (12, 12)
    assert {int(value) for value in counted[4:8, 4:8].unique()} == inside
    uneven = tools.unevenness(kernel)
    assert uneven.shape == (8, 8) and float(uneven.mean()) == pytest.approx(1)
    assert (float(uneven.max() - uneven.min()) > 0.5) is (kernel == 3)


def test_random_weights_are_as_uneven_as_is_told():
    uneven, generator = tools.unevenness(3, times=2), torch.Generator().manual_seed(0)
    draws = 4000
    maps = torch.ones(1, draws, 5, 5)
    for _ in range(2):
        weight = torch.randn(draws, 1, 3, 3, generator=generator)
        maps = nn.functional.conv_transpose2d(maps, weight, None, 2, 1, 1, groups=draws)
    size = maps[0, :, 8:12, 8:12].square().mean(0).sqrt()
    assert torch.allclose(size / size.mean(), uneven, atol=0.08)


class Follower(HeatmapModel):
    """Finds the one red pixel, and errs by the column of the picture it is in, modulo 4."""

    def __init__(self, error: float) -> None:
        super().__init__("lsp", (32, 64), 1, 1.0, "argmax")
        self.error = nn.Parameter(torch.tensor(error))

    def forward(self, images):
        return images[None, :, :1].expand(-1, -1, len(LSP), -1, -1)

    def decode(self, outputs, stage=-1, read_out=None):
        found, score = heatmaps.read_out(outputs[stage], "argmax")
        wrong = self.error.detach() * (found[..., 0] % 4)
        return [
            [Pose(torch.stack([a[:, 0] + w, a[:, 1]], -1), s, LSP)] for a, s, w in zip(found, score, wrong, strict=True)
        ]


def sliding_picture():
    image = torch.zeros(1, 3, 32, 64)
    image[0, 0, 10, 30] = 1.0
    joints = torch.tensor([30.5, 10.5]).expand(1, len(LSP), 2).clone()
    joints[0, LSP.index("left_shoulder")] = torch.tensor([60.0, 20.0])  # a torso, and a joint that leaves the picture
    return image, joints, torch.full((1, len(LSP)), 2)


def test_a_faithful_network_does_not_wander_and_a_crooked_one_does():
    for error, spread in ((0.0, 0.0), (0.2, 0.22)):
        off, followed = tools.shifted(Follower(error), *sliding_picture())
        assert off.shape == (32, 1, 14) and followed.shape == (1, 14)
        assert not followed[0, LSP.index("left_shoulder")] and bool(followed[0, 0])
        assert float(off[:, 0, 0].std(correction=0)) == pytest.approx(spread, abs=0.02)
        assert off.mean(0).abs().max() < 1e-4


# --- the mirrored picture ---------------------------------------------------------------------------------------------


def test_mirrored_peaks_are_off_by_three_quarters_and_a_quarter_in_the_authors_alignment():
    x = torch.linspace(40, 150, 23)
    off = tools.mirrored_peaks("authors' code: index / 4", x)
    for name, cells in (("original", 0), ("mirrored back", -0.75), ("and moved by one cell", 0.25)):
        assert torch.allclose(off[name], torch.full_like(x, cells), atol=1e-3), name
    for alignment in ("UDP: index x (w - 1) / (W - 1)", "here: corners on corners"):
        assert tools.mirrored_peaks(alignment, x)["mirrored back"].abs().max() < 1e-3


def test_the_courses_own_flip_needs_no_move(network, scenes):
    answers = Answers.of(network, scenes)
    tests = tools.flip_tests(answers)
    assert torch.allclose(tests["mean of both"], network.flip_average(answers.maps, answers.mirrored))
    assert next(iter(tests)) == "no flip test" and tests["no flip test"] is answers.maps
    assert not torch.allclose(tests["mean of both"], tests["mean, the mirrored one moved by one cell"])


def test_grades_and_curves_agree(network, scenes):
    answers = Answers.of(network, scenes)
    curve = tools.curve(answers, torch.tensor([0.05, 0.1, 0.2]))
    graded = tools.graded(answers)
    assert [graded[f"PCK@{alpha}"] for alpha in (0.05, 0.1, 0.2)] == pytest.approx(curve.tolist())
    assert tools.torso_in_cells(answers) > 1


# --- streams ----------------------------------------------------------------------------------------------------------


def test_the_last_sum_is_the_network_and_silence_changes_it(network, scenes):
    answers = Answers.of(network, scenes)
    last = tools.LastFusion.of(network, answers.images)
    assert torch.allclose(last.maps(), answers.maps, atol=1e-5)
    assert [tuple(stream.shape[1:]) for stream in last.streams] == [(4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]
    for silent in range(4):
        for by_mean in (False, True):
            assert not torch.allclose(last.maps((silent,), by_mean), answers.maps, atol=1e-4)
    shares = last.shares(0, 3)
    assert len(shares) == 4 and all(share.shape == (16, 16) and abs(float(share.mean())) < 1e-5 for share in shares)


def test_the_finest_stream_can_be_made_hard_of_hearing_and_hears_again(network, scenes):
    images = Answers.of(network, scenes).images
    before = tools.hard_of_hearing(network, images, 0)
    less = [tools.hard_of_hearing(network, images, n) for n in range(1, 5)]
    assert all(not torch.allclose(before, maps, atol=1e-5) for maps in less)
    with torch.inference_mode():
        assert torch.allclose(network(images), before, atol=1e-5)
    other = images.clone()
    other[1:] = images[1:].roll(16, -1)
    changed = tools.hard_of_hearing(network, other, 0)
    assert torch.allclose(changed[:, :1], before[:, :1], atol=1e-5)


def test_paths_are_read_off_the_network():
    table = tools.paths_of(tools.on_paper("hrnet"))
    assert table[0][0] == ([], 0)
    assert table[0][2] == (["1x1  128 → 32", "nearest, x4"], 128 * 32 + 64)
    assert table[2][0][0] == ["3x3 /2  32 → 32, ReLU", "3x3 /2  32 → 128"]
    assert table[3][1][1] == 9 * 64 * 64 + 128 + 9 * 64 * 256 + 512
    assert len(tools.paths_of(tools.on_paper("hrnet"), "stage4.2")) == 1


# --- reading out, and wrong poses -------------------------------------------------------------------------------------


def test_read_outs_lose_as_many_cells_everywhere_and_dark_none():
    rows = tools.read_out_bench()
    cells = [value * height / 4000 for value, (height, _) in zip(rows["argmax"], tools.INPUTS, strict=True)]
    assert cells == pytest.approx([0.383] * 4, abs=0.02)
    assert max(rows["DARK"]) < 0.01 and rows["quarter offset"][0] == pytest.approx(rows["argmax"][0] / 2, rel=0.05)
    rounded = tools.read_out_bench(encoder="rounded")
    assert rounded["DARK"] == pytest.approx(rounded["argmax"], rel=1e-3)


def test_overlong_limbs_and_doubled_joints_are_found():
    figure = torch.tensor([standing(LSP)[name] for name in LSP.joints]) * 60 + torch.tensor([32.0, 2.0])
    visible = torch.full((14,), 2)
    visible[LSP.index("left_ankle")] = 1
    people = [Person(figure, visible, LSP) for _ in range(3)]
    answers = type("Truth", (), {"people": people, "model": type("Model", (), {"skeleton": LSP})})
    poses = [Pose(figure.clone(), torch.ones(14), LSP) for _ in range(3)]
    poses[1].joints[LSP.index("left_ankle")] += 40.0
    poses[2].joints[LSP.index("left_ankle")] = figure[LSP.index("right_ankle")]
    overlong, known, hidden = tools.stretched(poses, answers)
    assert not overlong[0].any() and bool(overlong[1].any()) and bool(known.all())
    assert hidden.sum() == 3 and bool(overlong[1][hidden[1]].all())
    apart = float((figure[LSP.index("left_ankle")] - figure[LSP.index("right_ankle")]).norm())
    torso = float((figure[LSP.index("left_shoulder")] - figure[LSP.index("right_hip")]).norm())
    twice, asked = tools.doubled(poses, answers)
    assert twice.sum().item() == int(apart > 0.4 * torso) and bool((asked | ~twice).all())


# --- the study --------------------------------------------------------------------------------------------------------


def test_arms_cost_about_the_same_and_baselines_that_are_enlarged_less_have_smaller_maps():
    sizes = {arm: (giga_multiply_adds(study.build(arm)), study.build(arm).stride) for arm in study.ARMS}
    assert all(0.008 < giga < 0.016 for giga, _ in sizes.values())
    assert sizes["baseline"][0] == pytest.approx(sizes["hrnet"][0], rel=0.1)
    assert [stride for _, stride in sizes.values()] == [8 if arm == "two deconvolutions" else 4 for arm in sizes]
    assert set(study.TITLES) == set(study.ARMS)
    assert all({one, other} <= set(study.ARMS) for one, other in study.PAIRS.values())
    fused = {arm: sum(bool(getattr(m, "fuse_layers", ())) for m in study.build(arm).modules()) for arm in study.ARMS}
    assert [fused[arm] for arm in ("hrnet", "stages", "last", "v2", "baseline")] == [5, 3, 1, 5, 0]


def test_a_linear_read_out_finds_what_is_linearly_there():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 6, 5, 5, generator=generator)
    weights = torch.randn(3, 6, generator=generator)
    target = torch.einsum("kc,nchw->nkhw", weights, features) + 0.5
    found = study.linear_read_out(features, target)
    assert found.shape == (7, 3)
    assert torch.allclose(found[:-1].T.float(), weights, atol=0.02) and torch.allclose(
        found[-1].float(), torch.tensor(0.5), atol=0.02
    )
    assert torch.allclose(study._apply(found, features), target, atol=0.05)


def test_four_streams_are_those_of_the_last_moment_that_has_them(network):
    streams = study.four_streams(network, torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert [tuple(stream.shape) for stream in streams] == [(2, 4, 16, 16), (2, 8, 8, 8), (2, 16, 4, 4), (2, 32, 2, 2)]


def test_a_study_goes_on_where_it_was(tmp_path, monkeypatch):
    file, asked = tmp_path / "study.json", []

    def run(arm, seed, _batches, _scenes):
        asked.append((arm, seed))
        return {"arm": arm, "seed": seed, "dark": {"pck@0.2": 0.1 * seed}}

    for name, value in {
        **{"FILE": file, "save": partial(studies.save, file), "load": partial(studies.load, file), "run": run},
        **{"held_out": list, "pictures": lambda _seed: [], "short_run": lambda: {"losses": []}},
    }.items():
        monkeypatch.setattr(study, name, value)
    study.main(["--arms", "last", "hrnet", "--seeds", "1"])
    study.main(["--arms", "hrnet", "--seeds", "0", "1"])
    assert asked == [("last", 1), ("hrnet", 1), ("hrnet", 0)]
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert [(one["arm"], one["seed"]) for one in stored["runs"]] == [("hrnet", 0), ("hrnet", 1), ("last", 1)]
    assert study.finals(stored, "hrnet") == [0.0, 0.1]
    with pytest.raises(SystemExit):
        study.main(["--arms", "lost"])


def test_the_stored_study_has_every_run_and_belongs_to_these_arms():
    stored = study.load()
    assert {(one["arm"], one["seed"]) for one in stored["runs"]} == {(a, s) for a in study.ARMS for s in study.SEEDS}
    assert {arm: options for arm, options in stored["arms"].items()} == json.loads(
        json.dumps({arm: {"model": name, **options} for arm, (name, options) in study.ARMS.items()})
    )
    assert stored["steps"] == study.STEPS and stored["held_out"] == study.HELD_OUT
    assert len(study.summary(stored)) == len(study.ARMS) and len(study.pairs(stored)) == len(study.PAIRS)
    assert [len(levels) for levels in study.streams(stored)] == [4, 4, 4]
    for one in stored["runs"]:
        assert 0 <= one["dark"]["pck@0.05"] <= one["dark"]["pck@0.1"] <= one["dark"]["pck@0.2"] <= 1


# --- figures ----------------------------------------------------------------------------------------------------------


def test_published_rows_are_whole_and_printed_as_the_papers_do():
    rows = {(row["network"], row["crop"]): row for row in published.VALIDATION}
    assert len(rows) == len(published.VALIDATION)
    assert rows["ResNet-50", "256 x 192"]["AP"] == 70.4 and rows["HRNet-W48", "384 x 288"]["AP"] == 76.3
    for row in rows.values():
        assert row["AP50"] is None or row["AP75"] < row["AP"] + 10 < row["AP50"] < 100


def test_every_figure_draws(network, scenes):
    answers = Answers.of(network, scenes)
    plain = models.create("pose_resnet_course", width=8, deconv_width=8, input_size=(64, 64)).eval()
    flow = pictures.Flow.of(network, answers.images)
    assert flow.names[0] == "stem" and len(flow.names) == 6
    rows = {"mean pose": [None, 0.1, 0.1], "03 a": [0.1, 0.5, 0.4], "11 b": [0.1, 0.5, 0.4], "12 c": [2.0, 0.6, 0.5]}
    last = tools.LastFusion.of(network, answers.images)
    history = {"loss": [1.0] * 20, "validation": [{"step": 10, "pck@0.2": 0.1}, {"step": 20, "pck@0.2": 0.2}]}
    drawn = [
        figures.draw_resolutions(scenes[0], (64, 8)),
        figures.draw_thresholds({"a": torch.tensor([0.0, 0.5])}, torch.tensor([0.0, 0.3]), {"usual": 0.2}),
        figures.draw_two_ways(tools.on_paper("pose_resnet"), tools.on_paper("hrnet")),
        figures.draw_exchange(network),
        figures.draw_overlaps((2, 3)),
        figures.draw_mirrored(70.0),
        figures.draw_newton(7.3),
        figures.draw_read_outs({"a": {"argmax": [1, 2, 3, 4]}, "b": {"argmax": [1, 2, 3, 4]}}),
        figures.draw_costs(rows, ("multiply-adds, G", "drawn PCK@0.2", "photo PCK@0.2")),
        figures.draw_wandering({"a": torch.randn(32, 5), "b": torch.randn(32, 5)}, 2),
        figures.draw_streams([[0.5, 0.4, 0.2, 0.1]], [0.6], [74.4, 68.9, 55.0, 10.0]),
        figures.draw_study(study.load(), {"one": ["hrnet", "v2"], "other": ["baseline"]}, study.TITLES),
        pictures.draw_live(history, "pck@0.2", {"mean pose": 0.1}),
        pictures.draw_moment(flow, 0, 0),
        pictures.draw_moment(flow, 0, 4),
        pictures.draw_both(plain, network, answers.images[0]),
        pictures.draw_terms(last, answers, 0, "right knee"),
        pictures.draw_wrong(answers, answers.poses(), pictures.most_wrong(answers, answers.poses(), 2)),
    ]
    assert all(figure.axes for figure in drawn) and parameters(plain) > 0
    plt.close("all")


def test_scenes_are_chosen_by_code(network, scenes):
    answers = Answers.of(network, scenes)
    assert tools.clearest(scenes) in range(3) and len(set(tools.best_answered(answers, 2))) == 2
    off = {"a": torch.tensor([[0.0, 0.0, 0.0], [1.0, 4.0, 9.0]]), "b": torch.tensor([[0.0, 0.0, 0.0], [2.0, 3.0, 9.0]])}
    assert tools.typical(off) == 1
    rows = pictures.implausible(answers, answers.poses())
    assert len(rows) == 3 and "left and right on one place" in rows


def test_a_wandering_is_split_into_what_repeats_and_the_rest():
    steps = torch.arange(32)
    off = torch.stack([(steps % 4).float(), (steps // 16).float()], -1)
    repeats, rest = tools.split(off - off.mean(0))
    assert repeats.tolist() == pytest.approx([1.25**0.5, 0.0]) and rest.tolist() == pytest.approx([0.0, 0.5])
