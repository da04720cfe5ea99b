/// What `rollcall hosts check` asks a cluster beside who it is: its partitions, what of them is free, why nodes are out
/// of use, and how many jobs of ours there are.
public struct ClusterExamination: Sendable, Hashable, Codable {
  public struct Partition: Sendable, Hashable, Codable {
    public var name: String
    /// `up`, `down`, `drain`, `inact`.
    public var state: String
    /// As Slurm writes it: `1-00:00:00`, `infinite`.
    public var timeLimit: String
    /// State → how many nodes: `idle`, `mixed`, `allocated`, `down*`.
    public var nodes: [String: Int] = [:]
    public var gpus = 0
    public var gpusInUse = 0
    /// Of nodes that take work now.
    public var gpusFree = 0
    public var cpus = 0
    public var cpusInUse = 0
    public var cpusFree = 0
  }

  /// Why a node is out of use.
  public struct Reason: Sendable, Hashable, Codable {
    public var nodes: String
    public var state: String
    public var reason: String
  }

  public var user: String?
  public var partitions: [Partition] = []
  public var reasons: [Reason] = []
  /// State → how many of our jobs, with the reasons of those that wait: `PENDING Priority`.
  public var jobs: [String: Int] = [:]
  /// What could not be asked.
  public var troubles: [String] = []

  enum CodingKeys: String, CodingKey {
    case user
    case partitions
    case reasons
    case jobs
    case troubles
  }

  init(lines: [Substring]) {
    for line in lines {
      let (word, rest) = line.firstWord
      let fields = rest.split(separator: "|", omittingEmptySubsequences: false).map { CommaTable.clean($0) }
      switch word {
      case "user": user = CommaTable.clean(rest)
      case "partition" where fields.count == 3:
        partitions.append(Partition(name: fields[0], state: fields[1], timeLimit: fields[2]))
      case "node" where fields.count == 6: addNode(fields)
      case "reason" where fields.count >= 3:
        reasons.append(Reason(nodes: fields[0], state: fields[1], reason: fields[2...].joined(separator: "|")))
      case "own" where fields.count == 2:
        jobs[fields[0] == "PENDING" ? "PENDING \(fields[1])" : fields[0], default: 0] += 1
      case "failed", "accounting-failed": troubles.append(CommaTable.clean(rest))
      default: break
      }
    }
  }

  /// Partition, node, state, GPUs, those in use, CPUs as allocated/idle/other/total.
  private mutating func addNode(_ fields: [String]) {
    guard let index = partitions.firstIndex(where: { $0.name == fields[0] }) else { return }
    partitions[index].nodes[fields[2], default: 0] += 1
    let (gpus, inUse) = (Self.gpus(fields[3]), Self.gpus(fields[4]))
    partitions[index].gpus += gpus
    partitions[index].gpusInUse += inUse
    // Asleep, waking up, or meant for a job to come. Other marks say that it does not answer, or is out of use.
    let state = fields[2].prefix { !"~#-".contains($0) }
    let isOpen = ["idle", "mixed", "allocated", "completing", "planned"].contains(state)
    if isOpen { partitions[index].gpusFree += max(0, gpus - inUse) }
    let cpus = fields[5].split(separator: "/").compactMap { Int($0) }
    guard cpus.count == 4 else { return }
    partitions[index].cpusInUse += min(max(0, cpus[0]), 1 << 20)
    if isOpen { partitions[index].cpusFree += min(max(0, cpus[1]), 1 << 20) }
    partitions[index].cpus += min(max(0, cpus[3]), 1 << 20)
  }

  /// `gpu:h200:8(S:0-1),shard:4` → 8; `gpu:2(IDX:0-1)` → 2.
  static func gpus(_ text: String) -> Int {
    var depth = 0
    var item = ""
    var items: [String] = []
    for character in text + "," {
      switch character {
      case "(": depth += 1
      case ")": depth -= 1
      case "," where depth == 0:
        items.append(item)
        item = ""
      default: if depth == 0 { item.append(character) }
      }
    }
    return items.reduce(0) { total, item in
      let words = item.split(separator: ":")
      guard words.first == "gpu", let count = words.last.flatMap({ Int($0) }), (0...4096).contains(count) else {
        return total
      }
      return total + count
    }
  }
}

extension SlurmLauncher {
  /// The options of a job that any run's could do no better than.
  private var smallest: [String] {
    options.words(
      for: AttemptSpec(
        id: "check", token: "check", sweep: "check", run: "check", number: 1, command: "true", environment: [],
        gpuCount: options.gpuType == nil ? 0 : 1, timeout: 60, stallTimeout: nil))
  }

  /// - Throws: `TransportError`, `LaunchError`.
  public func examine() async throws -> ClusterExamination {
    let reply = try await agent.call("slurm-check", smallest, limit: 16 << 20, timeout: .seconds(60))
    guard reply.lines.last == "end" else {
      throw agent.error(.noReply, "the cluster's examination was cut short after \(reply.lines.count) lines")
    }
    return ClusterExamination(lines: reply.lines)
  }
}
