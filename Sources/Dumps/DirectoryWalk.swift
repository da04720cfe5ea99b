import Glibc

/// The files under a directory, without reading any.
struct DirectoryWalk {
  struct Entry {
    /// Relative to the root, with `/`.
    var path: String
    /// Last component.
    var name: String
    /// Nanoseconds since 1970.
    var modified: Int64

    /// What stands before the name, with its `/`; empty for the root.
    var folder: String { String(path.dropLast(name.count)) }

    /// Without the directory that a store puts before a producer's path: `shared/`, and `rank3/` unless that is asked for.
    func asProduced(withRank: Bool) -> Entry {
      let parts = path.split(separator: "/", maxSplits: 1)
      guard parts.count == 2,
        parts[0] == "shared"
          || !withRank && parts[0].hasPrefix("rank") && parts[0].dropFirst(4).utf8.allSatisfy(\.isDigit)
      else { return self }
      return Entry(path: String(parts[1]), name: name, modified: modified)
    }
  }

  /// Regular files and links to regular files, by path.
  private(set) var files: [Entry] = []
  /// What is neither file nor directory, or leads to a directory that is looked at anyway, with the reason in brackets.
  private(set) var others: [String] = []
  /// Directories and files that could not be looked at.
  private(set) var unreadable: [Unreadable] = []

  private let root: String
  private static let depthLimit = 64
  private static let fileLimit = 10_000_000

  init(_ root: String) throws(DumpError) {
    self.root = root
    var status = stat()
    guard stat(root, &status) == 0 else {
      let code = errno
      throw DumpError(
        code: code == ENOENT || code == ENOTDIR ? .notFound : .inaccessible, file: root,
        message: code == ENOENT || code == ENOTDIR
          ? "there is no such directory; check the path, and whether the run wrote its dumps there"
          : String(cString: strerror(code)))
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw DumpError(
        code: .notFound, file: root,
        message: "is a file, and a directory of dump files is expected; give the directory that holds it "
          + "(rollcall inspect shows one file)")
    }
    try walk("", depth: 0)
    // Byte order, not locale or Unicode order: the same everywhere.
    files.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    others.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// `a\xE2.pt`: each of its bytes above 127.
  private static func escaped(_ name: [UInt8]) -> String {
    name.map { $0 < 0x80 ? String(UnicodeScalar($0)) : "\\x" + String($0, radix: 16, uppercase: true) }.joined()
  }

  private func leadsInside(_ link: String) -> Bool {
    guard let inside = realpath(root, nil), let place = realpath("\(root)/\(link)", nil) else { return false }
    defer {
      free(inside)
      free(place)
    }
    let (folder, found) = (String(cString: inside), String(cString: place))
    return found == folder || found.hasPrefix(folder == "/" ? folder : folder + "/")
  }

  private mutating func walk(_ relative: String, depth: Int) throws(DumpError) {
    let full = relative.isEmpty ? root : "\(root)/\(relative)"
    guard depth <= Self.depthLimit else {
      unreadable.append(Unreadable(file: relative, why: "directories are nested more than \(Self.depthLimit) deep"))
      return
    }
    guard let directory = opendir(full) else {
      unreadable.append(Unreadable(file: relative, why: "cannot be opened: \(String(cString: strerror(errno)))"))
      return
    }
    defer { closedir(directory) }
    var subdirectories: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        // The end, or an error of the file system: then more may stand there.
        let code = errno
        if code != 0 {
          unreadable.append(
            Unreadable(file: relative, why: "cannot be listed to its end: \(String(cString: strerror(code)))"))
        }
        break
      }
      let decoded = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) {
          (valid: String(validatingCString: $0), bytes: [UInt8](UnsafeRawBufferPointer(start: $0, count: strlen($0))))
        }
      }
      guard decoded.valid != ".", decoded.valid != ".." else { continue }
      let folder = relative.isEmpty ? "" : relative + "/"
      guard let name = decoded.valid else {
        // Repaired, two such names could read alike. What it holds is not looked at, be it dumps.
        unreadable.append(
          Unreadable(file: folder + Self.escaped(decoded.bytes), why: "its name is not UTF-8; rename it"))
        continue
      }
      let path = folder + name
      var status = stat()
      guard lstat("\(root)/\(path)", &status) == 0 else {
        unreadable.append(Unreadable(file: path, why: String(cString: strerror(errno))))
        continue
      }
      let isLink = status.st_mode & S_IFMT == S_IFLNK
      if isLink, stat("\(root)/\(path)", &status) != 0 {
        unreadable.append(Unreadable(file: path, why: "the link leads nowhere"))
        continue
      }
      switch status.st_mode & S_IFMT {
      case S_IFREG:
        guard files.count < Self.fileLimit else {
          throw DumpError(code: .limit, file: root, message: "holds more than \(Self.fileLimit) files")
        }
        let time = status.st_mtim
        files.append(
          Entry(path: path, name: name, modified: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)))
      case S_IFDIR where !isLink: subdirectories.append(path)
      case S_IFDIR where leadsInside(path): others.append("\(path) (a link to a directory is not followed)")
      case S_IFDIR:
        unreadable.append(Unreadable(file: path, why: "is a link to a directory elsewhere, which is not followed"))
      default: others.append("\(path) (not a regular file)")
      }
    }
    for path in subdirectories { try walk(path, depth: depth + 1) }
  }
}
