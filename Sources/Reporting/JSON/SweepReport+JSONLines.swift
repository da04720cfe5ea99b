import Comparison

extension SweepReport {
  static let linesSchema = "rollcall.sweep-lines/1"

  /// The record as JSON Lines: one object a line, each with its `type`.
  ///
  /// In this order: `sweep`; each `cell` with its runs and attempts; for each `pair` its `finding` and `row` lines, which
  /// name it by its number; `end` with the counts of all, without which the file is cut short. The objects inside are
  /// those of `rollcall.sweep/1` and `rollcall.comparison/1`.
  public func jsonLines() -> String {
    var bytes: [UInt8] = []
    writeJSONLines { bytes += $0 }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The bytes of ``jsonLines()``, piece by piece as they are made.
  public func writeJSONLines(to sink: @escaping ([UInt8]) -> Void) {
    func line(_ value: JSONValue) {
      value.write(pretty: false, to: sink)
      sink([0x0A])
    }
    line(head)
    for cell in cells { line(.object(["type": .string("cell"), "cell": cell.jsonValue])) }
    var (rows, findings) = (0, 0)
    for (index, pair) in pairs.enumerated() {
      let comparison = pair.comparison.withShortLedger
      line(
        .object([
          "type": .string("pair"), "pair": .int(index), "reference_cell": .string(pair.referenceCell),
          "target_cell": .string(pair.targetCell), "kind": .string(pair.kind),
          "verdict": .string(comparison.verdict.rawValue), "sentence": .string(comparison.sentence),
          "reference": comparison.reference.jsonValue, "target": comparison.target.jsonValue,
          "first_divergence": comparison.firstDivergence.map {
            .object(["layer": .optional($0.layer), "stage": .string($0.stage)])
          } ?? .null, "coverage": comparison.coverage.jsonValue, "notes": .strings(comparison.notes),
        ]))
      for finding in comparison.findings {
        line(.object(["type": .string("finding"), "pair": .int(index), "finding": finding.jsonValue]))
      }
      for row in comparison.rows {
        line(.object(["type": .string("row"), "pair": .int(index), "row": row.jsonValue]))
      }
      rows += comparison.rows.count
      findings += comparison.findings.count
    }
    line(
      .object([
        "type": .string("end"), "cells": .int(cells.count), "pairs": .int(pairs.count), "rows": .int(rows),
        "findings": .int(findings),
      ]))
  }

  private var head: JSONValue {
    .object([
      "type": .string("sweep"), "schema": .string(Self.linesSchema), "id": .string(id), "job": .string(job),
      "verdict": .string(verdict.rawValue), "exit_code": .int(Int(ExitPolicy.code(for: self))),
      "has_failed_runs": .bool(hasFailedRuns), "sentence": .string(sentence),
      "first_axis_value": firstAxisValue.map {
        .object(["axis": .string($0.axis), "value": .string($0.value)])
      } ?? .null, "started": .optional(Timestamp.text(started)), "ended": .optional(ended.flatMap(Timestamp.text)),
      "axes": .strings(axes), "notes": .strings(notes),
    ])
  }
}
