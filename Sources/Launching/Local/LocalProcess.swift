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
  /// environment. One look for all of them.
  ///
  /// - Parameter commands: Session and mark (`TOKEN:DIRECTORY`) of each.
  static func members(of commands: [(session: pid_t, mark: String)]) -> [[pid_t]] {
    var members = [[pid_t]](repeating: [], count: commands.count)
    guard !commands.isEmpty, let directory = opendir("/proc") else { return members }
    defer { closedir(directory) }
    let bySession = Dictionary(commands.enumerated().map { ($1.session, $0) }) { first, _ in first }
    let byMark = Dictionary(commands.enumerated().map { (Array("ROLLCALL_LAUNCH=\($1.mark)".utf8)[...], $0) }) {
      first, _ in first
    }
    let prefix = Array("ROLLCALL_LAUNCH=".utf8)
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard let pid = pid_t(name), let process = LocalProcess(pid), !process.isDead else { continue }
      if let index = bySession[process.session] {
        members[index].append(pid)
      } else if let text = LocalFile.read("/proc/\(pid)/environ", limit: 16 << 20),
        let index = text.split(separator: 0).lazy.filter({ $0.starts(with: prefix) }).compactMap({ byMark[$0] }).first
      {
        members[index].append(pid)
      }
    }
    return members
  }

  private static func number(_ text: ArraySlice<UInt8>) -> UInt64? {
    UInt64(String(decoding: text.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
  }
}

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
