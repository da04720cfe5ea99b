import Glibc
import Planning
import Transports

/// How many files this process may have open at once.
///
/// A host takes three, and the soft limit is 1024 almost everywhere: where they run out, keys are not found, hosts seem
/// strange, and no process can be started.
enum OpenFiles {
  private static let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)

  /// Raises the soft limit. What runs on this machine is given the old one back, as on any other host: some programs close
  /// all descriptors up to it, one by one, and others cannot wait for those above 1024.
  static func allow() {
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < min(limit.rlim_max, 65_536) else { return }
    // Not one that was low by mistake.
    if limit.rlim_cur >= 256 { setenv("ROLLCALL_OPEN_FILES", "\(limit.rlim_cur)", 1) }
    limit.rlim_cur = min(limit.rlim_max, 65_536)
    setrlimit(resource, &limit)
  }

  /// - Throws: `TransportError` where the hard limit is too low to drive the fleet.
  static func check(for fleet: Fleet) throws {
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0 else { return }
    let hosts = fleet.hosts.count { $0.address != .local }
    let need = 40 + 3 * hosts
    guard limit.rlim_cur < need else { return }
    throw TransportError(
      code: .configuration, host: "this machine",
      message: "no more than \(limit.rlim_cur) files may be open at once, and \(hosts) hosts over SSH take \(need): "
        + "raise the hard limit (ulimit -Hn; LimitNOFILE= of a service)")
  }
}
