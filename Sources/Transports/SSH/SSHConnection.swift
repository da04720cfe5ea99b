import CLibSSH
import Glibc
import Synchronization

/// One connection to a host, with the thread that owns it: libssh allows one thread a session.
///
/// Up to eight commands run at once, each on its own channel; more wait. Connects at the first call, and again when
/// the connection broke.
final class SSHConnection: Sendable {
  private let target: SSHTarget
  private let wakeDescriptor: Int32

  private struct Inbox {
    var calls: [SSHCall] = []
    /// Until somebody has waited for its end.
    var thread: pthread_t?
    var isWorking = false
    var isClosed = false
    /// Somebody will call soon: connect now.
    var isWanted = false
    var closing: [CheckedContinuation<Void, Never>] = []
  }
  private let inbox = Mutex(Inbox())

  /// sshd allows ten sessions a connection by default.
  private static let channelLimit = 8

  init(_ target: SSHTarget) {
    self.target = target
    wakeDescriptor = rollcall_wake_descriptor()
  }

  deinit {
    // Nobody waited for it, and nobody can any more.
    if let thread = inbox.withLock({ $0.thread }) { pthread_detach(thread) }
    Glibc.close(wakeDescriptor)
  }

  /// Queues a call; its outcome comes through it.
  func submit(_ call: SSHCall) {
    if !change({ $0.calls.append(call) }) { call.settle(.failure(TransportError.closed(host: target.name))) }
  }

  /// Connects without a call; where that fails, the next call tries again and says why.
  func prepare() {
    _ = change { $0.isWanted = true }
  }

  /// Leaves something to do for the thread, and starts it where there is none.
  /// - Returns: False where the connection is closed; nothing is changed then.
  private func change(_ body: (inout sending Inbox) -> Void) -> Bool {
    enum Next {
      case closed, wake
      case fail([SSHCall], Int32)
    }
    let next = inbox.withLock { inbox -> Next in
      if inbox.isClosed { return .closed }
      body(&inbox)
      if inbox.isWorking { return .wake }
      // Under the lock, so that whoever closes finds the thread.
      switch startThread() {
      case .success(let thread):
        inbox.thread = thread
        inbox.isWorking = true
        return .wake
      case .failure(let problem):
        defer { inbox.calls = [] }
        return .fail(inbox.calls, problem.number)
      }
    }
    switch next {
    case .closed: return false
    case .wake: wake()
    case .fail(let calls, let number):
      let error = target.error(.unreachable, "no thread could be started: \(String(cString: strerror(number)))")
      for call in calls { call.settle(.failure(error)) }
    }
    return true
  }

  /// Makes the thread look again.
  func wake() {
    var one: UInt64 = 1
    write(wakeDescriptor, &one, 8)
  }

  /// Ends the thread without waiting for it.
  func stop() {
    inbox.withLock { $0.isClosed = true }
    wake()
  }

  /// Ends the thread; calls that have no outcome yet throw `closed`.
  func close() async {
    await withCheckedContinuation { continuation in
      let isOver = inbox.withLock { inbox in
        inbox.isClosed = true
        if inbox.isWorking { inbox.closing.append(continuation) }
        return !inbox.isWorking
      }
      if isOver { continuation.resume() } else { wake() }
    }
    // It has only to give back what libssh and OpenSSL keep for each thread: OpenSSL's own end, when the process exits
    // meanwhile, would free the same.
    let thread = inbox.withLock { inbox in
      defer { inbox.thread = nil }
      return inbox.thread
    }
    if let thread {
      pthread_join(thread, nil)
      LivingThreads.ended()
    }
  }

  private struct NoThread: Error { var number: Int32 }

