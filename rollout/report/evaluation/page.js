"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 50;
  const $ = (id) => document.getElementById(id);
  const chips = [...document.querySelectorAll("[data-change]")];
  const fields = { suite: $("suite"), slice: $("slice"), q: $("search") };
  const empty = { change: "", suite: "", slice: "", check: "", q: "", case: "" };
  let filter = { ...empty };
  let shown = PAGE;

  for (const each of data.cases) {
    const words = [each.id, ...each.slices, each.expected, ...each.messages.map((turn) => turn[1])];
    for (const replies of Object.values(each.replies)) words.push(...replies.map((reply) => reply[0]));
    each.words = words.join("\n").toLowerCase();
    each.key = `${each.suite}/${each.id}`;
  }

  // An element with attributes and children; strings are always text.
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(key, "");
      else if (value !== false && value != null) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }

  // Words, and single letters of scripts that put no blanks between them; a letter keeps its marks.
  const DENSE = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}ー]`;
  const TOKEN = new RegExp(String.raw`${DENSE}\p{M}*|(?:(?!${DENSE})[\p{L}\p{N}\p{M}_])+|\s+|[^]`, "gu");
  const tokens = (text) => text.match(TOKEN) || [];

  // What two lists of tokens share, as the longest common subsequence: [kind, text] with kind 0, -1 or 1.
  function compare(before, after) {
    const a = tokens(before), b = tokens(after);
    let start = 0, end = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start++;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
    const x = a.slice(start, a.length - end), y = b.slice(start, b.length - end);
    const parts = [[0, a.slice(0, start)], ...between(x, y), [0, a.slice(a.length - end)]];
    return parts.map(([kind, list]) => [kind, list.join("")]).filter(([, text]) => text);
  }

  function between(x, y) {
    const width = y.length + 1;
    // Beyond this, a diff by words costs more than it tells.
    if ((x.length + 1) * width > 6e6) return [[-1, x], [1, y]];
    const length = new Uint16Array((x.length + 1) * width);
    for (let i = x.length - 1; i >= 0; i--)
      for (let j = y.length - 1; j >= 0; j--)
        length[i * width + j] = x[i] === y[j] ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    const parts = [];
    const put = (kind, token) => {
      const last = parts[parts.length - 1];
      if (last && last[0] === kind) last[1].push(token); else parts.push([kind, [token]]);
    };
    let i = 0, j = 0;
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) { put(0, x[i++]); j++; }
      else if (j >= y.length || (i < x.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) put(-1, x[i++]);
      else put(1, y[j++]);
    }
    return parts;
  }

  const marked = (parts, kind, name) =>
    parts.filter(([of]) => of === 0 || of === kind).map(([of, text]) => (of ? make(name, {}, text) : text));

  function matches(each, but) {
    const f = filter;
    return (but === "change" || !f.change || each.change === f.change)
      && (but === "suite" || !f.suite || each.suite === f.suite)
      && (but === "slice" || !f.slice || each.slices.includes(f.slice))
      && (!f.check || each.checks.includes(f.check))
      && (!f.q || f.q.toLowerCase().split(/\s+/).every((word) => each.words.includes(word)));
  }

  function count(list, of) {
    const found = new Map();
    for (const each of list) for (const key of of(each)) found.set(key, (found.get(key) || 0) + 1);
    return found;
  }

  function drawFilters() {
    const left = data.cases.filter((each) => matches(each, "change"));
    const changes = count(left, (each) => [each.change, ""]);
    for (const chip of chips) {
      chip.querySelector(".n").textContent = changes.get(chip.dataset.change) || 0;
      chip.setAttribute("aria-pressed", chip.dataset.change === filter.change);
    }
    const within = data.cases.filter((each) => matches(each, "slice"));
    const counts = count(within, (each) => each.slices);
    const names = [...new Set(data.cases.flatMap((each) => each.slices))].sort();
    const option = (value, label) => make("option", { value, selected: value === filter.slice }, label);
    fields.slice.replaceChildren(option("", `all (${within.length})`),
      ...names.map((name) => option(name, `${name} (${counts.get(name) || 0})`)));
    if (fields.suite) fields.suite.value = filter.suite;
    if (fields.q.value !== filter.q) fields.q.value = filter.q;
    drawCheck();
  }

  function drawCheck() {
    const line = $("check");
    line.hidden = !filter.check;
    if (!filter.check) return;
    const clear = make("button", { type: "button", class: "button" }, "Show all cases");
    clear.addEventListener("click", () => change({ check: "" }));
    line.replaceChildren("Only cases that count against ", make("code", {}, data.checks[filter.check] || filter.check), clear);
  }

  function drawList() {
    const found = data.cases.filter((each) => matches(each));
    const open = found.findIndex((each) => each.key === filter.case);
    if (open >= shown) shown = open + 1;
    $("count").textContent = `${found.length} of ${data.cases.length} cases`;
    $("list").replaceChildren(...found.slice(0, shown).map(row));
    $("more").hidden = found.length <= shown;
    $("more").textContent = `Show ${Math.min(PAGE, found.length - shown)} more`;
  }

  function row(each) {
    const id = `case-${data.cases.indexOf(each)}`;
    const prompt = each.messages.length ? each.messages[each.messages.length - 1][1] : "an item of an outside task";
    const button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": id },
      make("span", { class: `tag ${each.change}` }, each.change), make("span", { class: "id" }, each.id),
      make("span", { class: "preview", dir: "auto" }, prompt), make("span", { class: "in" }, each.slices[0]));
    const panel = make("div", { class: "panel", id, hidden: true });
    const toggle = (open) => {
      button.setAttribute("aria-expanded", open);
      panel.hidden = !open;
      if (open && !panel.firstChild) fill(panel, each, { base: false, repeat: 0 });
    };
    button.addEventListener("click", () => {
      const open = panel.hidden;
      toggle(open);
      filter.case = open ? each.key : "";
      writeHash();
    });
    if (each.key === filter.case) toggle(true);
    return make("li", { class: "case" }, make("h3", {}, button), panel);
  }

  function fill(panel, each, view) {
    const opponent = data.opponent[each.suite];
    const again = (update) => () => fill(panel, each, { ...view, ...update });
    const text = (side) => ((each.replies[side] || [])[view.repeat] || ["", ""]);
    const parts = compare(text(opponent)[0], text("candidate")[0]);
    const bar = make("div", { class: "bar" });
    const press = (label, pressed, update) => {
      const button = make("button", { type: "button", class: "button", "aria-pressed": String(pressed) }, label);
      button.addEventListener("click", () => {
        again(update)();
        [...panel.querySelectorAll(".bar button")].find((other) => other.textContent === label)?.focus();
      });
      bar.append(button);
    };
    const repeats = (each.replies.candidate || []).length;
    if (opponent !== "base" && each.replies.base) press("Show base", view.base, { base: !view.base });
    if (repeats > 1) for (let i = 0; i < repeats; i++) press(`Answer ${i + 1}`, view.repeat === i, { repeat: i });
    const sides = make("div", { class: "answers" },
      answer(opponent, text(opponent)[1], marked(parts, -1, "del")),
      answer("candidate", text("candidate")[1], marked(parts, 1, "ins")),
      view.base ? answer("base", text("base")[1], [text("base")[0]], "quiet") : null);
    const expected = each.expected ? answer("expected", "", [each.expected], "quiet") : null;
    panel.replaceChildren(...[...prompts(each), expected, bar.firstChild ? bar : null,
      repeats ? sides : null, scores(each)].filter(Boolean));
  }

  function answer(name, about, children, kind = "") {
    const empty = !children.some((child) => (child.textContent ?? child).trim());
    const content = empty ? [make("span", { class: "empty" }, "(empty)")] : children;
    return make("section", { class: `answer ${kind}`, "data-side": name },
      make("h4", {}, name, make("span", {}, about)), make("pre", { dir: "auto" }, ...content));
  }

  function prompts(each) {
    const last = each.messages.length - 1;
    const before = each.messages.slice(0, Math.max(0, last)).map(([role, text]) => answer(role, "", [text], "prose"));
    const folded = before.length
      ? make("details", {}, make("summary", {}, before.length === 1 ? `${each.messages[0][0]} message` : `${before.length} messages before`), ...before) : null;
    return [folded, last >= 0 ? answer("prompt", "", [each.messages[last][1]], "prose") : null];
  }

  function scores(each) {
    const sides = Object.keys(each.replies);
    const head = make("tr", {}, ...["score", ...sides, "change"].map((name, i) => make("th", { scope: "col", class: i ? "number" : null }, name)));
    const rows = each.scores.map(([title, ...cells]) => {
      const direction = cells.pop();
      const tds = cells.map((cell, i) => make("td", { class: `number${i === cells.length - 1 && direction ? (direction > 0 ? " better" : " worse") : ""}` }, cell));
      return make("tr", {}, make("th", { scope: "row" }, title), ...tds);
    });
    return make("div", { class: "scores" }, make("table", {}, make("caption", { class: "hidden" }, "Scores of this case"), make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  function change(update) {
    filter = { ...filter, case: "", ...update };
    shown = PAGE;
    writeHash();
    drawFilters();
    drawList();
  }

  function writeHash() {
    const set = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
    const hash = String(set);
    if (hash || location.hash.includes("=")) history.replaceState(null, "", hash ? `#${hash}` : "#cases");
  }

  function readHash() {
    if (location.hash && !location.hash.includes("=")) return;
    const set = new URLSearchParams(location.hash.slice(1));
    filter = Object.fromEntries(Object.keys(empty).map((key) => [key, set.get(key) || ""]));
    drawFilters();
    drawList();
    if (location.hash) {
      $("cases").scrollIntoView();
      document.querySelector('.case [aria-expanded="true"]')?.scrollIntoView({ block: "center" });
    }
  }

  for (const chip of chips) chip.addEventListener("click", () => change({ change: chip.dataset.change }));
  fields.slice.addEventListener("change", () => change({ slice: fields.slice.value }));
  fields.suite?.addEventListener("change", () => change({ suite: fields.suite.value }));
  let typing;
  fields.q.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ q: fields.q.value.trim() }), 120);
  });
  $("more").addEventListener("click", () => { shown += PAGE; drawList(); });
  addEventListener("hashchange", readHash);

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-check], [data-slice]");
    if (link) {
      event.preventDefault();
      const { check, slice, suite } = link.dataset;
      change({ ...empty, ...(check ? { check } : { slice, suite: fields.suite ? suite : "" }) });
      $("cases").scrollIntoView();
      $("cases").focus({ preventScroll: true });
      return;
    }
    const copy = event.target.closest("[data-copy]");
    if (copy) copyText(copy);
    const unfold = event.target.closest("[data-unfold]");
    if (unfold) {
      for (const line of unfold.closest("section").querySelectorAll("tr[hidden]")) line.hidden = false;
      unfold.remove();
    }
  });

  async function copyText(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      // A page from a file may not write to the clipboard: select it, so that one key does.
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    fields.q.focus();
  });

  drawFilters();
  drawList();
  readHash();
})();
