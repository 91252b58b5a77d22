"""A llama of two tiny layers whose weights are noise: it writes words without end, which the trained bundled model does not.

The bytes are the same on every machine (the noise comes from SHAKE-256, not from a library's generator). The
noise is steered by two reserved dimensions of the embedding, which no layer ever writes to, so their values reach the output unchanged:

- CONSTANT is the same for every token. The output rows of all that should not be said (bytes, controls, half words) subtract it, so a reply is
  made of whole Korean and English words.
- ENDING is set for the tokens that a reply may end after (none, unless `ends` asks for it): that is how tests get a reply that stops by itself.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 2, 128, 4096
CONSTANT, ENDING = 0, 1
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ENGLISH_TEXT = """
the of and to in is that for on with as are this be by it from or an at which not have has was can will all each one two new more other when then
there their they about into over after before only also some any such than may must should would first last next time day week month year hour minute
people person team user system server model chat code memory search answer question document file folder page text word line list table number data
value name part port token text index point vector backup report check test run start stop open close read write save load send ask find show make
keep change move copy add remove delete create update begin end good bad small large fast slow long short high low early late every never always often
service network database storage cache queue thread process kernel notebook cell output input error warning message reply request response policy rule
role access key permission allow deny office company project manager department budget travel expense holiday leave meeting room schedule calendar
approval limit weekly daily monthly night morning evening noon midnight copy archive restore release version result pass fail ready healthy state
"""
KOREAN_TEXT = """
안녕하세요 감사합니다 입니다 합니다 습니다 있습니다 없습니다 됩니다 서버 모델 검색 데이터 문서 파일 폴더 기억 대화 질문 답변 도구 호출 결과
상태 확인 점검 시작 종료 저장 삭제 복구 백업 보고서 시간 오전 오후 매일 매주 매월 회사 직원 부서 휴가 출장 비용 예산 회의 일정 규정 정책
승인 권한 보안 사용자 관리자 프로젝트 코드 함수 변수 오류 경고 메시지 요청 응답 토큰 문장 단어 숫자 이름 값 목록 표 그림 화면 노트북 커널
메모리 디스크 네트워크 포트 주소 그리고 그러나 그래서 또는 먼저 다음 마지막
"""
ENGLISH, KOREAN = ENGLISH_TEXT.split(), KOREAN_TEXT.split()
MARKS = [".", ",", "?", "!"]


def vocabulary() -> tuple[list[str], list[float], list[int], list[int]]:
    """Tokens, scores and types of a SentencePiece vocabulary with byte fallback, and the ids of what may be said."""
    tokens, scores, kinds = ["<unk>", "<s>", "</s>"], [0.0, 0.0, 0.0], [UNKNOWN, CONTROL, CONTROL]
    seen = set(tokens)

    def add(token: str, score: float, kind: int = NORMAL) -> None:
        if token not in seen:
            seen.add(token)
            tokens.append(token)
            scores.append(score)
            kinds.append(kind)

    for value in range(256):
        add(f"<0x{value:02X}>", 0.0, BYTE)
    for role in ("system", "user", "assistant"):
        add(f"<|{role}|>", 0.0, CONTROL)
    for code in range(0x20, 0x7F):
        add(chr(code).replace(" ", "▁"), -1000.0)
    for high in range(0xB0, 0xC9):  # the 2,350 Hangul syllables of KS X 1001: one token each instead of three bytes
        for low in range(0xA1, 0xFF):
            add(bytes((high, low)).decode("euc_kr"), -1000.0)
    words = ["▁" + word for word in ENGLISH + KOREAN] + ENGLISH + KOREAN
    for word in words:  # pairs are merged from the left, so each beginning of a word has to be a token too
        for length in range(2, len(word) + 1):
            add(word[:length], -500.0 + 10.0 * length)
    said = {"▁" + word for word in ENGLISH + KOREAN} | set(MARKS)
    return tokens, scores, kinds, [index for index, token in enumerate(tokens) if token in said]


def noise(name: str, *shape: int, scale: float) -> np.ndarray:
    """Uniform values of standard deviation `scale`, fixed by `name` alone."""
    count = int(np.prod(shape))
    raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(2 * count), dtype="<u2").astype(np.float64)
    return ((raw / 65535.0 - 0.5) * math.sqrt(12.0) * scale).reshape(shape)


def tensors(size: int, said: list[int], ends: bool, kv_heads: int) -> dict[str, np.ndarray]:
    """All weights by name; matrices in half precision, norms in single. `size` is the number of tokens."""
    scale = 1.0 / math.sqrt(WIDTH)
    head = WIDTH // HEADS
    embedding = noise("token_embd", size, WIDTH, scale=scale)
    embedding[:, CONSTANT], embedding[:, ENDING] = 1.0, 0.0
    if ends:
        embedding[said, ENDING] = 1.0
    output = noise("output", size, WIDTH, scale=0.35)
    output[:, CONSTANT], output[:, ENDING] = -20.0, 0.0
    output[said, CONSTANT] = 0.0
    output[2, ENDING] = 32.0  # the end token, id 2: 32 - 20 lets it win in the end, after a token that carries ENDING
    made = {"token_embd.weight": embedding, "output_norm.weight": np.ones(WIDTH), "output.weight": output}
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        made |= {at + "attn_norm.weight": np.ones(WIDTH), at + "ffn_norm.weight": np.ones(WIDTH)}
        for name, rows, columns in (("attn_q", WIDTH, WIDTH), ("attn_k", kv_heads * head, WIDTH), ("attn_v", kv_heads * head, WIDTH),
                                    ("attn_output", WIDTH, WIDTH), ("ffn_gate", FEED_FORWARD, WIDTH), ("ffn_up", FEED_FORWARD, WIDTH),
                                    ("ffn_down", WIDTH, FEED_FORWARD)):
            made[f"{at}{name}.weight"] = noise(at + name, rows, columns, scale=scale)
        for name in ("attn_output", "ffn_down"):  # what these write is added to the embedding: keep the reserved dimensions clean
            made[f"{at}{name}.weight"][[CONSTANT, ENDING], :] = 0.0
    return {name: value.astype(np.float32 if value.ndim == 1 else np.float16) for name, value in made.items()}


def write(target: Path, *, ends: bool = False, kv_heads: int = KV_HEADS, template: str = TEMPLATE) -> None:
    """Write the model to `target`; the other arguments make the odd relatives that tests need."""
    tokens, scores, kinds, said = vocabulary()
    out = gguf.GGUFWriter(target, "llama")
    out.add_name("Suite smoke model (random weights)")
    out.add_description("Random weights: it makes words, not sense. For trying the machinery, never for judging an answer.")
    out.add_license("apache-2.0")
    out.add_bool("suite.smoke", True)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED_FORWARD)
    out.add_head_count(HEADS)
    out.add_head_count_kv(kv_heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_scores(scores)
    out.add_token_types(kinds)
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(True)
    out.add_add_space_prefix(False)
    if template:
        out.add_chat_template(template)
    for name, value in tensors(len(tokens), said, ends, kv_heads).items():
        out.add_tensor(name, value)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
