"""Trains the bundled smoke model on generated text only, and writes it as GGUF.

    python models/train_smoke.py [--minutes N] [--processes N] [--device cpu|cuda] [target]

Needs torch, tokenizers, gguf and numpy (a C++ compiler makes it faster), none of which a user of the suite has to have for this. A good model takes
an hour on two processor cores, or minutes on a GPU. State is kept in --state, outside the repository: the same command goes on
where it was stopped, and a checkpoint is exported every quarter of an hour. Measure the result with models/measure_smoke.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import smoke_export
import torch
import torch.nn.functional as F
from smoke_data import Case, Maker
from smoke_net import Muon, Net, Shape
from smoke_tokens import PAD, tokenizer
from torch import distributed, multiprocessing

ROW, LONG_ROW, BATCH = 256, 512, 4096  # tokens a row, tokens a row of long texts, tokens a step
CHOSEN = 0.45  # share of the tokens whose successor is learned: those of the answers, and many of the others
MATRIX_RATE, VECTOR_RATE = 0.012, 0.0025
FIRST, FIXED = 3.0, 0.3  # weights: of an answer's first token, which says which fact or that there is none; of the rest of a fixed sentence
OTHERS = 0.2  # of a token outside answers: names that come again in facts and questions teach to match them; without these the choice stays chance
EARLY_ALIKE, ALIKE = 0.85, 0.4  # share of the cases in which all facts have the same attribute: without them the model neglects the entity
REPORT_EVERY, SAVE_EVERY, EXPORT_EVERY_S = 100, 400, 900


@dataclass
class Text:
    """The tokens of one case: what all questions share, then a part for each question."""

    tokens: list[int]
    places: list[int]
    parts: list[int]
    weights: list[float]


class Batches:
    """Packs cases into `size` tokens, as many as fit. How hard they are depends on `progress`, from 0 to 1."""

    def __init__(self, seed: int, size: int = BATCH, unseen: bool = False) -> None:
        self.size, self.chosen = size, int(size * CHOSEN)
        self.maker, self.tokenizer = Maker(seed, unseen), tokenizer()
        self.random: random.Random = self.maker.random

    def cases(self, count: int, progress: float, row: int) -> list[Case]:
        """Cases of this stage of the training."""
        wide = min(1.0, max(0.0, (progress - 0.08) / 0.15))
        self.maker.alike = ALIKE if progress > 0.15 else EARLY_ALIKE
        made = []
        for _ in range(count):
            draw = self.random.random()
            if draw < 0.06 and progress > 0.06:
                made.append(self.maker.general())
            elif draw < 0.075 and progress > 0.25:
                made.append(self.maker.later())
            elif draw < 0.09 and progress > 0.25:
                made.append(self.maker.infill())
            else:
                most = 4 if progress < 0.25 or self.random.random() < 0.8 else 8
                made.append(self.maker.case(self.random.randint(1, 14) if row > ROW else max(self.random.randint(1, most) for _ in "12"), wide))
        return made

    def texts(self, cases: list[Case], row: int) -> list[Text]:
        """Their tokens; questions that do not fit into a row are left out."""
        pieces: list[str] = []
        for case in cases:
            turns = "".join(f"<|user|>{said}<|end|><|assistant|>{reply}<|end|>" for said, reply in case.history)
            pieces.append(turns + (case.frame[0] + case.head))
            for question, answer in case.asked:
                pieces += [question + case.frame[1], answer + "<|end|>"]
        encoded = iter([one.ids for one in self.tokenizer.encode_batch_fast(pieces)])
        made = []
        for case in cases:
            head = next(encoded)
            text = Text(list(head), list(range(len(head))), [0] * len(head), [0.0] + [OTHERS] * (len(head) - 1))
            for number in range(len(case.asked)):
                asked, answer = next(encoded), next(encoded)
                if len(text.tokens) + len(asked) + len(answer) > row:
                    continue
                text.tokens += asked + answer
                text.places += range(len(head), len(head) + len(asked) + len(answer))
                text.parts += [number + 1] * (len(asked) + len(answer))
                fixed = case.refused[number] or not case.facts  # a fixed sentence: its beginning decides, the rest is easy
                text.weights += [0.0] + [OTHERS] * (len(asked) - 1) + [FIRST] + [FIXED if fixed else 1.0] * (len(answer) - 1)
            if len(text.parts) > len(head):
                made.append(text)
        return made

    def batch(self, progress: float, row: int = ROW) -> list[torch.Tensor]:
        """Tokens, places, texts and parts of shape (rows, row), then chosen tokens, their successors and weights of one dimension."""
        rows: list[list[Text]] = [[] for _ in range(self.size // row)]
        room = [row] * len(rows)
        misses = 0
        while misses < 12:
            for text in sorted(self.texts(self.cases(16, progress, row), row), key=lambda one: -len(one.tokens)):
                fitting = [at for at, left in enumerate(room) if left >= len(text.tokens)]
                if fitting:
                    best = min(fitting, key=lambda at: room[at])
                    rows[best].append(text)
                    room[best] -= len(text.tokens)
                else:
                    misses += 1
        return self._packed(rows, row)

    def _packed(self, rows: list[list[Text]], row: int) -> list[torch.Tensor]:
        tokens, places, texts, parts = (torch.full((len(rows), row), value) for value in (PAD, 0, -1, 0))
        weights = torch.zeros(len(rows), row)
        for at, packed in enumerate(rows):
            start = 0
            for number, text in enumerate(packed):
                end = start + len(text.tokens)
                tokens[at, start:end], places[at, start:end] = torch.tensor(text.tokens), torch.tensor(text.places)
                texts[at, start:end], parts[at, start:end] = number, torch.tensor(text.parts)
                weights[at, start:end] = torch.tensor(text.weights)
                start = end
        flat = weights.flatten()
        wanted = (flat + 0.5 * torch.rand(len(flat)) * (flat > 0)).topk(self.chosen).indices  # answers first, then others by chance
        return [tokens, places, texts, parts, (wanted - 1).clamp(min=0), tokens.flatten()[wanted], flat[wanted]]


def measured(net: Net, batches: Batches, device: str, count: int = 160) -> dict[str, float]:
    """Share of answers that the network gets wholly right when it reads the right ones so far: by language, refusals apart, and general."""
    right: dict[str, list[bool]] = {}
    for _ in range(count // 16):
        made = [batches.maker.general() if batches.random.random() < 0.1 else batches.maker.case(batches.random.randint(1, 4)) for _ in range(16)]
        cases = [case for case in made if len(batches.texts([case], LONG_ROW)) == 1]
        for case, text in zip(cases, batches.texts(cases, LONG_ROW), strict=True):
            tokens, places, parts = (torch.tensor([each], device=device) for each in (text.tokens, text.places, text.parts))
            with torch.no_grad():
                said = net(tokens, places, torch.zeros_like(tokens), parts, torch.arange(len(text.tokens), device=device)).argmax(-1).tolist()
            for number in range(1, max(text.parts) + 1):
                inside = [at for at, part in enumerate(text.parts) if part == number]
                answer = [at for at in inside if text.weights[at] >= FIXED]
                kind = "general" if not case.facts else case.language + (" refused" if case.refused[number - 1] else "")
                right.setdefault(kind, []).append(all(said[at - 1] == text.tokens[at] for at in answer))
    return {kind: round(sum(each) / len(each), 3) for kind, each in sorted(right.items())}


class Training:
    """A network, its optimisers and how far they are; `state` is the file that it goes on from. Several processes share the work of each step."""

    def __init__(self, shape: Shape, given: argparse.Namespace, rank: int = 0) -> None:
        self.state, self.device, self.minutes, self.workers, self.rank = given.state, given.device, given.minutes, given.processes, rank
        self.net, self.step, self.spent_s = Net(shape).to(self.device), 0, 0.0
        blocks = [each for each in self.net.blocks.parameters() if each.dim() == 3]
        others = [each for each in self.net.parameters() if each.dim() < 3]
        self.muon, self.adam = Muon(blocks), torch.optim.AdamW(others, lr=VECTOR_RATE, betas=(0.9, 0.98), weight_decay=0.0)
        if self.state.exists():
            saved = torch.load(self.state, map_location=self.device, weights_only=True)
            self.net.load_state_dict(saved["net"])
            self.adam.load_state_dict(saved["adam"])
            self.muon.speed = saved["muon"]
            self.step, self.spent_s = saved["step"], saved["spent_s"]
        self.batches = Batches(given.seed + self.step + 1_000_000 * rank, BATCH // self.workers)
        faster = shutil.which("g++") is not None or self.device == "cuda"
        self.forward = torch.compile(self.net) if faster else self.net

    def _clock(self) -> float:
        """Seconds of work: on a processor those that this process really had, so that a busy machine does not cut the training short."""
        return time.process_time() if self.device == "cpu" else time.monotonic()

    @property
    def progress(self) -> float:
        """How much of the time is over, from 0 to 1."""
        return min(1.0, self.spent_s / (60 * self.minutes))

    def learn(self) -> tuple[float, float]:
        """One step; the loss of the answers and that of all else."""
        began = self._clock()
        row = LONG_ROW if self.progress > 0.6 and self.step % 8 == 0 else ROW
        tokens, places, texts, parts, chosen, wanted, weights = (each.to(self.device) for each in self.batches.batch(self.progress, row))
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.forward(tokens, places, texts, parts, chosen)
        loss = F.cross_entropy(logits.float(), wanted, reduction="none")
        ((loss * weights).sum() / weights.sum()).backward()
        self._share(began)
        rate = min(1.0, (self.step + 1) / 100, 1.02 - max(0.0, (self.progress - 0.45) / 0.55))
        self.muon.step(MATRIX_RATE * rate, decay=0.01)
        for group in self.adam.param_groups:
            group["lr"] = VECTOR_RATE * rate
        self.adam.step()
        self.net.zero_grad(set_to_none=True)
        self.step += 1
        answer, other = weights >= FIXED, (weights > 0) & (weights < FIXED)
        return loss[answer].mean().item(), loss[other].sum().item() / max(1, int(other.sum()))

    def _share(self, began: float) -> None:
        """Average the gradients of all processes, and the time that they took, so that all of them are equally far."""
        gradients = [each.grad for each in self.net.parameters()]
        flat = torch.cat([*(each.flatten() for each in gradients), torch.tensor([self._clock() - began], device=self.device)])
        if self.workers > 1:
            distributed.all_reduce(flat)
            flat /= self.workers
        *shared, spent = flat.split([*(each.numel() for each in gradients), 1])
        for gradient, mean in zip(gradients, shared, strict=True):
            gradient.copy_(mean.view_as(gradient))
        self.spent_s += spent.item()

    def save(self) -> None:
        """Write the state so that a stop in between leaves the one before."""
        fresh = self.state.with_suffix(".new")
        torch.save({"net": self.net.state_dict(), "adam": self.adam.state_dict(), "muon": self.muon.speed, "step": self.step,
                    "spent_s": self.spent_s}, fresh)
        os.replace(fresh, self.state)


def train(training: Training, target: Path) -> None:
    """Learn until the time is over or the command that began this was ended; the first process reports, saves and exports on the way."""
    unseen, exported, losses, given_by = Batches(7, unseen=True), time.monotonic(), [], os.getppid()
    while training.progress < 1 and os.getppid() == given_by:
        losses.append(training.learn())
        if training.rank:
            continue
        if training.step % REPORT_EVERY == 0:
            answers, others = (sum(each) / len(each) for each in zip(*losses, strict=True))
            losses.clear()
            row = {"step": training.step, "minutes": round(training.spent_s / 60, 1), "answers": round(answers, 3), "others": round(others, 3)}
            if training.step % SAVE_EVERY == 0:
                training.save()
                row |= measured(training.net, unseen, training.device)
            print(json.dumps(row), flush=True)
        if time.monotonic() - exported > EXPORT_EVERY_S:
            smoke_export.write(training.net, target)
            exported = time.monotonic()
    if not training.rank:
        training.save()
        smoke_export.write(training.net, target)


def work(rank: int, given: argparse.Namespace) -> None:
    """What one process does."""
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    if given.processes > 1:
        distributed.init_process_group("gloo", init_method=f"file://{given.state.with_suffix('.meet')}", rank=rank, world_size=given.processes)
    shape = Shape(tokenizer().get_vocab_size(), *(int(each) for each in given.shape.split(",")))
    training = Training(shape, given, rank)
    torch.manual_seed(given.seed + training.step + rank)
    if not rank:
        print(f"{sum(each.numel() for each in training.net.parameters()):,} parameters, {shape}, from step {training.step}", flush=True)
    if given.export:
        smoke_export.write(training.net, given.target)
    else:
        train(training, given.target)


def main() -> None:
    """Read the command line, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", type=Path, default=Path(__file__).with_name("smoke.gguf"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--processes", type=int, default=2, help="one for each core, unless a GPU does the work")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--state", type=Path, default=Path.home() / ".cache" / "suite-smoke" / "state.pt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--export", action="store_true", help="only write the saved state as GGUF")
    parser.add_argument("--shape", default="192,4,3,512", help="width, layers, heads, feed-forward width")
    given = parser.parse_args()
    given.processes = 1 if given.device == "cuda" or given.export else given.processes
    given.state.parent.mkdir(parents=True, exist_ok=True)
    given.state.with_suffix(".meet").unlink(missing_ok=True)
    if given.processes > 1:
        multiprocessing.spawn(work, (given,), given.processes)
    else:
        work(0, given)


if __name__ == "__main__":
    main()
