import { iou, nearest, suppress } from "./suppression.js";

const STAGES = [
  ["superpixels", "1 Superpixels", "Pixels of like colour are joined to superpixels, whose groups become proposals. The outlines are those of one of several cuts."],
  ["proposals", "2 Proposals", "Boxes that may hold an object, most promising first, from selective search and from MultiBox, a network."],
  ["regions", "3 Regions", ""],
  ["scores", "4 Class scores", "Touch the photograph, or step with the arrow keys: the smallest region there, and what the network says of it."],
  ["suppression", "5 Suppression", "Of boxes of one class that overlap too much, the best stays (solid); the others go (dashed)."],
  ["result", "6 Result", "What is left is the answer."],
];
const SOURCE_COLOURS = ["#2f80ed", "#f2994a", "#27ae60"];
const SLIDERS = { score: "score_threshold", iou: "iou_threshold" };
const at = (id) => document.getElementById(id);
// `moved` has the thresholds of sliders that were touched; without it each model is shown at its own.
const state = { stage: "result", photograph: null, walks: [], moved: {}, count: 60, sources: [true, true, true], turn: 0, about: null };

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/* asking the server */

async function ask(url, options) {
  const response = await fetch(url, options);
  const isJson = (response.headers.get("content-type") ?? "").includes("json");
  if (response.ok) return response;
  const text = isJson ? (await response.json()).error : response.statusText;
  const wait = Number(response.headers.get("retry-after") ?? 0);
  throw Object.assign(new Error(text ?? `HTTP ${response.status}`), { wait });
}

async function look(photograph) {
  const turn = ++state.turn;
  state.photograph = photograph;
  state.walks = [];
  at("views").replaceChildren();
  draw();
  at("error").hidden = true;
  at("status").textContent = `Looking at ${photograph.name} …`;
  const names = [at("model").value, at("other").value].filter(Boolean);
  try {
    photograph.data ??= await (await ask(photograph.address)).blob();
    if (turn !== state.turn) return;
    preview(photograph, turn);
    const walks = [];
    for (const name of names) {
      const answer = await ask(`/walk?model=${encodeURIComponent(name)}`, { method: "POST", body: photograph.data });
      const walk = await answer.json();
      walk.image = await picture(walk.picture);
      walk.outlines = await picture(walk.superpixels.picture);
      walk.row = 0;  // of the region that the fourth stage shows
      walks.push(walk);
      if (turn !== state.turn) return;
    }
    state.walks = walks;
    state.moved = {};
    for (const id in SLIDERS) at(id).value = walks[0].settings[SLIDERS[id]];
    at("status").textContent = `${photograph.name}: ${walks[0].width} × ${walks[0].height} pixels`;
    draw();
  } catch (error) {
    if (turn !== state.turn) return;
    at("status").textContent = "";
    at("error").hidden = false;
    at("error").textContent = error.message;
  }
}

