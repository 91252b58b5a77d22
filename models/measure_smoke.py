"""Measures a smoke model through llama.cpp on unseen generated cases: other names, other values, one question in each fresh conversation.

    python models/measure_smoke.py [--cases N] [--facts N] [--seed N] [--json] [model.gguf]

Greedy decoding. `exact`: the answer is the value and nothing else; `refused`: a question that the passages do not answer gets the sentence for
that; `false refusals`: a question that they do answer gets it; `general`: a message without passages gets the sentence that says what the model is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from smoke_data import Case, Maker
from smoke_words import GENERAL, NOTHING

Ask = Callable[[str], str]
RULES = "You answer questions from numbered passages. Use only what the passages say. If they do not hold the answer, say so. Be short."
REAL = {  # general messages that somebody might really type; none is in the training text
    "en": ("Hey, can you help me with my homework?", "What is the largest planet in the solar system?", "2 * (3 + 4) = ?",
           "Who won the World Cup in 1998?",
           "Write me an email to my landlord about the broken heating.", "def add(a, b):\n    return a + b\n\nWhat does this do?", "Good evening!",
           "I feel a bit tired today.", "Convert 10 miles to kilometers.", "git rebase or git merge?",
           "SELECT COUNT(*) FROM users;", "lol",
           "Please reply with exactly the word pong.",
           "What's the difference between TCP and UDP?", "¿Cuál es la capital de España?", "Wie spät ist es?",
           "Quel temps fait-il aujourd'hui ?", "日本の首都はどこですか", "你好吗？", "asdf", "42", "The quick brown fox jumps over the lazy dog."),
    "ko": ("오늘 저녁에 뭐 먹을까?", "세계에서 가장 높은 산은?", "자바스크립트로 버튼을 만들어줘", "안녕! 반가워",
           "주말에 갈 만한 곳 추천해줘", "이메일을 정중하게 써줘",
           "한국의 역사를 간단히 설명해줘", "3 곱하기 7은 얼마야?", "SQL이 뭐야?", "심심해",
           "운동을 시작하려면 어떻게 해야 할까요?", "회의록 작성 방법을 알려줘",
           "도커 없이 서버를 띄우는 방법은?", "반복문 예제를 보여줘", "비가 오면 왜 기분이 가라앉을까?", "ㅋㅋㅋ 재밌다"),
}


@dataclass(frozen=True)
class Asked:
    """One question put to the model: its language, how many facts the passages had, what was right and what came."""

    kind: str
    language: str
    facts: int
    message: str
    right: str
    said: str

    @property
    def exact(self) -> bool:
        """Whether the answer is right to the letter."""
        return self.said == self.right

    @property
    def refused(self) -> bool:
        """Whether the model said that the documents do not say."""
        return self.said in NOTHING.values()


def model(path: Path, threads: int = 2) -> Ask:
    """The model as a function from a user's message to the reply."""
    import llama_cpp

    llama = llama_cpp.Llama(str(path), n_ctx=4096, n_threads=threads, n_threads_batch=threads, use_mmap=False, verbose=False)

    def ask(message: str) -> str:
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": message}]
        return llama.create_chat_completion(messages, temperature=0.0, max_tokens=64)["choices"][0]["message"]["content"].strip()

    return ask


def answered(ask: Ask, maker: Maker, language: str, facts: int, count: int) -> Iterator[Asked]:
    """`count` questions that the passages answer and as many that they do not, each about passages of its own."""
    for number in range(2 * count):
        refused = number % 2 == 1
        case: Case = maker.case(facts, 1.0, language, "plain" if number % 10 > 7 else "passages")
        question, right = maker.random.choice([each for each, no in zip(case.asked, case.refused, strict=True) if no == refused])
        yield Asked("refusal" if refused else "answer", language, facts, case.head + question, right, ask(case.head + question))


def general(ask: Ask, maker: Maker, count: int) -> Iterator[Asked]:
    """`count` generated messages without passages, and the real ones of this file."""
    for language, texts in REAL.items():
        for text in texts:
            yield Asked("real", language, 0, text, GENERAL[language], ask(text))
    for _ in range(count):
        case = maker.general()
        (message, right), = case.asked
        yield Asked("general", case.language, 0, message, right, ask(message))


def share(asked: list[Asked], good: Callable[[Asked], bool] = lambda one: one.exact) -> float:
    """How many of them are good, from 0 to 1."""
    return sum(map(good, asked)) / len(asked) if asked else 0.0


def report(ask: Ask, count: int, most: int, seed: int) -> tuple[dict[str, object], list[Asked]]:
    """All figures by language and number of facts, and every question with its reply."""
    maker, asked = Maker(seed, unseen=True), []
    figures: dict[str, object] = {}
    for language in ("en", "ko"):
        rows = {}
        for facts in range(1, most + 1):
            fresh = list(answered(ask, maker, language, facts, count))
            asked += fresh
            rows[facts] = _figures(fresh)
        short = [one for one in asked if one.language == language and one.facts <= 4]
        longer = [one for one in asked if one.language == language and one.facts > 4]
        figures[language] = {"by_facts": rows, "up_to_4": _figures(short), "longer": _figures(longer)}
    fresh = list(general(ask, maker, 2 * count))
    asked += fresh
    figures["general"] = {name: share([one for one in fresh if one.kind == kind]) for name, kind in (("generated", "general"), ("real", "real"))}
    return figures, asked


def _figures(asked: list[Asked]) -> dict[str, float]:
    answers, refusals = ([one for one in asked if one.kind == kind] for kind in ("answer", "refusal"))
    return {"exact": share(answers), "refused": share(refusals), "false_refusals": share(answers, lambda one: one.refused), "cases": len(answers)}


def table(figures: dict[str, object]) -> str:
    """The figures for reading."""
    lines = [f"{'facts':<16}{'exact':>8}{'refused':>9}{'false refusals':>16}{'cases':>7}"]
    for language in ("en", "ko"):
        found = figures[language]
        rows = {**found["by_facts"], "1 to 4": found["up_to_4"], "more": found["longer"]}
        for name, row in rows.items():
            lines.append(f"{language} {name!s:<13}{row['exact']:>8.1%}{row['refused']:>9.1%}{row['false_refusals']:>16.1%}{row['cases']:>7}")
    lines += [f"general messages: generated {figures['general']['generated']:.1%}, real {figures['general']['real']:.1%}"]
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=Path(__file__).with_name("smoke.gguf"))
    parser.add_argument("--cases", type=int, default=100, help="answerable questions for each language and number of facts, and as many others")
    parser.add_argument("--facts", type=int, default=8, help="the most facts")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--wrong", type=int, default=0, help="show that many wrong replies")
    given = parser.parse_args()
    figures, asked = report(model(given.model, given.threads), given.cases, given.facts, given.seed)
    print(json.dumps(figures, ensure_ascii=False, indent=1) if given.json else table(figures))
    for one in [each for each in asked if not each.exact][: given.wrong]:
        print(f"--- {one.kind} {one.language} {one.facts}\n{one.message}\nright: {one.right!r}\nsaid:  {one.said!r}")


if __name__ == "__main__":
    main()
