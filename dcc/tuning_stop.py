"""When a search ends early: Ctrl-C, or a time limit."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal

Reason = Literal["interrupted", "time limit"]


class Stop:
    """For the length of a ``with`` block Ctrl-C asks the search to finish; a second one ends it.

    Attributes
    ----------
    mark
        File that tells the processes of builder and runner to leave what they have not begun.
    reason
        Why the search was asked to finish.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self.mark: Path | None = None
        self.reason: Reason | None = None
        self._end = None if time_limit is None else time.monotonic() + time_limit
        self._before: Any = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def asked(self) -> bool:
        """Whether to finish."""
        if self.reason is None and self._end is not None and time.monotonic() >= self._end:
            self._finish("time limit")
        return self.reason is not None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self._finish("interrupted")

    def _finish(self, reason: Reason) -> None:
        self.reason = reason
        if self.mark is not None and self.mark.parent.is_dir():
            self.mark.touch()
