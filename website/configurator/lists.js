// Makes the parts of the page that follow the answers: questions, changes, services, findings.
"use strict";

globalThis.hearthLists = (() => {
    // All other questions are under "More questions".
    const MAIN = ["service", "accelerator", "package_manager", "ngc_release", "torch_version", "cuda_version",
        "hub_image", "python_version", "extras"];

    function element(tag, properties = {}, ...children) {
        const made = Object.assign(document.createElement(tag), properties);
        made.append(...children.filter((child) => child !== ""));
        return made;
    }

    function proposed(question) {
        if (question.kind === "switch") return question.proposed ? "yes" : "no";
        return String(question.proposed || "none");
    }

    function optionsOf(question) {
        if (question.kind === "switch") {
            return [{ value: "yes", label: "yes", reason: "" }, { value: "no", label: "no", reason: "" }];
        }
        return question.offers;
    }

    function setText(node, text) {
        if (node.textContent !== text) node.textContent = text;
    }

    // Options are changed in place, so that a list which is open stays open.
    function fillSelect(select, question, marks) {
        const rows = [{ value: "", label: `${proposed(question)} (proposed)`, reason: "" },
            ...optionsOf(question)];
        while (select.length > rows.length) select.remove(rows.length);
        rows.forEach((row, at) => {
            const option = select.options[at] ?? select.appendChild(document.createElement("option"));
            const why = row.reason || (row.value && marks[row.value]) || "";
            const words = row.reason ? " (not possible)" : why ? " (fails on that machine)" : "";
            if (option.value !== row.value || !option.hasAttribute("value")) option.value = row.value;
            setText(option, `${row.label}${words}`);
            option.disabled = Boolean(row.reason);
            option.classList.toggle("fails", Boolean(why));
            option.title = why;
        });
        const value = question.kind === "switch" ? (question.value ? "yes" : "no") : question.value;
        const wanted = question.given && !question.refused ? value : "";
        if (select.value !== wanted) select.value = wanted;
    }

    function fillReasons(box, question, marks) {
        const greyed = optionsOf(question)
            .map((offer) => ({ label: offer.label, why: offer.reason || marks[offer.value] }))
            .filter((row) => row.why);
        box.hidden = greyed.length === 0;
        const noun = greyed.length === 1 ? "choice is" : "choices are";
        setText(box.querySelector("summary"), `${greyed.length} ${noun} greyed: why`);
        box.querySelector("ul").replaceChildren(
            ...greyed.map((row) => element("li", { textContent: `${row.label}: ${row.why}` })));
    }

    function choiceField(question, change) {
        const id = `q-${question.name}`;
        const select = element("select", { id, name: question.name });
        select.setAttribute("aria-describedby", `${id}-error`);
        select.addEventListener("change", () => change(question.name, select.value));
        const reasons = element("details", { className: "reasons", id: `${id}-reasons` },
            element("summary"), element("ul"));
        return element("div", { className: "field" }, element("label", { htmlFor: id }), select,
            element("p", { className: "error", id: `${id}-error` }), reasons);
    }

    function severalField(question, change) {
        const set = element("fieldset", {}, element("legend"));
        for (const offer of question.offers) {
            const box = element("input", { type: "checkbox", name: question.name, value: offer.value });
            box.addEventListener("change", () => {
                const boxes = [...set.querySelectorAll("input:checked")];
                change(question.name, boxes.map((one) => one.value).join(","));
            });
            set.append(element("label", {}, box, ` ${offer.label}`));
        }
        set.append(element("p", { className: "error", id: `q-${question.name}-error` }));
        set.setAttribute("aria-describedby", `q-${question.name}-error`);
        return set;
    }

    function textField(question, change) {
        const id = `q-${question.name}`;
        const input = element("input", { id, name: question.name, spellcheck: false });
        input.setAttribute("aria-describedby", `${id}-error`);
        input.addEventListener("input", () => change(question.name, input.value));
        return element("div", { className: "field" }, element("label", { htmlFor: id }), input,
            element("p", { className: "error", id: `${id}-error` }));
    }

    const MAKE = { choice: choiceField, switch: choiceField, several: severalField, text: textField };
    const fields = new Map();

    function fill(field, question, marks) {
        field.hidden = !question.asked;
        setText(field.querySelector("label, legend"), question.help.replace(" (the space bar selects, Enter confirms)", ""));
        setText(field.querySelector(".error"), question.refused);
        if (question.kind === "several") {
            for (const box of field.querySelectorAll("input")) {
                const why = question.offers.find((offer) => offer.value === box.value)?.reason ?? "";
                box.checked = question.value.includes(box.value);
                box.disabled = Boolean(why);
                box.parentElement.title = why;
            }
        } else if (question.kind === "text") {
            const input = field.querySelector("input");
            input.placeholder = String(question.proposed);
            if (!question.refused && document.activeElement !== input) input.value = question.given ? question.value : "";
        } else {
            fillSelect(field.querySelector("select"), question, marks);
            fillReasons(field.querySelector(".reasons"), question, marks);
        }
    }

    function showQuestions(questions, marks, change) {
        for (const question of questions) {
            if (!fields.has(question.name)) {
                const field = MAKE[question.kind](question, change);
                fields.set(question.name, field);
                const place = MAIN.includes(question.name) ? "main-questions" : "more-questions";
                document.getElementById(place).append(field);
            }
            fill(fields.get(question.name), question, marks[question.name] ?? {});
        }
    }

    function showChanges(changes, take) {
        document.getElementById("changes").replaceChildren(...changes.map((change) => {
            const article = element("article", {}, element("h3", { textContent: change.title }),
                element("p", { textContent: `${change.text[0].toUpperCase()}${change.text.slice(1)}.` }));
            if (Object.keys(change.answers).length) {
                const button = element("button", { type: "button", textContent: "Take it" });
                button.setAttribute("aria-label", `Take it: ${change.text}`);
                button.addEventListener("click", () => take(change.answers, change.driver));
                article.append(button);
            }
            for (const { place, lines } of change.drivers) {
                article.append(element("details", {}, element("summary", { textContent: `The driver on ${place}` }),
                    element("pre", { tabIndex: 0, textContent: lines.join("\n") })));
            }
            return article;
        }));
    }

    function showServices(rows, take) {
        document.getElementById("services").hidden = rows.length === 0;
        document.getElementById("rows").replaceChildren(...rows.map((row) => {
            const last = element("td");
            if (Object.keys(row.answers).length) {
                const button = element("button", { type: "button", textContent: "Take it" });
                button.setAttribute("aria-label", `Take ${row.name}: ${row.lines.join(" ")}`);
                button.addEventListener("click", () => take(row.answers));
                last.append(button);
            }
            const what = element("td", { textContent: row.lines.join(" ") });
            if (row.plain.length) what.append(element("pre", { tabIndex: 0, textContent: row.plain.join("\n") }));
            return element("tr", {}, element("th", { scope: "row", textContent: row.name }), what,
                element("td", { textContent: row.verdict, title: row.why }), last);
        }));
    }

    function showFindings(findings) {
        const left = findings.filter((finding) => !finding.mended);
        const errors = left.filter((finding) => finding.level === "error").length;
        const others = left.length - errors;
        const summary = left.length === 0 ? "Nothing is wrong with that machine."
            : `${errors} error${errors === 1 ? "" : "s"} and ${others} other finding${others === 1 ? "" : "s"}. ${
                errors ? "What is named by an error will not work." : "It works, but may fail later."}`;
        setText(document.getElementById("doctor-summary"), summary);
        document.getElementById("findings").replaceChildren(...findings.flatMap((finding) => [
            element("dt", { textContent: `${finding.level}: ${finding.id}` }),
            element("dd", { textContent: finding.cause }),
            ...(finding.seen ? [element("dd", { textContent: `Seen: ${finding.seen}` })] : []),
            ...(finding.mended ? [element("dd", { textContent: `Mended: ${finding.mended}` })] : []),
            ...(finding.run ? [element("dd", {}, element("pre", { tabIndex: 0, textContent: finding.run }))] : []),
        ]));
        document.getElementById("doctor").hidden = false;
    }

    return { element, setText, showQuestions, showChanges, showServices, showFindings };
})();
