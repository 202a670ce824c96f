"""Redis with `kernel: auto` and the bypass: which of the two serves local clients depends on what they do."""
import os
import time

import harness
from redis_harness import RedisTest, wait_for
from redis_wire import pipeline

CLIENTS, DEPTH = 60, 16  # more commands at once than are better off on the bypass path
SOME = 20                # fewer
TICK = 0.2               # how often skein counts them, s


class PathsTest(RedisTest):
    paths = ()
    extra = {"datapath": {"kernel": "auto"}}
    oracle = False

    def setUp(self):
        super().setUp()
        self.peers = [self.connect() for _ in range(CLIENTS)]
        for number, client in enumerate(self.peers):
            client.expect_ok("SET", f"key:{number}", f"value {number}")

    def round(self, clients, depth):
        """All of them ask before any of them reads. What part of the messages the bypass carried."""
        before = self.carried_by_kernel(), self.skein.messages(path="userspace")
        for number, client in enumerate(clients):
            client.send(pipeline([("GET", f"key:{number}")] * depth))
        for number, client in enumerate(clients):
            for reply in client.read_many(depth):
                self.assertEqual(reply.value, b"value %d" % number)
        by_bypass = self.carried_by_kernel() - before[0]
        by_userspace = self.skein.messages(path="userspace") - before[1]
        self.assertEqual(by_bypass + by_userspace, 2 * depth * len(clients))
        return by_bypass / (by_bypass + by_userspace)

    def settle(self, clients, depth, part):
        wait_for(lambda: self.round(clients, depth) == part, f"{len(clients)} clients with {depth} commands at once: "
                 f"{part:.0%} on the bypass path", harness.DEADLINE * 2)

    def policies(self):
        """Scheduling policies of skein's threads, one of which is the worker."""
        pid = self.skein.process.pid
        return {os.sched_getscheduler(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")}

    def wait_for_policies(self, *policies):
        wait_for(lambda: self.policies() == set(policies), f"the threads' policies to be {policies}")


class AutoTest(PathsTest):
    paths = ("bypass",)

    def test_deep_pipelines(self):
        self.settle(self.peers, 1, 1)
        self.wait_for_policies(os.SCHED_OTHER)
        wait_for(lambda: self.round(self.peers, DEPTH) == 0 and self.policies() == {os.SCHED_OTHER, os.SCHED_BATCH},
                 "userspace to serve deep pipelines, by a worker that does not interrupt", harness.DEADLINE * 2)
        for _ in range(50):
            self.assertEqual(self.round(self.peers, DEPTH), 0)
        self.assertGreater(self.skein.metric("skein_redis_kept_total", listener="cache"), 0)
        self.settle(self.peers, 1, 1)
        self.wait_for_policies(os.SCHED_OTHER)
        self.settle(self.peers[:SOME], DEPTH, 1)

    def test_deep_pipelines_from_the_first_command_on(self):
        rounds, parts = 20, []
        for _ in range(3):  # The time in which they are counted may end between two of them.
            fresh = [self.connect() for _ in range(CLIENTS)]
            parts.append(sum(self.round(fresh, DEPTH) for _ in range(rounds)) / rounds)
            if parts[-1] <= 2 / rounds:
                return
            self.settle(self.peers, 1, 1)
        self.fail(f"the bypass path carried {parts} of the messages, {2 / rounds} is what may pass until clients "
                  "are taken back")

    def test_one_after_the_other(self):
        """They have many commands together, but never at once."""
        self.settle(self.peers[:SOME], DEPTH, 1)
        self.wait_for_policies(os.SCHED_OTHER)
        for _ in range(4 * CLIENTS):
            client = self.connect()
            client.send(pipeline([("GET", "key:0")] * DEPTH))
            client.read_many(DEPTH)
            client.close()
            self.assertEqual(self.policies(), {os.SCHED_OTHER})
        self.settle(self.peers[:SOME], DEPTH, 1)


class ExceptedTest(PathsTest):
    """Clients that the bypass path does not serve do not count for what it is better at."""

    paths = ("bypass",)
    extra = {"datapath": {"kernel": "auto"}, "bypass": {"except": {"listeners": ["cache"]}}}

    def test_deep_pipelines(self):
        end = time.monotonic() + 3 * TICK
        while time.monotonic() < end:
            self.assertEqual(self.round(self.peers, DEPTH), 0)
            self.assertEqual(self.policies(), {os.SCHED_OTHER})


if __name__ == "__main__":
    harness.main()
