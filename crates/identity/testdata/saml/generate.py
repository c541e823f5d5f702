"""Makes the test data beside it: what an identity provider of another make (pysaml2, with xmlsec1) sends, and what xmlsec1 signs.

    apt install xmlsec1 faketime openssl; pip install pysaml2 lxml
    faketime '2026-01-01 00:00:00' python3 generate.py

The keys are for these tests alone and guard nothing. Those that are there are kept: without them nothing here can be made again.
"""

import base64
import functools
import html
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import saml2.entity
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography import x509
from lxml import etree
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, saml, samlp
from saml2.config import IdPConfig, SPConfig
from saml2.metadata import entity_descriptor
from saml2.server import Server

HERE = pathlib.Path(__file__).parent
os.chdir(HERE)
IDP, SP = "https://idp.example/metadata", "https://gateway.example/saml"
ACS = "https://gateway.example/saml/acs"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
DS = "http://www.w3.org/2000/09/xmldsig#"


def run(*args, **more):
    return subprocess.run(args, check=True, capture_output=True, **more).stdout


def keys():
    kinds = {
        "idp": ["rsa:2048"],
        "next": ["rsa:2048"],
        "other": ["rsa:2048"],
        "sp": ["rsa:2048"],
        "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    }
    for name, kind in kinds.items():
        if not pathlib.Path(f"{name}.key").exists():
            run("openssl", "req", "-x509", "-nodes", "-days", "36500", "-subj", f"/CN={name}.example", "-newkey", *kind,
                "-keyout", f"{name}.key", "-out", f"{name}.crt")


def provider(key="idp"):
    endpoints = [(f"https://idp.example/sso/{way}", binding)
                 for way, binding in (("redirect", BINDING_HTTP_REDIRECT), ("post", BINDING_HTTP_POST))]
    logout = [(url.replace("sso", "slo"), binding) for url, binding in endpoints]
    return IdPConfig().load({
        "entityid": IDP, "key_file": f"{key}.key", "cert_file": f"{key}.crt", "xmlsec_binary": "/usr/bin/xmlsec1",
        "metadata": {"local": ["sp-metadata.xml"]} if pathlib.Path("sp-metadata.xml").exists() else {},
        "service": {"idp": {
            "endpoints": {"single_sign_on_service": endpoints, "single_logout_service": logout},
            "want_authn_requests_signed": True,
            "policy": {"default": {"lifetime": {"minutes": 15}, "attribute_restrictions": None}},
        }},
        "debug": 0,
    })


def service():
    return SPConfig().load({
        "entityid": SP, "key_file": "sp.key", "cert_file": "sp.crt", "xmlsec_binary": "/usr/bin/xmlsec1",
        "encryption_keypairs": [{"key_file": "sp.key", "cert_file": "sp.crt"}],
        "service": {"sp": {"endpoints": {"assertion_consumer_service": [(ACS, BINDING_HTTP_POST)]}}},
    })


def answer(server, name, **how):
    identity = {"givenName": ["Alice"], "eduPersonAffiliation": ["staff", "member"], "surName": ["O'Neill & Søn <x>"]}
    answered = server.create_authn_response(
        identity, "id-request", ACS, SP,
        name_id=saml.NameID(format=saml.NAMEID_FORMAT_EMAILADDRESS, text="alice@example.org", sp_name_qualifier=SP),
        authn={"class_ref": saml.AUTHN_PASSWORD, "authn_auth": IDP}, userid="alice",
        session_not_on_or_after="2026-01-01T08:00:00Z", **how)
    pathlib.Path(f"{name}.xml").write_text(str(answered))


def answers():
    server = Server(config=provider())
    by = {"sign_alg": MORE + "rsa-sha256", "digest_alg": SHA256}
    answer(server, "response-signed", sign_response=True, sign_assertion=False, **by)
    answer(server, "assertion-signed", sign_response=False, sign_assertion=True, **by)
    answer(server, "both-signed", sign_response=True, sign_assertion=True, **by)
    answer(server, "unsigned", sign_response=False, sign_assertion=False, **by)
    answer(server, "sha384", sign_response=False, sign_assertion=True, sign_alg=MORE + "rsa-sha384", digest_alg=MORE + "sha384")
    answer(server, "sha512", sign_response=False, sign_assertion=True, sign_alg=MORE + "rsa-sha512",
           digest_alg="http://www.w3.org/2001/04/xmlenc#sha512")
    answer(server, "sha1", sign_response=False, sign_assertion=True, sign_alg=DS + "rsa-sha1", digest_alg=DS + "sha1")
    certificate = "".join(pathlib.Path("sp.crt").read_text().strip().split("\n")[1:-1])
    encrypt = server.sec.encrypt_assertion
    for bits in ("128", "256"):
        saml2.entity.pre_encryption_part = functools.partial(
            PRE, msg_enc=f"http://www.w3.org/2009/xmlenc11#aes{bits}-gcm")
        server.sec.encrypt_assertion = functools.partial(encrypt, key_type=f"aes-{bits}")
        for name, signed in (("assertion", (False, True)), ("response", (True, False))):
            answer(server, f"encrypted-{bits}-{name}-signed", sign_response=signed[0], sign_assertion=signed[1],
                   encrypt_assertion=True, encrypt_cert_assertion=certificate, **by)
    saml2.entity.pre_encryption_part = functools.partial(PRE, msg_enc="http://www.w3.org/2001/04/xmlenc#aes256-cbc")
    server.sec.encrypt_assertion = functools.partial(encrypt, key_type="aes-256")
    answer(server, "encrypted-cbc", sign_response=False, sign_assertion=True, encrypt_assertion=True,
           encrypt_cert_assertion=certificate, **by)
    oaep_sha256()


PRE = saml2.entity.pre_encryption_part


def oaep_sha256():
    """RSA-OAEP with SHA-256, which xmlsec1 1.2 does not know: by another library."""
    tree = etree.parse("assertion-signed.xml")
    assertion = tree.find("{urn:oasis:names:tc:SAML:2.0:assertion}Assertion")
    session, nonce = os.urandom(32), os.urandom(12)
    public = x509.load_pem_x509_certificate(pathlib.Path("sp.crt").read_bytes()).public_key()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    value = nonce + AESGCM(session).encrypt(nonce, etree.tostring(assertion), None)
    b64 = lambda data: base64.b64encode(data).decode()
    wrapped = f"""<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"
xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" xmlns:ds="{DS}"><xenc:EncryptedData
Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/>
<xenc:CipherData><xenc:CipherValue>{b64(value)}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData><xenc:EncryptedKey>
<xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#rsa-oaep"><ds:DigestMethod Algorithm="{SHA256}"/>
<xenc11:MGF xmlns:xenc11="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"/>
</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>{b64(public.encrypt(session, oaep))}</xenc:CipherValue>
</xenc:CipherData></xenc:EncryptedKey></saml:EncryptedAssertion>"""
    assertion.getparent().replace(assertion, etree.fromstring(wrapped))
    tree.write("encrypted-oaep-sha256.xml", encoding="utf-8")


def logouts():
    """What the provider sends when a session ends: a request and an answer, by redirect and by form."""
    server = Server(config=provider())
    where = "https://gateway.example/saml/slo"
    for way, binding in (("redirect", BINDING_HTTP_REDIRECT), ("form", BINDING_HTTP_POST)):
        by_form = binding == BINDING_HTTP_POST
        _, request = server.create_logout_request(
            where, SP, name_id=saml.NameID(text="alice@example.org"), session_indexes=["s1", "s2"], sign=by_form,
            sign_alg=MORE + "rsa-sha256", digest_alg=SHA256)
        answered = samlp.LogoutResponse(
            id="id-answer", version="2.0", issue_instant="2026-01-01T00:00:00Z", destination=where, issuer=saml.Issuer(text=IDP),
            in_response_to="id-request", status=samlp.Status(samlp.StatusCode(value=samlp.STATUS_SUCCESS)))
        if by_form:
            answered = server.sign(answered, sign_alg=MORE + "rsa-sha256", digest_alg=SHA256)
        for kind, message in (("request", request), ("answer", answered)):
            sent = server.apply_binding(
                binding, str(message), where, "state & more", response=kind == "answer", sign=not by_form,
                sigalg=MORE + "rsa-sha256")
            if by_form:
                values = re.findall(r'name="(SAML\w+|RelayState)" value="([^"]*)"', sent["data"])
                text = urllib.parse.urlencode({name: html.unescape(value) for name, value in values})
            else:
                text = dict(sent["headers"])["Location"].split("?", 1)[1]
            pathlib.Path(f"logout-{kind}-{way}.txt").write_text(text)


def template(method, digest, prefixes="", outer="", inner=""):
    def listed(list_of):
        if not list_of:
            return ""
        return f'<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="{list_of}"/>'
    c14n = "http://www.w3.org/2001/10/xml-exc-c14n#"
    return f"""<ds:Signature xmlns:ds="{DS}">
  <ds:SignedInfo>
    <ds:CanonicalizationMethod Algorithm="{c14n}">{listed(outer)}</ds:CanonicalizationMethod>
    <ds:SignatureMethod Algorithm="{method}"/>
    <ds:Reference URI="#it"><ds:Transforms><ds:Transform Algorithm="{DS}enveloped-signature"/><ds:Transform Algorithm="{c14n}">{listed(inner)}</ds:Transform></ds:Transforms>
    <ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference>
  </ds:SignedInfo><ds:SignatureValue/></ds:Signature>"""


# What canonicalisation has to get right, each signed by xmlsec1: the signature holds only if ours is letter by letter the same.
CANONICAL = {
    "plain": ('<a ID="it">%s<b>text</b></a>', ""),
    "prefixes": ('<n:a xmlns:n="urn:n" xmlns:unused="urn:u" xmlns:m="urn:m" ID="it" m:x="1" n:x="2" x="3">%s<m:b/><n:c xmlns:n="urn:n"/><n:d xmlns:n="urn:other"><n:e/></n:d></n:a>', ""),
    "default": ('<a xmlns="urn:one" ID="it">%s<b xmlns=""><c xmlns="urn:two"/><d/></b><x:e xmlns:x="urn:x"><f xmlns="urn:one"/></x:e></a>', ""),
    "around": ('<o:out xmlns:o="urn:o" xmlns="urn:default" xmlns:xs="http://www.w3.org/2001/XMLSchema" xml:lang="de"><o:a ID="it">%s<b xml:space="preserve">  <c/></b></o:a></o:out>', ""),
    "inclusive": ('<o:out xmlns:o="urn:o" xmlns="urn:default" xmlns:xs="http://www.w3.org/2001/XMLSchema"><o:a xmlns:p="urn:p" ID="it">%s<p:b xmlns:p="urn:q" type="xs:string"/><o:c xmlns="" xmlns:xs="urn:xs"><d/></o:c></o:a></o:out>', "xs #default p"),
    "text": ('<a ID="it">%s\r\n &lt;&gt;&amp;&quot;&apos; &#13; &#x9;\t &#xA; <![CDATA[<b>&amp;]]]]><![CDATA[>]]> \u00e4\u20ac\U0001f600<!-- a comment --> after<b/></a>', ""),
    "attributes": ('<a z="1" ID="it" b="&lt;&gt;&amp;&quot;\'" c=\'"\' d=" x\t y\n z&#9;&#10;&#13; " xmlns:z="urn:a" xmlns:a="urn:z" a:b="1" z:b="2" xml:lang="en">%s<!-- one --><b  c = "1"   a="2" /></a>', ""),
}


def canonical():
    for name, (text, prefixes) in CANONICAL.items():
        by = [("rsa-sha256", "idp"), ("rsa-sha512", "idp"), ("ecdsa-sha256", "p256"), ("ecdsa-sha384", "p384")]
        method, key = by[sorted(CANONICAL).index(name) % len(by)]
        filled = text % template(MORE + method, SHA256, inner=prefixes, outer=prefixes)
        source = pathlib.Path("unsigned.tmp")
        source.write_text(filled, newline="")
        root = etree.fromstring(filled.encode())
        node = root if root.get("ID") else root.find("*[@ID]")
        out = f"canonical-{name}-{key}.xml"
        run("xmlsec1", "--sign", "--privkey-pem", f"{key}.key", f"--id-attr:ID", etree.QName(node).localname if not
            etree.QName(node).namespace else f"{etree.QName(node).namespace}:{etree.QName(node).localname}",
            "--output", out, source)
        # xmlsec1 writes the document anew: the signature is put into the text as it was, so that its oddities stay.
        signed = etree.parse(out)
        written = filled
        for tag in ("DigestValue", "SignatureValue"):
            value = signed.find(f".//{{{DS}}}{tag}").text
            written = written.replace(f"<ds:{tag}/>", f"<ds:{tag}>{value}</ds:{tag}>")
        pathlib.Path(out).write_text(written, newline="")
        run("xmlsec1", "--verify", "--pubkey-cert-pem", f"{key}.crt", "--id-attr:ID", etree.QName(node).localname if not
            etree.QName(node).namespace else f"{etree.QName(node).namespace}:{etree.QName(node).localname}", out)
        source.unlink()
    # HMAC, with the certificate as the shared secret: what a reader that lets the message choose the key would take.
    source = pathlib.Path("unsigned.tmp")
    source.write_text(CANONICAL["plain"][0] % template(MORE + "hmac-sha256", SHA256))
    run("xmlsec1", "--sign", "--hmackey", "idp.crt", "--id-attr:ID", "a", "--output", "hmac.xml", source)
    source.unlink()


if __name__ == "__main__":
    keys()
    pathlib.Path("sp-metadata.xml").write_text(str(entity_descriptor(service())))
    pathlib.Path("idp-metadata.xml").write_text(str(entity_descriptor(provider())))
    answers()
    logouts()
    canonical()
    sys.stdout.write("made\n")
