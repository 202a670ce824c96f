"""What skein finds out about its kernel, and what it does about it: `skein probe`, the metrics, and
kernels that fail in one respect."""
import json
import os
import re
import unittest

import harness
from harness import Client, ProxyTest
from origin import Origin
from process import (SANITIZER_MARKS, Skein, free_port, hostport, kernel_refusal, make_config,
                     run_skein)
from redis_servers import RedisServer
from redis_wire import RedisClient

GUARDS = ("kernel", "http", "redis", "ipv6", "bypass", "auto")
BY_KERNEL = ("fionread", "splice", "collect")  # what depends on the kernel, and no fault
LOOPBACK_MS_MAX = 2000  # 300 by design, on a machine that has nothing else to do
ROUNDS = 10

# A network of its own, with what is needed of it.
ALONE = ["unshare", "-n", "sh", "-c"]
NO_LOOPBACK = [*ALONE, 'exec "$@"', "sh"]
NO_IPV6 = [*ALONE, 'ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6 && '
           'exec "$@"', "sh"]


def parse_table(text):
    """`skein probe`'s output -> (checks, paths, (all ms, loopback ms))."""
    checks = {}
    for match in re.finditer(r"(?m)^(\w+) +(kernel|http|redis|ipv6|bypass|auto) +(\d+\.\d\d)  "
                             r"(ok|failed|skipped)(?:: (.+))?$", text):
        assert match[1] not in checks, match[1]
        checks[match[1]] = {"guards": match[2], "ms": float(match[3]), "verdict": match[4],
                            "why": match[5] or ""}
    paths = dict(re.findall(r"(?m)^(\w+ path(?: \(\w+\))?): (.+)$", text))
    total = re.search(r"(?m)^(\d+) checks in (\d+\.\d) ms, (\d+\.\d) of them over loopback$", text)
    assert total and int(total[1]) == len(checks), text
    return checks, paths, (float(total[2]), float(total[3]))


def suits_all(checks):
    """Whether no kind of application has to be left alone: then `bypass: auto` is on."""
    return all(check["verdict"] == "ok" for check in checks.values() if check["guards"] == "auto")


def usable(prefix):
    return run_skein("--version", prefix=prefix).returncode == 0


class NeedsKernelTest(unittest.TestCase):
    refusal = None

    @classmethod
    def setUpClass(cls):
        cls.refusal = kernel_refusal()
        if cls.refusal:
            raise unittest.SkipTest(cls.refusal)


