"""The guest's file system: an initramfs of files of this host, at the same paths.

A program brings the shared libraries that it is linked to, Python its standard library. So the
guest runs what the host has built and installed, only on another kernel.
"""
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig

FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "etc", "var/log", "var/lib", "var/tmp")
# What no test imports, and most of the standard library's size.
UNUSED = re.compile(r"(test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data|distutils|"
                    r"site-packages|dist-packages|config-.*)\Z")
ETC = {
    "passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n",
    "group": "root:x:0:\nnogroup:x:65534:\nwww-data:x:33:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


def libraries(program):
    """The shared libraries that a program or library is loaded with; none for a script."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"(?:=> |^\s+)(/\S+) \(0x", text, re.M)


class Image:
    """Files by their path in the guest; write() makes the archive."""

    def __init__(self):
        self.entries = {}  # guest path -> host path, bytes, ("link", target) or None for a folder
        for folder in FOLDERS:
            self.folder("/" + folder)
        for name, text in ETC.items():
            self.entries["/etc/" + name] = text.encode()
        for path in ("/bin", "/sbin", "/lib", "/lib64"):
            if os.path.islink(path):  # a merged /usr
                self.entries[path] = ("link", os.readlink(path))

    def folder(self, path):
        while path != "/":
            self.entries.setdefault(path, None)
            path = os.path.dirname(path)

    def file(self, path):
        """Adds a file, in the folder where it really is; if it is a symbolic link, what that means too."""
        folder = os.path.realpath(os.path.dirname(path))
        path = os.path.join(folder, os.path.basename(path))
        self.folder(folder)
        self.entries[path] = path
        if os.path.islink(path):
            target = os.path.realpath(path)
            self.entries[path] = ("link", target)
            self.folder(os.path.dirname(target))
            self.entries[target] = target

    def program(self, path):
        if os.path.realpath(path) in self.entries:
            return
        self.file(path)
        for library in libraries(path):
            self.file(library)
        with open(path, "rb") as file:
            first = file.readline(200)
        if first.startswith(b"#!"):
            self.program(first[2:].split()[0].decode())

    def command(self, name):
        """Adds a program by name. Returns whether the host has it."""
        path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if path:
            self.program(path)
            # The guest's PATH is short.
            if os.path.dirname(path) not in ("/bin", "/sbin", "/usr/bin", "/usr/sbin"):
                self.entries["/usr/bin/" + name] = ("link", os.path.realpath(path))
        return path is not None

    def tree(self, top, keep=lambda name: True):
        for folder, subfolders, names in os.walk(top):
            subfolders[:] = [name for name in subfolders if keep(name)]
            self.folder(folder)
            for name in filter(keep, names):
                path = os.path.join(folder, name)
                if name.endswith(".so"):
                    self.program(path)
                elif os.path.isfile(path):
                    self.file(path)

    def python(self):
        """The interpreter that runs this, with its standard library. Returns its path."""
        interpreter = os.path.realpath(sys.executable)
        self.program(interpreter)
        paths = sysconfig.get_paths()
        for top in {paths["stdlib"], paths["platstdlib"], sysconfig.get_config_var("DESTSHARED")}:
            self.tree(top, lambda name: not UNUSED.match(name))
        self.entries["/usr/bin/python3"] = ("link", interpreter)
        return interpreter

    def size(self):
        return sum(os.path.getsize(content) for content in self.entries.values()
                   if isinstance(content, str))

    def write(self, path):
        """The archive in cpio's "newc" format (kernel: Documentation/driver-api/early-userspace/
        buffer-format.rst); parents come before what they hold."""
        with open(path, "wb") as out:
            for number, name in enumerate(sorted(self.entries)):
                self._entry(out, number + 1, name, self.entries[name])
            _member(out, 0, "TRAILER!!!", 0, 0, b"")

    @staticmethod
    def _entry(out, number, name, content):
        if content is None:
            mode = 0o1777 if name in ("/tmp", "/var/tmp") else 0o755
            _member(out, number, name[1:], stat.S_IFDIR | mode, 0, b"")
        elif isinstance(content, tuple):
            _member(out, number, name[1:], stat.S_IFLNK | 0o777, 0, content[1].encode())
        elif isinstance(content, bytes):
            _member(out, number, name[1:], stat.S_IFREG | 0o755, 0, content)
        else:
            status = os.stat(content)
            with open(content, "rb") as file:
                # Compiled Python is valid for a source of this very time.
                _member(out, number, name[1:], status.st_mode, int(status.st_mtime), file.read())


def _member(out, number, name, mode, mtime, data):
    fields = (number, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    for part in (head, data):
        out.write(part + b"\0" * (-len(part) % 4))
