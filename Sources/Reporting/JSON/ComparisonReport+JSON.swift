import Alignment
import Comparison
import Diagnosis
import Dumps

extension ComparisonReport {
  static let schema = "rollcall.comparison/1"

  /// The record as `rollcall.comparison/1`.
  ///
  /// A number that is not finite is `null`; `nonfinite` counts the values of either side that made it so, and `why`
  /// says it where a pair could not be measured. `token_rel_l2` is written for rows that are not PASS.
  public func json(pretty: Bool = false) -> String { jsonValue.text(pretty: pretty) }

  /// The bytes of ``json(pretty:)``, piece by piece as they are made.
  public func writeJSON(pretty: Bool = false, to sink: @escaping ([UInt8]) -> Void) {
    jsonValue.write(pretty: pretty, to: sink)
  }

  var jsonValue: JSONValue {
    .object([
      "schema": .string(Self.schema),
      "verdict": .string(verdict.rawValue),
      "sentence": .string(sentence),
      "reference": reference.jsonValue,
      "target": target.jsonValue,
      "coverage": coverage.jsonValue,
      "rows": .rows(rows.count) { rows[$0].jsonValue },
      "first_divergence": firstDivergence.map {
        .object(["layer": .optional($0.layer), "stage": .string($0.stage)])
      } ?? .null,
      "findings": .array(findings.map(\.jsonValue)),
      "considered": .array(considered.map { .object(["cause": .string($0.cause), "why": .string($0.why)]) }),
      "notes": .strings(notes),
    ])
  }
}

extension ComparisonReport.Side {
  var jsonValue: JSONValue {
    .object(["path": .string(path), "world_size": .int(worldSize), "label": .optional(label)])
  }
}

extension ComparisonReport.Coverage {
  var jsonValue: JSONValue {
    .object([
      "expected": .int(expected),
      "compared": .int(compared),
      "unmatched": .strings(unmatched),
      "unreadable": .array(unreadable.map { .object(["file": .string($0.file), "why": .string($0.why)]) }),
      "other_calls": .int(otherCalls),
      "ledger": ledger?.jsonValue ?? .null,
    ])
  }
}

extension ComparisonReport.Row {
  var jsonValue: JSONValue {
    .object([
      "layer": .optional(layer),
      "stage": .string(stage),
      "tensor": .string(tensor),
      "slot": .optional(slot),
      "call": .object([
        "reference": .optional(call.reference), "target": .optional(call.target),
        "rule": .string(call.rule.rawValue), "why": .string(call.why),
      ]),
      "shard": shard.jsonValue,
      "dtype": .string(dtype.rawValue),
      "shape": .ints(shape),
      "measured": .bool(measures != nil),
      "cos": .optional(measures?.cos),
      "max_abs": .optional(measures?.maxAbs),
      "rel": .optional(measures?.rel),
      "rel_l2": .optional(measures?.relL2),
      "alpha": .optional(measures?.alpha),
      "residual": .optional(measures?.residual),
      "norm_ratio": .optional(measures?.normRatio),
      "sglang_rel": .optional(measures?.sglangRel),
      "byte_equal": .optional(measures?.byteEqual),
      "mean_abs": .optional(measures?.meanAbs),
      "unequal_elements": .optional(measures?.unequalElements),
      "nonfinite": .object([
        "reference": .optional(measures?.nonfiniteReference), "target": .optional(measures?.nonfiniteTarget),
      ]),
      "elements": .optional(measures?.elementCount),
      "first_coordinate": measures?.firstCoordinate.map { .ints($0) } ?? .null,
      "worst_coordinate": .ints(measures?.worstCoordinate ?? []),
      "worst_token": measures?.worstToken.map {
        .object(["index": .int($0.index), "cos": .double($0.cos), "rel_l2": .double($0.relL2)])
      } ?? .null,
      "token_rel_l2": .array(verdict == .pass ? [] : (measures?.tokenRelL2 ?? []).map { .double($0) }),
      "floor": floor.map { .object(["rel_l2": .double($0)]) } ?? .null,
      "jump": .optional(jump),
      "verdict": .string(verdict.rawValue),
      "why": .optional(why),
      "profiles": .sorted(profileFlags.mapValues { .string($0) }),
    ])
  }
}

extension Finding {
  var jsonValue: JSONValue {
    .object([
      "cause": .string(cause),
      "layer": .optional(layer),
      "stage": .optional(stage),
      "ranks": .ints(ranks),
      "tokens": .ints(tokens),
      "confidence": .string(confidence.rawValue),
      "evidence": .sorted(evidence.mapValues { .double($0) }),
      "summary": .string(summary),
      "next": .string(next),
    ])
  }
}

// MARK: Reading

extension ComparisonReport {
  /// Reads a `rollcall.comparison/1` document; a `null` figure comes back as NaN.
  public init(json: String) throws(ReportError) {
    let record: ComparisonRecord = try RecordReader.read(json, schema: Self.schema)
    self = record.report
  }
}

/// `rollcall.comparison/1` as it stands in a file.
struct ComparisonRecord: Decodable, SchemaRecord {
  struct Side: Decodable {
    var path: String
    var worldSize: Int
    var label: String?

    enum CodingKeys: String, CodingKey {
      case path
      case worldSize = "world_size"
      case label
    }
  }

  struct Coverage: Decodable {
    var expected: Int
    var compared: Int
    var unmatched: [String]
    var unreadable: [Unreadable]
    var otherCalls: Int
    var ledger: CoverageLedgerRecord?

    enum CodingKeys: String, CodingKey {
      case expected
      case compared
      case unmatched
      case unreadable
      case otherCalls = "other_calls"
      case ledger
    }
  }

