import Glibc

/// Room that is kept for a person's word, `<store>/reserve`: a sweep can be cancelled, and room be made, while the
/// store is full.
struct StoreReserve: Sendable {
  private static let byteCount = 4 << 20
  /// Bytes that must be free before it is made.
  private static let leastFree = 16 * byteCount

  private let store: String
  private var path: String { store + "/reserve" }

  init(store: String) { self.store = store }

  /// Makes it where it is not, and where there is room.
  func keep() {
    var facts = statvfs()
    guard access(path, F_OK) != 0, statvfs(store, &facts) == 0,
      UInt64(facts.f_bavail) > UInt64(Self.leastFree) / UInt64(max(facts.f_frsize, 1))
    else { return }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return }
    // Beyond a quota, say.
    if posix_fallocate(descriptor, 0, off_t(Self.byteCount)) != 0 { unlink(path) }
    close(descriptor)
  }

  /// Gives its room away; false where there was none.
  func release() -> Bool { unlink(path) == 0 }
}
