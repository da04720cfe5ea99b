import CLibSSH
import Glibc
import Synchronization

/// The threads of connections that nobody has seen the end of.
///
/// A process may exit while connections stand. OpenSSL then frees what their threads use, and crashes in the middle of
/// it: so where a thread lives, the process ends without the clean-up of its libraries.
enum LivingThreads {
  private static let count = Atomic(0)

  /// Handlers run from the last one that was set. OpenSSL sets its own with the first thing that it computes, so some
  /// random bytes are drawn before.
  private static let isGuarded: Bool =
    ssh_init() == SSH_OK
    && drawsBytes()
    && on_exit(
      { status, _ in
        guard LivingThreads.count.load(ordering: .relaxed) > 0 else { return }
        fflush(nil)
        _exit(status)
      }, nil) == 0

  private static func drawsBytes() -> Bool {
    var byte: UInt8 = 0
    return ssh_get_random(&byte, 1, 0) == 1
  }

  static func began() {
    _ = isGuarded
    count.add(1, ordering: .relaxed)
  }

  /// Called when the thread was joined.
  static func ended() {
    count.subtract(1, ordering: .relaxed)
  }
}
