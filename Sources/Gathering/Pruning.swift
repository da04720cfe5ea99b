import Glibc

/// Taking dumps out of the store. Reports, logs and measures stay.
extension ArtifactStore {
  /// What a pruned run's manifest is called: it tells what there was.
  static let prunedManifest = "manifest.pruned.json"

  /// What a run holds, in bytes by content; empty where it is not gathered or pruned already.
  public func contents(sweep: String, run: String) throws(GatheringError) -> [String: Int] {
    guard try FileSystem.status(manifestPath(sweep: sweep, run: run)) != nil else { return [:] }
    let entries = try manifest(sweep: sweep, run: run).entries
    return Dictionary(entries.map { ($0.sha256, $0.byteCount) }) { first, _ in first }
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
    guard try FileSystem.status("\(directory)/\(Self.prunedManifest)") != nil else { return }
    for name in try FileSystem.contents(of: directory).directories
    where !name.contains("/") && (name == "shared" || name.hasPrefix("rank")) {
      try remove("\(directory)/\(name)")
    }
  }

  /// Removes an object that no run of the store links to.
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
