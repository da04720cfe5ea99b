import Glibc

/// The few file calls that the store is made of; each failure is one `GatheringError` with the path.
enum FileSystem {
  static func failure(_ action: String, _ path: String, code: Int32 = errno) -> GatheringError {
    let reason = String(cString: strerror(code))
    if code == ENOSPC || code == EDQUOT {
      return GatheringError(
        code: .noSpace, path: path,
        message: "cannot \(action): \(reason); \(room(at: path)). Free some space and gather again: "
          + "whole files are kept")
    }
    // Of one file, and no fault of the store.
    let isOfName = [ENAMETOOLONG, EINVAL, EILSEQ].contains(code)
    return GatheringError(code: isOfName ? .storedName : .store, path: path, message: "cannot \(action): \(reason)")
  }

  /// Free bytes for us on the file system that holds a path; nil where it cannot be asked.
  static func freeBytes(at path: String) -> Int? {
    var facts = statvfs()
    guard statvfs(path, &facts) == 0 else { return nil }
    let (bytes, overflow) = UInt64(facts.f_bavail).multipliedReportingOverflow(by: UInt64(facts.f_frsize))
    return overflow ? .max : Int(clamping: bytes)
  }

  private static func room(at path: String) -> String {
    var directory = path[...]
    while let slash = directory.lastIndex(of: "/"), slash != directory.startIndex {
      directory = directory[..<slash]
      if let free = freeBytes(at: String(directory)) { return "\(free) bytes are free there" }
    }
    return "free space unknown"
  }

  /// What stands at a path, links not followed; nil where nothing does.
  static func status(_ path: String) throws(GatheringError) -> stat? {
    var facts = stat()
    if lstat(path, &facts) == 0 { return facts }
    if errno == ENOENT || errno == ENOTDIR { return nil }
    throw failure("look at it", path)
  }

  static func isRegular(_ facts: stat) -> Bool { facts.st_mode & S_IFMT == S_IFREG }
  static func isDirectory(_ facts: stat) -> Bool { facts.st_mode & S_IFMT == S_IFDIR }
  static func isLink(_ facts: stat) -> Bool { facts.st_mode & S_IFMT == S_IFLNK }

  /// Makes a directory and, where `root` is given, all between it and that; none of these may be a link.
  static func makeDirectory(_ path: String, below root: String? = nil) throws(GatheringError) {
    if mkdir(path, 0o777) == 0 { return }
    switch errno {
    case EEXIST:
      guard root != nil else { return }
      guard let facts = try status(path), isDirectory(facts) else {
        throw GatheringError(code: .store, path: path, message: "is not a directory; move it away and gather again")
      }
    case ENOENT:
      guard let root, path.utf8.count > root.utf8.count, let parent = parent(of: path) else {
        throw failure("make the directory", path, code: ENOENT)
      }
      try makeDirectory(parent, below: root)
      if mkdir(path, 0o777) != 0, errno != EEXIST { throw failure("make the directory", path) }
    case let code: throw failure("make the directory", path, code: code)
    }
  }

  /// Closes a directory of ours to all others; what cannot be changed, on a read-only file system say, is left.
  static func makePrivate(_ path: String) {
    guard let facts = try? status(path), isDirectory(facts), facts.st_uid == geteuid(), facts.st_mode & 0o077 != 0
    else {
      return
    }
    _ = chmod(path, facts.st_mode & 0o700)
  }

  /// Makes a directory with all above it, as `mkdir -p` does.
  static func makeDirectories(_ path: String) throws(GatheringError) {
    if mkdir(path, 0o777) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let parent = parent(of: path) else { throw failure("make the directory", path) }
    try makeDirectories(parent)
    if mkdir(path, 0o777) != 0, errno != EEXIST { throw failure("make the directory", path) }
  }

