import Comparison
import Diagnosis
import Dumps
import Foundation
import TestSupport
import Testing

@testable import Reporting

@Suite struct HTMLTests {
  /// Well-formed as XML and balanced as HTML; nothing fetched, no script; tables have headers and pictures have
  /// names; ids are unique and links lead somewhere. Prints counts.
  private static let audit = """
    import sys, re, xml.etree.ElementTree as E
    from html.parser import HTMLParser
    text = sys.stdin.buffer.read().decode()
    root = E.fromstring(text)
    VOID = {"meta"}
    class Balance(HTMLParser):
      stack = []; scripts = 0; counts = {}
      def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attrs:
          assert not name.startswith("on"), f"handler {name}"
          if name in ("src", "srcset", "action", "data"): raise SystemExit(f"fetches {value}")
          if name in ("href", "xlink:href"): assert value.startswith("#"), value
        if tag not in VOID: self.stack.append(tag)
      def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID: self.stack.pop()
      def handle_endtag(self, tag): assert self.stack.pop() == tag, tag
    b = Balance(); b.feed(text); b.close()
    assert not b.stack, b.stack
    for tag in ("script", "img", "link", "iframe", "object", "form", "image"): assert tag not in b.counts, tag
    style = root.find("head/style").text
    assert "url(" not in style.replace("url(#hatch)", "") and "@import" not in style
    assert "prefers-color-scheme:dark" in style and "@media print" in style
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)), "ids twice"
    for e in root.iter():
      if e.get("href"): assert e.get("href")[1:] in ids, e.get("href")
      if e.tag == "svg" and e.get("role") == "img":
        named = e.get("aria-label") or any(c.tag == "title" and c.get("id") == e.get("aria-labelledby") for c in e)
        assert named, "picture without a name"
      elif e.tag == "svg": assert e.get("aria-hidden") == "true", "silent picture"
      if e.tag == "table":
        heads = e.findall("thead/tr/th")
        assert heads and all(h.get("scope") for h in e.iter("th"))
        width = len(heads)
        for r in e.findall("tbody/tr"): assert len(list(r)) == width, "ragged row"
    opened = sum(1 for d in root.iter("details") if d.get("class") == "pair" and d.get("open"))
    folded = sum(1 for d in root.iter("details") if d.get("class") == "pair" and not d.get("open"))
    def cls(e): return (e.get("class") or "").split()
    failing = sum(1 for e in root.iter("rect") if "f" in cls(e)) - len(root.findall(".//div[@class='legend']/span/svg/g/rect[@class='c15 f']"))
    print("open", opened, "folded", folded, "failing", failing, "text", "".join(root.itertext()).count("double-reduce"))
    """

  @Test(arguments: [
    (Verdict.pass, "open 0 folded 4 failing 0"), (.fail, "open 2 folded 2 failing 102"),
    (.inconclusive, "open 2 folded 2 failing 0"),
  ])
  func `A sweep is one sound page`(verdict: Verdict, expected: String) async throws {
    let printed = try await runPython(Self.audit, input: Samples.sweep(verdict).html()).output
    #expect(printed.hasPrefix(expected))
  }

  @Test func `A comparison is one sound page`() async throws {
    let page = Samples.comparison(layers: 61, broken: 3).html()
    let printed = try await runPython(Self.audit, input: page).output
    #expect(printed.hasPrefix("open 0 folded 0 failing 231"))
    #expect(page.contains("worst is token 17"))
    try await runPython(Self.audit, input: Samples.inconclusive().html())
    var empty = Samples.inconclusive()
    empty.rows = []
    empty.coverage.compared = 0
    empty.notes = []
    #expect(empty.html().contains("Nothing was compared (28 tensors were expected)."))
    try await runPython(Self.audit, input: empty.html())
  }

  @Test func `The page says the answer, the cause, the gaps and the environment`() {
    let fail = Samples.sweep(.fail).html()
    #expect(fail.contains("<strong>world_size = 8</strong>"))
    #expect(fail.contains("<a href=\"#pair2\"><span class=\"v fail\">FAIL</span></a><small>layer 3 MoE</small>"))
    #expect(fail.contains("<b>Next:</b> Read the code after the experts&#39; combine"))
    #expect(fail.contains("<td><code>575.12</code></td><td>world_size=8 backend=eager</td>"))
    let doubt = Samples.sweep(.inconclusive).html()
    #expect(doubt.contains("NCCL &lt;timeout&gt; &amp; more</pre>"))
    #expect(doubt.contains("unreadable: rank5/layer05_MoE_rank5.pt: cut short at byte 4096"))
    #expect(doubt.contains("<li>world_size=8 backend=eager, run 1: rank 5: no file</li>"))
    #expect(doubt.contains("1 run failed"))
  }

