// Runs Python once with everything imported and warm, and writes its memory: a page that starts from it needs neither
// the files nor the standard library. Started by bundle.py: node snapshot.mjs FILES.zip PROGRAM MEMORY
import fs from "node:fs";
import { loadPyodide } from "pyodide";

const [archive, program, memory] = process.argv.slice(2);
const python = await loadPyodide({ _makeSnapshot: true });
python.unpackArchive(new Uint8Array(fs.readFileSync(archive)), "zip", { extractDir: "/hearth" });
python.runPython(program);
fs.writeFileSync(memory, python.makeMemorySnapshot());
