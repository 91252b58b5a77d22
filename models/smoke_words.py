"""The words of the smoke model's training text: attributes, sentence and question templates, filler, and what a general question is made of.

In templates `{e}` is an entity, `{a}` an attribute, `{v}` a value. Korean particles that depend on the final sound before them are written as
`{은}`, `{이}`, `{을}`, `{로}` or `{이다}` right after what they follow; smoke_data puts in the right form.
"""

from __future__ import annotations

import re

NOTHING = {"ko": "문서에서 찾을 수 없습니다.", "en": "The documents do not say."}
GENERAL = {
    "ko": "저는 함께 제공되는 스모크 모델이라 주어진 문서의 답만 옮깁니다. 진짜 답변은: `suite models pull`.",
    "en": "I am the bundled smoke model: I only copy answers from given passages. For real answers: `suite models pull`.",
}
LAST = {"ko": "한국어로 답하세요.", "en": "Answer in English.", "other": "Answer in the language of the question."}

# kind of value -> attributes that take it
ATTRIBUTES = {
    "en": {
        "number": ("port", "limit", "budget", "room number", "capacity", "batch size", "seat count", "code", "price", "extension"),
        "time": ("start time", "backup time", "closing time", "meeting time", "opening time", "restart time"),
        "date": ("deadline", "release date", "expiry date", "founding date", "review date", "start date"),
        "version": ("version", "release", "firmware", "schema version"),
        "percent": ("discount", "tax rate", "quota", "threshold", "share"),
        "amount": ("retention", "timeout", "cache size", "warranty", "notice period", "length", "weight", "disk size"),
        "person": ("owner", "manager", "author", "contact", "editor", "director", "reviewer", "founder", "teacher", "supplier"),
        "place": ("location", "region", "office", "city", "warehouse", "address", "home town"),
        "word": ("color", "status", "language", "license", "mode", "policy", "role", "format", "category", "nickname", "password", "theme"),
    },
    "ko": {
        "number": ("포트", "한도", "예산", "방 번호", "정원", "배치 크기", "좌석 수", "코드", "가격", "내선 번호"),
        "time": ("시작 시각", "백업 시각", "마감 시각", "회의 시간", "여는 시간", "재시작 시각"),
        "date": ("마감일", "출시일", "만료일", "설립일", "점검일", "시작일"),
        "version": ("버전", "릴리스", "펌웨어", "스키마 버전"),
        "percent": ("할인율", "세율", "할당량", "기준값", "지분"),
        "amount": ("보존 기간", "제한 시간", "캐시 크기", "보증 기간", "통보 기간", "길이", "무게", "디스크 크기"),
        "person": ("담당자", "관리자", "작성자", "연락처", "편집자", "책임자", "검토자", "설립자", "선생님", "공급자"),
        "place": ("위치", "지역", "사무실", "도시", "창고", "주소", "고향"),
        "word": ("색상", "상태", "언어", "라이선스", "모드", "정책", "역할", "형식", "분류", "별명", "비밀번호", "테마"),
    },
}
UNITS = {"en": ("days", "hours", "minutes", "seconds", "weeks", "months", "years", "MB", "GB", "kg", "km", "m"),
         "ko": ("일", "시간", "분", "초", "주", "개월", "년", "MB", "GB", "kg", "km", "m", "원", "명", "개")}
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_WORDS_EN = """red blue green black white grey silver gold open closed active paused ready draft public private weekly daily monthly yearly strict
manual automatic small large fast slow north south east west apple river stone paper cloud metal glass winter summer spring autumn tiger
eagle maple cedar amber coral violet indigo"""
_WORDS_KO = """빨강 파랑 초록 검정 하양 회색 은색 금색 열림 닫힘 활성 중지 준비 초안 공개 비공개 매주 매일 매월 매년 엄격 수동 자동 소형 대형 북쪽
남쪽 동쪽 서쪽 사과 바다 돌담 종이 구름 금속 유리 겨울 여름 봄날 가을 호랑이 독수리 단풍 소나무 호박 산호 보라 남색"""
WORDS = {"en": _WORDS_EN.split(), "ko": _WORDS_KO.split()}
NOUNS = {  # what an entity may be called in addition to its name
    "en": ("server", "project", "team", "service", "machine", "company", "building", "printer", "library", "database", "shop", "ship", "school",
           "node", "club"),
    "ko": ("서버", "프로젝트", "팀", "서비스", "기계", "회사", "건물", "프린터", "도서관", "저장소", "가게", "배", "학교", "노드", "모임"),
}

