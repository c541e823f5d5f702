"""A service that takes signed requests only, and judges them with independent libraries: botocore (AWS Signature Version 4) and
http-message-signatures (RFC 9421).

`signed_service.py SECRET [PUBLIC-KEY-FILE]` prints its port. Answers are JSON: whether the signature holds, and what came.
`POST /once/…` hangs up after the body the first time.
"""
import base64
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.auth
import requests
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

SECRET = sys.argv[1]
PUBLIC = load_pem_public_key(open(sys.argv[2], "rb").read()) if len(sys.argv) > 2 else None
seen = set()


class Resolver(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id):
        return PUBLIC if key_id == "gateway" else SECRET.encode()

    resolve_private_key = resolve_public_key


def aws(method, target, headers, body):
    """Signs the same again, and compares."""
    parts = dict(part.split("=", 1) for part in headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", "))
    key, _, region, service, _ = parts["Credential"].split("/")
    told = headers.get("X-Amz-Content-Sha256")
    if told not in (None, "UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        return "the body is another one"
    request = AWSRequest(method=method, url=f"http://{headers['Host']}{target}", data=body)
    for name in parts["SignedHeaders"].split(";"):
        request.headers[name] = headers[name]
    request.context["timestamp"] = headers["X-Amz-Date"]
    if told == "UNSIGNED-PAYLOAD":
        request.context["payload_signing_enabled"] = False
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    auth = kind(Credentials(key, SECRET, headers.get("X-Amz-Security-Token")), service, region)
    canonical = auth.canonical_request(request)
    wanted = auth.signature(auth.string_to_sign(request, canonical), request)
    return "" if wanted == parts["Signature"] else f"wanted {wanted} for {canonical}"


def message(method, target, headers, body):
    request = requests.Request(method, f"http://{headers['Host']}{target}", data=body).prepare()
    request.headers = requests.structures.CaseInsensitiveDict(headers)
    is_shared = 'keyid="shared"' in headers["Signature-Input"]
    algorithm = algorithms.HMAC_SHA256 if is_shared else algorithms.ED25519
    results = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Resolver()).verify(request)
    covered = [name.strip('"') for result in results for name in result.covered_components]
    digest = headers.get("Content-Digest")
    if body and "content-digest" not in covered:
        return "the body is not signed"
    if digest and digest != f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:":
        return "the body is another one"
    return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.body()
        if self.path.startswith("/once/") and self.path not in seen:
            seen.add(self.path)
            self.close_connection = True
            return
        headers = {name.title(): value for name, value in self.headers.items()}
        lookup = requests.structures.CaseInsensitiveDict(self.headers.items())
        try:
            judge = aws if "Authorization" in lookup else message
            wrong = judge(self.command, self.path, lookup, body)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        text = json.dumps({"wrong": wrong, "target": self.path, "headers": headers, "body": body.decode()}).encode()
        self.send_response(403 if wrong else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
