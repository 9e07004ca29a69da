"""A small hub on loopback: the few routes that `huggingface_hub` asks, and faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import unquote, urlsplit

from ruamel.yaml import YAML

LARGE = 2000  # bytes; larger files are kept as a real hub keeps large ones, by sha256

CUT, STALL = 0, -1

Files = dict[str, bytes]


@dataclass
class Fault:
    """What happens to the next requests whose method and path match.

    Attributes:
        status: the answer; CUT for a connection that ends in the middle of the content, STALL
            for one that stays silent there.
        times: how often; -1 for always.
    """

    pattern: str
    status: int
    times: int = -1
    code: str = ""


@dataclass
class Hub:
    """The repositories, by `datasets/owner/name` or `models/owner/name` and revision."""

    url: str = ""
    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    ended: Event = field(default_factory=Event)

    def add(self, repository: str, files: Files, revision: str = "main") -> str:
        """Put files on a branch; gives the commit."""
        self.repositories.setdefault(repository, {})[revision] = files
        return commit_of(files)

    def fault(self, pattern: str, status: int, times: int = -1, code: str = "") -> None:
        """Let requests fail, e.g. `GET .*parquet`."""
        self.faults.append(Fault(pattern, status, times, code))

    def asked(self, pattern: str) -> list[str]:
        """The requests so far that match."""
        return [one for one in self.requests if re.search(pattern, one)]

    def take_fault(self, request: str) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def files(self, repository: str, revision: str) -> Files | None:
        """The files at a branch or a commit."""
        branches = self.repositories.get(repository, {})
        by_commit = {commit_of(files): files for files in branches.values()}
        return branches.get(revision, by_commit.get(revision))


def commit_of(files: Files) -> str:
    digest = hashlib.sha1()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()


def blob_of(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) > LARGE else blob_of(content)


def large_file(content: bytes) -> dict[str, object]:
    return {"oid": etag_of(content), "size": len(content), "pointerSize": 130}


def readme(files: Files) -> str:
    """The README of a repository if it has a front matter, else nothing."""
    text = files.get("README.md", b"").decode()
    return text if text.startswith("---") else ""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers as long as the block lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            fault = hub.take_fault(f"{self.command} {path}")
            if fault and fault.status > 0:
                self.send(fault.status, b"{}", {"X-Error-Code": fault.code} if fault.code else {})
            elif found := re.fullmatch(
                r"/api/((?:datasets|models)/[^/]+/[^/]+)/revision/(.+)", path
            ):
                self.describe(found[1], found[2])
            elif found := re.fullmatch(r"/api/((?:datasets|models)/[^/]+/[^/]+)/tree/(.+)", path):
                self.list_files(found[1], found[2])
            elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/(.+)", path):
                repository = f"{found[1] or 'models/'}{found[2]}"
                self.give(repository, found[3], fault.status if fault else None)
            else:
                self.send(404, b"{}", {})

        def describe(self, repository: str, revision: str) -> None:
            files = self.find(repository, revision)
            if files is None:
                return
            card = YAML(typ="safe").load(text.split("---")[1]) if (text := readme(files)) else None
            body = {
                "id": repository.partition("/")[2],
                "sha": commit_of(files),
                "siblings": [{"rfilename": name} for name in files],
                "tags": [],
                "cardData": card,
            }
            self.send(200, json.dumps(body).encode(), {})

        def list_files(self, repository: str, revision: str) -> None:
            files = self.find(repository, revision)
            if files is None:
                return
            body = [
                {"type": "file", "path": name, "size": len(content), "oid": blob_of(content)}
                | ({"lfs": large_file(content)} if len(content) > LARGE else {})
                for name, content in files.items()
            ]
            self.send(200, json.dumps(body).encode(), {})

        def give(self, repository: str, rest: str, broken: int | None) -> None:
            revision, _, name = rest.partition("/")
            files = self.find(repository, revision)
            if files is None:
                return
            if name not in files:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            content = files[name]
            headers = {"ETag": f'"{etag_of(content)}"', "X-Repo-Commit": commit_of(files)}
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if start and broken is None:
                begin = int(start[1])
                headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
                self.send(206, content[begin:], headers)
            else:
                self.send(200, content, headers, broken)

        def find(self, repository: str, revision: str) -> Files | None:
            files = hub.files(repository, revision)
            if files is None:
                known = repository in hub.repositories
                code = "RevisionNotFound" if known else "RepoNotFound"
                self.send(404, b"{}", {"X-Error-Code": code})
            return files

        def send(
            self, status: int, body: bytes, headers: dict[str, str], broken: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body if broken is None else body[: len(body) // 2])
            if broken == STALL:
                hub.ended.wait()
            self.close_connection = self.close_connection or broken is not None

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that was killed is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
