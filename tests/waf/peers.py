"""What libmodsecurity and libinjection say of requests and texts: `peers.py rules FILE...` and `peers.py texts`, asked line by line on stdin."""

import glob
import json
import sys

BODIES = """
SecRuleEngine On
SecRequestBodyAccess On
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\\+|/)|text/)xml" "id:1,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:2,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
"""


def rules(patterns):
    import libmodsecurity as peer

    fired = []
    engine = peer.ModSecurity()
    engine.set_rule_message_callback(lambda message: fired.append(message.rule_id))
    loaded = peer.RulesSet() if hasattr(peer, "RulesSet") else peer.Rules()
    loaded.load(BODIES)
    for name in [name for pattern in patterns for name in sorted(glob.glob(pattern))]:
        loaded.load_from_uri(name)
    for line in sys.stdin:
        case = json.loads(line)
        fired.clear()
        body = case["body"].encode()
        asked = peer.Transaction(engine, loaded)
        asked.process_connection("192.0.2.1", 1234, "10.0.0.1", 80)
        asked.process_uri(case["target"], case["method"], "1.1")
        for name, value in case["headers"]:
            asked.add_request_header(name, value)
        asked.process_request_headers()
        if body:
            asked.append_request_body(body)
        asked.process_request_body()
        intervention = asked.intervention()
        is_refused = bool(intervention and intervention.disruptive)
        print(json.dumps({"refused": is_refused, "rules": list(dict.fromkeys(fired))}), flush=True)


def texts():
    import libinjection as peer

    for line in sys.stdin:
        text = json.loads(line)
        sql, script = peer.is_sql_injection(text), peer.is_xss(text)
        print(json.dumps([bool(sql["is_sqli"]), bool(script["is_xss"])]), flush=True)


if __name__ == "__main__":
    rules(sys.argv[2:]) if sys.argv[1] == "rules" else texts()
