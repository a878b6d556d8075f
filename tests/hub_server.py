"""A small local server that speaks the hub's protocol: repositories that are written to and read.

Not the hub: it knows models, one branch, and files that are stored by git or by LFS, as huggingface_hub
asks for them. Commits are named by their content.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MOST_IN_GIT = 4096  # larger files are stored by LFS


class HubServer(ThreadingHTTPServer):
    """Repositories by id, each with its commits, oldest first: the files by path.

    With a `token`, writing needs it, and so does reading a repository in `private`. `asked` is what was
    asked for, and `uploaded` the objects that LFS got.
    """

    def __init__(self, token: str | None = None) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.token = token
        self.asked: list[str] = []
        self.uploaded: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), _Answers)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def variables(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Make a commit that has exactly these files; its name."""
        digest = sha1(repository.encode())
        for name, content in sorted(files.items()):
            digest.update(f"{name} {sha256(content).hexdigest()}\n".encode())
        self.repositories.setdefault(repository, {})[digest.hexdigest()] = dict(files)
        return digest.hexdigest()

    def head(self, repository: str) -> dict[str, bytes]:
        """The files of the last commit; none in a new repository."""
        commits = list(self.repositories[repository].values())
        return commits[-1] if commits else {}


@contextmanager
def hub_server(token: str | None = None) -> Iterator[HubServer]:
    """A server on the loopback, while the context lasts."""
    with HubServer(token) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class _Answers(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._read(body=False)

    def do_GET(self) -> None:
        self._read(body=True)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = self._chunks()
        path = self.path.split("?")[0]
        self.server.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._fail(401)
        elif path == "/api/repos/create":
            asked = json.loads(content)
            repository = f"{asked['organization']}/{asked['name']}"
            status = 409 if repository in self.server.repositories else 200
            self.server.repositories.setdefault(repository, {})
            self._json({"url": f"{self.server.endpoint}/{repository}"}, status)
        elif path.endswith("/preupload/main"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > MOST_IN_GIT else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(content)["files"]
            ]
            self._json({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{each['oid']}"}}}
                for each in json.loads(content)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif path.endswith("/commit/main"):
            self._commit(path.removeprefix("/api/models/").removesuffix("/commit/main"), content)
        else:
            self._fail(404)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rpartition("/")[2]
        if sha256(content).hexdigest() != oid:
            self._fail(422)
            return
        self.server.uploaded[oid] = content
        self._json({})

    def log_message(self, *_: object) -> None:
        pass

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _commit(self, repository: str, content: bytes) -> None:
        files = dict(self.server.head(repository))
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.uploaded[value["oid"]]
        commit = self.server.commit(repository, files)
        url = f"{self.server.endpoint}/{repository}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": url})

    def _read(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        is_api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models").split("/")[1:]
        repository, rest = "/".join(parts[:2]), parts[2:]
        allowed = self.headers.get("Authorization") == f"Bearer {self.server.token}"
        if repository not in self.server.repositories or (repository in self.server.private and not allowed):
            self._fail(404 if allowed else 401, "RepoNotFound", body=body)
            return
        commits = self.server.repositories[repository]
        revision = rest[1] if len(rest) > 1 else "main"
        commit = list(commits)[-1] if revision == "main" and commits else revision
        if commit not in commits:
            self._fail(404, "RevisionNotFound", body=body)
            return
        files = commits[commit]
        if is_api and rest[:1] == ["tree"]:
            listing = [
                {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            self._json(listing, body=body)
        elif is_api:
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            self._json({"id": repository, "sha": commit, "siblings": siblings}, body=body)
        elif rest[:1] == ["resolve"] and (name := "/".join(rest[2:])) in files:
            headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(files[name]).hexdigest()}"'}
            self._send(200, files[name], headers, body=body)
        else:
            headers = {"X-Repo-Commit": commit, "X-Error-Code": "EntryNotFound"}
            self._send(404, b"{}", headers, body=body)

    def _json(self, value: Any, status: int = 200, *, body: bool = True) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"}, body=body)

    def _fail(self, status: int, code: str = "", *, body: bool = True) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {}, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)
