"""A policy engine with the REST data API of the Open Policy Agent, over a real Rego engine (regopy): `opa.py POLICY.rego`.

Prints its port. `POST /v1/data/<path>` evaluates `data.<path>`; what is not defined is left out of the answer. `GET /asked` tells what it was
asked, `POST /mode/<mode>` changes how it answers: `well`, `garbage`, `error`, `huge`, `held` (until it is another one).
"""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from regopy import Interpreter

POLICY = open(sys.argv[1]).read()
asked, mode, lock, changed = [], ["well"], threading.Lock(), threading.Condition()


def evaluate(path, question):
    """As OPA has it: `{"result": …}`, or nothing."""
    with lock:
        engine = Interpreter()
        engine.add_module("policy", POLICY)
        engine.set_input(question["input"])
        answer = str(engine.query("data." + path.replace("/", ".")))
    return {} if answer == "undefined" else {"result": json.loads(answer)["expressions"][0]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(200, json.dumps(asked).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/mode/"):
            with changed:
                mode[0] = self.path.removeprefix("/mode/")
                changed.notify_all()
            return self.reply(200, b"")
        asked.append({"headers": {name.lower(): value for name, value in self.headers.items()}, "body": body.decode()})
        if mode[0] == "held":
            with changed:
                changed.wait_for(lambda: mode[0] != "held", 20)
        if mode[0] == "garbage":
            return self.reply(200, b"<html>")
        if mode[0] == "huge":
            return self.reply(200, b'{"result":true,"x":"' + b"x" * 100_000 + b'"}')
        if mode[0] == "error":
            return self.reply(500, b'{"result":true}')
        answer = evaluate(self.path.removeprefix("/v1/data/"), json.loads(body))
        return self.reply(200, json.dumps(answer).encode())

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Who has asked may have gone while it was held: nothing to tell of."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
