"""Phase 4, the list of security recommendations: each is looked at on the stack, and passes, fails, is waived, or does not apply and says why."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from suite.checks.check import Observation
from suite.checks.ground import encrypted, on_this_machine, user_of
from suite.checks.result import Result
from suite.checks.target import Target

EVIL = "evil.example"
PRIVATE = ("run", "sqlite", "backups", "logs", "vectors", "memory")
ENGINE = "shard"  # the folder of a collection in which the vector engine writes
UNSEEN = "not seen"  # meets no limit: what cannot be looked at is not taken for good
DAY = 93_600.0  # seconds between two daily backups, and two hours for the backup itself
RULES = ("HostMemoryLow", "HostBusy", "RequestErrors", "DiskSpaceLow", "BackupMissing", "AuditFailing", "DeniedSpike")


@dataclass(frozen=True)
class Recommendation:
    """One row of the list: what is recommended, and when it applies (always, when empty)."""

    sentence: str
    applies: str = ""


LIST: Mapping[str, Recommendation] = {
    "opened_by_wrong_token": Recommendation("Every port asks for the token."),
    "opened_by_foreign_host": Recommendation("No port answers to the name of another host."),
    "opened_by_foreign_origin": Recommendation("No port answers to a page of another origin."),
    "beyond_loopback": Recommendation("Ports listen on this machine only; what others need stands behind a proxy with TLS and a firewall."),
    "unencrypted_links": Recommendation("Whatever leaves this machine is encrypted (TLS)."),
    "readable_by_others": Recommendation("Files of the data directory are for their owner alone."),
    "settings_readable": Recommendation("Files of settings that hold a secret are for their owner alone."),
    "token_in_logs": Recommendation("No log holds the access token."),
    "key_age": Recommendation("API keys are replaced within 90 days.", "there are API keys that open something"),
    "audit_whole": Recommendation("The audit trail is whole."),
    "rules_missing": Recommendation("There are alert rules for memory, processor, disk, errors, backups, the audit trail and denied calls."),
    "backup_age": Recommendation("There is a backup of the last day that was restored once.",
                                 "the stage is staging or prod, or the stack or its oldest snapshot is more than a day old"),
    "encrypted_at_rest": Recommendation("The data directory is encrypted on the disk.", "the stage is staging or prod"),
    "run_as_root": Recommendation("The stack does not work as root.", "the stage is staging or prod"),
    "models_in_this_process": Recommendation("Models run in children of their own (SERVING_ISOLATION=process).", "the stage is prod"),
}


def recommendations(target: Target, seen: Observation) -> None:
    """P4.4: doors, links, files, keys, records and rules as they are; on another machine what cannot be looked at counts as broken."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack is of another make and does not say which settings hold; look at its own ones"
        return
    host, exposed = record["host"], record["host"].get("exposure") or {}
    _doors(target, seen)
    data = on_this_machine(host)
    _machine(target, host, data, seen)
    plain = [row["name"] for row in exposed.get("links") or [] if not row["encrypted"]]
    known = "links" in exposed
    keys, files = exposed.get("keys") or {}, exposed.get("secret_files") or []
    told = {"unencrypted_links": len(plain), "key_age": keys.get("oldest_days"), "settings_readable": len(files)}
    seen.values |= told if known else dict.fromkeys(told, UNSEEN)
    seen.note("links", unencrypted=plain, all=exposed.get("links"))
    seen.note("keys", **keys)
    seen.values["audit_whole"], why = target.deep("mcp-server")
    if why:
        seen.note("audit", reasons=why)
    _rules(target, seen)
    _backups(target, host, seen)
    _by_stage(host, data, seen)
    rows = [{"recommendation": name, "asks": row.sentence, "when": row.applies or "always"} for name, row in LIST.items()]
    seen.note("recommendations", rows=rows)


def listed(result: Result) -> list[tuple[str, str, str, str]]:
    """The list as it stands in a result: what is recommended, its state (pass, fail, waived, does not apply), what was seen, and who answers."""
    rows = next((item["rows"] for item in result.evidence if item.get("name") == "recommendations"), [])
    waivers = {item["condition"]: item for item in result.evidence if item.get("name") == "waiver"}
    judged, found = {item["name"]: item for item in result.conditions}, []
    for row in (row for row in rows if row["recommendation"] in judged):
        name = row["recommendation"]
        met, observed, waiver = judged[name]["met"], judged[name]["observed"], waivers.get(name)
        state = {True: "pass", None: "does not apply"}.get(met, "waived" if waiver else "fail")
        why = f"applies when {row['when']}" if met is None else ""
        if state == "waived":
            why = f"{waiver['owner']} until {waiver['expiry']}: {waiver['reason']}"
        found.append((row["asks"], state, "" if observed is None else f"{name} {observed}", why))
    return found


