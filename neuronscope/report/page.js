"use strict";
(() => {
  const dark = Object.entries(JSON.parse(document.getElementById("dark").textContent));
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  const points = window.matchMedia("(hover: hover)").matches;
  const settings = { responsive: true, displaylogo: false, displayModeBar: points ? "hover" : false };
  const PAPER_WIDTH = 680;

  // Colours are whole strings in the figure's JSON, so that a page's dark twin is a replacement.
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

  function sort(heading) {
    const table = heading.closest("table");
    const body = table.tBodies[0];
    const column = heading.cellIndex;
    const sign = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.key;
    const numeric = [...body.rows].every((row) => !Number.isNaN(Number(key(row))) || key(row) === "nan");
    const value = (row) => (key(row) === "nan" ? -Infinity : Number(key(row)));
    const order = numeric
      ? (one, other) => value(one) - value(other)
      : (one, other) => key(one).localeCompare(key(other), undefined, { numeric: true });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...[...body.rows].sort((one, other) => sign * order(one, other)));
  }
  for (const button of document.querySelectorAll(".sortable button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
})();
