"""Tools that run Python and bash, in the sandbox and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypedDict

from suite.errors import NotReady, TimedOut, ToolFailed
from suite.tools.sandbox import Language, Ran, Sandbox, Sessions
from suite.tools.tool import Place, Tool, Watch, tool_of

_CODE = {"description": "A Python program; what it prints is given back.", "minLength": 1, "maxLength": 200_000}
_COMMAND = {"description": "A bash program; what it prints is given back.", "minLength": 1, "maxLength": 100_000}
_TIMEOUT = {"description": "Seconds after which the program is ended.", "minimum": 1, "maximum": 300}
_SESSION = {"description": "Name of a session, whose programs share a folder; empty for a folder that is removed afterwards.", "maxLength": 64}
_TOLD = 2000  # characters of what a program printed before its time was up


class Execution(TypedDict):
    """How a program ended: `ended` names the limit that ended it, empty for none; `sandbox` what confined it; `seconds` with the sandbox's start."""

    stdout: str
    stderr: str
    returncode: int
    success: bool
    seconds: float
    ended: str
    sandbox: str


def sandbox_tools(sandbox: Sandbox, sessions: Sessions, refusal: Callable[[Sandbox], str] = lambda sandbox: "") -> tuple[Tool, ...]:
    """The tools `execute_python` and `execute_bash`; `refusal` says why no program may run now, empty when one may.

    An exit status other than 0 is a result. They raise TimedOut, NotReady where no sandbox holds, and what `Sessions.run` raises. A session belongs
    to the actor who opened it.
    """

    def execute(language: Language, source: str, timeout: int, session: str, watch: Watch, place: Place) -> Execution:
        why = refusal(sandbox)
        if why:
            raise NotReady(why, part="sandbox", retry_after=3600)
        if session:
            ran = sessions.run(f"{place.actor}.{session}" if place.actor else session, language, source, timeout=timeout, halted=watch.halted)
        else:
            ran = sandbox.run(language, source, timeout=timeout, halted=watch.halted)
        return _execution(ran, timeout)

    def execute_python(code: Annotated[str, _CODE], watch: Watch, place: Place, timeout: Annotated[int, _TIMEOUT] = 30,
                       session: Annotated[str, _SESSION] = "") -> Execution:
        """Run a Python program in a sandbox: no network, no files but its own folder, bounded memory, CPU time and output."""
        return execute("python", code, timeout, session, watch, place)

    def execute_bash(command: Annotated[str, _COMMAND], watch: Watch, place: Place, timeout: Annotated[int, _TIMEOUT] = 30,
                     session: Annotated[str, _SESSION] = "") -> Execution:
        """Run a bash program in a sandbox: no network, no files but its own folder, bounded memory, CPU time and output."""
        return execute("bash", command, timeout, session, watch, place)

    return tool_of(execute_python), tool_of(execute_bash)


def _execution(ran: Ran, timeout: int) -> Execution:
    if ran.ended == "timeout":
        raise TimedOut(f"The program was ended because it took longer than {timeout} s; make it faster, or give it more time by `timeout`.",
                       seconds=timeout, stdout=ran.stdout[-_TOLD:], stderr=ran.stderr[-_TOLD:])
    if ran.ended == "halted":
        raise ToolFailed(f"The program was ended after {ran.seconds:.1f} s because nobody waits for it any longer; call it again.")
    return {"stdout": ran.stdout, "stderr": ran.stderr, "returncode": ran.returncode, "success": ran.returncode == 0 and not ran.ended,
            "seconds": round(ran.seconds, 6), "ended": ran.ended, "sandbox": ran.sandbox}
