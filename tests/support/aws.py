"""moto's server as a stand-in for AWS over HTTP, with faults that a test sets for the next requests."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-west-1"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
Respond = Callable[..., Any]
# Code and status, as AWS's JSON protocol has them.
REFUSALS: Mapping[str, tuple[str, int]] = {
    "throttled": ("ThrottlingException", 400),
    "unavailable": ("InternalServiceFault", 500),
    "denied": ("AccessDeniedException", 403),
    "bad key": ("UnrecognizedClientException", 403),
    "invalid": ("InvalidParameterValue", 400),
}


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object, **__: object) -> None:
        pass


@dataclass
class StandIn:
    """`faults` of the next requests: each one of REFUSALS, `lost`, `hangs` (until `release`) or "" (no fault)."""

    url: str = ""
    faults: deque[str] = field(default_factory=deque)
    requests: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    def wrapped(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def answer(environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
            self.requests += 1
            fault = self.faults.popleft() if self.faults else ""
            if fault in REFUSALS:
                code, status = REFUSALS[fault]
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                respond(f"{status} X", [("Content-Type", "application/x-amz-json-1.0")])
                return [json.dumps({"__type": code, "message": "no"}).encode()]
            if fault == "hangs":
                self.release.wait(60)
            if fault in {"hangs", "lost"}:
                raise ConnectionAbortedError  # werkzeug then sends no answer
            return application(environ, respond)

        return answer

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def bucket(self, name: str) -> Any:
        """A new S3 bucket, as boto3's resource."""
        made = boto3.resource("s3", endpoint_url=self.url, region_name=REGION, **CREDENTIALS).Bucket(name)
        made.create(CreateBucketConfiguration={"LocationConstraint": REGION})
        return made

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **CREDENTIALS)


@contextmanager
def aws_stand_in(port: int = 0, *, keep: bool = False) -> Iterator[StandIn]:
    """Listens until the block ends. It is empty at first, or has what an earlier one in this process had (`keep`)."""
    if not keep:  # moto keeps its data per process, and tests share one
        moto_api_backend.reset()
    stand_in = StandIn()
    application = stand_in.wrapped(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=_Quiet)
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
