"""A real nginx as origin, from the distribution's package."""
import os
import shutil
import signal
import subprocess

from process import free_port, temp_dir, wait_for
from wire import Client

CONF = """
daemon off;
{user}
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    log_not_found off;
    keepalive_timeout 300s;
    keepalive_requests 10000000;
    client_max_body_size 64m;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    {more}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {dir}/root;
        location /dav/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
        location = /hello {{ default_type text/plain; return 200 "hello\\n"; }}
        location = /nothing {{ return 204; }}
        location = /chunked {{ gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;
                               try_files /small =404; }}
    }}
}}
"""


class Nginx:
    """start() returns when it answers; files are put into its root with put().
    `more` is added to the configuration of http."""

    def __init__(self, more=""):
        self.more = more
        self.dir = temp_dir()
        self.address = ("127.0.0.1", free_port())
        os.mkdir(os.path.join(self.dir, "root"))
        os.chmod(self.dir, 0o777)

    @staticmethod
    def available():
        return shutil.which("nginx") is not None

    def put(self, name, data):
        with open(os.path.join(self.dir, "root", name), "wb") as file:
            file.write(data)

    def start(self):
        user = "user root;" if os.geteuid() == 0 else ""
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w") as file:
            file.write(CONF.format(dir=self.dir, port=self.address[1], user=user, more=self.more))
        self.process = subprocess.Popen(["nginx", "-c", conf, "-e", f"{self.dir}/error.log"],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.process.poll() is not None or self.answers(), "nginx answers")
        if self.process.poll() is not None:
            raise AssertionError(f"nginx exited:\n{self.errors()}")
        return self

    def answers(self):
        try:
            with Client(self.address) as client:
                return client.get("/hello").status == 200
        except Exception:  # noqa: not up yet
            return False

    def errors(self):
        try:
            with open(os.path.join(self.dir, "error.log")) as file:
                return file.read()
        except OSError:
            return ""

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
