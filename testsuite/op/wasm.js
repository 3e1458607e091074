// SPDX-License-Identifier: Apache-2.0
// Runs net_run of a WebAssembly module on the inputs that wasm.py wrote, and says whether the outputs are the same:
// node wasm.js NET.wasm CASE.js ARENA_SIZE
const fs = require('fs');
const data = require(require('path').resolve(process.argv[3]));
const env = {
    memcpy(to, from, n) { bytes().copyWithin(to, from, from + n); return to; },
    memset(to, x, n) { bytes().fill(x, to, to + n); return to; },
    memmove(to, from, n) { bytes().copyWithin(to, from, from + n); return to; },
};
let net;
const bytes = () => new Uint8Array(net.memory.buffer);
WebAssembly.instantiate(fs.readFileSync(process.argv[2]), { env }).then(({ instance }) => {
    net = instance.exports;
    let end = net.__heap_base.value;
    const place = (n) => {
        const at = (end + 63) & ~63;
        end = at + n;
        return at;
    };
    const inputs = data.input.map((x) => Buffer.from(x, 'base64')), outputs = data.output.map((x) => Buffer.from(x, 'base64'));
    const from = inputs.map((x) => place(x.length)), to = outputs.map((x) => place(x.length)), arena = place(+process.argv[4]);
    net.memory.grow(Math.ceil(end / 65536));
    inputs.forEach((x, i) => bytes().set(x, from[i]));
    if (net.net_run(...from, ...to, arena) !== 0)
        throw new Error('net_run failed');
    const wrong = outputs.findIndex((x, i) => x.compare(bytes().subarray(to[i], to[i] + x.length)) !== 0);
    console.log(wrong < 0 ? 'PASS' : `FAIL: output ${wrong}`);
    process.exitCode = wrong < 0 ? 0 : 1;
});
