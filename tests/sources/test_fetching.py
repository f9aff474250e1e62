"""Fetching: a URL reaches public machines and those allowed by name; to others not even a connection is made."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from genre_pipeline.sources.decoding import RefusedError
from genre_pipeline.sources.fetching import Fetcher, UrlPolicy
from tests.sources.listener import BODY, Seen, listening

NAMES = {
    "public.test": ["93.184.216.34"],
    "inside.test": ["127.0.0.1"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "both.test": ["93.184.216.34", "127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "scoped.test": ["fe80::1%lo"],
    "metadata.test": ["169.254.169.254"],
    "nothing.test": [],
    "localhost": ["::1", "127.0.0.1"],
    "localhost.localdomain": ["127.0.0.1"],
    "xn--bcher-kva.test": ["127.0.0.1"],
}
HERE = UrlPolicy(allowed_networks=("127.0.0.1/32",), seconds=5)
REFUSED = {"address_refused", "host_refused", "scheme_refused", "location_invalid", "host_unknown"}
HOSTS = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1",
    "0177.0.0.1", "017700000001", "127.0.0.1.", "0", "0.0.0.0", "0x0", "00000177.1", "127.0.0.01", "1.2.3",
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]",
    "[ff02::1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2001:db8::1]",
    "[2001:0:7f00:1::]", "localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "inside.test",
    "127.0.0.1.nip.test", "both.test", "mapped.test", "scoped.test", "metadata.test", "nothing.test", "unknown.test",
    "[2001:0:7f00:1::2]",
    "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "bücher.test", "a_b..test", "-.test", "%31%32%37.0.0.1",
    "127.0.0.1%2f", "user@127.0.0.1", "public.test@127.0.0.1", "127.0.0.1%00.public.test", "xn--bcher-kva.test",
]  # fmt: skip
URLS = [
    "gopher://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "dict://127.0.0.1:{port}/", "file:///etc/passwd",
    "javascript:alert(1)", "data:image/png;base64,AAAA", "//127.0.0.1:{port}/", "http:///x", "http://",
    "http:127.0.0.1",
    "http://127.0.0.1:{port}\\@public.test/", "http://public.test:{port}\t/", "http://[::1", "http://127.0.0.1:99999/",
    "http://public.test\r\nHost: a:{port}/", "http://127.0.0.1:port/", "http:\\\\127.0.0.1:{port}\\",
]  # fmt: skip


def resolve(host: str, port: int) -> Sequence[str]:
    del port
    if host not in NAMES:
        raise OSError("no such name")
    return NAMES[host]


@pytest.fixture(scope="module")
def server() -> Iterator[Seen]:
    with listening() as seen:
        yield seen


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses to which a connection was tried; the tests themselves never leave this machine."""
    tried: list[str] = []
    connect = socket.create_connection

    def recorded(address: tuple[str, int], timeout: float) -> socket.socket:
        tried.append(address[0])
        assert address[0] == "127.0.0.1", f"a connection to {address[0]} was tried"
        return connect(address, timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", recorded)
    return tried


def fetcher(policy: UrlPolicy = HERE, max_bytes: int = 1_000_000) -> Fetcher:
    return Fetcher(policy, max_bytes=max_bytes, resolve=resolve)


def rule_of(made: Fetcher, url: str) -> str:
    with pytest.raises(RefusedError) as refusal:
        made.fetch(url)
    return refusal.value.rule


@pytest.mark.parametrize("url", [*(f"http://{host}:{{port}}/x" for host in HOSTS), *URLS])
def test_what_is_refused_is_not_connected_to(server: Seen, attempts: list[str], url: str) -> None:
    before = server.connections
    assert rule_of(fetcher(UrlPolicy(seconds=2)), url.format(port=server.port)) in REFUSED
    assert (server.connections, attempts) == (before, [])


def test_there_are_enough_cases() -> None:
    assert len({*HOSTS, *URLS}) >= 60


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/", "//127.0.0.2:{port}/", "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/",
        "http://metadata.test/", "http://[::1]:{port}/", "http://[fe80::1]/", "http://2130706433:{port}/",
        "http://0x7f.1:{port}/", "http://0:{port}/", "http://user@127.0.0.1:{port}/", "http://[::ffff:10.0.0.1]:{port}/",
        "file:///etc/passwd", "gopher://127.0.0.1:{port}/", "data:image/png,x", "http://unknown.test/", "http://[::1",
    ],
)  # fmt: skip
def test_a_redirect_is_checked_like_any_address(server: Seen, attempts: list[str], target: str) -> None:
    server.redirect_to = target.format(port=server.port)
    assert rule_of(fetcher(), f"http://127.0.0.1:{server.port}/redirect") in REFUSED
    assert attempts == ["127.0.0.1"]


