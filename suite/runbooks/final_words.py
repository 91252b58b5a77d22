"""The fixed texts of the final report, in English and in Korean; names of checks and what they found stay as they were recorded."""

from __future__ import annotations

from suite.errors import BadRequest

LANGUAGES = ("en", "ko")

_TEXTS: dict[str, tuple[str, str]] = {
    "report": ("Release report", "릴리스 보고서"),
    "release": ("Release", "릴리스"),
    "stage": ("Stage", "단계"),
    "from_to": ("Checked", "점검 시각"),
    "commit": ("Commit", "커밋"),
    "dirty": ("with uncommitted changes", "커밋되지 않은 변경 있음"),
    "profile": ("Profile", "프로필"),
    "READY": ("READY", "배포 가능"),
    "NOT READY": ("NOT READY", "배포 불가"),
    "REHEARSAL": ("REHEARSAL", "예행"),
    "COULD NOT RUN": ("COULD NOT RUN", "실행하지 못함"),
    "about READY": ("Every gate holds and every required check has passed, on the models of this profile.",
                    "이 프로필의 모델로 모든 관문과 모든 필수 점검을 통과했습니다."),
    "about NOT READY": ("At least one gate or required check does not hold; no average makes up for it.",
                        "관문 또는 필수 점검이 하나 이상 충족되지 않았습니다. 평균 점수로 만회할 수 없습니다."),
    "about REHEARSAL": ("All that the smoke models can show has passed. The worth of any real model or answer was not shown.",
                        "스모크 모델로 보일 수 있는 것은 모두 통과했습니다. 실제 모델이나 답변의 품질은 확인되지 않았습니다."),
    "about COULD NOT RUN": ("The checks could not be carried out to the end; what is missing counts as not run, never as passed.",
                            "점검을 끝까지 실행하지 못했습니다. 빠진 것은 통과가 아니라 미실행입니다."),
    "readiness": ("Readiness", "준비도"),
    "lowest": ("lowest category", "가장 낮은 범주"),
    "mean": ("mean of the categories", "범주 평균"),
    "scores": ("Category scores", "범주별 점수"),
    "scores_note": ("Weighted share of passed checks: pass 1, degraded 0.5, everything else 0; not-applicable leaves the denominator.",
                    "통과한 점검의 가중 비율: 통과 1, 저하 0.5, 나머지 0. 해당 없음은 분모에서 빠집니다."),
    "unverified": ("unverified", "확인 안 됨"),
    "gates": ("Gates", "관문"),
    "gates_note": ("A gate that fails or was not run stops the release, whatever the scores are.",
                   "관문이 실패하거나 실행되지 않으면 점수와 관계없이 릴리스가 멈춥니다."),
    "seal": ("What the seal proves", "봉인이 증명하는 것"),
    "proves": ("That nothing in this directory was changed after it was sealed: the notebooks, the results, the criteria and the order of "
               "releases are bound by one signature, made by the runner process and not in a cell; each state was computed again from the "
               "observed value.",
               "봉인 뒤에 이 디렉터리의 어떤 것도 바뀌지 않았음을 증명합니다. 노트북, 결과, 기준, 릴리스 순서가 하나의 서명으로 "
               "묶여 있고, 서명은 셀이 아니라 실행기 프로세스가 합니다. 각 상태는 관측값에서 다시 계산했습니다."),
    "proves_not": ("Not that the kernel which observed these values was honest: whoever runs as the same user could have shown it other values, "
                   "and whoever holds the key can seal anything.",
                   "값을 관측한 커널이 정직했음은 증명하지 못합니다. 같은 사용자로 실행되는 프로그램은 다른 값을 보여 줄 수 있고, "
                   "키를 가진 사람은 무엇이든 봉인할 수 있습니다."),
    "verify": ("To verify, on any machine and without a network", "확인 방법(네트워크 없이 어느 기기에서나)"),
    "glance": ("All checks at a glance", "점검 한눈에 보기"),
    "attention": ("What did not pass", "통과하지 못한 것"),
    "attention_none": ("Every check passed or does not apply.", "모든 점검이 통과했거나 해당되지 않습니다."),
    "phase": ("Phase {0}: {1}", "{0}단계: {1}"),
    "phase 1": ("environment", "환경"),
    "phase 2": ("health of the parts", "구성 요소 상태"),
    "phase 3": ("monitoring", "모니터링"),
    "phase 4": ("configuration and security", "구성과 보안"),
    "phase 5": ("validation", "검증"),
    "phase other": ("further checks", "추가 점검"),
    "criterion": ("criterion", "기준"),
    "observed": ("observed", "관측값"),
    "margin": ("margin", "여유"),
    "state": ("state", "상태"),
    "evidence": ("evidence", "증거"),
    "cell": ("cell", "셀"),
    "why": ("why", "이유"),
    "check": ("check", "점검"),
    "proven_red": ("proven red {0}", "실패 입증 {0}"),
    "never_red": ("never proven red", "실패 입증 없음"),
    "weak": ("weak: {0}", "약함: {0}"),
    "smoke": ("smoke model", "스모크 모델"),
    "charts": ("Charts", "도표"),
    "chart_scores": ("Score of each category, %", "범주별 점수, %"),
    "chart_time": ("When each runbook ran", "런북 실행 시각"),
    "chart_margin": ("Nearest to the limit: share of the limit that is used", "한계에 가장 가까운 것: 사용된 한계의 비율"),
    "chart_ready": ("Seconds from start to ready", "시작에서 준비까지, 초"),
    "chart_seconds": ("Seconds until an answer (of how many)", "답변까지 걸린 시간, 초(건수)"),
    "limit": ("limit", "한계"),
    "not_verified": ("What was not verified", "확인하지 않은 것"),
    "not_verified_none": ("The runner names nothing that was left unverified.", "실행기가 확인하지 않았다고 밝힌 것이 없습니다."),
    "risks": ("Accepted risks", "수용한 위험"),
    "risks_none": ("No risk is on record.", "기록된 위험이 없습니다."),
    "risk": ("risk", "위험"), "likelihood": ("likelihood", "가능성"), "impact": ("impact", "영향"), "answer": ("answer", "대응"),
    "checks": ("checks", "점검"), "held": ("held", "대응됨"), "open": ("open", "미해결"),
    "low": ("low", "낮음"), "medium": ("medium", "중간"), "high": ("high", "높음"),
    "waivers": ("Waivers", "면제"),
    "waivers_none": ("Nothing is waived.", "면제된 것이 없습니다."),
    "owner": ("owner", "책임자"),
    "expiry": ("until", "기한"),
    "reason": ("reason", "사유"),
    "loosened": ("Limits looser than in the last sealed release", "직전 봉인 릴리스보다 느슨해진 한계"),
    "loosened_none": ("No limit is looser than in the last sealed release.", "직전 봉인 릴리스보다 느슨해진 한계가 없습니다."),
    "loosened_first": ("Limits were not compared with those of an earlier release.", "이전 릴리스의 한계와 비교하지 않았습니다."),
    "before": ("before", "이전"),
    "after": ("now", "현재"),
    "runs": ("Runbooks", "런북"),
    "seconds": ("seconds", "초"),
    "trouble": ("trouble", "문제"),
    "crash": ("Crash of {0}", "{0} 중단 기록"),
    "environment": ("Environment", "환경 기록"),
    "files": ("Files of this release", "이 릴리스의 파일"),
    "none": ("none", "없음"),
    "pass": ("pass", "통과"), "degraded": ("degraded", "저하"), "fail": ("fail", "실패"), "not-run": ("not-run", "미실행"),
    "waived": ("waived", "면제"), "not-applicable": ("not-applicable", "해당 없음"),
    "finished": ("finished", "완료"), "crashed": ("crashed", "중단"), "timed-out": ("timed out", "시간 초과"),
    "infrastructure": ("infrastructure", "인프라"), "stability": ("stability", "안정성"), "security": ("security", "보안"),
    "monitoring": ("monitoring", "모니터링"), "function": ("function", "기능"), "performance": ("performance", "성능"),
    "recoverability": ("recoverability", "복구"),
}


class Words:
    """The texts in one language; a name without a text stands for itself, as the names of checks do.

    Raises BadRequest for a language that there are no texts in.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise BadRequest(f"The report's language is {language!r} but must be one of {', '.join(LANGUAGES)}.", param="language")
        self.language, self._place = language, LANGUAGES.index(language)

    def __call__(self, name: str, *values: object) -> str:
        text = _TEXTS[name][self._place] if name in _TEXTS else name
        return text.format(*values) if values else text