FACTS = {
    "en": (
        "The {a} of {e} is {v}.", "{e} has the {a} {v}.", "For {e}, the {a} is {v}.", "{e}'s {a} is {v}.", "{e} uses {v} as its {a}.",
        "The {a} of {e} was set to {v}.", "{e}: {a} {v}.", "{a} of {e}: {v}.", "We chose {v} as the {a} of {e}.", "At {e} the {a} is {v}.",
        "{v} is the {a} of {e}.", "The {a} for {e} is now {v}.", "{e} - {a}: {v}.", "The {e} {a} is {v}.",
        "In the case of {e} the {a} is always {v}.",
    ),
    "ko": (
        "{e}의 {a}{은} {v}{이다}.", "{e}의 {a}{은} {v}{로} 정했습니다.", "{e} {a}{은} {v}{이다}.", "{e}{은} {a}{이} {v}{이다}.",
        "{e}에서 {a}{은} {v}{이다}.", "{e}: {a} {v}.", "{e}의 {a}: {v}.", "{e}{은} {a}{로} {v}{을} 씁니다.", "{v}{은} {e}의 {a}{이다}.",
        "{e}의 {a}{은} 현재 {v}{이다}.", "{e}의 {a}{을} {v}{로} 바꿨습니다.", "{a}: {v} ({e}).", "{e}{은} {v}{을} {a}{로} 사용합니다.",
        "{e}의 경우 {a}{은} 항상 {v}{이다}.",
    ),
}
SHARED = {  # further facts of the entity that the sentence before was about
    "en": ("Its {a} is {v}.", "The {a} is {v}.", "It has the {a} {v}.", "Its {a} was set to {v}."),
    "ko": ("{a}{은} {v}{이다}.", "그리고 {a}{은} {v}{이다}.", "또 {a}{은} {v}{로} 정했습니다."),
}
QUESTIONS = {
    "en": (
        "What is the {a} of {e}?", "What is {e}'s {a}?", "Which {a} does {e} have?", "Tell me the {a} of {e}.", "{e} {a}?",
        "What {a} does {e} use?",
        "What is the {a} for {e}?", "{a} of {e}?", "For {e}, what is the {a}?", "Please give me the {a} of {e}.", "What is the {e} {a}?",
    ),
    "ko": (
        "{e}의 {a}{은} 무엇인가요?", "{e}의 {a}{은}?", "{e} {a} 알려줘.", "{e}의 {a}{이} 뭐야?", "{e}에서 {a}{은} 무엇입니까?",
        "{e}의 {a}{을} 알려 주세요.",
        "{e} {a}{은} 뭔가요?", "{e}{은} {a}{이} 무엇인가요?", "{a}{은} {e}에서 무엇인가요?", "{e} {a}?",
    ),
}
# more natural questions for some kinds of value
ASKING = {
    "en": {"person": ("Who is the {a} of {e}?", "Who is {e}'s {a}?"), "time": ("When is the {a} of {e}?",), "date": ("When is the {a} of {e}?",),
           "place": ("Where is the {a} of {e}?",), "percent": ("How high is the {a} of {e}?",), "amount": ("How much is the {a} of {e}?",)},
    "ko": {"person": ("{e}의 {a}{은} 누구인가요?", "{e} {a}{이} 누구야?"), "time": ("{e}의 {a}{은} 언제인가요?", "{e}의 {a}{은} 몇 시인가요?"),
           "date": ("{e}의 {a}{은} 언제인가요?",), "place": ("{e}의 {a}{은} 어디인가요?",), "percent": ("{e}의 {a}{은} 몇 퍼센트인가요?",),
           "amount": ("{e}의 {a}{은} 얼마인가요?",), "number": ("{e}의 {a}{은} 몇인가요?",)},
}
FILLER = {
    "en": ("Please read this page first.", "This section was updated last week.", "See the handbook for details.",
           "Ask the team if you are not sure.",
           "The rest of this page is about other things.", "All of this was checked by two people.", "Nothing else changed this year.",
           "Most people never need this page.", "More will follow in the next release.", "Keep a copy of this document.", "# Notes", "## Details"),
    "ko": ("먼저 이 문서를 읽어 주세요.", "지난주에 고친 내용입니다.", "자세한 내용은 안내서를 보세요.", "모르면 팀에 물어보세요.",
           "나머지는 다른 내용입니다.",
           "모두 두 사람이 확인했습니다.", "올해는 다른 변경이 없습니다.", "대부분은 이 문서가 필요 없습니다.", "다음 릴리스에서 더 알려 드립니다.",
           "이 문서를 보관해 주세요.", "# 참고", "## 자세히"),
}

