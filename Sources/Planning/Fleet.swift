public import OrderedCollections

/// The hosts that runs may be placed on (DESIGN, contract 2). With no fleet file: this machine.
public struct Fleet: Sendable, Hashable, Codable {
  public struct Host: Sendable, Hashable, Codable {
    public enum GPUs: Sendable, Hashable, Codable {
      /// Ask the host.
      case auto
      case count(Int)
    }

    public enum Address: Sendable, Hashable, Codable {
      case local
      /// An alias, resolved through the user's own ssh configuration.
      case ssh(String)
    }

    public var name: String
    public var address: Address
    public var gpus: GPUs
    /// Runs that need no GPU take one of these places each; default 1.
    public var cpuSlots: Int
    public var labels: OrderedDictionary<String, String>
    /// Added to the environment of every run there, below the job's own: `ROLLCALL_PYTHON`, `CUDA_HOME`, …
    public var env: OrderedDictionary<String, String>
    /// Where attempts live on the host; a leading `~/` is the remote user's home. Default `~/.rollcall`.
    public var workdir: String
    /// One lock file a GPU, shared by all coordinators of the host. Default `/tmp/rollcall-leases`.
    public var leaseDir: String
    /// One run at a time has the host for itself. Kept by a lock on the host, so it holds between coordinators, too.
    public var isExclusive: Bool
    /// What the other hosts of the fleet reach it by (`MASTER_ADDR` of a gang); nil: what it calls itself.
    public var networkAddress: String?
    /// Not a machine but a cluster; nil: a machine.
    public var slurm: Slurm?

    /// How many GPUs it has; nil where nobody knows.
    /// - Parameter found: What an attempt there found, as `0,1,2`; nil: nothing yet.
    public func gpuCount(found: String?) -> Int? {
      switch gpus {
      case .count(let count): count
      case .auto: found.map { $0.split(separator: ",").count }
      }
    }

    public init(
      name: String, address: Address, gpus: GPUs = .auto, cpuSlots: Int = 1,
      labels: OrderedDictionary<String, String> = [:], env: OrderedDictionary<String, String> = [:],
      workdir: String = Host.defaultWorkdir, leaseDir: String = Host.defaultLeaseDir,
      isExclusive: Bool = false, networkAddress: String? = nil, slurm: Slurm? = nil
    ) {
      self.name = name
      self.address = address
      self.gpus = gpus
      self.cpuSlots = cpuSlots
      self.labels = labels
      self.env = env
      self.workdir = workdir
      self.leaseDir = leaseDir
      self.isExclusive = isExclusive
      self.networkAddress = networkAddress
      self.slurm = slurm
    }

    /// Sweeps of stores that are older than a key have its default.
    public init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: CodingKeys.self)
      name = try values.decode(String.self, forKey: .name)
      address = try values.decode(Address.self, forKey: .address)
      gpus = try values.decode(GPUs.self, forKey: .gpus)
      cpuSlots = try values.decode(Int.self, forKey: .cpuSlots)
      labels = try values.decode(OrderedDictionary<String, String>.self, forKey: .labels)
      env = try values.decode(OrderedDictionary<String, String>.self, forKey: .env)
      workdir = try values.decode(String.self, forKey: .workdir)
      leaseDir = try values.decode(String.self, forKey: .leaseDir)
      isExclusive = try values.decodeIfPresent(Bool.self, forKey: .isExclusive) ?? false
      networkAddress = try values.decodeIfPresent(String.self, forKey: .networkAddress)
      slurm = try values.decodeIfPresent(Slurm.self, forKey: .slurm)
    }

    public static let defaultWorkdir = "~/.rollcall"
    public static let defaultLeaseDir = "/tmp/rollcall-leases"
  }

  public var hosts: [Host]
  /// An ssh configuration file in place of `~/.ssh/config`: an absolute path, or one that begins with `~/`.
  public var sshConfig: String?
  /// Seconds without word from a host after which its runs count as lost; nil: 30 minutes.
  public var lostAfter: Double?
  /// Seconds that a host may take to say how its runs stand before it counts as unreachable; nil: a minute.
  public var answerWithin: Double?

  public init(hosts: [Host], sshConfig: String? = nil) {
    self.hosts = hosts
    self.sshConfig = sshConfig
  }
}
