"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const svgNS = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(svgNS, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const bdi = (text) => make("bdi", {}, text);
const minus = (x) => String(x).replaceAll("-", "−");
const short = (x) => {
  if (x === null || x === undefined) return "–";
  const size = Math.abs(x);
  if (size >= 1e300) return x > 0 ? "∞" : "−∞";
  const text = x === 0 ? "0" : size >= 1e5 || size < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
  return minus(text);
};
const signed = (x) => (x > 0 ? "+" : "") + short(x);

// --- formulas: read and computed as gnivo_edu.objectives.formulas does ----------------------------

const FUNCTIONS = {
  exp: Math.exp,
  sqrt: Math.sqrt,
  min: Math.min,
  max: Math.max,
  sigma: (x) => 1 / (1 + Math.exp(-x)),
  kept: (A, u, low, high, dual) => Number(A >= 0 ? u <= high : u >= low && u <= dual),
};

function compute(expression, numbers) {
  const parts = expression.match(/[A-Za-z_]\w*|\d+\.?\d*(?:e[-+]?\d+)?|[-+*/(),]/g);
  let at = 0;
  const sum = () => {
    let x = product();
    while (parts[at] === "+" || parts[at] === "-") x = parts[at++] === "+" ? x + product() : x - product();
    return x;
  };
  const product = () => {
    let x = factor();
    while (parts[at] === "*" || parts[at] === "/") x = parts[at++] === "*" ? x * factor() : x / factor();
    return x;
  };
  const factor = () => {
    const part = parts[at++];
    if (part === "-") return -factor();
    if (part === "(") {
      const x = sum();
      at++;
      return x;
    }
    if (/^\d/.test(part)) return Number(part);
    if (parts[at] !== "(") return numbers[part];
    const given = [];
    do {
      at++;
      given.push(sum());
    } while (parts[at] === ",");
    at++;
    return FUNCTIONS[part](...given);
  };
  return sum();
}

