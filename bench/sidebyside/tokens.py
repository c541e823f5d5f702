"""Tokens (JWT) for the scenario that checks them: keys by openssl, signed here."""

import base64
import dataclasses
import json
import pathlib
import subprocess
import time

from . import BenchError, tools

ISSUER = "https://idp.bench.test"
AUDIENCE = "bench"
KEYS = {
    "ES256": ("EC", "ec_paramgen_curve:P-256"),
    "RS256": ("RSA", "rsa_keygen_bits:2048"),
}


@dataclasses.dataclass(frozen=True)
class Tokens:
    """One token, good for hours, and the key set that says so."""

    jwks: pathlib.Path
    token: str


def make(place, algorithm):
    """A key, its set, and a token with the claims of an access token (RFC 9068). The same ones for all proxies of a run."""
    key, jwks, token = (place.path / f"{algorithm}.{ending}" for ending in ("pem", "json", "jwt"))
    if not token.exists():
        kind, option = KEYS[algorithm]
        openssl("genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", key)
        public = {"kid": "bench", "alg": algorithm, "use": "sig", **public_key(key, kind)}
        jwks.write_text(json.dumps({"keys": [public]}))
        token.write_text(sign(key, algorithm))
    return Tokens(jwks, token.read_text())


def sign(key, algorithm):
    """A signed token."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "5f2b9c1e-5d0c-4c55-9f3d-8a1f3f0b6e0d", "client_id": "shop", "iat": now,
        "exp": now + 86_400, "jti": "a2b0f5a4", "scope": "orders.read orders.write profile",
    }
    header = {"alg": algorithm, "typ": "at+jwt", "kid": "bench"}
    signed = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    signature = openssl("dgst", "-sha256", "-sign", key, given=signed.encode())
    if algorithm.startswith("ES"):
        signature = fixed(signature)
    return f"{signed}.{base64url(signature)}"


def fixed(signature):
    """An ECDSA signature as JWTs have it (RFC 7518 §3.4), from DER: SEQUENCE { INTEGER r, INTEGER s }."""
    rest, numbers = signature[2:], []
    while rest:
        length = rest[1]
        numbers.append(rest[2 : 2 + length].lstrip(b"\0").rjust(32, b"\0"))
        rest = rest[2 + length :]
    return b"".join(numbers)


def public_key(key, kind):
    """The public half as a JWK (RFC 7518 §6)."""
    if kind == "EC":
        point = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")[-64:]
        return {"kty": "EC", "crv": "P-256", "x": base64url(point[:32]), "y": base64url(point[32:])}
    modulus = openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().partition("=")[2]
    return {"kty": "RSA", "n": base64url(bytes.fromhex(modulus)), "e": "AQAB"}


def base64url(data):
    """Without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, given=None):
    """What openssl prints."""
    command = [tools.find("openssl"), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, input=given, capture_output=True)
    if done.returncode != 0:
        raise BenchError(f"openssl {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout
