import Foundation
import Glibc

/// Whether a directory's disk takes a small file, which SQLite's codes do not tell: a write beyond a quota is any
/// failed write for it, and so is the growth of its shared-memory file on a full disk.
enum RoomProbe {
  /// More than SQLite asks for at a time.
  private static let byteCount = 64 << 10

  /// True where the file was refused for want of room, or of quota.
  static func isFull(_ directory: String) -> Bool {
    let path = "\(directory)/room-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return isRoom(errno) }
    defer { close(descriptor) }
    // Gone with us, whatever ends us.
    unlink(path)
    let bytes = [UInt8](repeating: 0, count: byteCount)
    var written = 0
    while written < byteCount {
      let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        return isRoom(errno)
      }
      written += count
    }
    // Some file systems say it only here.
    return fsync(descriptor) != 0 && isRoom(errno)
  }

  private static func isRoom(_ code: Int32) -> Bool { code == ENOSPC || code == EDQUOT }
}
