// Keys: j and k go down and up the table, Enter opens, / goes to the filters, u goes back to the list; a button that
// names a key in data-key is pressed by it. A key that is held down presses once: the next case wants another look.
"use strict";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const button = /^[a-z]$/.test(event.key) && document.querySelector(`button[data-key="${event.key}"]`);
  if (button) {
    event.preventDefault();
    if (!event.repeat) button.click();
    return;
  }
  const rows = [...document.querySelectorAll("tbody a.open")];
  const at = rows.indexOf(document.activeElement);
  if (event.key === "j" && rows.length) rows[Math.min(at + 1, rows.length - 1)].focus();
  else if (event.key === "k" && rows.length) rows[Math.max(at - 1, 0)].focus();
  else if (event.key === "u") document.querySelector("a.back")?.click();
  else if (event.key === "/") document.querySelector("#filters input")?.focus();
  else return;
  event.preventDefault();
});
// Where the list is narrow, facets are folded; the first time only, as people may open them.
const narrow = window.matchMedia("(max-width: 760px)");
const fold = () => document.querySelectorAll("details.side").forEach((one) => { one.open = !narrow.matches; });
document.addEventListener("DOMContentLoaded", fold);
document.addEventListener("htmx:afterSettle", (event) => { if (event.target.id === "main") fold(); });
// What is open, and where the focus is, stays so when a part of a page comes anew.
let kept = { open: [], focus: "" };
document.addEventListener("htmx:beforeSwap", (event) => {
  const open = [...event.target.querySelectorAll("details[id][open]")].map((one) => one.id);
  kept = { open, focus: event.target.contains(document.activeElement) ? document.activeElement.id : "" };
});
document.addEventListener("htmx:afterSettle", () => {
  for (const id of kept.open) { const one = document.getElementById(id); if (one) one.open = true; }
  if (kept.focus && document.activeElement.id !== kept.focus) document.getElementById(kept.focus)?.focus({ preventScroll: true });
  kept = { open: [], focus: "" };
});
