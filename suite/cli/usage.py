"""`suite usage`: who asked which model for how much, when most is asked, how long it takes, and what that suggests."""

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
HOURS = ("requests", "tokens", "queue_p95", "first_p95", "seconds_p95")
LATENCY = ("requests", "success", "fallbacks", "first_p50", "first_p95", "seconds_p50", "seconds_p95")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("usage", help="who asked which model for how much, how long it took, and what that suggests")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--since", default="", help="30m, 12h, 7d, or a local time such as 2026-01-31 or 2026-01-31T08:00; default: all")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one row per actor and model, most tokens first, then what that means. What was asked within the last second may be missing."""
    settings = load()
    rows, report = _read(settings.database_url, settings.data_dir / "sqlite", moment(args.since, time.time()))
    if args.json:
        print(json.dumps({"rows": rows, **report}, ensure_ascii=False))
        return 0
    print(render.text_table(list(COLUMNS), [[_shown(row[name]) for name in COLUMNS] for row in rows]))
    print(_told(report))
    return 0


def _told(report: dict[str, Any]) -> str:
    """Busiest hours, success and latency, and the advice, as text."""
    if not report["requests"]:
        return report["advice"][0]["sentence"]
    parts = [f"Busiest hours, {report['zone']}:", _table("hour", report["hours"], HOURS),
             "By alias:", _table("alias", report["aliases"], LATENCY), "By model:", _table("model", report["models"], LATENCY),
             "Advice:", *(f"- {one['sentence']}" for one in report["advice"])]
    return "\n".join(["", *parts] if report["advice"] else ["", *parts[:-1], f"Nothing stands out in {report['requests']} requests."])


def _table(key: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    shown = [[f"{row[key]:02d}:00" if key == "hour" else row[key], *(_cell(name, row[name]) for name in columns)] for row in rows]
    return render.text_table([key, *columns], shown) + "\n"


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return "-"
    return f"{value:.1%}" if name == "success" else f"{value:.2f} s" if isinstance(value, float) else value


def moment(since: str, now: float, option: str = "--since") -> float:
    """The moment that `--since` (or another option) means, in UTC seconds. Raises BadRequest for a text that is none."""
    if not since.strip():
        return 0.0
    try:
        return meant(since, now)
    except ValueError:
        raise BadRequest(f"{option} is {since[:80]!r} but must be such as 30m, 12h, 7d, 2026-01-31 or 2026-01-31T08:00.",
                         param=option.lstrip("-")) from None


def _read(url: str, folder: Path, since: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The totals, and the report about the requests."""
    from suite.storage.engine import open_storage
    from suite.usage.accounts import report
    from suite.usage.ledger import totals

    if not url and not (folder / "suite.db").exists():
        return [], report(None, since)  # nothing has run here yet, and asking for its usage makes no database
    storage = open_storage(url, folder)
    try:
        return [total.to_dict() for total in totals(storage, since)], report(storage, since)
    finally:
        storage.close()


def _shown(value: Any) -> Any:
    return f"{value:.1f}" if isinstance(value, float) else value
