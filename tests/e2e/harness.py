"""What the end-to-end tests share: a test class that runs on each data path.

A test file defines subclasses of ProxyTest and ends with main(). Every class runs once per
path named by SKEIN_PATHS (DEFAULT_PATHS if it is not set, only "off" with SKEIN_SANITIZED=1):

    off     everything by userspace
    on      `kernel: on`
    bypass  `kernel: on` and `bypass: on`: the tests' clients and servers are local

Where a path is impossible its variants are skipped with the reason that skein gave; if nothing at
all could run the exit status is 77.
"""
import argparse
import faulthandler
import itertools
import json
import os
import re
import sys
import time
import unittest

from origin import Origin
from process import CARRIERS, PATHS, Skein, make_config, refusal, wait_for
from wire import DEADLINE, SANITIZED, SLOW, Client, Ended

DEFAULT_PATHS = "off,on,bypass"
WARM_UPS = 3  # requests after which a connection has certainly been promoted
_serial = itertools.count()


def copy_config(config):
    """A deep copy, to change and reload."""
    return json.loads(json.dumps(config))


def unique(prefix="t"):
    """A name that occurs nowhere else in this run."""
    return f"{prefix}{next(_serial)}x{os.getpid()}"


class ProxyTest(unittest.TestCase):
    """One skein and one origin per class; tests use paths of their own."""

    paths = ("off", "on", "bypass")  # which paths the class makes sense on
    path = None                      # this variant's
    kernel = None                    # its `datapath.kernel`: "off" or "on"
    skip_reason = None
    extra = {}             # merged into the configuration
    skein = None
    origin = None

    @classmethod
    def clusters(cls):
        return {"web": [cls.origin.address]}

    @classmethod
    def routes(cls):
        return None

    @classmethod
    def setUpClass(cls):
        if cls.skip_reason:
            raise unittest.SkipTest(cls.skip_reason)
        cls.origin = Origin()
        cls.start_skein()

    @classmethod
    def finish_config(cls):
        """Changes `config` before it is used."""

    @classmethod
    def start_skein(cls):
        cls.config = make_config(cls.path, cls.clusters(), cls.routes(), cls.extra)
        cls.finish_config()
        cls.skein = Skein(cls.config).start()

    @classmethod
    def tearDownClass(cls):
        if cls.skein is None:
            return
        try:
            cls.skein.stop()
        finally:
            cls.origin.close()

    def setUp(self):
        self.clients = []
        if self.skein.exited():
            self.start_skein()  # an earlier test killed it, and failed for that

    def tearDown(self):
        for client in self.clients:
            client.close()
        errors = self.origin.take_errors()
        if self.skein.exited():
            self.fail(f"skein exited with {self.skein.process.returncode}:\n"
                      f"{self.skein.stderr()[-4000:]}")
        self.assertFalse(errors, "the upstream saw something wrong:\n" + "\n".join(errors))

    # Which path carried a message

    @property
    def carrier(self):
        """The path of skein_messages_total that counts what the kernel carries here. With "off" it has
        to stay 0."""
        return CARRIERS[self.path]

    def carried_by_kernel(self, **labels):
        """Messages that userspace did not touch."""
        return self.skein.messages(path=self.carrier, **labels)

    # Clients

    def connect(self, **kwargs):
        client = Client(self.skein.address, **kwargs)
        self.clients.append(client)
        return client

    def warm(self, client=None, target="/warm"):
        """Makes a connection one that the kernel path carries, where there is one."""
        client = client or self.connect()
        for _ in range(WARM_UPS):
            response = client.get(target)
            self.assertEqual(response.status, 200, response)
        return client

    WAYS = ("first", "later", "first cut", "later cut")

    def send_by(self, way, raw, step=None):
        """Sends bytes as a connection's first message or after warm-ups, whole or cut."""
        client = self.connect()
        if way.startswith("later"):
            self.warm(client)
        try:
            if way.endswith("cut"):
                client.send_cut(raw, step or max(1, len(raw) // 120))
            else:
                client.send(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the last piece: the answer is what counts
        return client

    # Checks

    def assert_refused(self, client, statuses):
        """An error answer of skein's own, then the end of the connection, nothing else."""
        response = client.read_response()
        self.assertIn(response.status, statuses, response)
        self.assertEqual(response.framing, "length", "an own answer has a Content-Length")
        self.assertTrue(response.closes(), f"no Connection: close in {response.raw_head!r}")
        rest = client.read_to_end()
        self.assertEqual(rest, b"", "bytes after the error answer")
        self.assertEqual(client.ended, "fin", "the answer must not be chased by a reset")
        return response

    def assert_aborted(self, client, method="GET"):
        """The response in flight must not look complete."""
        try:
            response = client.read_response(method)
        except Ended as end:
            return end
        self.fail(f"a broken response was passed off as complete: {response!r} "
                  f"{response.raw_head!r}")

    def fence(self):
        """A request through skein and back: what was sent before it has been handled."""
        target = "/" + unique("fence")
        with Client(self.skein.address) as client:
            response = client.get(target)
        self.assertEqual(response.status, 200, response)

    def assert_never_upstream(self, needle, origins=None):
        self.fence()
        for origin in origins or [self.origin]:
            self.assertFalse(origin.ever_received(needle.encode()),
                             f"{needle} reached the upstream")

    def wait_metric(self, name, expected, **labels):
        wait_for(lambda: self.skein.metric(name, **labels) == expected,
                 f"{name} {labels} to be {expected}, it is {self.skein.metric(name, **labels)}")


def _variants(module, names, wanted):
    """The test classes of a module, one subclass per path."""
    refusals = {path: refusal(path) for path in wanted if path != "off"}
    for path, reason in refusals.items():
        if reason:
            print(f"{path} skipped: {reason}", file=sys.stderr)
    for name, cls in list(vars(module).items()):
        if not (isinstance(cls, type) and issubclass(cls, unittest.TestCase)):
            continue
        if cls.__module__ != module.__name__:
            continue
        if not issubclass(cls, ProxyTest):
            yield cls
            continue
        for path in cls.paths:
            reason = refusals.get(path)
            if path not in wanted:
                if len(cls.paths) > 1:
                    continue
                reason = f"needs the path {path}, which this run leaves out"
            yield type(f"{name}_{path}", (cls,), {
                "path": path, "kernel": PATHS[path]["kernel"], "skip_reason": reason,
                "__module__": module.__name__})


class _Result(unittest.TextTestResult):
    """Counts time, and prints one line per failure: a case table can fail in many ways."""

    passed = False  # at least one test really ran

    def startTest(self, test):
        self.started = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        took = time.monotonic() - self.started
        self.slow = getattr(self, "slow", [])
        self.slow.append((took, test.id()))
        super().stopTest(test)

    def addSuccess(self, test):
        self.passed = True
        super().addSuccess(test)

    def printErrors(self):
        if self.showAll:
            return super().printErrors()
        self.stream.writeln()
        for kind, problems in (("ERROR", self.errors), ("FAIL", self.failures)):
            for test, text in problems:
                where = re.findall(r'File ".*?/(test_\w+\.py)", line (\d+)', text) or [("?", "?")]
                last = text.strip().split("\n\n")[0].splitlines()[-1]
                if not last.strip() or "Error" not in last:
                    last = text.strip().splitlines()[-1]
                self.stream.writeln(f"{kind}: {test} at {':'.join(where[-1])}: {last[:400]}")


def main():
    parser = argparse.ArgumentParser(description="skein end-to-end tests")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("-k", dest="patterns", action="append", default=[],
                        help="only tests whose id contains this")
    options = parser.parse_args()
    wanted = os.environ.get("SKEIN_PATHS", "off" if SANITIZED else DEFAULT_PATHS).split(",")
    if unknown := set(wanted) - set(PATHS):
        parser.error(f"SKEIN_PATHS names {', '.join(sorted(unknown))}, known are {', '.join(PATHS)}")
    if SANITIZED:
        wanted = [path for path in wanted if path == "off"]
    faulthandler.dump_traceback_later(600 * SLOW, exit=True)

    suite = unittest.TestSuite()
    for cls in _variants(sys.modules["__main__"], options.patterns, wanted):
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
            if not options.patterns or any(part in test.id() for part in options.patterns):
                suite.addTest(test)
    runner = unittest.TextTestRunner(verbosity=2 if options.verbose else 1, resultclass=_Result)
    result = runner.run(suite)
    if options.verbose:
        for took, test in sorted(getattr(result, "slow", []), reverse=True)[:10]:
            print(f"{took:7.2f} s  {test}", file=sys.stderr)
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}", file=sys.stderr)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(0 if result.passed else 77)


__all__ = ["DEADLINE", "SANITIZED", "SLOW", "Client", "Ended", "ProxyTest", "main", "unique", "wait_for"]
