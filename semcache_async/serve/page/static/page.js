// The page's behaviour. Data reaches the document as text nodes and attribute values of fixed
// names only: nothing that was asked or answered is ever parsed as HTML.

const $ = (id) => document.getElementById(id);
const KEY = "semcache-api-key";
const POLL_MS = 1000, LIST_MS = 5000, SAMPLES = 120, LANES = 4;
const NOTED_MS = 300; // after which what was just answered is in the lists
const SOURCES = ["exact", "semantic", "shared", "generated", "bypassed"];
const STAGES = ["exact", "embed", "search", "generate", "other"];
const DECISIONS = {
  exact: "exact hit", semantic: "semantic hit", shared: "shared", generated: "miss, generated",
  bypassed: "bypassed",
};

let config = { max_distance: 0.12, shadow: false, admin: true };
let asked = null; // what was answered last
let locked = false; // no key, or a wrong one: nothing is polled until there is another

// -- documents

/** An element: props are attributes, or listeners where they start with "on". */
function h(tag, props, ...children) {
  const svg = ["svg", "line", "circle", "rect", "path"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function put(id, text) {
  const into = $(id);
  if (into.textContent !== text) into.textContent = text;
}

function empty(title, text) {
  return h("div", { class: "empty" }, h("p", null, h("strong", null, title), h("br"), text));
}

let toastTimer;
function toast(text) {
  put("toast", text);
  $("toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("on"), 4000);
}

// -- numbers

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const many = (n) => (n < 100000 ? whole : short).format(n);
const dist = (d) => d.toFixed(3);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plural = (n, one, more) => `${whole.format(n)} ${n === 1 ? one : more}`;

function ms(value) {
  if (value >= 10000) return whole.format(value);
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

function usd(value) {
  return `$${value >= 1000 ? many(value) : value >= 0.1 || value === 0 ? value.toFixed(2) : value.toFixed(4)}`;
}

function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

const since = (seconds) => (seconds < 1 ? "just now" : `${span(seconds)} ago`);

function ago(at) {
  return h("time", { "data-at": at, datetime: new Date(at * 1000).toISOString(), title: new Date(at * 1000).toLocaleString() }, since(Date.now() / 1000 - at));
}

// -- the service

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, body) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Refused(0, "The service cannot be reached.");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const message = problem?.error?.message ?? `The service answered ${response.status}.`;
    if (response.status === 401) askForKey(message);
    throw new Refused(response.status, message);
  }
  return response;
}

async function get(path) {
  return (await call(path)).json();
}

// -- API key

function askForKey(message) {
  locked = true;
  const before = sessionStorage.getItem(KEY);
  if ($("keybar").hidden || message !== $("key-hint").textContent) {
    put("key-hint", before ? message : "This service wants an API key. It is kept in this tab only, until it is closed.");
  }
  $("key-button").hidden = false;
  if ($("keybar").hidden) {
    $("keybar").hidden = false;
    if (!$("prompt").value) $("key").focus();
  }
}

$("key-button").addEventListener("click", () => {
  $("keybar").hidden = !$("keybar").hidden;
  if (!$("keybar").hidden) $("key").focus();
});
$("keybar").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) return put("key-hint", "A key is letters, digits and signs, without spaces.");
  sessionStorage.setItem(KEY, key);
  $("key").value = "";
  $("keybar").hidden = true;
  start();
  return undefined;
});
$("key-forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  $("key").value = "";
  put("key-hint", "Forgotten.");
  start();
});

// -- the scale: distance is drawn as the angle between two prompts

const angle = (d) => Math.acos(Math.max(-1, 1 - d));
const distance = (a) => 1 - Math.cos(a);
let end = Math.PI / 3;
const at = (d) => 100 * Math.min(1, angle(Math.max(0, d)) / end);

function drawAxis() {
  const top = angle(config.max_distance);
  end = Math.min(Math.PI, Math.max(Math.PI / 3, top / 0.6));
  const last = distance(end);
  const ticks = [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 1.5].filter((d) => d < last - 0.04);
  const marks = ticks.map((d) => h("i"));
  const names = ticks.map((d) => h("span", null, String(d)));
  ticks.forEach((d, n) => {
    marks[n].style.left = names[n].style.left = `${at(d)}%`;
  });
  const far = h("span", null, last > 1.99 ? "2" : `≥ ${Number(last.toFixed(2))}`);
  far.style.left = "100%";
  $("axis").replaceChildren(...names, far, ...marks);
  $("slide").style.width = `calc(${at(config.max_distance)}% + 18px)`;
  drawThreshold();
}

