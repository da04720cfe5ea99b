/// The style of the HTML report: system fonts, two colour schemes, and a sheet for paper. No `<` or `&` inside, so
/// that the page stays well-formed as XML too.
package enum Stylesheet {
  static var text: String {
    """
    \(light)
    @media (prefers-color-scheme:dark){\(dark)}
    \(layout)
    \(pictures)
    \(ramp)
    \(paper)
    """
  }

  /// Colours, type, tables: what pages without pictures need.
  package static var plain: String { "\(light)\n@media (prefers-color-scheme:dark){\(dark)}\n\(layout)" }

  /// The colours of `Ramp`.
  package static var ramp: String {
    "\(Ramp.rules(dark: false))\n@media (prefers-color-scheme:dark){\(Ramp.rules(dark: true))}"
  }

  private static let light = """
    :root{color-scheme:light dark;--paper:#fdfdfb;--ink:#1b1f24;--soft:#5b6470;--line:#dfe2e6;--panel:#f5f6f4;
    --fail:#b3400a;--fail-paper:#fdf1ea;--pass:#0b5c94;--doubt:#7a5a00;--doubt-paper:#fbf5e2;--equal:#eceef0;
    --band:#e3ecf3;--on-fail:#fff}
    """

  private static let dark = """
    :root{--paper:#14171b;--ink:#e6e8ea;--soft:#98a2ad;--line:#2d333a;--panel:#1b1f24;
    --fail:#ff9a62;--fail-paper:#2b1d15;--pass:#7cc0f0;--doubt:#e8c766;--doubt-paper:#262113;--equal:#242930;
    --band:#22303c;--on-fail:#1a0f08}
    """

  private static let layout = """
    *{box-sizing:border-box}
    html{-webkit-text-size-adjust:100%}
    body{margin:0;background:var(--paper);color:var(--ink);
    font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif}
    main{max-width:66rem;margin:0 auto;padding:3rem 1.5rem 5rem}
    h1{font-size:1.65rem;line-height:1.3;font-weight:600;letter-spacing:-.012em;margin:.9rem 0 1rem;max-width:46rem;
    text-wrap:balance}
    h2{font-size:1.15rem;font-weight:600;margin:3.2rem 0 .9rem;letter-spacing:-.005em}
    h3{font-size:.95rem;font-weight:600;margin:2rem 0 .6rem}
    p{margin:.5rem 0;max-width:46rem}
    a{color:inherit;text-decoration-color:var(--soft);text-underline-offset:.2em}
    a:focus-visible,summary:focus-visible{outline:2px solid var(--pass);outline-offset:3px;border-radius:3px}
    .kicker{color:var(--soft);font-size:.86rem;margin:0}
    .kicker b{color:var(--ink);font-weight:600}
    .soft{color:var(--soft)}
    .small{font-size:.84rem}
    code,pre,.mono{font-family:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
    font-size:.86em}
    .v{display:inline-block;font-size:.7rem;font-weight:700;letter-spacing:.055em;line-height:1;padding:.32em .55em;
    border-radius:4px;border:1.5px solid;white-space:nowrap;vertical-align:.12em}
    .v.fail{background:var(--fail);border-color:var(--fail);color:var(--on-fail)}
    .v.pass{color:var(--pass)}
    .v.inconclusive{color:var(--doubt);border-style:dashed}
    .v.none{color:var(--soft);border-color:transparent;padding-left:0}
    header .v{font-size:.95rem}
    .answer{border:1px solid var(--line);border-left:5px solid var(--fail);background:var(--fail-paper);
    border-radius:6px;padding:.85rem 1.15rem;max-width:46rem;margin:1.2rem 0}
    .answer.doubt{border-left-color:var(--doubt);background:var(--doubt-paper)}
    .answer strong{font-size:1.12em}
    dl.facts{display:flex;flex-wrap:wrap;gap:.6rem 2.4rem;margin:1.6rem 0 0;padding-top:1.1rem;
    border-top:1px solid var(--line)}
    dl.facts dt{color:var(--soft);font-size:.78rem}
    dl.facts dd{margin:0;font-variant-numeric:tabular-nums}
    .scroll{overflow-x:auto;margin:.4rem 0}
    table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;line-height:1.4}
    caption{text-align:left;color:var(--soft);padding:0 0 .5rem}
    th,td{padding:.38rem 1.15rem .38rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
    th{font-weight:600}
    thead th{color:var(--soft);font-weight:500;font-size:.8rem;vertical-align:bottom;white-space:nowrap}
    table.n td:nth-child(n+4):nth-child(-n+9),table.n th:nth-child(n+4):nth-child(-n+9){text-align:right}
    table.n td:not(:last-child){white-space:nowrap}
    table.n td:last-child{min-width:15rem}
    table.r td,table.r th{white-space:nowrap}
    table.r td:nth-child(5){white-space:normal;min-width:8rem}
    tr.f td{background:var(--fail-paper)}
    tr.f td:first-child,tr.q td:first-child{padding-left:.5rem}
    table.n td:first-child,table.n th:first-child{padding-left:.5rem}
    tr.q td{background:var(--doubt-paper)}
    table.pivot td,table.pivot tbody th{padding:.7rem 1.4rem .7rem 0}
    table.pivot td small{display:block;color:var(--soft);margin-top:.3rem;font-size:.8rem}
    .finding{border-top:1px solid var(--line);padding:1.1rem 0 .9rem;max-width:46rem}
    .finding:last-child{border-bottom:1px solid var(--line)}
    .finding h3{margin:0 0 .3rem;font-size:1rem}
    .finding h3 code{font-size:.95em;font-weight:600}
    .finding p{margin:.3rem 0}
    .finding .next{padding-left:1.4em;text-indent:-1.4em}
    .tag{color:var(--soft);font-weight:400;font-size:.86rem}
    details.pair{border-top:1px solid var(--line);padding:.2rem 0}
    details.pair:last-of-type{border-bottom:1px solid var(--line)}
    summary{cursor:pointer;padding:.75rem 0;max-width:60rem}
    summary:hover{color:var(--pass)}
    summary b{font-weight:600}
    .pair summary .soft{display:block;font-size:.92rem;padding:.2rem 0 0 1.15rem}
    details.pair[open]{padding-bottom:2rem}
    pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.9rem 1.1rem;overflow-x:auto;
    white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5;font-size:.8rem;max-width:60rem}
    ul.ledger{padding-left:1.2rem;margin:.4rem 0;max-width:52rem}
    ul.ledger li{margin:.2rem 0;overflow-wrap:anywhere}
    .legend{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem 1.6rem;font-size:.8rem;color:var(--soft);
    margin:.4rem 0 1.4rem}
    .legend svg{display:block}
    .legend span{display:inline-flex;align-items:center;gap:.5rem}
    .panels{display:flex;flex-wrap:wrap;gap:1.1rem 1.15rem}
    header+section{margin-top:2.2rem}
    details.more{margin:.3rem 0}
    details.more summary{font-size:.86rem;color:var(--soft)}
    figure{margin:0;width:236px}
    figcaption{font-size:.84rem;margin-bottom:.15rem}
    """

  private static let pictures = """
    svg{max-width:none}
    .t{fill:var(--soft);font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
    font-variant-numeric:tabular-nums}
    .c text{fill:var(--soft);font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
    font-variant-numeric:tabular-nums;text-anchor:middle}
    .t.b{font-weight:700}
    .p{fill:var(--fail)}
    .d{stroke:var(--ink);stroke-width:4.4px;stroke-linecap:round;fill:none}
    .t.s{fill:var(--ink);font-size:12px}
    .h rect{width:var(--w);height:19px;rx:2px}
    .z{fill:var(--equal)}
    .n{fill:url(#hatch)}
    .f{stroke:var(--ink);stroke-width:2px}
    .q{stroke:var(--ink);stroke-width:1.5px;stroke-dasharray:3 2}
    .m0{stroke:var(--ink);stroke-width:4px;stroke-linecap:round;fill:none}
    .m1{stroke:var(--paper);stroke-width:1.8px;stroke-linecap:round;fill:none}
    .mark{paint-order:stroke;stroke:var(--paper);stroke-width:3px;fill:var(--ink);text-anchor:middle;
    font:700 12px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
    .grid{stroke:var(--line);stroke-width:1px;fill:none}
    .band{fill:var(--band)}
    .l{fill:none;stroke:var(--fail);stroke-width:2px;stroke-linejoin:round;stroke-linecap:round}
    .a{fill:none;stroke:var(--doubt);stroke-width:1.8px;stroke-dasharray:.1 4;stroke-linejoin:round;
    stroke-linecap:round}
    .k{fill:none;stroke:var(--pass);stroke-width:1.6px;stroke-dasharray:4 3;stroke-linejoin:round;
    stroke-linecap:round}
    """

  private static let paper = """
    @media print{
    :root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--panel:#fff;--fail:#8f3000;--fail-paper:#fff;
    --pass:#06446f;--doubt:#5c4400;--doubt-paper:#fff;--equal:#eee;--band:#e3ecf3;--on-fail:#fff}
    *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
    body{font-size:10pt}
    main{max-width:none;padding:0}
    h1{font-size:16pt}
    h2,h3,summary{break-after:avoid}
    tr,figure,.finding,svg{break-inside:avoid}
    .scroll{overflow:visible}
    svg{max-width:100%;height:auto}
    pre{overflow:visible}
    }
    """
}