  struct Call: Decodable {
    var reference: Int?
    var target: Int?
    var rule: CallRule
    var why: String?
  }

  struct Counts: Decodable {
    var reference: Int?
    var target: Int?
  }

  struct Token: Decodable {
    var index: Int
    var cos: Double?
    var relL2: Double?

    enum CodingKeys: String, CodingKey {
      case index
      case cos
      case relL2 = "rel_l2"
    }
  }

  struct Floor: Decodable {
    var relL2: Double?

    enum CodingKeys: String, CodingKey {
      case relL2 = "rel_l2"
    }
  }

  struct Row: Decodable {
    var layer: Int?
    var stage: String
    var tensor: String
    var slot: Int?
    var call: Call
    var shard: ShardPlanRecord
    var dtype: DType
    var shape: [Int]
    var measured: Bool
    var cos: Double?
    var maxAbs: Double?
    var rel: Double?
    var relL2: Double?
    var alpha: Double?
    var residual: Double?
    var normRatio: Double?
    var sglangRel: Double?
    var meanAbs: Double?
    var unequalElements: Int?
    var byteEqual: Double?
    var nonfinite: Counts
    var elements: Int?
    var firstCoordinate: [Int]?
    var worstCoordinate: [Int]?
    var worstToken: Token?
    var tokenRelL2: [Double?]?
    var floor: Floor?
    var jump: Double?
    var verdict: Verdict
    var why: String?
    var profiles: [String: String]?

    enum CodingKeys: String, CodingKey {
      case layer
      case stage
      case tensor
      case slot
      case call
      case shard
      case dtype
      case shape
      case measured
      case cos
      case maxAbs = "max_abs"
      case rel
      case relL2 = "rel_l2"
      case alpha
      case residual
      case normRatio = "norm_ratio"
      case sglangRel = "sglang_rel"
      case byteEqual = "byte_equal"
      case meanAbs = "mean_abs"
      case unequalElements = "unequal_elements"
      case nonfinite
      case elements
      case firstCoordinate = "first_coordinate"
      case worstCoordinate = "worst_coordinate"
      case worstToken = "worst_token"
      case tokenRelL2 = "token_rel_l2"
      case floor
      case jump
      case verdict
      case why
      case profiles
    }

    var row: ComparisonReport.Row {
      ComparisonReport.Row(
        layer: layer, stage: stage, tensor: tensor, slot: slot,
        call: .init(reference: call.reference, target: call.target, rule: call.rule, why: call.why ?? ""),
        shard: shard.plan,
        dtype: dtype, shape: shape, measures: measured ? measures : nil, floor: floor.map { $0.relL2 ?? .nan },
        jump: jump, verdict: verdict, why: why, profileFlags: profiles ?? [:])
    }

    private var measures: Measures {
      Measures(
        cos: cos ?? .nan, maxAbs: maxAbs ?? .nan, rel: rel ?? .nan, relL2: relL2 ?? .nan, alpha: alpha ?? .nan,
        residual: residual ?? .nan, normRatio: normRatio ?? .nan, sglangRel: sglangRel ?? .nan,
        byteEqual: byteEqual ?? .nan, nonfiniteReference: nonfinite.reference ?? 0,
        nonfiniteTarget: nonfinite.target ?? 0, elementCount: elements ?? 0,
        worstToken: worstToken.map {
          TokenMeasure(index: $0.index, cos: $0.cos ?? .nan, relL2: $0.relL2 ?? .nan)
        }, tokenRelL2: (tokenRelL2 ?? []).map { $0 ?? .nan }, worstCoordinate: worstCoordinate ?? [],
        meanAbs: meanAbs ?? .nan, unequalElements: unequalElements ?? 0, firstCoordinate: firstCoordinate)
    }
  }

  struct Divergence: Decodable {
    var layer: Int?
    var stage: String
  }

  struct FindingRecord: Decodable {
    var cause: String
    var layer: Int?
    var stage: String?
    var ranks: [Int]?
    var tokens: [Int]?
    var confidence: Finding.Confidence
    var evidence: [String: Double?]
    var summary: String
    var next: String
  }

  var schema: String
  var verdict: Verdict
  var reference: Side
  var target: Side
  var coverage: Coverage
  var rows: [Row]
  var firstDivergence: Divergence?
  var findings: [FindingRecord]
  var considered: [Considered]?
  var notes: [String]?

  enum CodingKeys: String, CodingKey {
    case schema
    case verdict
    case reference
    case target
    case coverage
    case rows
    case firstDivergence = "first_divergence"
    case findings
    case considered
    case notes
  }

  var report: ComparisonReport {
    var report = ComparisonReport(
      verdict: verdict,
      reference: .init(path: reference.path, worldSize: reference.worldSize, label: reference.label),
      target: .init(path: target.path, worldSize: target.worldSize, label: target.label),
      coverage: .init(
        expected: coverage.expected, compared: coverage.compared, unmatched: coverage.unmatched,
        unreadable: coverage.unreadable, otherCalls: coverage.otherCalls, ledger: coverage.ledger?.ledger),
      rows: rows.map(\.row),
      firstDivergence: firstDivergence.map { .init(layer: $0.layer, stage: $0.stage) },
      findings: findings.map {
        Finding(
          cause: $0.cause, layer: $0.layer, stage: $0.stage, ranks: $0.ranks ?? [], tokens: $0.tokens ?? [],
          confidence: $0.confidence, evidence: $0.evidence.mapValues { $0 ?? .nan }, summary: $0.summary,
          next: $0.next)
      }, notes: notes ?? [])
    report.considered = considered ?? []
    return report
  }
}
