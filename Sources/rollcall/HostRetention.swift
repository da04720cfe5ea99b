import Coordination
import Foundation
import Gathering
import Launching
import Ledger
import Planning
import Transports

/// Which dumps of a store's attempts need not stay on their hosts, and having these remove them.
struct HostRetention {
  /// What one host told.
  struct Answer: Encodable {
    var name: String
    /// Attempts that left dumps.
    var attempts = 0
    var bytes = 0
    /// Why it did not answer, or not to the end.
    var error: String?
  }

  /// By host.
  private var attempts: [String: [AttemptRecord]] = [:]
  /// Attempts by host whose files neither the store nor another attempt has.
  private var unheld: [String: [String]] = [:]

  /// - Parameter sweeps: Those that have not ended are left alone.
  init(_ sweeps: [SweepRecord], _ ledger: SweepLedger, _ artifacts: ArtifactStore) throws {
    for sweep in sweeps where sweep.ended != nil {
      for attempt in try ledger.attempts(of: sweep.id) where !attempt.state.isOpen && attempt.isFenced {
        // No verdict rests on one that failed or was lost.
        let isDone =
          attempt.state != .gathered
          || (try? artifacts.isDone(
            with: attempt.id, isShare: attempt.share != nil, sweep: sweep.id, run: attempt.run)) == true
        if isDone {
          attempts[attempt.host, default: []].append(attempt)
        } else {
          unheld[attempt.host, default: []].append(attempt.id)
        }
      }
    }
  }

  /// Asks all hosts at once, and says of each what stays there and why. One that does not answer delays no other.
  func ask(_ fleet: Fleet, _ ledger: SweepLedger, apply: Bool) async -> [Answer] {
    for (host, ids) in unheld.sorted(by: { $0.key < $1.key }) {
      Console.error(
        "rollcall: \(host): kept the dumps of \(Self.count(ids.count)) that the store does not have whole: "
          + ids.prefix(3).joined(separator: ", ") + (ids.count > 3 ? ", …" : ""))
    }
    let known = Set(fleet.hosts.map(\.name))
    for (host, attempts) in attempts.sorted(by: { $0.key < $1.key }) where !known.contains(host) {
      Console.error("rollcall: \(host), which had \(Self.count(attempts.count)), is not in the fleet and was not asked")
    }
    let connections = HostConnection.connections(for: fleet).filter { attempts[$0.host.name] != nil }
    return await withTaskGroup(of: Answer.self) { group in
      for connection in connections {
        group.addTask { await ask(connection, attempts[connection.host.name] ?? [], ledger, apply: apply) }
      }
      var answers: [String: Answer] = [:]
      for await answer in group { answers[answer.name] = answer }
      return connections.compactMap { answers[$0.host.name] }
    }
  }

  static func count(_ attempts: Int) -> String { attempts == 1 ? "1 attempt" : "\(attempts) attempts" }

  /// Attempts that one command takes.
  private static let batchSize = 100

  private func ask(
    _ connection: HostConnection, _ attempts: [AttemptRecord], _ ledger: SweepLedger, apply: Bool
  ) async -> Answer {
    var answer = Answer(name: connection.host.name)
    guard let launcher = connection.launcher as? any DumpRemoving else { return answer }
    do {
      for start in stride(from: 0, to: attempts.count, by: Self.batchSize) {
        let batch = attempts[start..<min(start + Self.batchSize, attempts.count)]
        let found = try await launcher.removeDumps(
          of: Dictionary(batch.map { ($0.id, $0.token) }) { first, _ in first }, apply: apply)
        var freed: [String: (count: Int, bytes: Int)] = [:]
        for attempt in batch {
          switch found[attempt.id] {
          case .freed(let bytes):
            let sum = freed[attempt.sweep] ?? (0, 0)
            freed[attempt.sweep] = (sum.count + 1, sum.bytes + bytes)
          case .kept(let why): Console.error("rollcall: \(answer.name): kept the dumps of \(attempt.id): \(shown(why))")
          case .empty, nil: break
          }
        }
        for (sweep, sum) in freed.sorted(by: { $0.key < $1.key }) {
          answer.attempts += sum.count
          answer.bytes += sum.bytes
          guard apply else { continue }
          let detail = "on \(answer.name): \(Self.count(sum.count)), \(sum.bytes) bytes"
          try ledger.append(
            EventRecord(at: Date().timeIntervalSince1970, sweep: sweep, kind: "pruned", detail: detail),
            usingReserve: true)
        }
      }
      await connection.transport.close()
    } catch {
      // Waiting for a connection that hangs would hang, too.
      let why =
        switch error {
        case let error as TransportError: error.message
        case let error as LaunchError: error.message
        default: Failure.describe(error).message
        }
      answer.error = shown(why)
      Console.error("rollcall: host \(answer.name): \(shown(why))")
    }
    return answer
  }
}
