"""The style sheet of the page: for wide and narrow windows, and for paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """\
:root { color-scheme: light; --ink: #22272e; --soft: #57606a; --line: #d8dce2; --above: #1f5fbf;
  --forced: #8a5a00; --never: #c4123f; --panel: #f6f7f9; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 76rem; background: #fff;
  overflow-wrap: anywhere; color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p, ul, dl { margin: 0 0 .8rem; max-width: 46rem; }
.lead { font-size: 1.1rem; }
.soft, figcaption, caption { color: var(--soft); }
.alert { border-left: .3rem solid var(--never); background: #fdf1f4; padding: .7rem 1rem;
  max-width: none; }
.alert ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.setting { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; }
.setting dt { font-weight: 400; } .setting dd { margin: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem;
  list-style: none; margin: 1.2rem 0; padding: 0; max-width: none; }
.cards li { background: var(--panel); border-radius: .4rem; padding: .6rem .8rem; }
.cards b { display: block; font-size: clamp(1.1rem, 6vw, 1.6rem); line-height: 1.2;
  white-space: nowrap; }
.above b { color: var(--above); } .forced b { color: var(--forced); }
.never b { color: var(--never); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1rem 2rem; align-items: start; }
figure { margin: 0 0 1rem; break-inside: avoid; min-width: 0; }
figure img { display: block; width: 100%; max-width: 34rem; height: auto; }
figcaption { font-size: .9rem; margin-top: .3rem; max-width: 34rem; }
.gallery { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.gallery img { border-radius: .25rem; max-width: none; aspect-ratio: 4 / 3; object-fit: contain;
  background: var(--panel); }
/* The shadows lie under the white ends, which move with the table: they show where it goes on. */
.scroll { overflow-x: auto; max-width: 100%; margin-bottom: 1rem; background:
  linear-gradient(to right, #fff 1rem, #fff0) left / 2rem 100% no-repeat local,
  linear-gradient(to left, #fff 1rem, #fff0) right / 2rem 100% no-repeat local,
  linear-gradient(to right, #0003, #0000) left / .7rem 100% no-repeat scroll,
  linear-gradient(to left, #0003, #0000) right / .7rem 100% no-repeat scroll; }
.scroll:focus { outline: 2px solid var(--above); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
  margin: 0; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .25rem .45rem; text-align: right; border-bottom: 1px solid var(--line); }
td, code { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { vertical-align: bottom; font-weight: 600; overflow-wrap: normal; }
tbody th { font-weight: 400; min-width: 4.2rem; max-width: 14rem; }
tr.bad td, tr.bad th { color: var(--never); font-weight: 600; }
code { font: .85rem/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  background: var(--panel); padding: .05rem .25rem; }
.long { white-space: normal; }
dt { font-weight: 600; break-after: avoid; } dd { margin: 0 0 .5rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .9rem 2rem; }
  h1 { font-size: 1.35rem; }
  table { font-size: .76rem; }
  th, td { padding: .25rem .2rem; }
  .setting { grid-template-columns: 1fr; } .setting dt { font-weight: 600; }
  .cards { grid-template-columns: repeat(2, 1fr); }
}
@media print {
  @page { margin: 15mm; }
  html { font-size: 10pt; }
  body { padding: 0; max-width: none; }
  h2, h3, caption { break-after: avoid; }
  h2 + p, p:has(+ .scroll) { break-after: avoid; }
  tr, .cards li, .alert, .scroll { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 8pt; } th, td { padding: .15rem .3rem; }
  .pair, .gallery { grid-template-columns: 1fr 1fr; }
  .gallery { gap: .5rem 1rem; } .gallery figure { margin-bottom: .4rem; }
  .cards { grid-template-columns: repeat(6, 1fr); } .cards b { font-size: 1.4rem; }
  .cards li { border: 1px solid var(--line); }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
