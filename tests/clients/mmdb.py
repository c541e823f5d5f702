"""Writes a database of countries in MaxMind's format: mmdb.py FILE NETWORK=COUNTRY..."""

import sys

from mmdb_writer import MMDBWriter
from netaddr import IPSet

writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-Country", languages=["en"])
for pair in sys.argv[2:]:
    network, country = pair.split("=")
    names = {"country": {"iso_code": country, "names": {"en": country}}} if country else {"continent": {"code": "EU"}}
    writer.insert_network(IPSet([network]), names)
writer.to_db_file(sys.argv[1])