  @Test func `Names out of dumps stay text`() async throws {
    let attack = "\"'><script>alert(1)</script><img src=x onerror=y>&amp;|\u{0}\u{202E}]]>"
    var report = Samples.sweep(.inconclusive)
    report.job = attack
    report.id = attack
    report.sentence = attack
    report.notes = [attack]
    report.axes = [attack, "backend"]
    for cell in report.cells.indices {
      report.cells[cell].values[0].axis = attack
      report.cells[cell].values[1].value = attack + String(cell)
      report.cells[cell].runs[0].state = "failed"
      report.cells[cell].runs[0].missing = [attack]
      report.cells[cell].runs[0].attempts[0].fingerprint = [attack: attack + String(cell)]
      report.cells[cell].runs[0].attempts[0].host = attack
      report.cells[cell].runs[0].attempts[0].state = attack
      report.cells[cell].runs[0].attempts[0].logTail = attack
    }
    for pair in report.pairs.indices {
      var broken = Samples.comparison(layers: 3, broken: 1, reference: attack, target: attack)
      for row in broken.rows.indices {
        broken.rows[row].stage += attack
        broken.rows[row].tensor = attack
        broken.rows[row].why = attack
        broken.rows[row].profileFlags = [attack: attack]
      }
      broken.firstDivergence?.stage += attack
      broken.coverage.unmatched = [attack]
      broken.coverage.unreadable = [.init(file: attack, why: attack)]
      broken.findings[0].cause = attack
      broken.findings[0].evidence = [attack: 1]
      broken.findings[0].next = attack
      report.pairs[pair].comparison = broken
    }
    report.firstAxisValue = .init(axis: attack, value: attack)
    let page = report.html()
    try await runPython(Self.audit, input: page)
    #expect(!page.contains("<script"))
    #expect(!page.contains("<img"))
    #expect(page.contains("&lt;script&gt;alert(1)"))
    try await runPython(Self.audit, input: report.pairs[0].comparison.html())
  }

  @Test(arguments: [
    (1, 2500, nil), (1, 2500, 0), (10, 250, 3), (100, 25, 2), (100, 25, nil), (400, 6, 1), (1000, 2, 0),
  ])
  func `Ten thousand rows stay below two megabytes`(pairs: Int, layers: Int, broken: Int?) {
    let report = Samples.large(pairs: pairs, layers: layers, broken: broken)
    #expect(report.pairs.map(\.comparison.rows.count).reduce(0, +) >= 10_000)
    #expect(report.html().utf8.count < 2_000_000)
  }

  @Test func `The curves show how far alpha is from one`() throws {
    let report = Samples.comparison(layers: 61, broken: 3)
    let failing = try #require(report.rows.first { $0.verdict == .fail && $0.layer == 3 })
    let alpha = try #require(failing.measures?.alpha)
    try #require(abs(alpha - 1) > 0.5)
    let page = report.html()
    let panel = try #require(page.components(separatedBy: "<figure>").first { $0.contains("<b>\(failing.stage)</b>") })
    let path = try #require(panel.firstMatch(of: #/<path class="a" d="([^"]+)"/#)?.1)
    // One point a layer; that of the failing one stands where its alpha puts it.
    let points = path.split { "ML".contains($0) }
    #expect(points.count == 61)
    #expect(points[3].hasSuffix(" \(Curves.y(log: log10(abs(alpha - 1))))"), "\(points[3])")
    #expect(page.contains("|alpha − 1|"))
  }

  @Test func `The colour scale rises evenly in lightness`() {
    for dark in [false, true] {
      let values = Ramp.rules(dark: dark).split(separator: "#").dropFirst().compactMap { Int($0.prefix(6), radix: 16) }
      #expect(values.count == Ramp.steps)
      let luminance = values.map {
        0.2126 * Double($0 >> 16) + 0.7152 * Double($0 >> 8 & 255) + 0.0722 * Double($0 & 255)
      }
      let rising = zip(luminance, luminance.dropFirst()).allSatisfy { dark ? $0 < $1 : $0 > $1 }
      #expect(rising, "\(luminance)")
    }
    #expect(Ramp.cssClass(0) == "z")
    #expect(Ramp.cssClass(.nan) == "n")
    #expect(Ramp.cssClass(nil) == "n")
    #expect(Ramp.cssClass(.infinity) == "c19")
    #expect(Ramp.cssClass(1e-12) == "c0")
  }
}
