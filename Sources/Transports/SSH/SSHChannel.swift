import CLibSSH
import Glibc

/// Drives one call over one channel, a step at a time, without ever blocking. Belongs to the connection's thread.
final class SSHChannel {
  enum Progress {
    /// Nothing to do before the next event.
    case idle
    case advanced
    /// The call has its outcome, or nobody waits for it any more.
    case done
    /// The host refused another channel; nothing was sent.
    case refused
    /// The connection broke.
    case lost
  }

  let call: SSHCall
  /// True once the command may have reached the host.
  private(set) var wasSent = false

  private enum Phase {
    case opening
    case requesting
    case running
  }

  private let channel: ssh_channel
  private let target: SSHTarget
  private let session: SSHSession
  private let fence = CommandFence()
  private let buffer: UnsafeMutableRawBufferPointer
  /// libssh keeps pointers to these two.
  private let callbacks: UnsafeMutablePointer<ssh_channel_callbacks_struct>
  private let exit: UnsafeMutablePointer<Int32>
  private var phase = Phase.opening
  private var written = 0
  private var didEndInput = false
  private var output: CommandFence.Filter
  private var errors: CommandFence.Filter
  private var errorTail = Tail()
  /// Bytes taken since the window was last opened wide.
  private var takenSinceGrowth: Int
  private var stopwatch = ContinuousClock.now

  private static let noExit: Int32 = -1
  /// A host that does not even answer an open request for so long is gone.
  private static let openLimit = Duration.seconds(20)
  private static let pieceSize = 256 << 10

  init?(_ call: SSHCall, session: SSHSession, target: SSHTarget, buffer: UnsafeMutableRawBufferPointer) {
    guard let channel = ssh_channel_new(session.raw) else { return nil }
    self.call = call
    self.session = session
    self.target = target
    self.channel = channel
    self.buffer = buffer
    output = fence.filter()
    errors = fence.filter()
    takenSinceGrowth = call.window
    exit = .allocate(capacity: 1)
    exit.initialize(to: Self.noExit)
    callbacks = .allocate(capacity: 1)
    callbacks.initialize(to: ssh_channel_callbacks_struct())
    callbacks.pointee.size = MemoryLayout<ssh_channel_callbacks_struct>.size
    callbacks.pointee.userdata = UnsafeMutableRawPointer(exit)
    callbacks.pointee.channel_exit_status_function = { _, _, status, exit in
      exit?.assumingMemoryBound(to: Int32.self).pointee = status & 0xFFFF
    }
    callbacks.pointee.channel_exit_signal_function = { _, _, name, _, _, _, exit in
      let name = name.map { String(cString: $0) } ?? ""
      exit?.assumingMemoryBound(to: Int32.self).pointee = 128 + signalNumber(name)
    }
    ssh_set_channel_callbacks(channel, callbacks)
  }

  deinit {
    // The channel may outlive us inside libssh until the host has closed it, too.
    ssh_remove_channel_callbacks(channel, callbacks)
    ssh_channel_free(channel)
    callbacks.deallocate()
    exit.deallocate()
  }

  /// Does what can be done now.
  func step() -> Progress {
    if call.isSettled {
      abandon()
      return .done
    }
    guard session.isAlive || phase == .running else { return .lost }
    switch phase {
    case .opening: return open()
    case .requesting: return request()
    case .running: return exchange()
    }
  }

  private func open() -> Progress {
    switch ssh_channel_open_session(channel) {
    case SSH_OK:
      phase = .requesting
      return .advanced
    case SSH_AGAIN:
      return ContinuousClock.now - stopwatch > Self.openLimit ? .lost : .idle
    default:
      return session.isAlive ? .refused : .lost
    }
  }

  private func request() -> Progress {
    wasSent = true
    switch ssh_channel_request_exec(channel, fence.wrapped(call.command)) {
    case SSH_OK:
      phase = .running
      return .advanced
    case SSH_AGAIN:
      return session.isAlive ? .idle : .lost
    default:
      guard session.isAlive else { return .lost }
      return fail(.noReply, "the host refused to run a command: \(session.message)")
    }
  }

  private func exchange() -> Progress {
    var advanced = write()
    var outputEnded = false
    if !call.isFull {
      switch read(isError: false) {
      case .bytes(let piece):
        advanced = true
        call.deliver(output.pass(piece))
        if let noise = output.noise, noise.count > CommandFence.Filter.noiseLimit {
          abandon()
          return fail(.noReply, "the login files of the host print without end; make them quiet for commands")
        }
      case .nothing: break
      case .end: outputEnded = true
      }
    }
    var errorsEnded = false
    switch read(isError: true) {
    case .bytes(let piece):
      advanced = true
      errorTail.append(errors.pass(piece))
    case .nothing: break
    case .end: errorsEnded = true
    }
    guard outputEnded, errorsEnded, ssh_channel_is_closed(channel) != 0 || !session.isAlive else {
      return advanced ? .advanced : .idle
    }
    return finish()
  }

