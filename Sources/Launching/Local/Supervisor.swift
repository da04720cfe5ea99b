import CProcesses
import Foundation
import Glibc

/// The supervisor of all plain runs of one coordinator on its own machine: what a crew of `agent.sh` is on others, with
/// the same run directories, in one process.
///
/// It outlives the coordinator, keeps the limits, ends what commands leave behind and writes the exit records. Launches
/// come over its standard input, which is a socket; where that has ended, it stays until its last run is over. Whatever
/// its commands start and leave becomes its own child: where there is no other child than a command, nothing is left.
/// Killed, it leaves its runs lost; the shell that waits for it ends what lives of them.
///
/// It is told to end a run as any supervisor is: the word for why in the run's `cancel`, then SIGTERM.
public struct Supervisor {
  private struct Run {
    enum Ending {
      /// Until when nothing but TERM is sent: hundredths of a second since boot.
      case asked(Int)
      case killed(Int)
    }

    var directory: String
    var mark: String
    /// The process that leads its session.
    var session: pid_t
    /// Members of the exit record: what it found on its host.
    var told: String
    /// Hundredths of a second: since boot, and since 1970.
    var started: Int
    var startedWall: Int
    var limit: Int
    /// Once its command has ended.
    var code: Int?
    var ended = 0
    /// Why it is being ended, or was.
    var reason: String?
    var ending: Ending?
    /// Nothing of it lives.
    var isOver = false
    /// When its record is written, after it could not be.
    var writtenAt = 0
  }

  /// Absolute.
  private let workdir: String
  private let identity: String
  private let kernel: String
  /// Its model; empty where the system does not tell.
  private let cpu: String
  /// As the host script names it.
  private let lockPath: String
  private let baseEnvironment: [String: String]
  /// Its soft limit for commands; 0: ours.
  private let openFiles: UInt
  private var runs: [String: Run] = [:]
  /// Commands that live, by session.
  private var commands: [pid_t: String] = [:]
  /// The directories of runs whose records were written in the last seconds, in two ages: SIGTERM may come right after.
  private var written: [String] = []
  private var lastWritten: [String] = []
  private var writtenSince = 0
  private var isLinked = true
  /// A message that has not come whole yet, with its length before it.
  private var incoming: [UInt8] = []

  /// Hundredths of a second between TERM and KILL, and between KILL and giving up.
  private static let grace = 1000

  private init?(workdir: String) {
    guard let boot = LocalProcess.bootID, let own = LocalProcess(getpid()) else { return nil }
    self.workdir = workdir
    identity = "\(boot) \(own.pid) \(own.started) "
    var system = utsname()
    uname(&system)
    kernel = "\(Self.text(of: system.sysname)) \(Self.text(of: system.release))"
    cpu = Self.cpuModel
    let isPlain = { (byte: UInt8) in
      UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
        || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || ".-".utf8.contains(byte)
    }
    let node = Self.text(of: system.nodename).utf8.map { isPlain($0) ? $0 : UInt8(ascii: "_") }
    lockPath = "\(workdir)/.lock.\(String(decoding: node, as: UTF8.self))"
    var environment = ProcessInfo.processInfo.environment
    openFiles = environment.removeValue(forKey: "ROLLCALL_OPEN_FILES").flatMap { UInt($0) } ?? 0
    baseEnvironment = environment
  }

  /// Serves standard input until it has ended and no run is left.
  /// - Returns: The process's exit code.
  public static func serve(workdir: String) -> Int32 {
    guard workdir.hasPrefix("/"), rollcall_adopt_orphans(), rollcall_hear_signals(),
      var supervisor = Supervisor(workdir: workdir)
    else { return 71 }
    supervisor.serve()
    return 0
  }

  private mutating func serve() {
    while isLinked || !runs.isEmpty {
      let told = Int(rollcall_await(isLinked ? 0 : -1, Int32(clamping: pause())))
      reap()
      if told & ROLLCALL_TERMINATED != 0 { takeCancels() }
      if told & ROLLCALL_READABLE != 0 { isLinked = receive() }
      look()
      writeRecords()
    }
  }

