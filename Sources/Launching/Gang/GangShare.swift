/// One host's share of a gang over several hosts, and what its processes read to find each other.
public struct GangShare: Sendable, Hashable, Codable {
  /// 0 is the host that the others connect to.
  public var nodeRank: Int
  public var nodeCount: Int
  /// What the hosts reach node 0 by.
  public var masterAddress: String
  public var masterPort: Int
  /// On each host; 0 on CPU.
  public var gpusPerNode: Int

  public init(nodeRank: Int, nodeCount: Int, masterAddress: String, masterPort: Int, gpusPerNode: Int) {
    self.nodeRank = nodeRank
    self.nodeCount = nodeCount
    self.masterAddress = masterAddress
    self.masterPort = masterPort
    self.gpusPerNode = gpusPerNode
  }

  /// The shares of a gang, in the order of `hosts`; one for a gang on one host.
  ///
  /// - Parameters:
  ///   - attempt: Its id chooses the port, so that two gangs on one host hardly ever choose the same one, and another
  ///     attempt chooses another.
  ///   - masterAddress: As the fleet file names the first host; nil: what it calls itself.
  public static func all(
    attempt: String, hosts: [HostFacts], gpusPerNode: Int, masterAddress: String? = nil
  ) -> [GangShare] {
    let address = masterAddress ?? address(of: hosts)
    let port = port(for: attempt)
    return hosts.indices.map {
      GangShare(
        nodeRank: $0, nodeCount: hosts.count, masterAddress: address, masterPort: port, gpusPerNode: gpusPerNode)
    }
  }

  /// Names as `torch.distributed` (`env://`) and `torchrun` (`PET_…`, its defaults for the options of the same names)
  /// read them. `WORLD_SIZE` is that of one process a GPU (a host, without GPUs), which `torchrun` sets anew.
  public var environment: [AttemptSpec.EnvironmentEntry] {
    let processes = max(1, gpusPerNode)
    let (product, overflow) = nodeCount.multipliedReportingOverflow(by: processes)
    var entries = [
      ("MASTER_ADDR", masterAddress), ("MASTER_PORT", String(masterPort)), ("NODE_RANK", String(nodeRank)),
      ("NNODES", String(nodeCount)), ("WORLD_SIZE", overflow ? String(nodeCount) : String(product)),
    ]
    entries += [
      ("PET_NNODES", String(nodeCount)), ("PET_NODE_RANK", String(nodeRank)), ("PET_MASTER_ADDR", masterAddress),
      ("PET_MASTER_PORT", String(masterPort)), ("PET_NPROC_PER_NODE", String(processes)),
    ]
    return entries.map { AttemptSpec.EnvironmentEntry(name: $0.0, value: $0.1) }
  }

  /// Loopback where all are one machine.
  private static func address(of hosts: [HostFacts]) -> String {
    guard let first = hosts.first else { return "127.0.0.1" }
    let isOneMachine = hosts.allSatisfy { $0.bootID == first.bootID }
    return isOneMachine || first.nodeName.isEmpty ? "127.0.0.1" : first.nodeName
  }

  /// Below what systems give to outgoing connections (32768), above what services take.
  static func port(for attempt: String) -> Int {
    var hash: UInt32 = 0x811C_9DC5
    for byte in attempt.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
    return 20_000 + Int(hash % 12_000)
  }
}
