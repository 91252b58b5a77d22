"""SECURITY_MODE: one meaning for each word, and which one a stage takes when none is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from suite.access.permission import Sensitivity


@dataclass(frozen=True)
class Mode:
    """From which sensitivity on a call needs an approval, whether the owner may confirm their own calls in stage dev, and whether a sandbox that
    lacks a layer is used."""

    name: str
    ask_from: Sensitivity
    owner_confirm: bool
    weaker_sandbox: bool


MODES = {
    "legacy": Mode("legacy", Sensitivity.CRITICAL, owner_confirm=True, weaker_sandbox=True),
    "normal": Mode("normal", Sensitivity.HIGH, owner_confirm=True, weaker_sandbox=True),
    "strict": Mode("strict", Sensitivity.MEDIUM, owner_confirm=False, weaker_sandbox=False),
}
STRICTEST = MODES["strict"]
OF_STAGE = {"dev": "normal", "staging": "normal", "prod": "strict"}


class ModeSettings(Protocol):
    """The settings that say which mode holds."""

    stage: str
    security_mode: str


def mode_of(settings: ModeSettings) -> Mode:
    """The mode in force: SECURITY_MODE, else that of the stage; what nobody knows is treated as the strictest."""
    return MODES.get(settings.security_mode or OF_STAGE.get(settings.stage, ""), STRICTEST)


def owner_confirms(settings: ModeSettings) -> bool:
    """Whether the policy `owner-confirm` holds: the owner of the notebook may approve their own calls, which the record says."""
    return settings.stage == "dev" and mode_of(settings).owner_confirm
