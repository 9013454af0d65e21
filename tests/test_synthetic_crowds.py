"""Crowds: the pictures of scenes as batches, labelled as scenes are."""

import pytest
import torch

from course_lib.datasets import synthetic
from course_lib.datasets.synthetic import sets
from course_lib.datasets.synthetic.draw import Draw, generator_for
from course_lib.datasets.synthetic.world import Settings, people_in_scenes
from course_lib.errors import CourseError
from course_lib.skeletons import LSP

SIZE = (96, 128)  # small enough that some people are seen in a few pixels only


def first(count=4, **options):
    return next(synthetic.crowds(count, **{"size": SIZE, **options}))


def same(one, other):
    names = ("images", "joints", "visible", "labelled", "owners")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_crowds_are_labelled_as_scenes_of_the_same_cast_are():
    """Person by person, in the scene's order; the scene does not list of whom a crowd has no label."""
    settings, hidden, compared = Settings(), 0, 0
    for seed in range(3):
        draw = Draw(generator_for("crowds", seed, 0))
        cast = people_in_scenes(draw, 16, SIZE, (1, 12), settings)
        images, rendering = cast.picture(draw, settings, "cpu")
        crowd = first(16, seed=seed)
        assert torch.equal(crowd.images, images) and bool((crowd.labelled == 1).all())
        for number, scene in enumerate(sets._scenes(cast, images, rendering, LSP, 0, "")):
            listed = [person for person in scene.people if bool(person.visible.any())]
            own = crowd.visible[number].any(-1).nonzero()[:, 0].tolist()
            assert len(own) == len(listed)
            for place, person in zip(own, listed, strict=True):
                assert torch.equal(crowd.joints[number, place], person.joints)
                assert torch.equal(crowd.visible[number, place], person.visible)
            hidden += int((cast.image == number).sum()) - len(listed)
            compared += len(listed)
    assert hidden > 2 and compared > 150


def test_a_pixel_shows_whom_the_scene_says_it_shows():
    """Masks and boxes are those of the scene's people; who is not listed, or not labelled, owns pixels all the same."""
    settings, unlisted, behind = Settings(), 0, 0
    for seed in range(2):
        draw = Draw(generator_for("crowds", seed, 0))
        cast = people_in_scenes(draw, 12, SIZE, (1, 12), settings)
        images, rendering = cast.picture(draw, settings, "cpu")
        crowd = first(12, seed=seed)
        boxes = crowd.boxes()
        assert crowd.owners.dtype == torch.int8 and crowd.owners.shape == crowd.labelled.shape
        for number, scene in enumerate(sets._scenes(cast, images, rendering, LSP, 0, "")):
            pixels = [int((crowd.owners[number] == place).sum()) for place in range(crowd.joints.shape[1])]
            large = [place for place, count in enumerate(pixels) if count >= sets._SMALLEST_MASK]
            assert len(large) == len(scene.people)
            for place, person in zip(large, scene.people, strict=True):
                assert torch.equal(crowd.owners[number] == place, person.mask)
                assert torch.equal(boxes[number, place], person.box)
            assert not crowd.visible[number, [p for p, count in enumerate(pixels) if count < sets._SMALLEST_MASK]].any()
            unlisted += sum(0 < count < sets._SMALLEST_MASK for count in pixels)
            behind += int((cast.image == number).sum()) - len(large)
            assert int(crowd.owners[number].max()) < int((cast.image == number).sum())
    assert unlisted > 0 and behind > 2 and bool((crowd.owners == -1).any())


def pixels_one_by_one(owners):
    """Whose a pixel is, by counting its four samples."""
    result = torch.full((len(owners), owners.shape[1] // 2, owners.shape[2] // 2), -1)
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in result.shape)).tolist():
        samples = owners[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten().tolist()
        for one in set(samples):
            if samples.count(one) + (samples[0] == one) / 2 > 2:
                result[b, y, x] = one
    return result


def test_a_pixel_belongs_to_whom_most_of_it_shows():
    owners = torch.randint(-2, 3, (2, 24, 32), generator=torch.Generator().manual_seed(0))
    assert torch.equal(sets._owners_of_pixels(owners), pixels_one_by_one(owners))


def test_a_batch_depends_on_seed_and_number_only():
    walk = synthetic.crowds(3, seed="a", size=(32, 32), people=(1, 4))
    batches = [next(walk) for _ in range(3)]
    assert same(batches[2], first(3, seed="a", size=(32, 32), people=(1, 4), start=2))
    assert not torch.equal(batches[0].images, batches[1].images)
    assert not torch.equal(batches[0].images, first(3, seed="b", size=(32, 32), people=(1, 4)).images)


def test_crowds_are_pictures_of_bytes_with_joints_inside():
    crowd = first()
    torch.testing.assert_close(crowd.images * 255, (crowd.images * 255).round(), atol=1e-4, rtol=0)
    inside = ((crowd.joints >= 0) & (crowd.joints < torch.tensor([128, 96]))).all(-1)
    assert bool(inside[crowd.visible > 0].all()) and set(crowd.visible.unique().tolist()) == {0, 1, 2}


def test_the_number_of_people_is_as_asked():
    nobody = first(people=(0, 0))
    assert nobody.joints.shape == (4, 0, 14, 2) and nobody.images.shape == (4, 3, *SIZE)
    assert bool((nobody.owners == -1).all()) and nobody.boxes().shape == (4, 0, 4)
    alone = first(people=(1, 1))
    assert alone.visible.shape == (4, 1, 14)
    sometimes = first(12, people=(0, 1))
    assert 0 < int(sometimes.visible.any(-1).sum()) < 12
    assert first(people=(5, 5)).visible.any(-1).sum(-1).max() > 2


@pytest.mark.parametrize("people", [(3, 1), (-1, 2)])
def test_impossible_crowds_are_refused(people):
    with pytest.raises(CourseError, match="people must be"):
        first(people=people)
