"use strict";
// Shows /openapi.json: every operation with its fields, answers and examples, and a form that sends a call. No library, nothing from elsewhere.

const make = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};
const pretty = (value) => JSON.stringify(value, null, 2);

const resolve = (spec, node) => {
  while (node && node.$ref) node = node.$ref.split("/").slice(1).reduce((at, key) => at[key], spec);
  return node || {};
};

const name = (schema) => (schema.$ref ? schema.$ref.split("/").pop() : "");

const kind = (spec, schema) => {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.$ref) return name(schema);
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.map((one) => kind(spec, one)).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return "list of " + kind(spec, schema.items);
  return [].concat(schema.type || "anything").join(" or ");
};

const limits = (schema) =>
  ["minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default"]
    .filter((key) => schema[key] !== undefined)
    .map((key) => `${key} ${JSON.stringify(schema[key])}`)
    .join(", ");

const fields = (spec, schema) => {
  const found = resolve(spec, schema);
  const rows = Object.entries(found.properties || {}).map(([field, of]) =>
    make("tr", {},
      make("td", {}, make("code", { textContent: field }), (found.required || []).includes(field) ? " *" : ""),
      make("td", { textContent: kind(spec, of) }),
      make("td", { textContent: [of.description, limits(of)].filter(Boolean).join(" · ") })));
  if (!rows.length) return make("p", { textContent: kind(spec, found) });
  return make("table", {}, make("tbody", {}, ...rows));
};

const shapes = (spec, schema) => {
  const several = schema.anyOf || schema.oneOf || [schema];
  return several.map((one) =>
    make("div", {}, name(one) ? make("h3", { textContent: name(one) }) : null, fields(spec, one)));
};

const json = (content) => (content || {})["application/json"] || Object.values(content || {})[0] || {};

const tryIt = (spec, path, method, operation) => {
  const examples = Object.entries(json((operation.requestBody || {}).content).examples || {});
  const choose = make("select", { ariaLabel: "Example" }, ...examples.map(([label], at) => make("option", { value: at, textContent: label })));
  const body = make("textarea", { ariaLabel: "Body", spellcheck: false, value: examples.length ? pretty(examples[0][1].value) : "{}" });
  choose.addEventListener("change", () => { body.value = pretty(examples[choose.value][1].value); });
  const place = make("input", { ariaLabel: "Path", value: path, size: 40 });
  const out = make("pre", { hidden: true, ariaLive: "polite" });
  const send = make("button", { type: "button", textContent: "Send" });
  send.addEventListener("click", async () => {
    const headers = { "Content-Type": "application/json" };
    const key = document.getElementById("key").value;
    if (key) headers.Authorization = "Bearer " + key;
    out.hidden = false;
    out.textContent = "…";
    try {
      const answer = await fetch(place.value, { method: method.toUpperCase(), headers, body: method === "post" ? body.value : undefined });
      const text = await answer.text();
      let shown = text;
      try { shown = pretty(JSON.parse(text)); } catch { /* not JSON: shown as it is */ }
      out.textContent = `${answer.status} ${answer.statusText}\nServer-Timing: ${answer.headers.get("server-timing")}\n\n${shown}`;
    } catch (error) {
      out.textContent = String(error);
    }
  });
  return make("div", {}, make("h3", { textContent: "Try it" }),
    make("p", {}, place, " ", examples.length > 1 ? choose : null, " ", send), method === "post" ? body : null, out);
};

const operation = (spec, path, method, of) => {
  const block = make("details", { id: of.operationId },
    make("summary", {}, make("b", { className: method, textContent: method.toUpperCase() }), make("code", { textContent: path }),
      make("span", { textContent: of.summary || "" })));
  block.addEventListener("toggle", () => {
    if (block.childElementCount > 1) return;
    const inside = make("div", {}, of.description ? make("p", { textContent: of.description }) : null);
    const parameters = (of.parameters || []).map((one) => resolve(spec, one));
    if (parameters.length) {
      inside.append(make("h3", { textContent: "Parameters" }), make("table", {}, make("tbody", {}, ...parameters.map((one) =>
        make("tr", {}, make("td", {}, make("code", { textContent: one.name })), make("td", { textContent: one.in }),
          make("td", { textContent: one.description || "" }))))));
    }
    inside.append(tryIt(spec, path, method, of));
    if (of.requestBody) inside.append(make("h2", { textContent: "Body" }), ...shapes(spec, json(of.requestBody.content).schema || {}));
    inside.append(make("h2", { textContent: "Answers" }));
    for (const [status, answer] of Object.entries(of.responses)) {
      const content = json(answer.content);
      const part = make("details", {}, make("summary", {}, make("b", { textContent: status }), make("span", { textContent: answer.description })));
      const told = make("div", {}, ...shapes(spec, content.schema || {}));
      for (const [label, example] of Object.entries(content.examples || {})) {
        told.append(make("h3", { textContent: label }), make("pre", { textContent: pretty(example.value) }));
      }
      part.append(told);
      inside.append(part);
    }
    block.append(inside);
  });
  return block;
};

const show = async () => {
  const main = document.getElementById("operations");
  try {
    const spec = await (await fetch("/openapi.json")).json();
    document.getElementById("title").textContent = `${spec.info.title} ${spec.info.version}`;
    document.getElementById("about").append(...spec.info.description.split("\n\n").map((text) => make("p", { textContent: text })));
    main.replaceChildren();
    for (const tag of spec.tags) {
      main.append(make("h2", { textContent: tag.name }));
      for (const [path, methods] of Object.entries(spec.paths)) {
        for (const [method, of] of Object.entries(methods)) {
          if (of.tags.includes(tag.name)) main.append(operation(spec, path, method, of));
        }
      }
    }
  } catch (error) {
    main.replaceChildren(make("p", { textContent: `The description could not be loaded: ${error}` }));
  }
};

show();
