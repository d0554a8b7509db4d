// The page of the desk. It asks the program that served it and nobody else, and keeps nothing: what was
// scanned and what was said about it stand on the page until they are cleared, and nowhere else.
"use strict";

// Symbol and tone of each conclusion. Its headline comes with the verdict: one place has the words.
const TONES = {
  "unreadable": ["s-again", "again"],
  "reported": ["s-stop", "stop"],
  "watchlisted": ["s-eye", "watch"],
  "impossible": ["s-cross", "stop"],
  "never-issued": ["s-empty", "stop"],
  "other-holder": ["s-other", "stop"],
  "incomplete": ["s-part", "part"],
  "consistent": ["s-tick", "good"],
  "nothing-known": ["s-open", "plain"],
};
// What the page has to say itself.
const OWN = {
  "no-service": ["s-gone", "gone", "No answer from this desk"],
  "busy": ["s-busy", "busy", "Asking"],
  "ready": ["s-ready", "ready", "Ready"],
};
const NOTHING_FOUND_OUT = "Nothing was found out about this document.";
// Lines and length of a line of each form of zone.
const FORMS = { 30: 3, 36: 2, 44: 2 };
// A reader types a zone in a few hundredths of a second; after this long without a character it is all there.
const QUIET_MS = 250;
// A reader's own Enter may come after the page has sent by itself.
const ECHO_MS = 1500;
const SLOW_MS = 1000;
const GIVE_UP_MS = 60000;
const STATUS_MS = 10000;

const part = (id) => document.getElementById(id);
const zone = part("zone");
// In the tab's own storage, so that reloading the page does not lose it. A cookie would go to every
// program that listens on this machine, whatever its port.
let key = takeKey();
let clearAfterMs = 60000;
let waiting = false;
let sent = { text: null, at: 0 };
let quiet = null;
let clearing = null;
let alarmed = "";

function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    sessionStorage.setItem("token", given);
  }
  return given || sessionStorage.getItem("token");
}

// ---- What stands in the field

const compact = (text) => text.replace(/[^\S\r\n]/g, "").replace(/\u00ab/g, "<<").replace(/\u2039/g, "<");
const linesOf = (text) => compact(text).split(/[\r\n]+/).filter((line) => line !== "");

// "whole", "part" of a zone, or "other".
function shape(text) {
  const lines = linesOf(text);
  if (lines.length === 0) return "empty";
  if (lines.length === 1) {
    const length = lines[0].length;
    if (length === 72 || length === 88 || length === 90) return "whole";
    return FORMS[length] ? "part" : "other";
  }
  const length = lines[0].length;
  if (!FORMS[length] || lines.length > FORMS[length]) return "other";
  const full = lines.every((line) => line.length === length);
  if (full && lines.length === FORMS[length]) return "whole";
  const begun = lines.slice(0, -1).every((line) => line.length === length);
  return begun && lines[lines.length - 1].length <= length ? "part" : "other";
}

function note(text) {
  part("zone-note").textContent = text;
}

// ---- Asking

async function call(path, options) {
  const headers = { authorization: `Bearer ${key}` };
  if (options.body) headers["content-type"] = "application/json";
  return fetch(path, {
    ...options, headers, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    signal: AbortSignal.timeout(GIVE_UP_MS),
  });
}

// One at a time: a verdict is never replaced by that of another document before it was seen.
async function check(presented) {
  if (waiting) {
    note("One at a time: wait for the verdict, then Enter.");
    return;
  }
  waiting = true;
  show("busy", "", {});
  const slow = setTimeout(() => {
    part("subline").textContent = "Still waiting for the lists.";
    say("Still waiting for the lists");
  }, SLOW_MS);
  try {
    const response = await call("/v1/check", { method: "POST", body: JSON.stringify(presented) });
    if (response.status === 401) {
      lock();
      return;
    }
    const answer = await response.json();
    if (response.ok && TONES[answer.conclusion]) verdict(answer);
    else show("no-service", `${sentence(answer.message)} ${NOTHING_FOUND_OUT}`, {});
  } catch {
    show("no-service", `The program behind this page does not answer. ${NOTHING_FOUND_OUT}`, {});
  } finally {
    clearTimeout(slow);
    waiting = false;
    part("verdict").removeAttribute("aria-busy");
    if (shape(zone.value) === "whole" && zone.value !== sent.text) note("Another zone is in the field: Enter checks it.");
    status();
  }
}

function sendZone() {
  const text = zone.value;
  if (shape(text) === "empty") return;
  if (waiting) {
    note("One at a time: wait for the verdict, then Enter.");
    return;
  }
  sent = { text, at: Date.now() };
  note("");
  // Selected, so that the next scan takes its place, and a person can still read it.
  zone.focus();
  zone.select();
  check({ mrz: compact(text).trim() });
}

