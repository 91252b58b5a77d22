"""What the tests of tools stand on: a workspace with files in it, a real database, real tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.access.actor import Actors
from suite.access.apikey import ApiKeys
from suite.access.audit import Audit
from suite.access.identify import Door
from suite.settings import Settings, load
from suite.storage.engine import Storage, open_storage
from suite.tools.call import Tools
from suite.tools.desk import Desk


@dataclass
class Stage:
    """One workspace and the tools over it."""

    root: Path
    workspace: Path
    storage: Storage
    settings: Settings
    audit: Audit
    actors: Actors
    tools: Tools
    keys: ApiKeys


def set_stage(root: Path, **settings: object) -> Stage:
    """A started stage below `root`."""
    workspace = root / "작업 공간"
    (workspace / "notes").mkdir(parents=True)
    (workspace / "README.md").write_text("# 안녕\n", encoding="utf-8")
    (workspace / "notes" / "회의록.txt").write_text("세 시에 만나요.\n", encoding="utf-8")
    (root / "outside.txt").write_text("outside", encoding="utf-8")
    (root / "data").mkdir()
    return open_stage(root, **settings)


def open_stage(root: Path, **settings: object) -> Stage:
    """The stage on the files that `set_stage` left at `root`."""
    workspace = root / "작업 공간"
    given = {"workspace_dir": str(workspace), "data_dir": str(root / "data"), "mcp_user_id": "admin_user", **settings}
    loaded = load(given, environ={}, cwd=workspace)
    storage = open_storage("", root / "data")
    audit, actors = Audit(storage), Actors(storage)
    tools = Tools(audit, actors, loaded.workspace_dir, loaded)
    tools.start()
    return Stage(root, workspace, storage, loaded, audit, actors, tools, ApiKeys(storage, actors))


class NoToken:
    """The access token of a stage that no port serves: nothing matches it."""

    def matches(self, token: str) -> bool:
        return False


def desk(stage: Stage) -> Desk:
    """The approvals of a stage."""
    return Desk(stage.tools.approver, Door(NoToken(), stage.keys, stage.settings.mcp_user_id))
