"""Cao et al. 2017 and 2018: published counts and fields, who hears whom, the loss, and people in pictures."""

import math

import pytest
import torch
from crowds import crowd, figures

from course_lib import geometry
from course_lib.errors import CourseError
from course_lib.models import paf, receptive
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.paf import Answer, PartAffinityFields, Targets, compare
from course_lib.models.paf_scales import at_scales
from course_lib.pose import Person
from course_lib.skeletons import BODY18, LSP, Skeleton
from course_lib.targets.fields import labelled_weight

NARROW = {"groups": ((2, 2), (2, 2), (2, 2, 2, 2), (2, 2)), "feature_channels": (2, 2), "width": 4, "hidden": 4}


def chain(joints, limbs):
    """A skeleton of so many joints and limbs: only their numbers count."""
    names = tuple(f"joint_{k}" for k in range(joints))
    pairs = tuple((k % joints, (k + 1) % joints) for k in range(limbs))
    return Skeleton("chain", names, pairs, (0.05,) * joints, names[:2], None)


# Skeleton, options, parameters, tensors and G multiply-adds at 368 x 368
PUBLISHED = {
    "COCO, 2017": (BODY18, {}, 52_311_446, 184, 135.934),
    "MPI, 2017": (chain(15, 14), {}, 51_481_032, 184, 134.177),
    "MPI, 2017, 4 stages": (chain(15, 14), {"stages": 4}, 34_240_880, 128, 97.704),
    "BODY-25, 2018": (chain(25, 26), {"arrangement": "fields_first", "prelu": True}, 26_166_084, 327, 80.573),
}


def tiny(skeleton="lsp", **options):
    torch.manual_seed(0)
    small = {"stages": 3, "field_stages": 2, "groups": ((6,), (8, 8), (10,)), "feature_channels": (8, 6)}
    small |= {"width": 8, "hidden": 12, "kernel": 3, "input_size": (48, 64)}
    return PartAffinityFields(skeleton, **{**small, **options})


def awake(model):
    """Away from its cautious start, where the later layers hear next to nothing of the earlier ones."""
    with torch.no_grad():
        for head in (*model.field_heads, *model.map_heads):
            head[-1].weight.normal_(std=0.5)
    return model


def people_of(model, count=3, seed=0, pictures=2):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(pictures, count, len(model.skeleton), 2, generator=generator) * torch.tensor([64.0, 48.0])
    return joints, torch.randint(0, 3, joints.shape[:-1], generator=generator)


# --- counts and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_size_has_the_published_counts(name):
    skeleton, options, count, tensors, giga = PUBLISHED[name]
    with torch.device("meta"):
        model = paf.paf(skeleton, **options).eval()
        outputs = model(torch.empty(2, 3, 368, 368))
    assert parameters(model) == count and len(model.state_dict()) == tensors
    assert giga_multiply_adds(model) == pytest.approx(giga, abs=1e-3)
    stages = (4, 2) if options.get("arrangement") else (options.get("stages", 6),) * 2
    assert outputs.fields.shape == (stages[0], 2, 2 * len(skeleton.limbs), 46, 46)
    assert outputs.maps.shape == (stages[1], 2, len(skeleton) + 1, 46, 46)


def test_the_paper_has_19_maps_and_38_fields():
    with torch.device("meta"):
        outputs = paf.paf()(torch.empty(1, 3, 368, 368))
    assert (outputs.maps.shape[2], outputs.fields.shape[2]) == (19, 38)
    assert sorted(map(len, (BODY18.joints, BODY18.limbs))) == [18, 19]


def test_the_course_size_fits_a_laptop():
    model = paf.paf_course().eval()
    assert parameters(model) == 887_947 and giga_multiply_adds(model) == pytest.approx(1.745, abs=1e-3)
    outputs = model(torch.rand(1, 3, *model.input_size))
    assert outputs.maps.shape == (3, 1, 15, 48, 64) and outputs.fields.shape == (3, 1, 28, 48, 64)


