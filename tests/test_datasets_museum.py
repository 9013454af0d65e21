"""Every broken data set in the museum is refused in one sentence that names file, record and field."""

import museum
import official_files
import pytest

from course_lib import datasets
from course_lib.errors import CourseError

pieces = pytest.mark.parametrize("piece", museum.PIECES, ids=lambda piece: f"{piece.name}: {piece.title}")


def take(piece: museum.Piece, folder, **more):
    """Reads a piece, and its first picture where the fault lies there."""
    records = datasets.read(piece.name, folder, piece.split, **piece.options, **more)
    return records[0] if piece.opened else records


@pieces
def test_a_broken_data_set_is_refused_in_one_sentence(piece, tmp_path):
    piece.make(tmp_path)
    with pytest.raises(CourseError) as refused:
        take(piece, tmp_path)
    said = str(refused.value)
    assert [word for word in piece.says if word not in said] == [], said
    assert "\n" not in said and len(said) < 400


@pieces
def test_with_a_list_of_problems_the_other_records_are_read(piece, tmp_path):
    piece.make(tmp_path)
    problems = []
    try:
        take(piece, tmp_path, problems=problems)
    except CourseError as error:  # the file as a whole, or a picture
        problems.append(str(error))
    assert problems and all(word in problems[0] for word in piece.says)


def test_the_museum_is_large_and_shows_each_fault_once():
    assert len(museum.PIECES) >= 25
    assert len({(piece.name, piece.title) for piece in museum.PIECES}) == len(museum.PIECES)
    assert {piece.name for piece in museum.PIECES} == set(datasets.names())


@pytest.mark.parametrize("name", ["lsp", "lspet", "flic", "mpii", "mpii_json", "coco", "jhmdb"])
def test_what_the_museum_breaks_was_whole_before(name, tmp_path):
    getattr(official_files, name)(tmp_path)
    name, options = ("mpii", {"source": "json"}) if name == "mpii_json" else (name, {})
    records = datasets.read(name, tmp_path, "val2017" if name == "coco" else "train", **options)
    assert all(scene.image.shape == (3, official_files.HEIGHT, official_files.WIDTH) for scene in records)
