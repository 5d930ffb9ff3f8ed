// Read a curve's values under the pointer. The page is complete without this script.
for (const svg of document.querySelectorAll("svg.chart[data-x]")) {
  const [left, right, top, bottom, width] = [46, 410, 10, 184, 420];
  const [x0, x1] = svg.dataset.x.split(" ").map(Number);
  const [y0, y1] = svg.dataset.y.split(" ").map(Number);
  const log = svg.dataset.log === "1", percent = svg.dataset.pct === "1";
  const lines = [...svg.querySelectorAll(".line")].map((g) => [
    g.dataset.label,
    [...g.querySelectorAll(":not(.raw)")].flatMap((shape) =>
      shape.points ? [...shape.points].map((p) => [p.x, p.y]) : [[shape.cx.baseVal.value, shape.cy.baseVal.value]]),
  ]);
  const value = (y) => {
    const part = (bottom - y) / (bottom - top);
    const v = log ? y0 * Math.pow(y1 / y0, part) : y0 + part * (y1 - y0);
    return percent ? (100 * v).toFixed(1) + "%" : Number(v.toPrecision(3)).toString();
  };
  const box = document.createElement("div");
  const cursor = document.createElementNS(svg.namespaceURI, "line");
  box.className = "tip-box";
  cursor.setAttribute("class", "cursor");
  const hide = () => { box.remove(); cursor.remove(); };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const at = ((event.clientX - frame.left) / frame.width) * width;
    if (at < left || at > right) return hide();
    const nearest = (points) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
    const found = lines.filter(([, points]) => points.length).map(([label, points]) => [label, nearest(points)]);
    const x = nearest(found.map(([, point]) => point))[0];
    const step = Math.round(x0 + ((x - left) / (right - left)) * (x1 - x0));
    box.textContent = [`step ${step}`, ...found.map(([label, p]) => `${label}  ${value(p[1])}`)].join("\n");
    for (const [name, v] of [["x1", x], ["x2", x], ["y1", top], ["y2", bottom]]) cursor.setAttribute(name, v);
    svg.append(cursor);
    svg.parentElement.append(box);
    const side = x < (left + right) / 2;
    box.style.left = side ? `${(x / width) * 100 + 2}%` : "auto";
    box.style.right = side ? "auto" : `${100 - (x / width) * 100 + 2}%`;
  });
}
