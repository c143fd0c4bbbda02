// Explains a text that somebody pastes or drops: explain_answers.py answers, which runs in this browser.
"use strict";

(() => {
    const { MOST, read } = globalThis.hearthTextFile;
    const SHOWN = 300; // characters of a line
    const PAUSE = 400; // milliseconds without a key before a text is explained
    const text = document.getElementById("text");
    const state = document.getElementById("status");
    const problem = document.getElementById("problem");
    const found = document.getElementById("found");
    let asked = 0;
    let timer = 0;

    function made(tag, content, name = "") {
        const element = document.createElement(tag);
        element.textContent = content;
        if (name) element.className = name;
        return element;
    }

    function command({ where, run }) {
        const block = document.createElement("div");
        if (where) block.append(made("p", where));
        block.append(made("pre", run));
        return block;
    }

    function article({ name, line, cause, commands, unknown }) {
        const block = document.createElement("article");
        const [first, ...others] = [...commands].sort((a, b) => Boolean(a.where) - Boolean(b.where));
        block.append(made("h3", name), made("p", cause));
        const seen = line.length > SHOWN ? `${line.slice(0, SHOWN)}...` : line;
        if (seen && seen !== cause) block.append(made("p", `Seen: ${seen}`, "seen"));
        block.append(command(first));
        if (others.length) {
            const more = document.createElement("details");
            more.append(made("summary", "On other engines and systems"), ...others.map(command));
            block.append(more);
        }
        const words = unknown.filter((word) => commands.some(({ run }) => run.includes(word)));
        if (words.length) block.append(made("p", `Replace ${words.join(", ")}: the text does not say what it is.`));
        return block;
    }

    function nothing(known) {
        const block = document.createElement("article");
        block.append(
            made("p", "If the cause stands further up, paste more of the text. The doctor of a project looks at its machine:"),
            made("pre", "./docker-amd64/template.sh doctor"),
        );
        const link = made("a", `all ${known} failures`);
        link.href = "../troubleshoot.html";
        const table = made("p", "Or look through ");
        table.append(link, ".");
        block.append(table);
        return block;
    }

    async function explain() {
        clearTimeout(timer);
        problem.textContent = "";
        asked += 1;
        const mine = asked;
        if (!text.value.trim()) {
            state.textContent = "No text yet.";
            found.replaceChildren();
            return;
        }
        state.textContent = "Reading the text ...";
        try {
            const answer = await globalThis.hearthAsk("website.python.explain_answers:explained", text.value.slice(-MOST));
            if (mine !== asked) return; // the text is another one by now
            const number = answer.found.length;
            found.replaceChildren(...(number ? answer.found.map(article) : [nothing(answer.known)]));
            state.textContent = number
                ? `${number} ${number === 1 ? "failure is" : "failures are"} known, the likeliest cause first.`
                : "No known failure fits this text.";
        } catch (error) {
            if (mine !== asked) return;
            found.replaceChildren();
            state.textContent = "";
            problem.textContent = `The text could not be read: ${error.message}.`;
        }
    }

    async function take(file) {
        try {
            text.value = await read(file);
        } catch (error) {
            problem.textContent = error.message;
            return;
        }
        await explain();
        if (file.size > MOST) state.textContent += ` Only the last megabyte of ${file.name} was read.`;
    }

    document.getElementById("form").addEventListener("submit", (event) => {
        event.preventDefault();
        explain();
    });
    text.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(explain, PAUSE);
    });
    document.getElementById("file").addEventListener("change", ({ target }) => {
        if (target.files.length) take(target.files[0]);
        target.value = ""; // the same file can be chosen again
    });
    for (const [name, on] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
        document.addEventListener(name, (event) => {
            if (!event.dataTransfer?.types.includes("Files")) return;
            event.preventDefault();
            document.body.classList.toggle("dropping", on);
            if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
        });
    }
    if (text.value) explain(); // kept by the browser over a reload
})();
