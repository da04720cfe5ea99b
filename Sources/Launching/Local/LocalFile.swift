import Glibc

/// Small files of this machine.
enum LocalFile {
  /// The whole of it; nil where there is none, or more than the limit.
  static func read(_ path: String, limit: Int) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while true {
      let room = max(4096, bytes.count)
      var count = 0
      let piece = [UInt8](unsafeUninitializedCapacity: room) { buffer, length in
        count = Glibc.read(descriptor, buffer.baseAddress, room)
        length = max(0, count)
      }
      if count < 0 { return nil }
      if count == 0 { return bytes }
      bytes += piece
      if bytes.count > limit { return nil }
    }
  }

  /// Makes a file with all of the bytes; false where it stands or cannot be had.
  static func write(_ bytes: [UInt8], toNew path: String, mode: mode_t = 0o666, exactly: Bool = false) -> Bool {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, exactly ? 0o600 : mode)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    guard write(bytes, to: descriptor) else { return false }
    return !exactly || fchmod(descriptor, mode) == 0
  }

  /// At the descriptor's place.
  static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var offset = 0
    while offset < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + offset }, $0.count - offset)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return false }
      offset += count
    }
    return true
  }

  /// Makes a directory with all above it.
  static func makeDirectories(_ path: String) {
    if mkdir(path, 0o777) == 0 || errno != ENOENT { return }
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
    makeDirectories(String(path[..<slash]))
    mkdir(path, 0o777)
  }

  static func sync(_ path: String) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }
}