const threshold = () => {
  const input = $("threshold");
  return input.value === input.max ? config.max_distance : Math.floor(1e4 * distance((angle(config.max_distance) * input.value) / input.max)) / 1e4;
};

function drawThreshold() {
  const limit = threshold();
  put("threshold-out", dist(limit));
  $("zone").style.width = `${at(limit)}%`;
  for (const lane of $("lanes").children) {
    const d = lane.dataset.distance;
    lane.classList.toggle("in", d !== undefined && Number(d) <= limit);
  }
  const near = asked?.neighbours ?? [];
  const within = near.filter((one) => one.distance <= limit).length;
  $("threshold").setAttribute("aria-valuetext", dist(limit) + (near.length ? `, ${within} of ${near.length} within` : ""));
}

function lane(one) {
  const dot = h("i", { class: "dot" }), reach = h("i", { class: "reach" });
  dot.style.left = reach.style.width = `${at(one.distance)}%`;
  return h("li", { class: "lane", "data-distance": one.distance },
    h("div", { class: "between" }, h("p", { class: "text", title: one.prompt }, one.prompt), h("p", { class: "num" }, h("b", null, dist(one.distance)))),
    h("div", { class: "dotline", "aria-hidden": "true" }, reach, dot));
}

function drawLanes(neighbours, none) {
  const lanes = (neighbours ?? []).slice(0, LANES).map(lane);
  while (lanes.length < LANES) {
    const text = lanes.length === 0 ? none : " ";
    lanes.push(h("li", { class: "lane vacant" }, h("div", { class: "between" }, h("p", { class: "text" }, text)), h("div", { class: "dotline" }, h("i", { class: "reach" }))));
  }
  $("lanes").replaceChildren(...lanes);
  drawThreshold();
}

$("threshold").addEventListener("input", drawThreshold);

// -- ask

function why(answer) {
  if (answer.source === "exact") return `The same wording was answered before, ${since(answer.age_s)}.`;
  if (answer.source === "semantic" && answer.matched_prompt === null) return `Another wording was answered before, ${since(answer.age_s)}.`;
  if (answer.source === "semantic") return `${dist(answer.distance)} from “${answer.matched_prompt}”, answered ${since(answer.age_s)}.`;
  if (answer.source === "shared") return `Another caller's LLM call under way answered it${answer.matched_prompt ? `: “${answer.matched_prompt}”` : ""}.`;
  if (answer.source === "bypassed") return `The cache stayed out of it${answer.reason ? `: ${answer.reason}` : ""}.`;
  const nearest = answer.neighbours?.[0];
  if (!nearest) return "Nothing near enough was stored.";
  if (answer.max_distance < 0) return "This scope serves nothing by meaning: too much of it was wrong.";
  if (nearest.distance > answer.max_distance) return `The nearest stored prompt is ${dist(nearest.distance)} away, too far for ${dist(answer.max_distance)}.`;
  if (nearest.refused_by === "erased") return `“${nearest.prompt}” is near, but differs in what the model cannot see.`;
  if (nearest.refused_by === "doubt") return `“${nearest.prompt}” is near, but a small difference may matter.`;
  if (nearest.refused_by === "distance") return `“${nearest.prompt}” is ${dist(nearest.distance)} away, farther than this scope serves.`;
  if (nearest.refused_by === "verdict") return `“${nearest.prompt}” is near, but as far off as what was judged wrong.`;
  if (nearest.refused_by === "unverified") return `“${nearest.prompt}” is near, but its answer has too few verdicts yet.`;
  if (nearest.refused_by) return `“${nearest.prompt}” is near, but refused for its ${nearest.refused_by}.`;
  if (config.shadow) return `“${nearest.prompt}” is near enough, but in shadow mode nothing is served.`;
  return `“${nearest.prompt}” is near enough, but asks something else.`;
}

function drawTimings(timings) {
  const named = STAGES.slice(0, 4).map((stage) => [stage, timings?.[stage] ?? 0]);
  const rest = Math.max(0, (timings?.total ?? 0) - named.reduce((sum, [, value]) => sum + value, 0));
  const all = [...named, ["other", rest]];
  $("stack").replaceChildren(...all.filter(([, value]) => value > 0).map(([stage, value]) => {
    const part = h("i", { class: `stage-${stage}` });
    part.style.flexGrow = (1000 * value) / timings.total;
    return part;
  }));
  $("legend").replaceChildren(...all.map(([stage, value]) =>
    h("div", null, h("i", { class: `stage-${stage}` }), h("dt", null, stage), h("dd", null, timings ? `${ms(value)} ms` : "–"))));
}

