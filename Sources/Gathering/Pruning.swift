import Glibc

/// Taking dumps out of the store. Reports, logs and measures stay.
extension ArtifactStore {
  /// What a pruned run's manifest is called: it tells what there was.
  static let prunedManifest = "manifest.pruned.json"

  /// What a run holds, in bytes by content; empty where it is not gathered or pruned already. Shares of a gang that
  /// were fetched hold theirs before there is a run.
  public func contents(sweep: String, run: String) throws(GatheringError) -> [String: Int] {
    var contents: [String: Int] = [:]
    for path in try [manifestPath(sweep: sweep, run: run)] + shareManifests(sweep: sweep, run: run) {
      guard try FileSystem.status(path) != nil else { continue }
      for entry in try storedManifest(path, missing: "").entries { contents[entry.sha256] = entry.byteCount }
    }
    return contents
  }

  /// Removes the dumps of a run. The manifest goes first: cut at any point, the run counts as pruned and can be pruned
  /// again.
  public func prune(sweep: String, run: String) throws(GatheringError) {
    let directory = try runDirectory(sweep: sweep, run: run)
    let manifest = try manifestPath(sweep: sweep, run: run)
    if try FileSystem.status(manifest) != nil {
      guard rename(manifest, "\(directory)/\(Self.prunedManifest)") == 0 else {
        throw FileSystem.failure("rename", manifest)
      }
      try FileSystem.syncDirectory(directory)
    }
    for share in try shareManifests(sweep: sweep, run: run) where unlink(share) != 0 {
      throw FileSystem.failure("remove", share)
    }
    guard try FileSystem.status("\(directory)/\(Self.prunedManifest)") != nil else { return }
    for name in try FileSystem.contents(of: directory).directories
    where !name.contains("/") && (name == "shared" || name.hasPrefix("rank")) {
      try remove("\(directory)/\(name)")
    }
  }

  /// Removes an object that no run of the store links to; within `pruning`, so that none comes to name it meanwhile.
  ///
  /// - Returns: Whether it was removed. One that is linked meanwhile stays.
  public func removeObject(_ sha256: String) throws(GatheringError) -> Bool {
    let path = objectPath(sha256)
    guard Manifest.isSHA256(sha256), let facts = try FileSystem.status(path), facts.st_nlink <= 1 else { return false }
    guard unlink(path) == 0 || errno == ENOENT else { throw FileSystem.failure("remove", path) }
    return true
  }

  /// Removes a tree of ours; links are removed, not followed.
  private func remove(_ directory: String) throws(GatheringError) {
    let (files, directories) = try FileSystem.contents(of: directory)
    for name in files where unlink("\(directory)/\(name)") != 0 {
      throw FileSystem.failure("remove", "\(directory)/\(name)")
    }
    for name in directories.reversed() + [""] where rmdir("\(directory)/\(name)") != 0 {
      throw FileSystem.failure("remove", "\(directory)/\(name)")
    }
  }
}
