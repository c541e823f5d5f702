"""Documents by chance and their exclusive canonical form, by libxml2 (lxml); with `#default` among the prefixes, which lxml does not
hand on, the digest of it, by xmlsec1.

    python3 canonical.py SEED HOW-MANY FILE        # what is kept here: 1 120 canonical.json
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

from lxml import etree

chance = random.Random(int(sys.argv[1]))
PREFIXES, NAMES = ["", "a", "b", "c", "xs"], ["urn:1", "urn:2", "urn:3"]
TEXTS = ["x", " ", "\n", "\t", "&lt;", "&gt;", "&amp;", "&quot;", "&#13;", "&#9;", "&#10;", "ä", "😀", "<!-- c -->",
         "<![CDATA[<&]]>", "<![CDATA[]]>", "]", "\r\n", "\r", ">"]
VALUES = ["x", " ", "\n", "\t", "&lt;", ">", "&amp;", "&quot;", "&#13;", "&#9;", "&#10;", "ü", "'", "\r\n", "\r"]
DSIG, EXCLUSIVE = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/10/xml-exc-c14n#"


def element(depth, known, more=""):
    known, declared, attributes, seen = dict(known), [], [], set()
    for prefix in PREFIXES:
        if chance.random() < 0.25:
            known[prefix] = chance.choice(NAMES + ([""] if prefix == "" else []))
            declared.append((f"xmlns:{prefix}" if prefix else "xmlns", known[prefix]))
    usable = [prefix for prefix in PREFIXES if prefix == "" or prefix in known]
    for _ in range(chance.randrange(4)):
        prefix = chance.choice(usable + ["xml"])
        local = chance.choice(["lang", "base"] if prefix == "xml" else ["k", "l", "m", "lang"])
        name = ("" if prefix == "" else known.get(prefix, "xml"), local)
        if name not in seen:
            seen.add(name)
            value = "".join(chance.choice(VALUES) for _ in range(chance.randrange(4)))
            attributes.append(((prefix + ":" if prefix else "") + local, value))
    prefix = chance.choice(usable)
    tag = (prefix + ":" if prefix else "") + chance.choice("efg")
    both = declared + attributes
    chance.shuffle(both)
    space = chance.choice([" ", "  ", "\n"])
    start = tag + more + "".join(f'{space}{name}="{value}"' for name, value in both)
    inside = "".join(element(depth + 1, known) if chance.random() < 0.5 and depth < 5 else chance.choice(TEXTS)
                     for _ in range(chance.randrange(5)))
    return f"<{start}>{inside}</{tag}>" if inside or chance.random() < 0.5 else f"<{start}/>"


def digest(text, prefixes, name):
    template = f"""<ds:Signature xmlns:ds="{DSIG}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>
<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><ds:Reference URI="#it"><ds:Transforms>
<ds:Transform Algorithm="{EXCLUSIVE}"><c:InclusiveNamespaces xmlns:c="{EXCLUSIVE}" PrefixList="{prefixes}"/></ds:Transform>
</ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference>
</ds:SignedInfo><ds:SignatureValue/></ds:Signature></out>"""
    with tempfile.NamedTemporaryFile("w", newline="") as file:
        file.write(text.replace("</out>", template))
        file.flush()
        key = pathlib.Path(__file__).parent / "idp.key"
        signed = subprocess.run(["xmlsec1", "--sign", "--privkey-pem", key, "--id-attr:ID", name, file.name],
                                check=True, capture_output=True).stdout
    return etree.fromstring(signed).find(f".//{{{DSIG}}}DigestValue").text


cases = []
while len(cases) < int(sys.argv[2]):
    around = {"a": "urn:1", "xs": "urn:9", "": "urn:2"}
    text = ("<out xmlns:a='urn:1' xmlns:xs='urn:9' xmlns='urn:2' xml:lang='en'>"
            f"{element(0, around, ' ID=' + chr(34) + 'it' + chr(34))}</out>")
    try:
        node = etree.fromstring(text.encode())[0]
    except etree.XMLSyntaxError:
        continue
    prefixes = [prefix for prefix in PREFIXES[1:] if chance.random() < 0.2]
    case = {"text": text, "prefixes": " ".join(prefixes)}
    if chance.random() < 0.3:
        case["prefixes"] += " #default"
        name = etree.QName(node)
        case["digest"] = digest(text, case["prefixes"], f"{name.namespace}:{name.localname}" if name.namespace else name.localname)
    else:
        case["canonical"] = etree.tostring(node, method="c14n", exclusive=True, with_comments=False,
                                           inclusive_ns_prefixes=prefixes or None, with_tail=False).decode()
    cases.append(case)
pathlib.Path(sys.argv[3]).write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n")