/** Show a photograph at once, as far as the browser can, while the server looks at it. */
async function preview(photograph, turn) {
  const url = URL.createObjectURL(photograph.data);
  try {
    const image = await picture(url);
    if (turn !== state.turn || state.walks.length) return;
    image.alt = "The photograph, not yet looked at";
    at("views").replaceChildren(image);
  } catch {
    // A format that this browser does not know; the server may.
  } finally {
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

const picture = (url) => new Promise((done, failed) => {
  const image = new Image();
  image.onload = () => done(image);
  image.onerror = () => failed(new Error("the picture could not be shown"));
  image.src = url;
});

function read(file) {
  if (!file) return;
  if (file.size > state.about.max_bytes) {
    at("error").hidden = false;
    at("error").textContent = `${file.name} has ${file.size} bytes; ${state.about.max_bytes} are the most`;
    return;
  }
  look({ name: file.name || "the pasted photograph", data: file });
}

/* drawing */

function canvasOf(walk, label) {
  const canvas = make("canvas", { width: walk.image.naturalWidth, height: walk.image.naturalHeight });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const pen = canvas.getContext("2d");
  pen.drawImage(walk.image, 0, 0);
  return [canvas, pen, canvas.width / walk.width];
}

function frame(pen, scale, box, colour, width = 2, dashed = false) {
  const sides = [box[0] * scale, box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale];
  pen.setLineDash(dashed ? [6, 4] : []);
  pen.strokeStyle = "rgba(0,0,0,.6)";
  pen.lineWidth = width + 2;
  pen.strokeRect(...sides);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.strokeRect(...sides);
}

function write(pen, scale, box, text, colour) {
  const size = Math.max(13, Math.round(pen.canvas.width / 50));
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + 8;
  const x = Math.max(0, Math.min(box[0] * scale, pen.canvas.width - width));
  const y = box[1] * scale >= size + 6 ? box[1] * scale - size - 6 : Math.min(box[1] * scale, pen.canvas.height - size - 6);
  pen.fillStyle = colour;
  pen.fillRect(x, y, width, size + 6);
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  pen.fillStyle = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
  pen.fillText(text, x + 4, y + size);
}

const settingsOf = (walk) => ({ ...walk.settings, ...state.moved });
const named = (walk, one) => `${walk.classes[one.label]} ${one.score.toFixed(2)}`;

const VIEWS = {
  superpixels(walk) {
    const [canvas, pen] = canvasOf(walk, `The photograph with the outlines of ${walk.superpixels.count} superpixels`);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(walk.outlines, 0, 0, canvas.width, canvas.height);
    return [canvas, `${walk.superpixels.count} superpixels`];
  },
  proposals(walk) {
    const { boxes, source, sources } = walk.proposals;
    const shown = boxes.slice(0, state.count).map((box, k) => [box, source[k]]).filter(([, k]) => state.sources[k]);
    const [canvas, pen, scale] = canvasOf(walk, `The photograph with ${shown.length} proposals`);
    for (const [box, k] of shown.reverse()) frame(pen, scale, box, SOURCE_COLOURS[k % 3], 1.5);
    const counts = sources.map((name, k) => `${name} ${source.filter((one) => one === k).length}`).join(", ");
    return [canvas, `${shown.length} drawn of ${boxes.length}: ${counts}`];
  },
  regions(walk) {
    const looked = walk.regions.boxes;
    const [canvas, pen, scale] = canvasOf(walk, `The photograph with the ${looked.length} regions that the network looks at`);
    for (const box of looked) frame(pen, scale, box, "#ffffff", 1);
    const pieces = make("div", { className: "pieces" });
    looked.slice(0, 12).forEach((box, k) => pieces.append(piece(walk, box, k)));
    return [canvas, `${looked.length} regions looked at; the first twelve as the network gets them:`, pieces];
  },
  scores(walk) {
    const { boxes, rank } = walk.regions;
    const box = boxes[walk.row] ?? [0, 0, walk.width, walk.height], moved = walk.regions.moved[walk.row] ?? box;
    const [canvas, pen, scale] = canvasOf(walk, "The photograph with a region; the arrow keys step through the regions");
    frame(pen, scale, box, "#ffffff", 2, true);
    frame(pen, scale, moved, "#ffd60a", 3);
    canvas.tabIndex = 0;
    canvas.addEventListener("click", (event) => {
      const place = canvas.getBoundingClientRect();
      choose(walk, (event.clientX - place.left) / place.width * walk.width, (event.clientY - place.top) / place.height * walk.height);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || !boxes.length) return;
      event.preventDefault();
      go(walk, (walk.row + step + boxes.length) % boxes.length);
      at("views").children[state.walks.indexOf(walk)].querySelector("canvas").focus();
    });
    return [canvas, `Region ${walk.row + 1} of ${boxes.length}, proposal ${rank[walk.row] + 1}; dashed as proposed, solid as the network moves it`, bars(walk)];
  },
  suppression(walk) {
    const { kept, suppressed } = suppress(walk, settingsOf(walk));
    const [canvas, pen, scale] = canvasOf(walk, `${kept.length} boxes stay, ${suppressed.length} are suppressed`);
    for (const one of suppressed) frame(pen, scale, one.box, walk.colours[one.label], 1, true);
    for (const one of kept.slice().reverse()) frame(pen, scale, one.box, walk.colours[one.label], 3);
    const names = suppressed.filter((one) => one.why === "name").length;
    return [canvas, `${kept.length} stay; ${suppressed.length - names} overlap a better one of their class, ${names} have the place of a better one of another`];
  },
  result(walk) {
    const { kept } = suppress(walk, settingsOf(walk));
    const words = kept.map((one) => named(walk, one)).join(", ");
    const [canvas, pen, scale] = canvasOf(walk, kept.length ? `The photograph with ${words}` : "The photograph; nothing is found");
    for (const one of kept.slice().reverse()) frame(pen, scale, one.box, walk.colours[one.label], 3);
    for (const one of kept.slice().reverse()) write(pen, scale, one.box, named(walk, one), walk.colours[one.label]);
    return [canvas, `${kept.length} object${kept.length === 1 ? "" : "s"}`];
  },
};

function piece(walk, box, number) {
  const side = 112, canvas = make("canvas", { width: side, height: side }), pen = canvas.getContext("2d");
  const scale = walk.image.naturalWidth / walk.width;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Region ${number + 1}`);
  pen.drawImage(walk.image, box[0] * scale, box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale, 0, 0, side, side);
  const cells = walk.network.cells;
  if (cells) {
    pen.strokeStyle = "rgba(255,255,255,.55)";
    for (let k = 1; k < cells; k++) {
      const place = k * side / cells;
      pen.beginPath(); pen.moveTo(place, 0); pen.lineTo(place, side); pen.moveTo(0, place); pen.lineTo(side, place); pen.stroke();
    }
  }
  return canvas;
}

function bars(walk) {
  const rows = [["background", walk.regions.background[walk.row] ?? 0, "#888888"]];
  walk.scores.row.forEach((row, k) => {
    if (row === walk.row) rows.push([walk.classes[walk.scores.label[k]], walk.scores.score[k], walk.colours[walk.scores.label[k]]]);
  });
  const body = make("tbody");
  for (const [name, value] of [rows[0], ...rows.slice(1).sort((a, b) => b[1] - a[1]).slice(0, 6)]) {
    const bar = make("span", { className: "bar" });
    bar.style.width = `${100 * Math.min(value, 1)}%`;
    body.append(make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { className: "number", textContent: value.toFixed(3) }), make("td", {}, bar)));
  }
  const table = make("table", { className: "bars" }, body);
  table.setAttribute("aria-label", "Scores of the region");
  return table;
}

function choose(walk, x, y) {
  let best = -1, least = Infinity;
  walk.regions.boxes.forEach((box, row) => {
    const area = (box[2] - box[0]) * (box[3] - box[1]);
    if (x >= box[0] && x < box[2] && y >= box[1] && y < box[3] && area < least) [best, least] = [row, area];
  });
  if (best >= 0) go(walk, best);
}

/** Show a region of a walk, and beside it the other model's region that is most like it: each has its own regions. */
function go(walk, row) {
  const box = walk.regions.boxes[row];
  for (const other of state.walks) other.row = other === walk ? row : nearest(other.regions.boxes, box);
  views();
}

function controls() {
  const place = at("controls");
  place.replaceChildren();
  if (state.stage !== "proposals" || !state.walks.length) return;
  const walk = state.walks[0], most = walk.proposals.boxes.length;
  const slider = make("input", { type: "range", min: 1, max: most, value: Math.min(state.count, most), id: "count" });
  const shown = make("output", { textContent: slider.value });
  slider.addEventListener("input", () => { state.count = Number(slider.value); shown.textContent = slider.value; views(); });
  place.append(make("label", { htmlFor: "count" }, "The first ", shown), slider);
  walk.proposals.sources.forEach((name, k) => {
    const box = make("input", { type: "checkbox", checked: state.sources[k] });
    box.addEventListener("change", () => { state.sources[k] = box.checked; views(); });
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = SOURCE_COLOURS[k % 3];
    place.append(make("label", {}, box, " ", swatch, name));
  });
}

function views() {
  if (!state.walks.length) return;  // the photograph alone stays, as long as it is looked at
  at("views").replaceChildren(...state.walks.map((walk) => {
    const [canvas, caption, ...more] = VIEWS[state.stage](walk);
    const title = state.walks.length > 1 ? `${walk.model}: ${caption}` : caption;
    return make("figure", {}, canvas, make("figcaption", { textContent: title }), ...more);
  }));
}

function lists() {
  for (const id in SLIDERS) {
    const values = new Set(state.walks.map((walk) => Number(settingsOf(walk)[SLIDERS[id]].toFixed(4))));
    at(`${id}-value`).textContent = [...values].join(", ");
    at(id).setAttribute("aria-valuetext", [...values].join(", "));
  }
  at("lists").replaceChildren(...state.walks.map((walk) => {
    const { kept } = suppress(walk, settingsOf(walk));
    const body = make("tbody");
    for (const one of kept) {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = walk.colours[one.label];
      body.append(make("tr", {}, make("td", {}, swatch, walk.classes[one.label]), make("td", { className: "number", textContent: one.score.toFixed(2) }), make("td", { className: "number", textContent: one.box.map(Math.round).join(" ") })));
    }
    const head = make("tr", {}, ...[["Class", ""], ["Score", "number"], ["x1 y1 x2 y2", "number"]].map(([text, className]) => make("th", { textContent: text, className, scope: "col" })));
    const caption = make("caption", { textContent: `${walk.model}: ${kept.length} object${kept.length === 1 ? "" : "s"}` });
    return make("table", { className: "found" }, caption, make("thead", {}, head), body);
  }));
}

function times() {
  at("times").replaceChildren(...state.walks.map((walk) => {
    const all = Object.entries(walk.seconds), most = Math.max(...all.map(([, seconds]) => seconds)), body = make("tbody");
    for (const [name, seconds] of all) {
      const bar = make("span", { className: "bar" });
      bar.style.width = `${100 * seconds / most}%`;
      body.append(make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { className: "number", textContent: `${(1000 * seconds).toFixed(0)} ms` }), make("td", {}, bar)));
    }
    return make("table", { className: "bars" }, make("caption", { textContent: `${walk.model}, ${walk.network.computed}` }), body);
  }));
}

function seen(network) {
  if (!network) return "";
  return network.regions === "pool"
    ? `The network sees the whole photograph once, its short side brought to ${network.short_side} pixels; a region is ${network.cells} × ${network.cells} cells read off its maps.`
    : `Each region is stretched to ${network.side} × ${network.side} pixels, whatever its shape, and looked at by itself.`;
}

function draw() {
  for (const id of ["save-picture", "save-json"]) at(id).disabled = !state.walks.length;
  const stage = STAGES.find(([name]) => name === state.stage);
  at("about").textContent = state.stage === "regions" ? seen(state.walks[0]?.network) : stage[2];
  at("stage").setAttribute("aria-labelledby", `tab-${state.stage}`);
  controls();
  views();
  lists();
  times();
}

/* what the user does */

function select(name, focus = false) {
  state.stage = name;
  for (const tab of at("tabs").children) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen && focus) tab.focus();
  }
  draw();
}

for (const [name, title] of STAGES) {
  const tab = make("button", { type: "button", id: `tab-${name}`, textContent: title });
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", "stage");
  tab.addEventListener("click", () => select(name));
  at("tabs").append(tab);
}
at("tabs").addEventListener("keydown", (event) => {
  const names = STAGES.map(([name]) => name), here = names.indexOf(state.stage);
  const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: names.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  select(names[(next + names.length) % names.length], true);
});

function slid(id) {
  if (!state.walks.length) return;
  state.moved[SLIDERS[id]] = Number(at(id).value);
  if (state.stage === "suppression" || state.stage === "result") views();
  lists();
}
for (const id in SLIDERS) at(id).addEventListener("input", () => slid(id));
for (const id of ["model", "other"]) at(id).addEventListener("change", () => state.photograph && look(state.photograph));
at("file").addEventListener("change", () => read(at("file").files[0]));
document.addEventListener("paste", (event) => read(event.clipboardData.files[0]));
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  read(event.dataTransfer.files[0]);
});

function save(blob, ending) {
  const url = URL.createObjectURL(blob), stem = state.photograph.name.replace(/\.[^.]*$/, "");
  make("a", { href: url, download: `${stem}-${state.stage}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
at("save-picture").addEventListener("click", () => {
  const canvas = document.querySelector("#views canvas");
  if (canvas) canvas.toBlob((blob) => save(blob, "png"), "image/png");
});
at("save-json").addEventListener("click", () => {
  const found = state.walks.map((walk) => ({
    image: state.photograph.name, model: walk.model, width: walk.width, height: walk.height, settings: settingsOf(walk),
    detections: suppress(walk, settingsOf(walk)).kept.map((one) => ({ label: walk.classes[one.label], score: one.score, box: one.box })),
  }));
  save(new Blob([JSON.stringify(found, null, 2)], { type: "application/json" }), "json");
});

const addressOf = (name) => `/samples/${encodeURIComponent(name)}`;
const sample = (name) => look({ name, address: addressOf(name) });

async function begin() {
  state.about = await (await ask("/page.json")).json();
  for (const name of state.about.models) {
    at("model").append(make("option", { value: name, textContent: name }));
    at("other").append(make("option", { value: name, textContent: name }));
  }
  for (const name of state.about.samples) {
    const image = make("img", { src: addressOf(name), alt: name.replace(/\.[^.]*$/, "") });
    const button = make("button", { type: "button" }, image);
    button.addEventListener("click", () => sample(name));
    at("samples").append(button);
  }
  select("result");
  if (state.about.samples.length) sample(state.about.samples[0]);
}
window.inceptionRcnn = { state, iou };
begin().catch((error) => { at("error").hidden = false; at("error").textContent = error.message; });