class CommandTest(NeedsKernelTest):
    def probe(self, prefix=(), status=0):
        if prefix and not usable(prefix):
            self.skipTest(f"can not start skein with {' '.join(prefix[:2])}")
        result = run_skein("probe", prefix=prefix)
        self.assertEqual(result.returncode, status, result.stdout)
        self.assertEqual(result.stderr, "")
        return result.stdout

    def test_table(self):
        text = self.probe()
        checks, paths, (total, loopback) = parse_table(text)
        self.assertEqual({check["guards"] for check in checks.values()}, set(GUARDS))
        for name, check in checks.items():
            if name not in ("ipv6", *BY_KERNEL):
                self.assertEqual(check["verdict"], "ok", name)
        self.assertAlmostEqual(total, sum(check["ms"] for check in checks.values()), delta=1)
        self.assertLess(loopback, LOOPBACK_MS_MAX)
        self.assertLess(loopback, total)
        for protocol in ("http", "redis"):
            self.assertEqual(paths[f"kernel path ({protocol})"], "available")
        self.assertEqual("collect" in checks, checks["fionread"]["verdict"] != "ok")
        self.assertRegex(paths["bypass path"], "^available$" if suits_all(checks) else
                         "^available with datapath.bypass: on, not with auto: ")
        self.assertEqual(paths["userspace path"], "available")
        self.assertRegex(text, rf"(?m)^kernel +{re.escape(os.uname().release)}$")
        self.assertRegex(text, r"(?m)^BTF +/sys/kernel/btf/vmlinux$")
        for capability in ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"):
            self.assertRegex(text, rf"(?m)^{capability} +yes$")

    def test_json(self):
        table, _, _ = parse_table(self.probe())
        result = run_skein("probe", "--json")
        self.assertEqual(result.returncode, 0)
        found = json.loads(result.stdout)
        self.assertEqual([(check["name"], check["guards"], check["verdict"], check["why"])
                          for check in found["checks"]],
                         [(name, check["guards"], check["verdict"], check["why"])
                          for name, check in table.items()])
        self.assertGreaterEqual(found["us"], sum(check["us"] for check in found["checks"]))
        self.assertEqual(found["paths"], {"kernel": {"http": True, "redis": True, "ipv6": True},
                                          "bypass": "auto" if suits_all(table) else "on",
                                          "userspace": True})
        self.assertEqual(found["kernel"], os.uname().release)

    def test_without_loopback(self):
        checks, paths, _ = parse_table(self.probe(NO_LOOPBACK, status=1))
        self.assertEqual(checks["load"]["verdict"], "ok")
        self.assertEqual((checks["insert"]["verdict"], checks["insert"]["why"]),
                         ("failed", "no connection over loopback: Network is unreachable"))
        self.assertEqual((checks["urgent"]["verdict"], checks["urgent"]["why"]),
                         ("skipped", "after insert"))
        for protocol in ("http", "redis"):
            self.assertRegex(paths[f"kernel path ({protocol})"], "^unavailable: check insert: ")

    def test_without_ipv6(self):
        """Nothing is missing where there is no IPv6."""
        checks, paths, _ = parse_table(self.probe(NO_IPV6))
        self.assertEqual(checks.pop("ipv6")["verdict"], "skipped")
        self.assertEqual({check["verdict"] for name, check in checks.items() if name not in BY_KERNEL}, {"ok"})
        for protocol in ("http", "redis"):
            self.assertEqual(paths[f"kernel path ({protocol})"], "available")


class ReportTest(ProxyTest):
    """The same verdicts in the metrics and the statistics of the daemon."""

    def available(self):
        return {dict(labels)["protocol"]: value for labels, value
                in self.skein.metrics()["skein_path_available"].items()}

    def test_metrics_and_stats(self):
        series = self.skein.metrics().get("skein_probe_check", {})
        probe = json.loads(self.skein.admin_get("/stats").body)["probe"]
        if self.kernel == "off":
            self.assertEqual((series, probe["ran"], probe["checks"]), ({}, False, []))
            self.assertEqual(self.available(), {"http": 0, "redis": 0})
            return
        self.assertTrue(probe["ran"])
        self.assertEqual({frozenset({("check", check["name"]), ("guards", check["guards"])}):
                          int(check["verdict"] == "ok")
                          for check in probe["checks"] if check["verdict"] != "skipped"}, series)
        self.assertEqual({check["name"] for check in probe["checks"] if check["verdict"] == "failed"}
                         - set(BY_KERNEL), set())
        table, _, _ = parse_table(run_skein("probe").stdout)
        self.assertEqual({check["name"] for check in probe["checks"]},
                         {name for name, check in table.items()
                          if self.path == "bypass" or check["guards"] not in ("bypass", "auto")})
        self.assertEqual(self.available(), {"http": 1, "redis": 1})