  private func finish() -> Progress {
    let status = exit.pointee
    guard status != Self.noExit else {
      // The host itself closed the channel: this session may be fine.
      guard session.isAlive else { return .lost }
      return fail(.connectionLost, "the host closed the channel without saying how the command ended")
    }
    guard output.isOpen else {
      let said = String(decoding: (output.noise ?? []).suffix(300), as: UTF8.self)
      return fail(
        .noReply,
        """
        the login shell ended with status \(status) before it ran the command; it printed: \(said.debugDescription). \
        Look at: \(target.command) true
        """)
    }
    // Without a marker on standard error, all of it stands in the noise.
    let errorOutput = errors.isOpen ? errorTail.value : Array((errors.noise ?? []).suffix(65_536))
    call.settle(.success(CommandResult(status: Int(status), output: [], errorOutput: errorOutput)))
    return .done
  }

  private func fail(_ code: TransportError.Code, _ message: String) -> Progress {
    call.settle(.failure(target.error(code, message)))
    return .done
  }

  /// Asks the host, without waiting, to end the command.
  private func abandon() {
    if phase == .running, session.isAlive {
      ssh_channel_request_send_signal(channel, "TERM")
      ssh_channel_close(channel)
    }
  }

  // MARK: - Bytes

  private func write() -> Bool {
    guard !didEndInput, session.isAlive, exit.pointee == Self.noExit, ssh_channel_is_closed(channel) == 0 else {
      return false
    }
    if written < call.input.count {
      let count = min(call.input.count - written, Int(ssh_channel_window_size(channel)), Self.pieceSize)
      guard count > 0 else { return false }
      let sent = call.input.withUnsafeBytes { bytes in
        bytes.baseAddress.map { ssh_channel_write(channel, $0 + written, UInt32(count)) } ?? 0
      }
      // A command need not read its input; how it ends tells more than that it closed it.
      if sent < 0 { didEndInput = true }
      written += Int(max(0, sent))
      return sent > 0
    }
    didEndInput = true
    ssh_channel_send_eof(channel)
    return true
  }

  private enum Read {
    case bytes([UInt8])
    case nothing
    case end
  }

  private func read(isError: Bool) -> Read {
    var piece: [UInt8] = []
    while piece.count < Self.pieceSize {
      // Asking for more than has come opens the window; done at every half of it, not at every packet.
      if !isError, call.window > 0, takenSinceGrowth >= call.window / 2, session.isAlive,
        ssh_channel_is_eof(channel) == 0, ssh_channel_is_closed(channel) == 0
      {
        takenSinceGrowth = 0
        let count = ssh_channel_read_timeout(channel, buffer.baseAddress, UInt32(min(call.window, buffer.count)), 0, 0)
        if count > 0 { take(Int(count), &piece) }
        continue
      }
      let available = ssh_channel_poll(channel, isError ? 1 : 0)
      if available > 0 {
        let size = min(Int(available), buffer.count)
        let count = ssh_channel_read_timeout(channel, buffer.baseAddress, UInt32(size), isError ? 1 : 0, 0)
        guard count > 0 else { break }
        take(Int(count), &piece)
        continue
      }
      // SSH_EOF or an error: nothing will come any more.
      if available < 0 || !session.isAlive || ssh_channel_is_closed(channel) != 0 {
        return piece.isEmpty ? .end : .bytes(piece)
      }
      break
    }
    return piece.isEmpty ? .nothing : .bytes(piece)
  }

  private func take(_ count: Int, _ piece: inout [UInt8]) {
    takenSinceGrowth += count
    piece += UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
  }
}

/// Number of a signal that the protocol names without `SIG`; names it does not know give 0.
private func signalNumber(_ name: String) -> Int32 {
  switch name {
  case "ABRT": SIGABRT
  case "ALRM": SIGALRM
  case "FPE": SIGFPE
  case "HUP": SIGHUP
  case "ILL": SIGILL
  case "INT": SIGINT
  case "KILL": SIGKILL
  case "PIPE": SIGPIPE
  case "QUIT": SIGQUIT
  case "SEGV": SIGSEGV
  case "TERM": SIGTERM
  case "USR1": SIGUSR1
  case "USR2": SIGUSR2
  // OpenSSH's way with others: SIG@openssh.com names them all alike.
  default: 0
  }
}
