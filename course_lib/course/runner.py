"""`make course`: every lesson run by papermill, side by side, each in a process tree of its own."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from course_lib import paths
from course_lib.course import notebooks
from course_lib.errors import CourseError

PASSED = "passed"
SECONDS_BUDGET, MEMORY_BUDGET = 60.0, 3e9  # what one lesson may take with the laptop profile
CELL_SECONDS = 600.0  # a cell that takes longer hangs
_SAMPLE_SECONDS = 0.2
_Job = dict[str, object]


@dataclass(frozen=True)
class Outcome:
    """How one lesson went."""

    name: str  # the notebook's stem
    title: str
    status: str  # "passed", or what happened instead
    seconds: float
    peak_memory: int  # bytes, of the kernel and all its children together
    message: str = ""  # of a lesson that did not pass: what and where
    exercises: dict[str, str] = field(default_factory=dict)  # name -> verdict
    different: list[int] | None = None  # code cells that printed something else than is committed; None: not compared

    @property
    def passed(self) -> bool:
        return self.status == PASSED


class Course:
    """One run over some lessons. `run` gives their outcomes in order; the files go to `out`."""

    def __init__(
        self,
        lessons: Sequence[Path],
        out: Path | None = None,
        jobs: int = 2,
        profile: str = "laptop",
        cell_seconds: float | None = CELL_SECONDS,
    ) -> None:
        if jobs < 1:
            raise CourseError(f"a course needs at least one job at a time; got {jobs}")
        self.lessons = list(lessons)
        self.out = Path(out if out is not None else paths.BUILD / "course").resolve()
        self.jobs = min(jobs, len(self.lessons))
        self.profile = profile
        self.cell_seconds = cell_seconds if profile == "laptop" else None
        self._stop = threading.Event()
        self._printing = threading.Lock()
        self._finished = 0

    def run(self) -> list[Outcome]:
        """Runs the lessons; one that fails never stops the others. An interrupt ends them all."""
        self.out.mkdir(parents=True, exist_ok=True)
        how = f"{self.jobs} at a time, " if self.jobs > 1 else ""
        self._say(f"Running {len(self.lessons)} lessons, {how}with profile {self.profile}.")
        with ThreadPoolExecutor(self.jobs) as pool:
            waiting = [pool.submit(self._lesson, path) for path in self.lessons]
            try:
                return [one.result() for one in waiting]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _lesson(self, path: Path) -> Outcome:
        self._say(f"         {path.stem} ...")
        files = {name: self.out / f"{path.stem}{end}" for name, end in _FILES.items()}
        for file in files.values():
            file.unlink(missing_ok=True)
        job: _Job = {
            "notebook": str(path),
            "folder": str(path.parent),
            "parameters": {"profile": self.profile},
            "seconds": self.cell_seconds,
            **{name: str(file) for name, file in files.items()},
        }
        files["job"].write_text(json.dumps(job), encoding="utf-8")
        started = time.perf_counter()
        peak, error = self._watch(files["job"], files["checks"])
        seconds = time.perf_counter() - started
        outcome = self._outcome(path, files, seconds, peak, error)
        if not self._stop.is_set():
            self._tell(outcome)
        for name in ("job", "checks", "result"):
            files[name].unlink(missing_ok=True)
        return outcome

    def _watch(self, job: Path, checks: Path) -> tuple[int, str]:
        """Runs the worker to its end: the kernel's peak memory, and why the worker broke, if it did."""
        threads = 1 if self.jobs > 1 else psutil.cpu_count(logical=False) or 1
        environment = notebooks.environment(self.profile, threads) | {"COURSE_CHECKS_LOG": str(checks)}
        worker = psutil.Popen(
            [sys.executable, "-m", "course_lib.course.worker", str(job)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        said: list[bytes] = []
        reader = threading.Thread(target=lambda: said.append(worker.stderr.read()), daemon=True)
        reader.start()
        peak = 0
        while worker.poll() is None:
            peak = max(peak, _memory(worker))
            if self._stop.wait(_SAMPLE_SECONDS):
                _end(worker)
        reader.join(timeout=5)
        if worker.returncode < 0:
            return peak, f"signal {-worker.returncode} ended it; too little memory is the usual reason"
        lines = b"".join(said).decode(errors="replace").strip().splitlines()
        return peak, lines[-1] if worker.returncode and lines else ""

    def _outcome(self, path: Path, files: dict[str, Path], seconds: float, peak: int, error: str) -> Outcome:
        try:
            title = notebooks.title(notebooks.read(path), path.stem)
        except CourseError:
            title = path.stem
        if files["result"].exists():
            result = json.loads(files["result"].read_text(encoding="utf-8"))
        else:
            message = f"the process that ran this lesson stopped: {error}"
            result = {"status": "worker died", "message": message, "memory": 0, "different": None}
        # samples see the kernel with its children, but may miss what it held just before its end
        peak = max(peak, result["memory"])
        about = result["message"], verdicts(files["checks"]), result["different"]
        return Outcome(path.stem, title, result["status"], seconds, peak, *about)

    def _tell(self, outcome: Outcome) -> None:
        with self._printing:
            self._finished += 1
            place = f"[{self._finished}/{len(self.lessons)}]"
        self._say(f"{place:>8} {line_of(outcome)}")
        for text in remarks(outcome):
            self._say(f"         {text}")

    def _say(self, text: str) -> None:
        with self._printing:
            print(text, flush=True)


_FILES = {
    "copy": ".ipynb",
    "page": ".html",
    "job": ".job.json",
    "result": ".result.json",
    "checks": ".checks.jsonl",
}


def line_of(outcome: Outcome) -> str:
    """An outcome in one line, with what went over the budget said."""
    text = f"{outcome.name:<40} {outcome.status:<11} {outcome.seconds:6.1f} s  {outcome.peak_memory / 1e9:5.2f} GB"
    over = [
        name
        for name, value, budget in (
            ("time", outcome.seconds, SECONDS_BUDGET),
            ("memory", outcome.peak_memory, MEMORY_BUDGET),
        )
        if value > budget
    ]
    return text + (f"  over the budget of {' and '.join(over)}" if over else "")


def remarks(outcome: Outcome) -> list[str]:
    """What there is to say of a lesson besides its numbers."""
    cells = ", ".join(f"In [{number}]" for number in outcome.different or ())
    return [*([outcome.message] if outcome.message else []), *([f"not as committed: {cells}"] if cells else [])]


def compared(outcomes: Sequence[Outcome]) -> str:
    """How many lessons printed what is committed, in a sentence; "" where none was compared."""
    found = [outcome.different for outcome in outcomes if outcome.different is not None]
    same = sum(not different for different in found)
    return f"{same} of {len(found)} finished lessons printed what is committed." if found else ""


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The closing lines of a run."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    peak = max((outcome.peak_memory for outcome in outcomes), default=0)
    lines = ["", *(line_of(outcome) for outcome in outcomes), ""]
    lines += [f"{outcome.name}: {text}" for outcome in outcomes for text in remarks(outcome)]
    lines += [sentence] if (sentence := compared(outcomes)) else []
    lines.append(
        f"{len(outcomes) - len(failed)} of {len(outcomes)} lessons passed in {math.ceil(seconds)} s; "
        f"the largest kernel took {peak / 1e9:.2f} GB."
    )
    return "\n".join(lines)


def verdicts(log: Path) -> dict[str, str]:
    """The last verdict on each exercise, from the file that COURSE_CHECKS_LOG names."""
    if not log.exists():
        return {}
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {entry["exercise"]: entry["status"] for entry in entries}


def _memory(worker: psutil.Process) -> int:
    """Bytes held by the worker's children: the kernel and whatever it started."""
    try:
        return sum(_most_held(child) for child in worker.children(recursive=True))
    except psutil.Error:
        return 0


def _most_held(process: psutil.Process) -> int:
    """The most a process has held so far, where the system remembers it (Linux); else what it holds now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _end(worker: psutil.Process) -> None:
    """Ends a worker with everything it started."""
    try:
        family = [*worker.children(recursive=True), worker]
    except psutil.Error:
        return
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