class FaultTest(NeedsKernelTest):
    """A daemon for both protocols on a kernel that fails in one respect."""

    def setUp(self):
        self.origin = Origin()
        self.addCleanup(self.origin.close)
        self.shard = RedisServer().start()
        self.addCleanup(self.shard.stop)
        self.skein = None

    def tearDown(self):
        if self.skein:
            self.skein.kill()

    def spawn(self, fault, kernel, protocols=("http", "redis")):
        config = make_config(kernel, {"web": [self.origin.address]})
        config["clusters"].append({"name": "shards", "lb_policy": "crc16_slots",
                                   "endpoints": [{"address": hostport(self.shard.address)}]})
        self.cache = ("127.0.0.1", free_port())
        config["listeners"].append({"name": "cache", "address": hostport(self.cache),
                                    "protocol": "redis", "cluster": "shards"})
        config["listeners"] = [listener for listener in config["listeners"]
                               if listener["protocol"] in protocols]
        self.skein = Skein(config, prefix=[
            "env", f"LD_PRELOAD={os.environ['SKEIN_KERNEL_FAULT']}", f"SKEIN_FAULT={fault}",
            "ASAN_OPTIONS=verify_asan_link_order=0"])
        return self.skein

    def serve(self):
        """Messages that each listener's clients had carried by the kernel, and not."""
        with Client(self.skein.address) as client:
            for number in range(ROUNDS):
                self.assertEqual(client.get(f"/x{number}").body, b"origin /x%d" % number)
        with RedisClient(self.cache) as client:
            for number in range(ROUNDS):
                client.expect_ok("SET", "k", str(number))
                self.assertEqual(client.call("GET", "k"), b"%d" % number)
        return {name: (self.skein.messages(listener=name, path="kernel"),
                       self.skein.messages(listener=name, path="userspace"))
                for name in ("web", "cache")}

    def available(self):
        return [self.skein.metric("skein_path_available", path="kernel", protocol=protocol)
                for protocol in ("http", "redis")]

    def reasons(self):
        return [line for line in self.skein.stderr().splitlines()
                if re.search(r"kernel path.*: off", line)]

    def assert_reported(self, culprit):
        self.assertEqual(self.skein.metric("skein_probe_check", check=culprit), 0)
        probe = json.loads(self.skein.admin_get("/stats").body)["probe"]
        failed = [check for check in probe["checks"] if check["verdict"] == "failed"]
        self.assertEqual([check["name"] for check in failed], [culprit])
        self.assertEqual(len(self.reasons()), 1, self.skein.stderr())
        self.assertIn(f"check {culprit}: {failed[0]['why']}; ", self.reasons()[0])

    def assert_refused(self, culprit):
        self.skein.spawn()
        self.assertEqual(self.skein.wait_exit(), 2)
        self.assertEqual(len(self.reasons()), 1, self.skein.stderr())
        self.assertRegex(self.reasons()[0], rf"check {culprit}: .*, not starting$")
        for mark in SANITIZER_MARKS:
            self.assertNotIn(mark, self.skein.stderr())

    def test_redis_only(self):
        self.spawn("redis", "auto").start()
        carried = self.serve()
        self.assertGreater(carried["web"][0], 0)
        self.assertEqual(carried["cache"], (0, 4 * ROUNDS))
        self.assertEqual(self.available(), [1, 0])
        self.assert_reported("redis_command")
        self.assertRegex(self.reasons()[0], r"^skein: warn\w*: kernel path \(redis\): off: ")
        self.skein.stop()

    def test_http_only(self):
        self.spawn("http", "auto").start()
        carried = self.serve()
        self.assertEqual(carried["web"], (0, 2 * ROUNDS))
        self.assertGreater(carried["cache"][0], 0)
        self.assertEqual(self.available(), [0, 1])
        self.assert_reported("http_long")
        self.assertRegex(self.reasons()[0], r"^skein: warn\w*: kernel path \(http\): off: ")
        self.skein.stop()

    def test_whole_path(self):
        self.spawn("kernel", "auto").start()
        self.assertEqual(self.serve(), {"web": (0, 2 * ROUNDS), "cache": (0, 4 * ROUNDS)})
        self.assertEqual(self.available(), [0, 0])
        self.assert_reported("insert")
        self.assertRegex(self.reasons()[0], r"^skein: warn\w*: kernel path: off: ")
        self.skein.stop()

    def test_on_is_refused(self):
        for fault, protocols, culprit in (("kernel", ("http",), "insert"),
                                          ("redis", ("http", "redis"), "redis_command"),
                                          ("http", ("http",), "http_long")):
            with self.subTest(fault=fault):
                self.spawn(fault, "on", protocols)
                self.assert_refused(culprit)
                self.skein.cleanup()

    def test_on_without_what_is_off(self):
        """A protocol that no listener speaks is no reason to refuse."""
        self.spawn("redis", "on", ("http",)).start()
        with Client(self.skein.address) as client:
            for number in range(ROUNDS):
                self.assertEqual(client.get(f"/x{number}").body, b"origin /x%d" % number)
        self.assertGreater(self.skein.messages(listener="web", path="kernel"), 0)
        self.assert_reported("redis_command")
        self.skein.stop()


if __name__ == "__main__":
    harness.main()