function drawAnswer(answer) {
  asked = answer;
  $("badge").dataset.source = answer.source;
  put("badge", DECISIONS[answer.source] ?? answer.source);
  put("why", why(answer));
  put("total", ms(answer.timings_ms?.total ?? 0));
  $("answer").replaceChildren(answer.answer === null ? h("p", { class: "faint" }, "The answer holds no text.") : h("p", null, answer.answer));
  $("answer").scrollTop = 0;
  drawTimings(answer.timings_ms);
  drawLanes(answer.neighbours, answer.neighbours ? "Nothing was stored in this scope yet." : "Not searched, or not told.");
}

function drawFailure(error) {
  $("badge").dataset.source = "error";
  put("badge", error.status === 401 ? "key needed" : "no answer");
  put("why", error.message);
  put("total", "–");
  $("answer").replaceChildren(h("p", { class: "faint" }, "The prompt is still in the box: ask again when it is mended."));
  drawTimings(null);
  asked = null;
  drawLanes([], "Nothing to show.");
}

let asking = false;
async function ask() {
  const prompt = $("prompt").value;
  if (asking) return;
  if (!prompt.trim()) {
    $("prompt").focus();
    return;
  }
  const body = { prompt, explain: true };
  for (const name of ["tenant", "locale", "model"]) {
    const value = $(name).value.trim();
    if (value) body[name] = value;
  }
  const tags = $("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
  if (tags.length) body.tags = tags;
  if (threshold() < config.max_distance) body.max_distance = threshold();
  asking = true;
  $("result").setAttribute("aria-busy", "true");
  put("send", "Asking");
  try {
    drawAnswer(await (await call("/semantic-cache/answer", body)).json());
    if (config.admin) setTimeout(chosen === "entries" ? loadEntries : () => loadNear(true), NOTED_MS);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    drawFailure(error);
  } finally {
    asking = false;
    $("result").setAttribute("aria-busy", "false");
    put("send", "Ask");
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  }
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    $("prompt").value = example.textContent;
    $("prompt").focus();
    ask();
  });
}

// -- live

const samples = [];
let before = null;

function sample(metrics) {
  const now = { time: performance.now(), requests: metrics.requests, hits: metrics.hits, decided: metrics.hits + metrics.misses };
  if (before && now.requests >= before.requests && now.decided >= before.decided) {
    const seconds = (now.time - before.time) / 1000;
    samples.push({ decided: now.decided - before.decided, hits: now.hits - before.hits, rate: (now.requests - before.requests) / seconds });
    if (samples.length > SAMPLES) samples.shift();
  }
  before = now; // a restarted service begins again from here
}

/** Hit rate around a sample: of it and the four before, or null where nothing was asked. */
function smoothed(index) {
  let decided = 0, hits = 0;
  for (let n = Math.max(0, index - 4); n <= index; n += 1) {
    decided += samples[n].decided;
    hits += samples[n].hits;
  }
  return decided ? hits / decided : null;
}

function drawRate() {
  const shift = SAMPLES - samples.length;
  let line = "", area = "", open = null, last = null;
  const close = () => {
    if (open !== null) area += `L${last} 100L${open} 100Z`;
    open = null;
  };
  samples.forEach((_, n) => {
    const share = smoothed(n);
    if (share === null) return close();
    const x = shift + n + 1, y = (100 * (1 - share)).toFixed(1);
    line += open === null ? `M${x - 0.5} ${y}L${x} ${y}` : `L${x} ${y}`;
    area += open === null ? `M${x - 0.5} ${y}L${x} ${y}` : `L${x} ${y}`;
    if (open === null) open = x - 0.5;
    last = x;
    return undefined;
  });
  close();
  $("rate-line").setAttribute("d", line);
  $("rate-area").setAttribute("d", area);
  $("rate-empty").hidden = line !== "";
  const most = Math.max(1, ...samples.map((one) => one.rate));
  $("load-svg").replaceChildren(...samples.flatMap((one, n) => {
    const height = (24 * one.rate) / most;
    return one.rate ? [h("rect", { x: shift + n + 0.15, y: 24 - height, width: 0.7, height })] : [];
  }));
  const now = samples.at(-1);
  put("load-now", `requests/s, at most ${many(most)}`);
  put("readout", now ? `${many(now.rate)} requests/s` : " ");
}

