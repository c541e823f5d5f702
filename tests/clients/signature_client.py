"""Sends requests that the package http-message-signatures signs: signature_client.py HOST:PORT PRIVATE-KEY-FILE SECRET.
Prints a line of JSON for each: name, status, problem."""

import datetime
import http.client
import json
import sys
from urllib.parse import urlsplit

import requests
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

address, file, secret = sys.argv[1:4]
own = load_pem_private_key(open(file, "rb").read(), None)
stranger = ed25519.Ed25519PrivateKey.generate()
ALL = ("@method", "@authority", "@path", "@query")


class Resolver(HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_private_key(self, key_id):
        return self.key

    resolve_public_key = resolve_private_key


def ask(name, method="GET", path="/api/x?a=1", body=None, algorithm=algorithms.ED25519, key=own, id="partner", covered=ALL, sent=None,
        tamper=lambda path, headers: (path, headers), age=0, **more):
    request = requests.Request(method, f"http://{address}{path}", data=body).prepare()
    if body is not None:
        more.setdefault("body", body.encode())
        covered = (*covered, "content-digest")
    created = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
    signer = HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=Resolver(key))
    signer.sign(request, key_id=id, created=created, covered_component_ids=covered, label="sig", **more)
    split = urlsplit(request.url)
    target, headers = tamper(split.path + (f"?{split.query}" if split.query else ""), dict(request.headers))
    connection = http.client.HTTPConnection(address)
    connection.request(method, target, sent if sent is not None else body, headers)
    answer = connection.getresponse()
    text = answer.read()
    problem = json.loads(text).get("type", "").rpartition(":")[2] if answer.status >= 400 else ""
    print(json.dumps({"name": name, "status": answer.status, "problem": problem}))


ask("get")
ask("post", "POST", body='{"a":1}')
ask("shared secret", algorithm=algorithms.HMAC_SHA256, key=secret.encode(), id="shared")
ask("with a nonce", nonce="n-1")
ask("the same nonce again", nonce="n-1")
ask("another nonce", "POST", body='{"a":1}', nonce="n-2")
ask("the same nonce of another key", algorithm=algorithms.HMAC_SHA256, key=secret.encode(), id="shared", nonce="n-1")
ask("another body with a nonce", "POST", body="what was signed", sent="something else!", nonce="n-3")
ask("none where one is needed", path="/once/x")
ask("one where one is needed", path="/once/x", nonce="n-4")
ask("another body", "POST", body="what was signed", sent="something else!")
ask("another path", tamper=lambda path, headers: (path.replace("/x", "/y"), headers))
ask("another query", tamper=lambda path, headers: (path.replace("a=1", "a=2"), headers))
ask("a stranger", key=stranger)
ask("an unknown key", id="nobody")
ask("too little", covered=("@method", "@path"))
ask("old", age=3600)
ask("no signature", tamper=lambda path, headers: (path, {k: v for k, v in headers.items() if not k.lower().startswith("signature")}))
ask("no digest", "POST", body="x", tamper=lambda path, headers: (path, {k: v for k, v in headers.items() if k.lower() != "content-digest"}))
