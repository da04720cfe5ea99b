import Gathering
import Ledger

/// When a run's last attempt began, nanoseconds since 1970.
///
/// Hosts of a gang have clocks of their own: each file's time is moved by its host's start, so that one start serves
/// all.
struct AttemptStart {
  /// By the clock of its host; of a gang, by that of its first host.
  let time: Int64
  /// Of a gang: its shares in order, and what is added to the times that each one's host gave.
  private let shares: [(id: String, offset: Int64)]

  /// - Parameter attempts: The last attempt: one a host.
  init(_ attempts: [AttemptRecord]) throws(NothingToCompare) {
    let ordered = attempts.sorted { ($0.share?.node ?? 0) < ($1.share?.node ?? 0) }
    var starts: [(id: String, time: Int64)] = []
    for attempt in ordered {
      // A second of grace: files bear the kernel's coarse clock.
      guard let start = attempt.started.flatMap({ Int64(exactly: (($0 - 1) * 1e9).rounded()) }) else {
        throw NothingToCompare(
          message:
            "when \(attempt.id) began on \(attempt.host) is not known, so nobody can tell its dumps from older ones")
      }
      starts.append((attempt.id, start))
    }
    guard let first = starts.first else {
      throw NothingToCompare(message: "no attempt is known, so nobody can tell its dumps from older ones")
    }
    time = first.time
    var shares: [(id: String, offset: Int64)] = []
    for start in starts where ordered.first?.share != nil {
      let (offset, overflow) = first.time.subtractingReportingOverflow(start.time)
      if overflow { throw NothingToCompare(message: "\(start.id) began at no time that a clock shows") }
      shares.append((start.id, offset))
    }
    self.shares = shares
  }

  /// What is added to a file's time, by its path in the store; none where the attempt has one host.
  func offsets(_ artifacts: ArtifactStore, sweep: String, run: String) throws -> [String: Int64] {
    guard !shares.isEmpty else { return [:] }
    let writers = try artifacts.writers(shares: shares.map(\.id), sweep: sweep, run: run)
    let offsets = Dictionary(shares.map { ($0.id, $0.offset) }) { first, _ in first }
    return writers.compactMapValues { offsets[$0] }
  }
}
