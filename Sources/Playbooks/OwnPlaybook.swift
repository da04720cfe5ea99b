import Comparison
import Diagnosis
public import Foundation
import OrderedCollections
import Planning

/// A playbook that a team writes for itself: a program that reads the evidence as JSON on standard input and prints the
/// next move as JSON. It is asked anew for each step and must answer alike for the same evidence.
///
/// Input, `rollcall.evidence/1`: `job` with `name`, `target`, `reference` (axis values), `cells`, `components`; `steps`,
/// each with `step`, `design`, `verdict`, `sentence`, `failed_runs`, and `pairs` with `kind`, `target`, `verdict`,
/// `findings` (`cause`, `layer`, `stage`), `rows` (`layer`, `stage`, `tensor`, `verdict`, `cos`, `rel_l2`, `alpha`).
///
/// Output: `{"run": {"step", "hypothesis", "design", "cells"?, "repeat"?, "on"?, "off"?, "env"?, "arguments"?,
/// "layers"?, "stages"?}}`, where `on` and `off` name components of the job for all cells but the reference, `env` is
/// for all cells and `arguments` for all but the reference; or `{"conclude": {"verdict", "kind", "summary", "layer"?,
/// "stage"?, "cause"?, "subject"?, "evidence"?, "next"}}`.
public struct OwnPlaybook: Sendable {
  private let subject: Subject

  public init(_ subject: Subject) { self.subject = subject }

  /// What the program reads.
  public func evidence(_ steps: [Step]) throws -> Data {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys]
    return try encoder.encode(Evidence(subject, steps))
  }

  /// - Throws: `PlaybookError` for what is no move; it says what is wrong with it.
  public func move(_ answer: Data, after steps: [Step]) throws(PlaybookError) -> Move {
    let decoded: Answer
    let decoder = JSONDecoder()
    do { decoded = try decoder.decode(Answer.self, from: answer) } catch let error as DecodingError {
      throw PlaybookError("The playbook's answer is no move: \(Self.text(error)).")
    } catch {
      throw PlaybookError("The playbook's answer is no JSON: \(error.localizedDescription).")
    }
    if let (key, near) = Self.unknownKey(answer) {
      throw PlaybookError(
        "The playbook's answer has the unknown key \"\(key.prefix(60))\", which would change nothing."
          + (near.map { " Did you mean \($0)?" } ?? ""))
    }
    switch (decoded.run, decoded.conclude) {
    case (let run?, nil): return .run(try experiment(run, after: steps))
    case (nil, let end?):
      return .conclude(
        Conclusion(
          verdict: end.verdict, kind: end.kind, summary: end.summary, layer: end.layer, stage: end.stage,
          cause: end.cause, subject: end.subject, evidence: end.evidence ?? [], next: end.next))
    default: throw PlaybookError("The playbook's answer must have one of the keys run and conclude.")
    }
  }

  /// A key that no move has, and the nearest that one has: a change that is not made would make the answer a wrong one.
  private static func unknownKey(_ answer: Data) -> (key: String, near: String?)? {
    guard let object = try? JSONSerialization.jsonObject(with: answer) as? [String: Any] else { return nil }
    let known = [
      "run": Answer.Run.CodingKeys.allCases.map(\.rawValue), "conclude": Answer.End.CodingKeys.allCases.map(\.rawValue),
    ]
    var places = [(keys: Array(object.keys), known: ["run", "conclude"])]
    for (name, keys) in known {
      if let inner = object[name] as? [String: Any] { places.append((Array(inner.keys), keys)) }
    }
    for (keys, known) in places {
      if let key = keys.sorted().first(where: { !known.contains($0) }) {
        return (key, Spelling.nearest(to: key, in: known))
      }
    }
    return nil
  }

  private func experiment(_ run: Answer.Run, after steps: [Step]) throws(PlaybookError) -> Experiment {
    guard steps.count < 200 else { throw PlaybookError("The playbook wants a step 201: it does not come to an end.") }
    let isName = run.step.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x2D
    }
    guard isName, !run.step.isEmpty, run.step.utf8.count <= 64 else {
      throw PlaybookError("The step's name \"\(run.step.prefix(60))\" must be letters, digits and dashes, at most 64.")
    }
    var changes: [RunChange] = []
    for (names, isOn) in [(run.on ?? [], true), (run.off ?? [], false)] {
      for name in names {
        guard subject.spec.components[name] != nil else {
          throw PlaybookError("The playbook names the component \"\(name.prefix(60))\", which the job does not have.")
        }
        changes.append(subject.change(name, on: isOn))
      }
    }
    if let words = run.arguments { changes.append(RunChange(arguments: words)) }
    let env = run.env.map { [RunChange(env: OrderedDictionary(uniqueKeysWithValues: $0.sorted { $0.key < $1.key }))] }
    for name in run.env?.keys.sorted() ?? [] where name.uppercased().hasPrefix("ROLLCALL_") || name.contains("=") {
      throw PlaybookError("The playbook may not set the variable \(name.prefix(60)).")
    }
    let cells = try run.cells.map { (cells) throws(PlaybookError) in try cells.map(values) } ?? subject.cells
    guard !cells.isEmpty, cells.count <= 1000 else { throw PlaybookError("A step runs between 1 and 1000 cells.") }
    return Experiment(
      step: run.step, hypothesis: run.hypothesis, design: run.design,
      change: JobChange(
        cells: cells, repetitions: max(1, min(run.repeat ?? 1, 1000)), everywhere: env ?? [], target: changes,
        expect: run.layers == nil && run.stages == nil
          ? nil : DumpsSpec.Expect(layers: run.layers ?? [], stages: run.stages ?? [])))
  }

  /// All axes of a cell: those that are not given are the target's.
  private func values(_ given: [String: Plain]) throws(PlaybookError) -> Subject.Values {
    var values = subject.target
    for (name, value) in given {
      guard values[name] != nil else {
        throw PlaybookError("The playbook names the axis \"\(name.prefix(60))\", which the job does not have.")
      }
      values[name] = value.axisValue
    }
    return values
  }

  private static func text(_ error: DecodingError) -> String {
    func path(_ context: DecodingError.Context) -> String {
      context.codingPath.map(\.stringValue).joined(separator: ".")
    }
    return switch error {
    case .keyNotFound(let key, let context): "\(path(context)) lacks the key \(key.stringValue)"
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      "\(path(context)): \(context.debugDescription)"
    @unknown default: "\(error)"
    }
  }
}