  // MARK: - Time

  /// Hundredths of a second since boot: a clock that never jumps.
  private static var uptime: Int { hundredths(CLOCK_BOOTTIME) }
  private static func hundredths(_ clock: clockid_t) -> Int {
    var time = timespec()
    clock_gettime(clock, &time)
    return time.tv_sec * 100 + time.tv_nsec / 10_000_000
  }

  /// Milliseconds until something is due by itself.
  private func pause() -> Int {
    // What has ended and is neither over nor being ended could not be looked at.
    if runs.values.contains(where: { $0.ending != nil || ($0.code != nil && !$0.isOver) }) { return 100 }
    if runs.values.contains(where: \.isOver) { return 1000 }
    // Where a process is frozen or the machine sleeps, a minute is no harm.
    let due = runs.values.lazy.filter { $0.code == nil }.map { $0.started + $0.limit }.min() ?? .max
    return max(0, min(60_000, due == .max ? .max : (due - Self.uptime) * 10 + 10))
  }

  // MARK: - Launches

  /// Takes what has come of a message, and answers a whole one. It waits for nothing: a coordinator that was stopped in
  /// the middle holds up no run.
  ///
  /// - Returns: False where the coordinator has gone.
  private mutating func receive() -> Bool {
    while true {
      var missing = 4 - incoming.count
      if missing <= 0 {
        guard let count = SupervisorOrder.byteCount(incoming.prefix(4)) else { return false }
        missing += count
        if missing == 0 { break }
      }
      var got = 0
      let piece = [UInt8](unsafeUninitializedCapacity: min(missing, 1 << 16)) { buffer, length in
        got = recv(0, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
        length = max(0, got)
      }
      if got < 0, errno == EINTR { continue }
      if got < 0, errno == EAGAIN { return true }
      guard got > 0 else { return false }
      incoming += piece
    }
    guard let orders = SupervisorOrder.read(incoming.dropFirst(4)) else { return false }
    incoming = []
    let answers = begin(orders)
    // The socket has room for it: of one coordinator, one answer at a time is on its way.
    let reply = Array((answers.map { "\($0.id) \($0.word)\n" }.joined() + "end\n").utf8)
    return send(0, reply, reply.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT)) == reply.count
  }

  /// Starts what can be started; the rest is `alone`, to be launched by itself, which finds out what is wrong.
  private mutating func begin(_ orders: [SupervisorOrder]) -> [(id: String, word: String)] {
    let alone = orders.map { ($0.id, "alone") }
    LocalFile.makeDirectories(workdir + "/attempts")
    LocalFile.makeDirectories(workdir + "/incoming")
    LocalFile.makeDirectories(workdir + "/begun")
    guard let resolved = realpath(workdir + "/attempts", nil) else { return alone }
    let attempts = String(cString: resolved)
    free(resolved)
    // One launch or stop at a time decides.
    let lock = open(lockPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o666)
    guard lock >= 0 else { return alone }
    defer { close(lock) }
    let end = Self.uptime + 1000
    while flock(lock, LOCK_EX | LOCK_NB) != 0 {
      guard Self.uptime < end else { return alone }
      usleep(5000)
    }
    var prepared: [(order: SupervisorOrder, directory: String)] = []
    for order in orders where isSafeName(order.id) && runs[order.id] == nil {
      let directory = "\(attempts)/\(order.id)"
      guard mkdir(directory, 0o700) == 0 else { continue }
      if fill(directory, order) { prepared.append((order, directory)) } else { remove(directory) }
    }
    // The claims' names: where the machine fails from here on, nothing is started a second time.
    if !prepared.isEmpty {
      LocalFile.sync(attempts)
      LocalFile.sync(workdir + "/begun")
    }
    for (_, directory) in prepared { LocalFile.sync(directory) }
    let hiddenGPUs = Self.hiddenGPUs(path: baseEnvironment["PATH"] ?? "")
    let skew = Self.hundredths(CLOCK_REALTIME) - Self.uptime
    var started: Set<String> = []
    for (order, directory) in prepared {
      if start(order, directory, hiddenGPUs, skew: skew) {
        started.insert(order.id)
      } else {
        unlink(begunName(of: order))
        remove(directory)
      }
    }
    return orders.map { ($0.id, started.contains($0.id) ? "started" : "alone") }
  }

