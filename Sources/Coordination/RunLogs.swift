import Foundation
public import Gathering
public import Ledger

/// The gathered logs of a sweep's attempts (their last part: `Gatherer` bounds them).
public struct RunLogs: Sendable {
  private let artifacts: ArtifactStore
  private let sweep: String

  public init(artifacts: ArtifactStore, sweep: String) {
    self.artifacts = artifacts
    self.sweep = sweep
  }

  /// `stdout.log` or `stderr.log`; nil where it was not gathered.
  public func text(of attempt: AttemptRecord, _ name: String) -> String? {
    bytes(of: attempt, name).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The same, byte by byte as the run wrote it.
  public func bytes(of attempt: AttemptRecord, _ name: String) -> [UInt8]? {
    guard let directory = try? artifacts.attemptDirectory(sweep: sweep, run: attempt.run, attempt: attempt.id) else {
      return nil
    }
    return FileManager.default.contents(atPath: "\(directory)/\(name)").map { [UInt8]($0) }
  }

  /// Bytes that are kept of a log: the last ones.
  public static let keptBytes = Gatherer.Limits().logBytes

  /// Whether the host may have more of a log than is here.
  public func isCut(of attempt: AttemptRecord, _ name: String) -> Bool {
    guard let directory = try? artifacts.attemptDirectory(sweep: sweep, run: attempt.run, attempt: attempt.id),
      let facts = try? FileManager.default.attributesOfItem(atPath: "\(directory)/\(name)")
    else { return true }
    return (facts[.size] as? Int ?? .max) >= Self.keptBytes
  }

  /// The last lines of both logs, for a report; nil where there are none.
  func tail(of attempt: AttemptRecord, lines: Int = 20) -> String? {
    let tail = ["stdout.log", "stderr.log"].flatMap { name in
      (text(of: attempt, name) ?? "").split(whereSeparator: \.isNewline).suffix(lines).map { String($0.prefix(500)) }
    }
    return tail.isEmpty ? nil : tail.joined(separator: "\n")
  }
}
