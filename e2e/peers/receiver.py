"""An app backend's webhook receiver written with nothing but Python's standard library, so that it shares no code with roomhook.

receiver.py [--port N] [--token T] [--secret whsec_S] [--status S] [--fail-first N]: prints {"port": N} first, then one JSON line per
request as it came: method, path, query (raw, and split by urllib), headers, the body's text, its members in order with their Python
types, whether Sign is SHA256(token + RequestTime) as hashlib computes it, and whether webhook-signature is what hmac computes. Answers
the documented JSON with the given status (default 200), after it has answered the first N requests with 500.
"""

import argparse
import base64
import hashlib
import hmac
import itertools
import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--token", default="")
parser.add_argument("--secret", default="")
parser.add_argument("--status", type=int, default=200)
parser.add_argument("--fail-first", type=int, default=0)
options = parser.parse_args()

printing = threading.Lock()
requests = itertools.count()


def tell(line):
    with printing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def sign_holds(query):
    values = dict(query)
    text = options.token + values.get("RequestTime", "")
    return values.get("Sign") == hashlib.sha256(text.encode()).hexdigest()


def signature_holds(headers, body):
    key = base64.b64decode(options.secret.removeprefix("whsec_"))
    signed = "{}.{}.".format(headers.get("webhook-id"), headers.get("webhook-timestamp")).encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return headers.get("webhook-signature") == expected


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = raw.decode("utf-8")
        status = 500 if next(requests) < options.fail_first else options.status
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qsl(url.query, keep_blank_values=True, strict_parsing=True)
        members = json.loads(body, object_pairs_hook=list)
        answer = json.dumps({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}).encode()
        # Told before it is answered: what the sender counts as acknowledged is always in this output.
        tell({
            "method": self.command,
            "path": url.path,
            "raw_query": url.query,
            "query": query,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "text": body,
            "body": json.loads(body),
            "types": [[name, type(value).__name__] for name, value in members],
            "sign_holds": sign_holds(query),
            "signature_holds": signature_holds(self.headers, raw),
        })
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request, client_address):
        # A sender that was killed leaves its connections broken; everything else is worth a traceback.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", options.port), Receiver)
tell({"port": server.server_port})
server.serve_forever()
