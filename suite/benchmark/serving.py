"""How fast the model servers are, beside llama.cpp alone and beside llama-cpp-python's own server, on the same weights and threads."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.benchmark.child import Child
from suite.benchmark.figures import evenness, gaps, in_turns, paired, percentile, rate
from suite.benchmark.peer import LlamaServer, await_models
from suite.benchmark.row import Limit
from suite.benchmark.scene import OWN, Scene
from suite.serving.random_model import cached, words
from suite.settings import Settings

N_CTX, KV_TOKENS = 8192, 16384
BARE_ONE = Limit("one stream: bare llama_cpp.Llama loop", "tokens/s", ">=")
FACE_ONE = Limit("one stream: Python face", "x", ">=", 0.97, "the bare llama_cpp.Llama loop")
HTTP_ONE = Limit("one stream: over HTTP", "x", ">=", 0.9, "the bare llama_cpp.Llama loop")
BARE_MANY = Limit("streams at once: bare low-level batch loop", "tokens/s", ">=")
FACE_MANY = Limit("streams at once: Python face", "x", ">=", 0.85, "the bare low-level batch loop")
PEER_MANY = Limit("streams over HTTP: llama_cpp.server", "tokens/s", ">=")
HTTP_MANY = Limit("streams over HTTP: tokens per second", "x", ">=", 2.0, "llama_cpp.server")
PEER_FIRST = Limit("streams over HTTP: p95 time to first token of llama_cpp.server", "s", "<=")
HTTP_FIRST = Limit("streams over HTTP: p95 time to first token", "x", "<=", 0.25, "llama_cpp.server")
EVEN = Limit("streams over HTTP: time to the end of the first stream that ends", "x", ">=", 0.5, "the last")
LONGEST = Limit("streams over HTTP: longest gap between two tokens of a stream", "s", "<=")
COLD = Limit("a new conversation: time to first token", "s", "<=")
SECOND = Limit("its second turn: time to first token", "x", "<=", 0.1, "the new conversation")
QUIET = Limit("running streams: median gap between tokens", "ms", "<=")
GAP = Limit("running streams while a long prompt is read: p99 gap between tokens", "x", "<=", 5.0, "their median gap without it")
ALONE = Limit("a long prompt alone: time to first token", "s", "<=")
PREFILL = Limit("a long prompt beside running streams: time to first token", "x", "<=", 2.0, "the same alone")
GREW = Limit("requests: growth of resident memory, random model", "%", "<", 1.0)
GREW_SMOKE = Limit("requests: growth of resident memory, smoke model", "%", "<", 1.0)


@dataclass(frozen=True)
class Load:
    """How much each section asks for, in tokens unless it says otherwise; a word is a token of the random model."""

    prompt: int = 100
    reply: int = 64
    streams: int = 8
    reply_each: int = 48
    talk: int = 1500
    long: int = 4000
    beside: int = 4  # streams; there must be slots (`streams` of them) for one more
    lasting: int = 1500  # tokens that such a stream may write while the long prompt is read
    requests: int = 1000
    warm: int = 200  # requests
    request: int = 6
    answer: int = 2


# the 8 streams stay as they are: how far batching helps depends on how much is written for what is read
QUICK = Load(reply=32, talk=1000, long=1000, requests=200, warm=100)


def serving(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], load: Load | None = None,
            model: Path | None = None) -> list[dict[str, Any]]:
    """All rows. `load` and `model` stand in for the usual ones. Raises WeightsError when the model to measure with cannot be made."""
    with Scene(settings, say) as scene:
        say("making the model, when it is not there yet")
        return _Serving(scene, rounds, load or (QUICK if quick else Load()), model or cached(scene.cache), quick).rows()


class _Serving:
    def __init__(self, scene: Scene, rounds: int, load: Load, model: Path, quick: bool) -> None:
        self.scene, self.rounds, self.load, self.model = scene, rounds, load, model
        self.threads = scene.settings.llama_threads or _cores()
        self.batch = scene.settings.llama_batch
        self.layers = max(0, scene.settings.chat_n_gpu_layers)  # of every contender: what fits is not asked here
        self.mark = f"{self.threads} threads{', quick' * quick}"
        self.words = words()[120:]  # of three letters and more

    def rows(self) -> list[dict[str, Any]]:
        return self.scene.measure([
            ("one stream", (BARE_ONE, FACE_ONE, HTTP_ONE), self.one_stream),
            ("streams at once", (BARE_MANY, FACE_MANY), self.streams_at_once),
            ("streams over HTTP", (PEER_MANY, HTTP_MANY, PEER_FIRST, HTTP_FIRST, EVEN, LONGEST), self.streams_over_http),
            ("second turn", (COLD, SECOND), self.second_turn),
            ("a long prompt beside streams", (QUIET, GAP, ALONE, PREFILL), self.long_prompt),
            ("memory, random model", (GREW,), self.memory),
            ("memory, smoke model", (GREW_SMOKE,), self.memory_of_smoke),
        ])

    # contenders

    def bare(self) -> Child:
        return self.scene.child("bare llama.cpp", "bare", path=str(self.model), n_ctx=N_CTX, slots=self.load.streams, kv_tokens=KV_TOKENS,
                                n_threads=self.threads, n_batch=self.batch, n_gpu_layers=self.layers)

    def face(self) -> Child:
        return self.scene.child("the Python face", "face", **{**OWN, "data_dir": str(self.scene.scratch / "face"), **self._settings()})

    def http(self) -> Callable[[list[str], int], list[dict[str, Any]]]:
        """Our stack as users run it: a function from prompts to what their streams gave."""
        _, where = self.scene.stack("the stack", **self._settings())
        return self._caller(where["urls"]["inference-chat"], where["token"])

    def peer(self) -> Callable[[list[str], int], list[dict[str, Any]]]:
        def make() -> LlamaServer:
            return LlamaServer(self.scene.cache, self.model, N_CTX, self.threads, self.batch, self.layers)

        server = self.scene.contender("llama_cpp.server", make, await_models)
        return self._caller(server.url, "")

    def _settings(self) -> dict[str, Any]:
        return {"chat_model": str(self.model), "llama_threads": self.threads, "llama_batch": self.batch, "llama_ctx": N_CTX,
                "llama_slots": self.load.streams, "llama_kv_tokens": KV_TOKENS, "chat_n_gpu_layers": self.layers}

    def _caller(self, url: str, token: str, **more: Any) -> Callable[[list[str], int], list[dict[str, Any]]]:
        client = self.scene.child("the client", "client")

        def call(prompts: list[str], tokens: int) -> list[dict[str, Any]]:
            bodies = [{**self._body(prompt, tokens), "repeat_penalty": 1.0, **more} for prompt in prompts]
            return client.ask("streams", url=url, token=token, bodies=bodies)

        call([self.text("warm up", 8)], 4)
        return call

    @staticmethod
    def _body(prompt: str, tokens: int) -> dict[str, Any]:
        return {"model": "any", "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "temperature": 0}

    def text(self, name: str, tokens: int) -> str:
        """So many words that no other name gives in this order: nothing of it can be in a cache."""
        return "".join(f" {word}" for word in random.Random(name).choices(self.words, k=tokens))

    # sections

    def one_stream(self) -> list[dict[str, Any]]:
        load, bare, face, http = self.load, self.bare(), self.face(), self.http()
        bare.ask("one", prompt=self.text("warm up", 8), tokens=4)
        face.ask("many", prompts=[self.text("warm up", 8)], tokens=4)
        runs = in_turns({
            "bare": lambda prompt: len(marks := bare.ask("one", prompt=prompt, tokens=load.reply)) / marks[-1],
            "face": lambda prompt: rate(face.ask("many", prompts=[prompt], tokens=load.reply)),
            "http": lambda prompt: rate(http([prompt], load.reply)),
        }, lambda turn: self.text(f"one {turn}", load.prompt), self.rounds)
        note = f"{load.prompt} + {load.reply} tokens, {self.mark}"
        return [BARE_ONE.row(statistics.median(runs["bare"]), note=note), FACE_ONE.row(paired(runs["face"], runs["bare"]), note=note),
                HTTP_ONE.row(paired(runs["http"], runs["bare"]), note=note)]

    def streams_at_once(self) -> list[dict[str, Any]]:
        load, bare, face = self.load, self.bare(), self.face()
        for each in (bare, face):
            each.ask("many", prompts=[self.text("warm up", 8)], tokens=4)

        def alone(prompts: list[str]) -> float:
            marks = bare.ask("many", prompts=prompts, tokens=load.reply_each)
            return rate([{"tokens": len(each), "marks": each} for each in marks])

        runs = in_turns({"bare": alone, "face": lambda prompts: rate(face.ask("many", prompts=prompts, tokens=load.reply_each))},
                        lambda turn: self._prompts(f"at once {turn}", load.streams), self.rounds)
        note = self._note()
        return [BARE_MANY.row(statistics.median(runs["bare"]), note=note), FACE_MANY.row(paired(runs["face"], runs["bare"]), note=note)]

    def streams_over_http(self) -> list[dict[str, Any]]:
        self.scene.end("bare llama.cpp")
        load, http, peer = self.load, self.http(), self.peer()
        runs = in_turns({"http": lambda prompts: http(prompts, load.reply_each), "peer": lambda prompts: peer(prompts, load.reply_each)},
                        lambda turn: self._prompts(f"http {turn}", load.streams), self.rounds)
        self.scene.end("llama_cpp.server")
        rates = {name: [rate(rows) for rows in found] for name, found in runs.items()}
        firsts = {name: [percentile([row["marks"][0] for row in rows], 0.95) for rows in found] for name, found in runs.items()}
        note = self._note()
        return [PEER_MANY.row(statistics.median(rates["peer"]), note=note), HTTP_MANY.row(paired(rates["http"], rates["peer"]), note=note),
                PEER_FIRST.row(statistics.median(firsts["peer"]), note=note), HTTP_FIRST.row(paired(firsts["http"], firsts["peer"]), note=note),
                EVEN.row(statistics.median(evenness(rows) for rows in runs["http"]), note=note),
                LONGEST.row(max(gap for rows in runs["http"] for row in rows for gap in gaps(row["marks"])), note=note)]

    def second_turn(self) -> list[dict[str, Any]]:
        face = self.face()
        runs = [face.ask("turns", prompt=self.text(f"turn {turn}", self.load.talk), follow=self.text(f"follow {turn}", 16), tokens=8)
                for turn in range(self.rounds)]
        note = f"{self.load.talk:,} tokens, {self.mark}"
        return [COLD.row(statistics.median(run["cold"] for run in runs), note=note),
                SECOND.row(paired([run["second"] for run in runs], [run["cold"] for run in runs]), note=note)]

    def long_prompt(self) -> list[dict[str, Any]]:
        load, face = self.load, self.face()
        runs = [face.ask("beside", prompts=self._prompts(f"beside {turn}", load.beside), tokens=load.reply_each,
                         lasting=load.lasting, longs=[self.text(f"long {turn} {which}", load.long) for which in "ab"]) for turn in range(self.rounds)]
        quiet = [statistics.median(run["quiet"]) for run in runs]
        note = f"{load.beside} streams, {load.long:,} tokens, {self.mark}"
        return [QUIET.row(1000 * statistics.median(quiet), note=note),
                GAP.row(paired([percentile(run["busy"], 0.99) for run in runs], quiet), note=note),
                ALONE.row(statistics.median(run["alone"] for run in runs), note=note),
                PREFILL.row(paired([run["together"] for run in runs], [run["alone"] for run in runs]), note=note)]

    def memory(self) -> list[dict[str, Any]]:
        self.scene.end("the Python face")
        stack, where = self.scene.stack("the stack", **self._settings())
        return [GREW.row(self._growth(stack, where), note=self._many())]

    def memory_of_smoke(self) -> list[dict[str, Any]]:
        self.scene.end("the stack")
        stack, where = self.scene.stack("the smoke stack", llama_threads=self.threads)
        return [GREW_SMOKE.row(self._growth(stack, where), note=self._many())]

    def _growth(self, stack: Child, where: dict[str, Any]) -> float:
        """By how many percent the processes of the stack have grown, the first requests not counted."""
        client, load = self.scene.child("the client", "client"), self.load
        bodies = [{**self._body(self.text(f"request {turn}", load.request), load.answer), "ignore_eos": True} for turn in range(50)]
        sizes = []
        for count in (load.warm, load.requests):
            client.ask("calls", url=where["urls"]["inference-chat"], token=where["token"], bodies=bodies, clients=load.streams, count=count)
            sizes.append(stack.memory()[0])
        return 100.0 * (sizes[1] - sizes[0]) / sizes[0]

    def _prompts(self, name: str, count: int) -> list[str]:
        return [self.text(f"{name} {which}", self.load.prompt) for which in range(count)]

    def _note(self) -> str:
        return f"{self.load.streams} x {self.load.prompt} + {self.load.reply_each} tokens, {self.mark}"

    def _many(self) -> str:
        return f"{self.load.requests:,} after {self.load.warm:,}, {self.mark}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
