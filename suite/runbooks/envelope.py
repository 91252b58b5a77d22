"""A DSSE envelope, protocol 1.0: a payload, its type, and signatures over both, so that neither can be taken for another.

https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from suite.errors import BadRequest
from suite.runbooks.digest import canonical
from suite.runbooks.sign import PublicKey, SigningKey

IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """The bytes that were signed, what kind they are, and the signatures, each with the id that it claims to be of."""

    payload: bytes
    type: str
    signatures: tuple[tuple[str, bytes], ...]

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of these keys that signed; ids in the envelope are only a claim and decide nothing."""
        message = pae(self.type, self.payload)
        return next((key for key in keys for _, signature in self.signatures if key.signed(signature, message)), None)


def pae(kind: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding of a type and a payload."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sealed(statement: Any, key: SigningKey) -> bytes:
    """The envelope of an in-toto statement, as the bytes of a JSON file."""
    payload = canonical(statement)
    signature = {"keyid": key.public.id, "sig": _b64(key.sign(pae(IN_TOTO, payload)))}
    return json.dumps({"payload": _b64(payload), "payloadType": IN_TOTO, "signatures": [signature]}, indent=1).encode() + b"\n"


def read_envelope(data: bytes, name: str) -> Envelope:
    """The envelope in the bytes of a file called `name`. Raises BadRequest when they are no DSSE envelope."""
    try:
        body = json.loads(data)
        signatures = tuple((str(row.get("keyid", "")), _unb64(row["sig"])) for row in body["signatures"])
        return Envelope(_unb64(body.get("payload", "")), str(body.get("payloadType", "")), signatures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(f"{name} is no DSSE envelope ({type(error).__name__}: {str(error)[:100]}).") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str) -> bytes:
    """Standard or URL-safe, as the protocol demands of whoever verifies; nothing else."""
    try:
        return base64.b64decode(text.encode("ascii").replace(b"-", b"+").replace(b"_", b"/"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64: {error}") from error
