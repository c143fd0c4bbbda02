// The text of a file that somebody chooses or drops: UTF-8, or UTF-16 as PowerShell writes it with >.
"use strict";

globalThis.hearthTextFile = (() => {
    const MOST = 1 << 20; // bytes that are read, from the end of a file

    function coding([first, second]) {
        if (first === 0xff && second === 0xfe) return "utf-16le";
        return first === 0xfe && second === 0xff ? "utf-16be" : "";
    }

    async function content(part, name) {
        try {
            return new Uint8Array(await part.arrayBuffer());
        } catch {
            throw new Error(`${name} cannot be read: it may be a folder.`);
        }
    }

    // Rejects with an Error whose message is one sentence, where there is no text.
    async function read(file) {
        const unicode = coding(await content(file.slice(0, 2), file.name));
        const cut = Math.max(0, file.size - MOST);
        const bytes = await content(file.slice(cut - (cut % 2)), file.name);
        if (!file.size || (!unicode && bytes.includes(0))) {
            throw new Error(`${file.name} is ${file.size ? "binary, not a text" : "empty"}.`);
        }
        return new TextDecoder(unicode || "utf-8").decode(bytes);
    }

    return { MOST, read };
})();
