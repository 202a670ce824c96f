"""The guest's kernel: Debian's cloud kernel, taken out of its package without installing it."""
import glob
import io
import os
import re
import subprocess
import tarfile
import tempfile

META = "linux-image-cloud-amd64"
IMPATIENT = ["-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1"]


class Missing(Exception):
    """What the tests need is not to be had here."""


def _package():
    """The package that the distribution's current cloud kernel is in, None if apt knows none."""
    try:
        text = subprocess.run(["apt-cache", "depends", META], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return None
    names = re.findall(r"Depends: (linux-image-\S+-cloud-amd64)", text)
    return names[0] if names else None


def _unpack(archive, folder):
    """The kernel image out of a package, by its version; all of it or nothing."""
    listing = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(listing)) as members:
        for member in members:
            place = re.fullmatch(r"\./boot/vmlinuz-(.+)|\./usr/lib/modules/(.+)/vmlinuz", member.name)
            if not place:
                continue
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                image = os.path.join(scratch, f"vmlinuz-{place[1] or place[2]}")
                with open(image, "wb") as file:
                    file.write(members.extractfile(member).read())
                os.replace(image, os.path.join(folder, os.path.basename(image)))
            return
    raise Missing(f"no kernel in {archive}")


def _cached(folder):
    def version(path):
        return [int(number) for number in re.findall(r"\d+", os.path.basename(path))]
    return sorted(glob.glob(os.path.join(folder, "vmlinuz-*")), key=version)


def find(folder, wanted=None):
    """The path of a kernel image.

    wanted: an image or a Debian package with one; without it, the one that the distribution's
    cloud kernel is at present: from `folder`, or downloaded to there. If it can not be had, the
    newest one there."""
    os.makedirs(folder, exist_ok=True)
    if wanted and not wanted.endswith(".deb"):
        return wanted
    if wanted:
        folder = os.path.join(folder, os.path.basename(wanted)[:-4])
        os.makedirs(folder, exist_ok=True)
        _unpack(wanted, folder)
        return _cached(folder)[-1]
    package = _package()
    if package:
        image = os.path.join(folder, package.replace("linux-image", "vmlinuz"))
        if os.path.exists(image):
            return image
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            result = subprocess.run(["apt-get", "-qq", *IMPATIENT, "download", package], cwd=scratch,
                                    capture_output=True, text=True)
            for archive in glob.glob(os.path.join(scratch, "*.deb")) if result.returncode == 0 else ():
                _unpack(archive, folder)
        if os.path.exists(image):
            return image
        why = f"{package} can not be downloaded: {result.stderr.strip()}"
    else:
        why = f"apt knows no {META}"
    if not _cached(folder):
        raise Missing(why)
    print(f"{why}; an older one is used")
    return _cached(folder)[-1]