// ---- Showing

const sentence = (text) => {
  const words = String(text || "").trim();
  if (words === "") return "";
  const first = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
};

function day(ms) {
  return new Date(ms).toISOString().slice(0, 10);
}

// The time of a day on the desk's own clock, with the day if it is another.
function clock(ms) {
  const then = new Date(ms);
  const time = then.toTimeString().slice(0, 5);
  return then.toDateString() === new Date().toDateString() ? time : `${day(ms)} ${time}`;
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function fill(name, items) {
  part(name).replaceChildren(...items);
  part(`${name}-part`).hidden = items.length === 0;
}

// `said` is what a screen reader hears behind headline and line.
function show(conclusion, line, { headline, missing = [], reasons = [], unproved = [], said = [] }) {
  const [symbol, tone, own] = TONES[conclusion] || OWN[conclusion];
  const words = headline || own;
  part("verdict").dataset.tone = tone;
  part("verdict").dataset.conclusion = conclusion;
  part("symbol").setAttribute("href", `#${symbol}`);
  part("headline").textContent = words;
  part("subline").textContent = line;
  fill("missing", missing);
  fill("reasons", reasons);
  fill("unproved", unproved);
  // Where nothing was found, what is missing is the verdict.
  if (conclusion === "incomplete") part("body").prepend(part("missing-part"));
  else part("reasons-part").after(part("missing-part"));
  stopClearing();
  if (conclusion === "busy") {
    part("verdict").setAttribute("aria-busy", "true");
    say("");
    return;
  }
  if (conclusion !== "ready") {
    say([words, line, ...said].map(sentence).filter(Boolean).join(" "));
    startClearing();
  }
}

function say(text) {
  part("said").textContent = text;
}

const listName = (of) => `${of.peer} / ${of.collection}`;

function verdict(answer) {
  const { reasons, missing } = answer;
  const lacking = missing.map((one) => {
    const since = one.since_ms ? ` No answer since ${clock(one.since_ms)}.` : "";
    return `${sentence(one.why)}${since}`;
  });
  const other = answer.conclusion !== "incomplete" && missing.length > 0;
  const line = other
    ? `${missing.length === 1 ? "One answer is" : `${missing.length} answers are`} missing as well.` : "";
  const skipped = answer.not_asked.map((one) => one.why);
  show(answer.conclusion, line, {
    headline: answer.headline,
    missing: lacking.map((text) => element("li", text)),
    reasons: reasons.map(reason),
    unproved: [...answer.not_proved, ...skipped].map((text) => element("li", sentence(text))),
    said: [...reasons.map((one) => one.text), ...lacking],
  });
}

function reason(one) {
  const item = document.createElement("li");
  item.dataset.class = one.class;
  item.append(element("p", sentence(one.text)));
  const basis = one.basis;
  const words = [];
  if (basis.from === "collection") {
    words.push(`By ${listName(basis)}`);
    if (basis.published) words.push(`of ${basis.published}`);
    if (basis.complete_as_of) words.push(`complete as of ${basis.complete_as_of}`);
    if (basis.rules) words.push(`by rule ${basis.rules.join(", ")}`);
  } else if (basis.field !== "input") {
    if (basis.line) words.push(`Line ${basis.line}${basis.column ? `, place ${basis.column}` : ""}`);
    words.push(basis.rule);
  }
  if (words.length > 0) item.append(element("p", sentence(words.join(", ")), "basis"));
  for (const { column, value } of basis.label || []) {
    item.append(element("p", `${column}: ${value}`, "label"));
  }
  if (one.does_not_prove) item.append(element("p", sentence(one.does_not_prove), "limit"));
  return item;
}

// ---- Clearing

function stopClearing() {
  clearInterval(clearing);
  clearing = null;
  part("until").hidden = true;
}

function startClearing() {
  if (clearAfterMs === 0) return;
  const end = Date.now() + clearAfterMs;
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) return clear();
    part("until").hidden = false;
    part("until").textContent = `Cleared in ${left} s.`;
  };
  tick();
  clearing = setInterval(tick, 1000);
}

function clear() {
  clearTimeout(quiet);
  sent = { text: null, at: 0 };
  zone.value = "";
  part("fields").reset();
  note("");
  show("ready", "Scan or paste the zone of a document.", {});
  say("");
}

// ---- Which lists answer

