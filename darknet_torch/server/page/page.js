// The page of the server: upload a photo, show boxes, ask again when a setting changes.
// Threshold, NMS and classes are computed by the server from the outputs that it keeps,
// so that the page shows the numbers that `detect` prints.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const state = { models: [], photo: null, answer: null, chosen: new Set(), maps: null };

// ---- requests -----------------------------------------------------------------------------

async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const key = sessionStorage.getItem("key");
  if (key) headers.set("X-API-Key", key);
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) $("key-label").hidden = false;
  let why = response.statusText;
  try { why = (await response.json()).error; } catch { /* an answer of another program */ }
  throw Object.assign(new Error(why), { status: response.status });
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    say(error instanceof TypeError ? "The server does not answer." : error.message, true);
    return undefined;
  }
}

// ---- models -------------------------------------------------------------------------------

const model = () => state.models[$("model").selectedIndex];

async function start() {
  state.models = await (await ask("models")).json();
  $("model").replaceChildren(...state.models.map((each) => new Option(each.name)));
  $("key-label").hidden = true;
  await chooseModel();
}

async function chooseModel() {
  const chosen = model();
  state.chosen.clear();
  $("settings").hidden = chosen.kind !== "detector";
  if (chosen.kind === "detector") {
    set("threshold", chosen.threshold);
    set("nms", chosen.nms);
    $("nms-kind").replaceChildren(...chosen.nms_kinds.map((kind) => new Option(kind)));
    $("nms-kind").value = chosen.nms_kind;
  }
  listClasses();
  closeMaps();
  await showLayers();
  if (state.photo) await upload(state.photo);
  else say("");
}

function set(name, value) {
  $(name).value = value;
  $(`${name}-value`).value = Number($(name).value).toFixed(2);
}

// ---- classes ------------------------------------------------------------------------------

function listClasses() {
  const wanted = $("class-search").value.toLowerCase();
  const rows = [];
  model().classes.forEach((name, number) => {
    if (rows.length < 200 && name.toLowerCase().includes(wanted)) {
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = state.chosen.has(number);
      box.addEventListener("change", () => {
        if (box.checked) state.chosen.add(number);
        else state.chosen.delete(number);
        sayClasses();
        again();
      });
      const label = document.createElement("label");
      label.append(box, name);
      rows.push(label);
    }
  });
  $("class-list").replaceChildren(...rows);
  $("classes").hidden = !model().classes.length;
  sayClasses();
}

function sayClasses() {
  const names = [...state.chosen].map((number) => model().classes[number]);
  $("classes-chosen").textContent = names.join(", ") || "all";
}

// ---- photo --------------------------------------------------------------------------------

async function upload(photo) {
  state.photo = photo;
  state.answer = null;
  say("Computing ...");
  const kind = model().kind === "detector" ? "detect" : "classify";
  const query = kind === "detect" ? settings() : new URLSearchParams({ top: 10 });
  query.set("model", model().name);
  query.set("keep", "true");
  const begun = performance.now();
  await attempt(async () => {
    const response = await ask(`${kind}?${query}`, { method: "POST", body: photo });
    const answer = await response.json();
    if (state.photo !== photo) return;
    showPhoto(photo);
    show(answer);
    say(`${photo.name || "pasted image"}: ${Math.round(performance.now() - begun)} ms`);
    if (state.maps) await showMaps(state.maps.index, state.maps.first);
  });
}

function showPhoto(photo) {
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(photo);
  $("figure").hidden = false;
  $("actions").hidden = false;
  $("invitation").hidden = true;
  $("drop").classList.add("full");
}

function settings() {
  const query = new URLSearchParams({
    threshold: $("threshold").value,
    nms: $("nms").value,
    nms_kind: $("nms-kind").value,
  });
  if (state.chosen.size) query.set("classes", [...state.chosen].join(","));
  return query;
}

let asking = null;

async function again() {
  if (!state.answer || model().kind !== "detector") return;
  asking?.abort(); // a slider moves faster than answers come: the last one counts
  const mine = (asking = new AbortController());
  await attempt(async () => {
    const path = `images/${state.answer.image}?${settings()}`;
    try {
      const answer = await (await ask(path, { signal: mine.signal })).json();
      if (!mine.signal.aborted) show(answer);
    } catch (error) {
      if (error.status !== 404) throw error;
      await upload(state.photo); // the server has forgotten it
    }
  });
}

