"""A web server on this machine that counts its connections, and plays what a path names."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b"a picture"


@dataclass
class Seen:
    """What came in."""

    port: int = 0
    connections: int = 0
    hosts: list[str] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    redirect_to: str = ""
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Seen]:
    seen = Seen()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self):  # type: ignore[no-untyped-def]
            connection, address = super().get_request()
            seen.connections += 1
            return connection, address

        def handle_error(self, request, client_address):  # type: ignore[no-untyped-def]
            return

    server = Server(("127.0.0.1", 0), _handler(seen))
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: seen.server_names.append(name)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    seen.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        seen.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(seen: Seen) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.hosts.append(self.headers["Host"])
            getattr(self, "play_" + self.path.lstrip("/").partition("?")[0].replace("-", "_"), self.play_body)()

        def play_body(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def play_redirect(self) -> None:
            self.send_response(302)
            self.send_header("Location", seen.redirect_to)
            self.end_headers()

        def play_missing(self) -> None:
            self.send_error(404)

        def play_announces_much(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(10**12))
            self.end_headers()

        def play_sends_much(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not seen.closing.is_set():
                self.wfile.write(bytes(65_536))

        def play_cut(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(BODY)

        def play_trickle(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not seen.closing.wait(0.02):
                self.wfile.write(b"x")

        def play_trickled_headers(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
            while not seen.closing.wait(0.02):
                self.wfile.write(b"x")

        def play_nonsense(self) -> None:
            self.wfile.write(b"\x16\x03 not http\r\n\r\n")

        def log_message(self, *arguments: object) -> None:
            return

    return Handler
