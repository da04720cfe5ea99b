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

  /// Where the file stands under the run's directory in the store: `rank3/<path>`, or `shared/<path>` without a rank.
  public var storedPath: String {
    if let rank { "rank\(rank)/\(path)" } else { "shared/\(path)" }
  }
}

/// Everything an attempt left under `dumps/`.
public struct Manifest: Sendable, Hashable, Codable {
  public var entries: [ManifestEntry]
  /// Names refused (symlinks, devices, `..`) and why.
  public var refused: [String]
  /// The attempt whose files these are and what was kept of its logs; nil before it is gathered.
  public var attempt: AttemptFiles?

  public init(entries: [ManifestEntry], refused: [String], attempt: AttemptFiles? = nil) {
    self.entries = entries
    self.refused = refused
    self.attempt = attempt
  }

  /// By the path in the store, each with its offset; a time that leaves the range is as old as can be.
  public func modificationTimes(offsets: [String: Int64]) -> [String: Int64] {
    let times = entries.map { entry in
      let (time, overflow) = entry.modified.addingReportingOverflow(offsets[entry.storedPath] ?? 0)
      return (entry.storedPath, overflow ? .min : time)
    }
    return Dictionary(times, uniquingKeysWith: max)
  }
}

/// The logs and records of one attempt that the store keeps beside the dumps, under `attempts/<id>/`.
public struct AttemptFiles: Sendable, Hashable, Codable {
  public struct File: Sendable, Hashable, Codable {
    /// `stdout.log`, `stderr.log`, `exit.json` or `identity`.
    public var name: String
    /// Bytes on the host.
    public var hostByteCount: Int
    /// Bytes kept: the last ones where fewer than on the host.
    public var keptByteCount: Int

    public init(name: String, hostByteCount: Int, keptByteCount: Int) {
      self.name = name
      self.hostByteCount = hostByteCount
      self.keptByteCount = keptByteCount
    }
  }

  /// Last component of the attempt's directory on the host.
  public var id: String
  /// What was there, in the order above.
  public var files: [File]

  public init(id: String, files: [File]) {
    self.id = id
    self.files = files
  }
}
