/// What a host lists under `dumps/`: files that may be hashed and fetched, and everything else with the reason.
struct Listing {
  struct File: Sendable {
    /// Relative to `dumps/`, checked.
    var path: String
    var byteCount: Int
    /// Nanoseconds since 1970 by the host's clock.
    var modified: Int64
  }

  private(set) var files: [File] = []
  private(set) var refused: [String] = []

  /// Reads `type size mtime path NUL …`, or `absent NUL`, or `other NUL` where no directory stands there.
  init(_ answer: ArraySlice<UInt8>, directory: String) throws(GatheringError) {
    if answer.elementsEqual("absent\0".utf8) {
      refused = ["dumps: no such directory"]
      return
    }
    // The run's own doing, which another try would repeat.
    if answer.elementsEqual("other\0".utf8) {
      refused = ["dumps: a link or a file and no directory; nothing in it is gathered"]
      return
    }
    guard !answer.isEmpty else { return }
    guard answer.last == 0 else { throw Self.broken(answer.suffix(80), directory: directory) }
    // Swift's strings hold differently composed letters for equal, and so may the store's file system.
    var names: Set<String> = []
    var total = 0
    for record in answer.dropLast().split(separator: 0, omittingEmptySubsequences: false) {
      let fields = record.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
      guard fields.count == 4, let type = fields[0].first, fields[0].count == 1,
        let byteCount = Int(String(decoding: fields[1], as: UTF8.self)), byteCount >= 0
      else { throw Self.broken(record, directory: directory) }
      var shown: String { printable(String(decoding: fields[3], as: UTF8.self)) }
      guard let path = String(validating: fields[3], as: UTF8.self) else {
        refused.append("\(shown): name is not UTF-8")
        continue
      }
      if let why = DumpName.refusal(of: path) ?? Self.refusal(ofType: type) {
        refused.append("\(shown): \(why)")
      } else if !names.insert(path).inserted {
        refused.append("\(shown): another file's name differs from it only in how its letters are composed")
      } else {
        // Once their sum is known to fit, later sums need no check.
        let (sum, overflow) = total.addingReportingOverflow(byteCount)
        guard let modified = Self.nanoseconds(fields[2]), !overflow else {
          throw Self.broken(record, directory: directory)
        }
        total = sum
        files.append(File(path: path, byteCount: byteCount, modified: modified))
      }
    }
  }

  /// The files with their hashes; what has none is refused.
  func manifest(hashes: [String: String]) -> Manifest {
    var manifest = Manifest(entries: entries(of: files, hashes: hashes), refused: refused)
    for file in files where hashes[file.path] == nil {
      manifest.refused.append(
        "\(printable(file.path)): could not be read on the host (no permission, or gone while listing)")
    }
    manifest.entries.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    manifest.refused.sort()
    return manifest
  }

  /// Of the files that have a hash.
  func entries(of files: [File], hashes: [String: String]) -> [ManifestEntry] {
    files.compactMap { file in
      hashes[file.path].map {
        ManifestEntry(
          path: file.path, byteCount: file.byteCount, modified: file.modified, sha256: $0,
          rank: DumpName.rank(of: file.path))
      }
    }
  }

  static func broken(_ record: ArraySlice<UInt8>, directory: String) -> GatheringError {
    let text = printable(String(decoding: record.prefix(200), as: UTF8.self))
    return GatheringError(
      code: .listing, path: directory, message: "the host's list of files cannot be understood at `\(text)`")
  }

  private static func refusal(ofType type: UInt8) -> String? {
    switch type {
    case UInt8(ascii: "f"): nil
    case UInt8(ascii: "l"): "symbolic link"
    case UInt8(ascii: "p"): "named pipe"
    case UInt8(ascii: "s"): "socket"
    case UInt8(ascii: "c"), UInt8(ascii: "b"): "device"
    case UInt8(ascii: "d"): "directory that cannot be read; its files are not gathered"
    default: "not a regular file"
    }
  }

  /// `1690000000.1234567890`, as find's `%T@` prints it.
  private static func nanoseconds(_ text: ArraySlice<UInt8>) -> Int64? {
    let parts = text.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    guard let whole = parts.first, let seconds = Int64(String(decoding: whole, as: UTF8.self)) else { return nil }
    var fraction: Int64 = 0
    if parts.count == 2 {
      let digits = String(decoding: parts[1].prefix(9), as: UTF8.self)
      guard let value = Int64(digits), value >= 0 else { return nil }
      fraction = (digits.utf8.count..<9).reduce(value) { value, _ in value * 10 }
    }
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carried) =
      whole.first == UInt8(ascii: "-")
      ? product.subtractingReportingOverflow(fraction) : product.addingReportingOverflow(fraction)
    return overflow || carried ? nil : sum
  }
}
