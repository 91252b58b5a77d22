"use strict";
// The dashboards of one stack: asks for the panels of the one that is open, every 15 seconds, and draws what comes as SVG.

const EVERY = 15000, WIDTH = 640, HEIGHT = 210, LEFT = 58, RIGHT = 10, TOP = 8, BOTTOM = 22;
let boards = [], open = null, turn = 0;

function make(name, attributes = {}, ...inside) {
  const svg = ["svg", "path", "line", "text", "g", "circle"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function shown(value, unit) {
  if (!Number.isFinite(value)) return "–";
  const short = (number, digits = 3) => String(Number(number.toPrecision(digits)));
  if (unit === "ratio") return short(value * 100, value >= 0.995 ? 5 : 3) + " %";
  if (unit === "seconds") return value < 1 ? short(value * 1000) + " ms" : value < 120 ? short(value) + " s" : value < 7200 ? short(value / 60) + " min" : short(value / 3600) + " h";
  if (unit === "bytes") {
    const names = ["B", "KiB", "MiB", "GiB", "TiB"], power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, Math.abs(value))) / 10)));
    return short(value / 1024 ** power) + " " + names[power];
  }
  if (unit === "count") return value >= 1e6 ? short(value) : String(Math.round(value));
  return short(value) + ({ per_second: " /s", per_hour: " /h", celsius: " °C", watts: " W" }[unit] || "");
}

function level(value, thresholds) {
  let found = "";
  for (const one of thresholds) if (one.from === null || value >= one.from) found = one.level;
  return found;
}

// what is there now: lines that ended before are no longer
function newest(data) {
  return data.lines.filter((line) => line.times.at(-1) > data.end - 1.5 * data.step)
    .map((line, place) => ({ name: line.name, value: Number(line.values.at(-1)), style: "s" + (place % 10) }));
}

function legend(rows, unit) {
  return make("ul", { class: "legend" }, ...rows.map((row) =>
    make("li", {}, make("span", { class: "dot " + row.style }), row.name, make("b", {}, shown(row.value, unit)))));
}

function steps(highest) {
  const rough = highest / 4, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * size >= rough) * size;
  return Array.from({ length: Math.ceil(highest / step - 1e-9) + 1 }, (_, place) => place * step);
}

function drawLine(data, panel) {
  const lines = data.lines.map((line, place) => ({ name: line.name, times: line.times, values: line.values.map(Number), style: "s" + (place % 10) }));
  const numbers = lines.flatMap((line) => line.values).filter(Number.isFinite);
  const highest = Math.max(0, ...numbers), whole = panel.unit === "ratio";
  const limits = panel.thresholds.filter((one) => one.from !== null && (whole || one.from <= 2 * highest)); // one far above would press the lines flat
  const ticks = whole ? [0, 0.25, 0.5, 0.75, 1] : steps(Math.max(highest, ...limits.map((one) => one.from)) || 1);
  const top = ticks.at(-1), span = data.end - data.begin;
  const x = (at) => LEFT + (at - data.begin) / span * (WIDTH - LEFT - RIGHT), y = (value) => HEIGHT - BOTTOM - Math.min(value, top) / top * (HEIGHT - TOP - BOTTOM);
  const picture = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": panel.title });
  for (const tick of ticks) {
    picture.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
      make("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, shown(tick, panel.unit)));
  }
  for (let part = 0; part <= 4; part++) {
    const at = new Date((data.begin + span * part / 4) * 1000);
    const text = span > 2 * 86400 ? at.toLocaleDateString([], { month: "short", day: "numeric" }) : at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    picture.append(make("text", { x: x(at / 1000), y: HEIGHT - 6, "text-anchor": ["start", "middle", "middle", "middle", "end"][part] }, text));
  }
  for (const one of limits) picture.append(make("line", { class: "limit " + one.level, x1: LEFT, x2: WIDTH - RIGHT, y1: y(one.from), y2: y(one.from) }));
  for (const line of lines) {
    let path = "", before = -Infinity;
    line.times.forEach((at, place) => {
      if (!Number.isFinite(line.values[place])) return;
      const near = (other) => Math.abs(at - other) < 1.5 * data.step;
      path += `${near(before) ? "L" : "M"}${x(at).toFixed(1)} ${y(line.values[place]).toFixed(1)}`;
      if (!near(before) && !near(line.times[place + 1])) picture.append(make("circle", { class: "point " + line.style, cx: x(at), cy: y(line.values[place]), r: 2.5 }));
      before = at;
    });
    picture.append(make("path", { class: "line " + line.style, d: path }));
  }
  const key = make("div", {}), cursor = make("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const tell = (at) => key.replaceChildren(legend(lines.map((line) => {
    const place = line.times.findIndex((time) => Math.abs(time - at) <= data.step / 2);
    return { name: line.name, style: line.style, value: place < 0 ? NaN : line.values[place] };
  }), panel.unit));
  picture.append(cursor);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(), across = (event.clientX - box.left) / box.width * WIDTH;
    const at = data.end - Math.round((data.end - (data.begin + (across - LEFT) / (WIDTH - LEFT - RIGHT) * span)) / data.step) * data.step;
    if (at < data.begin || at > data.end) return;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(at));
    cursor.setAttribute("visibility", "visible");
    tell(at);
  });
  picture.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(data.end); });
  tell(data.end);
  return make("div", {}, picture, key);
}

