import Comparison
import Dumps
import TestSupport
import Testing

@testable import Reporting

@Suite struct JSONTests {
  /// The contract's keys and types, checked by another language's parser that refuses NaN.
  private static let schema = """
    import json, sys
    def refuse(name): raise SystemExit("not JSON: " + name)
    doc = json.load(sys.stdin, parse_constant=refuse)
    num = (int, float, type(None))
    ROW = {"layer": (int, type(None)), "stage": str, "tensor": str, "call": dict, "shard": dict, "cos": num,
      "max_abs": num, "rel": num, "rel_l2": num, "alpha": num, "residual": num, "norm_ratio": num,
      "sglang_rel": num, "byte_equal": num, "nonfinite": dict, "worst_token": (dict, type(None)),
      "floor": (dict, type(None)), "verdict": str}
    def check(value, spec, where):
      for key, kind in spec.items():
        assert key in value, f"{where}: {key} is missing"
        assert isinstance(value[key], kind), f"{where}.{key}: {value[key]!r}"
    def comparison(d, where):
      check(d, {"schema": str, "verdict": str, "reference": dict, "target": dict, "coverage": dict, "rows": list,
        "first_divergence": (dict, type(None)), "findings": list}, where)
      assert list(d)[0] == "schema" and d["schema"] == "rollcall.comparison/1"
      assert d["verdict"] in ("pass", "fail", "inconclusive")
      for side in ("reference", "target"): check(d[side], {"path": str, "world_size": int}, side)
      check(d["coverage"], {"expected": int, "compared": int, "unmatched": list, "unreadable": list,
        "other_calls": int}, "coverage")
      for u in d["coverage"]["unreadable"]: check(u, {"file": str, "why": str}, "unreadable")
      for i, r in enumerate(d["rows"]):
        check(r, ROW, f"rows[{i}]")
        check(r["call"], {"reference": (int, type(None)), "target": (int, type(None)), "rule": str, "why": str}, "call")
        check(r["shard"], {"kind": str, "axis": (int, type(None)), "ranks": int, "residual": num, "margin": num}, "s")
        check(r["nonfinite"], {"reference": (int, type(None)), "target": (int, type(None))}, "nonfinite")
        if r["worst_token"]: check(r["worst_token"], {"index": int, "cos": num}, "worst_token")
        if r["floor"]: check(r["floor"], {"rel_l2": num}, "floor")
      for f in d["findings"]:
        check(f, {"cause": str, "layer": (int, type(None)), "stage": (str, type(None)), "confidence": str,
          "evidence": dict, "summary": str, "next": str}, "finding")
    if doc["schema"] == "rollcall.sweep/1":
      check(doc, {"id": str, "job": str, "verdict": str, "sentence": str, "first_axis_value": (dict, type(None)),
        "started": str, "ended": (str, type(None)), "cells": list, "pairs": list}, "sweep")
      for c in doc["cells"]:
        for r in c["runs"]:
          check(r, {"coverage": dict, "attempts": list}, "run")
          for a in r["attempts"]:
            check(a, {"host": str, "state": str, "fingerprint": dict, "duration_s": num, "started": str}, "attempt")
            assert a["started"].endswith("Z")
      for p in doc["pairs"]: comparison(p["comparison"], "pair")
    else: comparison(doc, "comparison")
    """

  @Test(arguments: [false, true])
  func `A comparison follows its contract`(pretty: Bool) async throws {
    for report in [Samples.comparison(layers: 4, broken: 1), Samples.inconclusive()] {
      try await runPython(Self.schema, input: report.json(pretty: pretty))
    }
  }

  @Test(arguments: Verdict.allCases)
  func `A sweep follows its contract`(verdict: Verdict) async throws {
    try await runPython(Self.schema, input: Samples.sweep(verdict).json())
  }

  @Test func `Numbers that are not finite are explicit nulls with a count`() async throws {
    let program = """
      import json, sys
      rows = json.load(sys.stdin)["rows"]
      bad, none = rows[9], rows[10]
      assert "cos" in bad and bad["cos"] is None and bad["alpha"] is None and bad["rel_l2"] is None
      assert bad["nonfinite"] == {"reference": 0, "target": 3} and bad["measured"] is True
      assert none["measured"] is False and "cos" in none and none["cos"] is None and none["byte_equal"] is None
      assert none["nonfinite"] == {"reference": None, "target": None} and "shapes differ" in none["why"]
      print(sum(r["cos"] is None for r in rows))
      """
    let printed = try await runPython(program, input: Samples.inconclusive().json()).output
    #expect(printed == "2\n")
  }

  @Test func `A comparison comes back as it was`() throws {
    var report = Samples.comparison(layers: 3, broken: 1)
    report.rows[3].slot = 2
    report.rows[4].shape = []
    report.rows[4].dtype = .float8E4M3FNUZ
    report.notes.append("quotes \" and \\ and \u{1} and ünïcode 🧮 and \u{7F}")
    // Tokens are kept for rows that did not pass.
    for index in report.rows.indices where report.rows[index].verdict == .pass {
      report.rows[index].measures?.tokenRelL2 = []
    }
    #expect(try ComparisonReport(json: report.json()) == report)
    #expect(try ComparisonReport(json: report.json(pretty: true)) == report)
  }

