/// Attempts that are stopped together: one look at the queue for all of them, and one scancel.
struct StopBatch: SendBatch {
  struct Stop: Sendable {
    var attempt: String
    var reason: String
  }

  static let countLimit = 512
  private(set) var stops: [Stop] = []

  mutating func add(_ stop: Stop) -> Bool {
    guard stops.count < Self.countLimit, !stops.contains(where: { $0.attempt == stop.attempt }) else { return false }
    stops.append(stop)
    return true
  }
}

enum StopOutcome: Sendable {
  case stopped
  /// How Slurm still shows its job.
  case alive(String)
  case noSpace(String)
}

extension Agent {
  /// One outcome a stop.
  func stop(_ batch: StopBatch) async -> [Result<StopOutcome, any Error>] {
    let input = batch.stops.map { "\($0.attempt) \($0.reason)\n" }.joined()
    var replies: [Substring: Substring] = [:]
    do {
      let reply = try await call("slurm-stop", input: Array(input.utf8), timeout: .seconds(300))
      replies = Dictionary(reply.lines.map(\.firstWord)) { first, _ in first }
    } catch {
      return batch.stops.map { _ in .failure(error) }
    }
    return batch.stops.map { stop in
      let (word, rest) = replies[Substring(stop.attempt)]?.firstWord ?? ("", "")
      switch word {
      case "stopped": return .success(.stopped)
      case "alive": return .success(.alive(String(rest)))
      case "no-space": return .success(.noSpace(String(rest)))
      default: return .failure(unavailable(replies["unavailable"] ?? "it did not tell what became of \(stop.attempt)"))
      }
    }
  }
}
