"""`python -m course_lib COMMAND`: what can be done with the course outside a notebook.

Only the command that was asked for is imported, so that `--help` answers at once. Bad input ends with one sentence and
exit status 2.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from course_lib import __version__
from course_lib.errors import CourseError

# command -> the module whose add_parsers() adds it, and what the overview says
COMMANDS = {
    "doctor": ("course_lib.doctor", "tell whether this machine is ready for the course"),
    "train": ("course_lib.training.commands", "train a recipe, or the queue of those whose weights ship"),
    "fit": ("course_lib.training.fitted", "learn a classical model, which is not trained by gradients"),
    "speed": ("course_lib.training.speed", "time a training step with and without bf16, channels_last and compile"),
    "evaluate": ("course_lib.training.commands", "measure a model on a benchmark"),
    "weights": ("course_lib.weights", "list the weights that ship, or adopt better ones"),
    "estimate": ("course_lib.estimate", "find the person on photographs and draw the pose"),
    "data": ("course_lib.datasets.commands", "list the public data sets, check a downloaded one, or get one"),
    "course": ("course_lib.course.commands", "run every lesson in batch and write a report"),
    "check": ("course_lib.course.commands", "run notebooks and tell the verdict on each exercise in them"),
    "notebooks": ("course_lib.course.commands", "run the committed notebooks again and rewrite their outputs"),
    "leaderboard": ("course_lib.course.commands", "put every system of the course into one table"),
    "site": ("course_lib.course.commands", "turn the committed lessons into web pages"),
    "frame": ("course_lib.course.frame", "write links, badges, times and the set-up cell into the notebooks"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser(argv[0] if argv else "").parse_args(argv)
        status = int(arguments.func(arguments) or 0)
        sys.stdout.flush()
        return status
    except CourseError as error:
        print(f"course_lib: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does the flush at the very end fail
        return 141
    except KeyboardInterrupt:
        print("course_lib: interrupted", file=sys.stderr)
        return 130


def _parser(command: str) -> argparse.ArgumentParser:
    """The parser; in full for the command that was given, by name alone for the others."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib", description="A Jupyter course on human pose estimation, and the library behind it."
    )
    parser.add_argument("--version", action="version", version=f"course_lib {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    if command in COMMANDS:
        importlib.import_module(COMMANDS[command][0]).add_parsers(subparsers)
    else:
        for name, (_, help_text) in COMMANDS.items():
            subparsers.add_parser(name, help=help_text)
    return parser
