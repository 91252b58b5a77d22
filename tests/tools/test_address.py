"""The policy of addresses: no private one is let through, however it is written."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import BadRequest, Denied, SettingsError, SuiteError
from suite.tools.builtin import address
from suite.tools.builtin.address import Addresses, canonical_host, is_public

PRIVATE = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15",
           "224.0.0.0/4", "240.0.0.0/4"]
HARMLESS = "93.184.215.14"


def numeric(host: str, port: int) -> list[str]:
    """The system's resolver without a network: it knows every numeric notation that C knows."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]


private_four = st.sampled_from(PRIVATE).map(ipaddress.IPv4Network).flatmap(
    lambda network: st.integers(int(network.network_address), int(network.broadcast_address))).map(ipaddress.IPv4Address)
FORMS = ["d", "o", "x", "0o", "X"]


def part(value: int, form: str) -> str:
    return {"d": str(value), "o": f"0{value:o}", "x": hex(value), "0o": f"000{value:o}", "X": f"0X{value:X}"}[form]


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """A private IPv4 address in one of the notations that some reader takes for it."""
    four = draw(private_four)
    whole, octets = int(four), list(four.packed)
    count = draw(st.integers(1, 4))
    last = int.from_bytes(bytes(octets[count - 1:]), "big")
    dotted = ".".join(part(value, draw(st.sampled_from(FORMS))) for value in [*octets[:count - 1], last])
    six = [f"[::ffff:{four}]", f"[::{four}]", f"[64:ff9b::{four}]", f"[64:ff9b:1::{four}]", f"[2002:{whole >> 16:x}:{whole & 0xffff:x}::1]",
           f"[2001:0:1:1:1:1:{(whole ^ 0xffffffff) >> 16:x}:{(whole ^ 0xffffffff) & 0xffff:x}]", f"[::ffff:0:{four}]", f"[0:0:0:0:0:FFFF:{four}]",
           f"[::ffff:{whole >> 16:x}:{whole & 0xffff:x}]"]
    host = draw(st.sampled_from([str(four), dotted, *six]))
    twist = draw(st.sampled_from(["none", "dot", "wide", "ideographic", "percent", "soft", "upper"]))
    if host.startswith("["):
        return host.upper() if twist == "upper" else host
    return {"none": host, "dot": host + ".", "wide": "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in host), "ideographic": host.replace(".", "。"),
            "percent": "".join(f"%{ord(c):02x}" for c in host), "soft": host.replace(".", "\u00ad."), "upper": host.upper()}[twist]


@given(spelled(), st.sampled_from(["http", "https", "HTTP"]), st.sampled_from(["", ":80", ":443", ":8001", ":65535"]), st.sampled_from(["", "/", "/a?b#c"]))
def test_no_private_address_is_let_through_in_any_spelling(host: str, scheme: str, port: str, tail: str) -> None:
    with pytest.raises((Denied, BadRequest)):
        Addresses(resolve=numeric).check(f"{scheme}://{host}{port}{tail}")


@given(private_four, st.lists(st.just(HARMLESS), max_size=3), st.integers(0, 3))
def test_a_name_with_one_private_address_among_others_is_denied(four: ipaddress.IPv4Address, others: list[str], where: int) -> None:
    found = [*others[:where], str(four), *others[where:]]
    with pytest.raises(Denied, match="public internet"):
        Addresses(resolve=lambda *_: found).check("https://example.org/")


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_what_is_called_public_is_global_and_no_multicast_by_the_standard_library_too(four: ipaddress.IPv4Address) -> None:
    assert not is_public(four) or (four.is_global and not four.is_multicast)


@given(st.one_of(st.integers(0, 2**128 - 1), st.integers(0x2000 << 112, (0x4000 << 112) - 1), st.integers(0x2001 << 112, (0x2003 << 112) - 1),
                 st.integers(0, 2**64)).map(ipaddress.IPv6Address))
def test_the_same_of_ipv6_and_no_ipv4_address_hides_in_one(six: ipaddress.IPv6Address) -> None:
    if is_public(six):
        assert six.is_global and not six.is_multicast and not six.is_site_local
        assert six.ipv4_mapped is None and six.sixtofour is None and six.teredo is None and six not in ipaddress.ip_network("64:ff9b::/32")


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_one_clear_error(text: str) -> None:
    for url in (text, "http://" + text, "https://example.org" + text):
        try:
            target = Addresses().target(url)
        except (Denied, BadRequest) as error:
            assert "\n" not in str(error)
        else:
            assert target.scheme in ("http", "https") and 0 < target.port < 65536 and canonical_host(target.host) == target.host


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111", "2001:4860:4860::8888"])
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "64:ff9b::808:808",
                                  "2002:808:808::1", "2001::1", "::ffff:8.8.8.8", "192.88.99.1", "255.255.255.255", "203.0.113.9"])
