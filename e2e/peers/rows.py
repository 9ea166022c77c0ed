"""Prints what is in a mirror's database, seen by Python's own SQLite: a JSON list of [room, seq, text]."""

import json
import sqlite3
import sys

rows = sqlite3.connect(sys.argv[1]).execute("SELECT room, seq, body FROM message ORDER BY room, seq")
print(json.dumps([[room, seq, json.loads(body)[0]["MsgContent"]["Text"]] for room, seq, body in rows]))