/** Rows of ranges p50..p99 on one logarithmic scale; rows: name, class of its colour, percentiles. */
function drawRanges(into, rows) {
  const known = rows.map(([, , one]) => one).filter((one) => one?.count);
  const low = Math.floor(Math.log10(Math.max(0.01, Math.min(0.1, ...known.map((one) => one.p50)))));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1000, ...known.map((one) => one.p99)))));
  const x = (value) => `${(100 * (Math.log10(Math.max(value, 10 ** low)) - low)) / (high - low)}%`;
  const line = (from, to, y1, y2, name) => h("line", { class: name, x1: from, x2: to, y1, y2 });
  const drawn = rows.map(([name, colour, one]) => {
    const rail = line("0", "100%", 10, 10, "rail");
    if (!one?.count) {
      return h("div", { class: "lat" }, h("span", { class: "name faint" }, name), h("svg", { "aria-hidden": "true" }, rail), h("span", { class: "num faint" }, "none yet"));
    }
    const say = `${name}, ${plural(one.count, "request", "requests")}: p50 ${ms(one.p50)} ms, p95 ${ms(one.p95)} ms, p99 ${ms(one.p99)} ms`;
    return h("div", { class: "lat", title: say }, h("span", { class: `name ${colour}` }, name),
      h("svg", { class: colour, role: "img", "aria-label": say }, rail, line(x(one.p50), x(one.p99), 10, 10), line(x(one.p95), x(one.p95), 5, 15),
        h("circle", { class: "p99", cx: x(one.p99), cy: 10, r: 4 }), h("circle", { class: "p50", cx: x(one.p50), cy: 10, r: 4.5 })),
      h("span", { class: "num" }, h("b", null, ms(one.p50)), ` / ${ms(one.p99)} ms`));
  });
  const decades = h("div", { class: "decades", "aria-hidden": "true" });
  for (let n = low; n <= high; n += 1) {
    const mark = h("span", null, n >= 3 ? `${10 ** (n - 3)} s` : `${Number((10 ** n).toFixed(2))} ms`);
    mark.style.left = x(10 ** n);
    decades.append(mark);
  }
  into.replaceChildren(...drawn, decades);
}

function drawLatency(metrics) {
  const bySource = metrics?.latency_ms, byStage = metrics?.stage_ms;
  const sources = SOURCES.filter((source) => source !== "bypassed" || bySource?.[source]?.count);
  drawRanges($("latency"), sources.map((source) => [source, `s-${source}`, bySource?.[source]]));
  drawRanges($("stages"), STAGES.slice(0, 4).map((stage) => [stage, `t-${stage}`, byStage?.[stage]]));
}

const FLIGHTS = {
  llm_calls: "led here", shared: "callers shared one", followed: "followed elsewhere",
  takeovers: "taken over", flights: "under way", waiting: "callers wait",
};

function drawFlights(metrics) {
  $("flights").replaceChildren(...Object.entries(FLIGHTS).map(([name, words]) =>
    h("div", null, h("dt", null, words), h("dd", null, many(metrics?.[name] ?? 0)))));
}

/** What each minute of the last hour saved; savings: arrays by name, the oldest minute first. */
function drawSavings(savings) {
  const { avoided, llm_calls: made } = savings;
  const most = Math.max(1, ...avoided.map((n, minute) => n + made[minute]));
  $("saved-svg").replaceChildren(...avoided.flatMap((n, minute) => {
    const bar = (name, from, number) => (number ? [h("rect", { class: name, x: minute + 0.12, width: 0.76, y: 40 - (40 * (from + number)) / most, height: (40 * number) / most })] : []);
    return [...bar("made", 0, made[minute]), ...bar("avoided", made[minute], n)];
  }));
  const [all, seconds, dollars] = [avoided, savings.seconds, savings.usd].map((one) => one.reduce((a, b) => a + b, 0));
  const calls = all + made.reduce((a, b) => a + b, 0);
  put("saved-most", `a minute, at most ${many(most)}`);
  put("saved-sum", calls ? `${many(all)} of ${plural(calls, "LLM call", "LLM calls")} avoided, with ${span(seconds)} of waiting and ${usd(dollars)} (est.)` : "Nothing saved yet");
}

function drawMetrics(metrics) {
  put("f-rate", metrics.hits + metrics.misses ? percent(metrics.hit_rate) : "–");
  put("f-requests", many(metrics.requests));
  put("f-calls", many(metrics.llm_calls));
  put("f-avoided", many(metrics.hits + (metrics.shared ?? 0)));
  put("f-tokens", many(metrics.saved?.tokens ?? 0));
  put("f-usd", usd(metrics.saved?.usd ?? 0));
  sample(metrics);
  drawRate();
  drawLatency(metrics);
  drawFlights(metrics);
}

