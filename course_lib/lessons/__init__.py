"""What every lesson's notebook uses: `start` at its top, `check` under each of its exercises.

A lesson's first two code cells, the first one tagged `parameters`:

    profile = None  # "laptop" or "gpu"; None means the environment variable COURSE_PROFILE, else "laptop"
    seed = 0

    from course_lib import lessons
    lesson = lessons.start(profile, seed)

Training then takes `steps=lesson.steps(laptop=60, gpu=5000)` on `device=lesson.device`, and an exercise ends with

    lessons.check("06.decode", decode)

Each lesson keeps its own exercises in `lesson_NN_name.py` beside this file (see `checking`).
"""

from course_lib.lessons.checking import Case, Exercise, Verdict, check, judge, register
from course_lib.lessons.starting import Lesson, start

__all__ = ["Case", "Exercise", "Lesson", "Verdict", "check", "judge", "register", "start"]
