"""A stand-in for Slack's incoming webhooks over HTTP that accepts every message."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "Sesam0451"


@dataclass
class Slack:
    """`webhook`: a file with the secret address; `messages`: the received messages."""

    webhook: Path
    messages: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def slack_stand_in(directory: Path) -> Iterator[Slack]:
    slack = Slack(directory / "slack-webhook")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            slack.messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        slack.webhook.write_text(f"http://127.0.0.1:{server.server_port}/services/{SECRET}\n")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield slack
        server.shutdown()
