"""Scripted upstream servers: one thread per connection, one script per path.

A script is called with the connection and the request's head; the body is still unread, so
that a script can answer early, stall, or reset. What it does not do is done for it: an unread
body is read afterwards, and a path without a script gets a 200.
"""
import socket
import threading
import time
import traceback

from wire import DEADLINE, PAUSE, Ended, Malformed, Request, Wire


def reply(body=b"", status="200 OK", fields=(), length=True):
    """A response with a Date, so that a proxy has no reason to add one."""
    lines = [f"HTTP/1.1 {status}", "Date: Thu, 01 Jan 1970 00:00:00 GMT"]
    lines += [f"{name}: {value}" for name, value in fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(*args, **kwargs):
    """A script that answers with fixed bytes: answer(body, status=..., fields=...)."""
    data = reply(*args, **kwargs)

    def script(conn, request):
        conn.read_body(request)
        conn.send(data)
    return script


def raw_answer(data, step=0):
    """A script that reads the request and sends bytes as they are, in pieces if asked."""
    def script(conn, request):
        conn.read_body(request)
        if step:
            conn.send_cut(data, step)
        else:
            conn.send(data)
    return script


def default_script(conn, request):
    conn.read_body(request)
    body = b"" if request.method == b"HEAD" else b"origin " + request.target
    conn.send(reply(body))


class OriginConnection(Wire):
    """One connection from the proxy."""

    def __init__(self, origin, sock, number):
        super().__init__(sock)
        self.origin = origin
        self.number = number
        self.requests = []
        self.done = False    # the thread has finished
        self.closing = False

    def read_request(self):
        """The next request's head, or None at a clean end between requests."""
        if not self.buf and not self.fill():
            return None
        request = Request(self.read_until(b"\r\n\r\n"))
        request.seq = len(self.requests) + 1
        request.conn = self
        if request.minor != 1:
            raise Malformed(f"upstream saw {request.line!r}")
        if len(request.all("host")) != 1:
            raise Malformed(f"upstream saw Host {request.all('host')}")
        self.requests.append(request)
        self.origin.saw(request)
        return request

    def read_body(self, request, sink=None):
        """Reads the body once; into `sink`, called per piece, or request.body."""
        if request.complete:
            return request.body
        pieces = []
        for piece in self.each_piece(request, False, False):
            (sink or pieces.append)(piece)
        request.body = b"".join(pieces)
        request.complete = True
        self.origin.notify()
        return request.body

    def send_pieces(self, pieces, pause=PAUSE):
        for piece in pieces:
            self.send(piece)
            time.sleep(pause)

    def finish(self):
        """Ends this connection after the script, with FIN."""
        self.closing = True

    def wait_end(self):
        """Reads until the proxy ends the connection; returns (how, stray bytes)."""
        stray = self.read_to_end()
        self.origin.notify()
        return self.ended, stray

    def run(self):
        try:
            while not self.closing:
                self.sock.settimeout(None)  # an idle connection may idle
                request = self.read_request()
                self.sock.settimeout(self.deadline)
                if request is None:
                    break
                script = self.origin.scripts.get(request.path, self.origin.default)
                script(self, request)
                if self.sock.fileno() < 0 or self.closing:
                    break
                self.read_body(request)
        except (Ended, OSError):
            pass  # the proxy ended it in the middle: tests look at `complete` and `ended`
        except Exception as error:  # noqa: any script error must fail the test
            self.origin.failed(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        finally:
            try:
                self.sock.close()
            finally:
                self.done = True
                self.origin.notify()


class Origin:
    """A listening server. Use `on` for scripts and `wait` to see what happened."""

    def __init__(self, name="origin", backlog=512, rcvbuf=None, port=0):
        self.name = name
        self.default = default_script
        self.scripts = {}
        self.requests = []
        self.connections = []
        self.errors = []
        self.changed = threading.Condition()
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(backlog)
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.changed:
                conn = OriginConnection(self, sock, len(self.connections))
                self.connections.append(conn)
                self.changed.notify_all()
            threading.Thread(target=conn.run, daemon=True).start()

    def on(self, path, script):
        """Runs `script` for requests whose target, without query, is `path`."""
        self.scripts[path] = script

    def saw(self, request):
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def failed(self, text):
        with self.changed:
            self.errors.append(text)
            self.changed.notify_all()

    def notify(self):
        with self.changed:
            self.changed.notify_all()

    def wait(self, condition, what, timeout=DEADLINE):
        """Waits until condition() is true and returns its value."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError(f"{self.name}: not within {timeout} s: {what}")
            return condition()

    def wait_request(self, path, count=1):
        """The count-th request for a path, as soon as its head has come."""
        self.wait(lambda: len(self.seen(path)) >= count, f"request {count} for {path}")
        return self.seen(path)[count - 1]

    def seen(self, path):
        return [request for request in list(self.requests) if request.path == path]

    def open_connections(self):
        return [conn for conn in list(self.connections) if not conn.done]

    def ever_received(self, needle):
        """Whether these bytes ever arrived on any connection."""
        return any(needle in conn.log for conn in list(self.connections))

    def drop_connections(self):
        """Ends every connection with FIN and waits until all threads are done."""
        for conn in self.open_connections():
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.wait(lambda: not self.open_connections(), "connections end")

    def take_errors(self):
        errors, self.errors = self.errors, []
        return errors

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thread.join(DEADLINE)
        self.drop_connections()


class SilentServer:
    """Listens and never accepts, with a full accept queue: connects to it hang."""

    def __init__(self):
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = self.listener.getsockname()
        self.fillers = []
        # Linux drops SYNs once the accept queue is over the backlog; two do for a
        # backlog of 0, the loop ends as soon as one does not complete.
        for _ in range(16):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.settimeout(0.15)
            self.fillers.append(sock)
            try:
                sock.connect(self.address)
            except TimeoutError:
                break

    def close(self):
        for sock in self.fillers + [self.listener]:
            sock.close()
