// An HTTP server as applications have one, for test_mix.py: node's own, with its defaults.
//
//   GET /bytes?size=N            N random bytes with a Content-Length
//   GET /chunked?size=N&step=T   the same in writes of T bytes: chunked
//   anything else                the SHA-256 of the request's body
//
// X-Digest is the SHA-256 of the response's body.
"use strict";
const crypto = require("crypto");
const http = require("http");

const server = http.createServer((request, response) => {
    const url = new URL(request.url, "http://h/");
    const number = (name) => Number(url.searchParams.get(name));
    const hash = crypto.createHash("sha256");
    request.on("data", (data) => hash.update(data));
    request.on("end", () => {
        const random = url.pathname === "/bytes" || url.pathname === "/chunked";
        const body = random ? crypto.randomBytes(number("size")) : Buffer.from(hash.digest("hex"));
        response.setHeader("X-Digest", crypto.createHash("sha256").update(body).digest("hex"));
        if (url.pathname !== "/chunked") {
            response.setHeader("Content-Length", body.length);
            response.end(body);
            return;
        }
        for (let at = 0, step = number("step"); at < body.length; at += step)
            response.write(body.subarray(at, at + step));
        response.end();
    });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
