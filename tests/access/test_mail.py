"""Mail about approvals, to a real SMTP server: when a call begins to wait and when it was decided; and never a call that waits for mail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mail_stage import Box, post_office

from suite.access.approval import Approval
from suite.access.mail import Mail

WAITS = Approval("12345678-0000", "dev_user", "write_file", "d" * 64, {"path": "a", "password": "***"}, "/w", "It is of HIGH sensitivity.", 1000.0, 1300.0)
GRANTED = Approval(**{**WAITS.__dict__, "state": "approved", "decided": 1100.0, "decided_by": "admin_user", "rule": "approver", "reason": "fine"})


@pytest.fixture
def box() -> Iterator[tuple[Box, int]]:
    with post_office() as found:
        yield found


def settings(port: int, **more: Any) -> Any:
    return SimpleNamespace(**{"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_starttls": False, "smtp_user": "", "smtp_password": "", "smtp_from": "",
                              "smtp_to": "ops@example.org", **more})


def test_word_is_sent_when_a_call_waits_and_when_it_was_decided(box: tuple[Box, int]) -> None:
    found, port = box
    mail = Mail(settings(port, smtp_from="suite@example.org"))
    mail.tell(WAITS)
    mail.tell(GRANTED)
    first, second = found.wait(2)
    mail.close()
    assert "[pending] write_file by dev_user waits for an approval" in first and "suite approvals approve 12345678" in first and "password" not in first
    assert "[approved] write_file by dev_user was approved" in second and "admin_user (approver)" in second and "fine" in second
    assert found.letters[0].mail_from == "suite@example.org" and found.letters[0].rcpt_tos == ["ops@example.org"] and (mail.sent, mail.failed) == (2, 0)


def test_closing_sends_what_still_waits(box: tuple[Box, int]) -> None:
    found, port = box
    mail = Mail(settings(port))
    mail.tell(WAITS)
    mail.close()
    assert len(found.letters) == 1 and found.letters[0].mail_from == "ops@example.org"


def test_the_password_is_used_and_a_wrong_one_is_a_logged_failure_without_it(box: tuple[Box, int], caplog: pytest.LogCaptureFixture) -> None:
    found, port = box
    right, wrong = (Mail(settings(port, smtp_user="suite", smtp_password=word), pause=0.001) for word in ("sesame", "hunter2"))
    right.tell(WAITS)
    right.close()
    wrong.tell(WAITS)
    wrong.close()
    assert found.users == ["suite"] and len(found.letters) == 1 and (right.sent, wrong.failed) == (1, 1)
    assert "was not sent" in caplog.text and "hunter2" not in caplog.text


@pytest.mark.parametrize("missing", ["smtp_host", "smtp_to"])
def test_without_a_server_or_somebody_to_send_to_nothing_is_begun(missing: str) -> None:
    mail = Mail(settings(1, **{missing: ""}))
    mail.tell(WAITS)
    assert not mail.on and mail._thread is None
    mail.close()


def test_a_server_that_is_not_there_is_tried_three_times_and_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    mail, tried = Mail(settings(9), pause=0.001), []
    real = mail._send
    monkeypatch.setattr(mail, "_send", lambda message: (tried.append(1), real(message)))
    with caplog.at_level(logging.WARNING, "suite.access"):
        mail.tell(WAITS)
        mail.close()
    assert len(tried) == 3 and mail.failed == 1 and "look at SMTP_HOST" in caplog.text


def test_a_server_without_encryption_gets_nothing_where_it_is_asked_for(box: tuple[Box, int], caplog: pytest.LogCaptureFixture) -> None:
    found, port = box
    mail = Mail(settings(port, smtp_starttls=True), pause=0.001)
    mail.tell(WAITS)
    mail.close()
    assert found.letters == [] and mail.failed == 1 and "STARTTLS" in caplog.text
