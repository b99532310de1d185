// A client in a process of its own, told what to do in lines of JSON.
//   in:  {"id": 1, "prompt": "...", "stream": true}, {"id": 1, "leave": true}
//   out: {"id": 1, "piece": "..."} ..., then {"id": 1, "end": true}
//        or {"id": 1, "error": "...", "status": 503}

import { createInterface } from "node:readline";

// `pieces`: what yields the pieces of an answer to (prompt, stream, signal).
export function serve(pieces) {
  const asking = new Map();
  const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const { id, prompt, stream, leave } = JSON.parse(line);
    if (leave) return asking.get(id)?.abort();
    const leaving = new AbortController();
    asking.set(id, leaving);
    try {
      for await (const piece of pieces(prompt, stream, leaving.signal)) if (piece) tell({ id, piece });
      tell({ id, end: true });
    } catch (error) {
      tell({ id, error: String(error), status: error?.status ?? error?.statusCode ?? null });
    } finally {
      asking.delete(id);
    }
  });
}
