// The page: what is typed and chosen becomes a question to Python, and its answer is shown. No rule is here.
"use strict";

(() => {
    const { element, setText, showQuestions, showChanges, showServices, showFindings } = globalThis.hearthLists;
    const byId = (id) => document.getElementById(id);
    const build = globalThis.hearthBuild ?? { gpus: [], drivers: [], first: null, kilobytes: {}, tables: "" };
    const FIELDS = ["gpus", "driver", "folder"];
    const LINK = { gpus: "gpu", driver: "driver", folder: "folder" };

    const state = { gpus: "", driver: "", folder: "", elsewhere: false, answers: {}, facts: null };
    // For whoever measures: milliseconds from navigation to the first answer, and of each later one.
    const times = (globalThis.hearthTimes = { first: null, python: null, answers: [], more: [], settled: false });
    let asked = 0;
    let marks = {};
    let shown = null;

    // THE LINK

    function readLink() {
        const parts = new URLSearchParams(location.hash.slice(1));
        for (const field of FIELDS) {
            state[field] = parts.get(LINK[field]) ?? "";
            parts.delete(LINK[field]);
        }
        state.elsewhere = parts.get("elsewhere") === "yes";
        parts.delete("elsewhere");
        byId("elsewhere").checked = state.elsewhere;
        state.answers = Object.fromEntries(parts);
        state.facts = null;
        for (const field of FIELDS) byId(field).value = state[field];
    }

    function writeLink() {
        const parts = new URLSearchParams();
        for (const field of FIELDS) if (state[field].trim()) parts.set(LINK[field], state[field].trim());
        if (state.elsewhere) parts.set("elsewhere", "yes");
        for (const [name, value] of Object.entries(state.answers)) parts.set(name, value);
        const link = `#${parts}`;
        if (location.hash !== link) history.replaceState(null, "", link === "#" ? location.pathname : link);
    }

    // THE ANSWER

    function show(answer) {
        shown = answer;
        for (const field of ["gpus", "driver"]) {
            const own = answer.field === field ? answer.refused : "";
            setText(byId(`${field}-error`), own);
            byId(field).setAttribute("aria-invalid", String(Boolean(own)));
        }
        setText(byId("file-error"), answer.field === "link" ? `The link says: ${answer.refused}` : "");
        byId("could-be").replaceChildren(...(answer.could_be ?? []).map((name) => {
            const button = element("button", { type: "button", textContent: name });
            button.addEventListener("click", () => {
                byId("gpus").value = name;
                typed("gpus");
                byId("driver").focus();
            });
            return button;
        }));
        if (!answer.questions) return;
        const result = byId("result");
        result.dataset.verdict = answer.verdict;
        result.classList.remove("waiting");
        const layer = answer.layer ? ` (${answer.layer})` : "";
        const sign = { works: "✓ ", fails: "✗ ", unknown: "? " }[answer.verdict.split("_")[0]] ?? "";
        setText(byId("verdict"), `${sign}${answer.word}${layer}`);
        setText(byId("what"), [answer.what, answer.machine].filter(Boolean).join(" on "));
        setText(byId("why"), answer.why);
        setText(byId("instead"), answer.instead);
        byId("notes").replaceChildren(...answer.notes.map((note) => element("li", { textContent: note })));
        setText(byId("command"), answer.command);
        setText(byId("problem"), answer.problem);
        setText(byId("plain"), answer.plain.join("\n"));
        setText(byId("plain-note"), answer.plain_note);
        setText(byId("folder-error"), answer.project_refused);
        byId("copy").hidden = !answer.command;
        showQuestions(answer.questions, marks, choose);
    }

    function showMore(more) {
        marks = more.marks;
        showQuestions(shown.questions, marks, choose);
        showChanges(more.changes, take);
        showServices(more.services, take);
    }

    function status(text) {
        const kilobytes = location.protocol === "file:" ? build.kilobytes.file : build.kilobytes.web;
        const size = kilobytes ? `${(kilobytes / 1000).toFixed(1)} MB (${kilobytes} kB)` : "its files";
        setText(byId("loaded"), `${text} The page loads Python and the tables of ${build.tables}: ${size}, from here`
            + " only. Nothing that you type or drop leaves this browser.");
    }

    async function ask() {
        asked += 1;
        const mine = asked;
        times.settled = false;
        const began = performance.now();
        writeLink();
        try {
            const answer = await globalThis.hearthAsk("website.python.answers:answer", state);
            if (mine !== asked) return;
            show(answer);
            const now = performance.now();
            times.first ??= now;
            if (times.python === null) times.python = now;
            else times.answers.push(now - began);
            status(`Answered in ${Math.round(now - began)} ms.`);
            const more = await globalThis.hearthAsk("website.python.answers:more", state);
            if (mine !== asked) return;
            if (shown.questions) showMore(more);
            times.more.push(performance.now() - began);
            times.settled = true;
        } catch (error) {
            byId("result").classList.remove("waiting");
            setText(byId("verdict"), "Python does not run in this browser");
            setText(byId("why"), `${error.message}. On a terminal, hearth match gives the same answers.`);
        }
    }

    // WHAT PEOPLE DO

    function typed(field) {
        state[field] = byId(field).value;
        if (field !== "folder") forgetFile();
        ask();
    }

    function choose(name, value) {
        if (value === "") delete state.answers[name];
        else state.answers[name] = value;
        ask();
    }

    function take(answers, driver) {
        Object.assign(state.answers, answers);
        if (driver) {
            state.driver = driver;
            byId("driver").value = driver;
        }
        ask();
        byId("command").focus();
    }

    function forgetFile() {
        state.facts = null;
        byId("host").hidden = true;
    }

    async function open(text, name) {
        byId("doctor").hidden = true;
        let found;
        try {
            found = await globalThis.hearthAsk("website.python.answers:opened", text);
        } catch (error) {
            found = { kind: "nothing", refused: `${error.message}.` };
        }
        setText(byId("file-error"), found.refused ?? "");
        if (found.kind === "doctor") {
            showFindings(found.findings);
            byId("doctor-title").focus();
        }
        if (found.kind !== "host" && found.kind !== "names") return;
        state.facts = found.facts ?? null;
        for (const field of ["gpus", "driver"]) {
            state[field] = found[field] || (found.kind === "host" ? "" : state[field]);
            byId(field).value = state[field];
        }
        byId("host").hidden = found.kind !== "host";
        setText(byId("host-text"), `The machine is that of ${name}.`);
        await ask();
    }

    async function copy(text, said) {
        try {
            await navigator.clipboard.writeText(text);
            setText(byId("copied"), said);
        } catch {
            setText(byId("copied"), "The browser does not allow it: select the text and copy it.");
        }
    }

    function listen() {
        for (const field of FIELDS) byId(field).addEventListener("input", () => typed(field));
        byId("elsewhere").addEventListener("change", () => {
            state.elsewhere = byId("elsewhere").checked;
            ask();
        });
        byId("gpus").addEventListener("paste", (event) => {
            const text = event.clipboardData.getData("text");
            if (!text.includes("\n") && !text.includes("GPU 0:")) return; // a field has one line
            event.preventDefault();
            open(text, "the text");
        });
        byId("pasted").addEventListener("input", () => {
            if (byId("pasted").value.trim()) open(byId("pasted").value, "the text");
            else setText(byId("file-error"), "");
        });
        byId("file").addEventListener("change", async () => {
            const [file] = byId("file").files;
            if (file) open(await file.text(), file.name);
        });
        document.addEventListener("dragover", (event) => event.preventDefault());
        document.addEventListener("drop", async (event) => {
            event.preventDefault();
            const [file] = event.dataTransfer.files;
            const text = file ? await file.text() : event.dataTransfer.getData("text");
            if (text) open(text, file ? file.name : "the text");
        });
        byId("forget").addEventListener("click", () => {
            forgetFile();
            ask();
            byId("gpus").focus();
        });
        byId("reset").addEventListener("click", () => {
            state.answers = {};
            ask();
        });
        for (const button of document.querySelectorAll("button[data-of]")) {
            button.addEventListener("click", () => copy(byId(button.dataset.of).textContent, "Copied."));
        }
        byId("share").addEventListener("click", () => copy(location.href, "The link is copied."));
        for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
        addEventListener("hashchange", () => {
            readLink();
            ask();
        });
    }

    byId("products").append(...build.gpus.map((value) => element("option", { value })));
    byId("drivers").append(...build.drivers.map((value) => element("option", { value })));
    listen();
    readLink();
    status("");
    if (build.first && location.hash.length < 2) {
        // Made with the site by the same function, so that there is something to read while Python starts.
        show(build.first);
        times.first = performance.now();
    } else {
        byId("result").classList.add("waiting");
    }
    ask();
})();
