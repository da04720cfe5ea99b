import Glibc

/// A process of this machine as `/proc` tells of it.
struct LocalProcess {
  var pid: pid_t
  var state: UInt8
  var session: pid_t
  /// Ticks since boot.
  var started: UInt64

  var isDead: Bool { state == UInt8(ascii: "Z") || state == UInt8(ascii: "X") }

  /// nil where there is none.
  init?(_ pid: pid_t) {
    guard let stat = LocalFile.read("/proc/\(pid)/stat", limit: 4096),
      // A name may hold blanks and parentheses: count from the last one.
      let close = stat.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let words = stat[(close + 1)...].split(separator: UInt8(ascii: " "))
    guard words.count > 19, let state = words[0].first, let session = Self.number(words[3]),
      let started = Self.number(words[19])
    else { return nil }
    self.pid = pid
    self.state = state
    self.session = pid_t(truncatingIfNeeded: session)
    self.started = started
  }

  static let bootID: String? = LocalFile.read("/proc/sys/kernel/random/boot_id", limit: 100).map {
    String(decoding: $0.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
  }

  /// What a process of ours was left with that has died, or has yet to: nil where the kernel does not tell.
  static func children() -> [pid_t]? {
    let own = getpid()
    guard let text = LocalFile.read("/proc/\(own)/task/\(own)/children", limit: 1 << 20) else { return nil }
    return text.split(separator: UInt8(ascii: " ")).compactMap { number($0).map { pid_t(truncatingIfNeeded: $0) } }
  }

  /// The living processes of commands, by command: those of its session, and those that have its mark in their
  /// environment. One look for all of them; nil where `/proc` cannot be read, as when descriptors have run out.
  ///
  /// - Parameter commands: Session and mark (`TOKEN:DIRECTORY`) of each.
  static func members(of commands: [(session: pid_t, mark: String)]) -> [[pid_t]]? {
    guard let directory = opendir("/proc") else { return nil }
    defer { closedir(directory) }
    var members = [[pid_t]](repeating: [], count: commands.count)
    let bySession = Dictionary(commands.enumerated().map { ($1.session, $0) }) { first, _ in first }
    let byMark = Dictionary(commands.enumerated().map { (Array("ROLLCALL_LAUNCH=\($1.mark)".utf8)[...], $0) }) {
      first, _ in first
    }
    let prefix = Array("ROLLCALL_LAUNCH=".utf8)
    while true {
      errno = 0
      guard let entry = readdir(directory) else { return errno == 0 ? members : nil }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard let pid = pid_t(name) else { continue }
      if let process = LocalProcess(pid) {
        if process.isDead { continue }
        if let index = bySession[process.session] {
          members[index].append(pid)
          continue
        }
        if let text = LocalFile.read("/proc/\(pid)/environ", limit: 16 << 20) {
          let marks = text.split(separator: 0).lazy.filter { $0.starts(with: prefix) }
          if let index = marks.compactMap({ byMark[$0] }).first { members[index].append(pid) }
          continue
        }
      }
      // Gone, or another user's; but where we lack the means, nothing is known.
      if [EMFILE, ENFILE, ENOMEM].contains(errno) { return nil }
    }
  }

  private static func number(_ text: ArraySlice<UInt8>) -> UInt64? {
    UInt64(String(decoding: text.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
  }
}
