"""Reads what is sent (`sent/`) as an identity provider of another make does: pysaml2, with xmlsec1.

    TOLLGATE_BLESS=1 cargo test -p tollgate-identity saml
    faketime '2026-01-01 00:05:00' python3 check.py
"""

import html
import os
import pathlib
import re
import urllib.parse

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.server import Server

os.chdir(pathlib.Path(__file__).parent)
IDP, SP = "https://idp.example/metadata", "https://gateway.example/saml"
ways = (("redirect.txt", BINDING_HTTP_REDIRECT, "redirect"), ("form.html", BINDING_HTTP_POST, "post"))
server = Server(config=IdPConfig().load({
    "entityid": IDP, "key_file": "idp.key", "cert_file": "idp.crt", "xmlsec_binary": "/usr/bin/xmlsec1",
    "metadata": {"local": ["sent/metadata.xml"]},
    "service": {"idp": {
        "endpoints": {
            "single_sign_on_service": [(f"https://idp.example/sso/{path}", binding) for _, binding, path in ways],
            "single_logout_service": [(f"https://idp.example/slo/{path}", binding) for _, binding, path in ways],
        },
        "want_authn_requests_signed": True, "want_authn_requests_only_with_valid_cert": False,
    }},
}))
assert server.metadata.certs(SP, "spsso", "encryption"), "the key for encryption"
assert server.metadata.assertion_consumer_service(SP, BINDING_HTTP_POST)[0]["location"] == f"{SP}/acs"


def fields(name):
    text = pathlib.Path(f"sent/{name}").read_text()
    if name.endswith(".txt"):
        return dict(urllib.parse.parse_qsl(text.split("?", 1)[1]))
    return {key: html.unescape(value) for key, value in re.findall(r'name="(\w+)" value="([^"]*)"', text)}


for name, binding, _ in ways:
    sent = fields(f"sign-in-{name}")
    assert sent["RelayState"] == 'a&b="<c>"', sent["RelayState"]
    by = {"relay_state": sent["RelayState"], "sigalg": sent.get("SigAlg"), "signature": sent.get("Signature")}
    read = server.parse_authn_request(sent["SAMLRequest"], binding, **by)
    assert read.message.id == "_ask" and read.message.force_authn == "true" and read.message.issuer.text == SP
    assert server.response_args(read.message)["destination"] == f"{SP}/acs"
    sent = fields(f"logout-request-{name}")
    by = {"relay_state": sent["RelayState"], "sigalg": sent.get("SigAlg"), "signature": sent.get("Signature")}
    read = server.parse_logout_request(sent["SAMLRequest"], binding, **by)
    assert read.message.name_id.text == "alice & <co>" and read.message.session_index[0].text == "s1"
    if binding == BINDING_HTTP_POST:
        assert server.sec.correctly_signed_logout_request(read.xmlstr, must=True)
    sent = fields(f"logout-answer-{name}")
    read = server.parse_logout_request_response(sent["SAMLResponse"], binding)
    assert read.response.in_response_to == "id-logout" and read.status_ok()
    if binding == BINDING_HTTP_POST:
        assert server.sec.correctly_signed_logout_response(read.xmlstr, must=True)

tampered = fields("sign-in-redirect.txt")
try:
    server.parse_authn_request(tampered["SAMLRequest"], BINDING_HTTP_REDIRECT, relay_state="other",
                               sigalg=tampered["SigAlg"], signature=tampered["Signature"])
    raise SystemExit("pysaml2 did not look at the signature: this check is worth nothing")
except Exception as error:  # noqa: BLE001
    print("refused as it should be:", type(error).__name__)
print("all read")