function status(state, text) {
  $("status").dataset.state = document.body.dataset.state = state;
  put("status-text", text);
}

let pollTimer, listTimer, savingsDue = 0, polling = false;
async function poll() {
  clearTimeout(pollTimer);
  if (document.hidden || polling) return;
  polling = true;
  try {
    drawMetrics(await get("/semantic-cache/metrics"));
    if (performance.now() >= savingsDue) {
      drawSavings(await get("/semantic-cache/savings"));
      savingsDue = performance.now() + LIST_MS;
    }
    status("live", "live");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    before = null;
    status("down", error.status === 401 ? "key needed" : error.status ? "failing" : "unreachable");
  } finally {
    polling = false;
  }
  clearTimeout(pollTimer);
  if (!locked) pollTimer = setTimeout(poll, POLL_MS);
}

async function pollLists() {
  clearTimeout(listTimer);
  if (document.hidden || !config.admin) return;
  for (const time of document.querySelectorAll("time[data-at]")) time.textContent = since(Date.now() / 1000 - time.dataset.at);
  if (chosen === "near") await loadNear(false);
  clearTimeout(listTimer);
  if (!locked) listTimer = setTimeout(pollLists, LIST_MS);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    before = null;
    status("wait", "paused");
  } else {
    poll();
    pollLists();
  }
});

// -- word differences

/** Two texts as nodes, the words that the other lacks marked. */
function differences(left, right) {
  const cut = (text) => text.match(/[\p{L}\p{M}\p{N}'’]+|[^\p{L}\p{M}\p{N}'’]+/gu) ?? [];
  const a = cut(left), b = cut(right);
  const wordsOf = (parts) => parts.flatMap((part, n) => (/[\p{L}\p{N}]/u.test(part) ? [[part.toLowerCase(), n]] : []));
  const x = wordsOf(a), y = wordsOf(b);
  if (x.length * y.length > 250000) return [[left], [right]];
  const length = Array.from({ length: x.length + 1 }, () => new Uint16Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i -= 1) {
    for (let j = y.length - 1; j >= 0; j -= 1) {
      length[i][j] = x[i][0] === y[j][0] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const onlyA = new Set(x.map(([, n]) => n)), onlyB = new Set(y.map(([, n]) => n));
  for (let i = 0, j = 0; i < x.length && j < y.length;) {
    if (x[i][0] === y[j][0]) {
      onlyA.delete(x[i++][1]);
      onlyB.delete(y[j++][1]);
    } else if (length[i + 1][j] >= length[i][j + 1]) i += 1;
    else j += 1;
  }
  const nodes = (parts, only) => parts.map((part, n) => (only.has(n) ? h("mark", null, part) : part));
  return [nodes(a, onlyA), nodes(b, onlyB)];
}

function pair(hit) {
  const [left, right] = differences(hit.prompt, hit.matched_prompt);
  return h("div", { class: "pair prompts" },
    h("div", null, h("h4", null, "asked"), h("p", null, ...left)),
    h("div", null, h("h4", null, "served the answer to"), h("p", null, ...right)));
}

function meta(hit, ...more) {
  const dot = h("i");
  dot.style.left = `${Math.min(100, (100 * hit.distance) / config.max_distance)}%`;
  return h("div", { class: "meta" }, h("span", { class: "mini", "aria-hidden": "true" }, dot, h("b")),
    h("span", { class: "num" }, `distance ${dist(hit.distance)}`), hit.tenant ? h("span", null, hit.tenant) : null, ago(hit.at), ...more);
}

// -- lists

function failed(into, error, again) {
  const forAdmins = error.status === 403;
  into.replaceChildren(h("div", { class: "empty" }, h("p", null, h("strong", null, forAdmins ? "For admins" : "Could not be read"), h("br"), error.message),
    h("button", { class: "quiet", type: "button", onclick: again }, forAdmins ? "Enter a key" : "Try again")));
}

async function confirmed(title, text) {
  const dialog = $("confirm");
  put("confirm-title", title);
  put("confirm-text", text);
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "yes";
}
$("confirm-yes").addEventListener("click", () => $("confirm").close("yes"));
$("confirm-no").addEventListener("click", () => $("confirm").close("no"));

async function invalidate(body) {
  try {
    const { removed } = await (await call("/semantic-cache/invalidate", body)).json();
    toast(removed ? `${plural(removed, "entry", "entries")} invalidated.` : "It was gone already.");
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    toast(error.message);
    return false;
  }
}

let nearShown = null, nearLatest = [];

function nearRow(hit) {
  const buttons = ["right", "wrong"].map((verdict) => h("button", {
    class: "verdict", type: "button", "data-verdict": verdict, "aria-pressed": String(hit.verdict === verdict),
    onclick: () => judge(hit, verdict, buttons),
  }, verdict === "right" ? "Right" : "Wrong"));
  const row = h("article", { class: "row", tabindex: "-1", "data-id": hit.id, "aria-label": `Asked: ${hit.prompt}` });
  const remove = hit.entry_id ? h("button", {
    class: "quiet", type: "button",
    onclick: async () => {
      if (!(await confirmed("Invalidate this entry?", `The answer to “${hit.matched_prompt}” is deleted; the next caller asks the LLM.`))) return;
      if (await invalidate({ entry_ids: [hit.entry_id] })) {
        row.classList.add("gone");
        remove.disabled = true;
        remove.textContent = "Invalidated";
      }
    },
  }, "Invalidate entry") : null;
  row.append(pair(hit), meta(hit, h("span", { class: "actions" }, ...buttons, remove)));
  return row;
}

async function judge(hit, verdict, buttons) {
  const show = () => buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.verdict === hit.verdict)));
  const was = hit.verdict;
  if (was === verdict) return;
  hit.verdict = verdict;
  show();
  try {
    await call("/semantic-cache/reviews", { id: hit.id, verdict });
    toast(`Kept as ${verdict}.`);
    loadReviews();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    hit.verdict = was;
    show();
    toast(error.message);
  }
}

