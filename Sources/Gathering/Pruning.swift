import Glibc

/// Taking dumps out of the store. Reports, logs and measures stay.
extension ArtifactStore {
  /// What a pruned run's manifest is called: it tells what there was.
  static let prunedManifest = "manifest.pruned.json"

  /// What a run holds, in bytes by content; empty where it is not gathered or pruned to the end. Shares of a gang that
  /// were fetched hold theirs before there is a run.
  public func contents(sweep: String, run: String) throws(GatheringError) -> [String: Int] {
    var contents: [String: Int] = [:]
    var manifest = try manifestPath(sweep: sweep, run: run)
    if try FileSystem.status(manifest) == nil {
      let directory = try runDirectory(sweep: sweep, run: run)
      let pruned = "\(directory)/\(Self.prunedManifest)"
      // Pruning was cut after the manifest, and goes on with the rest.
      if try FileSystem.status(pruned) != nil, try !dumpDirectories(in: directory).isEmpty { manifest = pruned }
    }
    for path in try [manifest] + shareManifests(sweep: sweep, run: run) {
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

  /// Whether the host of a gathered attempt need keep its dumps no more: they are here whole, were here until they were
  /// pruned, or another attempt's have taken their place.
  ///
  /// - Parameter isShare: It is one host's part of a gang.
  public func isDone(with attempt: String, isShare: Bool, sweep: String, run: String) throws(GatheringError) -> Bool {
    let path =
      if isShare {
        "\(try attemptDirectory(sweep: sweep, run: run, attempt: attempt))/manifest.json"
      } else {
        try manifestPath(sweep: sweep, run: run)
      }
    guard try FileSystem.status(path) != nil else {
      return try FileSystem.status("\(runDirectory(sweep: sweep, run: run))/\(Self.prunedManifest)") != nil
    }
    let manifest = try storedManifest(path, missing: "")
    if let last = manifest.attempt?.id, last != attempt { return true }
    return manifest.refused.isEmpty && manifest.entries.allSatisfy { byteCount(of: $0.sha256) == $0.byteCount }
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

  /// Removes what nobody needs: objects that no run links to and no manifest names, and parts that no gather has open.
  /// Within `pruning`.
  ///
  /// What came, or was let go of, later than `time` stays: a gather names what it brought only at its end.
  /// - Parameter time: Seconds since 1970.
  /// - Returns: Bytes that are free now.
  public func removeOrphans(before time: Double) throws(GatheringError) -> Int {
    var needed: Set<String> = []
    for sweep in try FileSystem.names(in: "\(root)/sweeps") {
      for run in try FileSystem.names(in: "\(root)/sweeps/\(sweep)") {
        needed.formUnion(try contents(sweep: sweep, run: run).keys)
      }
    }
    var freed = 0
    func old(_ path: String) throws(GatheringError) -> stat? {
      guard let facts = try FileSystem.status(path), FileSystem.isRegular(facts), facts.st_nlink <= 1,
        Double(facts.st_ctim.tv_sec) < time
      else { return nil }
      return facts
    }
    for name in try FileSystem.names(in: objectsPath) {
      let hash = name.hasSuffix(Self.asideSuffix) ? String(name.dropLast(Self.asideSuffix.count)) : name
      let path = "\(objectsPath)/\(name)"
      guard Manifest.isSHA256(hash), !needed.contains(hash), let facts = try old(path) else { continue }
      guard unlink(path) == 0 || errno == ENOENT else { throw FileSystem.failure("remove", path) }
      freed += Int(facts.st_size)
    }
    for name in try FileSystem.names(in: incomingPath) where name.hasSuffix(".part") {
      let path = "\(incomingPath)/\(name)"
      guard let facts = try old(path), try PartFile.removeUnused(path) else { continue }
      freed += Int(facts.st_size)
    }
    return freed
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
