"""`python -m course_lib train | evaluate | estimate`."""

from __future__ import annotations

import argparse
import io
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_lib import checkpoints, paths

BENCHMARKS = ("single-val",)
DRAWN_SIDE = 800  # pixels of the longer side of a drawing, at least


def add_parsers(subparsers: Any) -> None:
    """Adds the three commands to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser("train", help="train a recipe, or go on where it stopped")
    parser.add_argument("recipe", help="a recipe's name, such as hourglass_course")
    parser.add_argument("--steps", type=int, help="how many; the recipe's own number without this and --minutes")
    parser.add_argument("--minutes", type=float, help="how long; the learning rate then ends at the deadline")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    parser.add_argument("--out", type=Path, default=paths.BUILD / "training", help="folder of states (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start anew instead of resuming what is in --out")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--ship", type=Path, help="also write a checkpoint here, if it is small enough to ship")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(func=train)

    parser = subparsers.add_parser("evaluate", help="measure a model on a benchmark")
    _add_model(parser)
    parser.add_argument("--data", choices=BENCHMARKS, default=BENCHMARKS[0], help="the benchmark (%(default)s)")
    parser.add_argument("--baseline", action="store_true", help="also show what the mean pose reaches")
    parser.add_argument("--record", action="store_true", help="write the scores into the checkpoint's header")
    parser.set_defaults(func=evaluate)

    parser = subparsers.add_parser("estimate", help="draw the pose of the person on a photograph")
    parser.add_argument("photo", type=Path)
    _add_model(parser)
    parser.add_argument("--box", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="where the person is")
    parser.add_argument("--out", type=Path, help="the drawing (PHOTO's name with _pose.png)")
    parser.add_argument("--json", type=Path, help="also write the pose in the format of COCO results")
    parser.set_defaults(func=estimate)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="hourglass_course", help="name of a shipped model (%(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="a file with weights, instead of the shipped ones")
    parser.add_argument("--flip", action="store_true", help="average with the answer to the mirrored picture")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")


def train(arguments: argparse.Namespace) -> int:
    """Trains, scores the result, and says where everything is."""
    from course_lib import training
    from course_lib.training.state import state_file

    recipe = training.recipes.get(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    state = state_file(arguments.out, recipe)
    if state.exists() and not arguments.fresh:
        print(f"going on from {state}")
    trained = training.train(
        recipe,
        device=arguments.device,
        steps=arguments.steps,
        minutes=arguments.minutes,
        out=arguments.out,
        resume=not arguments.fresh,
        progress=not arguments.quiet,
    )
    if trained.stopped:
        print(f"stopped by {trained.stopped} at step {trained.header['steps']}; the same command goes on from {state}")
        return 128 + getattr(signal, trained.stopped)
    print(f"{trained.header['steps']} steps; {trained.data_share():.0%} of the time went into making the data")
    checkpoint = state.with_name(f"{recipe.name}.safetensors")
    scores = _scores(trained.model, BENCHMARKS[0])
    _print_table({recipe.name: scores}, BENCHMARKS[0])
    header = checkpoints.record(checkpoint, {BENCHMARKS[0]: scores})
    print(f"weights: {checkpoint}")
    if arguments.ship:
        checkpoints.save(arguments.ship, trained.model, header, limit=checkpoints.SHIPPED_LIMIT)
        print(f"ship: {arguments.ship}, {arguments.ship.stat().st_size / checkpoints.MEGABYTE:.2f} MB")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Prints a table of scores, and records them where that is asked for."""
    model, file = _load(arguments)
    rows = {model.name: _scores(model, arguments.data, arguments.flip)}
    if arguments.baseline:
        from course_lib.datasets import synthetic
        from course_lib.training.evaluate import MeanPose

        stream = synthetic.stream(100, skeleton=model.skeleton, size=(128, 128))
        rows["mean pose"] = _scores(MeanPose.of(stream), arguments.data)
    _print_table(rows, arguments.data)
    if arguments.record:
        key = f"{arguments.data} flipped" if arguments.flip else arguments.data
        checkpoints.record(file, {key: rows[model.name]})
        print(f"recorded in {file}")
    return 0


