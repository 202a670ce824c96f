"""Guests: qemu processes that run tests one after the other."""
import json
import subprocess
import threading
import time

# Hardware virtualization is not asked for: where a guest is offered it, it may hang. The checks that
# the kernel makes of its timer and its processors fail when the host has other things to do.
QEMU = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3G",
        "-display", "none", "-nodefaults", "-no-reboot", "-nic", "none",
        "-append", "console=ttyS0 panic=-1 no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 rdinit=/init"]


class Guest:
    """A virtual machine with its console in a file, and the tests' orders and reports by line."""

    def __init__(self, kernel, image, console):
        self.console = console
        self.process = subprocess.Popen(
            [*QEMU, "-kernel", kernel, "-initrd", image, "-serial", f"file:{console}", "-serial", "stdio"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)

    def report(self):
        """The next line of the guest's, None when it has ended."""
        for line in self.process.stdout:
            try:
                return json.loads(line)
            except ValueError:
                print(line.decode(errors="replace"), end="")  # qemu's own
        return None

    def run(self, name):
        """The report of a test, None if the guest has ended."""
        try:
            self.process.stdin.write(name.encode() + b"\n")
        except BrokenPipeError:
            return None
        return self.report()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def kernel_log(self):
        with open(self.console, errors="replace") as file:
            return file.read()


class Guests:
    """Runs tests on several guests at once, for at most `limit` seconds altogether."""

    def __init__(self, kernel, image, count, limit):
        self.lock = threading.Lock()
        self.begin = time.monotonic()
        self.guests = [Guest(kernel, image, f"{image}.console{number}") for number in range(count)]
        self.timer = threading.Timer(limit, self.end)
        self.timer.start()

    def end(self):
        self.timer.cancel()
        for guest in self.guests:
            if guest.process.poll() is None:
                guest.process.kill()

    def _work(self, guest, waiting, on_report):
        report = guest.report()
        while report:
            with self.lock:
                on_report(report)
                name = waiting.pop(0) if waiting else None
            report = guest.run(name) if name else None

    def run(self, names, on_report):
        """Calls on_report with each guest's greeting and each test's report, one at a time."""
        waiting = list(names)
        threads = [threading.Thread(target=self._work, args=(guest, waiting, on_report)) for guest in self.guests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.end()
        for guest in self.guests:
            guest.end()
