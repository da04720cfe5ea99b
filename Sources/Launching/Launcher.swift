/// What one attempt needs to start on a host.
public struct AttemptSpec: Sendable, Hashable, Codable {
  /// Names the run directory: letters, digits, `-` and `_` only.
  public var id: String
  /// Random; a launch that finds the directory claimed with the same token adopts it.
  public var token: String
  public var sweep: String
  public var run: String
  public var number: Int
  /// For `/bin/sh -c`; runs inside `files/`.
  public var command: String
  /// Complete environment additions, in order, `ROLLCALL_*` included.
  public var environment: [EnvironmentEntry]
  /// GPUs to take on this host; 0 = none.
  public var gpuCount: Int
  /// Seconds.
  public var timeout: Double
  public var stallTimeout: Double?
  /// The run has the host for itself: no other run on GPUs, and none of these beside it.
  public var isExclusive: Bool
  /// One share of a gang: takes its GPUs, then waits so many whole seconds for `Launcher.release`; nil: begins at once.
  public var holdSeconds: Int?
  /// For a launcher that takes a gang as one attempt: on so many hosts, `gpuCount` on each; nil: one.
  public var nodes: Int?
  /// Where the run writes its dumps, a directory of its own on the disk of each node of a cluster, from which they are
  /// copied at the end; nil: `dumps/` of the run directory.
  public var dumpDirectory: String?
  /// The run's attempts before this one: of nodes of a cluster that failed one of them, others are preferred.
  public var earlier: [String]?

  public struct EnvironmentEntry: Sendable, Hashable, Codable {
    public var name: String
    public var value: String

    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public init(
    id: String, token: String, sweep: String, run: String, number: Int, command: String,
    environment: [EnvironmentEntry], gpuCount: Int, timeout: Double, stallTimeout: Double?,
    isExclusive: Bool = false, holdSeconds: Int? = nil, nodes: Int? = nil, dumpDirectory: String? = nil,
    earlier: [String]? = nil
  ) {
    self.id = id
    self.token = token
    self.sweep = sweep
    self.run = run
    self.number = number
    self.command = command
    self.environment = environment
    self.gpuCount = gpuCount
    self.timeout = timeout
    self.stallTimeout = stallTimeout
    self.isExclusive = isExclusive
    self.holdSeconds = holdSeconds
    self.nodes = nodes
    self.dumpDirectory = dumpDirectory
    self.earlier = earlier
  }
}

/// A file to put into `files/` of the run directory.
public struct ShippedFile: Sendable, Hashable {
  /// Last path component on the host.
  public var name: String
  public var contents: [UInt8]
  public var isExecutable: Bool

  public init(name: String, contents: [UInt8], isExecutable: Bool) {
    self.name = name
    self.contents = contents
    self.isExecutable = isExecutable
  }
}

/// The answer to a launch.
public enum LaunchOutcome: Sendable, Hashable {
  case started
  /// It stood already, with my token: started by an earlier, unanswered launch.
  case adopted
  /// A cluster has it in its queue, or knows it from before; its status tells how it stands.
  case submitted
  /// No room on the host's disk; nothing is left behind.
  case noSpace(String)
  /// A cluster takes no more jobs now, with the limit that says so: the same launch again, later.
  /// - `mayHaveArrived`: It may know the attempt all the same.
  case full(String, mayHaveArrived: Bool)
  /// Not enough free GPUs: locked by another gang or used by a stranger. Or the host was too slow to start anything.
  case gpuBusy(String)
  /// Refused for another reason that trying again does not change (workdir not writable, …).
  case refused(String)
}

/// What a host says of one attempt.
public enum AttemptStatus: Sendable, Hashable {
  case absent
  /// Directory made, supervisor not yet seen.
  case claimed(ageSeconds: Double)
  /// A cluster has it, and keeps it waiting, with the reason.
  case waiting(String)
  case running(outputBytes: Int)
  case exited(ExitRecord)
  /// Supervisor gone without an exit record: host rebooted or it was killed.
  case lost(String)
}

/// `exit.json`.
public struct ExitRecord: Sendable, Hashable, Codable {
  public var code: Int
  public var signal: Int?
  /// Seconds since 1970 by the host's clock.
  public var started: Double
  public var ended: Double
  /// `timeout`, `stalled`, `cancelled`, `terminated`, `gpu-busy`, `contended`, `not-released`, `no-space`, and of a
  /// cluster `cancelled-elsewhere`, `out-of-memory`, `not-copied`; nil for a plain end.
  public var reason: String?
  /// The `reason` of what somebody else told to end (SIGTERM), as a host does to all when it goes down.
  public static let terminated = "terminated"
  /// The `reason` of a command that failed by itself where nothing could be written any more when it had: whether it
  /// failed for that nobody can know, but its failure says nothing of what it runs.
  public static let noSpace = "no-space"
  /// The `reason` of a share that never began, since somebody without a lock had come upon its GPUs meanwhile.
  public static let gpuBusy = "gpu-busy"
  /// The `reason` of a share that never began, since nobody asked for it, or the others had not theirs in time.
  public static let notReleased = "not-released"
  /// The `reason` of a command that ended well on a cluster, and left dumps on its nodes' own disks that could not be
  /// copied.
  public static let notCopied = "not-copied"
  /// What the run found on its host when it began: `kernel`, `gpu` (the models it has), `gpu_driver`, `python`, `torch`, `torch_commit`,
  /// `cuda`, `hip`, `commit` (of the directory that `ENGINE_SOURCE` names), `job_commit`. `python` and `torch` are
  /// those of the interpreter that the command names. nil where it could not be told.
  public var environment: [String: String]?

