/// What `rollcall hosts check` asks a host beside who it is: its GPUs as their tools tell, who is on them, who holds
/// which lock, memory, Python.
public struct HostExamination: Sendable, Hashable, Codable {
  /// A process on a GPU.
  public struct Process: Sendable, Hashable, Codable {
    public var pid: Int
    public var name: String
    public var user: String?
    /// The attempt it belongs to; nil: a stranger's.
    public var attempt: String?
    public var memoryBytes: Int?

    public var isForeign: Bool { attempt == nil }
  }

  public struct GPU: Sendable, Hashable, Codable {
    /// As its tool names it: NVIDIA's UUID, AMD's index.
    public var id: String
    public var name: String
    public var usedBytes: Int?
    public var totalBytes: Int?
    /// 0 to 100.
    public var utilisation: Int?
    public var processes: [Process] = []
  }

  /// A lock file of the lease directory.
  public struct Lease: Sendable, Hashable, Codable {
    public enum State: String, Sendable, Hashable, Codable {
      case free
      case held
      /// The host's own lock, held by runs that let others beside them.
      case shared
      /// The lock file may not be read.
      case unknown
    }

    /// `gpu-<id>`, or `host` for the whole host.
    public var name: String
    public var state: State
    /// The attempt that holds it, its user and its work directory; nil where the holder did not say.
    public var attempt: String?
    public var user: String?
    public var workdir: String?
  }

  /// `nvidia-smi`, `amd-smi`, `rocm-smi`; nil where the host has none of them.
  public var tool: String?
  public var gpus: [GPU] = []
  /// Processes on GPUs that the tool did not tell apart.
  public var unplaced: [Process] = []
  public var leases: [Lease] = []
  public var totalMemory: Int?
  public var availableMemory: Int?
  /// Who we are there.
  public var user: String?
  /// Of the work directory, as `stat -f` names it: `ext2/ext3`, `xfs`, `nfs`, …
  public var fileSystem: String?
  /// `python`, `torch`, `torch_commit`, `cuda`, `hip` of `python3`.
  public var python: [String: String] = [:]
  /// Tools that failed, with the reason.
  public var troubles: [String] = []

  public var processes: [Process] { gpus.flatMap(\.processes) + unplaced }
}

/// A process that was left on a host, to see whether it outlives the connection.
public struct Sleeper: Sendable, Hashable {
  var pid: Int
  var start: String
}

extension DetachedLauncher {
  /// - Throws: `TransportError`, `LaunchError`.
  public func examine() async throws -> HostExamination {
    let reply = try await agent.call("check", limit: 4 << 20, timeout: .seconds(60))
    guard reply.lines.last == "end" else {
      throw agent.error(.noReply, "the host's examination was cut short after \(reply.lines.count) lines")
    }
    return HostExamination(lines: reply.lines)
  }

  /// Leaves a process behind that lives for a minute.
  public func leaveSleeper() async throws -> Sleeper {
    let reply = try await agent.call("sleeper")
    let words = reply.lines[0].split(separator: " ")
    guard words.count == 3, words[0] == "sleeper", let pid = Int(words[1]) else {
      throw agent.error(.noReply, "the host answered \(reply.lines[0].debugDescription) to a probe")
    }
    return Sleeper(pid: pid, start: String(words[2]))
  }

  /// Whether it still lives; ends it.
  public func endSleeper(_ sleeper: Sleeper) async throws -> Bool {
    let reply = try await agent.call("awake", [String(sleeper.pid), sleeper.start])
    switch reply.lines[0] {
    case "awake": return true
    case "gone": return false
    default: throw agent.error(.noReply, "the host answered \(reply.lines[0].debugDescription) to a probe")
    }
  }
}
