import Foundation
import Synchronization
public import Transports

/// Has attempts run as jobs of a Slurm cluster: one job an attempt, submitted on this machine or on a login node;
/// hundreds of one shape as the elements of an array.
///
/// The run directory stands on a file system that the nodes share, and is as on any host. Slurm places and queues; what
/// an attempt is, only its name and its directory say, never a job's number.
public final class SlurmLauncher: Launcher {
  /// What sbatch is told beside what each attempt needs.
  public struct Options: Sendable, Hashable {
    /// Each one word.
    public var words: [String]
    public var partition: String?
    public var account: String?
    public var qos: String?
    /// `h200` of `--gpus-per-node=h200:8`.
    public var gpuType: String?
    /// `--gres=gpu:8` in place of `--gpus-per-node=8`.
    public var usesGres: Bool
    /// Where hundreds of one shape are to be submitted at once, they go as arrays.
    public var usesArrays: Bool
    /// Elements of one array that run at a time; nil: all.
    public var arrayThrottle: Int?

    public init(
      words: [String] = [], partition: String? = nil, account: String? = nil, qos: String? = nil,
      gpuType: String? = nil, usesGres: Bool = false, usesArrays: Bool = true, arrayThrottle: Int? = nil
    ) {
      self.words = words
      self.partition = partition
      self.account = account
      self.qos = qos
      self.gpuType = gpuType
      self.usesGres = usesGres
      self.usesArrays = usesArrays
      self.arrayThrottle = arrayThrottle
    }

    /// Minutes that a job has to bring its dumps from the disks of its nodes. Where Slurm's limit comes before ours, half
    /// of that is left to it.
    private static let copying = 10

    /// The options of one attempt.
    ///
    /// Slurm's time limit, in minutes, is above our own: it is for what our own does not end.
    func words(for spec: AttemptSpec) -> [String] {
      let nodes = max(1, spec.nodes ?? 1)
      let minutes = Int((min(spec.timeout, 1e9) / 60).rounded(.up)) + 2 + (spec.dumpDirectory == nil ? 0 : Self.copying)
      var words = ["--ntasks-per-node=1", "--time=\(minutes)"]
      if nodes == 1 { words[0] = "--ntasks=1" }
      if spec.gpuCount > 0 {
        let count = (gpuType.map { "\($0):" } ?? "") + "\(spec.gpuCount)"
        words.append(usesGres ? "--gres=gpu:\(count)" : "--gpus-per-node=\(count)")
      }
      if spec.isExclusive { words.append("--exclusive") }
      if spec.dumpDirectory != nil { words.append("--signal=B:USR1@\(Self.copying * 30)") }
      let chosen = [("partition", partition), ("account", account), ("qos", qos)]
      words += chosen.compactMap { name, value in value.map { "--\(name)=\($0)" } }
      return words + self.words
    }
  }

  let agent: Agent
  let options: Options
  private let patience: Duration
  private let launches: LaunchQueue
  private let stops: SendQueue<StopBatch, StopOutcome>
  private let absoluteWorkdir: Mutex<String?>
  /// What earlier looks saw of attempts that had not ended.
  private struct Sight {
    /// When Slurm last had it in the queue.
    var queued: ContinuousClock.Instant?
    /// Since when it is without an explanation, and how many looks were since then.
    var unexplained: ContinuousClock.Instant?
    var looks = 0
  }
  private let sights = Mutex<[String: Sight]>([:])

  /// Attempts that are submitted together at most: sbatch may take a second each.
  private static let submissionsAtOnce = 64
  /// From so many of one shape on they go as arrays.
  private static let arrayMinimum = 100
  /// Looks that find no explanation before one that concludes something from it.
  private static let settlingLooks = 2
  /// Nothing of a cluster is so quick that a moment counts.
  private static let gathering = Duration.milliseconds(100)

  static let script = Agent.Script(
    PackageResources.common_sh + PackageResources.slurm_sh + PackageResources.agent_sh)

