"""A stand-in for one of our processes: lives until told to end; as `web` it answers /health on a port."""

import http.server
import os
import signal
import sys


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get("MEATLIZARD_INSTANCE", "").encode())

    def log_message(self, *_: object) -> None:
        pass


def main(name: str, port: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(name, "began", flush=True)
    if port:
        http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
