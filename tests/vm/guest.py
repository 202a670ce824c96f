"""The first process of a guest: mounts what tests look at, and runs the tests that it is told to.

On the second serial port the host sends a test's name on a line, and gets lines of JSON. The
tests are in /tests.json: {name: {"command", "environment", "cwd", "timeout"}}.
"""
import ctypes
import json
import os
import resource
import signal
import subprocess
import time
import tty

MOUNTS = (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("devpts", "/dev/pts"), ("tmpfs", "/dev/shm"),
          ("tmpfs", "/run"), ("cgroup2", "/sys/fs/cgroup"), ("bpf", "/sys/fs/bpf"))
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
OPEN_FILES = 1 << 16
OUTPUT_MAX = 100000
_libc = ctypes.CDLL(None, use_errno=True)


def mount_all():
    for kind, where in MOUNTS:
        os.makedirs(where, exist_ok=True)
        if _libc.mount(b"none", where.encode(), kind.encode(), 0, None):
            raise OSError(ctypes.get_errno(), f"mounting {where}")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")
    os.symlink("/proc/self/fd", "/dev/fd")


def run(test):
    """Runs a test in a session of its own. Returns its status (None: too slow) and output."""
    log = "/run/output"
    with open(log, "wb") as out:
        process = subprocess.Popen(test["command"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env={**ENVIRONMENT, **test["environment"]}, start_new_session=True,
                                   cwd=test["cwd"])
        try:
            status = process.wait(test["timeout"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
    with open(log, errors="replace") as file:
        text = file.read()
    if len(text) > OUTPUT_MAX:
        text = text[:OUTPUT_MAX // 2] + "\n[...]\n" + text[-OUTPUT_MAX // 2:]
    return status, text


def main():
    mount_all()
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, env=ENVIRONMENT)
    with open("/tests.json") as file:
        tests = json.load(file)
    with open("/dev/ttyS1", "rb", buffering=0) as orders, open("/dev/ttyS1", "w", buffering=1) as reports:
        tty.setraw(orders)

        def report(**fields):
            reports.write(json.dumps(fields) + "\n")
        report(kernel=os.uname().release, version=os.uname().version)
        while name := orders.readline().decode().strip():
            begin = time.monotonic()
            status, output = run(tests[name])
            report(test=name, status=status, seconds=round(time.monotonic() - begin, 2), output=output)


# The first process must neither end nor leave the processes that are orphaned to it unburied.
runner = os.fork()
if runner == 0:
    main()
else:
    while os.wait()[0] != runner:
        pass
    with open("/proc/sysrq-trigger", "w") as trigger:
        trigger.write("o")
    signal.pause()
