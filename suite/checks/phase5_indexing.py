"""Phase 5, indexing: documents go in, every chunk is in the store as it should be, and each is gone again when it is taken out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from suite.checks import fault, fault_knowledge
from suite.checks.check import Check, Observation
from suite.checks.target import Target
from suite.checks.trace import MARK, marker

# One sentence is one chunk, whatever RAG_CHUNK_SIZE is; no two of them share a word that counts.
NOTES = {
    "keeper.md": ("The lighthouse keeper counts 417 steps.", "How many steps does the lighthouse keeper count?"),
    "ferry.txt": ("The Oslo ferry departs from pier 9.", "From which pier does the Oslo ferry depart?"),
    "teacher.md": ("한빛 도서관은 목요일에 쉽니다.", "한빛 도서관이 쉬는 요일은 언제인가요?"),
    "bread.txt": ("누룽지 빵은 오븐에서 37분 굽습니다.", "누룽지 빵은 몇 분 굽나요?"),
}
CHANGED = ("ferry.txt", "The Oslo ferry departs from pier 12.")
REMOVED = "bread.txt"
LONG = "islands.md"  # several chunks at any size


def long_text() -> str:
    """A document of three parts in two languages, about 4,000 characters."""
    parts = [("Harbours", "Harbour {n} is lit by {n} lamps, and its keeper writes the tide into a ledger every hour."),
             ("섬의 길", "섬의 길 {n}번은 {n}킬로미터이고 이정표가 스무 걸음마다 있습니다."),
             ("Weather", "On day {n} the wind blew from the west, and the boats of row {n} stayed in the bay.")]
    return "\n\n".join(f"# {title}\n\n" + "\n".join(sentence.format(n=number) for number in range(1, 25)) for title, sentence in parts) + "\n"


def indexing(target: Target, seen: Observation) -> None:
    """P5.1: a small corpus in two rounds, the points looked at in the store itself, indexed again, changed, removed and dropped."""
    if target.parts() is None:
        seen.not_applicable = "this stack is of another make, whose index cannot be asked what it holds; P2.4 has it index one document and cite it"
        return
    name = f"{MARK}-{marker()}"
    with tempfile.TemporaryDirectory(prefix="suite-check-", dir=target.folder) as place:
        folder = Path(place).resolve()
        texts = {str(folder / file): text + "\n" for file, (text, _) in NOTES.items()} | {str(folder / LONG): long_text()}
        for path, text in texts.items():
            Path(path).write_text(text, encoding="utf-8")
        try:
            _fill(target, seen, name, folder, texts)
            points = _stored(target, name)
            _look(seen, texts, points)
            _search(target, seen, name, folder)
            _again(target, seen, name, folder, points)
            _change(target, seen, name, folder)
            _remove(target, seen, name, folder)
        finally:
            target.call("DELETE", "rag", f"/collections/{name}")
    rows = target.json("GET", "rag", f"/collections/{name}/documents")["rows"]
    seen.values["left_behind"] = len(rows) + len(_places(target, name))


def _fill(target: Target, seen: Observation, name: str, folder: Path, texts: dict[str, str]) -> None:
    """In two calls: what is indexed first must not be written over by what comes second."""
    first = _indexed(target, name, [folder / "keeper.md"])
    rest = _indexed(target, name, [folder])
    written = first["new"] + rest["new"]
    seen.values |= {"documents_missing": len(texts) - written, "written_twice": written + rest["changed"] - len(texts),
                    "points_different": abs(first["chunks"] + rest["chunks"] - _count(target, name))}
    seen.note("indexed", first=first, rest=rest)


def _look(seen: Observation, texts: dict[str, str], points: dict[Any, dict[str, Any]]) -> None:
    """Every point is the part of its document that it says; the notes are one chunk each, and nothing of the long one is lost."""
    rows = list(points.values())
    seen.values["payload_wrong"] = sum(texts.get(row["document"], "")[row["start"]:row["end"]] != row["text"] or not row["text"] for row in rows)
    by_path = {path: sorted((row for row in rows if row["document"] == path), key=lambda row: row["chunk"]) for path in texts}
    notes = {path: text.strip() for path, text in texts.items() if Path(path).name != LONG}
    seen.values["notes_wrong"] = sum([row["text"] for row in by_path[path]] != [text] for path, text in notes.items())
    [path] = [path for path in texts if path not in notes]
    held = {at for row in by_path[path] for at in range(row["start"], row["end"])}
    seen.values["characters_lost"] = sum(not character.isspace() and at not in held for at, character in enumerate(texts[path]))
    seen.values["chunks_of_long"] = len(by_path[path])
    seen.note("points", points=len(rows), first={key: rows[0].get(key) for key in ("document", "chunk", "start", "end", "text")} if rows else None)


def _search(target: Target, seen: Observation, name: str, folder: Path) -> None:
    """Each note is the first that its question finds."""
    wrong = []
    for file, (_, question) in NOTES.items():
        hits = target.json("POST", "rag", f"/collections/{name}/search", json={"query": question, "topk": 1})["rows"]
        if [hit["document"] for hit in hits] != [str(folder / file)]:
            wrong.append(file)
    seen.values["not_found"] = len(wrong)
    seen.note("searches", not_found=wrong)


def _again(target: Target, seen: Observation, name: str, folder: Path, before: dict[Any, dict[str, Any]]) -> None:
    """The same files once more change nothing."""
    told = _indexed(target, name, [folder])
    after = _stored(target, name)
    seen.values |= {"again_written": told["new"] + told["changed"], "again_different": len(before.keys() ^ after.keys())
                    + sum(before[id] != after[id] for id in before.keys() & after.keys())}


def _change(target: Target, seen: Observation, name: str, folder: Path) -> None:
    """A changed file takes the place of its own chunks, and of no others."""
    file, text = CHANGED
    (folder / file).write_text(text + "\n", encoding="utf-8")
    told = _indexed(target, name, [folder])
    held = [row["text"] for row in _stored(target, name).values() if row["document"] == str(folder / file)]
    seen.values |= {"change_written": told["new"] + told["changed"], "change_wrong": int(held != [text])}


def _remove(target: Target, seen: Observation, name: str, folder: Path) -> None:
    """A document that is taken out leaves no chunk, and takes none of another with it."""
    before = _stored(target, name)
    path = str(folder / REMOVED)
    target.json("DELETE", "rag", f"/collections/{name}/documents", params={"path": path})
    after = _stored(target, name)
    others = {id for id, row in before.items() if row["document"] != path}
    seen.values |= {"removed_left": sum(row["document"] == path for row in after.values()), "removed_others": len(others - after.keys())}


def _indexed(target: Target, name: str, paths: list[Path]) -> dict[str, Any]:
    return target.json("POST", "rag", "/index", json={"collection": name, "paths": [str(path) for path in paths]})


def _places(target: Target, name: str) -> list[str]:
    """The vector collections that belong to this check's own."""
    return [row["name"] for row in target.json("GET", "qdrant", "/collections")["result"]["collections"] if name in row["name"]]


def _count(target: Target, name: str) -> int:
    return sum(target.json("POST", "qdrant", f"/collections/{place}/points/count", json={"exact": True})["result"]["count"]
               for place in _places(target, name))


def _stored(target: Target, name: str) -> dict[Any, dict[str, Any]]:
    """What the store holds, asked of the store itself: payload by id."""
    found: dict[Any, dict[str, Any]] = {}
    for place in _places(target, name):
        body = {"limit": 1000, "with_payload": True}
        points = target.json("POST", "qdrant", f"/collections/{place}/points/scroll", json=body)["result"]["points"]
        found |= {point["id"]: point["payload"] for point in points}
    return found


INDEXING = (
    Check("P5.1", "Documents are indexed whole, once, and gone when they are removed", 5, "function", 2, fault.LOST_WRITES, indexing,
          (fault_knowledge.SHIFTED_CHUNKS, fault_knowledge.LOST_CHUNKS, fault_knowledge.WRITTEN_OVER, fault_knowledge.FORGOTTEN_INDEX,
           fault_knowledge.FROZEN_INDEX, fault_knowledge.WORST_FIRST, fault.IGNORED_DELETES, fault_knowledge.KEPT_COLLECTIONS)),
)
