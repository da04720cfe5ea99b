import Foundation
import Ledger
import OrderedCollections
import Planning
import Reporting
import Scheduling

/// The pages' JSON twins under `/api`.
enum Documents {
  struct Sweep: Encodable {
    var id: String
    var job: String
    var state: String
    var verdict: String?
    var created: Double
    var ended: Double?
    /// State → how many runs are in it.
    var runs: [String: Int]

    init(_ record: SweepRecord, counts: [String: Int], isCoordinated: Bool) {
      (id, job, verdict, created, ended) = (record.id, record.job, record.verdict, record.created, record.ended)
      state = SweepView.state(record, isCoordinated: isCoordinated)
      runs = counts
    }
  }

  struct Attempt: Encodable {
    var id: String
    var number: Int
    var host: String
    var node: Int?
    var gpus: Int
    var state: String
    var exitCode: Int?
    var signal: Int?
    var why: String?
    var started: Double?
    var ended: Double?
    var facts: [String: String]

    enum CodingKeys: String, CodingKey {
      case id
      case number
      case host
      case node
      case gpus
      case state
      case exitCode = "exit_code"
      case signal
      case why
      case started
      case ended
      case facts
    }

    init(_ record: AttemptRecord) {
      (id, number, host, node, gpus) = (record.id, record.number, record.host, record.share?.node, record.gpus)
      (state, exitCode, signal) = (record.state.rawValue, record.exitCode, record.signal)
      why = record.why ?? record.reason
      (started, ended, facts) = (record.started, record.ended, record.facts)
    }
  }

  struct Run: Encodable {
    var name: String
    var cell: [String: String]
    var repetition: Int
    var state: String
    var why: String?
    var files: Int
    var bytes: Int
    var missing: [String]
    var attempts: [Attempt]
  }

  /// `rollcall.sweeps/1`
  struct Sweeps: Encodable {
    var schema = "rollcall.sweeps/1"
    var sweeps: [Sweep]
  }

  /// `rollcall.sweep-state/1`
  struct SweepState: Encodable {
    var schema = "rollcall.sweep-state/1"
    var sweep: Sweep
    var runs: [Run]

    init(_ view: SweepView) {
      sweep = Sweep(view.sweep, counts: Documents.counts(view.counts), isCoordinated: view.isCoordinated)
      let cells = Dictionary(view.plan.cells.map { ($0.id, $0.values) }) { first, _ in first }
      runs = view.runs.map { run in
        Run(
          name: run.name,
          cell: Dictionary((cells[run.cell] ?? [:]).map { ($0.key, "\($0.value)") }) { first, _ in first },
          repetition: run.repetition, state: run.state.rawValue, why: run.why, files: run.fileCount,
          bytes: run.byteCount, missing: run.missing, attempts: (view.attempts[run.name] ?? []).map(Attempt.init))
      }
    }
  }

  struct Host: Encodable {
    var name: String
    var address: String
    var gpus: Int?
    var gpusHeld: Int
    var runs: [String]
    var labels: [String: String]
    var facts: [String: String]
    var drained: Bool

    enum CodingKeys: String, CodingKey {
      case name
      case address
      case gpus
      case gpusHeld = "gpus_held"
      case runs
      case labels
      case facts
      case drained
    }
  }

  /// `rollcall.hosts-state/1`
  struct Hosts: Encodable {
    var schema = "rollcall.hosts-state/1"
    var hosts: [Host]

    init(_ views: [HostView]) {
      hosts = views.map { view in
        Host(
          name: view.name, address: view.address, gpus: view.gpuCount, gpusHeld: view.gpusHeld,
          runs: view.holding.map(\.run), labels: Dictionary(view.labels) { first, _ in first }, facts: view.facts,
          drained: view.drained != nil)
      }
    }
  }

  static func counts(_ counts: [some RawRepresentable<String> & Hashable: Int]) -> [String: Int] {
    Dictionary(counts.map { ($0.key.rawValue, $0.value) }) { $0 + $1 }
  }

  static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}
