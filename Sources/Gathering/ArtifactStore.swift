import Glibc

/// Gathered files on this machine: every content once under `objects/<sha256>`, and per run a tree of links to it.
///
/// ```
/// objects/<sha256>                              read-only, whole, on disk before its name stands
/// objects/<sha256>.damaged                      what is left of an object whose bytes are no longer right
/// incoming/<name>.part                          cut transfers, to be gone on with
/// files/<sha256>                                the job's files as sweeps were made with them
/// sweeps/<sweep>/files.json                     which of these its runs are given; under a playbook's name, its sweeps
/// sweeps/<sweep>/<run>/rank<k>/<path>           hard link to the object (symbolic where links are refused)
/// sweeps/<sweep>/<run>/shared/<path>            files whose names give no rank
/// sweeps/<sweep>/<run>/attempts/<id>/stdout.log logs and records of the attempt
/// sweeps/<sweep>/<run>/manifest.json            written last: without it the run is not gathered
/// ```
/// Several gathers may use one store at once, for different runs.
public struct ArtifactStore: Sendable {
  /// Directory; absolute, or relative to the working directory.
  public let root: String

  /// Opens the store, making its directories where they are missing. They are their owner's alone, whatever the store's
  /// own directory lets others see.
  public init(root: String) throws(GatheringError) {
    var root = root[...]
    while root.count > 1, root.last == "/" { root = root.dropLast() }
    guard !root.isEmpty, !root.utf8.contains(0) else {
      throw GatheringError(code: .badName, path: String(root), message: "a store needs a directory's name")
    }
    self.root = String(root)
    try FileSystem.makeDirectories(self.root)
    for directory in [objectsPath, incomingPath, filesPath, "\(self.root)/sweeps"] {
      try FileSystem.makeDirectory(directory, below: self.root)
      FileSystem.makePrivate(directory)
    }
    // Others make these, where they are needed.
    for name in ["playbooks", "drained"] { FileSystem.makePrivate("\(self.root)/\(name)") }
  }

  var objectsPath: String { "\(root)/objects" }
  var incomingPath: String { "\(root)/incoming" }

  /// Writes a small file to the store's disk and takes it away again.
  /// - Throws: What is wrong with the store as a whole: `store`, or `noSpace`.
  public func probe() throws(GatheringError) {
    for directory in [objectsPath, "\(root)/sweeps"] where access(directory, W_OK | X_OK) != 0 {
      throw FileSystem.failure("write to the directory", directory)
    }
    let path = "\(incomingPath)/probe-\(UInt64.random(in: .min ... .max))"
    try FileSystem.replace(path, with: [UInt8](repeating: 0, count: 4096))
    if unlink(path) != 0 { throw FileSystem.failure("remove", path) }
  }

  /// Where the content with this hash stands, whether or not it is there.
  public func objectPath(_ sha256: String) -> String { "\(objectsPath)/\(sha256)" }

  /// Whether the store holds the content with this hash; its bytes are not read (`verify` does that).
  public func contains(_ sha256: String) -> Bool { byteCount(of: sha256) != nil }

  /// Size of the object; nil where there is none.
  public func byteCount(of sha256: String) -> Int? {
    guard Manifest.isSHA256(sha256), let facts = try? FileSystem.status(objectPath(sha256)),
      FileSystem.isRegular(facts)
    else { return nil }
    return Int(facts.st_size)
  }

  /// The sizes that the objects from a size on have.
  func objectSizes(from least: Int) throws(GatheringError) -> Set<Int> {
    guard let stream = opendir(objectsPath) else { throw FileSystem.failure("open the directory", objectsPath) }
    defer { closedir(stream) }
    var sizes: Set<Int> = []
    while let entry = readdir(stream) {
      var facts = stat()
      let isThere = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) {
          fstatat(dirfd(stream), $0, &facts, AT_SYMLINK_NOFOLLOW) == 0
        }
      }
      if isThere, FileSystem.isRegular(facts), facts.st_size >= least { sizes.insert(Int(facts.st_size)) }
    }
    return sizes
  }

  /// The directory of a run, whether or not it is there: `rank<k>/…`, `shared/…`, `attempts/…`, `manifest.json`.
  public func runDirectory(sweep: String, run: String) throws(GatheringError) -> String {
    for (what, name) in [("sweep", sweep), ("run", run)] where !DumpName.isComponent(name) {
      throw GatheringError(
        code: .badName, message: "\(what) `\(printable(name))` cannot name a directory: use letters, digits, - and _")
    }
    return "\(root)/sweeps/\(sweep)/\(run)"
  }

  /// Where the logs of an attempt stand once gathered.
  public func attemptDirectory(sweep: String, run: String, attempt: String) throws(GatheringError) -> String {
    guard DumpName.isComponent(attempt) else {
      throw GatheringError(code: .badName, message: "attempt `\(printable(attempt))` cannot name a directory")
    }
    return "\(try runDirectory(sweep: sweep, run: run))/attempts/\(attempt)"
  }

  /// Checks, before a gather, that so many bytes fit and `floor` bytes stay free.
  /// - Throws: `noSpace` with the figures.
  public func reserve(bytes: Int, floor: Int) throws(GatheringError) {
    guard let free = FileSystem.freeBytes(at: root) else { throw FileSystem.failure("ask for free space", root) }
    let (needed, overflow) = max(0, bytes).addingReportingOverflow(max(0, floor))
    guard overflow || needed > free else { return }
    throw GatheringError(
      code: .noSpace, path: root,
      message: "no room for the gathered files: \(bytes) bytes to fetch and \(floor) to stay free, "
        + "but \(free) are free. Free some space or name another store (--store)")
  }
}
