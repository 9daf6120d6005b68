"""An OpenAI-compatible speech server without a model: its texts follow from the samples, as the scripted model's do."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import soundfile

from pipeline.models.protocol import Request
from pipeline.models.runtimes.scripted import text_of

Body = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Asked:
    """A request: `number` counts those of its path, `samples` is its audio, one clip after the other."""

    path: str
    number: int
    body: Body
    samples: np.ndarray
    headers: dict[str, str]


def json_answer(body: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()


def failure(status: int, message: str = "no", **headers: str) -> Answer:
    return json_answer({"error": {"message": message, "code": status}}, status, **headers)


@dataclass
class FakeServer:
    """`behave` may answer in place of the server, or sleep; None: the server answers. `others`: more models that it
    has. `asked` is what came to the POST paths, `most_inside` how many of these were inside at once."""

    model: str = "fake"
    others: tuple[str, ...] = ()
    card: Body = field(default_factory=dict)
    version: str | None = None
    key: str | None = None
    behave: Callable[[Asked], Answer | None] = lambda _: None
    asked: list[Asked] = field(default_factory=list)
    most_inside: int = 0
    port: int = 0
    _http: ThreadingHTTPServer | None = None
    _inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> FakeServer:
        """On the port that it had before, if it had one."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(server.look(self.path, {name.title(): value for name, value in self.headers.items()}))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(
                    server.ask(self.path, content, {name.title(): value for name, value in self.headers.items()})
                )

            def _answer(self, answer: Answer) -> None:
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: Any) -> None: ...

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._http = Http(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """New connections are refused. Those that there are end with their next request (see `ask`)."""
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def look(self, path: str, headers: dict[str, str]) -> Answer:
        if refused := self._refused(headers):
            return refused
        if path == "/v1/models":
            cards = [{"id": model, "object": "model"} | self.card for model in (self.model, *self.others)]
            return json_answer({"object": "list", "data": cards})
        if path == "/version" and self.version:
            return json_answer({"version": self.version})
        return failure(404)

    def ask(self, path: str, content: bytes, headers: dict[str, str]) -> Answer:
        if self._http is None:  # a connection from before it was stopped
            raise ConnectionError
        if refused := self._refused(headers):
            return refused
        body, samples = _read(path, content, headers)
        with self._lock:
            path = path.removeprefix("/v1")
            asked = Asked(path, sum(each.path == path for each in self.asked), body, samples, headers)
            self.asked.append(asked)
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
        try:
            if body.get("model") not in (self.model, *self.others):
                return failure(404, f"the model {body.get('model')} does not exist")
            answer = self.behave(asked)
            if self._http is None:
                raise ConnectionError
            return answer or json_answer(_answer(asked))
        finally:
            with self._lock:
                self._inside -= 1

    def _refused(self, headers: dict[str, str]) -> Answer | None:
        if self.key and headers.get("Authorization") != f"Bearer {self.key}":
            return failure(401, f"wrong key: {headers.get('Authorization')}")
        return None


@contextmanager
def serving(**facts: Any) -> Iterator[FakeServer]:
    server = FakeServer(**facts).start()
    try:
        yield server
    finally:
        server.stop()


def _read(path: str, content: bytes, headers: dict[str, str]) -> tuple[Body, np.ndarray]:
    """The body of a request, and its audio."""
    if path.endswith("/chat/completions"):
        body = json.loads(content)
        parts = [
            part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
        ]
        clips = [base64.b64decode(part["input_audio"]["data"]) for part in parts if part["type"] == "input_audio"]
    else:
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + content, policy=email.policy.HTTP)
        body, clips = {}, []
        for part in message.iter_parts():
            name, payload = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            if name == "file":
                body["file"] = part.get_filename()
                clips.append(payload)
            else:
                body[str(name)] = payload.decode()
    read = [soundfile.read(io.BytesIO(clip), dtype="int16")[0] for clip in clips]
    return body, np.concatenate(read) if read else np.zeros(0, np.int16)


def _answer(asked: Asked) -> Body:
    """A transcript; or how long the clips are, and the question again."""
    if asked.path == "/audio/transcriptions":
        return {"text": text_of(Request(asked.samples)), "usage": {"type": "duration", "seconds": 1}}
    content = asked.body["messages"][-1]["content"]
    question = content if isinstance(content, str) else content[-1]["text"]
    return {
        "choices": [
            {"message": {"role": "assistant", "content": f"{len(asked.samples)}: {question}"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


def slowly(seconds: float) -> Callable[[Asked], Answer | None]:
    def behave(_: Asked) -> None:
        time.sleep(seconds)

    return behave
