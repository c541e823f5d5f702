"""Requests signed by the Python package http-message-signatures, for the tests of crates/identity/src/signature: prints the
JSON that is committed there.

    python3 -m venv target/tools/py && target/tools/py/bin/pip install http-message-signatures==3.0.0 requests
    target/tools/py/bin/python tests/clients/signature_python.py >crates/identity/src/signature/python.json

All keys are new each time, and their private halves are forgotten.
"""

import datetime
import json
import secrets

import requests
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
KEYS = {
    algorithms.HMAC_SHA256: secrets.token_bytes(32),
    algorithms.ECDSA_P256_SHA256: ec.generate_private_key(ec.SECP256R1()),
    algorithms.ECDSA_P384_SHA384: ec.generate_private_key(ec.SECP384R1()),
    algorithms.ED25519: ed25519.Ed25519PrivateKey.generate(),
    algorithms.RSA_PSS_SHA512: rsa.generate_private_key(65537, 2048),
    algorithms.RSA_V1_5_SHA256: rsa.generate_private_key(65537, 2048),
}
ALL = ("@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query")


class Resolver(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return next(key for algorithm, key in KEYS.items() if algorithm.algorithm_id == key_id)

    resolve_public_key = resolve_private_key


def signed(algorithm, url="https://api.example.com/a?b=c", method="GET", headers=None, body=None, covered=ALL, **more):
    request = requests.Request(method, url, headers=headers or {}, data=body).prepare()
    before = dict(request.headers)
    signer = HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=Resolver())
    if body is not None:
        more.setdefault("body", body.encode())
        covered = (*covered, "content-digest")  # the package would add it by itself
    signer.sign(request, key_id=algorithm.algorithm_id, created=NOW, covered_component_ids=covered, label="sig", **more)
    scheme, rest = request.url.split("://", 1)
    host, slash, target = rest.partition("/")
    path, mark, query = (slash + target).partition("?")
    return {
        "algorithm": algorithm.algorithm_id, "method": method, "scheme": scheme, "host": host, "path": path,
        "query": query if mark else None, "covered": covered, "tag": more.get("tag"), "before": list(before.items()),
        "plain": not {"expires", "nonce"} & more.keys(), "alg": more.get("include_alg", True),
        "headers": list(request.headers.items()), "body": body,
    }


def made():
    for algorithm in KEYS:
        yield signed(algorithm)
        yield signed(algorithm, "http://API.example.com:8080/%7Ea%20b/?x=%20+%2B&y", "POST", {"X-One": "1"}, "body",
                     (*ALL, "x-one", "content-length"), tag="tag", nonce="n\"o\\nce", expires=NOW + datetime.timedelta(seconds=60))
    hmac = algorithms.HMAC_SHA256
    for url in ["https://api.example.com", "https://API.EXAMPLE.com:443/", "http://api.example.com:80/?",
                "https://[2001:DB8::1]:8443/v6?a=", "https://api.example.com//a/./b/../c%2fd;e?=&&x", "http://a.b/ü?ü=ü"]:
        yield signed(hmac, url)
    query = "https://api.example.com/?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&e=&t=~!*'()"
    yield signed(hmac, query, covered=tuple(f'"@query-param";name="{name}"' for name in ["var", "bar", "fa%C3%A7ade%22%3A%20", "e", "t"]))
    yield signed(hmac, headers={"X-Blank": "a   b", "X-Empty": "", "Date": "Fri, 02 Jan 2026 03:04:05 GMT"}, covered=("x-blank", "x-empty", "date"))
    yield signed(hmac, method="PUT", body="{}", covered=("@method",))
    yield signed(hmac, covered=(), tag="nothing")
    yield signed(hmac, include_alg=False)


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(request, ensure_ascii=False) for request in made())
    keys = {
        algorithm.algorithm_id: key.hex() if isinstance(key, bytes)
        else key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for algorithm, key in KEYS.items()
    }
    print(f'{{"time": {int(NOW.timestamp())}, "keys": {json.dumps(keys, indent=1)}, "requests": [\n{lines}\n]}}')