  public init(
    code: Int, signal: Int?, started: Double, ended: Double, reason: String?, environment: [String: String]? = nil
  ) {
    self.code = code
    self.signal = signal
    self.started = started
    self.ended = ended
    self.reason = reason
    self.environment = environment
  }

  private enum CodingKeys: String, CodingKey {
    case code, signal, started, ended, reason, environment
  }

  /// A record from a host is believed no time that is none.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    code = try values.decode(Int.self, forKey: .code)
    signal = try values.decodeIfPresent(Int.self, forKey: .signal)
    started = try Self.time(values, .started)
    ended = try Self.time(values, .ended)
    reason = try values.decodeIfPresent(String.self, forKey: .reason)
    environment = try values.decodeIfPresent([String: String].self, forKey: .environment)
  }

  private static func time(_ values: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys) throws -> Double {
    let time = try values.decode(Double.self, forKey: key)
    guard (0..<9e9).contains(time) else {
      throw DecodingError.dataCorruptedError(forKey: key, in: values, debugDescription: "\(time) is no time")
    }
    return time
  }
}

/// What a host tells of itself at enrolment.
public struct HostFacts: Sendable, Hashable, Codable {
  public var bootID: String
  /// Absolute path.
  public var home: String
  /// Absolute path of the work directory, made if need be.
  public var workdir: String
  public var cpuCount: Int
  public var gpuNames: [String]
  /// NVIDIA UUIDs or AMD indices, in PCI order.
  public var gpuIDs: [String]
  public var gpuDriver: String?
  public var freeDiskBytes: Int
  /// What a run directory and its records need; how much room dumps need nobody knows before.
  public static let leastFreeDisk = 1 << 20
  /// What a person is told where runs end with their connection. `loginctl enable-linger` does not help: it keeps the
  /// user's services, not what a login started.
  public static func logoutRemedy(of user: String) -> String {
    "its systemd ends processes with their login, and so every run (KillUserProcesses); as root, set "
      + "KillExcludeUsers=root \(user) in /etc/systemd/logind.conf and restart systemd-logind"
  }
  /// Host clock minus ours, seconds: by as much as it is off for certain.
  public var clockOffset: Double

  /// - Parameters:
  ///   - clock: Of the host, seconds since 1970, read at an unknown moment between two of ours: the login before it may
  ///     have taken seconds.
  static func clockOffset(_ clock: Double, between before: Double, and after: Double) -> Double {
    min(max(0, clock - after), clock - before)
  }

  /// Seconds by which a clock may be off before a person is told.
  public static let toleratedClockOffset = 2.0
  /// `uname -sr`, and so on.
  public var versions: [String: String]
  /// Whom the host's systemd ends all processes of at the end of each login (KillUserProcesses): our user; nil: nobody
  /// that we know of.
  public var endedAtLogout: String?
  /// What the host calls itself on its network (`uname -n`).
  public var nodeName: String
  /// A cluster that lets its user have no more jobs at a time; nil: no such limit.
  public var jobLimit: Int?
  /// Whose limit that is.
  public var jobLimitName: String?

  public init(
    bootID: String, home: String, workdir: String, cpuCount: Int, gpuNames: [String], gpuIDs: [String],
    gpuDriver: String?, freeDiskBytes: Int, clockOffset: Double, versions: [String: String],
    nodeName: String = "", endedAtLogout: String? = nil, jobLimit: Int? = nil, jobLimitName: String? = nil
  ) {
    self.bootID = bootID
    self.home = home
    self.workdir = workdir
    self.cpuCount = cpuCount
    self.gpuNames = gpuNames
    self.gpuIDs = gpuIDs
    self.gpuDriver = gpuDriver
    self.freeDiskBytes = freeDiskBytes
    self.clockOffset = clockOffset
    self.versions = versions
    self.nodeName = nodeName
    self.endedAtLogout = endedAtLogout
    self.jobLimit = jobLimit
    self.jobLimitName = jobLimitName
  }
}

/// Starts, observes and stops attempts on one host.
public protocol Launcher: Sendable {
  /// Asks the host who it is and makes its work directory.
  func enrol() async throws -> HostFacts
  /// Idempotent: the same spec again starts nothing twice.
  func launch(_ spec: AttemptSpec, files: [ShippedFile]) async throws -> LaunchOutcome
  /// Lets a share that was launched with `holdSeconds` begin; again does no harm.
  /// - Throws: `LaunchError.absent` where there is none, or it has ended already.
  func release(_ attempt: String) async throws
  /// One command for all. What is not in the answer is not known: nothing is concluded from that.
  func status(of attempts: [String]) async throws -> [String: AttemptStatus]
  /// TERM to the whole session, then KILL; returns when nothing of it lives, nor ever will: a launch that arrives
  /// later starts nothing. Or throws.
  func stop(_ attempt: String, reason: String) async throws
  /// A piece of `stdout.log` or `stderr.log` from `offset`, at most `limit` bytes.
  func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8]
  /// Absolute path of the attempt's directory on the host.
  func directory(of attempt: String) async throws -> String
}

extension Launcher {
  /// A launcher that cannot hold a share back has none to release.
  public func release(_ attempt: String) async throws {
    throw LaunchError(
      code: .absent, host: "this host", message: "attempt \(attempt) is not held: its launcher starts attempts at once")
  }
}
