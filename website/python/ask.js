// Asks Python: hearthAsk("website.python.answers:answer", {gpus: "5090"}) gives a Promise of what the function returns.
// A classic script, since a browser loads no modules from file://; client.js is the same as a module.
"use strict";

(() => {
    const own = document.currentScript?.src;
    const waiting = new Map();
    let worker = null;
    let last = 0;

    function base() {
        return globalThis.hearthPythonBase ?? new URL(".", own).href;
    }

    function received({ data }) {
        const { resolve, reject } = waiting.get(data.id);
        waiting.delete(data.id);
        if ("error" in data) reject(new Error(data.error));
        else resolve(data.result);
    }

    function failed(event) {
        for (const { reject } of waiting.values()) {
            reject(new Error(event.message || "this browser cannot start Python (a module worker is needed)"));
        }
        waiting.clear();
    }

    function script(address) {
        return new Promise((resolve, reject) => {
            const element = document.createElement("script");
            element.src = address;
            element.onload = resolve;
            element.onerror = () => reject(new Error(`${address} cannot be read`));
            document.head.append(element);
        });
    }

    async function started() {
        let made;
        if (location.protocol === "file:") {
            await script(`${base()}offline.js`);
            const files = globalThis.hearthFiles;
            made = new Worker(`data:text/javascript;base64,${files["worker.js"]}`, { type: "module" });
            made.postMessage({ files });
            delete globalThis.hearthFiles;
        } else {
            made = new Worker(`${base()}worker.js`, { type: "module" });
        }
        made.onmessage = received;
        made.onerror = failed;
        return made;
    }

    globalThis.hearthAsk = async (name, argument) => {
        worker ??= started();
        const ready = await worker;
        last += 1;
        const id = last;
        return new Promise((resolve, reject) => {
            waiting.set(id, { resolve, reject });
            ready.postMessage({ id, name, argument });
        });
    };
})();
