"""What lesson 03 computes besides showing it: best maps, gradients by part, windows, guesses from neighbours."""

import itertools

import pytest
import torch

from course_lib import models
from course_lib.datasets import synthetic
from course_lib.lessons import lesson_03_figures as figures
from course_lib.lessons import lesson_03_heatmaps as tools
from course_lib.lessons import lesson_03_study as study
from course_lib.lessons import lesson_03_wrists as wrists
from course_lib.targets import heatmaps


def test_mean_distance_from_the_centre_of_a_square():
    steps = (torch.arange(1000) + 0.5) / 1000 - 0.5
    assert float(torch.hypot(steps, steps[:, None]).mean()) == pytest.approx(tools.CENTRE_TO_POINT, abs=1e-4)


@pytest.mark.parametrize("chances", [(0.4, 0.35, 0.25), (0.6, 0.3, 0.1), (0.1, 0.1, 0.8)])
def test_no_other_map_costs_less_than_the_best_one(chances):
    chances, places = torch.tensor(chances), torch.tensor([2.5, 6.2, 9.5])
    targets = torch.stack([heatmaps.gaussian(torch.tensor([[x, 0.5]]), (1, 12), 1.0)[0, 0] for x in places.tolist()])
    shares = targets / targets.sum(1, keepdim=True)
    costs = {
        "squares (L2)": lambda row: ((row - targets) ** 2).mean(1),
        "absolute values (L1)": lambda row: (row - targets).abs().mean(1),
        "cross-entropy": lambda row: -(shares * (row / row.sum()).log()).sum(1),
    }
    best = tools.best_maps(chances, places, cells=12)
    assert best.keys() == costs.keys()
    generator = torch.Generator().manual_seed(0)
    for name, row in best.items():
        cheapest = float((chances * costs[name](row)).sum())
        for size in (0.01, 0.1):
            for _ in range(50):
                other = (row + size * torch.randn(12, generator=generator)).clamp(min=1e-6)
                assert float((chances * costs[name](other)).sum()) >= cheapest - 1e-6


def test_the_fine_loss_reaches_only_what_the_fine_network_looks_at():
    torch.manual_seed(0)
    model = models.create("tompson_course", input_size=(64, 64))
    batch = synthetic.crops(2, seed=0, size=(64, 64))
    coarse, fine, both = (tools.gradients(model, batch, terms) for terms in (["coarse"], ["fine"], ["coarse", "fine"]))
    assert [bool(fine[part].any()) for part in tools.PARTS] == [True, False, False, True]
    assert [bool(coarse[part].any()) for part in tools.PARTS] == [True, True, True, False]
    assert sum(len(part) for part in both.values()) == sum(p.numel() for p in model.parameters())
    assert all(torch.allclose(coarse[part] + fine[part], both[part], rtol=1e-3, atol=1e-5) for part in tools.PARTS)


def test_neighbours_tell_all_of_a_slope_and_nothing_of_noise():
    slope = torch.arange(12.0).expand(3, 2, 12, 12)
    noise = torch.randn(40, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    assert tools.guessed_from_neighbours(slope) == pytest.approx(1.0, abs=1e-4)
    assert tools.guessed_from_neighbours(noise) < 0.01


def test_every_labelled_joint_is_of_one_kind():
    model = models.create("tompson_course").eval()
    scenes = synthetic.single_scenes(4, seed=0)
    answers = tools.Answers.of(model, scenes)
    assert sum(count for count, *_ in tools.kinds(answers).values()) == int(answers.marks(0).scored.sum())
    assert torch.allclose(answers.poses(0)[0].joints, answers.joints(0)[0] * 128 / 96)


@pytest.mark.parametrize("centre", [(20, 30), (2, 46), (46, 0)])
def test_a_fine_map_is_pasted_where_it_belongs(centre):
    centre = torch.tensor(centre).float()
    fine = torch.rand(10, 10)
    whole = figures.in_place(fine, centre, (48, 48))
    left, top = (centre / 2).long().tolist()
    for row, column in itertools.product(range(10), range(10)):
        y, x = top - 5 + row, left - 5 + column
        if 0 <= y < 24 and 0 <= x < 24:
            assert whole[y, x] == fine[row, column]
    assert whole.shape == (24, 24)


def test_arms_are_labelled_as_often_as_they_are_likely():
    some = wrists.arms(2000, torch.Generator().manual_seed(0), chance=0.8)
    left = (some.labelled == some.wrists[:, 0]).all(-1).float().mean()
    assert float(left) == pytest.approx(0.8, abs=0.03)
    assert bool((some.wrists[:, 0, 0] < some.wrists[:, 1, 0]).all())


def test_every_arm_of_the_study_was_run_with_every_seed():
    stored = study.load()
    assert [(one["arm"], one["seed"]) for one in stored["runs"]] == study.plan()
    for arm in (*study.ARMS, *study.DROPOUTS):
        recipe = study.recipe(arm)
        models.create(recipe.model, recipe.skeleton, **recipe.options)
        assert {**stored["arms"][arm]}.items() >= {"steps": recipe.steps}.items()