function drawNear() {
  nearShown = new Set(nearLatest.map((hit) => hit.id));
  const focused = document.activeElement?.closest?.("#near .row")?.dataset.id;
  $("near").replaceChildren(...(nearLatest.length ? nearLatest.map(nearRow)
    : [empty("No hits near the threshold yet", "Ask something in other words: what is served from far away shows here.")]));
  if (focused) rows().find((row) => row.dataset.id === focused)?.focus();
  $("near-more").style.visibility = "hidden";
}

/** Read the near hits. New ones are shown at once if told so or if none are shown, else offered. */
async function loadNear(now) {
  try {
    nearLatest = (await get("/semantic-cache/near?limit=50")).hits;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (!nearShown?.size) failed($("near"), error, () => loadNear(true));
    return;
  }
  const fresh = nearLatest.filter((hit) => !nearShown?.has(hit.id)).length;
  if (now || !nearShown?.size) {
    if (fresh || !nearShown) drawNear();
  } else if (fresh) {
    $("near-more").style.visibility = "visible";
    put("near-more", `Show ${plural(fresh, "new hit", "new hits")}`);
  }
}
$("near-more").addEventListener("click", drawNear);

async function loadReviews() {
  let found;
  try {
    found = await get("/semantic-cache/reviews");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed($("reviews"), error, loadReviews);
    return;
  }
  const { reviews, right, wrong } = found;
  put("review-sum", reviews.length ? `${whole.format(right)} right, ${whole.format(wrong)} wrong.` : "No verdicts yet.");
  $("export").disabled = !reviews.length;
  $("reviews").replaceChildren(...(reviews.length ? reviews.map((review) =>
    h("article", { class: "row" }, pair(review), meta(review, h("span", { class: `said ${review.verdict}` }, review.verdict))))
    : [empty("Nothing reviewed yet", "Say of a hit near the threshold whether it was right or wrong.")]));
}

