"""Take up new versions of what is served, beside the old one."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod


class Newest(ABC):
    """The newest version of something that could be opened; readers get it as a whole, or the one before.

    Args:
        what: it is, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what, self._last_problem = what, ""

    @abstractmethod
    def _take_up(self) -> str:
        """Open the newest version if it is another one, and say which it is; empty if it is not."""

    def refresh(self) -> None:
        """Open the newest version if it is another one; if that fails the old one stays, which is said once."""
        try:
            if taken_up := self._take_up():
                print(f"serve: {taken_up}", flush=True)
            self._last_problem = ""
        except Exception as error:  # whatever it is, readers go on with what they have
            problem = f"serve: cannot open the newest {self._what}, the old one stays: {error}"
            if problem != self._last_problem:
                print(problem, file=sys.stderr, flush=True)
            self._last_problem = problem

    def watch(self, seconds: float, over: threading.Event) -> None:
        """Call `refresh` every so many seconds until `over` is set."""
        while not over.wait(seconds):
            self.refresh()