function drawStat(data, panel) {
  const rows = newest(data);
  if (panel.unit === "state") {
    const words = { good: "UP", critical: "DOWN" };
    return make("ul", { class: "states" }, ...rows.map((row) => {
      const found = level(row.value, panel.thresholds);
      return make("li", {}, make("span", { class: "dot " + found }), row.name, make("b", { class: found }, words[found] || shown(row.value, "count")));
    }));
  }
  return make("div", {}, ...rows.map((row) => make("p", { class: "big " + level(row.value, panel.thresholds) }, shown(row.value, panel.unit), make("small", {}, row.name))));
}

function arc(from, to, radius, middle) {
  const point = (part) => `${(middle + radius * Math.cos(part)).toFixed(2)} ${(middle + radius * Math.sin(part)).toFixed(2)}`;
  return `M${point(from)}A${radius} ${radius} 0 ${to - from > Math.PI ? 1 : 0} 1 ${point(to)}`;
}

function drawPie(data, panel) {
  const rows = newest(data), whole = rows.reduce((sum, row) => sum + row.value, 0);
  const picture = make("svg", { viewBox: "0 0 160 160", role: "img", "aria-label": panel.title });
  let from = -Math.PI / 2;
  if (!whole) picture.append(make("circle", { class: "arc track", cx: 80, cy: 80, r: 66 }));
  for (const row of rows.filter((one) => one.value > 0)) {
    const part = row.value / whole, to = from + part * 2 * Math.PI;
    picture.append(part > 0.999 ? make("circle", { class: "slice " + row.style, cx: 80, cy: 80, r: 76 })
      : make("path", { class: "slice " + row.style, d: arc(from, to, 76, 80) + "L80 80Z" }));
    from = to;
  }
  return make("div", { class: "pie" }, picture, legend(rows, panel.unit));
}

function drawGauge(data, panel) {
  return make("div", { class: "gauge" }, ...newest(data).map((row) => {
    const picture = make("svg", { viewBox: "0 0 200 122", role: "img", "aria-label": `${panel.title}: ${shown(row.value, panel.unit)}` });
    const part = Math.min(Math.max(row.value, 0), 1);
    picture.append(make("path", { class: "arc track", d: arc(Math.PI, 2 * Math.PI, 84, 100) }));
    if (part > 0) picture.append(make("path", { class: "arc " + level(row.value, panel.thresholds), d: arc(Math.PI, Math.PI * (1 + part), 84, 100) }));
    picture.append(make("text", { class: "value", x: 100, y: 96, "text-anchor": "middle" }, shown(row.value, panel.unit)),
      make("text", { x: 100, y: 116, "text-anchor": "middle" }, row.name));
    return picture;
  }));
}

function drawBar(data, panel) {
  const rows = newest(data), highest = Math.max(1e-9, ...rows.map((row) => row.value));
  return make("div", { class: "bars" }, ...rows.flatMap((row) => {
    const bar = make("div", { class: "bar " + row.style });
    bar.style.width = `${100 * row.value / highest}%`;
    return [make("span", {}, row.name), bar, make("b", {}, shown(row.value, panel.unit))];
  }));
}

const FORMS = { line: drawLine, stat: drawStat, pie: drawPie, gauge: drawGauge, bar: drawBar };

function draw(place, data, panel) {
  const there = panel.kind === "line" ? data.lines.length : newest(data).length;
  place.dataset.lines = there;
  place.replaceChildren(there ? FORMS[panel.kind](data, panel) : make("p", { class: "empty" }, "Nothing was measured yet."));
}

async function ask(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (answer.status === 401) location.reload(); // the stack was started again, or the session is over
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message || body.error?.message || `status ${answer.status}`);
  return body;
}

async function refresh() {
  const mine = ++turn, board = open, state = document.getElementById("state");
  const since = document.getElementById("range").value;
  try {
    await Promise.all(board.panels.map(async (panel) => {
      const data = await ask(`api/dashboards/${board.uid}/panels/${panel.id}/data?since=${since}`);
      if (mine === turn) draw(document.getElementById(`panel-${panel.id}`), data, panel);
    }));
    if (mine === turn) { state.className = ""; state.textContent = "as of " + new Date().toLocaleTimeString([], { hour12: false }); }
  } catch (error) {
    if (mine === turn) { state.className = "wrong"; state.textContent = `No news: ${error.message}`; }
  }
  if (mine === turn) setTimeout(() => { if (mine === turn) refresh(); }, EVERY);
}

function show(board) {
  open = board;
  document.title = `${board.title} – Local AI Suite`;
  for (const button of document.getElementById("boards").children) button.toggleAttribute("aria-current", false);
  document.getElementById(`board-${board.uid}`).setAttribute("aria-current", "page");
  document.getElementById("range").value = board.range > 3600 ? "24h" : "1h";
  document.getElementById("panels").replaceChildren(...board.panels.map((panel) => make("section", {},
    make("h2", {}, panel.title), make("p", {}, panel.sentence), make("div", { class: "body", id: `panel-${panel.id}` }, make("p", { class: "empty" }, "…")))));
  refresh();
}

async function begin() {
  boards = (await ask("api/dashboards")).dashboards;
  document.getElementById("boards").replaceChildren(...boards.map((board) => {
    const button = make("button", { id: `board-${board.uid}`, type: "button" }, board.title);
    button.addEventListener("click", () => { location.hash = board.uid; });
    return button;
  }));
  const chosen = () => show(boards.find((board) => "#" + board.uid === location.hash) || boards[0]);
  addEventListener("hashchange", chosen);
  document.getElementById("range").addEventListener("change", refresh);
  chosen();
}

begin();
