"""`python -m course_lib train | evaluate`."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_lib import checkpoints, detectors, paths
from course_lib.errors import CourseError
from course_lib.estimate import add_model_options, load_model
from course_lib.photographs import found_in
from course_lib.training import benchmarks, coco, crowds, distributed

# scores on pictures of many people, of poses or of boxes -> their headings
_COUNTS = {"people": "people", "pictures": "pictures"}
_CROWDS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar": "AR", "pckh_map": "PCKh-mAP", **_COUNTS}
_BOXES = {"box_ap": "AP", "box_ap50": "AP50", "box_ap75": "AP75", "box_ar": "AR", **_COUNTS}
ALONE = ("recipe", "steps", "seed", "ship")  # options of one recipe's training, not of the queue


def add_parsers(subparsers: Any) -> None:
    """Adds the two commands to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser("train", help="train a recipe, or go on where it stopped")
    parser.add_argument("recipe", nargs="?", help="a recipe's name, such as hourglass_course")
    parser.add_argument("--queue", action="store_true", help="train the recipes whose weights ship, as --minutes allow")
    parser.add_argument("--steps", type=int, help="how many; the recipe's own number without this and --minutes")
    parser.add_argument("--minutes", type=float, help="how long; the learning rate then ends at the deadline")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    parser.add_argument("--out", type=Path, default=paths.BUILD / "training", help="folder of states (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start anew instead of resuming what is in --out")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--ship", type=Path, help="also write a checkpoint here, if it is small enough to ship")
    parser.add_argument("--workers", type=int, help="processes that make batches ahead (as the recipe's data needs)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(func=train)

    parser = subparsers.add_parser("evaluate", help="measure a model on a benchmark")
    add_model_options(parser)
    names = dict.fromkeys(map(benchmarks.pictures_of, benchmarks.NAMES))
    meant = "the benchmark, or all that are meant for the model (the first)"
    parser.add_argument("--data", choices=(*names, coco.NAME, "all"), help=f"{meant}; {coco.NAME}: the public data set")
    coco.add_options(parser)
    people = parser.add_mutually_exclusive_group()
    people.add_argument(
        "--boxes",
        help="where the people of crowd-val or COCO are said to be: true, for the true boxes, or a file as of COCO's "
        'results: a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}',
    )
    detectors.add_options(parser, people)
    parser.add_argument("--baseline", action="store_true", help="also show what the mean pose reaches")
    parser.add_argument("--record", action="store_true", help="write the scores into the checkpoint's header")
    parser.add_argument(
        "--study",
        nargs=argparse.REMAINDER,
        metavar="NAME [OPTIONS]",
        help="make one of the lessons' studies in data/studies again; without a name, list them",
    )
    parser.set_defaults(func=evaluate)


def train(arguments: argparse.Namespace) -> int:
    """Trains, scores the result, and says where everything is. Under torchrun the first process alone does the rest."""
    from course_lib import training
    from course_lib.training.state import state_file

    if arguments.queue:
        return train_queue(arguments)
    if arguments.recipe is None:
        raise CourseError("say which recipe to train, or --queue; `python -m course_lib train --help` tells more")
    recipe = training.recipes.get(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    state = state_file(arguments.out, recipe)
    if state.exists() and not arguments.fresh and distributed.is_main():
        print(f"going on from {state}")
    trained = training.train(
        recipe,
        device=arguments.device,
        steps=arguments.steps,
        minutes=arguments.minutes,
        out=arguments.out,
        resume=not arguments.fresh,
        progress=not arguments.quiet,
        workers=arguments.workers,
    )
    if not distributed.is_main():
        return 128 + getattr(signal, trained.stopped) if trained.stopped else 0
    if trained.stopped:
        print(f"stopped by {trained.stopped} at step {trained.header['steps']}; the same command goes on from {state}")
        return 128 + getattr(signal, trained.stopped)
    print(f"{trained.header['steps']} steps; {trained.data_share():.0%} of the time went into making the data")
    checkpoint = state.with_name(f"{recipe.name}.safetensors")
    scores = {name: benchmarks.measure(trained.model, name) for name in benchmarks.possible(trained.model)}
    for name, one in scores.items():
        print_table({recipe.name: one}, name)
    header = checkpoints.record(checkpoint, scores)
    print(f"weights: {checkpoint}")
    if arguments.ship:
        checkpoints.save(arguments.ship, trained.model, header, limit=checkpoints.SHIPPED_LIMIT)
        print(f"ship: {arguments.ship}, {arguments.ship.stat().st_size / checkpoints.MEGABYTE:.2f} MB")
    return 0


def train_queue(arguments: argparse.Namespace) -> int:
    """Trains what is in the queue; 1 where a recipe failed, 128 + n after signal n."""
    from course_lib.training.queue import run_queue

    given = [option for option in ALONE if getattr(arguments, option) is not None]
    if given:
        name = "a recipe" if given[0] == "recipe" else f"--{given[0]}"
        raise CourseError(f"the queue chooses its recipes itself; leave out {name}, or leave out --queue")
    if arguments.fresh:
        raise CourseError(
            "the queue goes on from the best it finds; leave out --fresh, or give it an empty folder (--out)"
        )
    if arguments.minutes is None:
        raise CourseError("the queue must know how long it may take: --minutes 9")
    rows, stopped = run_queue(
        arguments.minutes, arguments.out, arguments.device, arguments.workers, progress=not arguments.quiet
    )
    return 128 + getattr(signal, stopped) if stopped else int(any(row.outcome == "failed" for row in rows))


def evaluate(arguments: argparse.Namespace) -> int:
    """Prints a table of scores for each benchmark, and records them where that is asked for; or makes a study."""
    if arguments.study is not None:
        return _study(*arguments.study)
    coco.check(arguments)
    model, file = load_model(arguments)
    if arguments.data == coco.NAME:
        return coco.evaluate(arguments, model, file)
    examiner = benchmarks.Examiner()
    told, plug = _boxes_from(arguments, model, examiner)
    for name in _asked(arguments, model, bool(told) or plug is not None):
        title = f"{name}, {told}" if told else benchmarks.title(model, name)
        asked = model if plug is None else plug(model)
        rows = {file.stem: examiner.examine(asked, name, arguments.flip)[0]}
        if arguments.baseline and name != benchmarks.BOXES:
            from course_lib.training.evaluate import MeanPose

            mean = MeanPose.of(benchmarks.training_people(name, model.skeleton))
            own = "" if plug else benchmarks.title(mean, name).removeprefix(title)  # what it alone is told
            rows[f"mean pose{own}"] = examiner.examine(plug(mean) if plug else mean, name)[0]
        print_table(rows, title)
        if arguments.record:
            checkpoints.record(file, {f"{title} flipped" if arguments.flip else title: rows[file.stem]})
            print(f"recorded in {file}")
    return 0


def _study(name: str = "", *options: str) -> int:
    """Makes a study of the lessons, or tells which there are and what each is about."""
    from course_lib.lessons import studies

    if name:
        studies.run(name, options)
        return 0
    for study in studies.STUDIES:
        print(f"{study:24}{(studies.module(study).__doc__ or '').partition(chr(10))[0]}")
    return 0


def _asked(arguments: argparse.Namespace, model: Any, plugged: bool) -> tuple[str, ...]:
    """The benchmarks that were asked for; boxes come from elsewhere on pictures of many people only."""
    if plugged:
        if arguments.data not in (None, *benchmarks.CROWDS):
            raise CourseError(f"--boxes and --detector are for {benchmarks.CROWDS[0]}, not for {arguments.data}")
        return benchmarks.CROWDS
    meant = benchmarks.possible(model)
    if arguments.data != "all":
        meant = benchmarks.on_pictures(model, arguments.data or benchmarks.pictures_of(meant[0]))
    if arguments.flip and len(meant) > 1:
        meant = tuple(name for name in meant if name != benchmarks.BOXES)  # a detector has no flip test
    if arguments.baseline and meant == (benchmarks.BOXES,):
        raise CourseError(f"the mean pose finds no boxes, so that {benchmarks.BOXES} has no --baseline")
    return meant


def _boxes_from(
    arguments: argparse.Namespace, model: Any, examiner: benchmarks.Examiner
) -> tuple[str, Callable[[Any], Any] | None]:
    """What is said of scores with other boxes than a model's own, and how a model comes to work with these boxes."""
    if crowds.finds_boxes(model) and (arguments.boxes or arguments.detector):
        raise CourseError(f"'{arguments.model}' is a detector itself, so that it takes neither --boxes nor --detector")
    detector = detectors.given(arguments)
    if detector:
        told = detectors.words(model, arguments.detector, arguments.detector_weights)
        return told, lambda estimator: detectors.plugged(estimator, detector)
    if arguments.boxes == "true":
        return crowds.TopDown.told, crowds.TopDown
    if arguments.boxes:
        from course_lib.models.detector import GivenBoxes

        file, scenes = Path(arguments.boxes), examiner.people(benchmarks.CROWDS[0], model.skeleton)
        found = found_in(file, [scene.id for scene in scenes])
        return f"boxes of {file.name}", lambda estimator: detectors.plugged(estimator, GivenBoxes(found))
    return "", None


# --- the parts --------------------------------------------------------------------------------------------------------


def print_table(rows: dict[str, dict[str, Any]], benchmark: str) -> None:
    """Scores down, weights across; then PCK@0.2 of every joint, and how far chance could move the whole.

    Of pictures of many people: scores across, and for each of the weights the whole and then numbers of people down.
    """
    if all("by_people" in scores for scores in rows.values()):
        return _print_crowds(rows, benchmark)
    columns = [_flat(scores) for scores in rows.values()]
    first = max(len(name) for name in (*columns[0], benchmark))
    print(f"{benchmark:{first}}" + "".join(f"  {row:>18}" for row in rows))
    for name in columns[0]:
        print(f"{name:{first}}" + "".join(f"  {_number(column[name]):>18}" for column in columns))
    for row, scores in rows.items():
        _print_interval(row, scores, "people", "pck@0.2")


def _print_crowds(rows: dict[str, dict[str, Any]], benchmark: str) -> None:
    for row, scores in rows.items():
        print(f"{benchmark}: {row}")
        columns, decides = (_CROWDS, "ap") if "ap" in scores else (_BOXES, "box_ap")
        print(f"{'in a picture':14}" + "".join(f"{heading:>10}" for heading in columns.values()))
        for people, one in {"any number": scores, **scores["by_people"]}.items():
            print(f"{people:14}" + "".join(f"{_number(one[name]):>10}" for name in columns))
        _print_interval(row, scores, "pictures", decides)


def _print_interval(row: str, scores: dict[str, Any], drawn: str, name: str) -> None:
    if interval := scores[f"{name}_interval"]:
        low, high = interval
        print(f"{row}: on other such {drawn}, {name} would lie between {low:.3f} and {high:.3f} (95 %)")


def _flat(scores: dict[str, Any]) -> dict[str, float | int | None]:
    plain = {name: value for name, value in scores.items() if isinstance(value, float | int | None)}
    plain.pop("pck@0.2_interval", None)
    return plain | {f"  {joint}": value for joint, value in scores["per_joint"].items()}


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
