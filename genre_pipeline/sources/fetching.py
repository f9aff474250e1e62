"""Fetching a file by http(s) where the address is somebody else's word: guarded against server-side request forgery.

A catalogue is data, and a URL in it may name a machine that only this one can reach. So a host is resolved once, every
address it resolves to must be public or allowed by name, the connection goes to that very address, and each redirect
starts over. Belongs here: http(s) alone. Kept out: files and object stores (`media_files`).
"""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pydantic import Field, field_validator

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.sources.decoding import RefusedError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Host and port to the addresses it resolves to, as text. Raises OSError where it does not resolve."""
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_PATH_CHARACTERS = "/%:@!$&'()*+,;=?~-._"
_CHUNK = 65_536
_NAT64 = ip_network("64:ff9b::/96")
_TUNNELS = tuple(map(ip_network, ("2002::/16", "2001::/32", "64:ff9b:1::/48", "fec0::/10", "::/96")))
"""6to4, Teredo, local NAT64, site-local, IPv4-compatible: they lead to addresses that nobody has checked."""
_AGENT = "genre-pipeline media reader"


class UrlPolicy(Settings):
    """Which http(s) addresses media may be fetched from."""

    schemes: tuple[str, ...] = ("https", "http")
    """URL schemes that are fetched."""
    allowed_hosts: tuple[str, ...] = ()
    """Where not empty, the only hosts that are fetched from. A host in other than ASCII letters must be named here."""
    allowed_networks: tuple[str, ...] = ()
    """Networks such as 10.20.0.0/16 that are fetched from although they are not public."""
    max_redirects: int = Field(default=3, ge=0, le=10)
    """Redirects that are followed, each checked like the first address."""
    seconds: float = Field(default=15.0, gt=0, le=600)
    """The longest that one file may take, redirects and all; name look-up is bounded by the system's resolver."""

    @field_validator("schemes")
    @classmethod
    def _schemes_are_http(cls, schemes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(schemes) - set(_PORTS):
            raise ValueError(f"{', '.join(sorted(unknown))}: only http and https are fetched")
        return schemes

    @field_validator("allowed_networks")
    @classmethod
    def _networks_parse(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks


def system_resolver(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """Fetches files under one policy. Safe to share between threads."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        max_bytes: int,
        resolve: Resolve = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._max_bytes = max_bytes
        self._resolve = resolve
        self._networks = [ip_network(network) for network in policy.allowed_networks]
        self._hosts = {_ascii_host(host.lower()) for host in policy.allowed_hosts}
        self._given_tls = tls

    def fetch(self, url: str) -> bytes:
        """The body of the answer. Raises RefusedError, naming the rule."""
        deadline = time.monotonic() + self._policy.seconds
        for _ in range(self._policy.max_redirects + 1):
            answer = self._one(url, deadline)
            if isinstance(answer, bytes):
                return answer
            url = _followed(url, answer)
        raise RefusedError("too_many_redirects", f"Over {self._policy.max_redirects} redirects")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Reading the system's certificates takes longer than a small catalogue: not before a URL asks for it."""
        return self._given_tls or ssl.create_default_context()

    def _one(self, url: str, deadline: float) -> bytes | str:
        """The body, or where a redirect leads."""
        parts, host, port = self._checked_url(url)
        addresses = self._checked_addresses(host, port)
        try:
            with self._connection(parts.scheme, host, port, addresses, deadline) as connection:
                path = quote(parts._replace(scheme="", netloc="", fragment="").geturl() or "/", safe=_PATH_CHARACTERS)
                headers = {"Accept-Encoding": "identity", "User-Agent": _AGENT, "Connection": "close"}
                connection.request("GET", path, headers=headers)
                with connection.getresponse() as response:
                    return self._answer(response, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline:
                raise self._too_slow() from error
            raise RefusedError("fetch_failed", f"{host}: {error or type(error).__name__}") from error

    def _checked_url(self, url: str) -> tuple[SplitResult, str, int]:
        url = url.strip(" ").replace(" ", "%20")
        if _UNSAFE.search(url):
            raise RefusedError("location_invalid", "The URL has control characters or backslashes")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise RefusedError("location_invalid", f"Not a URL: {error}") from error
        if parts.scheme not in self._policy.schemes:
            raise RefusedError("scheme_refused", f"{parts.scheme or 'no scheme'}: not one that is fetched")
        if "@" in parts.netloc:
            raise RefusedError("location_invalid", "The URL carries a user name or password")
        return parts, self._checked_host(host), port or _PORTS[parts.scheme]

    def _checked_host(self, host: str) -> str:
        """The host in ASCII: a proper IP address or a proper name, never a number that a resolver would complete."""
        name = _ascii_host(host).removesuffix(".")
        if (self._hosts or not host.isascii()) and name not in self._hosts:
            raise RefusedError("host_refused", f"{host} is not among `allowed_hosts`")
        if _is_address(name):
            return name
        if not _HOST.fullmatch(name) or _NUMERIC_LABEL.fullmatch(name.rsplit(".", 1)[-1]):
            raise RefusedError("host_refused", f"{host!r} is neither a host name nor an address in its usual form")
        return name

    def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        """Resolved once. One address that is refused refuses the host, or its owner could alternate."""
        if _is_address(host):
            addresses: Sequence[str] = (host,)
        else:
            try:
                addresses = self._resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise RefusedError("host_unknown", f"{host} does not resolve: {error}") from error
        refused = [address for address in addresses if not self._is_allowed(address)]
        if refused or not addresses:
            raise RefusedError("address_refused", f"{host} leads to {', '.join(refused) or 'no address'}")
        return addresses

    def _is_allowed(self, address: str) -> bool:
        if not _is_address(address):
            return False
        return all(
            _is_public(one) or any(one in network for network in self._networks) for one in _meant(ip_address(address))
        )

    @contextmanager
    def _connection(
        self, scheme: str, host: str, port: int, addresses: Sequence[str], deadline: float
    ) -> Iterator[http.client.HTTPConnection]:
        """A connection to one of the checked addresses, closed when the time is over, whatever it is doing."""
        connection = http.client.HTTPConnection(_bracketed(host), port)
        connection.default_port = _PORTS[scheme]
        wire = self._connect(addresses, port, deadline)
        if scheme == "https":
            wire = self._tls.wrap_socket(wire, server_hostname=host, do_handshake_on_connect=False)
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [wire])
        timer.daemon = True
        timer.start()
        try:
            if isinstance(wire, ssl.SSLSocket):
                wire.do_handshake()
            connection.sock = wire
            yield connection
        finally:
            timer.cancel()
            connection.close()
            wire.close()

    def _connect(self, addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
        failure: OSError = OSError("no address answered")
        for address in addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return socket.create_connection((address, port), timeout=left)
            except OSError as error:
                failure = error
        raise failure

    def _answer(self, response: http.client.HTTPResponse, deadline: float) -> bytes | str:
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            return location
        if response.status != 200:
            raise RefusedError("fetch_failed", f"The server answered {response.status}")
        declared = response.length
        if declared is not None and declared > self._max_bytes:
            raise RefusedError("too_many_bytes", f"{declared:,} bytes are announced; {self._max_bytes:,} are allowed")
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise RefusedError("too_many_bytes", f"Over {self._max_bytes:,} bytes")
            if time.monotonic() >= deadline:
                raise self._too_slow()
        if (declared is not None and len(body) < declared) or time.monotonic() >= deadline:
            raise OSError(f"the connection ended after {len(body):,} bytes")
        return bytes(body)

    def _too_slow(self) -> RefusedError:
        return RefusedError("fetch_too_slow", f"Not fetched within {self._policy.seconds:g} s")


def _followed(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise RefusedError("location_invalid", f"A redirect leads to no URL: {error}") from error


def _shut(wire: socket.socket) -> None:
    # Not the method of an SSLSocket, which would take its encryption off while another thread reads.
    try:
        socket.socket.shutdown(wire, socket.SHUT_RDWR)
    except OSError:
        return  # closed already


def _ascii_host(host: str) -> str:
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError as error:
        raise RefusedError("host_refused", f"{host!r} is no host name: {error}") from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _meant(address: Address) -> Iterator[Address]:
    """What a connection would reach: also the IPv4 address inside an IPv6 address that a gateway unpacks."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None:
        yield mapped
        return
    yield address
    if isinstance(address, IPv6Address) and address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public(address: Address) -> bool:
    inner = (
        address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
        or address.is_reserved or address.is_unspecified
    )  # fmt: skip
    return address.is_global and not inner and not any(address in network for network in _TUNNELS)
