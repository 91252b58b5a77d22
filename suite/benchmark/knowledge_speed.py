"""How fast documents are indexed, beside fastembed alone, and how fast chunks are found among many."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from suite.benchmark.figures import in_turns, paired, percentile
from suite.benchmark.knowledge_job import LONG, MODEL, Job
from suite.benchmark.knowledge_texts import fill
from suite.benchmark.row import Limit

BARE = Limit("indexing English texts: bare fastembed", "chunks/s", ">=")
OURS = Limit("indexing English texts", "x", ">=", 0.9, "bare fastembed")
ENGLISH = Limit("indexing English texts", "KB/s", ">=")
KOREAN = Limit("indexing Korean texts", "KB/s", ">=")  # found by words alone: the bundled model does not read them
MEDIAN = Limit("retrieval by both arms, without the embedding: p50", "ms", "<=")
TAIL = Limit("retrieval by both arms, without the embedding: p95", "ms", "<=", 20.0)
RECALL = Limit("the vectors' index: recall@10 of exact search", "%", ">=", 95.0)
WRITE = Limit("writing the chunks", "s", "<=")
INDEX = Limit("then, until the index holds them", "s", "<=")
MEMORY = Limit("resident memory of the store's process", "MB", "<=")
DISK = Limit("disk", "MB", "<=")
FOUND = (MEDIAN, TAIL, RECALL, WRITE, INDEX, MEMORY, DISK)
WARM = 50  # questions


def indexing(job: Job) -> list[dict[str, Any]]:
    """`Knowledge.add` of a folder of made English texts, and fastembed on the same chunks with the same weights, threads and batches, in turns."""
    settings, stack = job.scene.settings, job.stack("the stack")
    bare = job.scene.child("bare fastembed", "embedder", model=MODEL, models_dir=str(settings.models_dir), cache_dir=str(job.folder("fastembed")),
                           threads=settings.embedding_threads, batch=settings.embedding_batch_size)
    sizes: list[int] = []

    def material(turn: int) -> dict[str, str]:
        folder, texts = job.folder(f"english-{turn}"), str(job.folder(f"english-{turn}.json"))
        sizes.append(fill(folder, f"english {turn}", 1000 * job.load.kilobytes))
        stack.ask("texts", LONG, folder=str(folder), file=texts)
        return {"collection": folder.name, "folder": str(folder), "texts": texts}

    runs = in_turns({"ours": lambda given: stack.ask("index", LONG, collection=given["collection"], folder=given["folder"]),
                     "bare": lambda given: bare.ask("embed", LONG, file=given["texts"])}, material, job.rounds)
    job.scene.end("bare fastembed")
    rates = {name: [row["chunks"] / row["seconds"] for row in found] for name, found in runs.items()}
    chunks = round(statistics.median(row["chunks"] for row in runs["ours"]))
    note = job.note(f"{chunks:,} chunks a round", f"batches of {settings.embedding_batch_size}", job.threads)
    speed = statistics.median(size / 1e3 / row["seconds"] for size, row in zip(sizes, runs["ours"], strict=True))
    return [BARE.row(statistics.median(rates["bare"]), note=note), job.held(OURS).row(paired(rates["ours"], rates["bare"]), note=note),
            ENGLISH.row(speed, note=note)]


def indexing_korean(job: Job) -> list[dict[str, Any]]:
    """The same of Korean texts, with nothing to hold it against."""
    stack, speeds = job.stack("the stack"), []
    for turn in range(job.rounds):
        folder = job.folder(f"korean-{turn}")
        size = fill(folder, f"korean {turn}", 1000 * job.load.kilobytes, "ko")
        speeds.append(size / 1e3 / stack.ask("index", LONG, collection=folder.name, folder=str(folder), warm=True)["seconds"])
    job.scene.end("the stack")
    return [KOREAN.row(statistics.median(speeds), note=job.note(f"{job.load.kilobytes:,} KB a round", "words alone"))]


def retrieval(job: Job) -> list[dict[str, Any]]:
    """Both arms and their fusion, by questions whose vector is there already, among made chunks that are indexed."""
    return _found(job, job.load.chunks, held=True)


def retrieval_among_many(job: Job) -> list[dict[str, Any]]:
    """The same among so many that nothing is asked of it."""
    return _found(job, job.many, held=False)


def unheld(limit: Limit) -> Limit:
    """The row as a figure to know."""
    return Limit(limit.name, limit.unit, limit.op)


def _found(job: Job, count: int, held: bool) -> list[dict[str, Any]]:
    folder = job.folder(f"points-{count}")
    points = job.scene.child(f"{count:,} chunks", "points", folder=str(folder), count=count, asked=job.load.asked)
    seconds = points.ask("fill", LONG)
    runs = [points.ask("ask", LONG, warm=WARM) for _ in range(job.rounds)]
    recall = points.ask("recall", LONG, asked=job.load.compared)
    figures = {MEDIAN: 1000 * statistics.median(percentile(run, 0.5) for run in runs),
               TAIL: 1000 * statistics.median(percentile(run, 0.95) for run in runs), RECALL: 100 * recall,
               WRITE: seconds["write"], INDEX: seconds["index"], MEMORY: points.memory()[0] / 1e6, DISK: _used(folder) / 1e6}
    job.scene.end(f"{count:,} chunks")
    note = job.note(f"{count:,} made chunks", f"{len(runs[0]):,} questions")
    lacks = job.note(f"{count:,} made chunks", f"it lacks {seconds['lacks']:,} then")
    return [(job.held(limit) if held else unheld(limit)).row(value, note=lacks if limit is INDEX else note) for limit, value in figures.items()]


def _used(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
