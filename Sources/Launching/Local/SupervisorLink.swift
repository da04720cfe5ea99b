import CProcesses
import Dispatch
import Glibc

/// A coordinator's way to its supervisor on this machine, which it starts with the first launch.
///
/// With the link the supervisor learns that nothing more comes; it stays until its last run is over.
final class SupervisorLink: Sendable {
  private let descriptor: Int32
  /// Launches wait for a process, in a thread that may wait.
  private let queue = DispatchQueue(label: "rollcall.supervisor")

  /// Starts the supervisor, and a shell that waits for it: killed, it ends nothing of its runs, so that the shell does.
  ///
  /// - Parameters:
  ///   - program: The words that start it; the work directory is added.
  ///   - script: The path of `agent.sh`.
  init?(program: [String], workdir: String, script: String) {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { return nil }
    defer { close(ends[1]) }
    // Ours from here on: whatever becomes of this, it is closed with it.
    descriptor = ends[0]
    // A supervisor that hangs is like one that is not there.
    var limit = timeval(tv_sec: 120, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    guard setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size) == 0,
      setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size) == 0
    else { return nil }
    let watch = """
      script=$1 workdir=$2
      shift 2
      (
        "$@" <&3 3<&- &
        supervisor=$!
        exec 3<&-
        wait "$supervisor" || exec sh "$script" - bereave "$workdir" '' auto "$supervisor"
      ) &
      """
    let words = ["/bin/sh", "-c", watch, "sh", script, workdir] + program + [workdir]
    let shell = withCStrings(words) { rollcall_start_detached($0, ends[1]) }
    guard shell > 0 else { return nil }
    // It has started the other one, and ends at once.
    while waitpid(shell, nil, 0) < 0, errno == EINTR {}
  }

  deinit { close(descriptor) }

  /// What became of each, by attempt: `started`, or `alone` where it is to be launched by itself. nil where the
  /// supervisor cannot be reached: some may have been started.
  ///
  /// - Parameter message: Orders.
  func launch(_ message: [UInt8]) async -> [Substring: Substring]? {
    await withCheckedContinuation { continuation in
      queue.async { continuation.resume(returning: self.exchange(message)) }
    }
  }

  private func exchange(_ message: [UInt8]) -> [Substring: Substring]? {
    var offset = 0
    while offset < message.count {
      let sent = message.withUnsafeBytes {
        send(descriptor, $0.baseAddress.map { $0 + offset }, $0.count - offset, Int32(MSG_NOSIGNAL))
      }
      if sent < 0, errno == EINTR { continue }
      guard sent > 0 else { return nil }
      offset += sent
    }
    let end = Array("end\n".utf8)
    var reply: [UInt8] = []
    while !(reply.count >= end.count && reply.suffix(end.count).elementsEqual(end)) {
      var count = 0
      let piece = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, length in
        count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
        length = max(0, count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return nil }
      reply += piece
    }
    var answers: [Substring: Substring] = [:]
    for line in String(decoding: reply, as: UTF8.self).split(separator: "\n").dropLast() {
      let (id, word) = line.firstWord
      answers[id] = word
    }
    return answers
  }
}
