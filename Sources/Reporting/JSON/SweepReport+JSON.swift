public import Comparison

extension SweepReport {
  static let schema = "rollcall.sweep/1"

  /// The record as `rollcall.sweep/1`, with a `rollcall.comparison/1` object for each pair.
  ///
  /// Times are RFC 3339 in UTC to the millisecond, durations are seconds; either is `null` where it is not known.
  public func json(pretty: Bool = false) -> String { jsonValue.text(pretty: pretty) }

  /// The bytes of ``json(pretty:)``, piece by piece as they are made.
  public func writeJSON(pretty: Bool = false, to sink: @escaping ([UInt8]) -> Void) {
    jsonValue.write(pretty: pretty, to: sink)
  }

  private var jsonValue: JSONValue {
    .object([
      "schema": .string(Self.schema),
      "id": .string(id),
      "job": .string(job),
      "verdict": .string(verdict.rawValue),
      "exit_code": .int(Int(ExitPolicy.code(for: self))),
      "has_failed_runs": .bool(hasFailedRuns),
      "sentence": .string(sentence),
      "first_axis_value": firstAxisValue.map {
        .object(["axis": .string($0.axis), "value": .string($0.value)])
      } ?? .null,
      "started": .optional(Timestamp.text(started)),
      "ended": .optional(ended.flatMap(Timestamp.text)),
      "duration_s": .optional(ended.map { $0 - started }),
      "axes": .strings(axes),
      "cells": .array(cells.map(\.jsonValue)),
      "pairs": .array(
        pairs.map { pair in
          .object([
            "reference_cell": .string(pair.referenceCell),
            "target_cell": .string(pair.targetCell),
            "kind": .string(pair.kind),
            "comparison": pair.comparison.withShortLedger.jsonValue,
          ])
        }),
      "notes": .strings(notes),
    ])
  }
}

extension SweepReport.Cell {
  var jsonValue: JSONValue {
    .object([
      "id": .string(id),
      "values": .array(values.map { .object(["axis": .string($0.axis), "value": .string($0.value)]) }),
      "is_reference": .bool(isReference),
      "verdict": .optional(verdict?.rawValue),
      "hosts": .strings(hosts),
      "runs": .array(runs.map(\.jsonValue)),
    ])
  }
}

extension SweepReport.Run {
  fileprivate var jsonValue: JSONValue {
    .object([
      "id": .string(id),
      "repetition": .int(repetition),
      "state": .string(state),
      "why": .optional(why),
      "coverage": .object([
        "files": .int(fileCount), "bytes": .int(byteCount), "missing": .strings(missing),
      ]),
      "attempts": .array(attempts.map(\.jsonValue)),
      "cause": .optional(cause),
    ])
  }
}

extension SweepReport.Attempt {
  fileprivate var jsonValue: JSONValue {
    .object([
      "id": .string(id),
      "number": .int(number),
      "host": .string(host),
      "state": .string(state),
      "exit_code": .optional(exitCode),
      "signal": .optional(signal),
      "started": .optional(started.flatMap(Timestamp.text)),
      "ended": .optional(ended.flatMap(Timestamp.text)),
      "duration_s": .optional(duration),
      "fingerprint": .sorted(fingerprint.mapValues { .string($0) }),
      "why": .optional(why),
      "log_tail": .optional(logTail),
    ])
  }
}

// MARK: Reading

extension SweepReport {
  /// Reads a `rollcall.sweep/1` document, so that a stored sweep can be shown again.
  public init(json: String) throws(ReportError) {
    let record: SweepRecord = try RecordReader.read(json, schema: Self.schema)
    for (index, pair) in record.pairs.enumerated() where pair.comparison.schema != ComparisonReport.schema {
      throw ReportError(
        code: .wrongSchema, place: "pairs[\(index)].comparison.schema",
        message: "\(ComparisonReport.schema) is needed here; use the version of rollcall that wrote the record")
    }
    self = record.report
  }

  /// What came of each cell, by its id; the comparisons in the record are not looked at.
  public static func verdicts(json: String) throws(ReportError) -> [String: Verdict] {
    let record: VerdictsRecord = try RecordReader.read(json, schema: Self.schema)
    return record.cells.reduce(into: [:]) { $0[$1.id] = $1.verdict }
  }
}

