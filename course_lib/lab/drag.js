// A picture with a person's joints on it that can be dragged by mouse, pen or finger, or moved by the arrow keys.
// Python measures: every move sends the joints, and what comes back is a report (HTML) and circles of tolerance.
const SVG = "http://www.w3.org/2000/svg";
const PATIENCE = 4000; // milliseconds without an answer after which the reader is told that nobody measures

function draw(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

// The page already shows the first state as a still picture, just before this widget: two are one too many.
function hideStill(el, frames = 60) {
  if (!el.isConnected) {
    if (frames) requestAnimationFrame(() => hideStill(el, frames - 1));
    return;
  }
  const still = el.closest(".jp-OutputArea-child")?.previousElementSibling;
  if (still?.querySelector("img")) still.style.display = "none";
}

function render({ model, el }) {
  const [width, height] = model.get("size");
  const names = model.get("names");
  const truth = model.get("truth");
  const unit = width / 128;
  let joints = model.get("joints").map((place) => [...place]);
  let active = model.get("active");
  let held = -1;
  let timer = null;

  const root = document.createElement("div");
  root.className = "drag-lab";
  root.dataset.lmSuppressShortcuts = "true"; // arrow keys move joints, not JupyterLab's cells
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group" }, root);
  svg.setAttribute("aria-label", "A person; every joint can be dragged, or moved by the arrow keys when it has focus");
  draw("image", { href: model.get("picture"), width, height }, svg);
  const limbs = draw("g", { "stroke-linecap": "round" }, svg);
  const rings = draw("g", { fill: "none" }, svg);
  const way = draw("line", { class: "way", "stroke-width": unit }, svg);
  const side = document.createElement("div");
  side.className = "side";
  const hint = document.createElement("p");
  hint.textContent = "Drag a joint; or go to one with the Tab key and move it with the arrow keys (Shift: farther).";
  const report = document.createElement("div");
  report.setAttribute("aria-live", "polite");
  const note = document.createElement("p");
  note.className = "note";
  const key = document.createElement("p");
  key.className = "key";
  side.append(hint, report, key, note);

  const lines = model.get("limbs").map(([first, second, colour]) => ({
    first,
    second,
    truth: draw("line", { class: "truth", "stroke-width": 0.9 * unit }, limbs),
    halo: draw("line", { class: "halo", "stroke-width": 2.3 * unit }, limbs),
    line: draw("line", { stroke: colour, "stroke-width": 1.5 * unit }, limbs),
  }));
  const circles = names.map((name, number) => {
    const look = { r: 2.1 * unit, fill: model.get("colours")[number], tabindex: 0, role: "button" };
    const circle = draw("circle", { ...look, "stroke-width": 0.6 * unit }, svg);
    circle.dataset.joint = name;
    circle.addEventListener("focus", () => choose(number));
    circle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 : 1;
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      if (!x && !y) return;
      event.preventDefault();
      event.stopPropagation();
      move(number, joints[number][0] + x * step, joints[number][1] + y * step);
    });
    circle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      circle.setPointerCapture(event.pointerId);
      circle.focus();
      held = number;
    });
    circle.addEventListener("pointermove", (event) => {
      if (held !== number) return;
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      move(number, at.x, at.y);
    });
    for (const end of ["pointerup", "pointercancel"]) circle.addEventListener(end, () => (held = -1));
    return circle;
  });

  const buttons = document.createElement("p");
  for (const [words, places] of [["start again", "start"], ["onto the truth", "truth"]]) {
    const button = document.createElement("button");
    button.textContent = words;
    button.addEventListener("click", () => {
      joints = model.get(places).map((place) => [...place]);
      place();
      send();
    });
    buttons.append(button);
  }
  side.append(buttons);
  root.append(side);
  el.append(root);

  function move(number, x, y) {
    const inside = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 10) / 10;
    joints[number] = [inside(x, width), inside(y, height)];
    active = number;
    place();
    send();
  }

  function choose(number) {
    if (number === active) return;
    active = number;
    place();
    send();
  }

  function send() {
    model.set("joints", joints.map((one) => [...one]));
    model.set("active", active);
    model.set("asked", model.get("asked") + 1);
    model.save_changes();
    timer ??= setTimeout(() => {
      note.textContent = "Nobody measures: run this cell in a notebook with a running kernel.";
    }, PATIENCE);
  }

  function set(line, [x1, y1], [x2, y2]) {
    for (const [key, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(key, value);
  }

  function place() {
    for (const { first, second, truth: dark, halo, line } of lines) {
      set(dark, truth[first], truth[second]);
      set(halo, joints[first], joints[second]);
      set(line, joints[first], joints[second]);
    }
    circles.forEach((circle, number) => {
      const [x, y] = joints[number];
      circle.setAttribute("cx", x);
      circle.setAttribute("cy", y);
      circle.setAttribute("aria-label", `${names[number]} at ${x.toFixed(0)}, ${y.toFixed(0)}`);
      circle.classList.toggle("active", number === active);
    });
    set(way, truth[active], joints[active]);
  }

  function surround() {
    rings.replaceChildren();
    key.replaceChildren();
    const [cx, cy] = truth[active];
    for (const [label, colour, radius] of model.get("circles")) {
      const ring = draw("circle", { cx, cy, r: radius, stroke: colour, "stroke-width": 0.7 * unit }, rings);
      draw("title", {}, ring).textContent = label;
      const words = document.createElement("span");
      words.textContent = label;
      words.style.borderLeftColor = colour;
      key.append(words);
    }
  }

  model.on("change:joints", () => {
    if (held < 0) {
      joints = model.get("joints").map((one) => [...one]);
      place();
    }
  });
  model.on("change:active", () => {
    active = model.get("active");
    place();
  });
  model.on("change:circles", surround);
  model.on("change:report", () => (report.innerHTML = model.get("report")));
  model.on("change:answered", () => {
    clearTimeout(timer);
    timer = null;
    note.textContent = "";
  });
  report.innerHTML = model.get("report");
  place();
  surround();
  hideStill(el);
  return () => clearTimeout(timer);
}

export default { render };
