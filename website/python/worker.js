// Python in a worker. It starts from a memory image (snapshot.mjs), so that no module is imported or compiled here.
// Served by http, it reads its files beside it. From file:// no page may read files; ask.js hands them over as base64.

const NO_FILES = Uint8Array.from([80, 75, 5, 6, ...new Array(18).fill(0)]); // an empty zip: all modules are in memory

let handedOver = null;

function decoded(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function stream(name) {
    if (handedOver) return new Blob([decoded(handedOver[name])]).stream();
    const response = await fetch(new URL(name, self.location));
    if (!response.ok) throw new Error(`${name} cannot be read (status ${response.status})`);
    return response.body;
}

async function unpacked(name) {
    return new Response((await stream(name)).pipeThrough(new DecompressionStream("gzip")), {
        headers: { "Content-Type": "application/wasm" },
    });
}

function script(name) {
    if (!handedOver) return import(new URL(name, self.location));
    return import(URL.createObjectURL(new Blob([decoded(handedOver[name])], { type: "text/javascript" })));
}

async function start() {
    const memory = unpacked("memory.packed").then((response) => response.arrayBuffer());
    const program = unpacked("pyodide.asm.wasm.packed");
    const lock = script("pyodide-lock.mjs");
    const [{ loadPyodide }, { default: createPyodideModule }] = await Promise.all([
        script("pyodide.mjs"),
        script("pyodide.asm.mjs"),
    ]);
    // Pyodide asks for these two by address; they are here already, and nothing else may be asked for.
    self.fetch = async (address) => {
        if (String(address).endsWith("/pyodide.asm.wasm")) return program;
        if (String(address).endsWith("/python_stdlib.zip")) return new Response(NO_FILES);
        throw new Error(`Python asked for ${address}`);
    };
    const nowhere = "https://hearth.invalid/";
    const python = await loadPyodide({
        _loadSnapshot: memory.then((bytes) => new Uint8Array(bytes)),
        createPyodideModule,
        indexURL: nowhere,
        lockFileContents: (await lock).default,
        packageBaseUrl: nowhere,
    });
    return python.pyimport("website.python.calls").call;
}

let started = null;

self.onmessage = async ({ data }) => {
    if (data.files) handedOver = data.files;
    const { id, name, argument } = data;
    if (id === undefined) return;
    started ??= start();
    try {
        const call = await started;
        self.postMessage({ id, result: JSON.parse(call(name, JSON.stringify(argument ?? null))) });
    } catch (error) {
        self.postMessage({ id, error: String(error.message ?? error) });
    }
};
