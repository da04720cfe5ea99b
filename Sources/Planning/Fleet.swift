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
    /// Where attempts live on the host; a leading `~/` is the remote user's home. Default `~/.rollcall`.
    public var workdir: String
    /// One lock file a GPU, shared by all coordinators of the host. Default `/tmp/rollcall-leases`.
    public var leaseDir: String
  }

  public var hosts: [Host]
  /// An ssh configuration file in place of `~/.ssh/config`.
  public var sshConfig: String?
}