/// A value as JSON has it.
private enum Plain: Codable {
  case value(AxisValue)

  var axisValue: AxisValue {
    switch self {
    case .value(let value): value
    }
  }

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let value = try? container.decode(Bool.self) {
      self = .value(.bool(value))
    } else if let value = try? container.decode(Int.self) {
      self = .value(.int(value))
    } else if let value = try? container.decode(Double.self) {
      self = .value(.double(value))
    } else {
      self = .value(.string(try container.decode(String.self)))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch axisValue {
    case .bool(let value): try container.encode(value)
    case .int(let value): try container.encode(value)
    case .double(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    }
  }
}

private struct Answer: Decodable {
  struct Run: Decodable {
    enum CodingKeys: String, CodingKey, CaseIterable {
      case step, hypothesis, design, cells, `repeat`, on, off, env, arguments, layers, stages
    }

    var step: String
    var hypothesis: String
    var design: String
    var cells: [[String: Plain]]?
    var `repeat`: Int?
    var on: [String]?
    var off: [String]?
    var env: [String: String]?
    var arguments: [String]?
    var layers: [Int]?
    var stages: [String]?
  }

  struct End: Decodable {
    enum CodingKeys: String, CodingKey, CaseIterable {
      case verdict, kind, summary, layer, stage, cause, subject, evidence, next
    }

    var verdict: Verdict
    var kind: String
    var summary: String
    var layer: Int?
    var stage: String?
    var cause: String?
    var subject: String?
    var evidence: [String]?
    var next: String
  }

  var run: Run?
  var conclude: End?
}

private struct Evidence: Encodable {
  struct Job: Encodable {
    var name: String
    var target: [String: Plain]
    var reference: [String: Plain]?
    var cells: [[String: Plain]]
    var components: [String]
  }

  struct Finding: Encodable {
    var cause: String
    var layer: Int?
    var stage: String?
    var summary: String
  }

  struct Pair: Encodable {
    var kind: String
    var target: [String: Plain]
    var verdict: Verdict
    var findings: [Finding]
    var rows: [Outcome.Row]
  }

  struct Past: Encodable {
    var step: String
    var design: String
    var verdict: Verdict
    var sentence: String
    var failedRuns: [String]
    var pairs: [Pair]
  }

  var schema = "rollcall.evidence/1"
  var job: Job
  var steps: [Past]

  init(_ subject: Subject, _ steps: [Step]) {
    func plain(_ values: Subject.Values) -> [String: Plain] {
      Dictionary(uniqueKeysWithValues: values.map { ($0.key, Plain.value($0.value)) })
    }
    job = Job(
      name: subject.plan.name, target: plain(subject.target), reference: subject.reference.map(plain),
      cells: subject.plan.cells.map { plain($0.values) }, components: Array(subject.spec.components.keys))
    self.steps = steps.map { step in
      Past(
        step: step.experiment.step, design: step.experiment.design, verdict: step.outcome.verdict,
        sentence: step.outcome.sentence, failedRuns: step.outcome.failedRuns,
        pairs: step.outcome.pairs.map { pair in
          Pair(
            kind: pair.kind, target: plain(pair.target), verdict: pair.verdict,
            findings: pair.findings.map {
              Finding(cause: $0.cause, layer: $0.layer, stage: $0.stage, summary: $0.summary)
            }, rows: pair.rows)
        })
    }
  }
}
