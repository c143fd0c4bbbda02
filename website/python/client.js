// ask(function, argument) as a module: see ask.js.
import "./ask.js";

globalThis.hearthPythonBase ??= new URL("./", import.meta.url).href;

export function ask(name, argument) {
    return globalThis.hearthAsk(name, argument);
}