// ---- results ------------------------------------------------------------------------------

const color = (number) => `hsl(${((0.6 + number * 0.618034) % 1) * 360} 85% 42%)`;

function show(answer) {
  state.answer = answer;
  const found = answer.detections;
  const rows = found || answer.classes;
  drawBoxes(answer);
  const head = document.createElement("tr");
  for (const [text, number] of found
    ? [["class"], ["score", 1], ["left", 1], ["top", 1], ["right", 1], ["bottom", 1]]
    : [["class"], ["probability", 1]]) head.append(cell("th", text, number));
  $("results").tHead.replaceChildren(head);
  $("results").tBodies[0].replaceChildren(...rows.map(resultRow));
  $("count").textContent = found
    ? `${found.length} ${found.length === 1 ? "detection" : "detections"}` : "Classes";
  $("save-picture").hidden = !found;
}

function cell(kind, text, number) {
  const each = document.createElement(kind);
  each.textContent = text;
  if (number) each.className = "number";
  return each;
}

function resultRow(each, number) {
  const row = document.createElement("tr");
  const name = cell("td", each.class);
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.style.background = color(each.class_id);
  name.prepend(dot);
  row.append(name, cell("td", each.score.toFixed(each.box ? 2 : 4), true));
  for (const edge of each.box || []) row.append(cell("td", Math.round(edge), true));
  if (each.box) {
    row.tabIndex = 0;
    const only = (shown) => {
      for (const [place, group] of [...$("boxes").children].entries())
        group.classList.toggle("faded", shown && place !== $("boxes").children.length - 1 - number);
    };
    for (const event of ["mouseenter", "focus"]) row.addEventListener(event, () => only(true));
    for (const event of ["mouseleave", "blur"]) row.addEventListener(event, () => only(false));
  }
  return row;
}

function drawBoxes({ width, height, detections = [] }) {
  const svg = $("boxes");
  svg.replaceChildren();
  if (!width) return;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  $("figure").style.aspectRatio = `${width} / ${height}`;
  const shown = $("figure").clientWidth || width;
  const size = (13 * width) / shown; // letters of the same size on the screen
  for (const each of [...detections].reverse()) { // the best on top
    const [left, top, right, bottom] = each.box;
    const group = element("g", {});
    const x = Math.max(0, left), y = Math.max(0, top);
    group.append(element("rect", {
      class: "box", x, y, stroke: color(each.class_id),
      width: Math.max(0, Math.min(right, width) - x), height: Math.max(0, Math.min(bottom, height) - y),
    }));
    const text = `${each.class} ${each.score.toFixed(2)}`;
    const wide = text.length * size * 0.6 + size * 0.5;
    const labelTop = y >= size * 1.4 ? y - size * 1.4 : y;
    const labelLeft = Math.max(0, Math.min(x, width - wide));
    group.append(element("rect", {
      x: labelLeft, y: labelTop, width: wide, height: size * 1.4, fill: color(each.class_id),
    }));
    const label = element("text", {
      x: labelLeft + size * 0.25, y: labelTop + size * 1.05, "font-size": size, fill: "white",
      textLength: wide - size * 0.5, lengthAdjust: "spacingAndGlyphs",
    });
    label.textContent = text;
    group.append(label);
    svg.append(group);
  }
}

function element(name, attributes) {
  const each = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) each.setAttribute(key, value);
  return each;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const stem = () => (state.photo.name || "image").replace(/\.[^.]*$/, "");

// ---- layers -------------------------------------------------------------------------------

const shape = ([c, h, w]) => (h ? `${w} x ${h} x ${c}` : `${c}`);

async function showLayers() {
  const chosen = model();
  await attempt(async () => {
    const table = await (await ask(`models/${encodeURIComponent(chosen.name)}/layers`)).json();
    $("layers-hint").textContent =
      `${table.rows.length} layers, ${table.parameters.toLocaleString("en")} weights, ` +
      `${(table.flops / 1e9).toFixed(3)} BFLOPs. ` +
      (chosen.maps ? "A layer's button shows its maps for the photo."
        : "Maps of a converted file's layers cannot be shown.");
    $("layer-table").tBodies[0].replaceChildren(...table.rows.map((row) => layerRow(row, chosen.maps)));
  });
}