const GREEK = { alpha: "α", gamma: "γ", lam: "λ", delta: "δ", logp: "log π", old: "log π_b", ref: "log π_ref", sigma: "σ", sqrt: "√", log_Z: "log Z", logp_step: "log π(step)", old_step: "log π_b(step)", ref_step: "log π_ref(step)" };
const named = (symbol) => GREEK[symbol] ?? symbol.replace(/^mean_/, "mean ").replace(/^std_/, "std ").replace(/^var_/, "var ");
const written = (expression, put) =>
  expression.replace(/[A-Za-z_]\w*(?!\w*\()/g, (symbol) => put(symbol)).replace(/(\w+)(?=\()/g, (name) => GREEK[name] ?? name)
    .replace(/\*/g, "·").replace(/-/g, "−");

function numbersOf(group, answer, t) {
  const own = answer.tokens;
  const here = { ...group.numbers, ...answer.numbers };
  for (const [symbol, row] of Object.entries(own)) if (!(symbol in here) && row.length) here[symbol] = row[t];
  here.old = (own.old ?? own.logp ?? [])[t];
  return here;
}

// What a token's formula says: its numbers, its lines and the value of each.
function explain(group, answer, t) {
  const formula = data.formulas[group.formula];
  const all = numbersOf(group, answer, t);
  const numbers = Object.fromEntries(Object.keys(formula.words).map((symbol) => [symbol, all[symbol]]));
  const known = { ...numbers };
  const lines = formula.lines.map((line) => {
    const before = { ...known };
    known[line.symbol] = compute(line.expression, known);
    return { ...line, value: known[line.symbol], before };
  });
  return { numbers, lines, words: formula.words, scored: formula.scored, signal: known.signal };
}

// --- quantities -----------------------------------------------------------------------------------

const QUANTITY = {
  signal: (a) => a.tokens.signal,
  advantage: (a) => a.tokens.A ?? (a.advantage === null ? undefined : a.texts.map(() => a.advantage)),
  credit: (a) => a.tokens.ref && a.tokens.logp.map((x, t) => x - a.tokens.ref[t]),
  value: (a) => {
    let sum = 0;
    return QUANTITY.credit(a)?.map((x) => (sum += x));
  },
  moved: (a) => a.tokens.logp?.map((x, t) => x - (a.tokens.old ?? a.tokens.logp)[t]),
  kl: (a) => a.tokens.kl ?? (a.tokens.ref && a.tokens.logp.map((x, t) => Math.expm1(a.tokens.ref[t] - x) + x - a.tokens.ref[t])),
  entropy: (a) => a.tokens.entropy,
  critic: (a) => a.tokens.V,
};

// --- curves ---------------------------------------------------------------------------------------

const shownSteps = [...new Set(data.groups.map((group) => group.step))];
const state = { step: shownSteps[0], group: data.groups[0], question: data.groups[0]?.question, answer: 0, token: null, colour: null };
const movers = [];

function path(xs, ys) {
  return xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}`).join("");
}

function drawCurve(curve) {
  const [W, H, left, foot] = [300, 130, 44, 18];
  const ends = [curve.steps[0], curve.steps.at(-1)];
  const all = [...curve.values, ...curve.low, ...curve.high].filter((x) => x !== null);
  let [low, high] = [Math.min(...all), Math.max(...all)];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const X = (s) => left + ((W - left - 4) * (s - ends[0])) / Math.max(1, ends[1] - ends[0]);
  const Y = (y) => 6 + (H - foot - 6) * (1 - (y - low) / (high - low));
  const keep = curve.steps.map((_, i) => i).filter((i) => curve.values[i] !== null && curve.low[i] !== null);
  const xs = keep.map((i) => X(curve.steps[i]));
  const of = (name) => keep.map((i) => Y(curve[name][i]));
  const said = `${curve.label}: ${short(curve.mean[0])} at step ${ends[0]}, ${short(curve.mean.at(-1))} at step ${ends[1]}`;
  const svg = make("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": said });
  const back = (points) => points.slice().reverse();
  for (const y of [low, high]) {
    svg.append(make("svg:line", { class: "rule", x1: left, x2: W, y1: Y(y), y2: Y(y) }));
    svg.append(make("svg:text", { x: left - 5, y: Y(y) + 4, "text-anchor": "end" }, short(Math.abs(y) < (high - low) * 1e-6 ? 0 : Number(y.toPrecision(3)))));
  }
  svg.append(make("svg:path", { class: "band", d: `${path(xs, of("high"))}${path(back(xs), back(of("low"))).replace("M", "L")}Z` }));
  svg.append(make("svg:path", { class: "raw", d: path(xs, of("values")) }));
  svg.append(make("svg:path", { class: "mean", d: path(xs, of("mean")) }));
  svg.append(make("svg:text", { x: left, y: H - 2 }, `step ${ends[0]}`));
  svg.append(make("svg:text", { x: W - 4, y: H - 2, "text-anchor": "end" }, String(ends[1])));
  const now = make("svg:line", { class: "now", y1: 4, y2: H - foot });
  movers.push(() => ["x1", "x2"].forEach((end) => now.setAttribute(end, X(Math.min(Math.max(state.step, ends[0]), ends[1])))));
  if (shownSteps.length) svg.append(now);
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * W;
    goTo(ends[0] + ((x - left) / (W - left - 4)) * (ends[1] - ends[0]));
  });
  const unit = curve.unit ? make("span", { class: "soft" }, ` · ${curve.unit}`) : "";
  return make("figure", {}, make("figcaption", {}, curve.label, unit), svg);
}

function spark(rates) {
  const top = Math.max(...rates, 1e-9);
  const xs = rates.map((_, i) => (120 * i) / Math.max(1, rates.length - 1));
  const svg = make("svg:svg", { viewBox: "0 0 120 24", class: "spark", "aria-hidden": "true" });
  svg.append(make("svg:path", { class: "mean", d: path(xs, rates.map((y) => 22 - (20 * y) / top)) }));
  return svg;
}

// --- groups ---------------------------------------------------------------------------------------

const spreading = new Set(data.spread.map((row) => row.token));
const colours = Object.fromEntries(data.quantities.map((q) => [q.key, q]));

function goTo(step) {
  if (!shownSteps.length) return;
  const nearest = shownSteps.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a));
  const here = data.groups.filter((group) => group.step === nearest);
  const group = here.find((g) => g.question === state.question) ?? here[0];
  choose(group);
}

function choose(group) {
  const place = [state.answer, state.token];
  Object.assign(state, { group, step: group.step, answer: 0, token: null });
  $("step").value = shownSteps.indexOf(group.step);
  $("step").setAttribute("aria-valuetext", `step ${group.step}`);
  $("step-number").textContent = group.step;
  const here = data.groups.filter((g) => g.step === group.step).sort((a, b) => a.question - b.question || a.update - b.update);
  $("question").replaceChildren(
    ...here.map((g) => {
      const update = here.some((other) => other.update !== g.update) ? `, update ${g.update}` : "";
      const option = make("option", { value: data.groups.indexOf(g) }, `${g.question}${update}: ${g.prompt.join(" ").slice(0, 60)}`);
      option.selected = g === group;
      return option;
    }),
  );
  $("prompt").replaceChildren(...group.prompt.flatMap((line, i) => (i ? [make("br"), bdi(line)] : [bdi(line)])));
  movers.forEach((move) => move());
  drawAnswers();
  // The place that was chosen stays chosen where this group has it.
  if (place[1] !== null && place[1] < (group.answers[place[0]]?.texts.length ?? 0)) select(...place, false);
}

function drawAnswers() {
  const group = state.group;
  $("answers").replaceChildren(
    ...group.answers.map((answer, k) => {
      const parts = Object.keys(answer.parts).length > 1 ? ` (${Object.entries(answer.parts).map(([n, x]) => `${n} ${short(x)}`).join(", ")})` : "";
      const by = answer.sampler === "policy" ? "" : ` · by ${answer.sampler}`;
      const advantage = answer.advantage === null ? "" : ` · advantage ${signed(answer.advantage)}`;
      const head = make("h3", {}, `Answer ${k + 1} · reward ${short(answer.reward)}${parts}${advantage}${by}${answer.truncated ? " · cut off" : ""}`);
      const strip = make("div", { class: "strip", role: "group", "aria-label": `Tokens of answer ${k + 1}` });
      answer.texts.forEach((text, t) => {
        const node = make("button", { type: "button", class: "t", tabindex: k || t ? -1 : 0, "aria-pressed": "false", "data-k": k, "data-t": t }, bdi(text));
        strip.append(node, text.endsWith("⏎") ? make("br") : make("wbr"));
      });
      return make("div", { class: "answer" }, head, strip);
    }),
  );
  paint();
  drawSteps();
  clearPanel();
}

function clearPanel() {
  state.token = null;
  for (const node of $("answers").querySelectorAll(".t[aria-pressed=true]")) node.setAttribute("aria-pressed", "false");
  $("panel").classList.remove("open");
  $("formula").replaceChildren(make("p", { class: "soft" }, "Click a token, or go to it with the arrow keys: the formula of the objective appears with that token's own numbers in it."));
  $("panel-head").textContent = "Choose a token";
}

function close() {
  const node = $("answers").querySelector(".t[aria-pressed=true]");
  clearPanel();
  node?.focus();
}

// A table that is wider than its place says so.
function hint() {
  for (const place of document.querySelectorAll(".wide")) place.classList.toggle("over", place.scrollWidth > place.clientWidth + 1);
}

// What a colour says; entropy and KL are never below 0.
const twoSided = (above, below) => `Blue, solid: ${above}; orange, dashed: ${below}.`;
const LEGEND = {
  signal: twoSided("the update makes the token likelier", "less likely"),
  credit: twoSided("the policy likes the token better than its reference does", "worse"),
  value: twoSided("the policy likes the answer up to here better than its reference does", "worse"),
  advantage: twoSided("above 0, better than what it is measured against", "below 0, worse"),
  moved: twoSided("the token has become likelier since it was written", "less likely"),
  kl: "The stronger the blue, the farther the policy is from its reference.",
  entropy: "The stronger the blue, the more open it was which token comes next.",
  critic: twoSided("the critic expected a reward above 0", "below 0"),
};
const inUnit = (text, quantity) => (quantity.unit ? `${text} ${quantity.unit}` : text);

function paint() {
  const quantity = colours[state.colour];
  const read = QUANTITY[state.colour];
  const rows = state.group.answers.map((answer) => (read ? read(answer) : undefined));
  const mark = $("marked")?.checked;
  for (const node of $("answers").querySelectorAll(".t")) {
    const [k, t] = [Number(node.dataset.k), Number(node.dataset.t)];
    const answer = state.group.answers[k];
    const x = rows[k]?.[t];
    const part = quantity && x ? Math.min(1, Math.abs(x) / quantity.scale) : 0;
    // Below a fiftieth of the scale nothing is coloured: that would be rounding.
    const level = part < 0.02 ? 0 : Math.max(1, Math.round(8 * part));
    node.className = `t${level ? (x > 0 ? ` plus p${level}` : ` minus m${level}`) : ""}`;
    if (t && answer.steps[t] !== answer.steps[t - 1]) node.classList.add("step");
    if (mark && spreading.has(answer.texts[t])) node.classList.add("mark");
    node.title = x === undefined || x === null ? "" : `${quantity.label}: ${inUnit(signed(x), quantity)}`;
  }
  if (!quantity) return;
  const all = `${LEGEND[quantity.key]} Full colour at ${inUnit(short(quantity.scale), quantity)}, on one scale for all steps of this page.`;
  const flat = { credit: "the policy is still its reference", value: "the policy is still its reference", moved: "the answers are the policy's own, and it has not moved yet", kl: "the policy is still its reference" };
  $("legend").textContent = quantity.flat ? `Nothing is coloured: all of these numbers are 0, or rounding${flat[quantity.key] ? ` (${flat[quantity.key]})` : ""}. Choose another colour.` : all;
}

function drawSteps() {
  const answer = state.group.answers[state.answer];
  const count = Math.max(...answer.steps) + 1;
  const texts = Array.from({ length: count }, () => "");
  const credit = QUANTITY.credit(answer);
  const credits = credit ? Array(count).fill(0) : null;
  answer.steps.forEach((s, t) => {
    texts[s] += answer.texts[t];
    if (credits) credits[s] += credit[t];
  });
  const own = ([name]) => (name === data.objective ? 0 : 1);
  const signals = Object.entries(answer.signals ?? {}).sort((a, b) => own(a) - own(b));
  const columns = [["implicit credit, nats", credits, colours.credit?.scale], ...signals].filter(([, x]) => x);
  $("steps-note").textContent =
    `Answer ${state.answer + 1}. Its implicit credit, log π/π_ref of the step, and the signal that each method gives to the step's tokens, added up: that of this run with its own settings, the others with their defaults at its alpha. Each column has its own scale.`;
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "step"), ...columns.map(([name]) => make("th", { scope: "col", class: "n" }, name === data.objective ? `${name} (this run)` : name))));
  const rows = texts.map((text, s) => {
    const cells = columns.map(([, values, fixed]) => {
      const top = fixed ?? Math.max(...values.map(Math.abs));
      const x = values[s];
      const part = top > 1e-12 ? Math.min(1, Math.abs(x) / top) : 0;
      const level = part < 0.02 ? 0 : Math.max(1, Math.round(8 * part));
      return make("td", { class: `n${level ? (x > 0 ? ` p${level}` : ` m${level}`) : ""}` }, signed(x));
    });
    return make("tr", {}, make("th", { scope: "row" }, make("span", { class: "mono" }, bdi(text.length > 80 ? `${text.slice(0, 79)}…` : text))), ...cells);
  });
  $("steps").replaceChildren(head, make("tbody", {}, ...rows));
  hint();
}