_CHAT_EN = """hello|hi|hi there|good morning|thanks|thank you|how are you?|who are you?|what can you do?|what is your name?|tell me a joke|
write a poem about the sea|what is the capital of France?|1 + 1 = ?|what time is it?|explain recursion|
write a function that sorts a list|translate this to Korean|summarize the news|why is the sky blue?|give me a recipe for bread|
fix this bug|help|test|ping|ok|yes|no|how do I install this?|what is a vector database?|write a Python script that reads a file|
what is the meaning of life?|say hello|count to ten|Reply with one word.|Is this working?|Say "ready" and nothing else.|
Summarize our conversation.|What did I just ask you?|Who wrote Hamlet?|How many days does a year have?|Please continue.|
What does this code do?|Write a haiku.|Refactor this function.|Write a unit test for it."""
_CHAT_KO = """안녕|안녕하세요|고마워|감사합니다|잘 지내?|너는 누구야?|무엇을 할 수 있어?|이름이 뭐야?|농담 하나 해줘|바다에 대한 시를 써줘|
프랑스의 수도는 어디야?|1 더하기 1은?|지금 몇 시야?|재귀를 설명해줘|리스트를 정렬하는 함수를 짜줘|파이썬으로 피보나치 함수 짜줘|
영어로 번역해줘|뉴스를 요약해줘|하늘은 왜 파란가요?|빵 만드는 법 알려줘|이 버그 고쳐줘|도와줘|테스트|응|아니|어떻게 설치해?|
벡터 데이터베이스가 뭐야?|파일을 읽는 스크립트를 작성해줘|인생의 의미가 뭐야?|인사해줘|열까지 세어줘|한 단어로 답해줘.|잘 되나요?|
우리 대화를 요약해줘.|내가 방금 뭐라고 했지?|일 년은 며칠이야?|계속해 주세요.|이 코드는 뭐 하는 거야?|함수를 고쳐줘.|
단위 테스트를 작성해줘."""
CHAT = {"en": _CHAT_EN.replace("\n", "").split("|"), "ko": _CHAT_KO.replace("\n", "").split("|")}
_PROSE_EN = """the of and to in is that for on with as are this be by it from or an at which not have has was can will all each one two new more other
when then there their they about into over after before only also some any such than may must should would first last next time day week
month year hour people person team user system server model chat code memory search answer question document file folder page text word
line list table number data value name part port point backup report check test run start stop open close read write save load send ask
find show make keep change move copy add remove begin end good bad long short high low early late every never always often service
network database queue thread process kernel notebook cell output input error warning message reply request policy rule access key
office company project budget travel holiday meeting room calendar music water house dog cat tree sun moon love life world king book
story science math history function class return print please give tell explain describe what why how who where list python java sort
prime sum fibonacci weather capital country best difference between meaning"""
_PROSE_KO = """서버 모델 검색 데이터 문서 파일 폴더 기억 대화 질문 답변 도구 결과 상태 확인 점검 시작 종료 저장 삭제 복구 백업 보고서 시간 오전 오후
매일 회사 직원 부서 휴가 출장 비용 예산 회의 일정 규정 정책 승인 권한 보안 사용자 프로젝트 코드 함수 변수 오류 경고 메시지 요청 응답
문장 단어 숫자 이름 값 목록 표 그림 화면 노트북 메모리 네트워크 주소 그리고 그러나 그래서 또는 먼저 다음 마지막 날씨 음악 사랑 사람 나라
수도 역사 과학 수학 영화 여행 음식 오늘 내일 어제 우리 나는 너는 정말 아주 조금 많이 설명해 알려 만들어 작성해 짜줘 해줘 주세요 무엇 왜
어떻게 누가 어디 언제 차이 의미 방법 추천 파이썬 정렬 피보나치 합계 출력 입력 강아지 고양이 나무 하늘 바다 물 집 책"""
PROSE = {"en": _PROSE_EN.split(), "ko": _PROSE_KO.split()}
_FOREIGN = """bonjour comment ça va quelle est la capitale de hola qué tal cómo estás dónde está el libro guten Tag wie geht es dir warum ist der
Himmel schön привет как дела что это такое почему небо 你好 今天 天气 怎么样 请 写 一个 函数 こんにちは 元気 ですか ありがとう 東京 は
どこ مرحبا كيف شكرا नमस्ते ciao come stai grazie olá tudo bem merhaba xin chào 😀 🙂 🎉 ❤ → € £ ½ ∑ π"""
FOREIGN = _FOREIGN.split()


def single() -> list[str]:
    """The words that the tokenizer makes one token of."""
    return list(dict.fromkeys([*_templates(), *_values(), *_parts([*PROSE["en"], *PROSE["ko"]]), "입니다", "이다", "으로"]))


def joined() -> list[str]:
    """Those of them that are merged with a blank before them; a name or an answer that began with one would be cut by where it stands."""
    values = set(_values())
    found = dict.fromkeys([*_templates(), *_parts([*PROSE["en"], *PROSE["ko"]])])
    return [word for word in found if word not in values and not (word[0].isupper() and len(word) < 4)]


def _templates() -> list[str]:
    texts: list[str] = [*LAST.values(), *NOTHING.values(), *GENERAL.values(), "Passages: Question:"]
    for language in ("en", "ko"):
        texts += [*FACTS[language], *QUESTIONS[language], *SHARED[language], *FILLER[language], *NOUNS[language]]
        texts += [name for names in ATTRIBUTES[language].values() for name in names]
        texts += [template for templates in ASKING[language].values() for template in templates]
    return _parts(texts)


def _values() -> list[str]:
    return _parts([*MONTHS, *UNITS["en"], *UNITS["ko"], *WORDS["en"], *WORDS["ko"], "오전 오후 am pm"])


def _parts(texts: list[str]) -> list[str]:
    words = re.findall(r"[A-Za-z]+|[가-힣]+", re.sub(r"\{.*?\}", " ", " ".join(texts)))
    return [word for word in dict.fromkeys(words) if len(word) > 1]
