// Drives a report in a browser and writes what it finds into the page.
"use strict";
const findings = [];
const need = (condition, what) => { if (!condition) findings.push(what); };
const visible = box => box.width > 0 && box.height > 0;

need(document.body.dataset.ready === "true", "the page did not finish");
need(document.querySelectorAll("rect.exchange").length > 0, "the waterfall is empty");
need(document.querySelectorAll("rect.bar").length > 0, "the chart of bytes is empty");
for (const mark of document.querySelectorAll("rect.exchange, rect.bar")) {
  const box = mark.getBoundingClientRect();
  need(visible(box), "a mark without size");
  const frame = mark.ownerSVGElement.getBoundingClientRect();
  need(box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1, "a mark outside its chart");
}
need(new Set([...document.querySelectorAll("rect.exchange")].map(r => r.getAttribute("fill"))).size ===
  document.querySelectorAll("#legend li").length, "colours and legend differ");

// Text on text: every pair of text nodes that can be seen.
const boxes = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (!node.data.trim() || node.parentElement.closest("script, title")) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const box of range.getClientRects()) if (visible(box)) boxes.push([box, node.data.trim().slice(0, 30)]);
}
need(boxes.length > 20, "hardly any text");
boxes.sort((a, b) => a[0].top - b[0].top);
for (let i = 0; i < boxes.length; i += 1) {
  for (let j = i + 1; j < boxes.length && boxes[j][0].top < boxes[i][0].bottom - 2; j += 1) {
    const [a, b] = [boxes[i][0], boxes[j][0]];
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 3) findings.push("overlap: " + boxes[i][1] + " / " + boxes[j][1]);
  }
}
need(document.documentElement.scrollWidth <= window.innerWidth + 1, "the page is wider than the window");

// The table sorts by bytes, most first, and back.
const column = name => [...document.querySelectorAll("#layers th")].findIndex(th => th.textContent === name);
const cells = i => [...document.querySelectorAll("#layers tbody tr")].map(tr => Number(tr.cells[i].textContent.replaceAll(",", "")));
const at = column("bytes");
const press = () => document.querySelectorAll("#layers th button")[at].click();
press();
const falling = cells(at);
need(falling.every((n, i) => i === 0 || falling[i - 1] >= n), "not sorted by bytes");
press();
const rising = cells(at);
need(rising.every((n, i) => i === 0 || rising[i - 1] <= n), "not sorted the other way");
need(document.querySelectorAll("#layers th[aria-sort]").length === 1, "the sorted column is not marked");

// A slower network takes longer.
const read = () => document.getElementById("estimate").textContent;
const set = (id, value) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event("input"));
};
set("rtt", 0);
set("bw", 100);
const fast = read();
set("rtt", 100);
const slow = read();
need(fast !== slow && slow.endsWith(" s"), "the estimate does not follow the round-trip time: " + fast + " / " + slow);
set("bw", 0);
need(read() !== slow, "the estimate does not follow the bandwidth");

const result = document.createElement("pre");
result.id = "findings";
result.textContent = findings.length ? findings.join("\n") : "none";
document.body.append(result);
