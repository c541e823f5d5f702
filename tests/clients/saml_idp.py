"""An identity provider of SAML (pysaml2, with xmlsec1) for tests: `saml_idp.py FOLDER HOST`. Prints its port.

Its metadata are `idp.xml` in FOLDER. People sign in at `/sso`, whoever they say they are; what it tells a service of them is in a form
that waits for a click on `Continue`, so that a test can look at it, or change it, before. Beside what every provider has:

POST /test/service?url=…   read a service's metadata from there; an error if they are not valid
POST /test/set             members of `how`, see there
GET  /test/told            what came of logouts, in the sequence that they came in
GET  /start                an answer that nobody asked for
GET  /end                  the person's session ends here, and at the service that they signed in to last
"""

import base64
import functools
import html
import http.server
import json
import pathlib
import re
import subprocess
import sys
import urllib.parse
import urllib.request
import warnings

warnings.filterwarnings("ignore", module="saml2")  # what it will have to change some day

import saml2.entity
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, saml, samlp
from saml2.config import IdPConfig
from saml2.mdstore import MetadataStore
from saml2.metadata import entity_descriptor
from saml2.server import Server
from saml2.validate import valid_instance

folder, host = pathlib.Path(sys.argv[1]), sys.argv[2]
BY = {
    "sign_alg": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "digest_alg": "http://www.w3.org/2001/04/xmlenc#sha256",
}
# How it works at present: what is signed (`assertion`, `response`, `both`, `nothing`), whether assertions are encrypted, the key that it
# signs with, and those that its metadata have.
how = {"sign": "assertion", "encrypt": False, "key": "one", "published": ["one"]}
told = []
last = {}
services = None

# AES-GCM, where pysaml2 would take triple DES.
saml2.entity.pre_encryption_part = functools.partial(
    saml2.entity.pre_encryption_part, msg_enc="http://www.w3.org/2009/xmlenc11#aes256-gcm")


def make_keys():
    for name in ["one", "two"]:
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-newkey", "rsa:2048",
             "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"], check=True, capture_output=True)


def config(key, *others):
    return IdPConfig().load({
        "entityid": f"{base}/metadata", "key_file": str(folder / f"{key}.key"), "cert_file": str(folder / f"{key}.crt"),
        "additional_cert_files": [str(folder / f"{other}.crt") for other in others], "xmlsec_binary": "/usr/bin/xmlsec1",
        "service": {"idp": {
            "endpoints": {
                "single_sign_on_service": [(f"{base}/sso", BINDING_HTTP_REDIRECT)],
                "single_logout_service": [(f"{base}/slo", way) for way in (BINDING_HTTP_REDIRECT, BINDING_HTTP_POST)],
            },
            "policy": {"default": {"lifetime": {"minutes": 15}, "attribute_restrictions": None}},
        }},
    })


def publish():
    first, *others = how["published"]
    # Beside it and renamed, as whoever looks at it may be reading.
    new = folder / "idp.xml.new"
    new.write_text(str(entity_descriptor(config(first, *others))))
    new.rename(folder / "idp.xml")


def server():
    ours = Server(config=config(how["key"]))
    if services is not None:
        ours.metadata = ours.sec.metadata = services
    ours.sec.encrypt_assertion = functools.partial(ours.sec.encrypt_assertion, key_type="aes-256")
    return ours


def read_service(url):
    """pysaml2's own idea of what a service's metadata have to be."""
    global services
    with urllib.request.urlopen(url) as answer:
        text, kind = answer.read().decode(), answer.headers["content-type"]
    store = MetadataStore([], config(how["key"]))
    store.load("inline", text)
    [(entity, _)] = store.items()
    valid_instance(saml2.md.entity_descriptor_from_string(text))
    services = store
    return {
        "entity": entity, "type": kind, "text": text,
        "consumers": [service["location"] for service in store.assertion_consumer_service(entity, BINDING_HTTP_POST)],
        "logouts": [service["location"] for service in store.single_logout_service(entity, BINDING_HTTP_REDIRECT, "spsso")],
    }


def page(*parts):
    return 200, {"Content-Type": "text/html; charset=utf-8"}, "<!DOCTYPE html><title>Provider</title>" + "".join(parts)