  static func parent(of path: String) -> String? {
    // By bytes: a mark at the beginning of a name makes one letter with the slash before it.
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), slash != path.startIndex else { return nil }
    return String(path[..<slash])
  }

  static func openDirectory(_ path: String) throws(GatheringError) -> Int32 {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("open the directory", path) }
    return descriptor
  }

  static func syncDirectory(_ path: String) throws(GatheringError) {
    let descriptor = try openDirectory(path)
    defer { close(descriptor) }
    if fsync(descriptor) != 0 { throw failure("write the directory to disk", path) }
  }

  /// Writes all bytes to a descriptor.
  static func write(_ bytes: ArraySlice<UInt8>, to descriptor: Int32, path: String) throws(GatheringError) {
    var offset = 0
    while offset < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + offset }, $0.count - offset)
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw failure("write", path)
      }
      offset += count
    }
  }

  /// Writes a whole file so that its name never shows a part of it, and that it outlives a power cut. One writer at a
  /// time: what one that was killed left aside is written over.
  /// - Parameter durably: False where it need not outlive a power cut.
  static func replace(_ path: String, with bytes: [UInt8], durably: Bool = true) throws(GatheringError) {
    let aside = path + ".part"
    let descriptor = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else { throw failure("make the file", aside) }
    do throws(GatheringError) {
      defer { close(descriptor) }
      try write(bytes[...], to: descriptor, path: aside)
      if durably, fsync(descriptor) != 0 { throw failure("write to disk", aside) }
      if rename(aside, path) != 0 { throw failure("rename", aside) }
    } catch {
      unlink(aside)
      throw error
    }
    if durably, let parent = parent(of: path) { try syncDirectory(parent) }
  }

  /// Hands a file's bytes over in blocks; links are followed.
  /// - Returns: Bytes read.
  @discardableResult
  static func read(
    descriptor: Int32, path: String, _ body: (UnsafeRawBufferPointer) throws(GatheringError) -> Void
  ) throws(GatheringError) -> Int {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    defer { buffer.deallocate() }
    var total = 0
    while true {
      let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      if count == 0 { return total }
      if count < 0 {
        if errno == EINTR { continue }
        throw failure("read", path)
      }
      total += count
      try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
  }

  /// What stands in a directory itself; nothing where it is none. Names that are not UTF-8 are none of ours.
  static func names(in directory: String) throws(GatheringError) -> [String] {
    guard let stream = opendir(directory) else {
      if errno == ENOTDIR || errno == ENOENT { return [] }
      throw failure("open the directory", directory)
    }
    defer { closedir(stream) }
    var names: [String] = []
    errno = 0
    while let entry = readdir(stream) {
      let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      if let name = String(validating: bytes, as: UTF8.self), name != ".", name != ".." { names.append(name) }
      errno = 0
    }
    if errno != 0 { throw failure("read the directory", directory) }
    return names
  }

  /// Everything below a directory that is not a directory, and the directories, deepest last; relative paths.
  static func contents(of directory: String) throws(GatheringError) -> (files: [String], directories: [String]) {
    var files: [String] = []
    var directories: [String] = []
    var pending = [""]
    while let relative = pending.popLast() {
      let path = relative.isEmpty ? directory : "\(directory)/\(relative)"
      guard let stream = opendir(path) else { throw failure("open the directory", path) }
      defer { closedir(stream) }
      errno = 0
      while let entry = readdir(stream) {
        let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if bytes == Array(".".utf8) || bytes == Array("..".utf8) { continue }
        guard let name = String(validating: bytes, as: UTF8.self) else {
          throw GatheringError(
            code: .store, path: path,
            message: "holds a file whose name is not UTF-8 (\(printable(String(decoding: bytes, as: UTF8.self)))); "
              + "move it away")
        }
        let child = relative.isEmpty ? name : "\(relative)/\(name)"
        if let facts = try status("\(directory)/\(child)"), isDirectory(facts) {
          directories.append(child)
          pending.append(child)
        } else {
          files.append(child)
        }
        errno = 0
      }
      if errno != 0 { throw failure("read the directory", path) }
    }
    return (files, directories)
  }
}
