"""The models as one table: those that answer now, and those that the catalogue knows besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import render
from suite.serving.catalog import CatalogModel, catalog

if TYPE_CHECKING:
    import pandas

COLUMNS = ("alias", "server", "model", "state", "context", "slots", "tokens/s", "licence", "hash", "why")
SMOKE = "Smoke models prove that the stack works; what they say is no measure of any model."


class ModelTable:
    """`rows` are dictionaries, those with an alias first: alias, server, model, loaded, ready, state, smoke, context, slots, tokens_per_s, present,
    licence, hash, bytes, why.

    `state` is ready or not ready for what a server has, present or absent for the other models of the catalogue. `hash` is verified (the file has the
    hash that the catalogue pins), unverified (nobody pinned one), or not checked (pinned, but the file was not read now). `context` is in tokens,
    `slots` how many replies are written at once, `tokens_per_s` the speed of the last reply (0.0 before the first).
    """

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.rows = list(rows)

    @classmethod
    def of(cls, aliases: Iterable[Mapping[str, Any]], servers: Iterable[Mapping[str, Any]], models_dir: Path) -> ModelTable:
        """The table of a gateway's `aliases` (Gateway.models), the loaded `servers` (ModelServer.info) and the files in `models_dir`."""
        loaded = {str(info["name"]): info for info in servers if info.get("loaded")}
        rows = [_served(alias, loaded.get(str(alias["upstream"]), {})) for alias in aliases]
        taken = {row["model"] for row in rows if row["loaded"]}
        return cls([*rows, *(_known(entry, models_dir) for entry in catalog().values() if entry.name not in taken)])

    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas table."""
        import pandas

        return pandas.DataFrame(self.rows)

    def __repr__(self) -> str:
        note = f"\n{SMOKE}" if any(row["smoke"] and row["loaded"] for row in self.rows) else ""
        return render.text_table(COLUMNS, self._cells()) + note

    def _repr_html_(self) -> str:
        note = SMOKE if any(row["smoke"] and row["loaded"] for row in self.rows) else ""
        return render.table(COLUMNS, self._cells(), title="Models", note=note, whole=4)

    def _cells(self) -> list[list[Any]]:
        return [[row["alias"] or None, row["server"] or None, row["model"] or None, row["state"], row["context"] or None, row["slots"] or None,
                 f"{row['tokens_per_s']:,.1f}" if row["tokens_per_s"] else None, row["licence"] or None, row["hash"] or None, row["why"]]
                for row in self.rows]


def _served(alias: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    ready = bool(alias["ready"])
    return {"alias": alias["id"], "server": alias["upstream"], "model": info.get("id") or alias.get("model", ""), "loaded": bool(info) or ready,
            "ready": ready, "state": "ready" if ready else "not ready", "smoke": bool(info.get("smoke", alias.get("smoke"))),
            "context": int(info.get("n_ctx") or 0), "slots": int(info.get("slots") or 0),
            "tokens_per_s": round(float(info.get("tokens_per_s") or 0.0), 1), "present": bool(info), "licence": info.get("licence", ""),
            "hash": ("verified" if info.get("verified") else "unverified") if info else "", "bytes": int(info.get("bytes") or 0),
            "why": "; ".join(alias.get("reasons", ()))}


def _known(entry: CatalogModel, models_dir: Path) -> dict[str, Any]:
    present = entry.bundled or (models_dir / (entry.name if entry.package else entry.file)).exists()
    checked = "unverified" if not entry.sha256 else "not checked" if present else ""
    return {"alias": "", "server": "", "model": entry.name, "loaded": False, "ready": False, "state": "present" if present else "absent",
            "smoke": entry.smoke, "context": entry.context, "slots": 0, "tokens_per_s": 0.0, "present": present, "licence": entry.licence,
            "hash": checked, "bytes": entry.bytes, "why": ""}
