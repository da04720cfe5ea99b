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
  /// libssh keeps a pointer to these, and they one to this object.
  private let callbacks: UnsafeMutablePointer<ssh_channel_callbacks_struct>
  private var exit = SSHChannel.noExit
  private var phase = Phase.opening
  private var input: [UInt8]
  private var written = 0
  private var didEndInput = false
  private var output: CommandFence.Filter
  private var errors: CommandFence.Filter
  private var errorTail = Tail()
  /// Output on its way to the receiver: small pieces cost a wake-up each.
  private var piece: [UInt8] = []
  /// What `piece` held at the last step.
  private var pieceCount = 0
  /// Bytes the host may send ahead of us; set once the round trip is known.
  private var window = 0
  /// Bytes taken since the window was last opened wide.
  private var takenSinceGrowth = 0
  private var stopwatch = ContinuousClock.now

  private static let noExit: Int32 = -1
  /// A host that does not even answer an open request for so long is gone.
  private static let openLimit = Duration.seconds(20)
  private static let pieceSize = 256 << 10

  init?(_ call: SSHCall, session: SSHSession, target: SSHTarget, buffer: UnsafeMutableRawBufferPointer) {
    guard let channel = ssh_channel_new(session.raw) else { return nil }
    self.call = call
    input = call.input
    self.session = session
    self.target = target
    self.channel = channel
    self.buffer = buffer
    output = fence.filter()
    errors = fence.filter()
    callbacks = .allocate(capacity: 1)
    callbacks.initialize(to: ssh_channel_callbacks_struct())
    callbacks.pointee.size = MemoryLayout<ssh_channel_callbacks_struct>.size
    callbacks.pointee.userdata = Unmanaged.passUnretained(self).toOpaque()
    callbacks.pointee.channel_exit_status_function = { _, _, status, channel in
      SSHChannel.of(channel)?.exit = status & 0xFFFF
    }
    callbacks.pointee.channel_exit_signal_function = { _, _, name, _, _, _, channel in
      SSHChannel.of(channel)?.exit = 128 + signalNumber(name.map { String(cString: $0) } ?? "")
    }
    // Takes output from libssh's buffer as soon as it is there: reading it later costs another copy and a poll.
    callbacks.pointee.channel_data_function = { _, _, bytes, count, isError, channel in
      guard isError == 0, let channel = SSHChannel.of(channel) else { return 0 }
      return channel.receive(UnsafeRawBufferPointer(start: bytes, count: Int(count))) ? Int32(count) : 0
    }
    ssh_set_channel_callbacks(channel, callbacks)
  }

  deinit {
    // The channel may outlive us inside libssh until the host has closed it, too.
    ssh_remove_channel_callbacks(channel, callbacks)
    ssh_channel_free(channel)
    callbacks.deallocate()
  }

  private static func of(_ pointer: UnsafeMutableRawPointer?) -> SSHChannel? {
    pointer.map { Unmanaged<SSHChannel>.fromOpaque($0).takeUnretainedValue() }
  }

  /// True while output waits a moment for more to come.
  var isCollecting: Bool { !piece.isEmpty }

  /// True for a standing call that has only to be woken.
  var isAtRest: Bool { call.isStanding && phase == .running }

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
      session.noteRoundTrip(ContinuousClock.now - stopwatch)
      window = call.isStream ? session.streamWindow : SSHTransport.commandWindow
      takenSinceGrowth = window
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
      outputEnded = takeOutput()
      // A stream's piece waits while it grows.
      let isGrowing = piece.count > pieceCount
      pieceCount = piece.count
      if isGrowing { advanced = true }
      if outputEnded || !call.isStream || !isGrowing { deliver() }
    }
    var errorsEnded = false
    switch readErrors() {
    case .bytes(let bytes):
      advanced = true
      errorTail.append(errors.pass(bytes))
    case .nothing: break
    case .end: errorsEnded = true
    }
    if [output.noise, errors.noise].contains(where: { $0?.count ?? 0 > CommandFence.Filter.noiseLimit }) {
      abandon()
      return fail(.noReply, "the login files of the host print without end; make them quiet for commands")
    }
    guard outputEnded, errorsEnded, ssh_channel_is_closed(channel) != 0 || !session.isAlive else {
      return advanced ? .advanced : .idle
    }
    return finish()
  }

  private func finish() -> Progress {
    let status = exit
    guard status != Self.noExit else {
      // The host itself closed the channel: this session may be fine.
      guard session.isAlive else { return .lost }
      return fail(.connectionLost, "the host closed the channel without saying how the command ended")
    }
    guard output.isOpen else {
      // csh says on the one what other shells say on the other.
      let said = String(
        decoding: (output.noise ?? []).suffix(300) + (errors.noise ?? []).suffix(300), as: UTF8.self)
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
    guard !didEndInput, session.isAlive, exit == Self.noExit, ssh_channel_is_closed(channel) == 0 else {
      return false
    }
    if call.isStanding, written == input.count {
      input = call.takeInput()
      written = 0
      if input.isEmpty { return false }
    }
    if written < input.count {
      let count = min(input.count - written, Int(ssh_channel_window_size(channel)), Self.pieceSize)
      guard count > 0 else { return false }
      let sent = input.withUnsafeBytes { bytes in
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

  private func readErrors() -> Read {
    var bytes: [UInt8] = []
    while bytes.count < Self.pieceSize {
      let available = ssh_channel_poll(channel, 1)
      if available > 0 {
        let count = ssh_channel_read_timeout(
          channel, buffer.baseAddress, UInt32(min(Int(available), buffer.count)), 1, 0)
        guard count > 0 else { break }
        bytes += UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(count)])
        continue
      }
      return bytes.isEmpty ? (isOver(available) ? .end : .nothing) : .bytes(bytes)
    }
    return bytes.isEmpty ? .nothing : .bytes(bytes)
  }

  /// Opens the window and reads what came while the receiver had enough to do; the rest comes through `receive`.
  /// - Returns: True where nothing will come any more.
  private func takeOutput() -> Bool {
    // Asking for more than has come opens the window; done at every half of it, not at every packet.
    if takenSinceGrowth >= window / 2, session.isAlive,
      ssh_channel_is_eof(channel) == 0, ssh_channel_is_closed(channel) == 0
    {
      takenSinceGrowth = 0
      let count = ssh_channel_read_timeout(channel, buffer.baseAddress, UInt32(min(window, buffer.count)), 0, 0)
      if count > 0 { keep(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)])) }
    }
    while !call.isFull {
      let available = ssh_channel_poll(channel, 0)
      guard available > 0 else { return isOver(available) }
      let count = ssh_channel_read_timeout(
        channel, buffer.baseAddress, UInt32(min(Int(available), Self.pieceSize)), 0, 0)
      guard count > 0 else { break }
      keep(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]))
    }
    return false
  }

  /// SSH_EOF or an error: nothing will come any more.
  private func isOver(_ available: Int32) -> Bool {
    available < 0 || !session.isAlive || ssh_channel_is_closed(channel) != 0
  }

  /// What libssh has of the output.
  /// - Returns: False where it is to keep it, the receiver having enough to do.
  private func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if call.isFull { return false }
    keep(bytes)
    return true
  }

  private func keep(_ bytes: UnsafeRawBufferPointer) {
    takenSinceGrowth += bytes.count
    if piece.isEmpty, call.isStream { piece.reserveCapacity(Self.pieceSize + 64 << 10) }
    piece += bytes
    if piece.count >= Self.pieceSize { deliver() }
  }

  private func deliver() {
    guard !piece.isEmpty else { return }
    call.deliver(output.pass(piece))
    piece = []
    pieceCount = 0
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
