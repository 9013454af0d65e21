"""Ending a training without breaking it in the middle of a step."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

log = logging.getLogger("course_lib")


class Signals:
    """Notes Ctrl-C and SIGTERM instead of letting them break a `piece` of work; a second one does break it."""

    def __init__(self, piece: str = "step") -> None:
        self.piece, self.caught, self.before = piece, "", {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self.before = {one: signal.signal(one, self.note) for one in (signal.SIGINT, signal.SIGTERM)}
        return self

    def note(self, number: int, frame: Any) -> None:
        if self.caught:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number).name
        log.warning("%s: ending after this %s", self.caught, self.piece)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
