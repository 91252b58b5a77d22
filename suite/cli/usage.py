"""`suite usage`: who asked which model for how much."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from suite import render
from suite.errors import BadRequest
from suite.settings import load
from suite.text.moment import moment as meant

COLUMNS = ("who", "alias", "model", "requests", "fallbacks", "cancelled", "failed", "prompt_tokens", "cached", "tokens", "seconds")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("usage", help="who asked which model for how much")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--since", default="", help="30m, 12h, 7d, or a local time such as 2026-01-31 or 2026-01-31T08:00; default: all")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one row per actor and model, most tokens first. What was asked within the last second may be missing."""
    settings = load()
    rows = _rows(settings.database_url, settings.data_dir / "sqlite", moment(args.since, time.time()))
    print(json.dumps({"rows": rows}, ensure_ascii=False) if args.json
          else render.text_table(list(COLUMNS), [[_shown(row[name]) for name in COLUMNS] for row in rows]))
    return 0


def moment(since: str, now: float, option: str = "--since") -> float:
    """The moment that `--since` (or another option) means, in UTC seconds. Raises BadRequest for a text that is none."""
    if not since.strip():
        return 0.0
    try:
        return meant(since, now)
    except ValueError:
        raise BadRequest(f"{option} is {since[:80]!r} but must be such as 30m, 12h, 7d, 2026-01-31 or 2026-01-31T08:00.",
                         param=option.lstrip("-")) from None


def _rows(url: str, folder: Path, since: float) -> list[dict[str, Any]]:
    if not url and not (folder / "suite.db").exists():
        return []  # nothing has run here yet, and asking for its usage makes no database
    from suite.storage.engine import open_storage
    from suite.usage.ledger import totals

    storage = open_storage(url, folder)
    try:
        return [total.to_dict() for total in totals(storage, since)]
    finally:
        storage.close()


def _shown(value: Any) -> Any:
    return f"{value:.1f}" if isinstance(value, float) else value
