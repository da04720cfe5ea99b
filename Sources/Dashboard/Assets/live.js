// Keeps a page up to date. Without it the page comes anew by itself.
"use strict";
(() => {
  const root = document.querySelector("[data-events]");
  if (!root || !window.EventSource) return;
  const note = document.getElementById("connection");
  const say = (text) => {
    if (!note) return;
    note.textContent = text;
    note.hidden = text === "";
  };
  const source = new EventSource(root.dataset.events);
  source.addEventListener("open", () => say(""));
  source.addEventListener("error", () => {
    say(source.readyState === EventSource.CLOSED
      ? "The connection is lost; load the page again." : "The connection is lost; trying again.");
  });
  // Parts of the page, by the ids of their elements. The keyboard stays where it was.
  source.addEventListener("parts", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const element = document.getElementById(id);
      if (!element || element.dataset.shown === html) continue;
      const held = element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      const frame = element.querySelector(".scroll");
      const left = frame ? frame.scrollLeft : 0;
      element.innerHTML = html;
      element.dataset.shown = html;
      const renewed = element.querySelector(".scroll");
      if (renewed) renewed.scrollLeft = left;
      if (held) for (const link of element.querySelectorAll("a")) if (link.getAttribute("href") === held) link.focus();
    }
  });
  // A piece of a log. Who has scrolled up stays there.
  source.addEventListener("text", (event) => {
    const log = document.getElementById("log");
    const empty = document.getElementById("empty");
    if (empty) empty.hidden = true;
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    const text = log.textContent + JSON.parse(event.data);
    log.textContent = text.length > 500000 ? text.slice(-400000) : text;
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("end", () => {
    source.close();
    document.documentElement.dataset.ended = "yes";
  });
  const log = document.getElementById("log");
  if (log) log.scrollTop = log.scrollHeight;
})();
