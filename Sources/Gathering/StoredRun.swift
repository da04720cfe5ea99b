import FoundationEssentials
import Glibc

/// A file of a gathered run that is not what its manifest says.
public struct StoreDamage: Sendable, Hashable, Codable {
  public enum Kind: String, Sendable, Hashable, Codable {
    case missing
    /// Other size or other bytes.
    case changed
    case unreadable
    /// Stands among the dumps and is not in the manifest.
    case unexpected
  }

  /// Relative to the run's directory: `rank3/layer00_Block_rank3.pt`.
  public var path: String
  public var rank: Int?
  public var kind: Kind
  /// One sentence that names the file.
  public var message: String
}

extension ArtifactStore {
  /// What was gathered for a run.
  /// - Throws: `notGathered` where there is no manifest, `damagedManifest` where it cannot be trusted.
  public func manifest(sweep: String, run: String) throws(GatheringError) -> Manifest {
    let isPruned = try FileSystem.status("\(runDirectory(sweep: sweep, run: run))/\(Self.prunedManifest)") != nil
    return try storedManifest(
      manifestPath(sweep: sweep, run: run),
      missing: isPruned
        ? "the dumps of run \(run) of \(sweep) were pruned"
        : "no such manifest: run \(run) of \(sweep) was not gathered to its end")
  }

  /// - Parameter why: What it means that there is none.
  func storedManifest(_ path: String, missing why: String) throws(GatheringError) -> Manifest {
    guard try FileSystem.status(path) != nil else {
      throw GatheringError(code: .notGathered, path: path, message: why)
    }
    let bytes = try readSmall(path, limit: 512 << 20)
    let stored: StoredManifest
    do {
      stored = try JSONDecoder().decode(StoredManifest.self, from: Data(bytes))
    } catch {
      throw GatheringError(code: .damagedManifest, path: path, message: "is not a manifest of this version: \(error)")
    }
    guard stored.schema == StoredManifest.schema else {
      throw GatheringError(
        code: .damagedManifest, path: path,
        message: "has the schema \(printable(stored.schema)), expected \(StoredManifest.schema)")
    }
    for entry in stored.manifest.entries {
      let why = DumpName.refusal(of: entry.path) ?? (Manifest.isSHA256(entry.sha256) ? nil : "sha256 is none")
      if why != nil || entry.byteCount < 0 || (entry.rank ?? 0) < 0 {
        throw GatheringError(
          code: .damagedManifest, path: path,
          message: "bad entry `\(printable(entry.path))`: \(why ?? "negative number")")
      }
    }
    return stored.manifest
  }

  /// Modification times of the producer's files, nanoseconds since 1970 by the host's clock, by path relative to the
  /// run's directory (`rank0/layer00_Block_rank0.pt`). The files themselves share theirs with their object.
  ///
  /// - Parameter offsets: What is added, by the same paths, where hosts have clocks of their own.
  public func modificationTimes(
    sweep: String, run: String, offsets: [String: Int64] = [:]
  ) throws(GatheringError) -> [String: Int64] {
    try manifest(sweep: sweep, run: run).modificationTimes(offsets: offsets)
  }

  /// Reads every file of a run again and names those that are missing, changed, or not in the manifest. An object whose
  /// bytes are wrong is set aside, so that the next gather that needs its content fetches it; a file that is not the
  /// object any more, and wrong, becomes it again where that is whole.
  ///
  /// Files that share an object are read once.
  /// - Returns: Empty where all is well.
  public func verify(sweep: String, run: String) throws(GatheringError) -> [StoreDamage] {
    let directory = try runDirectory(sweep: sweep, run: run)
    let manifest = try manifest(sweep: sweep, run: run)
    var damages: [StoreDamage] = []
    var hashes: [FileIdentity: String] = [:]
    for entry in manifest.entries {
      let path = "\(directory)/\(entry.storedPath)"
      guard var damage = damage(at: path, of: entry, &hashes) else { continue }
      if damage.kind == .changed, relink(path, to: entry, &hashes) {
        guard let still = self.damage(at: path, of: entry, &hashes) else { continue }
        damage = still
      }
      damages.append(damage)
    }
    let known = Set(manifest.entries.map { Array($0.storedPath.utf8) })
    for path in try dumpFiles(in: directory) where !known.contains(Array(path.utf8)) {
      damages.append(
        StoreDamage(
          path: path, rank: nil, kind: .unexpected, message: "\(printable(path)): not gathered with this run"))
    }
    return damages
  }

