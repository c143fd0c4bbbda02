// The page: what is typed and chosen becomes a question to Python, and its answer is shown. No rule is here.
"use strict";

(() => {
    const { element, setText, showQuestions, showChanges, showServices, showFindings } = globalThis.hearthLists;
    const { MOST, read } = globalThis.hearthTextFile;
    const byId = (id) => document.getElementById(id);
    const build = globalThis.hearthBuild ?? { gpus: [], drivers: [], first: null, kilobytes: {}, tables: "" };
    const FIELDS = ["gpus", "driver", "folder"];
    const NOTHING_MORE = { changes: [], marks: {}, services: [], problem: "" };
    const QUIET = 250; // milliseconds without another question: Python answers nothing while it searches
    const LINK = { gpus: "gpu", driver: "driver", folder: "folder" };

    const state = { gpus: "", driver: "", folder: "", elsewhere: false, answers: {}, facts: null };
    // For whoever measures: milliseconds from navigation to the first answer, and of each later one.
    const times = (globalThis.hearthTimes = { first: null, python: null, answers: [], more: [], settled: false });
    let asked = 0;
    let searching = null;
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
        forgetFile();
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
        byId("could-be").replaceChildren(...answer.could_be.map((name) => {
            const button = element("button", { type: "button", textContent: name });
            button.addEventListener("click", () => {
                byId("gpus").value = name;
                typed("gpus");
                byId("driver").focus();
            });
            return button;
        }));
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
        setText(byId("folder-error"), answer.folder_refused);
        byId("folder").setAttribute("aria-invalid", String(Boolean(answer.folder_refused)));
        byId("copy").hidden = !answer.command;
        showQuestions(answer.questions, marks, choose);
    }

    // In place of an answer. Nothing of an older one may be left beside it.
    function showFailure(error) {
        show({
            verdict: "none", word: "Python does not run in this browser", layer: "", what: "", machine: "",
            why: `${error.message}. On a terminal, hearth match gives the same answers.`,
            instead: "", notes: [], command: "", problem: "", plain: [], plain_note: "", folder_refused: "",
            could_be: [], questions: shown?.questions ?? [],
        });
        showMore(NOTHING_MORE);
    }

    function showMore(more) {
        marks = more.marks;
        showQuestions(shown.questions, marks, choose);
        showChanges(more.changes, take);
        showServices(more.services, take);
        if (more.problem) setText(byId("problem"), more.problem);
    }

    function status(text) {
        const kilobytes = location.protocol === "file:" ? build.kilobytes.file : build.kilobytes.web;
        const size = kilobytes ? `${(kilobytes / 1000).toFixed(1)} MB (${kilobytes} kB)` : "its files";
        setText(byId("loaded"), `${text} The page loads Python and the tables of ${build.tables}: ${size}, from here`
            + " only. Nothing that you type or drop leaves this browser.");
    }

    // Whether the answer was shown; else somebody has asked for another one by then.
    async function ask() {
        asked += 1;
        clearTimeout(searching);
        const mine = asked;
        times.settled = false;
        const began = performance.now();
        setText(byId("file-error"), "");
        writeLink();
        try {
            const answer = await globalThis.hearthAsk("website.python.answers:answer", state);
            if (mine !== asked) return false;
            for (const name of answer.left_out) delete state.answers[name];
            show(answer);
            const now = performance.now();
            times.first ??= now;
            if (times.python === null) times.python = now;
            else times.answers.push(now - began);
            status(`Answered in ${Math.round(now - began)} ms.`);
            if (answer.field === "link") {
                showMore(NOTHING_MORE);
                times.settled = true;
            } else {
                searching = setTimeout(() => askMore(mine, began), QUIET);
            }
            return true;
        } catch (error) {
            if (mine !== asked) return false;
            showFailure(error);
            times.settled = true;
            return true;
        }
    }

    async function askMore(mine, began) {
        try {
            const more = await globalThis.hearthAsk("website.python.answers:more", state);
            if (mine !== asked) return;
            showMore(more);
            times.more.push(performance.now() - began);
        } catch (error) {
            if (mine !== asked) return;
            showFailure(error);
        }
        times.settled = true;
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

    async function take(answers, driver) {
        Object.assign(state.answers, answers);
        if (driver) {
            forgetFile(); // that machine has another one
            state.driver = driver;
            byId("driver").value = driver;
        }
        if (await ask()) byId(shown.command ? "command" : "verdict").focus(); // the button is gone
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

    async function openFile(file) {
        let text;
        try {
            if (file.size > MOST) {
                throw new Error(`${file.name} is larger than 1 MB: drop one of the files that are named above.`);
            }
            text = await read(file);
        } catch (error) {
            byId("doctor").hidden = true;
            setText(byId("file-error"), error.message);
            return;
        }
        await open(text, file.name);
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
        byId("file").addEventListener("change", () => {
            const [file] = byId("file").files;
            if (file) openFile(file);
        });
        document.addEventListener("dragover", (event) => event.preventDefault());
        document.addEventListener("drop", (event) => {
            event.preventDefault();
            const [file] = event.dataTransfer.files;
            const text = event.dataTransfer.getData("text");
            if (file) openFile(file);
            else if (text) open(text, "the text");
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
