"use strict";
(() => {
  const dark = Object.entries(JSON.parse(document.getElementById("dark").textContent));
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  const points = window.matchMedia("(hover: hover)").matches;
  const settings = { responsive: true, displaylogo: false, displayModeBar: points ? "hover" : false };
  const PAPER_WIDTH = 680;

  // Colours are whole strings in the figure's JSON, so the dark theme is a text replacement.
  function draw(figure, paper) {
    let text = figure.querySelector("script").textContent;
    if (night.matches && !paper) {
      for (const [light, instead] of dark) text = text.replaceAll(`"${light}"`, `"${instead}"`);
    }
    const { data, layout } = JSON.parse(text);
    if (paper) layout.width = PAPER_WIDTH;
    Plotly.react(figure.querySelector(".plot"), data, layout, settings);
  }

  const figures = [...document.querySelectorAll("figure")];
  const visible = (figure) => !figure.closest("details:not([open])");
  const drawAll = (paper) => figures.filter(visible).forEach((figure) => draw(figure, paper));

  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => {
      for (const figure of details.querySelectorAll("figure")) {
        if (details.open) draw(figure, false);
      }
    });
  }
  night.addEventListener("change", () => drawAll(false));
  window.addEventListener("beforeprint", () => drawAll(true));
  window.addEventListener("afterprint", () => drawAll(false));
  drawAll(false);

  // In a table with several bodies, each body holds a row and the rows folded below it; they move together.
  function sort(heading) {
    const table = heading.closest("table");
    const bodies = [...table.tBodies];
    const lines = bodies.length > 1 ? bodies : [...bodies[0].rows];
    const column = heading.cellIndex;
    const sign = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
    const key = (line) => (line.rows ? line.rows[0] : line).cells[column].dataset.key;
    const numeric = lines.every((line) => !Number.isNaN(Number(key(line))) || key(line) === "nan");
    const value = (line) => (key(line) === "nan" ? -Infinity : Number(key(line)));
    const order = numeric
      ? (one, other) => value(one) - value(other)
      : (one, other) => key(one).localeCompare(key(other), undefined, { numeric: true });
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    lines[0].parentElement.append(...lines.sort((one, other) => sign * order(one, other)));
  }
  for (const button of document.querySelectorAll(".sortable thead button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // The script folds the rows; without it, all rows are visible.
  for (const body of document.querySelectorAll(".folded tbody")) {
    const parts = [...body.rows].slice(1);
    if (parts.length === 0) continue;
    const name = body.rows[0].cells[0];
    const button = document.createElement("button");
    button.type = "button";
    // A link inside a button cannot be followed.
    const links = name.querySelector(".links");
    button.append(...[...name.childNodes].filter((node) => node !== links));
    name.prepend(button);
    const fold = (open) => {
      button.setAttribute("aria-expanded", String(open));
      for (const part of parts) part.hidden = !open;
    };
    button.addEventListener("click", () => fold(button.getAttribute("aria-expanded") === "false"));
    fold(false);
  }
})();
