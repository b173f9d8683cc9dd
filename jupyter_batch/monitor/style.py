"""The style sheets of card and panel.

JupyterLab's variables come first, so that the theme applies; the fallback colours are readable on
white and on black.
"""

PALETTE = {
    "good": "#388e3c",
    "bad": "#d32f2f",
    "warn": "#f57c00",
    "busy": "#0288d1",
    "idle": "#8a8f98",
}
"""The colours where no theme gives them, as the sheet has them, and of drawings, which know no theme."""

SERIES = (
    PALETTE["busy"],
    "#e08a00",
    "#8e5bd0",
    "#00897b",
    "#d64a8a",
    "#8d6e63",
    "#7b8f00",
    "#5c7cba",
)
"""Jobs side by side, in a drawing."""

AS_TEXT = "tex2jax_ignore mathjax_ignore"
"""Classes of what is displayed as HTML: else notebooks typeset what stands between two dollar signs as a formula."""

CARD = """.jb{--jb-good:var(--jp-success-color1,#388e3c);--jb-bad:var(--jp-error-color1,#d32f2f);
--jb-warn:var(--jp-warn-color1,#f57c00);--jb-busy:var(--jp-info-color1,#0288d1);--jb-idle:#8a8f98;
--jb-dim:color-mix(in srgb,currentColor 66%,transparent);--jb-edge:color-mix(in srgb,currentColor 14%,transparent);
--jb-wash:color-mix(in srgb,currentColor 3%,transparent);
font:var(--jp-ui-font-size1,13px)/1.55 var(--jp-ui-font-family,system-ui,sans-serif);
color:var(--jp-ui-font-color1,inherit);font-variant-numeric:tabular-nums;overflow-wrap:anywhere;print-color-adjust:exact}
@media (forced-colors:active){.jb-bar,.jb-pill::before,.jb-key::before{forced-color-adjust:none}}
.jb *{box-sizing:border-box}
.jb-card,.jb-live{box-sizing:border-box;max-width:860px;margin:4px 0;padding:10px 14px 11px;
border:1px solid color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 14%,transparent);border-radius:8px;
background:color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 3%,transparent)}
.jb-head{display:flex;flex-wrap:wrap;align-items:center;gap:2px 10px}
.jb-title{font-weight:600;font-size:1.08em}
.jb-dim{color:var(--jb-dim)}
.jb-pill{white-space:nowrap;display:inline-flex;align-items:center;gap:6px;padding:0 9px 0 8px;border-radius:99px;
font-size:.92em;font-weight:600;background:color-mix(in srgb,var(--jb-c) 16%,transparent);
color:color-mix(in srgb,var(--jb-c) 55%,var(--jp-ui-font-color0,currentColor))}
.jb-pill::before,.jb-key::before{content:"";flex:none;width:7px;height:7px;border-radius:50%;background:var(--jb-c)}
.jb-row{display:flex;flex-wrap:wrap;align-items:center;gap:2px 14px;margin-top:7px}
.jb-bar{display:flex;flex:1 1 200px;height:8px;border-radius:4px;overflow:hidden;gap:1px;background:var(--jb-edge)}
.jb-bar>span{min-width:3px;background:var(--jb-c);transition:flex-grow .4s ease-out}
.jb-bar>[data-c=running]{min-width:0}
.jb-share{flex:none}
.jb-keys,.jb-foot{display:flex;flex-wrap:wrap;gap:0 16px;margin-top:5px}
.jb-key{display:inline-flex;align-items:center;gap:6px}
.jb-foot{margin-top:2px;color:var(--jb-dim)}
.jb.jb .jb-id.jb-id{font:.94em var(--jp-code-font-family,ui-monospace,monospace);color:inherit;
background:none;padding:0;user-select:all}
.jb-now{display:flex;flex-wrap:wrap;align-items:flex-end;gap:0 18px}.jb-now>:first-child{flex:999 1 300px}
.jb-curve{flex:1 0 132px;height:34px;margin:6px 0 4px;border-bottom:1px solid var(--jb-edge)}
.jb-curve svg{display:block;width:100%;height:100%}
.jb-curve path{fill:color-mix(in srgb,var(--jb-c) 16%,transparent);stroke:var(--jb-c);stroke-width:1.5px;
vector-effect:non-scaling-stroke}
.jb-sep{display:none}
.jb-say{margin:6px 0 0}.jb-say:empty{display:none}
.jb.jb .jb-why.jb-why{margin:6px 0 0;padding:0;list-style:none}
.jb.jb .jb-why li{margin:0}.jb-why b{font-weight:600;margin-right:6px}
.jb-why .jb-dim{margin-left:6px}
.jb-peek{margin-top:7px;display:grid;grid-template-columns:auto fit-content(55%) minmax(0,1fr);gap:0 12px}
.jb-peek>div{display:grid;grid-column:1/-1;grid-template-columns:subgrid}
.jb-peek>div>:first-child{color:var(--jb-dim)}
.jb-peek [dir]{text-align:left}
.jb-what{color:var(--jb-dim)}
.jb-parts{margin-top:4px}
.jb-parts>div{display:grid;grid-template-columns:1.6em 8.2em 15em minmax(0,1fr);gap:0 10px;padding:2px 0;
border-top:1px solid var(--jb-edge)}
.jb-parts>div>:first-child{color:var(--jb-dim)}.jb-parts .jb-pill{justify-self:start;align-self:start}
.jb-fold summary{cursor:pointer;color:var(--jb-dim);margin-top:5px}
.jb-back{margin:8px 0 0;padding-top:7px;border-top:1px solid var(--jb-edge);color:var(--jb-dim)}
.jb-back .jb-id{color:var(--jp-ui-font-color1,inherit)}
.jb [data-c=good],.jb [data-c=succeeded]{--jb-c:var(--jb-good)}
.jb [data-c=bad],.jb [data-c=failed]{--jb-c:var(--jb-bad)}
.jb [data-c=warn],.jb [data-c=expired]{--jb-c:var(--jb-warn)}
.jb [data-c=busy]{--jb-c:var(--jb-busy)}
.jb [data-c=reused]{--jb-c:color-mix(in srgb,var(--jb-good) 55%,var(--jb-busy))}
.jb [data-c=idle],.jb [data-c=cancelled],.jb [data-c=skipped]{--jb-c:var(--jb-idle)}
.jb [data-c=running]{--jb-c:color-mix(in srgb,var(--jb-busy) 35%,transparent)}
.jb [data-c=open]{--jb-c:color-mix(in srgb,currentColor 22%,transparent)}
.jb-bar>[data-c=open],.jb-bar>[data-c=running]{background:none}
@media (max-width:480px){.jb-peek{grid-template-columns:auto minmax(0,1fr)}
.jb-peek>div>:nth-child(3){grid-column:2}
.jb-parts>div{grid-template-columns:1.6em 8.2em minmax(0,1fr)}.jb-parts>div>:nth-child(4){grid-column:2/4}}
"""
"""What the saved notebook needs."""

