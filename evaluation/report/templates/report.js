"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("data").textContent);
  const names = data.names;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  const svgNode = (tag, attributes, parent, text) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  };
  const element = (tag, parent, text, className) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    parent.append(node);
    return node;
  };

  // Tables: a heading's button sorts by the cells' data-value; what has no value stays at the end.
  const sortTable = (heading) => {
    const table = heading.closest("table");
    const column = [...heading.parentNode.children].indexOf(heading);
    const button = heading.querySelector("button");
    const old = heading.getAttribute("aria-sort");
    const order = old === null ? button.dataset.first : old === "ascending" ? "descending" : "ascending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const x = a.cells[column].dataset.value, y = b.cells[column].dataset.value;
      if (x === "" || y === "") return (x === "") - (y === "");
      const difference = column === 0 ? x.localeCompare(y) : x - y;
      return sign * difference;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  };
  for (const button of all("button.sort")) button.addEventListener("click", () => sortTable(button.closest("th")));

  for (const input of all("[data-filter]")) {
    const rows = [...byId(input.dataset.filter).tBodies[0].rows];
    const count = document.querySelector(`[data-filter-count="${input.dataset.filter}"]`);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = wanted ? `${shown} of ${rows.length}` : "";
    });
  }

  // Curves: the mean is drawn already; choosing a class draws it on top.
  const chart = byId("curve");
  const recall = byId("curve-recall");
  let chosen = null;
  const place = (r, thousandths) => {
    const { left, top, width, height } = chart.dataset;
    return [+left + (+width * r) / 100, +top + +height * (1 - thousandths / 1000)];
  };
  const curveOf = (model) => (chosen === null ? model.mean : model.precision[chosen]);
  const drawCurves = () => {
    if (!chart) return;
    all(".of-class, .cursor", chart).forEach((node) => node.remove());
    all(".mean", chart).forEach((node) => node.classList.toggle("faded", chosen !== null));
    const plot = chart.querySelector(".plot");
    data.models.forEach((model, k) => {
      const curve = curveOf(model);
      if (chosen === null || !curve) return;
      const last = curve.findLastIndex((value) => value > 0);
      const points = curve.slice(0, last + 1).map((value, r) => place(r, value).map((x) => x.toFixed(1)).join(","));
      if (last >= 0 && last < 100) points.push(place(last, 0).map((x) => x.toFixed(1)).join(","));
      svgNode("polyline", { class: `line of-class model${k}`, points: points.join(" ") }, plot);
    });
    readCurves(plot);
  };
  const readCurves = (plot) => {
    const at = +recall.value;
    const [x, bottom] = place(at, 0);
    svgNode("line", { class: "cursor", x1: x, x2: x, y1: place(at, 1000)[1], y2: bottom }, plot);
    const read = (model) => {
      const curve = curveOf(model);
      if (!curve) return "this class has no objects";
      if (!curve[at]) return `recall ${at} % is never reached`;
      const score = chosen === null ? undefined : model.score[chosen][at];
      const where = score === undefined ? "" : ` (scores from ${score} on)`;
      return `precision ${(curve[at] / 10).toFixed(1)} % at recall ${at} %${where}`;
    };
    const title = chosen === null ? "Mean of all classes" : names[chosen];
    const texts = data.models.map((model) => (model.name ? `${model.name}: ` : "") + read(model));
    byId("curve-readout").textContent = `${title}: ${texts.join("; ")}`;
  };

  // Confusion: row, what it is; column, what it was called; the number of classes stands for nothing there, not found.
  const matrix = byId("matrix");
  const nothing = names.length;
  const confusion = data.confusion;
  const cells = new Map();
  const rowSums = new Array(nothing + 1).fill(0);
  const columnSums = new Array(nothing + 1).fill(0);
  for (const [is, called, times] of confusion ? confusion.cells : []) {
    cells.set(is * (nothing + 1) + called, times);
    rowSums[is] += times;
    columnSums[called] += times;
  }
  const times = (is, called) => cells.get(is * (nothing + 1) + called) || 0;
  const count = (n) => n.toLocaleString("en");
  const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–");
  const describe = (is, called) => {
    const n = times(is, called);
    if (is === nothing && called === nothing) return "";
    if (is === nothing) return `${count(n)} detections of ${names[called]} are of nothing (${share(n, columnSums[called])} of them)`;
    const whole = `${count(n)} of ${count(rowSums[is])} objects ${names[is]} (${share(n, rowSums[is])})`;
    if (called === nothing) return `${whole} were not found`;
    return is === called ? `${whole} were found` : `${whole} were called ${names[called]}`;
  };
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  const drawMatrix = (labels) => {
    const order = [...labels, nothing];
    const few = order.length <= 32;
    const side = few ? 23 : order.length <= 80 ? 12 : Math.max(4, Math.floor(940 / order.length));
    const named = side >= 10;
    const left = named ? 106 : 84, top = named ? 96 : 22;
    const gap = few ? 0.5 : 0;
    const size = side * order.length;
    matrix.replaceChildren();
    const svg = svgNode("svg", { width: left + size + 52, height: top + size + 4, "aria-hidden": "true" }, matrix);
    const title = (label, kind) => (label === nothing ? (kind === "row" ? "nothing there" : "not found") : names[label]);
    svgNode("rect", { class: "void", x: left, y: top, width: size, height: size }, svg);
    order.forEach((label, k) => {
      const middle = k * side + side / 2 + 4;
      if (!named && label !== nothing) return;
      const [x, y] = [left + middle - 1, top - 6];
      svgNode("text", { class: "name", x: left - 6, y: top + middle, "text-anchor": "end" }, svg, short(title(label, "row"), 18));
      const turn = named ? { transform: `rotate(-55 ${x} ${y})` } : { "text-anchor": "end" };
      svgNode("text", { class: "name", x, y, ...turn }, svg, short(title(label, "column"), 15));
    });
    order.forEach((is, row) => order.forEach((called, column) => {
      const n = times(is, called);
      if (!n) return;
      const part = n / Math.max(rowSums[is], 1);
      const wrong = is !== called && is !== nothing && called !== nothing ? " wrong" : "";
      const [x, y] = [left + column * side, top + row * side];
      const opacity = (0.2 + 0.8 * Math.sqrt(part)).toFixed(3);
      svgNode("rect", { class: `cell${wrong}`, x, y, width: side - gap, height: side - gap, "fill-opacity": opacity }, svg);
      if (!few) return;
      const text = n < 1000 ? n : n < 9950 ? `${(n / 1000).toFixed(1)}k` : `${Math.round(n / 1000)}k`;
      const shade = opacity > 0.6 ? "value on-dark" : "value";
      svgNode("text", { class: shade, x: x + side / 2, y: y + side / 2 + 3.5, "text-anchor": "middle" }, svg, text);
    }));
    const at = svgNode("rect", { class: "at", width: side, height: side, visibility: "hidden" }, svg);
    let spot = [0, 0];
    const go = (row, column) => {
      spot = [row, column].map((k) => Math.min(Math.max(k, 0), order.length - 1));
      at.setAttribute("x", left + spot[1] * side);
      at.setAttribute("y", top + spot[0] * side);
      at.setAttribute("visibility", "visible");
      byId("matrix-readout").textContent = describe(order[spot[0]], order[spot[1]]);
    };
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const row = Math.floor((event.clientY - box.top - top) / side);
      const column = Math.floor((event.clientX - box.left - left) / side);
      if (row >= 0 && column >= 0 && row < order.length && column < order.length) go(row, column);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    matrix.onkeydown = (event) => {
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      go(spot[0] + step[0], spot[1] + step[1]);
      at.scrollIntoView({ block: "nearest", inline: "nearest" });
    };
  };

  const tableOf = (parent, caption, rows, whole) => {
    const part = element("div", parent);
    element("h3", part, caption);
    const body = element("tbody", element("table", part, undefined, "plain"));
    for (const [text, n] of rows.filter((row) => row[1]).sort((a, b) => b[1] - a[1]).slice(0, 12)) {
      const row = element("tr", body);
      element("th", row, text).scope = "row";
      element("td", row, count(n), "number");
      element("td", row, share(n, whole), "number");
    }
    if (!body.rows.length) element("p", part, "none", "muted");
  };
  const drawConfusionOf = () => {
    const place = byId("confusion-of-class");
    if (!place) return;
    place.replaceChildren();
    place.hidden = chosen === null;
    if (chosen === null) return;
    const labels = [...names.keys()];
    const called = labels.map((k) => [names[k], times(chosen, k)]);
    const is = labels.map((k) => [names[k], times(k, chosen)]);
    tableOf(place, `${count(rowSums[chosen])} objects “${names[chosen]}”: what they were called`,
      [...called, ["not found", times(chosen, nothing)]], rowSums[chosen]);
    tableOf(place, `${count(columnSums[chosen])} detections called “${names[chosen]}”: what they are`,
      [...is, ["nothing there", times(nothing, chosen)]], columnSums[chosen]);
  };

  // One class is chosen for the whole page.
  const choose = (label) => {
    chosen = label;
    for (const select of all("[data-class-choice]")) select.value = label === null ? "" : label;
    for (const button of all("[data-class]")) {
      button.closest("tr").classList.toggle("chosen", label !== null && +button.dataset.class === label);
    }
    drawCurves();
    drawConfusionOf();
  };
  for (const select of all("[data-class-choice]")) {
    select.addEventListener("change", () => choose(select.value === "" ? null : +select.value));
  }
  for (const button of all("[data-class]")) {
    button.addEventListener("click", () => {
      choose(+button.dataset.class);
      byId("curves").scrollIntoView();
      byId("curve-class").focus({ preventScroll: true });
    });
  }

  document.documentElement.classList.add("scripted");
  if (recall) recall.addEventListener("input", drawCurves);
  if (matrix) {
    const every = [...names.keys()].filter((k) => rowSums[k] + columnSums[k]);
    const button = byId("matrix-all");
    let whole = every.length <= 26;
    const show = () => {
      matrix.closest(".matrix-and-list").classList.toggle("whole", whole && every.length > 26);
      drawMatrix(whole ? every : confusion.shown);
      button.textContent = whole ? `Show the ${confusion.shown.length} most confused classes` : `Show all ${every.length} classes`;
    };
    button.hidden = whole;
    button.addEventListener("click", () => { whole = !whole; show(); });
    show();
  }
  choose(null);

  const links = new Map(all("nav.sections a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) seen.observe(byId(id));
})();
