"""What happens without privilege, without BTF: a reason in one line, and full service."""
import os
import re
import unittest

import harness
from harness import Client, wait_for
from origin import Origin
from process import NOBODY, SANITIZER_MARKS, SKEIN, Skein, make_config, run_skein
from wire import make_chunked, make_request, pattern

WITHOUT_CAPS = ["setpriv", "--bounding-set=-bpf,-net_admin,-sys_admin,-perfmon"]
WITHOUT_BTF = ["unshare", "-m", "sh", "-c",
               'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh"]


def usable(prefix):
    """Whether this way of starting a program works here at all."""
    return run_skein("--version", prefix=prefix).returncode == 0


class DegradeTest(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to give privileges up")
        self.origin = Origin()
        self.addCleanup(self.origin.close)
        self.skein = None

    def tearDown(self):
        if self.skein:
            self.skein.kill()

    def start(self, kernel, prefix):
        if not usable(prefix):
            self.skipTest(f"can not start {SKEIN} with {' '.join(prefix[:3])}")
        config = make_config(kernel, {"web": [self.origin.address]})
        self.skein = Skein(config, prefix=prefix)
        return self.skein

    def assert_full_service(self):
        for _ in range(3):
            with Client(self.skein.address) as client:
                for number in range(5):
                    self.assertEqual(client.get(f"/x{number}").body, f"origin /x{number}".encode())
                self.assertEqual(client.get("/direct").body, b"direct\n")
                body = pattern(100000)
                self.assertEqual(client.request("POST", "/post", body).status, 200)
                self.assertEqual(self.origin.seen("/post")[-1].body, body)
                client.send(make_request("POST", "/chunks", fields=[("Transfer-Encoding", "chunked")])
                            + make_chunked([body]))
                self.assertEqual(client.read_response().status, 200)
                self.assertEqual(self.origin.seen("/chunks")[-1].body, body)

    def reasons(self):
        return [line for line in self.skein.stderr().splitlines() if "kernel path" in line]

    def assert_degraded(self, prefix):
        self.start("auto", prefix).start()
        self.assert_full_service()
        self.assertEqual(self.skein.messages(path="kernel"), 0)
        self.assertEqual(len(self.reasons()), 1, self.skein.stderr())
        self.skein.stop()

    def test_auto_as_nobody(self):
        self.assert_degraded(NOBODY)

    def test_auto_without_capabilities(self):
        self.assert_degraded(WITHOUT_CAPS)

    def test_on_is_refused(self):
        for prefix in (NOBODY, WITHOUT_CAPS):
            with self.subTest(prefix=prefix):
                skein = self.start("on", prefix).spawn()
                self.assertNotEqual(skein.wait_exit(), 0)
                self.assertTrue(self.reasons(), skein.stderr())
                for mark in SANITIZER_MARKS:
                    self.assertNotIn(mark, skein.stderr())
                skein.cleanup()

    def test_off_needs_nothing(self):
        self.start("off", NOBODY).start()
        self.assert_full_service()
        self.assertNotRegex(self.skein.stderr(), r"(?i)warn|error|permission|EPERM")
        self.skein.stop()

    def test_auto_without_btf(self):
        """In userspace with a reason, or still on the kernel path; served either way."""
        self.start("auto", WITHOUT_BTF).start()
        self.assert_full_service()
        if self.skein.messages(path="kernel") == 0:
            self.assertEqual(len(self.reasons()), 1, self.skein.stderr())
        self.skein.stop()

    def test_on_without_btf(self):
        """Refused with a reason, or really on the kernel path."""
        skein = self.start("on", WITHOUT_BTF).spawn()
        wait_for(lambda: skein.exited() or skein.healthy(), "ready or gone")
        if skein.exited():
            self.assertTrue(self.reasons(), skein.stderr())
            return
        self.assert_full_service()
        self.assertGreater(skein.messages(path="kernel"), 0)
        skein.stop()

    def test_probe_says_why(self):
        for prefix in (NOBODY, WITHOUT_CAPS):
            with self.subTest(prefix=prefix):
                if not usable(prefix):
                    self.skipTest(f"can not start {SKEIN} with {' '.join(prefix[:3])}")
                result = run_skein("probe", prefix=prefix)
                line = re.search(r"(?mi)^.*kernel path.*$", result.stdout)
                self.assertTrue(line, result.stdout)
                self.assertRegex(line[0].lower(), "off|no|not|unavailable")


if __name__ == "__main__":
    harness.main()
