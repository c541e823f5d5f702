"""A service that is told to stop: instance.py PORT FILE READY_AFTER EXIT_CODE

Notes in FILE what happens to it: `start`, each signal by its name, `end`. `/healthz` is 503 until READY_AFTER seconds have passed, every
other path is answered after a tenth of a second. On SIGTERM it stops to listen at once, as most do, and ends with EXIT_CODE.
"""

import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, file, ready_after, code = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
began = time.monotonic()


def note(what):
    with open(file, "a") as notes:
        notes.write(what + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = 200
        if self.path == "/healthz":
            status = 200 if time.monotonic() - began >= ready_after else 503
        else:
            time.sleep(0.1)
        body = b"%d\n" % port
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", port), Handler)


def told(number, _):
    note(signal.Signals(number).name)
    if number in (signal.SIGTERM, signal.SIGINT):
        threading.Thread(target=server.shutdown).start()


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, told)
note("start")
server.serve_forever()
note("end")
sys.exit(code)
