"""Tools on a real database whose own work is nothing: what is measured is all that is around it. Each `Parts` is for one process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from suite.access.actor import Actors
from suite.access.apikey import ApiKeys
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.checkpoint import FILE, Checkpoint
from suite.access.identify import Door
from suite.access.key import create_key
from suite.access.permission import Permission
from suite.access.policy import load_policy
from suite.errors import ApprovalNeeded, RunFailed
from suite.settings import load
from suite.storage.engine import open_storage
from suite.tools.call import Tools
from suite.tools.tool import tool_of

OFTEN = 10_000_000  # calls in a minute: the limit is asked each time and never reached
FREE, WAITS = "list_files", "write_file"  # names that the policy has a row for: of LOW and of HIGH sensitivity
ANSWER = {"count": 0}


def list_files(path: Annotated[str, "A folder."] = ".") -> dict[str, Any]:
    """Do nothing."""
    return ANSWER


def write_file(path: str) -> dict[str, Any]:
    """Do nothing."""
    return ANSWER


class Parts:
    """Access and tools as a stack has them, over SQLite below `data`; settings are the defaults, so all that secures a call is switched on."""

    def __init__(self, data: Path) -> None:
        workspace = data / "workspace"
        workspace.mkdir(parents=True, exist_ok=True)
        (data / "sqlite").mkdir(exist_ok=True)
        (data / "run").mkdir(mode=0o700, exist_ok=True)
        self.settings = load({"data_dir": str(data), "workspace_dir": str(workspace)}, environ={}, cwd=data)
        policy = load_policy()
        for name in (FREE, WAITS):
            row = policy.tools[name]
            policy.tools[name] = Permission(name, row.name, row.sensitivity, OFTEN, row.seconds, 0, row.effect, row.web, row.quick)
        self.storage = open_storage("", data / "sqlite")
        self.audit, self.actors = Audit(self.storage, Checkpoint(data / "sqlite" / FILE)), Actors(self.storage, policy)
        self.keys = ApiKeys(self.storage, self.actors)
        self.token = create_key(data / "run")
        self.door = Door(self.token, self.keys, self.settings.mcp_user_id)
        self.tools = Tools(self.audit, self.actors, workspace, self.settings, (tool_of(list_files), tool_of(write_file)))
        self.tools.start()

    def close(self) -> None:
        """Close everything."""
        self.tools.close()
        self.storage.close()


class Calls:
    """Calls in this process, one after the other: from the text of an API key to the second audit entry."""

    def __init__(self, data: str) -> None:
        self._parts = Parts(Path(data))
        self._key, self._approver = self._parts.keys.create("dev_user")[1], self._parts.keys.create("admin_user")[0]
        self._made = 0

    def free(self, count: int) -> dict[str, Any]:
        """Calls that need no approval: the seconds of each, and those of this process's own work on all of them."""
        marks = []
        worked = time.process_time()
        for _ in range(count):
            began = time.perf_counter()
            self._call(FREE, {"path": "."})
            marks.append(time.perf_counter() - began)
        return {"marks": marks, "worked": time.process_time() - worked}

    def granted(self, count: int) -> dict[str, Any]:
        """Calls of a HIGH tool, each with an approval of its own that was given just before and that it uses up."""
        marks = []
        for _ in range(count):
            self._made += 1
            arguments = {"path": f"file-{self._made}"}
            self._approve(arguments)
            began = time.perf_counter()
            self._call(WAITS, arguments)
            marks.append(time.perf_counter() - began)
        return {"marks": marks}

    def _call(self, tool: str, arguments: dict[str, Any]) -> None:
        caller = self._parts.door.identify(self._key)
        if caller is None:
            raise RunFailed("The API key of the measurement is not known.")
        self._parts.tools.call(tool, arguments, caller=caller)

    def _approve(self, arguments: dict[str, Any]) -> None:
        try:
            self._call(WAITS, arguments)
        except ApprovalNeeded as error:
            self._parts.tools.approver.approve(str(error.facts["approval"]), "measured", Caller(self._approver.actor, self._approver.id))
            return
        raise RunFailed(f"A call of {WAITS} went ahead without an approval.")