def test_an_allowed_network_is_fetched_from_under_its_own_name(server: Seen) -> None:
    before = server.connections
    url = f"http://inside.test:{server.port}/a b/é?c=d e"
    assert fetcher().fetch(url) == BODY
    assert server.connections - before == 1
    assert server.hosts[-1] == f"inside.test:{server.port}"


def test_a_name_is_resolved_once_and_the_connection_goes_there(server: Seen) -> None:
    """A name that answers differently the second time gains nothing: there is no second time."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def alternating(host: str, port: int) -> Sequence[str]:
        asked.append(f"{host}:{port}")
        return next(answers)

    made = Fetcher(HERE, max_bytes=100, resolve=alternating)
    assert made.fetch(f"http://rebind.test:{server.port}/") == BODY
    assert asked == [f"rebind.test:{server.port}"]
    before = server.connections
    assert rule_of(made, f"http://rebind.test:{server.port}/") == "address_refused"
    assert server.connections == before


def test_a_redirect_to_an_allowed_address_is_followed(server: Seen) -> None:
    server.redirect_to = "/body"
    assert fetcher().fetch(f"http://inside.test:{server.port}/redirect") == BODY


def test_redirects_end(server: Seen) -> None:
    server.redirect_to = "/redirect"
    before = server.connections
    assert rule_of(fetcher(), f"http://inside.test:{server.port}/redirect") == "too_many_redirects"
    assert server.connections - before == 4


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("missing", "fetch_failed"), ("announces-much", "too_many_bytes"), ("sends-much", "too_many_bytes"),
        ("cut", "fetch_failed"), ("nonsense", "fetch_failed"),
    ],
)  # fmt: skip
def test_a_bad_answer_has_its_rule(server: Seen, path: str, rule: str) -> None:
    assert rule_of(fetcher(), f"http://inside.test:{server.port}/{path}") == rule


@pytest.mark.parametrize("path", ["trickle", "trickled-headers"])
def test_the_whole_fetch_has_its_time(server: Seen, path: str) -> None:
    made = fetcher(HERE.model_copy(update={"seconds": 0.3}))
    assert rule_of(made, f"http://inside.test:{server.port}/{path}") == "fetch_too_slow"


def test_nobody_listens(server: Seen) -> None:
    with listening() as gone:
        port = gone.port
    assert rule_of(fetcher(), f"http://inside.test:{port}/") == "fetch_failed"


def test_only_named_hosts_and_schemes_where_some_are_named(server: Seen) -> None:
    named = fetcher(HERE.model_copy(update={"allowed_hosts": ("inside.test", "bücher.test")}))
    assert named.fetch(f"http://inside.test:{server.port}/") == BODY
    assert named.fetch(f"http://bücher.test:{server.port}/") == BODY
    assert rule_of(named, f"http://localhost:{server.port}/") == "host_refused"
    https = fetcher(HERE.model_copy(update={"schemes": ("https",)}))
    assert rule_of(https, f"http://inside.test:{server.port}/") == "scheme_refused"


@pytest.mark.parametrize("settings", [{"schemes": ("ftp",)}, {"allowed_networks": ("everything",)}])
def test_a_policy_that_means_nothing_is_refused(settings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValidationError):
        UrlPolicy(**settings)  # type: ignore[arg-type]


def test_tls_proves_the_name_and_not_the_address(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path, "inside.test")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with listening(server_side) as seen:
        made = Fetcher(HERE, max_bytes=100, resolve=resolve, tls=trusting)
        assert made.fetch(f"https://inside.test:{seen.port}/") == BODY
        assert (seen.server_names, seen.hosts) == (["inside.test"], [f"inside.test:{seen.port}"])
        assert rule_of(made, f"https://localhost.localdomain:{seen.port}/") == "fetch_failed"
        assert rule_of(fetcher(), f"https://inside.test:{seen.port}/") == "fetch_failed"
        slow = Fetcher(HERE.model_copy(update={"seconds": 0.5}), max_bytes=10**6, resolve=resolve, tls=trusting)
        assert rule_of(slow, f"https://inside.test:{seen.port}/trickle") == "fetch_too_slow"


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the test's certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


def test_every_address_that_python_calls_private_is_refused() -> None:
    made = fetcher(UrlPolicy())
    for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10"):
        for address in (ipaddress.ip_network(network)[0], ipaddress.ip_network(network)[-1]):
            assert (
                rule_of(made, f"http://[{address}]/" if address.version == 6 else f"http://{address}/")
                == "address_refused"
            )