def test_special_addresses_are_not(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(("url", "place"), [
    ("https://example.org", "example.org:443"), ("http://Example.ORG.:8080/x?y#z", "example.org:8080"), ("http://8.8.8.8/", "8.8.8.8:80"),
    ("https://[2606:4700:0::1111]/", "[2606:4700::1111]:443"), ("https://한국.kr/가", "xn--3e0b707e.kr:443"), ("https://a_b.example.org/", "a_b.example.org:443")])
def test_a_url_leads_to_a_place(url: str, place: str) -> None:
    assert Addresses(resolve=lambda *_: [HARMLESS]).check(url).place == place


@pytest.mark.parametrize("url", ["file:///etc/passwd", "FILE:///etc/passwd", "data:text/html,x", "javascript:alert(1)", "about:blank", "chrome://settings", "ftp://example.org/",
                                 "view-source:https://example.org", "blob:https://example.org/1", "ws://example.org", "gopher://example.org", "example.org", "", "//example.org",
                                 "httpx://example.org"])
def test_other_schemes_are_denied(url: str) -> None:
    with pytest.raises(Denied, match="http and https only"):
        Addresses(resolve=lambda *_: [HARMLESS]).check(url)


@pytest.mark.parametrize("url", ["http://user:hunter2@example.org/", "https://user@example.org", "http://example.org:80@127.0.0.1/", "http://@example.org"])
def test_credentials_are_denied_and_not_repeated(url: str) -> None:
    with pytest.raises(Denied, match="user name or a password") as told:
        Addresses(resolve=lambda *_: [HARMLESS]).check(url)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("url", ["http://", "http:///x", "http:example.org", "http://example.org:0/", "http://example.org:99999/", "http://example.org:x/", "http://exa mple.org/",
                                 "http://example.org\\@127.0.0.1/", "http://example.org/\n", "http://\texample.org", "http://[::1", "http://[v1.x]/", "http://a..b/", "http://-/",
                                 "http://example.org/" + "a" * 5000, "http://" + "a" * 64 + ".org", "http://exam%70le.org/", "http://e\udc80.org", "http://a,b/"])
def test_what_is_no_url_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(BadRequest):
        Addresses(resolve=lambda *_: [HARMLESS]).check(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "0177.0.0.1", "134744072", "0x08080808", "8.8.2056", "010.8.8.8", "1.2.3.4.5", "256.1.1.1", "１２７.1"])
def test_unusual_notations_are_denied_even_of_public_addresses(host: str) -> None:
    with pytest.raises(Denied, match="unusual notation"):
        canonical_host(host)


def test_listed_places_may_be_reached_and_only_those() -> None:
    addresses = Addresses(("127.0.0.1:8000", "Intranet", "[::1]:9000", "fd00::1", "10.0.0.7"), resolve=lambda *_: ["10.1.1.1"])
    assert addresses.reach("127.0.0.1", 8000) == ["127.0.0.1"]
    assert addresses.reach("intranet", 443) == ["10.1.1.1"] and addresses.reach("::1", 9000) == ["::1"]
    assert addresses.reach("fd00::1", 1) == ["fd00::1"] and addresses.reach("10.0.0.7", 5) == ["10.0.0.7"]
    for host, port in (("127.0.0.1", 8001), ("localhost", 8000), ("::1", 9001), ("intranet.example.org", 443), ("10.0.0.8", 5), ("127.0.0.2", 8000)):
        with pytest.raises(Denied):
            addresses.reach(host, port)


@pytest.mark.parametrize("entry", ["http://x", "a:b", "", "x/y", "127.1", "a b", "[::1", "*"])
def test_an_entry_that_is_no_place_is_a_clear_error(entry: str) -> None:
    with pytest.raises(SettingsError, match="WEB_ALLOWED"):
        Addresses((entry,))


def test_a_name_without_an_address_is_a_clear_error() -> None:
    def fails(*_: object) -> list[str]:
        raise socket.gaierror("unknown")

    for resolve in (fails, lambda *_: []):
        with pytest.raises(BadRequest, match="no address"):
            Addresses(resolve=resolve).check("https://nowhere.example/")


def test_this_machine_s_own_public_address_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_own_addresses", lambda: {ipaddress.ip_address(HARMLESS)})
    with pytest.raises(Denied):
        Addresses(resolve=lambda *_: [HARMLESS]).check("https://example.org/")


def test_the_machine_s_own_addresses_are_found() -> None:
    assert ipaddress.ip_address("127.0.0.1") in address._own_addresses()


def test_localhost_is_denied_by_the_real_resolver() -> None:
    with pytest.raises(Denied, match="public internet"):
        Addresses().check("http://localhost/")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://" + quote("[::1]", safe="") + "/"])
def test_errors_are_errors_of_the_suite(url: str) -> None:
    with pytest.raises(SuiteError):
        Addresses().check(url)