def form(action, button, fields, *more):
    hidden = "".join(f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">' for name, value in fields.items())
    return page(f'<form method="post" action="{html.escape(action)}">', *more, hidden, f"<button>{button}</button></form>")


def answer(name, service, consumer, in_response_to):
    """The form with which a person is sent back, signed in."""
    ours = server()
    identity = {"given": [name.title()], "groups": ["staff", "member"], "scope": ["admin"], "scp": ["admin"]}
    if name == "large":
        identity["about"] = ["All there is to know. " * 300]
    signed = how["sign"]
    more = {}
    if how["encrypt"]:
        [(_, certificate), *_] = services.certs(service, "spsso", "encryption")
        more = {"encrypt_assertion": True, "encrypt_cert_assertion": certificate}
    made = str(ours.create_authn_response(
        identity, in_response_to, consumer, service,
        name_id=saml.NameID(format=saml.NAMEID_FORMAT_EMAILADDRESS, text=f"{name}@example.com"),
        authn={"class_ref": saml.AUTHN_PASSWORD, "authn_auth": base}, userid=name,
        sign_response=signed in ("response", "both"), sign_assertion=signed in ("assertion", "both"), **BY, **more))
    index = re.search(r'SessionIndex="([^"]+)"', made)
    last.update(name=f"{name}@example.com", service=service, index=index and index[1])
    return base64.b64encode(made.encode()).decode()


def login_page(fields):
    return form("/login", "Sign in", fields, '<input name="name"><input name="password" type="password">')


def sso(query):
    asked = server().parse_authn_request(
        query["SAMLRequest"], BINDING_HTTP_REDIRECT, relay_state=query.get("RelayState"), sigalg=query.get("SigAlg"),
        signature=query.get("Signature"))
    told.append({"asked": asked.message.id, "signed": "Signature" in query, "forced": asked.message.force_authn})
    back = server().response_args(asked.message, [BINDING_HTTP_POST])
    return login_page({
        "to": back["destination"], "service": back["sp_entity_id"], "request": back["in_response_to"],
        **({"RelayState": query["RelayState"]} if "RelayState" in query else {}),
    })


def login(fields):
    made = answer(fields["name"], fields["service"], fields["to"], fields.get("request"))
    state = {"RelayState": fields["RelayState"]} if "RelayState" in fields else {}
    return form(fields["to"], "Continue", {"SAMLResponse": made, **state})


def start(query):
    [service] = services.keys()
    [consumer] = [one["location"] for one in services.assertion_consumer_service(service, BINDING_HTTP_POST)]
    return login_page({"to": consumer, "service": service, **query})


def sent(message, where, state, response):
    """By redirect, signed."""
    made = server().apply_binding(
        BINDING_HTTP_REDIRECT, str(message), where, state or "", response=response, sign=True, sigalg=BY["sign_alg"])
    return 302, {"Location": dict(made["headers"])["Location"]}, ""


def logout_of(service):
    return services.single_logout_service(service, BINDING_HTTP_REDIRECT, "spsso")[0]["location"]


def end(_):
    where = logout_of(last["service"])
    _, request = server().create_logout_request(
        where, last["service"], name_id=saml.NameID(format=saml.NAMEID_FORMAT_EMAILADDRESS, text=last["name"]),
        session_indexes=[last["index"]] if last["index"] else None, sign=False)
    return sent(request, where, "of the provider", False)


def slo(query, binding):
    ours = server()
    if "SAMLResponse" in query:
        text = ours.unravel(query["SAMLResponse"], binding, "response")
        response = samlp.logout_response_from_string(text)
        told.append({"answered": response.status.status_code.value.rsplit(":", 1)[1], "signed": "Signature" in query or b"Signature" in text,
                     "state": query.get("RelayState")})
        return page("<h1>Signed out</h1>")
    asked = ours.parse_logout_request(
        query["SAMLRequest"], binding, relay_state=query.get("RelayState"), sigalg=query.get("SigAlg"), signature=query.get("Signature"))
    message = asked.message
    told.append({"ended": message.name_id.text, "signed": "Signature" in query or message.signature is not None,
                 "indexes": [index.text for index in message.session_index]})
    where = logout_of(message.issuer.text)
    answered = samlp.LogoutResponse(
        id=saml2.s_utils.sid(), version="2.0", issue_instant=saml2.time_util.instant(), destination=where,
        issuer=saml.Issuer(text=f"{base}/metadata"), in_response_to=message.id,
        status=samlp.Status(samlp.StatusCode(value=samlp.STATUS_SUCCESS)))
    return sent(answered, where, query.get("RelayState"), True)


def answered_as_json(value):
    return 200, {"Content-Type": "application/json"}, json.dumps(value)


def changed(fields):
    how.update(fields)
    publish()
    return answered_as_json(how)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers["content-length"] or 0)).decode()
        try:
            status, fields, text = self.made(url.path, query, body)
        except Exception as error:  # whatever it is: the test shows it
            status, fields, text = 500, {"Content-Type": "text/plain"}, f"{type(error).__name__}: {error}"
            print(self.path, text, file=sys.stderr)
        self.send_response(status)
        for name, value in {**fields, "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def made(self, path, query, body):
        fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True)) if self.command == "POST" else {}
        match self.command, path:
            case "GET", "/sso":
                return sso(query)
            case "POST", "/login":
                return login(fields)
            case "GET", "/start":
                return start(query)
            case "GET", "/end":
                return end(query)
            case "GET", "/slo":
                return slo(query, BINDING_HTTP_REDIRECT)
            case "POST", "/slo":
                return slo(fields, BINDING_HTTP_POST)
            case "POST", "/test/service":
                return answered_as_json(read_service(query["url"]))
            case "POST", "/test/set":
                return changed(json.loads(body))
            case "GET", "/test/told":
                return answered_as_json(told)
        return 404, {}, ""


if __name__ == "__main__":
    listening = http.server.ThreadingHTTPServer((host, 0), Handler)
    base = f"http://{host}:{listening.server_port}"
    make_keys()
    publish()
    print(listening.server_port, flush=True)
    listening.serve_forever()
