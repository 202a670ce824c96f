// node's http client with a keepalive agent: `app_client.js URL`. Every body is compared.
"use strict";
const crypto = require("crypto");
const http = require("http");

const url = process.argv[2];
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const SIZES = [0, 1, 100, 3000, 20000, 70000];

function digest(data) {
    return crypto.createHash("sha256").update(data).digest("hex");
}

// One request; `send` writes its body. Resolves with the response's body.
function ask(method, path, headers, send) {
    return new Promise((resolve, reject) => {
        const request = http.request(url + path, { method, headers, agent }, (response) => {
            const pieces = [];
            response.on("data", (piece) => pieces.push(piece));
            response.on("error", reject);
            response.on("end", () => {
                const body = Buffer.concat(pieces);
                if (response.statusCode !== 200 || !response.complete)
                    reject(new Error(`${path}: ${response.statusCode}, complete: ${response.complete}`));
                else if (digest(body) !== response.headers["x-digest"])
                    reject(new Error(`${path}: ${body.length} wrong bytes`));
                else
                    resolve(body);
            });
        });
        request.on("error", reject);
        send(request);
    });
}

async function get(path) {
    return ask("GET", path, {}, (request) => request.end());
}

async function post(body, headers, send) {
    const answer = (await ask("POST", "/digest", headers, send)).toString();
    if (answer !== digest(body))
        throw new Error(`${body.length} bytes arrived wrong`);
}

// In writes of 7000 bytes, the next when the one before has left: chunked.
function stream(request, body, at = 0) {
    if (at >= body.length)
        request.end();
    else
        request.write(body.subarray(at, at + 7000), () => stream(request, body, at + 7000));
}

async function work(worker) {
    for (let turn = 0; turn < 10; turn++) {
        for (const size of SIZES)
            await get(`/bytes?size=${size}&seed=${worker * 100 + turn}`);
        await get(`/chunked?size=100000&step=5000&seed=${turn}`);
        const body = crypto.randomBytes(1000 + turn * 40000);
        await post(body, { "Content-Length": body.length }, (request) => request.end(body));
        await post(body, {}, (request) => stream(request, body));
    }
}

Promise.all([0, 1, 2, 3, 4, 5].map(work)).then(() => {
    agent.destroy();
    console.log("done");
}, (error) => {
    console.error(error);
    process.exit(1);
});
