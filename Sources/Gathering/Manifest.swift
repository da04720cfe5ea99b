/// One file of a run's `dumps/` as the host states it.
public struct ManifestEntry: Sendable, Hashable, Codable {
  /// Relative to `dumps/`, checked: no `..`, not absolute, no control characters.
  public var path: String
  public var byteCount: Int
  /// Nanoseconds since 1970 by the host's clock.
  public var modified: Int64
  /// Lower-case hex.
  public var sha256: String
  /// The rank that the name gives (`rank3`, `rank=3`), nil where it gives none.
  public var rank: Int?

  public init(path: String, byteCount: Int, modified: Int64, sha256: String, rank: Int?) {
    self.path = path
    self.byteCount = byteCount
    self.modified = modified
    self.sha256 = sha256
    self.rank = rank
  }
}

/// Everything an attempt left under `dumps/`.
public struct Manifest: Sendable, Hashable, Codable {
  public var entries: [ManifestEntry]
  /// Names refused (symlinks, devices, `..`) and why.
  public var refused: [String]

  public init(entries: [ManifestEntry], refused: [String]) {
    self.entries = entries
    self.refused = refused
  }
}