  @Test(arguments: Verdict.allCases)
  func `A sweep comes back as it was`(verdict: Verdict) throws {
    let report = Samples.sweep(verdict)
    let again = try SweepReport(json: report.json())
    let verdicts = try SweepReport.verdicts(json: report.json())
    #expect(verdicts == again.cells.reduce(into: [:]) { $0[$1.id] = $1.verdict } && !verdicts.isEmpty)
    // NaN differs from itself, so texts are compared; all else must be equal.
    #expect(again.json() == report.json())
    #expect(again.cells == report.cells)
    #expect(again.started == report.started)
    #expect(again.ended == report.ended)
    #expect(again.html() == (try SweepReport(json: again.json())).html())
    if verdict == .inconclusive {
      let row = again.pairs[2].comparison.rows[9]
      #expect(row.measures?.cos.isNaN == true)
      #expect(row.measures?.nonfiniteTarget == 3)
      #expect(again.pairs[2].comparison.rows[10].measures == nil)
    }
  }

  @Test func `Two writings are the same bytes`() {
    var report = Samples.sweep(.fail)
    let first = report.json()
    for index in report.cells.indices { report.cells[index].runs[0].attempts[0].fingerprint["zz"] = nil }
    #expect(report.json() == first)
    #expect(first.hasPrefix("{\"schema\":\"rollcall.sweep/1\",\"id\":"))
  }

  @Test func `A bad record is refused with its place`() throws {
    let good = Samples.sweep(.fail).json()
    func error(_ text: String) -> ReportError? {
      do throws(ReportError) {
        _ = try SweepReport(json: text)
        return nil
      } catch {
        return error
      }
    }
    #expect(error(String(good.dropLast(5)))?.code == .notJSON)
    #expect(error("")?.code == .notJSON)
    #expect(error("[1]")?.code == .wrongType)
    #expect(error("{}")?.code == .wrongSchema)
    let newer = error(good.replacing("rollcall.sweep/1", with: "rollcall.sweep/2"))
    #expect(newer?.code == .wrongSchema)
    #expect(newer?.message.contains("rollcall.sweep/2") == true)
    #expect(error(good.replacing("rollcall.comparison/1", with: "rollcall.comparison/9"))?.code == .wrongSchema)
    let missing = error(good.replacing("\"repetition\":1,", with: ""))
    #expect(missing?.code == .missingKey)
    #expect(missing?.place == "cells[0].runs[0].repetition")
    let verdict = error(good.replacing("\"verdict\":\"fail\"", with: "\"verdict\":\"fine\""))
    #expect(verdict?.code == .wrongValue)
    let time = error(good.replacing("2026-03-29T01:00:00.250Z", with: "yesterday"))
    #expect(time?.code == .wrongValue)
    #expect(time?.place == "started")
    let type = error(good.replacing("\"number\":1", with: "\"number\":\"one\""))
    #expect(type?.code == .wrongType)
    #expect(type?.place == "cells[0].runs[0].attempts[0].number")
    #expect(error(String(repeating: "[", count: 100_000))?.code != nil)
  }
}

@Suite struct TimestampTests {
  /// Known instants (from `date -u -d @…`).
  @Test(arguments: [
    (0.0, "1970-01-01T00:00:00.000Z"), (951_782_400.0, "2000-02-29T00:00:00.000Z"),
    (1_774_746_000.25, "2026-03-29T01:00:00.250Z"), (-1.0, "1969-12-31T23:59:59.000Z"),
    (4_102_444_799.999, "2099-12-31T23:59:59.999Z"), (-62_135_596_800.0, "0001-01-01T00:00:00.000Z"),
    (253_402_300_799.0, "9999-12-31T23:59:59.000Z"),
  ])
  func `An instant has one text`(seconds: Double, text: String) {
    #expect(Timestamp.text(seconds) == text)
    #expect(Timestamp.seconds(text) == seconds)
  }

  @Test func `What is no instant has no text`() {
    for value in [Double.nan, .infinity, -.infinity, 1e300, 253_402_300_800, -62_135_596_801] {
      #expect(Timestamp.text(value) == nil)
    }
    for text in [
      "", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01 00:00:00Z",
      "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z",
    ] {
      #expect(Timestamp.seconds(text) == nil, "\(text)")
    }
    #expect(Timestamp.seconds("1970-01-01T00:00:01Z") == 1)
    #expect(Timestamp.seconds("1970-01-01T00:00:01.5Z") == 1.5)
  }

  @Test("written piece by piece it is the same, and no piece holds the whole", arguments: [true, false])
  func pieces(pretty: Bool) {
    var report = Samples.comparison(layers: 4, broken: 2)
    report.rows = Array(repeating: report.rows, count: 50).flatMap { $0 }
    var pieces: [[UInt8]] = []
    report.writeJSON(pretty: pretty) { pieces.append($0) }
    let whole = Array(report.json(pretty: pretty).utf8)
    #expect(pieces.flatMap { $0 } == whole)
    #expect(whole.count > 300_000 && pieces.allSatisfy { $0.count < 100_000 })
  }
}