  /// What the run directory contract asks for before anything is started.
  private func fill(_ directory: String, _ order: SupervisorOrder) -> Bool {
    let boot = identity.prefix { $0 != " " }
    guard mkdir(directory + "/files", 0o700) == 0, mkdir(directory + "/dumps", 0o700) == 0,
      LocalFile.write(Array("\(order.token)\n".utf8), toNew: directory + "/token"),
      makeName("\(directory)/boot.\(boot)", in: directory),
      LocalFile.write(Self.reserve, toNew: directory + "/.reserve"),
      LocalFile.write(order.specification, toNew: directory + "/spec.json", mode: 0o600)
    else { return false }
    return order.files.allSatisfy {
      LocalFile.write(
        $0.contents, toNew: "\(directory)/files/\($0.name)", mode: $0.isExecutable ? 0o755 : 0o644, exactly: true)
    } && makeName(begunName(of: order), in: directory)
  }

  /// What is left of a launch where its run directory is gone: it is not started again.
  private func begunName(of order: SupervisorOrder) -> String { "\(workdir)/begun/\(order.id).\(order.token)" }

  /// A file of which only the name counts: where there are links, it costs none. False where it stands already.
  private func makeName(_ path: String, in directory: String) -> Bool {
    link(directory + "/token", path) == 0 || LocalFile.write([], toNew: path)
  }

  /// Room for the exit record, kept against a full disk.
  private static let reserve = [UInt8](repeating: UInt8(ascii: " "), count: 4096)

  private func remove(_ directory: String) { try? FileManager.default.removeItem(atPath: directory) }

  private mutating func start(
    _ order: SupervisorOrder, _ directory: String, _ hiddenGPUs: [String: String?], skew: Int
  ) -> Bool {
    let mark = "\(order.token):\(directory)"
    var environment = baseEnvironment
    for entry in order.environment { environment[entry.name] = entry.value }
    environment["ROLLCALL_LAUNCH"] = mark
    environment["ROLLCALL_GPUS"] = ""
    for (name, value) in hiddenGPUs { environment[name] = value }
    var told = "\"kernel\":\"\(Self.plain(kernel))\""
    if !cpu.isEmpty { told += ",\"cpu\":\"\(cpu)\"" }
    if !order.jobCommit.isEmpty { told += ",\"job_commit\":\"\(Self.plain(order.jobCommit))\"" }
    let now = Self.uptime
    let process = withCStrings(["/bin/sh", "-c", order.command]) { arguments in
      withCStrings(environment.map { "\($0.key)=\($0.value)" }) { environment in
        withCStrings(
          ["files", "stdout.log", "stderr.log", "identity"].map { "\(directory)/\($0)" } + [identity]
        ) { paths in
          var command = rollcall_command(
            directory: paths[0], output: paths[1], error: paths[2], identity: paths[3], told: paths[4],
            arguments: arguments, environment: environment, open_files: openFiles)
          var problem: Int32 = 0
          return rollcall_start(&command, &problem)
        }
      }
    }
    guard process > 0 else { return false }
    commands[process] = order.id
    runs[order.id] = Run(
      directory: directory, mark: mark, session: process, told: told, started: now, startedWall: now + skew,
      limit: order.limit * 100)
    return true
  }

