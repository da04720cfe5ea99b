import Foundation

/// A file system that is full soon: a small tmpfs of one test.
public enum SmallDisk {
  /// Whether this machine lets us mount one.
  @Sendable public static func canBeMade() async -> Bool {
    (try? await with(megabytes: 1) { _, _ in true }) ?? false
  }

  /// Mounts one inside a scratch directory, hands its path and the scratch over, unmounts it.
  public static func with<Value>(
    megabytes: Int, _ body: (_ disk: String, _ scratch: Scratch) async throws -> Value
  ) async throws -> Value {
    try await Scratch.with { scratch in
      let disk = try scratch.directory("disk")
      try await runTool("mount", ["-t", "tmpfs", "-o", "size=\(megabytes)m", "tmpfs", disk])
      do {
        let value = try await body(disk, scratch)
        try await runTool("umount", ["-l", disk])
        return value
      } catch {
        try await runTool("umount", ["-l", disk], mustSucceed: false)
        throw error
      }
    }
  }
}
