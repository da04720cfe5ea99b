import Crypto
import FoundationEssentials
import Glibc

/// The job's files as they were when a sweep was made: every content once under `files/<sha256>`, and what a sweep's
/// runs are given in `sweeps/<sweep>/files.json`. They are never pruned: a sweep goes on, and is tried again, with what
/// it began with, whatever became of the files where they came from.
extension ArtifactStore {
  /// One file of a job.
  public struct JobFile: Sendable, Hashable, Codable {
    public var sha256: String
    public var isExecutable: Bool
  }

  private struct JobFileList: Codable {
    static let schema = "rollcall.files/1"
    var schema = Self.schema
    /// By the path in the job.
    var files: [String: JobFile]
  }

  var filesPath: String { "\(root)/files" }

  private func jobFileList(_ sweep: String) throws(GatheringError) -> String {
    guard DumpName.isComponent(sweep) else {
      throw GatheringError(code: .badName, message: "sweep `\(printable(sweep))` cannot name a directory")
    }
    return "\(root)/sweeps/\(sweep)/files.json"
  }

  /// Keeps files for a new sweep, or for all sweeps of a playbook by its name; all are on disk when the call returns.
  /// - Parameters:
  ///   - files: Where each stands now, by its path in the job.
  ///   - earlier: What was kept before and is given to this one, too.
  /// - Throws: `store` or `noSpace`, with the file.
  public func keep(
    files: [String: String], and earlier: [String: JobFile] = [:], of sweep: String
  ) throws(GatheringError) {
    let list = try jobFileList(sweep)
    var kept = earlier
    for (path, place) in files {
      let bytes = try Self.bytes(of: place)
      let hash = SHA256Digest.hex(SHA256.hash(data: bytes))
      kept[path] = JobFile(sha256: hash, isExecutable: access(place, X_OK) == 0)
      let target = "\(filesPath)/\(hash)"
      if let held = try? Self.bytes(of: target), held == bytes { continue }
      // Two sweeps may keep the same at once.
      let aside = "\(incomingPath)/file-\(UInt64.random(in: .min ... .max))"
      try FileSystem.replace(aside, with: bytes)
      guard rename(aside, target) == 0 else { throw FileSystem.failure("rename to \(target)", aside) }
    }
    try FileSystem.syncDirectory(filesPath)
    try FileSystem.makeDirectory("\(root)/sweeps/\(sweep)", below: root)
    let text: Data
    do {
      text = try JSONEncoder().encode(JobFileList(files: kept))
    } catch {
      throw GatheringError(code: .store, path: list, message: "cannot be written: \(error)")
    }
    try FileSystem.replace(list, with: [UInt8](text))
  }

  /// Forgets which files were kept for a sweep of which nothing came.
  public func forgetFiles(of sweep: String) {
    guard let list = try? jobFileList(sweep) else { return }
    unlink(list)
    rmdir("\(root)/sweeps/\(sweep)")
  }

  /// The files that were kept for a sweep, by their paths in the job; nil where none were: it is older than that.
  /// - Throws: `damagedManifest` where the list cannot be trusted.
  public func jobFiles(of sweep: String) throws(GatheringError) -> [String: JobFile]? {
    let path = try jobFileList(sweep)
    guard try FileSystem.status(path) != nil else { return nil }
    let bytes = try Self.bytes(of: path)
    guard let list = try? JSONDecoder().decode(JobFileList.self, from: Data(bytes)), list.schema == JobFileList.schema,
      list.files.values.allSatisfy({ Manifest.isSHA256($0.sha256) })
    else {
      throw GatheringError(
        code: .damagedManifest, path: path,
        message: "is no list of a job's files: bring it back from a backup of the store")
    }
    return list.files
  }

  /// The contents of a kept file.
  /// - Throws: `objectGone` where they are not there or not what they were any more.
  public func contents(of file: JobFile) throws(GatheringError) -> [UInt8] {
    let path = "\(filesPath)/\(file.sha256)"
    guard let bytes = try? Self.bytes(of: path), SHA256Digest.hex(SHA256.hash(data: bytes)) == file.sha256 else {
      throw GatheringError(
        code: .objectGone, path: path, message: "is missing or damaged: bring it back from a backup of the store")
    }
    return bytes
  }

  private static func bytes(of path: String) throws(GatheringError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileSystem.failure("read", path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    try FileSystem.read(descriptor: descriptor, path: path) { bytes += $0 }
    return bytes
  }
}
