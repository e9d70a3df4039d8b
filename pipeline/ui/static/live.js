// Keeps a page up to date: what stands on it is made by the server, and put in its place here.

const live = document.getElementById("live");
const run = live.dataset.run;
const chip = document.getElementById("state");
const age = document.getElementById("age");
const trouble = document.getElementById("trouble");

const FRESH_MS = 2000; // at most one fetch of charts or tables in this time
const SILENT_MS = 25000; // beats come every 10 s: after this the connection is dead, whatever it says
const RETRY_MS = 2000;
const RECHECK_MS = 30000; // what no event tells of, as an edited settings file, is seen after this time
const MAX_SHOWN = 200;
const MAX_IDS = 100000;

// What has come while this page was open, for whoever wants to make sure of it.
const seen = (window.pipelineEvents = { ids: [], resets: 0, last: Number(live.dataset.from) });

let skew = Number(live.dataset.now) - Date.now() / 1000; // of the server's clock
let source = null;
let heardAt = Date.now();
let lastEventAt = null;
let retry = 0;

const now = () => Date.now() / 1000 + skew;

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "?";
  if (seconds < 10) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html; // made by the server, where everything in it was escaped; the policy forbids scripts
  return template.content;
}

// Makes `old` what `next` is, touching only what differs: focus, selection and opened tables stay as they are.
function patch(old, next) {
  if (old.isEqualNode(next)) return;
  const isElement = old.nodeType === Node.ELEMENT_NODE;
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || (isElement && old.nodeName === "svg")) {
    old.replaceWith(next);
    return;
  }
  if (!isElement) {
    old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  }
  patchChildren(old, next);
}

// What tells a row, a stage or a chart from those beside it; text and the like are told by their place alone.
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  const { run, stage, key } = node.dataset;
  return run || stage || key || node.id || (node.nodeName === "FIGURE" && node.querySelector("h3")?.textContent) || "";
}

function patchChildren(old, next) {
  const wanted = [...next.childNodes];
  const keys = new Set(wanted.map(keyOf));
  const known = new Map();
  for (const node of [...old.childNodes]) {
    const key = keyOf(node);
    if (!key) continue;
    if (keys.has(key) && !known.has(key)) known.set(key, node);
    else node.remove();
  }
  let here = old.firstChild;
  for (const node of wanted) {
    const key = keyOf(node);
    const found = key ? known.get(key) : here && !keyOf(here) ? here : undefined;
    known.delete(key);
    if (!found) {
      old.insertBefore(node, here);
      continue;
    }
    here = broughtTo(found, here);
    const after = here.nextSibling;
    patch(here, node);
    here = after;
  }
  while (here) {
    const after = here.nextSibling;
    here.remove();
    here = after;
  }
}

// Moves `node` to where `here` is; one that holds the focus, which it would lose, by moving all before it away.
function broughtTo(node, here) {
  while (here !== node && node.contains(document.activeElement)) {
    const after = here.nextSibling;
    node.parentNode.append(here);
    here = after;
  }
  if (here !== node) node.parentNode.insertBefore(node, here);
  return node;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A thing that is asked for again when it is out of date, never twice at a time, and not while nobody looks.
class Refreshed {
  constructor(fetchIt) {
    this.fetchIt = fetchIt;
    this.isDirty = true;
    this.isBusy = false;
    this.notBefore = 0;
    this.timer = 0;
  }

  soil() {
    this.isDirty = true;
    this.plan();
  }

  plan() {
    if (!this.isDirty || this.isBusy || document.hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), Math.max(0, this.notBefore - Date.now()));
  }

  async refresh() {
    if (this.isBusy || document.hidden) return;
    this.isBusy = true;
    this.isDirty = false;
    let wait = FRESH_MS;
    try {
      wait = Math.max(wait, 1000 * ((await this.fetchIt()) || 0));
    } catch (error) {
      this.isDirty = true;
      wait = 2 * FRESH_MS;
    }
    this.isBusy = false;
    this.notBefore = Date.now() + wait;
    this.plan();
  }
}

async function fetched(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer;
}

let lastOfRun = 0; // the newest event that the charts should show

async function fetchSections() {
  const sections = document.getElementById("sections");
  const known = [...document.querySelectorAll("[data-digest]")].map((each) => each.dataset.digest);
  const asked = lastOfRun;
  const answer = await (await fetched(`${location.pathname}/sections?known=${known.join(",")}`)).json();
  document.getElementById("report").hidden = !answer.has_report;
  place(document.getElementById("verdict"), answer.fragments.filter((each) => each.id === "verdict"));
  place(sections, answer.fragments.filter((each) => each.id !== "verdict"));
  sections.setAttribute("aria-busy", "false");
  showNavigation(answer.fragments);
  if (answer.through < asked) refreshed.isDirty = true;
  return answer.wait;
}

function place(parent, fragments) {
  const holders = new Map([...parent.children].map((each) => [each.dataset.place, each]));
  for (const [name, holder] of holders) {
    if (!fragments.some((each) => each.id === name)) holder.remove();
  }
  fragments.forEach((fragment, number) => {
    let holder = holders.get(fragment.id);
    if (!holder) {
      holder = document.createElement("div");
      holder.dataset.place = fragment.id;
    }
    if (parent.children[number] !== holder) parent.insertBefore(holder, parent.children[number] || null);
    if (fragment.html !== undefined) {
      patchChildren(holder, parsed(fragment.html));
      holder.dataset.digest = fragment.digest;
    }
  });
}

