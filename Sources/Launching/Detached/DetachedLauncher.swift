import Foundation
import Synchronization
public import Transports

/// Starts attempts as processes of their own on one host, through a POSIX shell script and nothing to install.
///
/// The run directory on the host is the truth: a supervisor there keeps the limits, holds the GPU locks and writes
/// the exit record, whether or not anybody is connected. `agent.sh` is its text.
public final class DetachedLauncher: Launcher {
  let agent: Agent
  private let patience: Duration
  private let launches: LaunchQueue
  /// Where the host is this machine.
  private let local: LocalLaunching?
  /// The absolute work directory, once the host has told it.
  private let absoluteWorkdir: Mutex<String?>
  /// The same once it was made and the agent's script is there.
  private let enrolledWorkdir: EnrolledWorkdir

  /// - Parameters:
  ///   - transport: To the host; stays the caller's to close.
  ///   - workdir: Where attempts live; a leading `~/` is the remote user's home. Must be on a local file system.
  ///   - leaseDir: One lock file a GPU, shared by all coordinators of the host.
  ///   - gpus: How many GPUs may be used; nil: all that the host finds. On a host without GPU tools a number
  ///     declares GPUs that are names only.
  ///   - name: The host's name in messages.
  ///   - patience: How long the host may take to say how attempts stand.
  ///   - supervisor: Where the host is this machine: the words that start a process that calls `Supervisor.serve` with
  ///     the work directory, which is added. It then leads the plain runs.
  public init(
    transport: any Transport, workdir: String = "~/.rollcall", leaseDir: String = "/tmp/rollcall-leases",
    gpus: Int? = nil, name: String, patience: Duration = .seconds(60), supervisor: [String]? = nil
  ) {
    let agent = Agent(
      transport: transport, host: name, workdir: workdir, leaseDir: leaseDir, gpus: gpus.map { max(0, $0) })
    self.agent = agent
    self.patience = patience
    let local = supervisor.map { LocalLaunching(agent: agent, program: $0) }
    self.local = local
    let enrolled = EnrolledWorkdir()
    enrolledWorkdir = enrolled
    launches = LaunchQueue(
      begin: { _ in LaunchBatch() },
      send: { batch in
        guard let local, let workdir = await enrolled.path(agent) else { return await agent.launch(batch) }
        return await local.launch(batch, workdir: workdir)
      })
    absoluteWorkdir = Mutex(workdir.hasPrefix("/") ? workdir : nil)
  }

  public func enrol() async throws -> HostFacts {
    let facts = try await agent.enrol("enrol")
    absoluteWorkdir.withLock { $0 = facts.workdir }
    enrolledWorkdir.known.withLock { $0 = facts.workdir }
    return facts
  }

  public func launch(_ spec: AttemptSpec, files: [ShippedFile]) async throws -> LaunchOutcome {
    let payload: LaunchPayload
    do {
      payload = try LaunchPayload(spec, files: files)
    } catch let refusal as LaunchPayload.Refusal {
      return .refused(refusal.reason)
    }
    return try await launches.send(payload)
  }

  public func release(_ attempt: String) async throws {
    try agent.checkName(attempt)
    let reply = try await agent.call("go", [attempt])
    switch reply.lines[0].firstWord.0 {
    case "released": return
    case "ended": throw agent.error(.absent, "attempt \(attempt) ended before it could begin")
    case "absent": throw agent.error(.absent, "the host knows no attempt \(attempt)")
    case "no-space": throw agent.error(.noSpace, "no room on the host's disk to let \(attempt) begin")
    default: throw agent.error(.noReply, "the host answered \(reply.lines[0].debugDescription) to a release")
    }
  }

  public func status(of attempts: [String]) async throws -> [String: AttemptStatus] {
    var found: [String: AttemptStatus] = [:]
    for attempt in attempts { try agent.checkName(attempt) }
    if let local, let workdir = absoluteWorkdir.withLock({ $0 }) {
      found = local.states(of: attempts, workdir: workdir)
    }
    let asked = found.isEmpty ? attempts : attempts.filter { found[$0] == nil }
    // What a command line takes for sure.
    let pieceSize = 400
    for start in stride(from: 0, to: asked.count, by: pieceSize) {
      let reply = try await agent.call(
        "status", Array(asked[start..<min(start + pieceSize, asked.count)]), timeout: patience)
      for line in reply.lines {
        let (id, rest) = line.firstWord
        found[String(id)] = try attemptStatus(rest)
      }
    }
    for attempt in attempts where found[attempt] == nil {
      throw agent.error(.noReply, "the host did not tell the state of \(attempt)")
    }
    return found
  }

  public func stop(_ attempt: String, reason: String) async throws {
    try agent.checkName(attempt)
    guard isSafeName(reason) else { throw agent.error(.badName, "\(reason.debugDescription) is no word for a reason") }
    let reply = try await agent.call("stop", [attempt, reason], timeout: .seconds(120))
    let (word, rest) = reply.lines[0].firstWord
    switch word {
    case "stopped": return
    case "alive": throw agent.error(.alive, "attempt \(attempt) could not be ended; \(rest)")
    case "locked": throw agent.error(.alive, "attempt \(attempt) could not be ended; the lock \(rest) cannot be had")
    case "no-space": throw agent.error(.noSpace, "no room on the host's disk to note that \(attempt) is stopped")
    default: throw agent.error(.noReply, "the host answered \(reply.lines[0].debugDescription) to a stop")
    }
  }

  public func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8] {
    try await agent.log(of: attempt, name: name, offset: offset, limit: limit)
  }

  public func directory(of attempt: String) async throws -> String {
    try agent.checkName(attempt)
    let workdir: String
    if let known = absoluteWorkdir.withLock({ $0 }) {
      workdir = known
    } else {
      workdir = try await enrol().workdir
    }
    return "\(workdir)/attempts/\(attempt)"
  }

  // MARK: -

  private func attemptStatus(_ text: Substring) throws -> AttemptStatus {
    let (word, rest) = text.firstWord
    switch word {
    case "absent": return .absent
    case "claimed": if let age = Double(rest) { return .claimed(ageSeconds: max(0, age)) }
    case "running": if let bytes = Int(rest) { return .running(outputBytes: bytes) }
    case "lost": return .lost(String(rest))
    case "exited":
      if let record = try? JSONDecoder().decode(ExitRecord.self, from: Data(rest.utf8)) { return .exited(record) }
      // This one alone is in trouble, not its host.
      return .lost("its exit record cannot be read: \(String(rest.prefix(200)).debugDescription)")
    default: break
    }
    throw agent.error(
      .noReply, "the host told a state that cannot be read: \(String(text.prefix(200)).debugDescription)")
  }
}

/// The absolute work directory, made and with the agent's script.
final class EnrolledWorkdir: Sendable {
  let known = Mutex<String?>(nil)

  /// Asks the host where nobody has; nil where it has none.
  func path(_ agent: Agent) async -> String? {
    if let path = known.withLock({ $0 }) { return path }
    guard let path = try? await agent.enrol("enrol").workdir else { return nil }
    known.withLock { $0 = path }
    return path
  }
}

extension Substring {
  /// The text before the first blank, and the text behind it.
  var firstWord: (Substring, Substring) {
    guard let blank = firstIndex(of: " ") else { return (self, "") }
    return (self[..<blank], self[index(after: blank)...])
  }
}