function layerRow(row, hasMaps) {
  const line = document.createElement("tr");
  const name = document.createElement("td");
  const text = `${row.index} ${row.section}`;
  if (hasMaps) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => showMaps(row.index));
    name.append(button);
  } else name.textContent = text;
  line.append(name, cell("td", row.detail), cell("td", shape(row.input)), cell("td", shape(row.output)),
    cell("td", row.parameters ? row.parameters.toLocaleString("en") : "", true),
    cell("td", row.flops ? (row.flops / 1e9).toFixed(3) : "", true));
  return line;
}

async function showMaps(index, first = 0) {
  if (!state.answer) return say("Choose a photo first.", true);
  return attempt(async () => {
    const response = await ask(`images/${state.answer.image}/layers/${index}?first=${first}`);
    const channels = Number(response.headers.get("X-Shape").split(",")[0]);
    const last = Math.min(first + 64, channels) - 1;
    state.maps = { index, first };
    $("maps-title").textContent = `Layer ${index}: channels ${first} to ${last} of ${channels}`;
    $("maps-before").disabled = first === 0;
    $("maps-after").disabled = last + 1 >= channels;
    URL.revokeObjectURL($("maps-picture").src);
    $("maps-picture").src = URL.createObjectURL(await response.blob());
    $("maps").hidden = false;
    $("maps").scrollIntoView({ block: "nearest" });
  });
}

function closeMaps() {
  state.maps = null;
  $("maps").hidden = true;
}

// ---- events -------------------------------------------------------------------------------

const openFiles = () => $("file").click();
$("choose").addEventListener("click", openFiles);
$("another").addEventListener("click", openFiles);
$("file").addEventListener("change", () => {
  if ($("file").files[0]) upload($("file").files[0]);
  $("file").value = "";
});
for (const event of ["dragover", "dragleave", "drop"])
  document.addEventListener(event, (happened) => {
    happened.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    const file = event === "drop" && happened.dataTransfer.files[0];
    if (file) upload(file);
  });
document.addEventListener("paste", (happened) => {
  const file = [...happened.clipboardData.files][0];
  if (file) upload(file);
});
for (const name of ["threshold", "nms"])
  $(name).addEventListener("input", () => { set(name, $(name).value); again(); });
$("nms-kind").addEventListener("change", again);
$("model").addEventListener("change", () => attempt(chooseModel));
$("class-search").addEventListener("input", listClasses);
$("classes-none").addEventListener("click", () => { state.chosen.clear(); listClasses(); again(); });
$("key").addEventListener("change", () => {
  sessionStorage.setItem("key", $("key").value);
  attempt(start);
});
for (const event of ["load", "error"])
  $("photo").addEventListener(event, () => {
    $("photo").hidden = event === "error"; // a format that the server reads, and the browser does not
    $("figure").classList.toggle("blind", event === "error");
    if (state.answer) drawBoxes(state.answer);
  });
window.addEventListener("resize", () => { if (state.answer) drawBoxes(state.answer); });
$("save-json").addEventListener("click", () => {
  const { image, ...content } = state.answer;
  const text = JSON.stringify({ ...content, settings: Object.fromEntries(settings()) }, null, 1);
  save(new Blob([text], { type: "application/json" }), `${stem()}.json`);
});
$("save-picture").addEventListener("click", () => attempt(async () => {
  const query = settings();
  query.set("model", model().name);
  query.set("format", "jpeg");
  const response = await ask(`detect?${query}`, { method: "POST", body: state.photo });
  save(await response.blob(), `${stem()}-detections.jpg`);
}));
$("maps-before").addEventListener("click", () => showMaps(state.maps.index, state.maps.first - 64));
$("maps-after").addEventListener("click", () => showMaps(state.maps.index, state.maps.first + 64));
$("maps-close").addEventListener("click", closeMaps);
attempt(start);
