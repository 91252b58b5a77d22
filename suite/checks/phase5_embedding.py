"""Phase 5, embeddings: numbers of the right size and length, the same each time, near where the meaning is, and never of half a text in silence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from suite.checks import fault, fault_embedding
from suite.checks.check import Check, Observation
from suite.checks.target import Target

MOST_TEXTS, MOST_CHARACTERS = 1024, 8000  # what a request may hold; more was cut off in silence once
# A sentence, one that means the same in other words, and one about something else that shares more words with the first.
TRIPLES = {
    "en": (("The backup runs at three in the morning.", "Copies of all data are saved each night.", "Runners meet in the park at three."),
           ("How do I reset my password?", "I forgot my login secret and need a new one.", "How do I set the table for guests?"),
           ("The server ran out of memory.", "There was no RAM left on the machine.", "The waiter ran out of the restaurant."),
           ("The contract ends next month.", "The agreement expires in a few weeks.", "The month ends with a public holiday."),
           ("Dogs are loyal.", "Puppies stick with their owners.", "Loyal customers are given a discount.")),
    "ko": (("백업은 새벽 세 시에 실행됩니다.", "모든 자료는 매일 밤 복사해 둡니다.", "새벽 세 시에 기차가 떠납니다."),
           ("비밀번호를 어떻게 바꾸나요?", "로그인 암호를 잊어서 새로 만들고 싶어요.", "지폐를 동전으로 어떻게 바꾸나요?"),
           ("서버의 메모리가 부족합니다.", "기계에 남은 RAM이 없습니다.", "식당의 의자가 부족합니다."),
           ("계약은 다음 달에 끝납니다.", "몇 주 뒤면 협약이 만료됩니다.", "축제는 다음 달에 열립니다."),
           ("개는 충성스러운 동물입니다.", "강아지는 주인 곁을 떠나지 않아요.", "동물은 동물원에서 볼 수 있습니다.")),
}


def embedding(target: Target, seen: Observation) -> None:
    """P5.3: two texts, the same again and among others, triples of meaning in both languages, and what is beyond the limits."""
    texts = ["The backup runs at three in the morning.", "Violins are made of spruce and maple."]
    pair = _embed(target, texts)
    seen.values |= {"vectors": len(pair), "dimension": len(pair[0]) if len({len(row) for row in pair}) == 1 else None}
    seen.values["norm_error"] = _worst([abs(math.sqrt(math.fsum(x * x for x in row)) - 1) for row in pair])
    _repeat(target, seen, texts, pair)
    _order(target, seen)
    _limits(target, seen)


def _repeat(target: Target, seen: Observation, texts: list[str], pair: list[list[float]]) -> None:
    """The same text gives the same vector: again, and whatever stands beside it."""
    again = _embed(target, texts)
    among = _embed(target, ["A much longer sentence that stands before the others, so that they are padded differently when they are read together.",
                            *texts[::-1]])
    together = [*zip_longest(pair, again, fillvalue=[]), *zip_longest(pair, among[:0:-1], fillvalue=[])]
    seen.values["repeat_distance"] = _worst([math.dist(one, other) if len(one) == len(other) else math.inf for one, other in together])


def _order(target: Target, seen: Observation) -> None:
    """Which triples stand the wrong way round; a language that the model does not state is measured and told, and does not count."""
    stated = _languages(target)
    for tongue, triples in TRIPLES.items():
        rows = _embed(target, [text for triple in triples for text in triple])
        near = [(_cosine(*rows[at:at + 2]), _cosine(rows[at], rows[at + 2])) for at in range(0, len(rows), 3)]
        wrong = sum(not same > other for same, other in near)  # a number that is none is in no order
        counts = tongue in stated or "*" in stated
        seen.values[f"wrong_order_{tongue}"] = wrong if counts else None
        if not counts:
            said = ", ".join(sorted(stated)) or "nothing"
            seen.note("not counted", language=tongue, wrong=wrong, of=len(triples), reason=f"the model states {said}")
        seen.note("order", language=tongue, counts=counts, cosines=[[round(value, 3) for value in pair] for pair in near])
    seen.values["languages"] = len(stated)


def _languages(target: Target) -> set[str]:
    """What the model says that it reads; English where it says nothing, as the original's did not."""
    answer = target.call("GET", "embedding", "/model")
    if answer.status_code == 404 and target.foreign:
        return {"en"}
    return set(answer.json().get("languages") or []) if answer.is_success else set()


def _limits(target: Target, seen: Observation) -> None:
    """As much as is allowed is taken whole; more is refused, taken whole or said to be cut, but not cut in silence."""
    full = target.call("POST", "embedding", "/embed", json={"texts": ["tide"] * MOST_TEXTS})
    given = _vectors(full)
    seen.values["missing_at_limit"] = MOST_TEXTS - len(given)
    over = target.call("POST", "embedding", "/embed", json={"texts": ["tide"] * (MOST_TEXTS + 1)})
    head = ("harbour " * (MOST_CHARACTERS // 8))[:MOST_CHARACTERS]
    long = [target.call("POST", "embedding", "/embed", json={"texts": [head + tail]}) for tail in ("", "violins of spruce and maple " * 40)]
    cut = [_cut_texts(over), _cut_characters(*long)]
    seen.values["cut_in_silence"] = sum(cut)
    seen.note("over the limits", texts=_said(over), characters=_said(long[1]), at_8000=_said(long[0]))


def _cut_texts(answer: Any) -> bool:
    """Whether fewer vectors came than texts were sent, and nobody said so; a failure is no refusal."""
    return answer.status_code >= 500 or (answer.is_success and len(_vectors(answer)) != MOST_TEXTS + 1 and not _told(answer))


def _cut_characters(short: Any, long: Any) -> bool:
    """Whether what stands after the limit makes no difference, and nobody said so; a failure is no refusal."""
    if long.status_code >= 500:
        return True
    return bool(long.is_success and not _told(long) and short.is_success and _vectors(long) == _vectors(short))


def _told(answer: Any) -> bool:
    return bool(answer.json().get("truncated"))


def _said(answer: Any) -> str:
    return f"status {answer.status_code}: " + (f"{len(_vectors(answer))} vectors" if answer.is_success else answer.text[:200])


def _vectors(answer: Any) -> list[list[float]]:
    return (answer.json().get("embeddings") or []) if answer.is_success else []


def _embed(target: Target, texts: list[str]) -> list[list[float]]:
    rows: list[list[float]] = target.json("POST", "embedding", "/embed", json={"texts": texts})["embeddings"]
    return rows


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _worst(values: list[float]) -> float:
    """The largest; a value that is no number is worse than any."""
    return max(values, key=lambda value: math.inf if math.isnan(value) else value)


EMBEDDING = (
    Check("P5.3", "Embeddings keep size, length, order and the whole text", 5, "function", 2, fault.BLURRED_VECTORS, embedding,
          (fault.SHORT_VECTORS, fault.LONG_VECTORS, fault.WAVERING_VECTORS, fault_embedding.CUT_LISTS, fault_embedding.CUT_TEXTS,
           fault_embedding.SMALL_LISTS, fault_embedding.CLAIMED_KOREAN, fault_embedding.UNSTATED)),
)
