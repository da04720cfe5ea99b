import FoundationEssentials
public import Transports

/// A gang over several hosts leaves its dumps on each of them. They are fetched host by host, and only when all are in
/// the store, the run is laid out from them: before that it has no manifest, and counts as not gathered.
extension Gatherer {
  /// Brings one host's dumps and logs into the store, without laying out the run. Repeating it transfers only what is
  /// missing.
  ///
  /// - Parameter attemptDirectory: Absolute path on the host; its last component names the share.
  /// - Throws: `GatheringError`; whole files stay in the store.
  public func fetchShare(
    attemptDirectory: String, transport: any Transport, store: ArtifactStore, sweep: String, run: String
  ) async throws(GatheringError) {
    let id = attemptDirectory.split(separator: "/").last.map(String.init) ?? ""
    let directory = try store.attemptDirectory(sweep: sweep, run: run, attempt: id)
    var transfer = Transfer(
      directory: attemptDirectory, transport: transport, store: store, limits: limits, logger: logger, meter: meter)
    let beside = transfer
    async let logged = beside.logs()
    var manifest = try await transfer.fetchAll()
    let (files, logs) = try await logged.get()
    manifest.attempt = AttemptFiles(id: id, files: files)
    try FileSystem.makeDirectory(directory, below: store.root)
    for log in logs { try FileSystem.replace("\(directory)/\(log.name)", with: log.bytes) }
    _ = try await transfer.keep(manifest) { manifest throws(GatheringError) in
      try store.checkObjects(of: manifest.entries)
      try FileSystem.replace("\(directory)/manifest.json", with: try StoredManifest.bytes(manifest, path: directory))
    }
  }
}

extension ArtifactStore {
  /// Where the manifests of a run's shares stand.
  func shareManifests(sweep: String, run: String) throws(GatheringError) -> [String] {
    let attempts = "\(try runDirectory(sweep: sweep, run: run))/attempts"
    guard try FileSystem.status(attempts) != nil else { return [] }
    return try FileSystem.contents(of: attempts).files.filter {
      $0.hasSuffix("/manifest.json") && $0.utf8.count { $0 == UInt8(ascii: "/") } == 1
    }.map { "\(attempts)/\($0)" }
  }

  /// Makes the run of the shares that `Gatherer.fetchShare` brought.
  ///
  /// A file that several hosts wrote with equal contents is one file; where the contents differ, the first host's
  /// stands, and the others' are named as refused.
  ///
  /// - Parameter shares: Names of all shares, that of node 0 first.
  /// - Returns: The run's manifest, with node 0's logs as those of its attempt.
  /// - Throws: `notGathered` where one was not fetched.
  public func layOut(shares: [String], sweep: String, run: String) throws(GatheringError) -> Manifest {
    var whole = Manifest(entries: [], refused: [])
    var known: [String: ManifestEntry] = [:]
    for share in shares {
      let manifest = try self.manifest(share: share, sweep: sweep, run: run)
      if whole.attempt == nil { whole.attempt = manifest.attempt }
      whole.refused += manifest.refused.map { "\(share): \($0)" }
      for entry in manifest.entries {
        guard let first = known.updateValue(entry, forKey: entry.path) else {
          whole.entries.append(entry)
          continue
        }
        known[entry.path] = first
        if first.sha256 != entry.sha256 {
          whole.refused.append("\(share): \(printable(entry.path)): another host wrote it with other contents")
        }
      }
    }
    whole.entries.sort { $0.path < $1.path }
    try layOut(whole, logs: [], sweep: sweep, run: run)
    return whole
  }

  /// The share whose file stands at each path, relative to the run's directory (`rank0/layer00_Block_rank0.pt`).
  ///
  /// - Parameter shares: As they were laid out.
  public func writers(shares: [String], sweep: String, run: String) throws(GatheringError) -> [String: String] {
    var writers: [String: String] = [:]
    for share in shares {
      for entry in try manifest(share: share, sweep: sweep, run: run).entries where writers[entry.storedPath] == nil {
        writers[entry.storedPath] = share
      }
    }
    return writers
  }

  private func manifest(share: String, sweep: String, run: String) throws(GatheringError) -> Manifest {
    let directory = try attemptDirectory(sweep: sweep, run: run, attempt: share)
    return try storedManifest("\(directory)/manifest.json", missing: "the share \(share) was not fetched")
  }
}