# --- what a cell can see, and who hears whom --------------------------------------------------------------------------


@pytest.mark.parametrize("arrangement", paf.ARRANGEMENTS)
def test_every_stage_has_the_published_receptive_field(arrangement):
    model = paf.paf(LSP, arrangement=arrangement, **NARROW)
    picture = torch.zeros(1, 3, 16, 16)
    maps, fields = receptive.computed(model, picture)
    features = [receptive.computed(model.trunk, picture)]
    sizes = [[field.size[0] for field in part] for part in (features, fields, maps)]
    if arrangement == "together":
        assert sizes == [[116], *[[164, 404, 644, 884, 1124, 1364]] * 2]
    else:
        assert sizes == [[116], [356, 596, 836, 1076], [1316, 1556]]


def heard_by(model, part, stage):
    """Which heads one stage's answer depends on."""
    model.zero_grad(set_to_none=True)
    outputs = getattr(model(torch.rand(2, 3, 48, 64)), part)[stage]
    (outputs * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    names = {n for n, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    return {".".join(name.split(".")[:2]) for name in names if "heads" in name}


def test_stages_hear_both_branches_of_the_stage_before():
    model = awake(tiny())
    for part, own in (("maps", "map_heads"), ("fields", "field_heads")):
        assert heard_by(model, part, 0) == {f"{own}.0"}
        assert heard_by(model, part, 1) == {f"{own}.1", "map_heads.0", "field_heads.0"}
        assert len(heard_by(model, part, 2)) == 5


def test_fields_first_never_hear_the_maps():
    model = awake(tiny(arrangement="fields_first", stages=4))
    assert heard_by(model, "fields", 1) == {"field_heads.0", "field_heads.1"}
    assert heard_by(model, "maps", 0) == {"field_heads.0", "field_heads.1", "map_heads.0"}
    assert heard_by(model, "maps", 1) == {"field_heads.0", "field_heads.1", "map_heads.0", "map_heads.1"}


def test_a_dense_block_is_heard_in_all_three_layers():
    block = paf.Dense(5, 4, norm=False, prelu=False)
    x = torch.randn(1, 5, 9, 9)
    first, second, third = block(x).split(4, dim=1)
    assert torch.equal(first, block.layers[0](x)) and torch.equal(third, block.layers[2](second))
    assert receptive.computed(block, x).size == (7, 7)


@pytest.mark.parametrize("arrangement", paf.ARRANGEMENTS)
def test_pictures_are_answered_one_by_one_whatever_their_size(arrangement):
    model = awake(tiny(arrangement=arrangement)).eval()
    images = torch.rand(3, 3, 24, 40)
    whole, alone = model(images), model(images[1:2])
    for one, other in zip(whole, alone, strict=True):
        assert one.shape[-2:] == (6, 10)
        torch.testing.assert_close(one[:, 1:2], other, rtol=1e-4, atol=1e-5)


def test_it_starts_with_background_and_no_limbs():
    for arrangement in paf.ARRANGEMENTS:
        with torch.no_grad():
            outputs = tiny(arrangement=arrangement, norm=True).eval()(torch.rand(2, 3, 48, 64))
        assert float((outputs.maps[:, :, -1] - 1).abs().max()) < 0.2
        assert float(outputs.fields.abs().max()) < 0.2 and float(outputs.maps[:, :, :-1].abs().max()) < 0.2


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_targets_are_drawn_in_cells():
    model = tiny()
    joints, visible = people_of(model)
    targets = model.targets(joints, visible, (48, 64))
    assert targets.maps.shape == (2, 15, 12, 16) and targets.fields.shape == (2, 2 * len(LSP.limbs), 12, 16)
    assert bool((targets.weight == 1).all()) and targets.weight.shape == (2, 12, 16)
    joints, visible = torch.full((1, 1, 14, 2), 6.0), torch.zeros(1, 1, 14)
    visible[..., 3] = 2
    assert int(model.targets(joints, visible, (48, 64)).maps[0, 3].argmax()) == 16 + 1  # pixel 6 is in cell 1
    joints, visible = torch.full((1, 1, 14, 2), 6.0), torch.zeros(1, 1, 14)
    joints[..., 1, 1], visible[..., :2] = 34.0, 1  # a lower leg from (6, 34) up to (6, 6): cells of row 1 to 8
    limb = LSP.limbs.index((1, 0))
    for beyond, rows in ((0.0, range(1, 9)), (1.0, range(0, 10))):
        fields = tiny(beyond=beyond).targets(joints, visible, (48, 64)).fields[0, 2 * limb + 1]
        assert (fields[:, 1] == -1).nonzero().flatten().tolist() == list(rows)
        assert fields[4].nonzero().flatten().tolist() == [0, 1, 2]


def test_the_loss_is_the_papers_sum():
    model = awake(tiny(arrangement="fields_first"))
    with torch.no_grad():
        outputs = model(torch.rand(2, 3, 48, 64))
    targets = model.targets(*people_of(model), (48, 64), torch.rand(2, 12, 16))
    terms = compare(outputs, targets)
    assert list(terms) == ["maps_1", "fields_1", "fields_2", "total"]
    cells = 2 * 12 * 16
    for name, answer, target in (
        ("maps_1", outputs.maps[0], targets.maps),
        ("fields_2", outputs.fields[1], targets.fields),
    ):
        expected = sum(
            float(targets.weight[b, y, x]) * float((answer - target)[b, :, y, x].square().sum())
            for b in range(2)
            for y in range(12)
            for x in range(16)
        )
        assert float(terms[name]) == pytest.approx(expected / cells, rel=1e-4)
    assert float(terms["total"]) == pytest.approx(sum(float(v) for n, v in terms.items() if n != "total"))
    exact = Answer(targets.maps[None], targets.fields[None])
    assert float(compare(exact, targets)["total"]) == 0


def test_what_is_masked_never_counts():
    model = awake(tiny())
    targets = model.targets(*people_of(model), (48, 64))
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[:16, 20:40] = True
    hidden = Person(torch.zeros(14, 2), torch.zeros(14), LSP, mask=mask)
    weight = labelled_weight([hidden], (48, 64), model.stride).expand(2, 12, 16)
    images = torch.rand(2, 3, 48, 64)
    results = []
    for value in (0.0, 7.0, math.nan):
        maps = torch.where(weight[:, None] > 0, targets.maps, value)
        fields = torch.where(weight[:, None] > 0, targets.fields, value)
        model.zero_grad()
        terms = compare(model(images), Targets(maps, fields, weight))
        terms["total"].backward()
        results.append((float(terms["total"].detach()), model.trunk[0][0].weight.grad.clone()))
    for total, gradient in results[1:]:
        assert total == results[0][0] and torch.equal(gradient, results[0][1])
    nothing = compare(model(images), targets._replace(weight=torch.zeros(2, 12, 16)))["total"]
    nothing.backward()
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("arrangement", paf.ARRANGEMENTS)
def test_four_pictures_can_be_learned_by_heart(arrangement):
    """Until it finds the people in them, to two pixels, and nobody else."""
    size = (64, 64)
    model = tiny(
        BODY18,
        **{
            "arrangement": arrangement,
            "stages": 2,
            "field_stages": 1,
            "norm": True,
            "groups": ((8,), (16,), (32,)),
            "feature_channels": (32, 32),
        },
        **{"width": 24, "hidden": 48, "input_size": size},
    )
    images = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(1))
    joints = figures(4, size, torch.Generator().manual_seed(2), (40.0, 55.0))[:, None]
    targets = model.targets(joints, torch.ones(4, 1, 18), size)
    nothing = compare(Answer(torch.zeros_like(targets.maps[None]), torch.zeros_like(targets.fields[None])), targets)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for step in range(200):
        terms = compare(model(images), targets)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        if step % 20 == 19:
            with torch.no_grad():
                found = model.eval().decode(model(images))
            model.train()
            if all(
                len(own) == 1 and float((own[0].joints - true).norm(dim=-1).max()) < 2
                for own, true in zip(found, joints, strict=True)
            ):
                break
    else:
        pytest.fail("after 200 steps the people are still not found")
    assert float(terms["total"].detach()) < 0.5 * float(nothing["total"])


# --- how it answers ---------------------------------------------------------------------------------------------------


def perfect(model, joints, visible, size):
    """What the network would say if it were right."""
    targets = model.targets(joints, visible, size)
    return Answer(targets.maps[None], targets.fields[None])


def test_people_come_back_in_pixels():
    model = tiny(BODY18, limb_width=1.5)
    cells = (112, 144)
    people = [crowd(3, cells, 1), crowd(2, cells, 2)]
    joints, visible = torch.zeros(3, 3, 18, 2), torch.zeros(3, 3, 18)  # nobody is in the third picture
    for b, own in enumerate(people):
        joints[b, : len(own)], visible[b, : len(own)] = own * model.stride, 2
    size = (cells[0] * model.stride, cells[1] * model.stride)
    outputs = perfect(model, joints, visible, size)
    for enlarge in (1, 2):
        found = model.decode(outputs, enlarge=enlarge)
        assert list(map(len, found)) == [3, 2, 0]
        for b, own in enumerate(people):
            for pose in found[b]:
                distance = (pose.joints - own * model.stride).norm(dim=-1)
                assert float(distance.amax(1).min()) < (0.05 if enlarge == 1 else 2.0)
                assert pose.skeleton is BODY18 and 0.7 < pose.score <= 1.001
            assert [p.score for p in found[b]] == sorted((p.score for p in found[b]), reverse=True)
    assert model.decode(outputs, least_joints=19) == [[], [], []]
    with pytest.raises(CourseError, match="did you mean 'optimal'"):
        model.decode(outputs, assignment="optimum")


def test_stages_can_be_read_one_by_one():
    model = tiny(BODY18, limb_width=1.5)
    joints = crowd(1, (112, 144), 1)[None] * model.stride
    right = perfect(model, joints, torch.ones(1, 1, 18), (448, 576))
    nothing = torch.zeros_like(right.maps)
    outputs = Answer(torch.cat([nothing, right.maps]), right.fields)  # one stage of fields, two of maps
    assert model.decode(outputs, stage=0) == [[]]
    assert len(model.decode(outputs)[0]) == len(model.decode(outputs, stage=1)[0]) == 1


def test_mirror_images_are_averaged():
    model = awake(tiny(BODY18)).eval()
    images = torch.rand(2, 3, 48, 64)
    outputs, mirrored = model(images), model(geometry.flip_images(images))
    one, other = model.flip_average(outputs, mirrored), model.flip_average(mirrored, outputs)
    again = model.flip_average(Answer(one.maps, one.fields), Answer(other.maps, other.fields))
    for a, b in zip(again, one, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    joints, visible = people_of(model)
    size, swaps = (48, 64), list(BODY18.swaps)
    right = perfect(model, joints, visible, size)
    turned = perfect(model, geometry.flip_joints(joints, 64, swaps), visible[..., swaps], size)
    for a, b in zip(model.flip_average(right, turned), right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class Painted(PartAffinityFields):
    """Answers with the red channel of the picture, a cell being the mean of its pixels: what is read can be known."""

    def forward(self, images):
        red = torch.nn.functional.avg_pool2d(images[:, :1], self.stride)[None]
        return Answer(red.expand(1, -1, 15, -1, -1), red.expand(1, -1, 2 * len(LSP.limbs), -1, -1))


def test_scales_are_averaged_at_the_same_places():
    model = Painted("lsp", stages=1, groups=((4,), (4,), (4,)), feature_channels=(4, 4), width=4, hidden=4)
    ys, xs = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    images = (xs / 128 * 0.5 + ys / 96 * 0.3).expand(2, 3, 96, 128)  # a slope is told apart from itself moved
    once = at_scales(model, images, (1.0,))
    torch.testing.assert_close(once.maps, model(images).maps, rtol=0, atol=1e-6)
    for scales in ((0.5,), (1.5,), (2.0,), (0.7, 1.0, 1.3)):
        several = at_scales(model, images, scales)
        assert several.maps.shape == once.maps.shape and several.fields.shape == once.fields.shape
        inner = (..., slice(5, -5), slice(5, -5))
        torch.testing.assert_close(several.maps[inner], once.maps[inner], rtol=0, atol=4e-3)  # half a cell is 8e-3
    model = awake(tiny()).eval()
    two = at_scales(model, images, (1.0, 1.0))
    torch.testing.assert_close(two.fields, model(images).fields[-1:], rtol=1e-3, atol=1e-3)


def test_a_whole_picture_of_any_size_can_be_estimated():
    model = tiny(BODY18, input_size=(192, 256)).eval()
    assert model.estimate(torch.rand(3, 90, 70), flip_test=True) == [[]]
    own = figures(1, (192, 256), torch.Generator().manual_seed(0), (130.0, 150.0))  # in the input's pixels
    model.forward = lambda images: perfect(model, own[None], torch.ones(1, 1, 18), (192, 256))
    ((pose,),) = model.estimate(torch.rand(3, 384, 512))
    torch.testing.assert_close(pose.joints, 2 * own[0], rtol=0, atol=0.1)


def test_scales_are_padded_to_what_the_trunk_takes():
    model = paf.paf_course().eval()
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(images)
    assert at_scales(model, images, (0.7, 1.3)).maps.shape == whole.maps[-1:].shape
    torch.testing.assert_close(at_scales(model, images, (1.0,)).fields, whole.fields[-1:], rtol=1e-4, atol=1e-5)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_networks_that_cannot_be():
    for wrong in (
        {"stages": 0},
        {"groups": ()},
        {"groups": ((4,), ())},
        {"groups": ((0,),)},
        {"width": 3},
        {"hidden": 1},
        {"kernel": 4},
        {"feature_channels": (4, 0)},
    ):
        with pytest.raises(CourseError, match="part affinity fields need a stage"):
            tiny(**wrong)
    for count in (0, 3):
        with pytest.raises(CourseError, match="of 3 stages at least one must be of fields and one of maps"):
            tiny(arrangement="fields_first", field_stages=count)
    with pytest.raises(CourseError, match="did you mean 'fields_first'"):
        tiny(arrangement="fields first")
    with pytest.raises(CourseError, match="skeleton 'chain' has no limbs"):
        tiny(chain(3, 0))


def test_what_does_not_fit():
    model = tiny()
    with pytest.raises(CourseError, match="height and width divisible by 4; got 50 x 64"):
        model(torch.rand(1, 3, 50, 64))
    joints, visible = people_of(model)
    with pytest.raises(CourseError, match=r"weight must have shape \(2, 12, 16\)"):
        model.targets(joints, visible, (48, 64), torch.ones(2, 11, 16))
    outputs, targets = model(torch.rand(2, 3, 48, 64)), model.targets(joints, visible, (48, 64))
    for wrong in (
        targets._replace(maps=targets.maps[:, :-1]),
        targets._replace(fields=targets.fields[:1]),
        targets._replace(weight=targets.weight[:, :5]),
    ):
        with pytest.raises(CourseError, match="must agree"):
            compare(outputs, wrong)
    for scales in ((), (0.0,), (-1.0, 1.0)):
        with pytest.raises(CourseError, match="scales must be one or more positive factors"):
            at_scales(model, torch.rand(1, 3, 48, 64), scales)
    with pytest.raises(CourseError, match="at_scales needs height and width divisible by 4"):
        at_scales(model, torch.rand(1, 3, 46, 64))