function showNavigation(fragments) {
  const entries = [["progress", "Progress"]];
  for (const each of fragments) if (each.title) entries.push([each.id, each.title]);
  entries.push(["told", "Events"]);
  const list = document.createElement("ul");
  for (const [id, title] of entries) {
    const link = document.createElement("a");
    link.href = `#${id}`;
    link.textContent = title;
    const item = document.createElement("li");
    item.dataset.key = id;
    item.append(link);
    list.append(item);
  }
  patchChildren(document.getElementById("nav"), list);
}

async function fetchOverview() {
  const answer = await (await fetched("/overview")).json();
  patchChildren(live, parsed(answer.html));
  if (answer.outdated !== null) refreshed.isDirty = true;
  return answer.outdated;
}

const refreshed = new Refreshed(run === undefined ? fetchOverview : fetchSections);

function showEvent(event) {
  if (!event.words || event.kind === "progress") return;
  const item = document.createElement("li");
  item.dataset.id = String(seen.last);
  item.className = `kind-${event.kind}`;
  const time = document.createElement("time");
  time.textContent = new Date(event.time * 1000).toTimeString().slice(0, 8);
  const words = document.createElement("span");
  words.textContent = event.words;
  item.append(time, " ", words);
  const list = document.getElementById("events");
  const box = list.parentElement;
  const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  list.append(item);
  while (list.children.length > MAX_SHOWN) list.firstElementChild.remove();
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

const QUIET = new Set(["progress", "metrics", "chunk", "info"]); // change nothing on a list of runs

function take(message) {
  const event = JSON.parse(message.data);
  seen.last = Number(message.lastEventId);
  live.dataset.last = String(seen.last);
  if (seen.ids.length < MAX_IDS) seen.ids.push(seen.last);
  lastEventAt = event.time;
  if (run === undefined) {
    if (!QUIET.has(event.kind)) refreshed.soil();
    return;
  }
  setText(document.getElementById("num-events"), String(seen.ids.length));
  if (event.run !== run) return;
  lastOfRun = seen.last;
  showEvent(event);
  refreshed.soil();
}

let stateOfRun = null;

function show(message) {
  const view = JSON.parse(message.data);
  const state = `${view.run} ${view.state} ${view.num_reports}`;
  if (stateOfRun !== null && stateOfRun !== state) {
    refreshed.notBefore = 0; // it has begun or ended: that is shown at once
    refreshed.soil();
  }
  stateOfRun = state;
  live.dataset.log = view.log; // of a log that was not there when the page was made
  if (view.run !== run) return;
  document.title = `${view.title} – ${run}`;
  const panel = document.getElementById("panel");
  patchChildren(panel, parsed(view.html));
  panel.dataset.through = String(view.through);
}

function connect() {
  disconnect();
  heardAt = Date.now();
  const address = new URLSearchParams({ from: String(seen.last), log: live.dataset.log, run: run || "" });
  source = new EventSource(`/events?${address}`);
  const on = (kind, work) =>
    source.addEventListener(kind, (message) => {
      heardAt = Date.now();
      skew = JSON.parse(message.data).now - Date.now() / 1000;
      work(message);
      showState("live");
    });
  const onGood = (kind, work) =>
    on(kind, (message) => {
      showTrouble("");
      work(message);
    });
  onGood("log", take);
  onGood("view", show);
  on("beat", () => {});
  on("trouble", (message) => showTrouble(JSON.parse(message.data).text));
  on("reset", () => {
    seen.resets += 1;
    disconnect();
    location.reload(); // another log: nothing on this page holds any more
  });
  source.onopen = () => {
    heardAt = Date.now();
    showState("live");
    refreshed.plan();
  };
  source.onerror = () => {
    showState("reconnecting");
    // A server that answers no is not asked again by the browser itself; it may be one that was started anew.
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, RETRY_MS);
  };
}

function disconnect() {
  clearTimeout(retry);
  if (source) source.close();
  source = null;
}

// The server is there, but the log that it reads cannot be read.
function showTrouble(text) {
  setText(trouble, text);
  trouble.hidden = !text;
}

function showState(state) {
  const isLive = state === "live" && trouble.hidden;
  setText(chip, isLive ? "live" : state === "live" ? "log unreadable" : state === "paused" ? "paused" : "reconnecting…");
  chip.className = `chip is-${isLive ? "live" : "lost"}`;
  tick();
}

function tick() {
  if (lastEventAt !== null) setText(age, `last event ${duration(Math.max(0, now() - lastEventAt))} ago`);
  for (const each of document.querySelectorAll("[data-since]")) {
    setText(each, duration(Math.max(0, now() - Number(each.dataset.since))));
  }
  if (source && Date.now() - heardAt > SILENT_MS) {
    showState("reconnecting");
    connect();
  }
}

// Nobody looks: then nothing is asked for, and what has come is caught up with later.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    disconnect();
    showState("paused");
  } else {
    connect();
    recheck();
    refreshed.plan();
  }
});

function recheck() {
  if (run === undefined) refreshed.soil();
}

const box = document.querySelector(".feed");
if (box) box.scrollTop = box.scrollHeight;
if (run === undefined) refreshed.isDirty = live.dataset.outdated !== undefined;
setInterval(tick, 1000);
setInterval(recheck, RECHECK_MS);
if (!document.hidden) connect();
refreshed.plan();
