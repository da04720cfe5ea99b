import Comparison
import TestSupport
import Testing

@testable import Reporting

@Suite struct JSONLinesTests {
  /// Both forms of one report, first the lines: the same cells, pairs, findings and rows, in the same order.
  private static let same = """
    import json, sys
    def refuse(name): raise SystemExit("not JSON: " + name)
    lines, document = sys.stdin.buffer.read().decode().split("\\x1e")
    assert lines.endswith("\\n")
    lines = [json.loads(l, parse_constant=refuse) for l in lines[:-1].split("\\n")]
    document = json.loads(document)
    assert lines[0]["type"] == "sweep" and lines[0]["schema"] == "rollcall.sweep-lines/1"
    for key in ("id", "job", "verdict", "exit_code", "sentence", "first_axis_value", "axes", "notes"):
      assert lines[0][key] == document[key], key
    def of(kind): return [l for l in lines if l["type"] == kind]
    assert [l["cell"] for l in of("cell")] == document["cells"]
    assert len(of("pair")) == len(document["pairs"])
    for pair, whole in zip(of("pair"), document["pairs"]):
      comparison = whole["comparison"]
      for key in ("reference_cell", "target_cell", "kind"): assert pair[key] == whole[key], key
      for key in ("verdict", "sentence", "coverage", "reference", "target", "first_divergence", "notes"):
        assert pair[key] == comparison[key], key
      assert [l["row"] for l in of("row") if l["pair"] == pair["pair"]] == comparison["rows"]
      assert [l["finding"] for l in of("finding") if l["pair"] == pair["pair"]] == comparison["findings"]
    end = lines[-1]
    assert end == {"type": "end", "cells": len(of("cell")), "pairs": len(of("pair")), "rows": len(of("row")),
      "findings": len(of("finding"))}, end
    print(end["pairs"], end["rows"] > 100, len(lines))
    """

  @Test(arguments: [Verdict.pass, .fail, .inconclusive])
  func `The lines hold what the document holds`(verdict: Verdict) async throws {
    var report = Samples.sweep(verdict)
    report.job = "a\nb\u{2028}\"c\u{0}"
    report.notes.append("two\r\nlines")
    let printed = try await runPython(Self.same, input: report.jsonLines() + "\u{1E}" + report.json()).output
    #expect(printed.hasPrefix("4 True "))
  }

  @Test func `What comes piece by piece is the whole`() {
    let report = Samples.large(pairs: 20, layers: 25, broken: 2)
    var pieces: [[UInt8]] = []
    report.writeJSONLines { pieces.append($0) }
    #expect(String(decoding: pieces.joined(), as: UTF8.self) == report.jsonLines())
    let rows = report.pairs.map(\.comparison.rows.count).reduce(0, +)
    #expect(report.jsonLines().split(separator: "\n").count { $0.hasPrefix("{\"type\":\"row\"") } == rows)
  }
}