def _doors(target: Target, seen: Observation) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    doors = {part: [target.call("GET", part, "/live", headers=more).status_code for more in (wrong, {"Host": EVIL}, {"Origin": f"http://{EVIL}"})]
             for part in target.urls}
    for number, name in enumerate(("opened_by_wrong_token", "opened_by_foreign_host", "opened_by_foreign_origin")):
        seen.values[name] = sum(found[number] not in (401, 403, 421) for found in doors.values())
    seen.note("doors", statuses=doors)


def _machine(target: Target, host: dict[str, Any], data: Path | None, seen: Observation) -> None:
    """What is looked at on the machine of the stack: sockets of its process, modes of files, logs."""
    if data is None:
        seen.values |= dict.fromkeys(("beyond_loopback", "readable_by_others", "token_in_logs"), UNSEEN)
        seen.note("refused", reason=f"the stack's data directory {host.get('data_dir')} is not on this machine; run this where the stack runs")
        return
    seen.values["beyond_loopback"] = _beyond_loopback(int(host["pid"]), seen)
    loose = sorted(str(path.relative_to(data)) for path in _files(data) if _mode(path) & 0o077)
    told = [path.name for path in (data / "logs").rglob("*") if path.is_file() and target.token and target.token.encode() in path.read_bytes()]
    seen.values |= {"readable_by_others": len(loose), "token_in_logs": len(told)}
    seen.note("files", readable_by_others=loose[:20], token_in=told)


def _rules(target: Target, seen: Observation) -> None:
    groups = target.json("GET", "monitoring", "/api/v1/rules")["data"]["groups"] if "monitoring" in target.urls else []
    missing = sorted(set(RULES) - {rule["name"] for group in groups for rule in group["rules"]})
    seen.values["rules_missing"] = len(missing)
    seen.note("rules", missing=missing)


def _backups(target: Target, host: dict[str, Any], seen: Observation) -> None:
    """The age of the newest snapshot that was restored once, where there has been time for one."""
    body = target.json("GET", "api-gateway", "/v1/backups")
    rows, standing = body.get("rows") or [], body.get("standing") or {}
    oldest = max([time.time() - float(host["started_at"]), *(row["age_s"] for row in rows)])
    applies = host.get("stage") != "dev" or oldest > DAY
    age = standing.get("rpo_s")
    seen.values["backup_age"] = (math.inf if age is None else age) if applies else None  # none at all is older than any limit
    seen.note("backups", snapshots=len(rows), verified=standing.get("verified"), newest_verified_s=age, oldest_s=round(oldest, 1))


def _by_stage(host: dict[str, Any], data: Path | None, seen: Observation) -> None:
    """What is asked of stages in which real data is kept."""
    stage = host.get("stage")
    seen.values |= dict.fromkeys(("encrypted_at_rest", "run_as_root", "models_in_this_process"))
    if stage != "dev":
        safe, why = encrypted(data) if data is not None else (UNSEEN, "it is on another machine")
        user = user_of(host) if data is not None else None
        seen.values |= {"encrypted_at_rest": safe, "run_as_root": UNSEEN if user is None else user == 0}
        seen.note("at rest", reason=why, user=user)
    if stage == "prod":
        seen.values["models_in_this_process"] = host.get("serving_isolation") != "process"


def _beyond_loopback(pid: int, seen: Observation) -> int | str:
    """How many sockets of the host listen on more than this machine."""
    try:
        sockets = psutil.Process(pid).net_connections("inet")
    except psutil.Error as error:
        seen.note("sockets", reason=f"{type(error).__name__}: {error}")
        return UNSEEN
    open_ones = [f"{row.laddr.ip}:{row.laddr.port}" for row in sockets if row.status == psutil.CONN_LISTEN
                 and not row.laddr.ip.startswith("127.") and row.laddr.ip != "::1"]
    seen.note("sockets", beyond_loopback=open_ones)
    return len(open_ones)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:  # gone meanwhile
        return 0


def _files(data: Path) -> Iterator[Path]:
    """The files that have to be private themselves: those of the vector engine have the umask's modes, and lie in a folder that is closed."""
    for name in PRIVATE:
        for place, folders, names in os.walk(data / name):
            folders[:] = [folder for folder in folders if folder != ENGINE or _mode(Path(place, folder)) & 0o077]
            yield from (path for path in (Path(place, file) for file in names) if path.is_file() and not path.is_symlink())