  private func startThread() -> Result<pthread_t, NoThread> {
    LivingThreads.began()
    var thread = pthread_t()
    let box = Unmanaged.passRetained(self)
    let result = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<SSHConnection>.fromOpaque(argument).takeRetainedValue().work() }
        return nil
      }, box.toOpaque())
    guard result == 0 else {
      box.release()
      LivingThreads.ended()
      return .failure(NoThread(number: result))
    }
    return .success(thread)
  }

  // MARK: - The thread

  private func work() {
    rollcall_name_thread(target.name)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: SSHTransport.streamWindow.most, alignment: 16)
    defer { buffer.deallocate() }
    var loop = Loop(connection: self, buffer: buffer)
    while true {
      let (calls, isWanted, isClosed) = inbox.withLock { inbox in
        defer { (inbox.calls, inbox.isWanted) = ([], false) }
        return (inbox.calls, inbox.isWanted, inbox.isClosed)
      }
      if isWanted { loop.isWanted = true }
      loop.waiting += calls.map { Loop.Waiting(call: $0) }
      if isClosed { break }
      loop.turn()
    }
    loop.end()
    let closing = inbox.withLock { inbox in
      inbox.isWorking = false
      defer { inbox.closing = [] }
      return inbox.closing
    }
    for continuation in closing { continuation.resume() }
  }

  /// What the thread holds; never leaves it.
  private struct Loop {
    struct Waiting {
      var call: SSHCall
      /// True for a call whose channel broke before its command was sent.
      var isSecondTry = false
      /// How often the host had no room for it.
      var refusals = 0
    }

    let connection: SSHConnection
    let buffer: UnsafeMutableRawBufferPointer
    var waiting: [Waiting] = []
    var active: [(channel: SSHChannel, origin: Waiting)] = []
    var session: SSHSession?
    /// To be connected although nobody waits yet.
    var isWanted = false
    /// Falls where the host allows fewer channels.
    var limit = SSHConnection.channelLimit
    /// After a refusal nothing is opened before.
    var openAgain = ContinuousClock.now
    /// A host frees a session a moment after it has told us its end.
    private static let refusalLimit = 20
    private static let refusalPause = Duration.milliseconds(50)

    /// How often in a row the host closed the connection unheard.
    var timesTurnedAway = 0
    /// Nothing is connected before.
    var connectAgain = ContinuousClock.now
    /// With the pauses below: over five seconds.
    private static let turnedAwayLimit = 12

    init(connection: SSHConnection, buffer: UnsafeMutableRawBufferPointer) {
      self.connection = connection
      self.buffer = buffer
    }

    private var target: SSHTarget { connection.target }
    private var wakeDescriptor: Int32 { connection.wakeDescriptor }

    /// Does what can be done, then waits for the next event.
    mutating func turn() {
      waiting.removeAll { $0.call.isSettled }
      guard let session = connected() else { return }
      while active.count(where: { !$0.channel.call.isStanding }) < limit, !waiting.isEmpty, openAgain <= .now {
        let next = waiting.removeFirst()
        // A host that has refused one needs all its sessions for those that somebody waits for.
        if next.call.isStanding, limit < SSHConnection.channelLimit {
          next.call.settle(.failure(StandingShell.NoRoom()))
          continue
        }
        guard let channel = SSHChannel(next.call, session: session, target: target, buffer: buffer) else {
          next.call.settle(.failure(target.error(.unreachable, "out of memory")))
          continue
        }
        active.append((channel, next))
      }
      var advanced = false
      var remaining: [(channel: SSHChannel, origin: Waiting)] = []
      var isLost = false
      for (index, entry) in active.enumerated() {
        switch entry.channel.step() {
        case .idle: remaining.append(entry)
        case .advanced:
          advanced = true
          remaining.append(entry)
        case .done: advanced = true
        case .refused:
          let others = (remaining + active[(index + 1)...]).map(\.channel.call)
          limit = max(1, min(limit, others.count { !$0.isStanding }))
          openAgain = .now + Self.refusalPause
          for call in others + [entry.channel.call] where call.isStanding {
            call.settle(.failure(StandingShell.NoRoom()), immediate: true)
          }
          if entry.channel.call.isStanding { break }
          var again = entry.origin
          again.refusals += 1
          if again.refusals < Self.refusalLimit {
            waiting.insert(again, at: 0)
          } else {
            again.call.settle(
              .failure(
                target.error(
                  .unreachable, "the host has no room for one more session (its MaxSessions): \(session.message)")))
          }
        case .lost:
          isLost = true
          remaining.append(entry)
        }
      }
      active = remaining
      if isLost || (active.isEmpty && !session.isAlive) {
        drop(session)
      } else if !advanced {
        if session.isAlive {
          _ = session.wait(milliseconds: patience)
        } else {
          // What came before the break still waits for its receiver.
          sleep(milliseconds: 50)
        }
      }
    }

    /// How long the next event may take before something is due, in milliseconds.
    private var patience: Int32 {
      if active.contains(where: \.channel.isCollecting) { return 1 }
      if !waiting.isEmpty, openAgain > .now { return 50 }
      return active.allSatisfy(\.channel.isAtRest) ? -1 : 1000
    }

    /// The session; nil where there is none: then either nobody waits, or all who waited were told why.
    private mutating func connected() -> SSHSession? {
      if let session { return session }
      guard !waiting.isEmpty || isWanted else {
        ConnectGate.shared.forget(connection)
        sleep(milliseconds: -1)
        return nil
      }
      guard connectAgain <= .now else {
        sleep(milliseconds: 20)
        return nil
      }
      guard ConnectGate.shared.enter(connection) else {
        // The gate wakes us.
        sleep(milliseconds: 1000)
        return nil
      }
      do {
        let session = try SSHSession(target, wakeDescriptor: wakeDescriptor)
        ConnectGate.shared.leave(.connected)
        self.session = session
        limit = SSHConnection.channelLimit
        timesTurnedAway = 0
        isWanted = false
        return session
      } catch is TurnedAway where timesTurnedAway < Self.turnedAwayLimit {
        ConnectGate.shared.leave(.turnedAway)
        timesTurnedAway += 1
        let most = min(1000, 20 << timesTurnedAway)
        connectAgain = .now + .milliseconds(Int.random(in: most / 2...most))
        return nil
      } catch {
        ConnectGate.shared.leave(error is TurnedAway ? .turnedAway : .failed)
        timesTurnedAway = 0
        isWanted = false
        let reason = (error as? TurnedAway)?.error ?? error
        for entry in waiting { entry.call.settle(.failure(reason)) }
        waiting = []
        return nil
      }
    }

    /// Until the next wake-up, or for so long (-1: no limit).
    private func sleep(milliseconds: Int32) {
      var descriptor = pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0)
      poll(&descriptor, 1, milliseconds)
      var count: UInt64 = 0
      read(wakeDescriptor, &count, 8)
    }

    /// The connection broke: what was not sent is tried again, once; the others are told.
    private mutating func drop(_ session: SSHSession) {
      for entry in active {
        if !entry.channel.wasSent, !entry.origin.isSecondTry {
          waiting.append(Waiting(call: entry.channel.call, isSecondTry: true))
        } else {
          let error = target.error(
            .connectionLost,
            "the connection broke\(entry.channel.wasSent ? " while the command ran" : ""): \(session.message)")
          entry.channel.call.settle(.failure(error))
        }
      }
      active = []
      self.session = nil
    }

    mutating func end() {
      ConnectGate.shared.forget(connection)
      let error = TransportError.closed(host: target.name)
      for entry in waiting { entry.call.settle(.failure(error)) }
      for entry in active {
        entry.channel.call.settle(.failure(error))
        _ = entry.channel.step()
      }
      waiting = []
      active = []
      session = nil
    }
  }
}
