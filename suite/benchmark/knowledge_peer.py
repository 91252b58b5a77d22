"""The same job done by LlamaIndex with the same weights: files are indexed, questions asked, and the right file counted."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.benchmark.child import Asked
from suite.benchmark.figures import in_turns, paired
from suite.benchmark.knowledge_job import LONG, MODEL, Job
from suite.benchmark.knowledge_texts import Writer, paragraph_files
from suite.benchmark.peer import environment
from suite.benchmark.row import Limit
from suite.embedding.load import ONNX_FILE
from suite.embedding.model import embedding_model
from suite.errors import RunFailed, SuiteError

PEER = "LlamaIndex"
REQUIREMENTS = ["llama-index-core>=0.14,<0.15", "llama-index-embeddings-fastembed>=0.7,<0.8", "llama-index-retrievers-bm25>=0.8,<0.9"]
PUBLISHED = "sentence-transformers/all-MiniLM-L6-v2"  # what fastembed calls the bundled model
TOPK = 5
PEER_INDEX = Limit("the same job by LlamaIndex: indexing, in memory", "s", "<=")
OUR_INDEX = Limit("the same job: indexing, to disk", "s", "<=", None, PEER)
PEER_FIND = Limit("the same job by LlamaIndex: p50 of finding, the question's embedding counted", "ms", "<=")
OUR_FIND = Limit("the same job: p50 of finding, the question's embedding counted", "ms", "<=", None, PEER)
PEER_RIGHT = Limit("the same job by LlamaIndex: recall@1", "%", ">=")
OUR_RIGHT = Limit("the same job: recall@1", "%", ">=", None, PEER)
LIMITS = (PEER_INDEX, OUR_INDEX, PEER_FIND, OUR_FIND, PEER_RIGHT, OUR_RIGHT)
# its own packages first, ours only for `attend`, which needs no library
BEGIN = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('suite.benchmark.knowledge_llama_index', run_name='__main__')"

Questions = dict[str, list[tuple[str, str]]]  # by where they are from: question, name of the file that answers it


class LlamaIndex(Asked):
    """LlamaIndex in an environment of its own. It sees nothing of our environment variables, so no key, and is told to fetch nothing."""

    def __init__(self, cache: Path, scratch: Path, models_dir: Path, threads: int) -> None:
        python = environment(cache, "llama-index", REQUIREMENTS, shared=True)
        values = {"name": PUBLISHED, "weights": str(weights(models_dir, scratch / "weights")), "cache": str(scratch), "threads": threads or None}
        alone = ["env", "-i", "PATH=/usr/bin:/bin", f"HOME={scratch}", f"TMPDIR={scratch}", "LANG=C.UTF-8", "HF_HUB_OFFLINE=1"]
        root = str(Path(__file__).resolve().parents[2])
        super().__init__(PEER, [*alone, str(python), "-c", BEGIN, root, json.dumps(values)])


def weights(models_dir: Path, folder: Path) -> Path:
    """A folder in which the bundled model lies as fastembed publishes it: the same files, the network at the top."""
    model = models_dir / MODEL
    if not embedding_model(MODEL).here(models_dir):
        raise RunFailed(f"{model} does not hold the bundled model; run `suite models pull {MODEL}`")
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*model.glob("*.json"), model / ONNX_FILE):
        (folder / file.name).unlink(missing_ok=True)
        (folder / file.name).symlink_to(file)
    return folder


def beside_peer(job: Job) -> list[dict[str, Any]]:
    """Both index the paragraphs of all files given, or a few made ones, and are asked all their questions, in turns."""
    folder = job.folder("the-same-job")
    questions = _material(job, folder)
    asked = [text for rows in questions.values() for text, _ in rows]
    stack = job.stack("the stack of the same job", embedding_cache_mb=0)  # so that no round has it easier than the first

    def ours(turn: int) -> dict[str, Any]:
        indexed = stack.ask("index", LONG, collection=f"job-{turn}", folder=str(folder), warm=True)
        found = stack.ask("ask", LONG, collection=f"job-{turn}", questions=asked, topk=TOPK)
        return {**indexed, "found": found}

    contenders, absent = {"ours": ours}, ""
    try:
        contenders["peer"] = _peer(job, folder, asked)
    except SuiteError as error:
        absent = error.message.rstrip(".")
    runs = in_turns(contenders, lambda turn: turn, job.rounds)
    job.scene.end("the stack of the same job")
    job.scene.end(PEER)
    return _rows(job, questions, runs, absent)


def _peer(job: Job, folder: Path, asked: list[str]) -> Callable[[int], dict[str, Any]]:
    settings, scratch = job.scene.settings, job.folder("peer")
    scratch.mkdir()
    peer = job.scene.contender(PEER, lambda: LlamaIndex(job.scene.cache, scratch, settings.models_dir, settings.embedding_threads),
                               lambda made: made.ask("ready"))
    return lambda _: {**peer.ask("index", LONG, folder=str(folder)), "found": peer.ask("ask", LONG, questions=asked, topk=TOPK)}


def _material(job: Job, folder: Path) -> Questions:
    """Write the files, and give the questions."""
    if job.files and not job.quick:  # it embeds Korean too, which takes half a minute
        return {file.name: paragraph_files(file, folder) for file in job.files}
    paragraphs, asked = Writer("the same job").answered(job.load.paragraphs)
    folder.mkdir(parents=True)
    for number, paragraph in enumerate(paragraphs):
        (folder / f"{number:06}.txt").write_text(paragraph, encoding="utf-8")
    return {"made questions": [(one.text, f"{one.place:06}.txt") for one in asked]}


def _rows(job: Job, questions: Questions, runs: dict[str, list[dict[str, Any]]], absent: str) -> list[dict[str, Any]]:
    """Theirs before ours; without the peer ours alone, with nothing to hold it against."""
    def pair(theirs: Limit, mine: Limit, figures: dict[str, list[float]], note: str) -> list[dict[str, Any]]:
        share = paired(figures["ours"], figures["peer"]) if all(figures.get("peer", [0])) else None
        return [theirs.unmeasured(absent) if absent else theirs.row(statistics.median(figures["peer"]), note=note),
                mine.row(statistics.median(figures["ours"]), share, note)]

    files = len({name for asked in questions.values() for _, name in asked})
    rows = pair(PEER_INDEX, OUR_INDEX, {name: [run["seconds"] for run in found] for name, found in runs.items()},
                job.note(f"{files:,} files", MODEL, job.threads))
    first = 0
    for where, asked in questions.items():
        part = slice(first, first + len(asked))
        first += len(asked)
        note = job.note(where, f"{len(asked):,} questions")
        rows += pair(PEER_FIND, OUR_FIND, {name: [1000 * statistics.median(row["seconds"] for row in run["found"][part]) for run in found]
                                           for name, found in runs.items()}, note)
        rows += pair(PEER_RIGHT, OUR_RIGHT, {name: [_right(run["found"][part], asked) for run in found] for name, found in runs.items()}, note)
    return rows


def _right(found: list[dict[str, Any]], asked: list[tuple[str, str]]) -> float:
    """For how many percent of the questions the right file came first."""
    return 100 * sum(row["files"][:1] == [name] for row, (_, name) in zip(found, asked, strict=True)) / len(asked)