  /// - Parameters:
  ///   - transport: To where jobs are submitted; stays the caller's to close.
  ///   - workdir: Where attempts live, the same path on all nodes; a leading `~/` is the user's home.
  ///   - name: The cluster's name in messages.
  ///   - patience: How long it may take to say how attempts stand.
  public init(
    transport: any Transport, workdir: String = "~/.rollcall", options: Options, name: String,
    patience: Duration = .seconds(180)
  ) {
    let agent = Agent(
      transport: transport, host: name, workdir: workdir, leaseDir: "/tmp/rollcall-leases", gpus: nil,
      script: Self.script)
    self.agent = agent
    self.options = options
    self.patience = patience
    launches = LaunchQueue(
      gathering: Self.gathering,
      begin: { waiting in
        let counts = Dictionary(waiting.compactMap { $0.shape.map { ($0, 1) } }, uniquingKeysWith: +)
        return LaunchBatch(
          countLimit: Self.submissionsAtOnce, arrays: Set(counts.filter { $0.value >= Self.arrayMinimum }.keys))
      }, send: { await agent.submit($0) })
    stops = SendQueue(gathering: Self.gathering, begin: { _ in StopBatch() }, send: { await agent.stop($0) })
    absoluteWorkdir = Mutex(workdir.hasPrefix("/") ? workdir : nil)
  }

  public func enrol() async throws -> HostFacts {
    let facts = try await agent.enrol(
      "slurm-enrol", [options.account, options.qos, options.partition].map { $0 ?? "" })
    absoluteWorkdir.withLock { $0 = facts.workdir }
    return facts
  }

  public func launch(_ spec: AttemptSpec, files: [ShippedFile]) async throws -> LaunchOutcome {
    let nodes = spec.nodes ?? 1
    guard (1...10_000).contains(nodes) else { return .refused("a job cannot have \(nodes) nodes") }
    guard spec.id.utf8.count + spec.token.utf8.count < 240 else { return .refused("the attempt's name is too long") }
    let words = options.words(for: spec).map(shellQuote).joined(separator: " ")
    let earlier = (spec.earlier ?? []).filter(isSafeName).joined(separator: " ")
    let throttle = options.arrayThrottle.map(String.init) ?? ""
    let settings = """
      allotted=\(spec.gpuCount) nodes=\(nodes) gang_port=\(GangShare.port(for: spec.id))
      options=\(shellQuote(words)) earlier=\(shellQuote(earlier)) scratch=\(shellQuote(spec.dumpDirectory ?? ""))
      throttle=\(throttle)

      """
    var payload: LaunchPayload
    do {
      payload = try LaunchPayload(spec, files: files, cluster: settings)
    } catch let refusal as LaunchPayload.Refusal {
      return .refused(refusal.reason)
    }
    // Another try is told which nodes to avoid.
    if options.usesArrays, earlier.isEmpty { payload.shape = "\(nodes) \(throttle) \(words)" }
    return try await launches.send(payload)
  }

  public func status(of attempts: [String]) async throws -> [String: AttemptStatus] {
    for attempt in attempts { try agent.checkName(attempt) }
    let input = attempts.map { $0 + "\n" }.joined()
    let asked = ContinuousClock.now
    let reply = try await agent.call("slurm-status", input: Array(input.utf8), limit: 256 << 20, timeout: patience)
    let evidence = try agent.evidence(of: attempts, reply.lines)
    let time = ContinuousClock.now
    let now = Date().timeIntervalSince1970
    return sights.withLock { sights in
      var found: [String: AttemptStatus] = [:]
      for (attempt, evidence) in evidence {
        var sight = sights[attempt] ?? Sight()
        let since = sight.unexplained ?? time
        // Two looks alone may both have had the same old answer.
        let isSettled = sight.looks >= Self.settlingLooks
        let status = evidence.status(
          unexplained: isSettled ? since.duration(to: time) / .seconds(1) : 0,
          unseen: sight.queued.map { $0.duration(to: since) / .seconds(1) }, now: now)
        found[attempt] = status
        sight.unexplained = status == nil ? since : nil
        sight.looks = status == nil ? sight.looks + 1 : 0
        if evidence.isQueued { sight.queued = asked }
        switch status {
        case .exited, .lost, .absent: sights[attempt] = nil
        default: sights[attempt] = sight
        }
      }
      return found
    }
  }

  public func stop(_ attempt: String, reason: String) async throws {
    try agent.checkName(attempt)
    guard isSafeName(reason) else { throw agent.error(.badName, "\(reason.debugDescription) is no word for a reason") }
    switch try await stops.send(StopBatch.Stop(attempt: attempt, reason: reason)) {
    case .stopped: return
    case .alive(let state): throw agent.error(.alive, "attempt \(attempt) could not be ended; \(state)")
    case .noSpace(let place): throw agent.error(.noSpace, "no room in \(place) to note that \(attempt) is stopped")
    }
  }

