"""Managing who there is: actors and keys, by whoever holds `access.admin` and proves it with a key; recorded before it is done."""

from __future__ import annotations

from typing import Any

from suite.access.actor import Actor, Actors
from suite.access.apikey import ApiKey, ApiKeys
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.decide import decide_act
from suite.access.event import Event
from suite.errors import BadRequest, Denied

ADMIN = "access.admin"


class Admin:
    """Each of these raises Denied for a caller who may not; `caller` is who proved to be behind the request."""

    def __init__(self, actors: Actors, keys: ApiKeys, audit: Audit) -> None:
        self._actors, self._keys, self._audit = actors, keys, audit

    def must(self, caller: Caller, what: str) -> None:
        """Raise Denied unless the caller holds `access.admin`; the attempt is recorded then."""
        decision = decide_act(self._actors.find(caller.actor), ADMIN, self._actors.policy, asked=caller.actor)
        if not decision.allowed:
            self._record(caller, "admin", what, "denied", decision.reason)
            raise Denied(decision.reason, actor=caller.actor)

    def actors(self, caller: Caller) -> list[Actor]:
        """All actors by name."""
        self.must(caller, "actors")
        return self._actors.list()

    def add_actor(self, caller: Caller, name: str, role: str) -> Actor:
        """A new actor. Raises BadRequest for a bad or taken name, or an unknown role."""
        self.must(caller, name)
        self._record(caller, "actor_add", name, "allowed", f"Actor {name[:80]!r} is to be made with the role {role[:80]!r}.", role=role)
        return self._actors.add(name, role)

    def change_actor(self, caller: Caller, name: str, role: str | None, active: bool | None) -> Actor:
        """Give an actor another role, or switch them off or on. Nobody changes themselves. Raises NotFound, or BadRequest for an unknown role."""
        self.must(caller, name)
        if name == caller.actor:
            raise BadRequest(f"Actor {name!r} cannot change themselves: the last administrator would lock everybody out; let another one do it.")
        self._record(caller, "actor_change", name, "allowed", f"Actor {name[:80]!r} is to be changed.", role=role, active=active)
        return self._actors.change(name, role=role, active=active)

    def keys(self, caller: Caller) -> list[ApiKey]:
        """All keys, never their text."""
        self.must(caller, "keys")
        return self._keys.list()

    def create_key(self, caller: Caller, actor: str, label: str, days: float | None) -> tuple[ApiKey, str]:
        """A new key and its text, which is shown this once. Raises NotFound or BadRequest."""
        self.must(caller, actor)
        key, text = self._keys.create(actor, label, days)
        try:
            self._record(caller, "key_create", key.id, "done", f"A key was made for {actor!r}.", **key.to_dict())
        except BaseException:  # a key that is on no record must open nothing
            self._keys.revoke(key.id)
            raise
        return key, text

    def revoke_key(self, caller: Caller, id: str) -> ApiKey:
        """Let a key open nothing from now on. Raises NotFound."""
        self.must(caller, id)
        self._record(caller, "key_revoke", id, "allowed", f"The key {id[:40]!r} is to be revoked.")
        return self._keys.revoke(id)

    def _record(self, caller: Caller, kind: str, subject: str, outcome: Any, reason: str, **detail: Any) -> None:
        self._audit.record(Event(caller.actor, kind, subject, outcome, reason, {**detail, "key": caller.key, "client": caller.client}))
