public import Dumps
import Foundation
import Gathering
import Glibc

/// One side's dumps: what they are without opening a file, and their captures when these are asked for.
///
/// Loading blocks the actor, not the caller's other work; it happens once.
public actor DumpSource {
  /// The captures, and whether they are all that the identity promises.
  struct Loaded {
    var set: DumpSet
    var isWhole: Bool
  }

  /// The directory.
  public nonisolated let root: String
  public nonisolated let layout: DumpLayout
  /// Ranks that a store's manifest names; nil for another directory.
  public nonisolated let worldSize: Int?
  /// What is the same wherever the store stands: `<sweep>/<run>`, or the path.
  nonisolated let name: String
  private nonisolated let findIdentity: @Sendable () throws -> DumpIdentity
  private let load: @Sendable () throws -> Loaded
  private var result: Result<Loaded, any Error>?

  private init(
    root: String, layout: DumpLayout, worldSize: Int?, name: String,
    identity: @escaping @Sendable () throws -> DumpIdentity, load: @escaping @Sendable () throws -> Loaded
  ) {
    self.root = root
    self.layout = layout
    self.worldSize = worldSize
    self.name = name
    findIdentity = identity
    self.load = load
  }

  /// A run in a store.
  ///
  /// - Parameters:
  ///   - offsets: what is added to the files' times, by their paths.
  ///   - verifyChecksums: as in `DumpSetLoader.load`; measuring pairs does it by itself, slots do not.
  /// - Throws: `GatheringError` where it has no manifest.
  init(
    _ artifacts: ArtifactStore, sweep: String, run: String, layout: DumpLayout, pattern: String? = nil,
    offsets: [String: Int64] = [:], verifyChecksums: Bool = false
  ) throws {
    let root = try artifacts.runDirectory(sweep: sweep, run: run)
    let manifest = try artifacts.manifest(sweep: sweep, run: run)
    self.init(
      root: root, layout: layout, worldSize: StoredDumps.worldSize(of: manifest),
      name: "\(sweep)/\(run)"
    ) {
      if let change = try StoredListing.change(of: manifest, in: root) { throw NothingToCompare(message: change) }
      let times = manifest.modificationTimes(offsets: offsets)
      let lines = manifest.entries.map {
        "\($0.sha256) \($0.byteCount) \(times[$0.storedPath] ?? $0.modified) \($0.storedPath)"
      }
      return DumpIdentity(kind: .content, lines: ["\(layout.rawValue) \(pattern ?? "")"] + lines.sorted())
    } load: {
      let (set, damages) = try StoredDumps.loadChecked(
        artifacts, sweep: sweep, run: run, layout: layout, pattern: pattern, offsets: offsets,
        verifyChecksums: verifyChecksums)
      return Loaded(set: set, isWhole: damages.isEmpty)
    }
  }

  /// Any directory: one that a store laid out is checked against its manifest, another is read as it is.
  public init(directory: String, layout: DumpLayout, pattern: String? = nil) throws {
    if let place = StoredDumps.place(of: directory) {
      try self.init(
        try ArtifactStore(root: place.store), sweep: place.sweep, run: place.run, layout: layout, pattern: pattern)
      return
    }
    self.init(
      root: directory, layout: layout, worldSize: nil,
      name: URL(fileURLWithPath: directory).standardizedFileURL.path
    ) {
      let lines = try StoredListing.status(of: directory)
      return DumpIdentity(kind: .status, lines: ["\(layout.rawValue) \(pattern ?? "")"] + lines)
    } load: {
      let set = try DumpSetLoader.load(
        directory: directory, layout: layout, verifyChecksums: false, pattern: pattern)
      return Loaded(set: set, isWhole: true)
    }
  }

  /// What the files are now; no file is opened.
  ///
  /// - Throws: with the reason, where files are not those of the manifest, or cannot be looked at.
  public nonisolated func identity() throws -> DumpIdentity { try findIdentity() }

  /// The captures; the files' headers are read the first time.
  public func dumps() throws -> DumpSet { try loaded().set }

  func loaded() throws -> Loaded {
    if let result { return try result.get() }
    let made = Result { try load() }
    result = made
    return try made.get()
  }

  /// The set without captures: what rules and judging ask for.
  public nonisolated var emptySet: DumpSet {
    DumpSet(root: root, layout: layout, captures: [], unreadable: [], unrecognised: [])
  }
}

/// Looks at files without opening them.
enum StoredListing {
  /// What no longer stands as the manifest says; nil where names and sizes are right.
  static func change(of manifest: Manifest, in root: String) throws -> String? {
    for entry in manifest.entries {
      var facts = stat()
      guard stat("\(root)/\(entry.storedPath)", &facts) == 0 else {
        return "\(entry.storedPath) is missing in the store"
      }
      guard facts.st_mode & S_IFMT == S_IFREG, Int(facts.st_size) == entry.byteCount else {
        return "\(entry.storedPath) has another size than when it was gathered"
      }
    }
    let known = Set(manifest.entries.map(\.storedPath))
    for path in try paths(in: root) {
      if !ArtifactStore.isOwn(path), !known.contains(path) { return "\(path) was not gathered with this run" }
    }
    return nil
  }

  /// One line a file of a plain directory. A file that is written again, replaced, or given an older time changes it.
  static func status(of root: String) throws -> [String] {
    try paths(in: root).map { path in
      var facts = stat()
      guard stat("\(root)/\(path)", &facts) == 0 else { return "\(path) \(errno)" }
      func time(_ time: timespec) -> String { "\(time.tv_sec).\(time.tv_nsec)" }
      return "\(path) \(facts.st_size) \(facts.st_dev):\(facts.st_ino) \(time(facts.st_mtim)) \(time(facts.st_ctim))"
    }
  }

  /// Everything below a directory that is no directory, sorted.
  private static func paths(in root: String) throws -> [String] {
    let place = URL(fileURLWithPath: root).resolvingSymlinksInPath().path
    guard let walk = FileManager.default.enumerator(atPath: place) else {
      throw DumpError(code: .notFound, file: root, message: "there is no such directory; check the path")
    }
    var found: [String] = []
    while let path = walk.nextObject() as? String {
      if walk.fileAttributes?[.type] as? FileAttributeType != .typeDirectory { found.append(path) }
    }
    return found.sorted()
  }
}