async function status() {
  if (!key) return;
  let line = "No answer from the program behind this page";
  let whole = false;
  try {
    const response = await call("/v1/status", { method: "GET" });
    if (response.status === 401) return lock();
    const answer = await response.json();
    clearAfterMs = answer.clear_after_seconds * 1000;
    const all = answer.collections;
    const up = all.filter((one) => one.state === "ready");
    whole = answer.ready;
    line = whole
      ? `${all.length === 1 ? "The one list answers" : `All ${all.length} lists answer`}`
      : `${up.length} of ${all.length} lists answer`;
    part("lists-all").replaceChildren(...all.map(list));
  } catch {
    // Said in the line.
  }
  part("lists-line").textContent = line;
  part("lists-line").dataset.tone = whole ? "good" : "part";
  // Said once when it changes for the worse, and never over a verdict.
  if (!whole && line !== alarmed && part("verdict").dataset.tone === "ready") say(line);
  alarmed = whole ? "" : line;
}

function list(one) {
  const words = [listName(one)];
  if (one.published_ms) words.push(`of ${day(one.published_ms)}`);
  if (one.state === "ready") words.push("answers");
  else if (one.trouble) words.push(`does not answer since ${clock(one.trouble.since_ms)}: ${one.trouble.why}`);
  else words.push(one.state === "opening" ? "is being fetched" : "does not answer");
  return element("li", words.join(", "));
}

function lock() {
  clear();
  sessionStorage.removeItem("token");
  key = null;
  part("unlock").hidden = false;
  part("scan").hidden = true;
  part("by-hand").hidden = true;
  part("lists-line").textContent = "";
  say("This page needs its key");
  part("key").focus();
}

function unlock() {
  part("unlock").hidden = true;
  part("scan").hidden = false;
  part("by-hand").hidden = false;
  zone.focus();
  status();
}

// ---- Keys, reader, paste

part("scan").addEventListener("submit", (event) => {
  event.preventDefault();
  sendZone();
});
part("clear").addEventListener("click", () => {
  clear();
  zone.focus();
});
part("fields").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = [...new FormData(event.target)].map(([name, value]) => [name, value.trim()]);
  const presented = Object.fromEntries(given.filter(([, value]) => value !== ""));
  if (Object.keys(presented).length === 0) return;
  check(presented);
  part("headline").focus({ preventScroll: true });
  part("verdict").scrollIntoView({ block: "start" });
});
part("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = part("key").value.trim();
  part("key").value = "";
  if (given === "") return;
  key = given;
  sessionStorage.setItem("token", given);
  unlock();
});

zone.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  const text = zone.value;
  if (text === sent.text && Date.now() - sent.at < ECHO_MS) {
    event.preventDefault();
    return;
  }
  // A reader sends Enter between the lines of a zone: that is not the end of it yet.
  const begun = shape(text) === "part" && !/[\r\n]\s*$/.test(text) && !event.ctrlKey;
  if (begun) {
    note("Half a zone: the next line is missing. Enter again checks it as it is.");
    return;
  }
  event.preventDefault();
  clearTimeout(quiet);
  sendZone();
});

zone.addEventListener("input", () => {
  clearTimeout(quiet);
  if (shape(zone.value) !== "part") note("");
  if (shape(zone.value) !== "whole") return;
  quiet = setTimeout(() => {
    if (zone.value !== sent.text || Date.now() - sent.at > ECHO_MS) sendZone();
  }, QUIET_MS);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.preventDefault();
    clear();
    if (key) zone.focus();
    return;
  }
  // A scan must land in the field, wherever the focus was left.
  const typed = event.key.length === 1 && !event.ctrlKey && !event.altKey && !event.metaKey;
  const at = document.activeElement;
  const writes = at && ["INPUT", "TEXTAREA"].includes(at.tagName);
  const presses = at && ["BUTTON", "SUMMARY"].includes(at.tagName) && event.key === " ";
  if (key && typed && !writes && !presses) {
    zone.focus();
    zone.select();
  }
});
document.addEventListener("paste", (event) => {
  const at = document.activeElement;
  if (!key || (at && ["INPUT", "TEXTAREA"].includes(at.tagName))) return;
  event.preventDefault();
  zone.value = event.clipboardData.getData("text/plain").slice(0, 400);
  zone.focus();
  zone.dispatchEvent(new Event("input"));
});
// A click beside everything gives the focus back to the field.
document.addEventListener("click", (event) => {
  const own = event.target.closest("a, button, input, textarea, summary, label, details");
  if (!own && key && String(getSelection()) === "") zone.focus({ preventScroll: true });
});
window.addEventListener("focus", () => {
  if (key && document.activeElement === document.body) zone.focus();
});
// Nothing comes back by the browser's own back button.
window.addEventListener("pagehide", clear);

if (key) unlock();
else lock();
setInterval(() => {
  if (!document.hidden) status();
}, STATUS_MS);
