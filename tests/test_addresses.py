import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from handful.serving.addresses import code_as_svg, invitation, open_at, own_addresses


def listening(host: str, family: int = socket.AF_INET) -> socket.socket:
    listener = socket.socket(family)
    listener.bind((host, 0))
    listener.listen()
    return listener


def test_own_addresses_can_be_reached_and_are_no_loopback_s() -> None:
    for address in own_addresses(socket.AF_INET):
        assert not address.startswith(("127.", "0."))
        with listening(address):  # only an address of this machine can be listened at
            pass


def test_an_address_for_all_of_them_is_told_as_those_that_others_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "handful.serving.addresses.own_addresses",
        lambda family: ["192.168.1.5", "10.0.0.7"] if family == socket.AF_INET else ["fd00::5"],
    )
    with listening("0.0.0.0") as listener:
        port = listener.getsockname()[1]
        assert open_at("0.0.0.0", listener) == [
            f"http://192.168.1.5:{port}",
            f"http://10.0.0.7:{port}",
        ]
        assert open_at("photos.example", listener) == [f"http://photos.example:{port}"]
        monkeypatch.setattr("handful.serving.addresses.own_addresses", lambda family: [])
        assert open_at("0.0.0.0", listener) == [f"http://127.0.0.1:{port}"]


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
@pytest.mark.parametrize("is_only", [True, False])
def test_all_addresses_of_both_kinds_where_the_socket_takes_both(
    monkeypatch: pytest.MonkeyPatch, is_only: bool
) -> None:
    monkeypatch.setattr(
        "handful.serving.addresses.own_addresses",
        lambda family: ["192.168.1.5"] if family == socket.AF_INET else ["fd00::5"],
    )
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_only)
        port = listener.getsockname()[1]
        older = [] if is_only else [f"http://192.168.1.5:{port}"]
        assert open_at("::", listener) == [*older, f"http://[fd00::5]:{port}"]
        monkeypatch.setattr("handful.serving.addresses.own_addresses", lambda family: [])
        assert open_at("::", listener) == [f"http://{'[::1]' if is_only else '127.0.0.1'}:{port}"]


def test_a_code_is_drawn_where_it_can_be_and_never_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = ["http://192.168.1.5:8000", "http://10.0.0.7:8000"]
    invited = f"{addresses[0]}/#token=abc"
    drawn = invitation(addresses, invited, "utf-8").splitlines()
    assert drawn[:2] == [
        "Other addresses: http://10.0.0.7:8000",
        "On another device in this network, point the camera at this:",
    ]
    assert len(drawn) > 12 and set("".join(drawn[2:])) <= set("█▀▄ ")
    assert (
        invitation(addresses, invited, "ascii") == drawn[0] == invitation(addresses, invited, None)
    )
    assert invitation(addresses[:1], invited, "no such encoding") == ""
    assert code_as_svg(invited).startswith("<svg") and "viewBox" in code_as_svg(invited)
    monkeypatch.setitem(sys.modules, "segno", None)
    assert invitation(addresses, invited, "utf-8") == drawn[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
@pytest.mark.parametrize("given", ["a-token-that-is-long-enough", ""])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_server_for_all_prints_an_address_that_opens_and_a_code_on_terminals(
    tiny_run: Path, is_terminal: bool, given: str
) -> None:
    options = ["serve", str(tiny_run), "--host", "0.0.0.0", "--port", "0"]
    mine, theirs = os.openpty() if is_terminal else os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "handful", *options],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HANDFUL_TOKEN": given, "PYTHONUTF8": "1"},
    ) as process:
        os.close(theirs)
        text = ""
        while "▀" not in text if is_terminal else "to stop" not in text:
            text += os.read(mine, 65536).decode()
        address = re.search(r"http://[0-9.]+:\d+", text)
        assert address and "0.0.0.0" not in address[0]
        shown = re.search(r"/#token=(\S+)", text)
        # One that was given is known, and is not shown to others.
        assert (shown is None) == bool(given) and (not given or given not in text)
        right = {"authorization": f"Bearer {given or shown[1]}"}
        asked = f"{address[0]}/model"
        assert httpx.get(f"{address[0]}/healthz", trust_env=False).status_code == 200
        assert httpx.get(asked, trust_env=False).status_code == 401
        assert httpx.get(asked, headers=right, trust_env=False).status_code == 200
        process.terminate()
        assert process.wait(120) == 0
    os.close(mine)
    assert ("▀" in text) == is_terminal
