"""An HTTP server as applications have one: Python's own, one thread with blocking sockets per
connection. It answers what apps.py says."""
import hashlib
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def each_piece(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() != b"\r\n":
            pass

    def do_GET(self):
        digest = hashlib.sha256()
        for piece in self.each_piece():
            digest.update(piece)
        url = urlsplit(self.path)
        number = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        random = url.path in ("/bytes", "/chunked")
        body = os.urandom(number["size"]) if random else digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("X-Digest", hashlib.sha256(body).hexdigest())
        if url.path != "/chunked":
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), number["step"]):
            piece = body[at:at + number["step"]]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_POST = do_GET

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
