// One consumer's process in Node: embed texts.json with snippet.mjs, as run.py does in Python.
import { readFileSync, writeFileSync } from "node:fs";

try {
  const { texts, batch_sizes: sizes } = JSON.parse(readFileSync("texts.json", "utf8"));
  const { embed } = await import("./snippet.mjs");
  for (const size of sizes) {
    const rows = [];
    for (let start = 0; start < texts.length; start += size) {
      rows.push(...(await embed(texts.slice(start, start + size))));
    }
    writeFileSync(`${size}.f32`, new Uint8Array(Float32Array.from(rows.flat()).buffer));
  }
} catch (error) {
  writeFileSync("error.txt", String(error).split(/\s+/).join(" "));
  process.exit(1);
}