  /// What is wrong with a run's file; an object whose bytes are wrong is set aside.
  private func damage(
    at path: String, of entry: ManifestEntry, _ hashes: inout [FileIdentity: String]
  ) -> StoreDamage? {
    func damage(_ kind: StoreDamage.Kind, _ why: String) -> StoreDamage {
      StoreDamage(path: entry.storedPath, rank: entry.rank, kind: kind, message: "\(entry.storedPath): \(why)")
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      return errno == ENOENT || errno == ENOTDIR
        ? damage(.missing, "missing in the store; it was gathered with \(entry.byteCount) bytes")
        : damage(.unreadable, "cannot be read: \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, FileSystem.isRegular(facts) else {
      return damage(.changed, "is no longer a regular file")
    }
    guard Int(facts.st_size) == entry.byteCount else {
      return damage(.changed, "has \(facts.st_size) bytes; it was gathered with \(entry.byteCount)")
    }
    do throws(GatheringError) {
      if try hash(of: descriptor, path, facts, &hashes) == entry.sha256 { return nil }
      let isAside = try setAside(entry.sha256, where: FileIdentity(facts))
      return damage(
        .changed,
        "its bytes changed since it was gathered"
          + (isAside ? "; the disk may be failing. Run the job again: its content is fetched anew then" : ""))
    } catch {
      return damage(.unreadable, error.message)
    }
  }

  /// Of files that are one, the bytes are read once.
  private func hash(
    of descriptor: Int32, _ path: String, _ facts: stat, _ hashes: inout [FileIdentity: String]
  ) throws(GatheringError) -> String {
    if let known = hashes[FileIdentity(facts)] { return known }
    let hash = try SHA256Digest.hex(descriptor: descriptor, path: path)
    hashes[FileIdentity(facts)] = hash
    return hash
  }

  /// Makes a run's file its object again, where that was brought anew and its bytes are right.
  /// - Returns: False where it is not; also in a store that is read-only.
  private func relink(_ path: String, to entry: ManifestEntry, _ hashes: inout [FileIdentity: String]) -> Bool {
    let object = objectPath(entry.sha256)
    let descriptor = open(object, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, FileSystem.isRegular(facts), Int(facts.st_size) == entry.byteCount,
      (try? hash(of: descriptor, object, facts, &hashes)) == entry.sha256
    else { return false }
    return (try? link(path, to: entry)) != nil
  }

  /// - Returns: Whether the file is the object, which is set aside then.
  private func setAside(_ sha256: String, where file: FileIdentity) throws(GatheringError) -> Bool {
    let object = objectPath(sha256)
    guard let facts = try FileSystem.status(object),
      FileIdentity(facts) == file
    else { return false }
    // A store that is read-only is read all the same.
    return rename(object, asidePath(sha256)) == 0
  }

  // MARK: Laying out

  /// Links a run's files to their objects, keeps the attempt's logs, and writes the manifest last.
  ///
  /// What an earlier gather of the run left and the manifest does not hold is removed from its `rank<k>` and `shared`.
  func layOut(
    _ manifest: Manifest, logs: [(name: String, bytes: [UInt8])], sweep: String, run: String
  ) throws(GatheringError) {
    let directory = try runDirectory(sweep: sweep, run: run)
    try FileSystem.makeDirectory(directory, below: root)
    let isSame = (try? self.manifest(sweep: sweep, run: run)) == manifest
    let manifestPath = try manifestPath(sweep: sweep, run: run)
    if !isSame, try FileSystem.status(manifestPath) != nil {
      if unlink(manifestPath) != 0 { throw FileSystem.failure("remove", manifestPath) }
      try FileSystem.syncDirectory(directory)
    }
    try removeStrangers(in: directory, keeping: manifest.entries)

    for path in try link(manifest.entries, in: directory) { try FileSystem.syncDirectory(path) }

    if let attempt = manifest.attempt {
      let path = try attemptDirectory(sweep: sweep, run: run, attempt: attempt.id)
      try FileSystem.makeDirectory(path, below: directory)
      for log in logs { try FileSystem.replace("\(path)/\(log.name)", with: log.bytes) }
    }
    if !isSame {
      try FileSystem.replace(manifestPath, with: try StoredManifest.bytes(manifest, path: manifestPath))
    }
    // What was pruned is here again.
    let pruned = "\(directory)/\(Self.prunedManifest)"
    guard unlink(pruned) == 0 || errno == ENOENT else { throw FileSystem.failure("remove", pruned) }
  }

  /// Whether a file of a run's directory, by its path relative to that, is the store's own and no dump.
  public static func isOwn(_ path: String) -> Bool {
    path == "manifest.json" || path == prunedManifest || path.hasPrefix("attempts/")
  }

  func manifestPath(sweep: String, run: String) throws(GatheringError) -> String {
    "\(try runDirectory(sweep: sweep, run: run))/manifest.json"
  }

  /// Makes the files of a run their objects.
  /// - Returns: The directories in which something was made.
  private func link(_ entries: [ManifestEntry], in directory: String) throws(GatheringError) -> Set<String> {
    let objects = try FileSystem.openDirectory(objectsPath)
    defer { close(objects) }
    var touched: Set<String> = [directory]
    var place: (path: String, descriptor: Int32)?
    defer { if let place { close(place.descriptor) } }
    for entry in entries {
      let path = "\(directory)/\(entry.storedPath)"
      guard let parent = FileSystem.parent(of: path) else { continue }
      if place?.path != parent {
        if touched.insert(parent).inserted { try FileSystem.makeDirectory(parent, below: directory) }
        if let place { close(place.descriptor) }
        place = nil
        place = (parent, try FileSystem.openDirectory(parent))
      }
      // Mostly nothing stands there. From the directories themselves: to walk down to them costs more than the link.
      let name = String(decoding: path.utf8.dropFirst(parent.utf8.count + 1), as: UTF8.self)
      var facts = stat()
      if let place, linkat(objects, entry.sha256, place.descriptor, name, 0) == 0,
        fstatat(place.descriptor, name, &facts, AT_SYMLINK_NOFOLLOW) == 0, FileSystem.isRegular(facts),
        Int(facts.st_size) == entry.byteCount
      {
        continue
      }
      try link(path, to: entry)
    }
    return touched
  }

  /// Makes a run's file at `path` the entry's object, replacing what stands there.
  func link(_ path: String, to entry: ManifestEntry) throws(GatheringError) {
    let object = objectPath(entry.sha256)
    // Mostly nothing stands there: the link comes first and is looked at afterwards, one look instead of two.
    if try hardLink(object, path), try holds(path, entry) { return }
    guard try holds(object, entry), let target = try FileSystem.status(object) else { throw Self.vanished(object) }
    if let present = try FileSystem.status(path), FileIdentity(present) == FileIdentity(target) { return }
    // Whoever reads meanwhile finds the one or the other, and whoever is killed leaves one of them.
    let aside = "\(incomingPath)/link-\(UInt64.random(in: .min ... .max))"
    if try !hardLink(object, aside) {
      let depth = entry.storedPath.utf8.count { $0 == UInt8(ascii: "/") } + 3
      let relative = String(repeating: "../", count: depth) + "objects/\(entry.sha256)"
      if symlink(relative, aside) != 0 { throw FileSystem.failure("link to \(object)", aside) }
    }
    if rename(aside, path) != 0 {
      let failure = FileSystem.failure("replace", path)
      unlink(aside)
      throw failure
    }
  }

  private static func vanished(_ object: String) -> GatheringError {
    GatheringError(code: .objectGone, path: object, message: "the object vanished or has another size")
  }

  /// - Returns: False where something stands there, or the file system has no such links.
  private func hardLink(_ object: String, _ path: String) throws(GatheringError) -> Bool {
    if Glibc.link(object, path) == 0 { return true }
    switch errno {
    case EEXIST, EPERM, EMLINK, EXDEV, EOPNOTSUPP, ENOSYS: return false
    case ENOENT: throw Self.vanished(object)
    case let code: throw FileSystem.failure("link to \(object)", path, code: code)
    }
  }

  /// - Throws: `objectGone` where an entry's content is not here.
  func checkObjects(of entries: [ManifestEntry]) throws(GatheringError) {
    for entry in entries {
      let object = objectPath(entry.sha256)
      guard try holds(object, entry) else { throw Self.vanished(object) }
    }
  }

  private func holds(_ path: String, _ entry: ManifestEntry) throws(GatheringError) -> Bool {
    guard let facts = try FileSystem.status(path) else { return false }
    return FileSystem.isRegular(facts) && Int(facts.st_size) == entry.byteCount
  }

  private func removeStrangers(in directory: String, keeping entries: [ManifestEntry]) throws(GatheringError) {
    let kept = Set(entries.map { Array($0.storedPath.utf8) })
    for path in try dumpFiles(in: directory) where !kept.contains(Array(path.utf8)) {
      if unlink("\(directory)/\(path)") != 0 { throw FileSystem.failure("remove", "\(directory)/\(path)") }
    }
    for tree in try dumpDirectories(in: directory) {
      let below = try FileSystem.contents(of: "\(directory)/\(tree)").directories
      // Deepest first; those that still hold files stay.
      for path in below.sorted(by: { $0.utf8.count > $1.utf8.count }) { rmdir("\(directory)/\(tree)/\(path)") }
      rmdir("\(directory)/\(tree)")
    }
  }

  /// Files under `rank<k>` and `shared`, relative to the run's directory.
  private func dumpFiles(in directory: String) throws(GatheringError) -> [String] {
    var files: [String] = []
    for tree in try dumpDirectories(in: directory) {
      files += try FileSystem.contents(of: "\(directory)/\(tree)").files.map { "\(tree)/\($0)" }
    }
    return files.sorted()
  }

  func dumpDirectories(in directory: String) throws(GatheringError) -> [String] {
    var directories: [String] = []
    for name in try FileSystem.names(in: directory)
    where name == "shared" || (name.hasPrefix("rank") && Int(name.dropFirst(4)) != nil) {
      if let facts = try FileSystem.status("\(directory)/\(name)"), FileSystem.isDirectory(facts) {
        directories.append(name)
      }
    }
    return directories.sorted()
  }

  private func readSmall(_ path: String, limit: Int) throws(GatheringError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileSystem.failure("open", path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    try FileSystem.read(descriptor: descriptor, path: path) { block throws(GatheringError) in
      guard bytes.count + block.count <= limit else {
        throw GatheringError(code: .damagedManifest, path: path, message: "is larger than \(limit) bytes")
      }
      bytes.append(contentsOf: block)
    }
    return bytes
  }
}

private struct FileIdentity: Hashable {
  var device: UInt
  var inode: UInt

  init(_ facts: stat) {
    device = facts.st_dev
    inode = facts.st_ino
  }
}

/// `manifest.json`.
struct StoredManifest: Codable {
  static let schema = "rollcall.manifest/1"

  var schema: String
  var manifest: Manifest

  /// The file's text; `path` is for the message.
  static func bytes(_ manifest: Manifest, path: String) throws(GatheringError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return try Array(encoder.encode(StoredManifest(schema: schema, manifest: manifest)))
    } catch {
      throw GatheringError(code: .store, path: path, message: "cannot be written: \(error)")
    }
  }
}