  /// A run that asked for no GPU sees none: nil takes a variable away.
  private static func hiddenGPUs(path: String) -> [String: String?] {
    if path.split(separator: ":").contains(where: { access("\($0)/nvidia-smi", X_OK) == 0 }) {
      return ["CUDA_VISIBLE_DEVICES": "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"]
    }
    guard access("/sys/class/kfd/kfd/topology/nodes", F_OK) == 0 else { return [:] }
    return ["HIP_VISIBLE_DEVICES": nil, "CUDA_VISIBLE_DEVICES": nil, "ROCR_VISIBLE_DEVICES": ""]
  }

  // MARK: - Ends

  private mutating func reap() {
    var status: Int32 = 0
    while true {
      let process = waitpid(-1, &status, WNOHANG)
      if process < 0, errno == EINTR { continue }
      guard process > 0 else { return }
      // Others are what a command left behind.
      guard let id = commands.removeValue(forKey: process) else { continue }
      let signal = status & 0x7F
      runs[id]?.code = signal == 0 ? Int(status >> 8 & 0xFF) : 128 + Int(signal)
      runs[id]?.ended = Self.uptime
    }
  }

  /// Ends the runs that it was told to end; where none is named, it is the machine that goes down, and all of them end.
  private mutating func takeCancels() {
    let now = Self.uptime
    var isNamed = (written + lastWritten).contains { access($0 + "/cancel", F_OK) == 0 }
    // It is said again until it is heard, and the word may have gone with the run's directory.
    isNamed = isNamed || runs.values.contains { ![nil, "timeout", ExitRecord.terminated].contains($0.reason) }
    for (id, run) in runs {
      guard let text = LocalFile.read(run.directory + "/cancel", limit: 1000) else { continue }
      isNamed = true
      guard run.reason == nil, run.code == nil else { continue }
      let word = String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
      runs[id]?.reason = isSafeName(word) ? word : "cancelled"
    }
    guard !isNamed else { return }
    for (id, run) in runs where run.reason == nil {
      // Its command may have been told before us.
      guard run.code.map({ $0 != 0 && now - run.ended < 100 }) ?? true else { continue }
      runs[id]?.reason = ExitRecord.terminated
    }
  }

  /// Ends what is to be ended, and finds out of what has ended whether anything is left.
  private mutating func look() {
    let now = Self.uptime
    var asked: [String] = []
    var ended: [String] = []
    for (id, run) in runs where !run.isOver {
      if run.code == nil, run.reason == nil, now - run.started >= run.limit { runs[id]?.reason = "timeout" }
      if run.ending != nil || (run.code == nil && runs[id]?.reason != nil) {
        asked.append(id)
      } else if run.code != nil {
        ended.append(id)
      }
    }
    if !ended.isEmpty {
      // Orphans were given to us before the end of their parent was told.
      if let children = LocalProcess.children(), children.allSatisfy({ commands[$0] != nil }) {
        for id in ended { runs[id]?.isOver = true }
      } else {
        asked += ended
      }
    }
    guard !asked.isEmpty, let found = LocalProcess.members(of: asked.map { (session(of: $0), runs[$0]?.mark ?? "") })
    else { return }
    for (id, members) in zip(asked, found) {
      guard let run = runs[id] else { continue }
      if members.isEmpty {
        // Its command's own end is told with the next signal.
        runs[id]?.isOver = run.code != nil
        if run.code != nil { runs[id]?.ending = nil }
        continue
      }
      switch run.ending {
      case nil:
        for process in members {
          kill(process, SIGTERM)
          kill(process, SIGCONT)
        }
        runs[id]?.ending = .asked(now + Self.grace)
      case .asked(let end):
        guard now >= end else { continue }
        for process in members { kill(process, SIGKILL) }
        runs[id]?.ending = .killed(now + Self.grace)
      case .killed(let end):
        for process in members { kill(process, SIGKILL) }
        guard now >= end else { continue }
        runs[id]?.isOver = true
        runs[id]?.ending = nil
        if run.code == nil { runs[id]?.code = 137 }
        runs[id]?.ended = now
      }
    }
  }

