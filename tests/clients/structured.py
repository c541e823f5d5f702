"""Reads each argument as a list of structured fields (RFC 9651, by http_sf) and prints its members, a line for each list."""
import sys

import http_sf

for line in sys.argv[1:]:
    print(http_sf.parse(line.encode(), tltype="list"))
