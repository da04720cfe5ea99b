/// What a host says of the dumps of one attempt.
public enum DumpRemoval: Sendable, Hashable {
  /// There are none.
  case empty
  /// So many bytes are gone, or would go.
  case freed(Int)
  /// Not all of them went, or none would, for this reason.
  case kept(String)
}

/// A launcher whose attempts leave run directories, which outlive them.
public protocol DumpRemoving: Launcher {
  /// Removes the dumps of attempts that are over, in one command; all else in their directories stays, so that none of
  /// them is ever started again. Follows no link, and leaves alone what runs and what has another token.
  ///
  /// - Parameters:
  ///   - attempts: Token by attempt; a few hundred at most, since they have ten minutes together.
  ///   - apply: False: removes nothing, and tells what would go.
  /// - Returns: One answer an attempt. What the host does not know is empty.
  /// - Throws: `LaunchError`, `TransportError`; some of them may be removed then.
  func removeDumps(of attempts: [String: String], apply: Bool) async throws -> [String: DumpRemoval]
}

extension DetachedLauncher: DumpRemoving {
  public func removeDumps(of attempts: [String: String], apply: Bool) async throws -> [String: DumpRemoval] {
    try await agent.removeDumps(of: attempts, apply: apply)
  }
}

extension SlurmLauncher: DumpRemoving {
  public func removeDumps(of attempts: [String: String], apply: Bool) async throws -> [String: DumpRemoval] {
    try await agent.removeDumps(of: attempts, apply: apply)
  }
}

extension Agent {
  func removeDumps(of attempts: [String: String], apply: Bool) async throws -> [String: DumpRemoval] {
    for (attempt, token) in attempts {
      try checkName(attempt)
      try checkName(token)
    }
    let input = attempts.sorted { $0.key < $1.key }.map { "\($0) \($1)\n" }.joined()
    let reply = try await call(
      "prune", [apply ? "apply" : "look"], input: Array(input.utf8), timeout: .seconds(600))
    guard reply.lines.last == "end" else {
      throw error(.noReply, "the answer was cut short after \(reply.lines.count) lines: \(reply.lines[0])")
    }
    var found: [String: DumpRemoval] = [:]
    for line in reply.lines.dropLast() {
      let (id, answer) = line.firstWord
      let (word, rest) = answer.firstWord
      switch word {
      case "empty": found[String(id)] = .empty
      case "kept": found[String(id)] = .kept(String(rest))
      case "freed": if let bytes = Int(rest) { found[String(id)] = .freed(max(0, bytes)) }
      default: break
      }
    }
    for attempt in attempts.keys where found[attempt] == nil {
      throw error(.noReply, "the host did not tell what became of the dumps of \(attempt)")
    }
    return found
  }
}