function select(k, t, focus = true) {
  const answer = state.group.answers[k];
  const changed = state.answer !== k;
  Object.assign(state, { answer: k, token: t });
  for (const node of $("answers").querySelectorAll(".t[aria-pressed=true], .t[tabindex='0']")) {
    node.setAttribute("aria-pressed", "false");
    node.tabIndex = -1;
  }
  const node = $("answers").querySelector(`[data-k="${k}"][data-t="${t}"]`);
  node.setAttribute("aria-pressed", "true");
  node.tabIndex = 0;
  if (changed) drawSteps();
  drawPanel(answer, t);
  $("panel").classList.add("open");
  $("panel").scrollTop = 0;
  if (focus) {
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest" }); // not behind the panel
  }
  hint();
}

function row(cells) {
  return make("tr", {}, ...cells.map((cell, i) => make(i ? "td" : "th", i ? { class: i === cells.length - 1 ? "n" : "" } : { scope: "row" }, cell)));
}

function drawPanel(answer, t) {
  const { logp, ref, entropy } = answer.tokens;
  const old = answer.tokens.old ?? logp;
  $("panel-head").replaceChildren("Token ", make("span", { class: "mono" }, "“", bdi(answer.texts[t]), "”"), ` · ${t + 1} of ${answer.texts.length}`);
  const body = $("formula");
  body.replaceChildren();
  const told = state.group.formula === null ? null : explain(state.group, answer, t);
  const what = told?.scored === "policy_logps" ? "log π of this token" : "V_θ after this token";
  const goes = Math.abs(told?.signal) < 1e-12 ? "The update leaves this token alone." : `The update makes this token ${told?.signal > 0 ? "likelier" : "less likely"}.`;
  // What the formula comes to stands first, to be in sight.
  if (told) body.append(make("p", { class: "outcome" }, "signal = ", make("strong", {}, short(told.signal))), make("p", {}, `That is −dL/d(${what}), loss per nat. ${goes}`));
  const seen = [];
  if (logp) seen.push(["chance under the policy", Math.exp(logp[t])], ["under who wrote it", Math.exp(old[t])], ["under the reference", Math.exp(ref[t])]);
  const value = QUANTITY.value(answer);
  if (value) seen.push(["implicit value after it, less log Z, nats", value[t]]);
  if (entropy) seen.push(["entropy before it, nats", entropy[t]]);
  body.append(make("table", {}, make("tbody", {}, ...seen.map(([name, x]) => row([name, short(x)])))));
  if (!told) {
    body.append(make("p", { class: "soft" }, data.objective ? "The formula needs what this record does not hold, or the objective is not one of the registry." : "This record is of another trainer and holds no log-probabilities: there is no formula to fill in."));
    $("said").textContent = `Token ${t + 1}`;
    return;
  }
  if (data.equation) body.append(make("h3", {}, data.objective), make("pre", {}, data.equation.replace(/(?<=\de|\s)-/g, "−")));
  for (const line of told.lines) {
    const last = line.symbol === "signal";
    const filled = written(line.expression, (symbol) => (symbol in line.before ? bracketed(line.before[symbol]) : symbol));
    body.append(
      make("div", { class: last ? "line result" : "line" },
        make("span", { class: "soft" }, line.words), make("br"),
        `${last ? "signal" : named(line.symbol)} = ${written(line.expression, named)}`, make("br"),
        `= ${filled} = `, make("strong", { "data-symbol": line.symbol, "data-value": String(line.value) }, short(line.value))),
    );
  }
  const recorded = answer.tokens.signal?.[t];
  if (recorded !== undefined) body.append(make("p", { class: "soft" }, `On record, as the update took it: ${minus(recorded)}`));
  const rows = Object.entries(told.numbers).map(([symbol, x]) => row([named(symbol), told.words[symbol], make("span", { "data-number": symbol }, minus(x))]));
  body.append(make("h3", {}, "Its numbers"), make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Numbers of the token" }, make("table", {}, make("tbody", {}, ...rows))));
  $("said").textContent = `Token ${t + 1}, signal ${signed(told.signal)}. ${goes}`;
}

const bracketed = (x) => (x < 0 ? `(${short(x)})` : short(x));

// --- begin ----------------------------------------------------------------------------------------

$("curves").append(...data.curves.map(drawCurve));
for (const cell of document.querySelectorAll("[data-rates]")) cell.append(spark(data.spread[cell.dataset.rates].rates));
for (const button of document.querySelectorAll(".jump")) {
  button.addEventListener("click", () => {
    goTo(Number(button.dataset.step));
    $("groups-head").scrollIntoView();
    $("step").focus({ preventScroll: true });
  });
}
if (data.groups.length) {
  $("step").max = shownSteps.length - 1;
  $("stops").textContent = `${shownSteps.length} of ${data.steps} steps are in this page`;
  $("step").addEventListener("input", () => goTo(shownSteps[$("step").value]));
  $("question").addEventListener("change", () => {
    const group = data.groups[$("question").value];
    state.question = group.question;
    choose(group);
  });
  $("close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.token !== null) close();
  });
  $("colour").append(...data.quantities.map((q) => make("option", { value: q.key }, q.label)));
  state.colour = (data.quantities.find((q) => !q.flat) ?? data.quantities[0])?.key ?? null;
  $("colour").value = state.colour;
  $("colour").addEventListener("change", () => {
    state.colour = $("colour").value;
    paint();
  });
  $("marked")?.addEventListener("change", paint);
  $("answers").addEventListener("click", (event) => {
    const node = event.target.closest(".t");
    if (node) select(Number(node.dataset.k), Number(node.dataset.t));
  });
  $("answers").addEventListener("keydown", (event) => {
    const node = event.target.closest(".t");
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!node || !move) return;
    event.preventDefault();
    const k = Math.min(Math.max(Number(node.dataset.k) + move[0], 0), state.group.answers.length - 1);
    const t = Math.min(Math.max(Number(node.dataset.t) + move[1], 0), state.group.answers[k].texts.length - 1);
    select(k, t);
  });
  state.question = data.groups[data.first].question;
  choose(data.groups[data.first]);
}
hint();
window.addEventListener("resize", hint);