  /// The session of a run's command; -1 once it is another's: while what has left it lives, its number may come round.
  private func session(of id: String) -> pid_t {
    guard let run = runs[id], run.code == nil || LocalProcess(run.session) == nil else { return -1 }
    return run.session
  }

  /// The records of what is over, in the room that was kept for them: all on the disk before any gets its name.
  private mutating func writeRecords() {
    let now = Self.uptime
    var open: [(id: String, descriptor: Int32)] = []
    for (id, run) in runs where run.isOver && run.writtenAt <= now {
      // Taken away, its directory's name may have gone to another launch.
      if let owner = LocalFile.read(run.directory + "/token", limit: 1000),
        !run.mark.utf8.starts(with: owner.prefix { $0 != UInt8(ascii: "\n") } + [UInt8(ascii: ":")])
      {
        runs[id] = nil
        continue
      }
      let path = run.directory + "/.reserve"
      let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
      guard descriptor >= 0 else {
        // Taken away with its directory, it has nobody to tell.
        if errno == ENOENT { runs[id] = nil } else { runs[id]?.writtenAt = now + 100 }
        continue
      }
      let record = Array(self.record(of: run).utf8)
      guard LocalFile.write(record, to: descriptor), ftruncate(descriptor, record.count) == 0 else {
        close(descriptor)
        runs[id]?.writtenAt = now + 100
        continue
      }
      open.append((id, descriptor))
    }
    for (id, descriptor) in open {
      let isOnDisk = fsync(descriptor) == 0
      close(descriptor)
      guard let run = runs[id] else { continue }
      if isOnDisk, rename(run.directory + "/.reserve", run.directory + "/exit.json") == 0 {
        runs[id] = nil
        noteWritten(run.directory)
      } else {
        runs[id]?.writtenAt = now + 100
      }
    }
  }

  private mutating func noteWritten(_ directory: String) {
    if Self.uptime - writtenSince > 500 {
      (written, lastWritten, writtenSince) = ([], written, Self.uptime)
    }
    written.append(directory)
  }

  /// The one line of `exit.json`.
  private func record(of run: Run) -> String {
    let code = run.code ?? 137
    let signal = code > 128 && code <= 192 ? "\(code - 128)" : "null"
    var reason = run.reason
    if reason == nil, code != 0, !hasRoom(run.directory) { reason = ExitRecord.noSpace }
    return """
      {"code":\(code),"signal":\(signal),"started":\(Self.seconds(run.startedWall)),\
      "ended":\(Self.seconds(run.startedWall + run.ended - run.started)),\
      "reason":\(reason.map { "\"\($0)\"" } ?? "null"),"environment":{\(run.told)}}

      """
  }

  /// Whether 64 KiB can be written there.
  private func hasRoom(_ directory: String) -> Bool {
    let path = directory + "/.room"
    unlink(path)
    defer { unlink(path) }
    return LocalFile.write([UInt8](repeating: 0, count: 65536), toNew: path)
  }

  // MARK: - Texts

  private static func seconds(_ hundredths: Int) -> String {
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
  }

  /// A value that neither JSON nor a terminal takes for anything else.
  private static func plain(_ text: String) -> String {
    String(
      decoding: text.utf8.filter {
        (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
      }.prefix(200), as: UTF8.self)
  }

  private static var cpuModel: String {
    let lines = (LocalFile.read("/proc/cpuinfo", limit: 4 << 20) ?? []).split(separator: UInt8(ascii: "\n"))
    guard let line = lines.first(where: { $0.starts(with: "model name".utf8) }),
      let colon = line.firstIndex(of: UInt8(ascii: ":"))
    else { return "" }
    return plain(String(decoding: line[colon...].dropFirst().drop { $0 == UInt8(ascii: " ") }, as: UTF8.self))
  }

  private static func text<Field>(of field: Field) -> String {
    withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
