import Launching

/// A host as `agent.sh` makes it: launches are idempotent by token, GPUs are locked for the life of an attempt, exit
/// records stay. Its clock may jump, its disk fill, its power fail.
final class SimulatedHost {
  /// How a command ends if nothing disturbs it.
  struct Workload {
    var seconds: Double
    var code: Int
    var signal: Int?
    var reason: String?
  }

  struct Attempt {
    enum State {
      case claimed(at: Double)
      /// A share of a gang that waits to be released, until then.
      case held(until: Double)
      case running
      case exited(ExitRecord)
      /// The supervisor was killed; its processes may go on.
      case orphaned(isAlive: Bool)
      /// It ran when the host lost its power.
      case cutOff
    }

    var token: String
    var owner: Int
    var state: State
    var gpus: [Int] = []
    var gpuCount: Int
    var startedAt = 0.0
    /// A stranger was on its GPUs.
    var isContended = false

    var isAlive: Bool {
      switch state {
      case .held, .running: true
      case .orphaned(let isAlive): isAlive
      case .claimed, .exited, .cutOff: false
      }
    }
  }

  let name: String
  let gpuCount: Int
  let cpuSlots: Int
  let hardware: String
  var isUp = true
  /// Its power never comes back.
  var isGone = false
  var boot = 1
  var clockOffset = 0.0
  var isFull = false
  var strangers: Set<Int> = []
  var attempts: [String: Attempt] = [:]

  init(name: String, gpuCount: Int, cpuSlots: Int, hardware: String) {
    self.name = name
    self.gpuCount = gpuCount
    self.cpuSlots = cpuSlots
    self.hardware = hardware
  }

  var facts: HostFacts {
    HostFacts(
      bootID: "boot\(boot)", home: "/home/sim", workdir: "/home/sim/.rollcall", cpuCount: 8,
      gpuNames: Array(repeating: hardware, count: gpuCount), gpuIDs: (0..<gpuCount).map { "GPU-\($0)" },
      gpuDriver: "1", freeDiskBytes: isFull ? 0 : 1 << 40, clockOffset: clockOffset, versions: [:])
  }

  func status(of id: String, at time: Double) -> AttemptStatus {
    letGo(id, at: time)
    guard let attempt = attempts[id] else { return .absent }
    switch attempt.state {
    case .held: return .running(outputBytes: 0)
    case .claimed(let made): return .claimed(ageSeconds: max(0, time + clockOffset - made))
    case .running: return .running(outputBytes: 1)
    case .exited(let record): return .exited(record)
    case .orphaned(let isAlive): return .lost("its supervisor was killed; \(isAlive ? 1 : 0) of its processes live")
    case .cutOff: return .lost("the host was rebooted")
    }
  }

  /// It was started here, whatever became of it.
  func knows(_ id: String) -> Bool {
    guard let attempt = attempts[id] else { return false }
    if case .claimed = attempt.state { return false }
    return true
  }

  /// - Parameters:
  ///   - hold: Seconds that it waits to be released.
  ///   - start: Called when the command starts.
  func launch(
    _ id: String, token: String, owner: Int, gpus: Int, hold: Double?, dying: Bool, at time: Double, start: () -> Void
  ) -> LaunchOutcome? {
    for other in attempts.keys { letGo(other, at: time) }
    if isFull { return .noSpace("no room on the host's disk") }
    if let known = attempts[id] {
      if !known.token.isEmpty, known.token != token { return .refused("the run directory is another launch's") }
      switch known.state {
      case .claimed: break
      case .held, .running, .exited, .orphaned, .cutOff: return .adopted
      }
    }
    var attempt = Attempt(token: token, owner: owner, state: .claimed(at: time + clockOffset), gpuCount: gpus)
    if dying {
      attempts[id] = attempt
      return nil
    }
    let taken = Set(attempts.values.filter(\.isAlive).flatMap(\.gpus)).union(strangers)
    let free = (0..<gpuCount).filter { !taken.contains($0) }
    guard free.count >= gpus else {
      attempts[id] = nil
      return .gpuBusy("a GPU is locked by another run")
    }
    attempt.gpus = Array(free.prefix(gpus))
    attempt.state = hold.map { .held(until: time + $0) } ?? .running
    attempt.startedAt = time
    attempts[id] = attempt
    if hold == nil { start() }
    return .started
  }

  /// - Parameter start: Called when the command starts.
  func release(_ id: String, at time: Double, start: () -> Void) {
    letGo(id, at: time)
    guard let attempt = attempts[id], case .held = attempt.state else { return }
    guard strangers.isDisjoint(with: attempt.gpus) else {
      finish(id, code: 75, signal: nil, reason: ExitRecord.gpuBusy, at: time)
      return
    }
    attempts[id]?.state = .running
    attempts[id]?.startedAt = time
    start()
  }

  /// A share that nobody released in time ends by itself.
  private func letGo(_ id: String, at time: Double) {
    guard case .held(let until)? = attempts[id]?.state, until <= time else { return }
    finish(id, code: 143, signal: 15, reason: "not-released", at: until)
  }

  /// A stranger comes to a GPU, whoever has it.
  func intrude(_ gpu: Int) {
    strangers.insert(gpu)
    for id in attempts.keys where attempts[id]?.gpus.contains(gpu) == true { attempts[id]?.isContended = true }
  }

  /// The command's own end.
  func end(_ id: String, _ workload: Workload, at time: Double) {
    guard case .running? = attempts[id]?.state else { return }
    let isForWantOfRoom = isFull && workload.code != 0 && workload.reason == nil
    finish(
      id, code: workload.code, signal: workload.signal, reason: isForWantOfRoom ? ExitRecord.noSpace : workload.reason,
      at: time)
  }

  /// False where its full disk takes no note that it was stopped.
  func stop(_ id: String, owner: Int, reason: String, at time: Double) -> Bool {
    letGo(id, at: time)
    switch attempts[id]?.state {
    case .claimed?, .held?, .running?: finish(id, code: 143, signal: 15, reason: reason, at: time)
    case .orphaned?: attempts[id]?.state = .orphaned(isAlive: false)
    case .exited?, .cutOff?: break
    case nil where isFull: return false
    case nil:
      // A launch may still arrive: it finds an end.
      attempts[id] = Attempt(token: "", owner: owner, state: .claimed(at: time), gpuCount: 0, startedAt: time)
      finish(id, code: 143, signal: 15, reason: reason, at: time)
    }
    return true
  }

  private func finish(_ id: String, code: Int, signal: Int?, reason: String?, at time: Double) {
    let started = (attempts[id]?.startedAt ?? time) + clockOffset
    let mark = attempts[id]?.isContended == true ? "contended" : nil
    attempts[id]?.state = .exited(
      ExitRecord(code: code, signal: signal, started: started, ended: time + clockOffset, reason: reason ?? mark))
    attempts[id]?.gpus = []
  }

  func killSupervisor(_ id: String, survivors: Bool) {
    guard case .running? = attempts[id]?.state else { return }
    attempts[id]?.state = .orphaned(isAlive: survivors)
  }

  func losePower() {
    isUp = false
    boot += 1
    strangers = []
    for id in attempts.keys {
      switch attempts[id]?.state {
      case .held?, .running?: attempts[id]?.state = .cutOff
      case .orphaned?: attempts[id]?.state = .orphaned(isAlive: false)
      default: break
      }
    }
  }
}