def estimate(arguments: argparse.Namespace) -> int:
    """Draws the estimated pose over the photograph."""
    from course_lib import images

    photo = images.read(arguments.photo)
    model, _ = _load(arguments)
    boxes = [arguments.box] if arguments.box else None
    poses = model.estimate(photo, boxes=boxes, flip_test=arguments.flip)[0]
    out = arguments.out or Path(f"{arguments.photo.stem}_pose.png")
    drawing = _draw(photo, poses)
    checkpoints.write_atomically(out, lambda file: file.write(drawing))
    print(f"drawing: {out}")
    if arguments.json:
        text = json.dumps([_coco_result(arguments.photo.stem, pose) for pose in poses], indent=1)
        checkpoints.write_atomically(arguments.json, lambda file: file.write(text.encode()))
        print(f"pose: {arguments.json}")
    return 0


# --- the parts --------------------------------------------------------------------------------------------------------


def _load(arguments: argparse.Namespace) -> tuple[Any, Path]:
    from course_lib import models
    from course_lib.training import devices

    device = devices.choose(arguments.device)
    model = models.load(arguments.model, arguments.checkpoint).to(device)
    return model, arguments.checkpoint or paths.checkpoint(arguments.model)


def _scores(model: Any, benchmark: str, flip: bool = False) -> dict[str, Any]:
    from course_lib.datasets import synthetic
    from course_lib.training.evaluate import single_person

    return single_person(model, synthetic.benchmark(benchmark, skeleton=model.skeleton), flip_test=flip)


def _print_table(rows: dict[str, dict[str, Any]], benchmark: str) -> None:
    """Scores down, models across; then PCK@0.2 of every joint, and how far chance could move the whole."""
    columns = [_flat(scores) for scores in rows.values()]
    first = max(len(name) for name in (*columns[0], benchmark))
    print(f"{benchmark:{first}}" + "".join(f"  {row:>18}" for row in rows))
    for name in columns[0]:
        print(f"{name:{first}}" + "".join(f"  {_number(column[name]):>18}" for column in columns))
    for row, scores in rows.items():
        if scores["pck@0.2_interval"]:
            low, high = scores["pck@0.2_interval"]
            print(f"{row}: on other such people, pck@0.2 would lie between {low:.3f} and {high:.3f} (95 %)")


def _flat(scores: dict[str, Any]) -> dict[str, float | int | None]:
    plain = {name: value for name, value in scores.items() if isinstance(value, float | int | None)}
    plain.pop("pck@0.2_interval", None)
    return plain | {f"  {joint}": value for joint, value in scores["per_joint"].items()}


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _draw(photo: Any, poses: list) -> bytes:
    """The photograph with its poses as a PNG, small photographs enlarged so that limbs can be told apart."""
    from matplotlib.figure import Figure

    from course_lib import show

    height, width = photo.shape[-2:]
    larger = max(1.0, DRAWN_SIDE / max(height, width))
    sides = (max(larger * side / 100, 0.1) for side in (width, height))
    figure = Figure(figsize=tuple(sides), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    show.draw_image(ax, photo)
    for pose in poses:
        show.draw_pose(ax, pose, fade=True)
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", metadata={"Software": None})
    return drawing.getvalue()


def _coco_result(name: str, pose: Any) -> dict[str, Any]:
    """One entry of a COCO results file; COCO counts from the centre of the first pixel, we from its corner."""
    numbers = []
    for (x, y), score in zip((pose.joints - 0.5).tolist(), pose.scores.tolist(), strict=True):
        numbers += [round(x, 2), round(y, 2), round(score, 4)]
    return {"image_id": name, "category_id": 1, "keypoints": numbers, "score": round(pose.score, 4)}