/// An instant as it stands in a record.
private struct InstantRecord: Decodable {
  var seconds: Double

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let seconds = Timestamp.seconds(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "not an RFC 3339 time in UTC, for instance 2026-03-29T01:30:00.250Z")
    }
    self.seconds = seconds
  }
}

/// The verdicts of a `rollcall.sweep/1`.
private struct VerdictsRecord: Decodable, SchemaRecord {
  struct Cell: Decodable {
    var id: String
    var verdict: Verdict?
  }

  var schema: String
  var cells: [Cell]
}

/// `rollcall.sweep/1` as it stands in a file.
private struct SweepRecord: Decodable, SchemaRecord {
  struct AxisValue: Decodable {
    var axis: String
    var value: String
  }

  struct Attempt: Decodable {
    var id: String
    var number: Int
    var host: String
    var state: String
    var exitCode: Int?
    var signal: Int?
    var started: InstantRecord?
    var ended: InstantRecord?
    var fingerprint: [String: String]
    var why: String?
    var logTail: String?

    enum CodingKeys: String, CodingKey {
      case id
      case number
      case host
      case state
      case exitCode = "exit_code"
      case signal
      case started
      case ended
      case fingerprint
      case why
      case logTail = "log_tail"
    }
  }

  struct Coverage: Decodable {
    var files: Int
    var bytes: Int
    var missing: [String]
  }

  struct Run: Decodable {
    var id: String
    var repetition: Int
    var state: String
    var why: String?
    var coverage: Coverage
    var attempts: [Attempt]
    var cause: String?
  }

  struct Cell: Decodable {
    var id: String
    var values: [AxisValue]
    var isReference: Bool
    var verdict: Verdict?
    var runs: [Run]

    enum CodingKeys: String, CodingKey {
      case id
      case values
      case isReference = "is_reference"
      case verdict
      case runs
    }
  }

  struct Pair: Decodable {
    var referenceCell: String
    var targetCell: String
    var kind: String
    var comparison: ComparisonRecord

    enum CodingKeys: String, CodingKey {
      case referenceCell = "reference_cell"
      case targetCell = "target_cell"
      case kind
      case comparison
    }
  }

  var schema: String
  var id: String
  var job: String
  var verdict: Verdict
  var hasFailedRuns: Bool
  var sentence: String
  var firstAxisValue: AxisValue?
  var started: InstantRecord?
  var ended: InstantRecord?
  var axes: [String]
  var cells: [Cell]
  var pairs: [Pair]
  var notes: [String]?

  enum CodingKeys: String, CodingKey {
    case schema
    case id
    case job
    case verdict
    case hasFailedRuns = "has_failed_runs"
    case sentence
    case firstAxisValue = "first_axis_value"
    case started
    case ended
    case axes
    case cells
    case pairs
    case notes
  }

  var report: SweepReport {
    SweepReport(
      id: id, job: job, verdict: verdict, hasFailedRuns: hasFailedRuns, sentence: sentence,
      started: started?.seconds ?? .nan, ended: ended?.seconds, axes: axes,
      cells: cells.map { cell in
        .init(
          id: cell.id, values: cell.values.map { .init(axis: $0.axis, value: $0.value) },
          runs: cell.runs.map(Self.run), verdict: cell.verdict, isReference: cell.isReference)
      },
      pairs: pairs.map {
        .init(
          referenceCell: $0.referenceCell, targetCell: $0.targetCell, kind: $0.kind,
          comparison: $0.comparison.report)
      }, firstAxisValue: firstAxisValue.map { .init(axis: $0.axis, value: $0.value) }, notes: notes ?? [])
  }

  private static func run(_ record: Run) -> SweepReport.Run {
    .init(
      id: record.id, repetition: record.repetition, state: record.state, why: record.why,
      attempts: record.attempts.map {
        .init(
          id: $0.id, number: $0.number, host: $0.host, state: $0.state, exitCode: $0.exitCode, signal: $0.signal,
          started: $0.started?.seconds, ended: $0.ended?.seconds, fingerprint: $0.fingerprint, why: $0.why,
          logTail: $0.logTail)
      }, cause: record.cause, fileCount: record.coverage.files, byteCount: record.coverage.bytes,
      missing: record.coverage.missing)
  }
}
