"""Requests signed by botocore, for the tests of crates/identity/src/sigv4: prints the JSON that is committed there.

    python3 -m venv target/tools/py && target/tools/py/bin/pip install 'botocore==1.40.*'
    target/tools/py/bin/python tests/clients/sigv4_botocore.py >crates/identity/src/sigv4/botocore.json

All keys are made up. The clock stands still, so that the output is the same every time.
"""

import datetime
import json
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)
KEY, SECRET, TOKEN = "AKIDBOTOCOREEXAMPLE", "not/a+secret/of/anybodyEXAMPLEKEY0123456", "a/session+token=="
API, S3 = "https://api.example.com", "https://bucket.s3.example.com"

botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW


def signed(kind, url, method="GET", headers=(), body=b"", service=None, region="eu-central-1", token=None, params=None,
           unsigned=False, expires=None):
    service = service or ("s3" if kind.startswith("S3") else "execute-api")
    request = AWSRequest(method=method, url=url, data=body, params=params)
    for name, value in headers:
        request.headers[name] = value  # one line more, never another value
    request.context["payload_signing_enabled"] = not unsigned
    if unsigned and kind == "S3SigV4Auth":
        request.context["client_config"] = type("Config", (), {"s3": {"payload_signing_enabled": False}})
    before = [[name, value] for name, value in request.headers.items()]
    more = {} if expires is None else {"expires": expires}
    getattr(botocore.auth, kind)(Credentials(KEY, SECRET, token), service, region, **more).add_auth(request)
    sent = request.prepare()
    split = urlsplit(sent.url)
    return {
        "kind": kind, "service": service, "region": region, "token": token, "method": method, "host": split.netloc,
        "path": split.path, "query": split.query, "before": before, "unsigned": unsigned,
        "headers": [[name, value] for name, value in request.headers.items()], "body": body.decode(),
    }


def requests():
    v4, s3, query, s3_query = "SigV4Auth", "S3SigV4Auth", "SigV4QueryAuth", "S3SigV4QueryAuth"
    for path in ["", "/", "/orders/42", "/a/./b/../c", "//a///b//", "/..", "/a%20b/c%2Fd", "/%C3%BC/%E2%82%AC", "/~me/-._",
                 "/a:b@c,d;e=f", "/*/$count()", "/a%252Fb", "/ü"]:
        yield signed(v4, API + path)
    for asked in ["?a=1", "?b=2&a=1&a=0", "?a", "?a=&b=", "?x=%20&y=%2B&z=%25", "?Z=1&a=2&%C3%A9=3", "?a-b=1&a=2&a.b=3",
                  "?f=%5B%22x%22%5D&e=%26%3D"]:
        yield signed(v4, API + "/search" + asked)
    yield signed(v4, API + "/search", params={"q": "two words + ü", "empty": "", "list": "a,b"})
    yield signed(v4, API + "/", "POST", [("Content-Type", "application/json; charset=utf-8")], b'{"a": "\xc3\xbc"}')
    yield signed(v4, API + "/", "POST", [("X-Blank", "  a   b\tc  "), ("x-twice", "2"), ("X-Twice", " 1 "), ("X-Empty", "")])
    yield signed(v4, API + "/", "PUT", [("X-Name", "Jürgen  Müller"), ("User-Agent", "test/1"), ("Expect", "100-continue")], b"x")
    yield signed(v4, API + ":8443/", "PATCH", [("X-Quoted", '"a   b"')], b"patch")
    yield signed(v4, API + "/", token=TOKEN, region="us-east-1", service="sts")
    yield signed(v4, API + "/", "POST", body=b"free", unsigned=True)
    yield signed(v4, API + "/", "DELETE", [("Date", "now")])
    yield signed(v4, "http://[::1]:8080/v6", "OPTIONS")
    for path in ["/", "/key", "/a//b/../c/./d", "/with%20blank", "/plus%2Band%25", "/slash%2Fin", "/%C3%BC~-._", "/dir/"]:
        yield signed(s3, S3 + path)
    yield signed(s3, S3 + "/?list-type=2&prefix=a%2Fb&delimiter=%2F")
    yield signed(s3, S3 + "/key?uploads")
    yield signed(s3, S3 + "/key", "PUT", [("x-amz-meta-who", "  some   body "), ("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==")], b"hello")
    yield signed(s3, S3 + "/key", "PUT", [("x-amz-acl", "private")], b"hello", token=TOKEN, unsigned=True)
    for token in [None, TOKEN]:
        yield signed(query, API + "/a/../b%20c?z=1&a=%2F", token=token, expires=60)
        yield signed(s3_query, S3 + "/a//b%20c?versionId=x~y", token=token, expires=604800)
    yield signed(query, API + "/", "POST", [("X-Extra", " b   a ")], expires=1)
    yield signed(s3_query, S3 + "/key", "PUT", [("x-amz-acl", "private")], expires=900)


if __name__ == "__main__":
    made = ",\n".join(json.dumps(request, ensure_ascii=False) for request in requests())
    print(f'{{"key": "{KEY}", "secret": "{SECRET}", "time": {int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp())}, "requests": [\n{made}\n]}}')
