"use strict";
// Ranks what is on the page. Talks to this service only; no library.

const at = (id) => document.getElementById(id);
const make = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};

const headers = () => {
  const key = at("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: "Bearer " + key } : {}) };
};

const request = () => ({
  query: at("query").value,
  documents: at("documents").value.split("\n").map((line) => line.trim()).filter(Boolean),
  ...(at("model").value ? { model: at("model").value } : {}),
  top_n: Number(at("top").value) || 0,
  return_documents: true,
});

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
const showCommand = () => {
  const key = at("key").value.trim() ? " -H 'Authorization: Bearer KEY'" : "";
  const body = JSON.stringify(request());
  at("command").textContent = `curl ${location.origin}/rerank -H 'Content-Type: application/json'${key} -d ${quoted(body)}`;
};

const fail = (text) => {
  at("error").textContent = text;
  at("error").hidden = !text;
};

const ask = async (raw) => {
  const answer = await fetch("/rerank", { method: "POST", headers: headers(), body: JSON.stringify({ ...request(), raw_scores: raw }) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const wait = answer.headers.get("retry-after");
    throw new Error((body.detail || body.error || `The server answered ${answer.status}.`) + (wait ? ` Try again in ${wait} s.` : ""));
  }
  return { body, timing: answer.headers.get("server-timing") || "" };
};

const timings = (text) =>
  text.split(",").map((part) => /(\w+);dur=([\d.]+)/.exec(part)).filter(Boolean).map(([, name, ms]) => `${name} ${Number(ms).toFixed(1)} ms`).join(" · ");

// A bar is the score's share of 0 to 1, or of what is shown where a model's scores leave that range.
const share = (score, scores) => {
  const low = Math.min(0, ...scores);
  const high = Math.max(1, ...scores);
  return Math.max(0, Math.min(100, (100 * (score - low)) / (high - low)));
};

const show = ({ body, timing }, raw) => {
  const scores = body.results.map((one) => one.relevance_score);
  const raws = new Map(raw.body.results.map((one) => [one.index, one.relevance_score]));
  at("results").replaceChildren(...body.results.map((one) => {
    const fill = make("i");
    fill.style.width = share(one.relevance_score, scores) + "%";
    const cut = one.truncated ? " · cut to fit" : "";
    const number = `${one.relevance_score.toFixed(4)} · raw ${(raws.get(one.index) ?? NaN).toFixed(4)} · line ${one.index + 1}${cut}`;
    return make("li", {},
      make("div", { className: "score", textContent: number }),
      make("div", { className: "bar" }, fill), make("div", { className: "text", textContent: one.document.text }));
  }));
  const failed = (body.errors || []).map((one) => `line ${one.index + 1}: ${one.message}`).join("; ");
  if (failed) fail("Without a score: " + failed);
  at("timing").textContent = `${timings(timing)} · ${body.usage.total_tokens} tokens · ${body.model}`;
  at("timing").hidden = false;
};

const rank = async (event) => {
  if (event) event.preventDefault();
  fail("");
  showCommand();
  at("rank").disabled = true;
  try {
    const normal = await ask(false);
    show(normal, await ask(true)); // the second answer comes with the same ranking and the other scale
  } catch (error) {
    at("results").replaceChildren();
    at("timing").hidden = true;
    fail(error instanceof TypeError ? "The server cannot be reached." : error.message);
  } finally {
    at("rank").disabled = false;
  }
};

// A CSV row: the field called text, content, document or body, else the last one.
const rows = (text) => {
  const table = [];
  let row = [], field = "", inside = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (inside) {
      if (c === '"' && text[i + 1] === '"') { field += '"'; i++; } else if (c === '"') inside = false; else field += c;
    } else if (c === '"') inside = true;
    else if (c === ",") { row.push(field); field = ""; }
    else if (c === "\n") { row.push(field.replace(/\r$/, "")); table.push(row); row = []; field = ""; }
    else field += c;
  }
  if (field || row.length) table.push([...row, field]);
  return table.filter((one) => one.some((cell) => cell.trim()));
};
const WANTED = ["text", "content", "document", "body"];
const fromCsv = (text) => {
  const [head, ...rest] = rows(text);
  const place = head.findIndex((cell) => WANTED.includes(cell.trim().toLowerCase()));
  return place >= 0 ? rest.map((row) => row[place] || "") : [head, ...rest].map((row) => row[row.length - 1]);
};
const fromJson = (text) => {
  const found = JSON.parse(text);
  const list = Array.isArray(found) ? found : found.documents || found.texts || [];
  if (found.query) at("query").value = found.query;
  return list.map((one) => (typeof one === "string" ? one : one.text || one.content || JSON.stringify(one)));
};
const take = async (file) => {
  fail("");
  try {
    const text = await file.text();
    const list = file.name.endsWith(".json") ? fromJson(text) : file.name.endsWith(".csv") ? fromCsv(text) : text.split("\n");
    at("documents").value = list.map((one) => String(one).replace(/\s+/g, " ").trim()).filter(Boolean).join("\n");
    showCommand();
  } catch (error) {
    fail(`${file.name} could not be read: ${error.message}`);
  }
};

const health = async () => {
  try {
    const answer = await fetch("/health");
    const body = await answer.json();
    at("health").textContent = `${body.status} · ${body.model} on ${body.device}` + (body.detail ? ` · ${body.detail}` : "");
    at("health").className = answer.ok ? "ok" : "bad";
    const names = Object.keys(body.models);
    if (at("model").options.length !== names.length) at("model").replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
  } catch {
    at("health").textContent = "The server cannot be reached.";
    at("health").className = "bad";
  }
  showCommand();
};

at("form").addEventListener("submit", rank);
at("form").addEventListener("input", showCommand);
document.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) rank(event); });
at("copy").addEventListener("click", () => navigator.clipboard.writeText(at("command").textContent));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("documents").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
health();
setInterval(health, 10000);
