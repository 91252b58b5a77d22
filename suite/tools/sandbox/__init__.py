"""Programs of strangers, run in a sandbox of the operating system or not at all."""

from __future__ import annotations

from suite.tools.sandbox.limits import Limits
from suite.tools.sandbox.sandbox import Ended, Language, Ran, Sandbox
from suite.tools.sandbox.sessions import Session, Sessions
from suite.tools.sandbox.strength import Strength

__all__ = ["Ended", "Language", "Limits", "Ran", "Sandbox", "Session", "Sessions", "Strength"]
