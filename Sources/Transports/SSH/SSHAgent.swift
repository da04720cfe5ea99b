import Glibc

/// The agent that holds the user's keys, behind `SSH_AUTH_SOCK`.
enum SSHAgent {
  /// SSH_AGENTC_REQUEST_IDENTITIES of the agent's protocol: a length of 1, and the number of the question.
  private static let question: [UInt8] = [0, 0, 0, 1, 11]
  private static let patience: Int32 = 3000

  /// True where one is named that takes a connection and does not answer, as the end of a forwarding does whose other
  /// end has gone. One that is not there at all is none.
  static var isSilent: Bool { getenv("SSH_AUTH_SOCK").map { isSilent(at: String(cString: $0)) } ?? false }

  static func isSilent(at path: String) -> Bool {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let fits = withUnsafeMutableBytes(of: &address.sun_path) { room -> Bool in
      guard path.utf8.count < room.count else { return false }
      room.copyBytes(from: path.utf8)
      return true
    }
    guard fits else { return false }
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    // A full queue of connections that nobody takes is silence, too.
    guard connected == 0 else { return errno == EAGAIN }
    guard send(descriptor, question, question.count, Int32(MSG_NOSIGNAL)) == question.count else { return false }
    var answer = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&answer, 1, patience) == 0
  }
}
