"use strict";
(() => {
  const section = document.getElementById("explorer");
  const data = JSON.parse(section.querySelector("script").textContent);
  const { unit, facts, splits, scale, steps } = data;
  const columns = Object.entries(data.neurons);
  const neurons = scale.map((_, index) =>
    Object.fromEntries(columns.map(([name, values]) => [name, values[index] ?? undefined])),
  );
  const MOST_FACTS = 40;
  const bytes = Uint8Array.from(atob(steps), (sign) => sign.charCodeAt(0));
  const numbers = new DataView(bytes.buffer);
  const find = (selector) => section.querySelector(selector);
  const [site, layer, neuron] = ["site", "layer", "neuron"].map((name) => find(`[name=${name}]`));

  // Ordered by neuron, then before and after, then fact: little-endian two-byte integers.
  const influence = (index, time, fact) =>
    scale[index] * numbers.getInt16(2 * ((2 * index + time) * facts.length + fact), true);

  const text = (value) => {
    if (value === undefined) return "–";
    const [digits, power] = (value === 0 ? "0" : value.toPrecision(3)).split("e");
    const shown = power === undefined ? digits : `${digits}·10^${Number(power)}`;
    return shown.replaceAll("-", "−");
  };

  const element = (name, content, more = {}) => {
    const made = document.createElement(name);
    made.textContent = content;
    Object.assign(made, more);
    return made;
  };

  function offer(select, values, label) {
    select.replaceChildren(...values.map((value) => element("option", label(value), { value })));
  }

  const chosen = (...by) =>
    neurons.map((_, index) => index).filter((index) => by.every((test) => test(neurons[index])));
  const atSite = (one) => one.site === site.value;
  const atLayer = (one) => String(one.layer) === layer.value;

  function offerLayers() {
    const layers = [...new Set(chosen(atSite).map((index) => neurons[index].layer))];
    offer(layer, layers.sort((one, other) => one - other), String);
  }

  function offerNeurons() {
    offer(neuron, chosen(atSite, atLayer), (index) => {
      const { neuron, before, after, spurious } = neurons[index];
      return `${neuron} (${text(after - before)}${spurious ? ", spurious" : ""})`;
    });
  }

  function show() {
    const index = Number(neuron.value);
    const one = neurons[index];
    const expert = one.expert === undefined || one.expert < 0 ? "" : ` (expert ${one.expert}, index ${one.index})`;
    find("#explored").textContent =
      `${one.site}, layer ${one.layer}, neuron ${one.neuron}${expert}${one.spurious ? ": spurious" : ""}`;
    const figures = [
      [`mean over the forget set, before (${unit})`, one.before],
      ["after", one.after],
      ["D⁻", one.d_minus],
      ["D⁺", one.d_plus],
      ["q", one.q],
      ["causal share", one.causal_share],
    ];
    find(".figures").replaceChildren(
      ...figures
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => {
          const pair = element("div", "");
          pair.append(element("dt", name), element("dd", text(value)));
          return pair;
        }),
    );
    find(".tokens").hidden = find("[data-about=tokens]").hidden = one.promotes === undefined;
    for (const name of ["promotes", "suppresses"]) {
      const tokens = (one[name] ?? []).map((token) => element("code", JSON.stringify(token)));
      find(`[data-tokens=${name}]`).replaceChildren(...tokens.flatMap((token) => [token, " "]));
    }
    showFacts(index);
  }

  function showFacts(index) {
    const rows = facts.map((fact, at) => {
      const [before, after] = [influence(index, 0, at), influence(index, 1, at)];
      return { fact, split: splits[at], before, after, change: after - before };
    });
    rows.sort((one, other) => Math.abs(other.change) - Math.abs(one.change));
    const shown = rows.slice(0, MOST_FACTS);
    const ends = shown.flatMap((row) => [row.before, row.after]);
    const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
    const place = (value) => (100 * (value - low)) / (high - low || 1);
    find("[data-about=facts]").textContent =
      shown.length < rows.length
        ? `The ${shown.length} of ${rows.length} facts with the largest change; click a heading to sort.`
        : "Sorted by the size of the change; click a heading to sort.";
    for (const heading of section.querySelectorAll("[aria-sort]")) heading.removeAttribute("aria-sort");
    find("tbody").replaceChildren(...shown.map((row) => line(row, place)));
  }

  function line(row, place) {
    const made = element("tr", "");
    for (const name of ["fact", "split", "before", "after", "change"]) {
      const number = typeof row[name] === "number";
      const cell = element("td", number ? text(row[name]) : row[name], { className: number ? "number" : "" });
      cell.dataset.key = row[name];
      made.append(cell);
    }
    const bars = element("td", "", { className: "bars" });
    for (const name of ["before", "after"]) {
      const bar = element("i", "", { className: name });
      bar.style.left = `${Math.min(place(0), place(row[name]))}%`;
      bar.style.width = `${Math.abs(place(row[name]) - place(0))}%`;
      bars.append(bar);
    }
    made.append(bars);
    return made;
  }

  site.addEventListener("change", () => { offerLayers(); offerNeurons(); show(); });
  layer.addEventListener("change", () => { offerNeurons(); show(); });
  neuron.addEventListener("change", show);

  // Start with the neuron that changed most.
  offer(site, [...new Set(neurons.map((one) => one.site))], String);
  site.value = neurons[0].site;
  offerLayers();
  layer.value = String(neurons[0].layer);
  offerNeurons();
  show();
  section.hidden = false;
})();