$("export").addEventListener("click", async () => {
  try {
    const url = URL.createObjectURL(await (await call("/semantic-cache/reviews.jsonl")).blob());
    h("a", { href: url, download: "reviews.jsonl" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    toast(error.message);
  }
});

let tag = null;

function entryRow(entry) {
  const row = h("article", { class: "row entry" });
  const remove = h("button", {
    class: "quiet", type: "button", "aria-label": `Delete the answer to: ${entry.prompt}`,
    onclick: async () => {
      if (!(await confirmed("Delete this entry?", `“${entry.prompt}”`))) return;
      if (await invalidate({ entry_ids: [entry.id] })) loadEntries();
    },
  }, "Delete");
  row.append(h("p", null, entry.prompt), h("p", { class: "said-text", title: entry.answer }, entry.answer), remove,
    h("div", { class: "meta under" }, ago(entry.created_at), ...entry.tags.map((name) => h("span", { class: "tag" }, name))));
  return row;
}

let entriesTurn = 0;
async function loadEntries() {
  entriesTurn += 1;
  const turn = entriesTurn;
  let found;
  try {
    found = await get(`/semantic-cache/entries?limit=100${tag === null ? "" : `&tag=${encodeURIComponent(tag)}`}`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed($("entries"), error, loadEntries);
    return;
  }
  if (turn !== entriesTurn) return; // another tag was chosen meanwhile
  const choose = (name) => () => {
    tag = name;
    loadEntries();
  };
  const names = Object.entries(found.tags);
  if (tag !== null && !Object.hasOwn(found.tags, tag)) names.unshift([tag, found.entries.length]);
  $("chips").replaceChildren(
    h("button", { class: "chip", type: "button", "aria-pressed": String(tag === null), onclick: choose(null) }, "all"),
    ...names.slice(0, 40).map(([name, count]) =>
      h("button", { class: "chip", type: "button", "aria-pressed": String(tag === name), onclick: choose(name) }, name, h("b", null, whole.format(count)))));
  $("drop-tag").hidden = tag === null || !found.entries.length;
  put("drop-tag", `Invalidate ${tag ?? ""}`);
  $("entries").replaceChildren(...(found.entries.length ? found.entries.map(entryRow)
    : [empty(tag === null ? "Nothing stored" : "Nothing stored under this tag", "Answers that the LLM gives are listed here, the newest first.")]));
}

$("entries-again").addEventListener("click", () => loadEntries());
$("drop-tag").addEventListener("click", async () => {
  const name = tag;
  if (!(await confirmed(`Invalidate ${name}?`, "Every entry that carries this tag is deleted, in every scope."))) return;
  if (await invalidate({ tags: [name] })) {
    tag = null;
    loadEntries();
  }
});

// -- quality

/** What audits measured, and its interval from low to 1 with the promised share marked. */
function measuredCell({ audits, target }, low) {
  if (!audits) return h("td", null, "no audit yet");
  const x = (share) => `${(100 * Math.max(0, share - low)) / (1 - low)}%`;
  const line = (from, to, y1, y2, name) => h("line", { class: name, x1: x(from), x2: x(to), y1, y2 });
  return h("td", null, h("b", null, percent(audits.precision)), ` (${percent(audits.low)} to ${percent(audits.high)}), ${plural(Math.round(audits.count), "audit", "audits")}`,
    h("svg", { class: "within", "aria-hidden": "true" }, line(low, 1, 7, 7, "rail"), line(audits.low, audits.high, 7, 7), line(target, target, 1, 13, "promised"),
      h("circle", { cx: x(audits.precision), cy: 7, r: 4 })));
}

function reachRow(one, low) {
  const name = [one.tenant || "no tenant", one.model, one.locale].filter(Boolean).join(" · ");
  return h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "num" }, one.max_distance === null ? "none" : dist(one.max_distance)),
    h("td", { class: "num" }, percent(one.target)), measuredCell(one, low),
    h("td", null, h("span", { class: `outcome ${one.outcome}` }, one.outcome)), h("td", null, one.explanation));
}

async function loadQuality() {
  let measured, target, reaches;
  try {
    [{ wrong_hits: measured, target_precision: target }, { reaches }] = await Promise.all([get("/semantic-cache/metrics"), get("/semantic-cache/reaches")]);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed($("quality"), error, loadQuality);
    return;
  }
  put("wrong-hits", measured
    ? `${percent(measured.share)} of the semantic hits were wrong (95 % sure: ${percent(measured.low)} to ${percent(measured.high)}), by ${plural(measured.audited, "audit", "audits")}.${target === null ? "" : ` Promised: at most ${percent(1 - target)}.`}`
    : "No semantic hit has been audited yet.");
  const low = Math.max(0.5, Math.floor(10 * Math.min(0.9, ...reaches.flatMap((one) => [one.target, one.audits?.low ?? 1]))) / 10);
  $("quality").replaceChildren(reaches.length
    ? wide("How far each scope serves, and what became of its promise", ["Scope", "Serves up to", "Promised", "Measured right (95 %)", "Promise", "Why"], reaches.map((one) => reachRow(one, low)), "scopes")
    : empty("No scope has found its own distance", `With target_precision each does, and says here why. Everywhere ${dist(config.max_distance)} is the most.`));
}
$("quality-again").addEventListener("click", loadQuality);

// -- traffic

const sum = (numbers) => Object.values(numbers).reduce((all, one) => all + one, 0);
const told = (numbers) => Object.entries(numbers).map(([name, n]) => `${many(n)} ${name}`).join(", ") || "none yet";

