// What a page does by itself: keys, choosing all, and loading anew what has changed. Without it every page works, too.
"use strict";

const rows = () => [...document.querySelectorAll("table[data-rows] tbody tr")];
const here = () => document.querySelector("tr[data-here]");

function move(by) {
  const all = rows();
  if (!all.length) return;
  const now = all.indexOf(here());
  const next = all[Math.min(all.length - 1, Math.max(0, now < 0 ? 0 : now + by))];
  here()?.removeAttribute("data-here");
  next.setAttribute("data-here", "");
  next.querySelector("a")?.focus();
  next.scrollIntoView({ block: "nearest" });
}

function act(verb) {
  const chosen = document.querySelector("input[name=id]:checked");
  const button = document.querySelector(`button[name=verb][value=${verb}]`);
  if (chosen && button) return button.click();
  const link = (here() ?? document).querySelector(`a[data-act=${verb}]`);
  if (link) return link.click();
  const box = here()?.querySelector("input[name=id]");
  if (box && button) {
    box.checked = true;
    button.click();
  }
}

const help = () => document.getElementById("help").showModal();
const keys = {
  "/": () => document.querySelector("[data-search]")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  x: () => here()?.querySelector("input[name=id]")?.click(),
  r: () => act("replay"),
  d: () => act("drop"),
  "?": help,
};

document.addEventListener("keydown", (event) => {
  // dialog[open]: a closed dialog has the focus until the browser draws the next frame
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea, dialog[open]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});
document.querySelector("[data-help]")?.addEventListener("click", help);
document.querySelector("[data-all]")?.addEventListener("change", (event) => {
  for (const box of document.querySelectorAll("input[name=id]")) box.checked = event.target.checked;
});

// Whoever reads a row, has chosen one or writes a reason keeps what is under their eyes.
const isBusy = (part) => part.querySelector("tr[data-here], input:checked, details[open]:not(.tree details)") || part.contains(document.activeElement);
// Screen readers hear what matters of it: how many dead letters there are now, and how a run ended.
function tell(page) {
  const dead = page.querySelector("[data-dead]")?.dataset.dead ?? "";
  const ended = page.querySelector("[data-live=run]:not([data-again]) [role=status]")?.textContent ?? "";
  const said = ended || (dead !== document.body.dataset.dead ? `${dead} dead letters` : "");
  document.body.dataset.dead = dead;
  if (said) document.getElementById("said").textContent = said.replace(/\s+/g, " ").trim();
}

// A page that takes long to make is asked for less often: at most a thirtieth of the time is spent on it.
let loading = false;
let next = 0;
let later = null;

async function load() {
  if (loading || document.hidden) return;
  const began = performance.now();
  if (began < next) {
    later ??= setTimeout(() => { later = null; load(); }, next - began);
    return;
  }
  loading = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
      if (fresh && !fresh.isEqualNode(part) && !isBusy(part)) part.replaceWith(fresh);
    }
    document.body.dataset.mark = page.body.dataset.mark;
    tell(page);
  } catch {
    // the console is being started anew: the next time
  } finally {
    loading = false;
    next = performance.now() + 29 * (performance.now() - began);
    again();
  }
}

function again() {
  const part = document.querySelector("[data-again]");
  if (part) setTimeout(load, Number(part.dataset.again));
}

let stream = null;

function listen() {
  stream?.close();
  stream = null;
  if (document.hidden || !document.querySelector("[data-live]")) return;
  stream = new EventSource(`/live?since=${document.body.dataset.mark}`);
  stream.addEventListener("changed", load);
}

document.addEventListener("visibilitychange", () => {
  listen();
  if (!document.hidden) load();
});
addEventListener("pagehide", () => stream?.close());
listen();
again();
