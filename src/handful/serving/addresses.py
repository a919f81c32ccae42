"""Under which addresses other devices reach this one, and a code that their cameras read."""

import io
import socket
from collections.abc import Sequence
from typing import Any

# One address of each kind of network: asked for the way there, the system names its own address on
# it. Nothing is sent. The last are for documentation and lead out by the default route.
_AWAY = {
    socket.AF_INET: ("192.168.0.1", "10.0.0.1", "172.16.0.1", "192.0.2.1"),
    socket.AF_INET6: ("fd00::1", "2001:db8::1"),
}


def own_addresses(family: int) -> list[str]:
    """Find the addresses of this machine that others can reach, without looking a name up.

    Args:
        family: `socket.AF_INET` or `socket.AF_INET6`.

    Returns:
        Addresses, those of the networks that homes and offices have first; none without a network.
    """
    found: dict[str, None] = {}
    for away in _AWAY[socket.AddressFamily(family)]:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((away, 9))
                own = str(probe.getsockname()[0])
        except OSError:  # no way there
            continue
        if not own.startswith(("127.", "0.", "fe80")) and own not in ("::1", "::"):
            found.setdefault(own)
    return list(found)


def open_at(host: str, listener: socket.socket) -> list[str]:
    """Say what to type into a browser to reach a server.

    Args:
        host: What it was told to listen at.
        listener: Its socket.

    Returns:
        One or more addresses. A host that stands for all of this machine's gives those that others
        can open, or the loopback's where there is none.
    """
    port = listener.getsockname()[1]
    hosts = [host]
    if host in ("0.0.0.0", "::", ""):
        is_double = listener.family == socket.AF_INET6 and not listener.getsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        )
        hosts = own_addresses(socket.AF_INET) if host != "::" or is_double else []
        if listener.family == socket.AF_INET6:
            hosts += own_addresses(socket.AF_INET6)
        hosts = hosts or ["[::1]" if host == "::" and not is_double else "127.0.0.1"]
    return [f"http://{f'[{name}]' if _is_bare(name) else name}:{port}" for name in hosts]


def _is_bare(host: str) -> bool:
    return ":" in host and not host.startswith("[")


def invitation(addresses: Sequence[str], invited: str, encoding: str | None) -> str:
    """Tell how to open a page on another device.

    Args:
        addresses: Those that are shown; all but the first are told.
        invited: What the code holds: an address, with the token.
        encoding: Of where it is printed.

    Returns:
        Lines of text, with a QR code where the encoding and the extra allow it.
    """
    lines = [f"Other addresses: {', '.join(addresses[1:])}"] if addresses[1:] else []
    try:
        drawn = io.StringIO()
        _code(invited).terminal(drawn, border=2, compact=True)
        drawn.getvalue().encode(encoding or "ascii")
    except (ImportError, UnicodeError, LookupError):
        return "\n".join(lines)
    note = "On another device in this network, point the camera at this:"
    return "\n".join([*lines, note, drawn.getvalue().rstrip("\n")])


def code_as_svg(address: str) -> str:
    """Draw an address as a QR code, for a page.

    Args:
        address: The address.

    Returns:
        SVG, black on white.
    """
    file = io.BytesIO()
    _code(address).save(file, kind="svg", border=3, light="#fff", xmldecl=False, omitsize=True)
    return file.getvalue().decode()


def _code(address: str) -> Any:
    import segno

    return segno.make(address, error="l", micro=False)