function wide(label, heads, rows, name = null) {
  const head = heads.map((name) => h("th", { scope: "col" }, name));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    h("table", { class: name }, h("thead", null, h("tr", null, ...head)), h("tbody", null, ...rows)));
}

function trafficRow(name, numbers, ...more) {
  return h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "num" }, many(sum(numbers))),
    ...more.map((one) => h("td", { class: "num" }, one)), h("td", null, told(numbers)));
}

async function loadTraffic() {
  let metrics;
  try {
    metrics = await get("/semantic-cache/metrics");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed($("traffic"), error, loadTraffic);
    return;
  }
  const spoken = Object.entries(metrics.protocol_requests);
  const first = (one) => (one.count ? `${ms(one.p50)} / ${ms(one.p95)} ms` : "–");
  const upstreams = Object.entries(metrics.first_byte_ms).map(([name, one]) => trafficRow(name, metrics.upstream_calls[name] ?? {}, first(one)));
  $("traffic").replaceChildren(
    spoken.length ? wide("Requests by protocol", ["Protocol", "Requests", "Results"], spoken.map(([name, numbers]) => trafficRow(name, numbers)))
      : empty("Nothing asked yet", "Requests are counted here by protocol and by what came of them."),
    wide("Calls of each upstream", ["Upstream", "Calls", "First byte p50 / p95", "Outcomes"], upstreams));
}
$("traffic-again").addEventListener("click", loadTraffic);

// -- tabs and keys

const TABS = ["near", "reviews", "entries", "quality", "traffic"];
const LOADERS = { near: () => loadNear(true), reviews: loadReviews, entries: loadEntries, quality: loadQuality, traffic: loadTraffic };
const ANYBODYS = ["traffic"]; // they name no tenant
let chosen = TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "near";

function showTab(name) {
  chosen = name;
  for (const one of TABS) {
    const mine = one === name;
    $(`tab-${one}`).setAttribute("aria-selected", String(mine));
    $(`tab-${one}`).tabIndex = mine ? 0 : -1;
    $(`panel-${one}`).hidden = !mine;
  }
}

function choose(name, focus) {
  showTab(name);
  history.replaceState(null, "", `#${name}`);
  if (focus) $(`tab-${name}`).focus();
  loadChosen();
}

function loadChosen() {
  if (config.admin || ANYBODYS.includes(chosen)) LOADERS[chosen]();
  else failed($(chosen), new Refused(403, "What others asked and what is stored are shown to admins. Enter an admin's API key."), () => $("key-button").click());
}

for (const name of TABS) {
  $(`tab-${name}`).addEventListener("click", () => choose(name, false));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(TABS[(TABS.indexOf(name) + step + TABS.length) % TABS.length], true);
  });
}

const rows = () => [...$("near").querySelectorAll(".row")];

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const row = document.activeElement?.closest?.("#near .row");
  const shown = rows();
  const actions = {
    "/": () => $("prompt").focus(),
    "?": () => $("help").showModal(),
    j: () => (shown[shown.indexOf(row) + 1] ?? row)?.focus(),
    k: () => (shown[shown.indexOf(row) - 1] ?? row)?.focus(),
    r: () => row?.querySelector('[data-verdict="right"]').click(),
    w: () => row?.querySelector('[data-verdict="wrong"]').click(),
    1: () => choose("near", true), 2: () => choose("reviews", true), 3: () => choose("entries", true),
    4: () => choose("quality", true), 5: () => choose("traffic", true),
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});
$("help-button").addEventListener("click", () => $("help").showModal());
$("help-close").addEventListener("click", () => $("help").close());

// -- beginning

async function loadModels() {
  try {
    const { data } = await get("/v1/models");
    if (data.length > 1 && !$("model").value) $("model").value = data[0].id;
    $("models").replaceChildren(...data.slice(0, 50).map((model) => h("option", { value: model.id })));
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // a convenience: without it, one types the name
  }
}

async function start() {
  locked = false;
  try {
    config = await get("/semantic-cache/config");
    put("about", `${config.name} · ${config.embedder}`);
    $("key-button").hidden = config.open;
    $("tenant").placeholder = config.tenant || "none";
    $("tenant").disabled = Boolean(config.tenant) && !config.admin;
    drawAxis();
    if (!asked) drawLanes([], "Ask, and the nearest prompts line up here.");
    loadChosen();
    loadModels();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
  poll();
  pollLists();
}

drawAxis();
drawLanes([], "Ask, and the nearest prompts line up here.");
drawTimings(null);
drawLatency(null);
drawFlights(null);
showTab(chosen);
start();
