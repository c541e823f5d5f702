"""Sends requests that botocore signs, as AWS SDKs do: sigv4_client.py HOST:PORT KEY SECRET. Prints a line of JSON for each: name, status, problem."""

import http.client
import json
import sys
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

address, key, secret = sys.argv[1:4]


def ask(name, method="GET", path="/api/x", body=b"", kind="SigV4Auth", service="execute-api", region="eu-central-1", key=key, secret=secret,
        token=None, headers=(), sent_body=None, tamper=lambda url, headers: (url, headers), **more):
    request = AWSRequest(method=method, url=f"http://{address}{path}", data=body)
    for field, value in headers:
        request.headers[field] = value
    request.context["payload_signing_enabled"] = True
    getattr(botocore.auth, kind)(Credentials(key, secret, token), service, region, **more).add_auth(request)
    prepared = request.prepare()
    url, fields = tamper(prepared.url, dict(prepared.headers))
    split = urlsplit(url)
    connection = http.client.HTTPConnection(address)
    connection.request(method, split.path + (f"?{split.query}" if split.query else ""), sent_body if sent_body is not None else body or None, fields)
    answer = connection.getresponse()
    text = answer.read()
    problem = json.loads(text).get("type", "").rpartition(":")[2] if answer.status >= 400 else ""
    print(json.dumps({"name": name, "status": answer.status, "problem": problem}))


def hash_of(body):
    import hashlib
    return ("X-Amz-Content-Sha256", hashlib.sha256(body).hexdigest())


ask("get")
ask("get with query", path="/api/x?b=2&a=1&a=0&empty=&sp=a%20b&plus=a%2Bb")
ask("odd path", path="/api/caf%C3%A9/a%20b")
ask("s3 get", kind="S3SigV4Auth", service="s3")
ask("s3 put", "PUT", kind="S3SigV4Auth", service="s3", body=b"hello" * 1000)
ask("post with its hash", "POST", body=b'{"a":1}', headers=[hash_of(b'{"a":1}')])
ask("presigned", kind="SigV4QueryAuth", expires=60)
ask("another body", "POST", body=b"what was signed", headers=[hash_of(b"what was signed")], sent_body=b"something else!")
FORM = [("Content-Type", "application/x-www-form-urlencoded"), hash_of(b"token=one")]
ask("the gateway itself", "POST", "/api/own", b"token=one", headers=FORM)
ask("another body for the gateway itself", "POST", "/api/own", b"token=one", headers=FORM, sent_body=b"token=two")
ask("a body whose hash is not told", "POST", body=b"hello" * 1000)
ask("another body whose hash is not told", "POST", body=b"hello", sent_body=b"hullo")
ask("a large body whose hash is not told", "POST", body=b"x" * 20000)
ask("a stranger's body whose hash is not told", "POST", body=b"x", key="AKIDNOBODY")
ask("wrong secret", secret="wrong" * 8)
ask("unknown key", key="AKIDNOBODY")
ask("a session", token="session-token")
ask("other region", region="us-east-1")
ask("other service", service="sqs")
ask("other path", tamper=lambda url, headers: (url.replace("/api/x", "/api/y"), headers))
ask("other query", path="/api/x?a=1", tamper=lambda url, headers: (url.replace("a=1", "a=2"), headers))
ask("more said to AWS", tamper=lambda url, headers: (url, {**headers, "X-Amz-Meta": "1"}))
ask("old", tamper=lambda url, headers: (url, {**headers, "X-Amz-Date": "20200101T000000Z"}))
ask("unsigned body", kind="S3SigV4QueryAuth", service="s3", expires=60)
