"""The process that runs one lesson: `python -m course_lib.course.worker job.json`.

A process of its own, so that whatever happens to it happens to this lesson only. It executes the notebook with
papermill, makes a web page of what came out, compares it with the committed outputs, and writes `status`, `message`,
`memory` and `different` to the job's result file.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from course_lib.course import canonical, notebooks, pages

PASSED, FAILED, DIED, SLOW = "passed", "failed", "kernel died", "too slow"
COMMITTED = "laptop"  # the profile whose outputs are committed


def main(job_file: str) -> None:
    """Runs the job and never raises for what the notebook did."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    status, message = _run(job)
    copy, different = Path(job["copy"]), None
    if copy.exists():
        notebook = nbformat.read(copy, as_version=4)
        page = pages.lesson_page(notebook, copy.stem)
        Path(job["page"]).write_text(page, encoding="utf-8")
        if status == PASSED and job["parameters"]["profile"] == COMMITTED:
            different = canonical.different(notebook, notebooks.read(Path(job["notebook"])))
    result = {"status": status, "message": message, "memory": _kernels_memory(), "different": different}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


def _run(job: dict) -> tuple[str, str]:
    try:
        papermill.execute_notebook(
            job["notebook"],
            job["copy"],
            parameters=job["parameters"],
            kernel_name=notebooks.KERNEL,
            language="python",
            cwd=job["folder"],
            progress_bar=False,
            start_timeout=120,
            execution_timeout=job["seconds"],
        )
    except PapermillExecutionError as error:
        return FAILED, f"In [{error.exec_count}] raised {error.ename}: {error.evalue}"
    except DeadKernelError:
        return DIED, f"the kernel died in {_unfinished(job)}; too little memory is the usual reason"
    except CellTimeoutError:
        return SLOW, f"{_unfinished(job)} took longer than {job['seconds']:.0f} s"
    except Exception as error:  # a damaged notebook, no kernel, no disk space: this lesson's failure, told in its row
        return FAILED, f"{type(error).__name__}: {error}"
    return PASSED, ""


def _kernels_memory() -> int:
    """The most bytes the kernel ever held, as the system noted when it ended: no peak is too short for that."""
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _unfinished(job: dict) -> str:
    """The cell that was running: in the copy that papermill saved, all behind it are pending."""
    copy = Path(job["copy"])
    cells = nbformat.read(copy, as_version=4).cells if copy.exists() else []
    code = [cell for cell in cells if cell.cell_type == "code"]
    begun = [cell for cell in code if cell.metadata.get("papermill", {}).get("status") in ("completed", "failed")]
    return f"In [{len(begun)}]" if begun else "its first cell"


if __name__ == "__main__":
    main(sys.argv[1])