  public func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8] {
    try await agent.log(of: attempt, name: name, offset: offset, limit: limit)
  }

  public func directory(of attempt: String) async throws -> String {
    try agent.checkName(attempt)
    let known = absoluteWorkdir.withLock { $0 }
    let workdir = if let known { known } else { try await enrol().workdir }
    return "\(workdir)/attempts/\(attempt)"
  }
}

extension Agent {
  /// One outcome a payload.
  func submit(_ batch: LaunchBatch) async -> [Result<LaunchOutcome, any Error>] {
    var replies: [Substring: Substring] = [:]
    do {
      let reply = try await call("slurm-submit", input: batch.bytes, timeout: .seconds(300))
      replies = Dictionary(reply.lines.map(\.firstWord)) { first, _ in first }
    } catch {
      return batch.payloads.map { _ in .failure(error) }
    }
    return batch.payloads.map { payload in
      let (word, rest) = replies[Substring(payload.id)]?.firstWord ?? ("", "")
      switch word {
      case "submitted", "adopted": return .success(.submitted)
      // Its run directory is gone: there is nothing to wait for.
      case "begun": return .success(.adopted)
      case "full", "unsure":
        return .success(.full("the cluster takes no more jobs now: \(rest)", mayHaveArrived: word == "unsure"))
      case "refused": return .success(.refused(String(rest)))
      case "no-space": return .success(.noSpace("no room in \(rest)"))
      default: break
      }
      if let room = replies["no-space"] { return .success(.noSpace("no room in \(room)")) }
      return .failure(unavailable(replies["unavailable"] ?? "it did not tell what became of \(payload.id)"))
    }
  }

  func unavailable(_ words: Substring) -> LaunchError {
    error(.noReply, "Slurm cannot be asked at present: \(words)")
  }

  /// - Throws: Where Slurm could not be asked, or the answer was cut short.
  func evidence(of attempts: [String], _ lines: [Substring]) throws -> [String: SlurmEvidence] {
    var evidence: [String: SlurmEvidence] = [:]
    for attempt in attempts { evidence[attempt] = SlurmEvidence() }
    var trouble: Substring?
    for line in lines {
      let (word, rest) = line.firstWord
      switch word {
      case "unavailable": throw unavailable(rest)
      case "accounting-failed": trouble = rest
      case "queue", "accounting":
        guard let job = SlurmJob(row: rest) else { throw error(.noReply, "a row of Slurm cannot be read: \(rest)") }
        // What the controller has forgotten is over, also where the accounting was never told of its end.
        if word == "queue" || job.hasEnded { evidence[job.attempt]?.jobs.append(job) }
      case "dir", "job", "claim", "cancel", "refusal", "exit", "signalled", "copying", "uncopied", "avoided",
        "left-out", "said", "preempted":
        let (id, value) = rest.firstWord
        evidence[String(id)]?.take(word, value)
      default: break
      }
    }
    guard lines.last == "end" else { throw error(.noReply, "the answer was cut short after \(lines.count) lines") }
    if let trouble {
      for (id, one) in evidence where one.jobs.isEmpty { evidence[id]?.unasked = String(trouble) }
    }
    return evidence
  }
}

extension SlurmEvidence {
  /// Takes one line of the run directory's. What cannot be read there is this attempt's trouble alone.
  fileprivate mutating func take(_ word: Substring, _ value: Substring) {
    switch word {
    case "dir": hasDirectory = value == "there"
    case "job": submitted = String(value)
    case "cancel": cancel = String(value)
    case "refusal": refusal = String(value)
    case "signalled": isSignalled = true
    case "copying": isCopying = true
    case "left-out":
      let (memory, shown) = value.firstWord
      leftOut = LeftOut(hasMemory: memory == "1", shown: Int(shown))
    case "uncopied": uncopied = String(value)
    case "said": said = String(value)
    case "preempted": isPreempted = true
    case "avoided": avoided = String(value)
    case "claim":
      let words = value.split(separator: " ")
      guard words.count == 4, let started = Double(words[3]), started.isFinite else {
        claim = .unknown
        return
      }
      claim = Claim(number: String(words[0]), nodes: String(words[2]), started: started)
    default:
      record = try? JSONDecoder().decode(ExitRecord.self, from: Data(value.utf8))
      if record == nil { unreadableRecord = String(value.prefix(200)) }
    }
  }
}