TABLE = """\
.jb-list{overflow-x:auto}
.jb-table{border-collapse:collapse}
.jb.jb .jb-table th,.jb.jb .jb-table td{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid var(--jb-edge);
white-space:nowrap}
.jb.jb .jb-table .jb-long{white-space:normal;min-width:8em;max-width:28em}
.jb-table th{font-weight:600;color:var(--jb-dim)}
.jb.jb .jb-table .jb-id{white-space:nowrap}
"""
"""Styles of a list of jobs: long names are broken, numbers and ids are not."""

FACTS = """\
.jb-facts{border-collapse:collapse}
.jb.jb .jb-facts tr{background:none}
.jb.jb .jb-facts th,.jb.jb .jb-facts td{padding:1px 14px 1px 0;text-align:left;vertical-align:top;white-space:normal}
.jb.jb .jb-facts th{font-weight:600;color:var(--jb-dim);white-space:nowrap}
"""
"""Styles of a preview: a table of pairs, with sentences of several lines."""

LIVE = """.jb-place{container-type:inline-size;contain-intrinsic-inline-size:860px;min-width:0}
.jb-place.jb-place::before{content:none}
.jb-live [hidden]{display:none!important}
.jb-live .jb-pill[data-c=busy]::before{animation:jb-breathe 2.4s ease-in-out infinite}
.jb-gone .jb-pill[data-c=busy]::before{animation:none}
@keyframes jb-breathe{50%{opacity:.3}}
@media (prefers-reduced-motion:reduce){.jb *,.jb *::before{animation:none!important;transition:none!important}}
.jb-live{--jb-dim-live:color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 75%,transparent);
display:flex;flex-flow:row wrap;align-items:flex-start;gap:0 12px}
.jb-live>.jb-top{flex:1 1 220px}.jb-live>.jb-line{flex:1 1 100%;min-width:0}.jb-live>.jb-line:empty{display:none}
.jb-live>.jb-buttons{flex:0 1 auto;display:flex;flex-wrap:wrap;justify-content:flex-end;gap:4px;max-width:100%;
margin:-2px -4px 0 auto}
.jb-live button{font:inherit;cursor:pointer;color:var(--jp-ui-font-color1,inherit);background:transparent}
.jb-buttons>button{min-height:26px;line-height:24px;padding:0 10px;margin:0;border-radius:5px;text-align:left;
border:1px solid color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 18%,transparent)}
.jb-buttons>button:hover{background:color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 8%,transparent)}
.jb-live:has(.jb-price)>.jb-top{padding-bottom:6px}
.jb-buttons .jb-price{font-size:.92em;padding-left:2px}
.jb-live button:focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2);outline-offset:1px}
.jb-live .jb-buttons>[data-name=confirm]{background:var(--jp-error-color1,#d32f2f);border-color:transparent;color:#fff}
.jb-live .jb-buttons>[data-name=confirm]:hover{background:var(--jp-error-color0,#b71c1c)}
.jb-live .jb-asking>:not(:first-child){min-width:14em}
.jb-live>.jb-unfold{border:0;padding:0;margin:3px 0 0;color:var(--jb-dim-live);text-decoration:underline;
text-underline-offset:2px;flex:none}
.jb-live .jb-copy{display:inline-flex;vertical-align:middle;align-items:center;justify-content:center;
width:24px;height:24px;margin:-4px -2px -4px 1px;padding:0;border:0;border-radius:5px;color:inherit}
.jb-copy:hover{background:color-mix(in srgb,currentColor 12%,transparent)}
.jb-copy svg{width:14px;height:14px;fill:none;stroke:currentColor;stroke-width:1.3}
.jb-copy .jb-done,.jb-copied path{display:none}.jb-copied .jb-done{display:inline;stroke-width:2}
.jb-unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@container (max-width:440px){.jb-live>.jb-buttons{order:1;margin:8px 0 0 auto}.jb-buttons>button{padding:0 7px}
.jb-live>.jb-below,.jb-live>.jb-unfold{order:2}}
@container (max-width:600px){.jb-peek{grid-template-columns:auto minmax(0,1fr)}
.jb-peek>div>:nth-child(3){grid-column:2}
.jb-parts>div{grid-template-columns:1.6em 8.2em minmax(0,1fr)}.jb-parts>div>:nth-child(4){grid-column:2/4}}
"""
"""Styles of the panel."""

# The panel hides its card (panel.js). Where there is no panel, its place («Loading widget...», later «Error displaying
# widget») hides. (A :has() inside a :has() is invalid and would kill its rule.)
PAIRED = """\
.jp-OutputArea-child:has(.jb-paired) + .jp-OutputArea-child:has(> .jupyter-widgets):not(:has(.jb-live)){display:none}
.jp-OutputArea-child:has(.jb-paired) + .jp-OutputArea-child:has(> .lm-Panel):not(:has(.jb-live)){display:none}
"""
"""What a card needs that has a live panel below it."""
